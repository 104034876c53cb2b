//! The configuration file: which problems are looked for, and with which thresholds.
//!
//! ```toml
//! disabled = ["poor-locality"]
//! fail_on = "warning"
//!
//! [rules.data-skew]
//! task_factor = 4
//! ```
//!
//! Whatever is not known is refused with its path and line: a misspelt threshold must not be silently ignored.

use std::collections::BTreeMap;

use emberscope_rules::{DetectorConfig, Problem, RULES, Severity, Threshold};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::models::ModelChoice;
use crate::suggest::did_you_mean;

const KEYS: [&str; 5] = ["disabled", "fail_on", "only", "redact", "rules"];

/// What is looked for, and from when on a run counts as bad.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Which rules run, and with which thresholds.
    pub detectors: DetectorConfig,
    /// Findings of this severity or a higher one fail the run; `None` when none does.
    pub fail_on: Option<Severity>,
    /// Which models look beside the rules.
    pub models: ModelChoice,
    /// Whether names and texts of people, places and data are replaced by tokens (see [`crate::Redactor`]).
    pub redact: bool,
}

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {}{message}", if .key.is_empty() { String::new() } else { format!("{}: ", .key) })]
pub struct ConfigError {
    /// The line, from 1.
    pub line: usize,
    /// The path of the key (`rules.data-skew.task_factor`); empty when the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Config {
    /// Reads a configuration from TOML.
    ///
    /// # Errors
    ///
    /// When the text is no TOML, a key, problem or threshold is unknown, or a value is of the wrong kind, negative, not
    /// finite, or a share over 1.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { text };
        let table = DeTable::parse(text).map_err(|error| ConfigError {
            line: reader.line(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: error.message().to_owned(),
        })?;
        let mut config = Self::default();
        for (key, value) in sorted(table.get_ref()) {
            match key.get_ref().as_ref() {
                "disabled" => config.detectors.disabled = reader.problems("disabled", value)?,
                "only" => config.detectors.only = reader.problems("only", value)?,
                "fail_on" => config.fail_on = Some(reader.severity("fail_on", value)?),
                "redact" => config.redact = reader.flag("redact", value)?,
                "rules" => config.detectors.thresholds = reader.rules(value)?,
                other => {
                    return Err(reader.error(key.span().start, other, unknown("key", other, KEYS)));
                }
            }
        }
        Ok(config)
    }
}

/// The problem of a name.
///
/// # Errors
///
/// A message with the nearest name when the vocabulary does not have it.
pub fn problem(name: &str) -> Result<Problem, String> {
    Problem::from_name(name)
        .ok_or_else(|| format!("unknown problem {name:?}{}", did_you_mean(name, Problem::ALL.iter().map(|p| p.name()))))
}

/// The severity of a word.
///
/// # Errors
///
/// A message with the words there are.
pub fn severity(name: &str) -> Result<Severity, String> {
    Severity::from_name(name).ok_or_else(|| format!("unknown severity {name:?}: one of info, warning, critical"))
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let suggestion = did_you_mean(name, known.clone());
    if suggestion.is_empty() {
        let known: Vec<&str> = known.into_iter().collect();
        format!("unknown {what}: there {} {}", if known.len() == 1 { "is" } else { "are" }, known.join(", "))
    } else {
        format!("unknown {what}{suggestion}")
    }
}

