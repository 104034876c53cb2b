//! The catalogue: every feature of every table with unit, meaning, Spark's field, what null means, and how it is got.
//!
//! It is one static list. The tables, `docs/features.md` and `emberscope feature NAME` are made from it, and a trained
//! model keeps its [`hash`], so that it is never asked about features that have changed their meaning.

mod application;
mod executors;
mod jobs;
mod list;
mod row;
mod sql;
mod stage_attempts;
mod stage_tasks;
mod statistics;
mod streaming;
mod tasks;
mod value;

use std::fmt;
use std::sync::LazyLock;

use emberscope_run::Unit;
use serde::Serialize;

pub use row::{BatchRef, ExecutorRef, JobRef, NodeMetricRef, NodeRef, Row, RunRef, SqlRef, StageRef, TaskRef};
pub use tasks::TaskValue;
pub use value::{Kind, Value};

macro_rules! tables {
    ($($variant:ident $name:literal $row:literal $list:path),+ $(,)?) => {
        /// A feature table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $(#[doc = $row] $variant),+
        }

        impl Table {
            /// Every table, in the order in which documentation and extraction go through them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: that of its file, and what `--tables` takes.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What a row of it is.
            pub fn row(self) -> &'static str {
                match self { $(Self::$variant => $row),+ }
            }

            /// Its columns in order.
            pub fn features(self) -> &'static [Feature] {
                static LISTS: LazyLock<Vec<Vec<Feature>>> = LazyLock::new(|| vec![$($list()),+]);
                LISTS.get(self as usize).map(Vec::as_slice).unwrap_or_default()
            }
        }
    };
}

tables! {
    Tasks "tasks" "One finished task attempt, in the order of stage attempts and, in each, of their ends." tasks::features,
    StageAttempts "stage_attempts" "One stage attempt, also those that were skipped." stage_attempts::features,
    Executors "executors" "One executor, the driver among them." executors::features,
    Jobs "jobs" "One job." jobs::features,
    SqlExecutions "sql_executions" "One SQL execution." sql::executions,
    SqlPlanNodes "sql_plan_nodes" "One node of the final plan of a SQL execution, with the metrics that many nodes have." sql::nodes,
    SqlNodeMetrics "sql_node_metrics" "One metric of one node of the final plan of a SQL execution, by Spark's name." sql::node_metrics,
    StreamingBatches "streaming_batches" "One micro-batch of a streaming query." streaming::features,
    Application "application" "One run: an attempt of an application." application::features,
}

impl Table {
    /// The table called `name`; `None` when there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.name() == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Table {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

type Get = Box<dyn for<'a> Fn(&Row<'a>) -> Value<'a> + Send + Sync>;

/// A column of a table.
#[derive(Serialize)]
pub struct Feature {
    /// Its name, unique in its table: `<metric>_<statistic>_<unit>`.
    pub name: String,
    /// The table that has it.
    pub table: Table,
    /// Its unit.
    pub unit: Unit,
    /// The type of its values.
    pub kind: Kind,
    /// What it means, in a sentence.
    pub meaning: String,
    /// Where Spark says it, or what it is computed from.
    pub spark_field: String,
    /// What null means.
    pub null_meaning: String,
    #[serde(skip)]
    get: Get,
    #[serde(skip)]
    task: Option<TaskValue>,
}

impl Feature {
    /// Its value for a row; null for a row of another table.
    pub fn value<'a>(&self, row: &Row<'a>) -> Value<'a> {
        (self.get)(row)
    }

    /// What it is of a task, so that a whole column can be computed at once; `None` in other tables and for the keys.
    pub fn task_value(&self) -> Option<TaskValue> {
        self.task
    }

    /// Whether it measures something, so that a model may learn from it: a number that is no id and no date.
    pub fn is_measure(&self) -> bool {
        !matches!(self.unit, Unit::Id | Unit::Text | Unit::At)
    }
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ({})", self.table, self.name, self.kind.name())
    }
}

/// Every feature of every table.
pub fn all() -> impl Iterator<Item = &'static Feature> {
    Table::ALL.iter().flat_map(|table| table.features())
}

/// The feature of a table by name.
pub fn find(table: Table, name: &str) -> Option<&'static Feature> {
    table.features().iter().find(|feature| feature.name == name)
}

/// The features called `name`, one for each table that has it; also `table.name` for one of them.
pub fn named(name: &str) -> Vec<&'static Feature> {
    if let Some((table, name)) = name.split_once('.') {
        return Table::from_name(table).and_then(|table| find(table, name)).into_iter().collect();
    }
    all().filter(|feature| feature.name == name).collect()
}

/// A hash of names, units and types of all features in order; it changes when a model could mistake one for another.
pub fn hash() -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for feature in all() {
        for part in [feature.table.name(), &feature.name, feature.unit.symbol(), feature.kind.name()] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
    }
    hasher.digest()
}

/// The catalogue as a page of documentation in Markdown.
pub fn markdown() -> String {
    use fmt::Write as _;
    let mut page = format!(
        "# Feature tables\n\n{} features in {} tables. This page is made from the catalogue in \
         `emberscope_extract::features::catalogue`; a test says when it is stale.\n\n\
         - Null is unknown, 0 is measured.\n\
         - Names are `<metric>_<statistic>_<unit>`. Units: `_ms` milliseconds, `_ns` nanoseconds, `_bytes`, `_count`, \
         `_ratio` a quotient (also above 1 where stated), `_per_second`, `_at` milliseconds since 1970-01-01 UTC.\n\
         - Integers are 64 bits wide and signed, floats of double precision and finite.\n\
         - Sums are over all attempts that report the metric, failed ones too, resubmitted ones not; quantiles are over \
         successful attempts at index `min(floor(q * n), n - 1)` of the sorted values. Both are as in Spark's REST API.\n\
         - Every table begins with `application_id`, `attempt_id` and `run`, the name of the input.\n",
        all().count(),
        Table::ALL.len()
    );
    for &table in Table::ALL {
        let _ = write!(page, "\n## {table}\n\n{} {} columns.\n\n", table.row(), table.features().len());
        page.push_str("| feature | type | meaning | Spark | null |\n|---|---|---|---|---|\n");
        for feature in table.features() {
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                feature.name,
                feature.kind.name(),
                cell(&feature.meaning),
                cell(&feature.spark_field),
                cell(&feature.null_meaning)
            );
        }
    }
    page
}
