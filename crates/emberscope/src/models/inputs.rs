//! The numbers that models learn from: features of the catalogue, made comparable between runs.
//!
//! A model that learned "more than 8 GB" knows the runs it was trained on and no others. So quotients are taken as they are, times over
//! the wall-clock time of their run, and counts, bytes and rates over the mean of their siblings in the run. What names, dates or
//! configures a run is no input at all ([`left_out`] says what, and why).

use std::sync::LazyLock;

use emberscope_extract::features::catalogue::{Feature, Table};
use emberscope_run::Unit;
use serde::{Deserialize, Serialize};

use super::level::Level;

/// How a number is made comparable between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// As it is: a quotient.
    AsIs,
    /// Over the wall-clock time of the run.
    OverWallClock,
    /// Over the mean of its siblings in the run; unknown where it has none.
    OverSiblings,
}

impl Scale {
    /// What is put behind the feature's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::AsIs => "",
            Self::OverWallClock => "_over_wall_clock",
            Self::OverSiblings => "_over_siblings",
        }
    }

    /// The scale for a unit; `None` for what is no measure.
    fn of(unit: Unit) -> Option<Self> {
        match unit {
            Unit::Ratio => Some(Self::AsIs),
            Unit::Ms | Unit::Ns => Some(Self::OverWallClock),
            Unit::Bytes | Unit::Count | Unit::PerSecond => Some(Self::OverSiblings),
            Unit::At | Unit::Id | Unit::Text | Unit::Flag => None,
        }
    }
}

/// Where a number of an observation comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A feature of the row itself.
    Own(&'static Feature, Scale),
    /// A feature of the run that the row is of.
    OfRun(&'static Feature),
    /// The largest of the rows of another table that have at least [`LEAST_SHARE`] of the run's task time.
    Largest(Table, &'static Feature, Scale),
    /// The mean over the rows of another table, each weighing as much as the task time it has.
    Mean(Table, &'static Feature, Scale),
    /// What is worked out from a whole run.
    Derived(fn(&super::observe::Whole) -> Option<f64>),
}

/// Rows below this share of the run's task time do not set its largest values: the one task of a stage that ran for 10 ms is always
/// unlike others.
pub(super) const LEAST_SHARE: f64 = 0.01;

/// A number that models learn from.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name: that of the feature with how it was made comparable, behind the table where it is not the row's own.
    pub name: String,
    /// What it means.
    pub meaning: String,
    pub(super) source: Source,
}

/// The inputs of a level, in order.
pub fn inputs(level: Level) -> &'static [Input] {
    static LISTS: LazyLock<Vec<Vec<Input>>> = LazyLock::new(|| Level::ALL.iter().map(|&level| list(level)).collect());
    LISTS.get(level as usize).map(Vec::as_slice).unwrap_or_default()
}

/// Features that no model learns from although they are numbers, and why.
pub fn left_out(table: Table, name: &str) -> Option<&'static str> {
    let configured = [
        "cores_count",
        "custom_resources_count",
        "executor_cores_max_count",
        "executor_memory_max_bytes",
        "max_memory_bytes",
        "max_off_heap_memory_bytes",
        "max_on_heap_memory_bytes",
        "properties_count",
        "settings_changed_count",
        "slots_count",
        "slots_max_count",
    ];
    let of_the_log =
        ["events_lost_count", "events_read_count", "events_unknown_count", "import_issues_count", "log_bytes"];
    if configured.contains(&name) {
        Some("it is configured, not measured: a model would learn how the runs of its training were set up")
    } else if of_the_log.contains(&name) {
        Some("it is of the log and not of the run")
    } else if table == Table::Application && Scale::of_name(name) == Some(Scale::OverSiblings) {
        Some("a run has no siblings to be compared with")
    } else if name.contains("mapped_pool") {
        Some("it is of how files are opened: a model would know a file system by it, and not what it does")
    } else if is_inner_quantile(name) {
        Some("quantiles are compared with each other by quotients, which are inputs")
    } else {
        None
    }
}

impl Scale {
    fn of_name(name: &str) -> Option<Self> {
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&["_ratio"]) {
            Some(Self::AsIs)
        } else if ends(&["_ms", "_ns"]) {
            Some(Self::OverWallClock)
        } else if ends(&["_bytes", "_count", "_per_second"]) {
            Some(Self::OverSiblings)
        } else {
            None
        }
    }
}

