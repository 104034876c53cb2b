//! What models could add to the rules: macro F1 of both together by the probability from which models speak.

use std::collections::BTreeMap;

use emberscope_rules::{Finding, Problem, Subject};
use serde::Serialize;

use super::detectors::{Detectors, ToldRun, mean};
use super::{COUNTED_STRENGTH, Tally, Told, figures};

/// Steps of the probability.
const STEPS: u32 = 20;

/// Rules and models together, if models spoke from a probability on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Added {
    /// From this probability on.
    pub probability: f64,
    /// Problems of strength 2 or more that models would find besides, one a run.
    pub found: u64,
    /// Problems that they would tell and that are not there, one a run.
    pub false_alarms: u64,
    /// Mean F1 of both together; null when no run has a problem.
    pub macro_f1: Option<f64>,
}

/// From a probability of 1 down to [`STEPS`] th of it.
pub(super) fn added(runs: &[ToldRun]) -> Vec<Added> {
    (1..=STEPS).rev().map(|step| from(f64::from(step) / f64::from(STEPS), runs)).collect()
}

fn from(probability: f64, runs: &[ToldRun]) -> Added {
    let mut added = Added { probability, found: 0, false_alarms: 0, macro_f1: None };
    let mut tallies: BTreeMap<Problem, Tally> = BTreeMap::new();
    for run in runs {
        let rules = run.by(Detectors::Rules);
        let named = |problem: Problem| Told::of(problem, &run.label, &rules).named;
        let spoken = run.said.probabilities.iter().filter(|(problem, of)| **of >= probability && !named(**problem));
        let besides: Vec<Finding> =
            spoken.map(|(&problem, &of)| Finding::new(problem, of, Subject::run(), "")).collect();
        for finding in &besides {
            match run.label.problems.get(&finding.problem) {
                Some(label) => added.found += u64::from(label.strength >= COUNTED_STRENGTH),
                None => added.false_alarms += u64::from(!run.label.unsure.contains(&finding.problem)),
            }
        }
        let findings: Vec<&Finding> = rules.into_iter().chain(&besides).collect();
        for problem in run.problems(&findings) {
            tallies.entry(problem).or_default().take(problem, &run.label, Told::of(problem, &run.label, &findings));
        }
    }
    let f1 = tallies.iter().filter_map(|(&problem, tally)| Some((problem.name(), figures(problem, tally).f1?)));
    added.macro_f1 = mean(&f1.collect());
    added
}