/// The entries in the order of the text, so that the first mistake is the one that is named.
fn sorted<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
    }

    fn error(&self, offset: usize, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { line: self.line(offset), key: key.to_owned(), message: message.into() }
    }

    fn problems(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Problem>, ConfigError> {
        let wrong = |at: usize| self.error(at, key, "expected a list of problems, such as [\"data-skew\"]");
        let list = value.get_ref().as_array().ok_or_else(|| wrong(value.span().start))?;
        list.iter()
            .map(|item| {
                let at = item.span().start;
                problem(item.get_ref().as_str().ok_or_else(|| wrong(at))?)
                    .map_err(|message| self.error(at, key, message))
            })
            .collect()
    }

    fn severity(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Severity, ConfigError> {
        let at = value.span().start;
        let name = value.get_ref().as_str().ok_or_else(|| self.error(at, key, "expected info, warning or critical"))?;
        severity(name).map_err(|message| self.error(at, key, message))
    }

    fn flag(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, ConfigError> {
        value.get_ref().as_bool().ok_or_else(|| self.error(value.span().start, key, "expected true or false"))
    }

    fn rules(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<Problem, BTreeMap<String, f64>>, ConfigError> {
        let at = value.span().start;
        let table = value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.error(at, "rules", "expected tables of thresholds, such as [rules.data-skew]"))?;
        let mut rules = BTreeMap::new();
        for (name, value) in sorted(table) {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let path = format!("rules.{name}");
            let Some(rule) = RULES.iter().find(|rule| rule.problem.name() == name) else {
                let known = RULES.iter().map(|rule| rule.problem.name());
                return Err(self.error(at, &path, format!("there is no such rule{}", did_you_mean(name, known))));
            };
            let table =
                value.get_ref().as_table().ok_or_else(|| self.error(at, &path, "expected a table of thresholds"))?;
            rules.insert(rule.problem, self.thresholds(&path, rule.thresholds, table)?);
        }
        Ok(rules)
    }

    fn thresholds(
        &self,
        path: &str,
        known: &[Threshold],
        table: &DeTable<'_>,
    ) -> Result<BTreeMap<String, f64>, ConfigError> {
        let mut thresholds = BTreeMap::new();
        for (name, value) in sorted(table) {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let path = format!("{path}.{name}");
            let Some(threshold) = known.iter().find(|threshold| threshold.name == name) else {
                return Err(self.error(
                    at,
                    &path,
                    unknown("threshold", name, known.iter().map(|threshold| threshold.name)),
                ));
            };
            let number = number(value.get_ref()).ok_or_else(|| self.error(at, &path, "expected a number"))?;
            // Written so that NaN fails.
            if !(number >= 0.0 && number.is_finite()) {
                return Err(self.error(at, &path, "expected a number that is finite and not negative"));
            }
            if let Some(largest) = threshold.largest().filter(|&largest| number > largest) {
                return Err(self.error(at, &path, format!("it is a share: expected a number from 0 to {largest}")));
            }
            thresholds.insert(threshold.name.to_owned(), number);
        }
        Ok(thresholds)
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(integer) => Some(i64::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::from_toml(text).expect_err(text).to_string()
    }

    #[test]
    fn everything_that_can_be_set_is_read() {
        let config = Config::from_toml(
            "only = [\"data-skew\", \"small-files\"]\ndisabled = [\"gc-pressure\"]\nfail_on = \"warning\"\nredact = true\n\
             [rules.data-skew]\ntask_factor = 4\ndata_factor = 3.5\n",
        )
        .expect("valid");
        assert_eq!(config.detectors.only, [Problem::DataSkew, Problem::SmallFiles]);
        assert_eq!(config.detectors.disabled, [Problem::GcPressure]);
        assert_eq!((config.fail_on, config.redact), (Some(Severity::Warning), true));
        let thresholds = &config.detectors.thresholds[&Problem::DataSkew];
        assert_eq!((thresholds["task_factor"], thresholds["data_factor"]), (4.0, 3.5));
        assert_eq!(Config::from_toml("").expect("empty"), Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        assert_eq!(refused("\n\nfailon = \"info\""), "line 3: failon: unknown key; did you mean \"fail_on\"?");
        assert_eq!(
            refused("colour = 1"),
            "line 1: colour: unknown key: there are disabled, fail_on, only, redact, rules"
        );
    }

    #[test]
    fn an_unknown_problem_or_threshold_is_refused_with_its_path() {
        assert_eq!(
            refused("disabled = [\n \"data-skew\",\n \"smal-files\"]"),
            "line 3: disabled: unknown problem \"smal-files\"; did you mean \"small-files\"?"
        );
        assert_eq!(
            refused("[rules.dataskew]\n"),
            "line 1: rules.dataskew: there is no such rule; did you mean \"data-skew\"?"
        );
        assert_eq!(
            refused("[rules.data-skew]\ntask_facto = 4"),
            "line 2: rules.data-skew.task_facto: unknown threshold; did you mean \"task_factor\"?"
        );
    }

    #[test]
    fn a_threshold_that_is_no_usable_number_is_refused() {
        for value in ["nan", "-nan", "inf", "-1", "-0.5"] {
            assert_eq!(
                refused(&format!("[rules.data-skew]\ntask_factor = {value}")),
                "line 2: rules.data-skew.task_factor: expected a number that is finite and not negative",
                "{value}"
            );
        }
        assert_eq!(
            refused("[rules.data-skew]\ntask_factor = \"4\""),
            "line 2: rules.data-skew.task_factor: expected a number"
        );
    }

    #[test]
    fn a_share_over_one_is_refused_with_the_range_and_a_factor_is_not() {
        assert_eq!(
            refused("[rules.data-skew]\ntask_factor = 50\nfloor_share = 50"),
            "line 3: rules.data-skew.floor_share: it is a share: expected a number from 0 to 1"
        );
        assert_eq!(
            refused("[rules.gc-pressure]\ngc_ratio = 1.01"),
            "line 2: rules.gc-pressure.gc_ratio: it is a share: expected a number from 0 to 1"
        );
        assert!(Config::from_toml("[rules.gc-pressure]\ngc_ratio = 1").is_ok(), "all of the time is a share");
    }

    #[test]
    fn text_that_is_no_toml_is_refused_with_its_line() {
        assert!(refused("only = [\"data-skew\"]\nfail_on = ").starts_with("line 2: "), "{}", refused("a = 1\nb ="));
    }
}