fn is_inner_quantile(name: &str) -> bool {
    ["_min_", "_p05_", "_p25_", "_p75_", "_p95_"].iter().any(|quantile| name.contains(quantile))
        && !name.ends_with("_ratio")
}

/// The features of a table that models learn from, each with its scale.
fn comparable(table: Table) -> impl Iterator<Item = (&'static Feature, Scale)> {
    table
        .features()
        .iter()
        .filter(move |feature| left_out(table, &feature.name).is_none())
        .filter_map(|feature| Some((feature, Scale::of(feature.unit)?)))
}

/// Tables whose rows a run is summed up by.
const PARTS: [Table; 3] = [Table::StageAttempts, Table::Executors, Table::SqlExecutions];

fn list(level: Level) -> Vec<Input> {
    let table = level.table();
    let mut list: Vec<Input> = comparable(table).map(|(feature, scale)| own(feature, scale)).collect();
    if level == Level::Run {
        for part in PARTS {
            for (feature, scale) in comparable(part).filter(|(_, scale)| *scale != Scale::OverSiblings) {
                list.push(of_parts(part, feature, scale, "largest"));
                list.push(of_parts(part, feature, scale, "mean"));
            }
        }
        list.extend(super::observe::DERIVED.iter().map(|derived| Input {
            name: derived.name.to_owned(),
            meaning: derived.meaning.to_owned(),
            source: Source::Derived(derived.value),
        }));
    } else {
        for (feature, _) in comparable(Table::Application).filter(|(_, scale)| *scale == Scale::AsIs) {
            list.push(Input {
                name: format!("run.{}", feature.name),
                meaning: format!("Of the whole run: {}", feature.meaning),
                source: Source::OfRun(feature),
            });
        }
    }
    list
}

fn own(feature: &'static Feature, scale: Scale) -> Input {
    let meaning = match scale {
        Scale::AsIs => feature.meaning.clone(),
        Scale::OverWallClock => format!("{} Over the wall-clock time of the run.", feature.meaning),
        Scale::OverSiblings => format!("{} Over the mean of its siblings in the run.", feature.meaning),
    };
    Input { name: format!("{}{}", feature.name, scale.suffix()), meaning, source: Source::Own(feature, scale) }
}

fn of_parts(table: Table, feature: &'static Feature, scale: Scale, how: &str) -> Input {
    let own = own(feature, scale);
    let (meaning, source) = match how {
        "largest" => ("The largest of the run", Source::Largest(table, feature, scale)),
        _ => ("The mean of the run, by task time", Source::Mean(table, feature, scale)),
    };
    Input { name: format!("{table}.{how}.{}", own.name), meaning: format!("{meaning}: {}", own.meaning), source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_input_is_an_id_a_name_a_date_or_a_setting() {
        for &level in Level::ALL {
            let list = inputs(level);
            let names: BTreeSet<&str> = list.iter().map(|input| input.name.as_str()).collect();
            assert_eq!(names.len(), list.len(), "{level}: a name twice");
            for input in list {
                let feature = match input.source {
                    Source::Own(feature, _)
                    | Source::OfRun(feature)
                    | Source::Largest(_, feature, _)
                    | Source::Mean(_, feature, _) => feature,
                    Source::Derived(_) => continue,
                };
                assert!(feature.is_measure(), "{}", input.name);
                assert!(left_out(feature.table, &feature.name).is_none(), "{}", input.name);
            }
        }
    }

    #[test]
    fn what_is_left_out_is_in_the_catalogue() {
        // A feature that was renamed would come back as an input without anybody noticing.
        for name in ["properties_count", "executor_memory_max_bytes", "log_bytes", "slots_max_count"] {
            assert!(emberscope_extract::features::catalogue::find(Table::Application, name).is_some(), "{name}");
            assert!(left_out(Table::Application, name).is_some(), "{name}");
        }
        for name in ["max_memory_bytes", "cores_count", "custom_resources_count"] {
            assert!(emberscope_extract::features::catalogue::find(Table::Executors, name).is_some(), "{name}");
            assert!(left_out(Table::Executors, name).is_some(), "{name}");
        }
    }
}
