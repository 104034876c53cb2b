//! Advice that was tried: pairs of labelled runs, one with a problem and the same one as advised.
//!
//! `make lab-advice` records the pairs and writes `trials.json`, which is compiled in. A trial stands by the advice that it
//! was of, in reports and on the rule's page.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::finding::Advice;
use crate::problem::Problem;

/// What came of following a piece of advice.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Its name: the pairs are `datasets/lab/advice/NAME-N.json`.
    #[serde(rename = "trial")]
    pub name: String,
    /// The problem whose advice was followed; `None` for the control, where nothing is changed.
    #[serde(deserialize_with = "named")]
    pub problem: Option<Problem>,
    /// The workload.
    pub family: String,
    /// The strength of the problem, from 1 to 4.
    pub strength: u8,
    /// What was done, in words.
    pub change: String,
    /// Words that the advice says; empty where its settings were applied.
    says: String,
    /// The keys of the settings that were applied; empty where code was changed.
    keys: Vec<String>,
    /// What has to be known to read the figures; may be empty.
    pub note: String,
    /// What it saves where that is not time (`memory`, `cores`); empty where it is.
    pub saves: String,
    /// How many pairs were recorded.
    pub pairs: u64,
    /// In how many more runs with the problem the advice was not given.
    pub without_the_advice: u64,
    /// The run's time after over before: median, least and most of the pairs.
    pub median_ratio: f64,
    /// The least of these ratios.
    pub least_ratio: f64,
    /// The greatest of these ratios.
    pub most_ratio: f64,
    /// Median time of the runs before, in s.
    pub before_s: f64,
    /// Median of the time that was saved, in s; negative where the advised run took longer.
    pub saved_s: f64,
    /// Median of the saving that was stated for the runs before, in s; null where none was.
    pub stated_saving_s: Option<f64>,
    /// Of the runs before, how many ended with an error.
    pub failed_before: u64,
    /// Of the runs after, how many did.
    pub failed_after: u64,
    /// In how many of the runs after the problem was still found.
    pub found_after: u64,
}

/// What came of following a piece of advice, as a finding tells it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Tried {
    /// How many pairs of labelled runs, one with the problem and the same one as advised, were recorded.
    pub pairs: u64,
    /// The run's time as advised over its time before: the median of the pairs.
    pub median_ratio: f64,
    /// The least of these ratios.
    pub least_ratio: f64,
    /// The greatest of these ratios.
    pub most_ratio: f64,
    /// Of the runs before, how many ended with an error.
    pub failed_before: u64,
    /// Of the runs as advised, how many did.
    pub failed_after: u64,
    /// What it saves where that is not time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saves: Option<String>,
}

/// All trials, by name.
pub static TRIALS: LazyLock<Vec<Trial>> = LazyLock::new(|| {
    // The file is written by `make lab-advice`, and a test reads it.
    serde_json::from_str(include_str!("trials.json")).unwrap_or_default()
});

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Problem>, D::Error> {
    Ok(Problem::from_name(&String::deserialize(deserializer)?))
}

impl Trial {
    /// Whether settings were applied; else code was changed.
    pub fn is_of_settings(&self) -> bool {
        self.says.is_empty()
    }

    /// Whether every run took less time for it, and the middle one a tenth less; or all failed before and none after.
    pub fn helped(&self) -> bool {
        self.most_ratio < 1.0 && self.median_ratio <= HELPED || self.mended()
    }

    /// Whether all runs failed before and none after.
    pub fn mended(&self) -> bool {
        self.failed_before == self.pairs && self.failed_after == 0
    }

    /// Whether this is the advice that was tried.
    fn is_of(&self, problem: Problem, advice: &Advice) -> bool {
        self.problem == Some(problem)
            && !(self.says.is_empty() && self.keys.is_empty())
            && if self.is_of_settings() {
                self.keys.len() == advice.config.len() && self.keys.iter().all(|key| advice.config.contains_key(key))
            } else {
                advice.text.contains(&self.says)
            }
    }
}

/// A saving that nobody takes for chance: a tenth of the run.
const HELPED: f64 = 0.9;

/// Notes by a piece of advice for a problem what came of trying it.
pub(crate) fn note(problem: Problem, advice: &mut Advice) {
    let Some(trial) = TRIALS.iter().find(|trial| trial.is_of(problem, advice)) else { return };
    advice.evidence_run = Some(format!("datasets/lab/advice/{}-*.json", trial.name));
    advice.tried = Some(Tried {
        pairs: trial.pairs,
        median_ratio: trial.median_ratio,
        least_ratio: trial.least_ratio,
        most_ratio: trial.most_ratio,
        failed_before: trial.failed_before,
        failed_after: trial.failed_after,
        saves: Some(trial.saves.clone()).filter(|saves| !saves.is_empty()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_trials_can_be_read_and_names_problems() {
        let trials: Vec<Trial> = serde_json::from_str(include_str!("trials.json")).expect("trials.json");
        assert!(!trials.is_empty());
        for trial in trials.iter().filter(|trial| trial.name != "nothing") {
            assert!(trial.problem.is_some(), "{}", trial.name);
            assert_ne!(trial.says.is_empty(), trial.keys.is_empty(), "{}", trial.name);
            assert!(trial.least_ratio <= trial.median_ratio && trial.median_ratio <= trial.most_ratio);
        }
    }

    #[test]
    fn a_trial_stands_by_its_own_advice_only() {
        let says = |text: &str| {
            let mut advice = Advice::text(text);
            note(Problem::RepeatedComputation, &mut advice);
            advice.evidence_run
        };
        assert_eq!(
            says("Cache the DataFrame that ends in this Project once").as_deref(),
            Some("datasets/lab/advice/repeated-computation-*.json")
        );
        assert_eq!(says("Write it as a table"), None);
        let mut serialized = Advice::text("Cache it as MEMORY_AND_DISK_SER with Kryo");
        note(Problem::CacheEviction, &mut serialized);
        assert_eq!(serialized.tried, None);
        let mut other = Advice::text("Cache the DataFrame that ends in this Project once");
        note(Problem::CacheEviction, &mut other);
        assert_eq!(other.tried, None);
    }
}
