//! Rules, models and all together, on the same runs: which of them finds what, how sure the figures are, and what is taken for what.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_learn::metrics::{average_precision, bootstrap, brier, precision_recall, reliability};
use emberscope_rules::{Finding, Problem, Severity};
use serde::Serialize;

use super::{COUNTED_STRENGTH, LabelledRun, Tally, Told, figures};
use crate::diagnosis::Diagnosis;
use crate::models::Said;

/// Resamplings of an interval.
const RESAMPLINGS: usize = 1_000;
/// Groups of the probabilities.
const GROUPS: usize = 10;

/// Whose findings are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detectors {
    /// What rules find.
    Rules,
    /// What trained trees and forests of trees call, told in a diagnosis or not.
    Models,
    /// What the isolation forest flags, told in a diagnosis or not. It names no problem.
    IsolationForest,
    /// What any of them finds.
    Together,
}

impl Detectors {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Rules, Self::Models, Self::IsolationForest, Self::Together];

    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Models => "models",
            Self::IsolationForest => "isolation forest",
            Self::Together => "together",
        }
    }

    /// Whether a finding is one of theirs. What is only unusual names no problem.
    pub(super) fn found(self, finding: &Finding) -> bool {
        let by_rule =
            || std::iter::once(&finding.detector).chain(&finding.also).any(|detector| detector.kind == "rule");
        finding.problem != Problem::UnknownAnomaly && (self != Self::Rules || by_rule())
    }
}

/// The figures of some detectors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorFigures {
    /// Whose.
    pub detectors: Detectors,
    /// Mean F1 over the problems that have a labelled run of strength 2 or more; null when there is none.
    pub macro_f1: Option<f64>,
    /// Between which values it lies with 95 % over such sets of runs (bootstrap over workload families, whose runs are alike); null when there
    /// is none.
    pub macro_f1_interval: Option<(f64, f64)>,
    /// Healthy runs without a finding of severity warning or above; null for models and forest, whose calls have no severity.
    pub healthy_runs_without_warning: Option<u64>,
    /// Findings in healthy runs, for each of these runs, anomalies among them; null without healthy runs.
    pub false_alarms_per_healthy_run: Option<f64>,
    /// F1 of each problem that has a labelled run.
    pub f1: BTreeMap<&'static str, f64>,
}

/// What is told of a problem instead of one that is there, and in how many runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Confused {
    /// The problem that is there and was not found.
    pub labelled: &'static str,
    /// The one that was found and is not there.
    pub found: &'static str,
    /// Runs.
    pub runs: u64,
}

/// How often findings of about the same confidence are right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Confidence {
    /// Findings.
    pub findings: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them whose problem is there.
    pub right: f64,
}

/// What isolation forests flag, told by other detectors or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Anomalies {
    /// Healthy runs.
    pub healthy_runs: u64,
    /// Those of them that are flagged.
    pub healthy_runs_flagged: u64,
    /// Runs with a problem of strength 4.
    pub severe_runs: u64,
    /// Those of them that are flagged.
    pub severe_runs_flagged: u64,
    /// Runs in which the forest did not look, as they are unlike all of the training; they are none of the above.
    pub not_looked_at: u64,
}

/// What was told of a labelled run.
#[derive(Debug, Clone)]
pub(super) struct ToldRun {
    pub(super) label: LabelledRun,
    findings: Vec<Finding>,
    pub(super) said: Said,
    /// What no rule looked at: whatever a model calls is a finding.
    models_only: bool,
}

impl ToldRun {
    pub(super) fn of(label: &LabelledRun, diagnosis: &Diagnosis, at: Severity) -> Self {
        let findings = diagnosis.findings.iter().filter(|finding| finding.severity >= at).cloned().collect();
        Self { label: label.clone(), findings, said: diagnosis.said.clone().unwrap_or_default(), models_only: false }
    }

    /// A run that only models looked at.
    pub(super) fn by_models(label: &LabelledRun, said: Said) -> Self {
        Self { label: label.clone(), findings: said.calls.clone(), said, models_only: true }
    }

    /// The findings of some detectors.
    pub(super) fn by(&self, detectors: Detectors) -> Vec<&Finding> {
        match detectors {
            Detectors::Models => self.said.calls.iter().collect(),
            Detectors::IsolationForest => Vec::new(),
            _ => self.findings.iter().filter(|finding| detectors.found(finding)).collect(),
        }
    }

    /// Whether the isolation forest is one of some detectors and says that the run stands out.
    fn anomalies(&self, detectors: Detectors) -> usize {
        let told = || self.findings.iter().filter(|finding| finding.problem == Problem::UnknownAnomaly).count();
        match detectors {
            Detectors::IsolationForest => usize::from(self.said.stands_out),
            Detectors::Together => told(),
            Detectors::Rules | Detectors::Models => 0,
        }
    }

    /// The problems that are labelled or found.
    pub(super) fn problems(&self, findings: &[&Finding]) -> BTreeSet<Problem> {
        findings.iter().map(|finding| finding.problem).chain(self.label.problems.keys().copied()).collect()
    }
}

/// F1 of each problem that has a labelled run of strength 2 or more.
fn f1(runs: &[&ToldRun], detectors: Detectors) -> BTreeMap<&'static str, f64> {
    let mut tallies: BTreeMap<Problem, Tally> = BTreeMap::new();
    for run in runs {
        let findings = run.by(detectors);
        for problem in run.problems(&findings) {
            tallies.entry(problem).or_default().take(problem, &run.label, Told::of(problem, &run.label, &findings));
        }
    }
    tallies.iter().filter_map(|(&problem, tally)| Some((problem.name(), figures(problem, tally).f1?))).collect()
}

pub(super) fn mean(values: &BTreeMap<&'static str, f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.values().sum::<f64>() / values.len() as f64)
}

/// The runs of each workload family.
fn families(runs: &[ToldRun]) -> Vec<Vec<&ToldRun>> {
    let mut by_family: BTreeMap<&str, Vec<&ToldRun>> = BTreeMap::new();
    for run in runs {
        by_family.entry(run.label.family.as_str()).or_default().push(run);
    }
    by_family.into_values().collect()
}

/// The figures of each kind of detectors.
pub(super) fn compared(runs: &[ToldRun], looked: impl Fn(Detectors) -> bool) -> Vec<DetectorFigures> {
    let all: Vec<&ToldRun> = runs.iter().collect();
    let families = families(runs);
    let healthy: Vec<&ToldRun> = runs.iter().filter(|run| run.label.healthy()).collect();
    let of = |detectors| {
        let f1_now = f1(&all, detectors);
        let resampled = |places: &[usize]| {
            let drawn = places.iter().filter_map(|&at| families.get(at)).flatten();
            mean(&f1(&drawn.copied().collect::<Vec<_>>(), detectors))
        };
        let quiet = |run: &&&ToldRun| !run.by(detectors).iter().any(|finding| finding.severity >= Severity::Warning);
        let names_problems = detectors != Detectors::IsolationForest;
        let alarms: usize = healthy.iter().map(|run| run.by(detectors).len() + run.anomalies(detectors)).sum();
        DetectorFigures {
            detectors,
            macro_f1: mean(&f1_now).filter(|_| names_problems),
            macro_f1_interval: bootstrap(families.len(), RESAMPLINGS, 0, resampled).filter(|_| names_problems),
            healthy_runs_without_warning: matches!(detectors, Detectors::Rules | Detectors::Together)
                .then(|| healthy.iter().filter(quiet).count() as u64),
            false_alarms_per_healthy_run: (!healthy.is_empty()).then(|| alarms as f64 / healthy.len() as f64),
            f1: if names_problems { f1_now } else { BTreeMap::new() },
        }
    };
    Detectors::ALL.into_iter().filter(|&detectors| looked(detectors)).map(of).collect()
}

/// The area under precision over recall of a problem by the confidence of what names it, and the curve; nothing where no run has it.
pub(super) fn ranked(problem: Problem, runs: &[ToldRun]) -> (Option<f64>, Vec<(f64, f64)>) {
    let told = runs.iter().filter(|run| match run.label.problems.get(&problem) {
        Some(label) => label.strength >= COUNTED_STRENGTH,
        None => !run.label.unsure.contains(&problem),
    });
    let confidence = |run: &ToldRun| {
        // As a tally counts: what is told as following from another problem is found where it is there, and no alarm where it is not.
        let has = run.label.problems.contains_key(&problem);
        let names = |finding: &&Finding| {
            finding.problem == problem || has && super::problems(finding).any(|named| named == problem)
        };
        if run.models_only {
            return run.said.probabilities.get(&problem).copied().unwrap_or(0.0);
        }
        let naming = run.findings.iter().filter(names);
        naming.map(|finding| finding.confidence).fold(0.0, f64::max)
    };
    let (scores, answers): (Vec<f64>, Vec<bool>) =
        told.map(|run| (confidence(run), run.label.problems.contains_key(&problem))).unzip();
    let curve = precision_recall(&scores, &answers);
    // What nothing names is not called at any confidence.
    let named = curve.iter().filter(|point| point.threshold > 0.0);
    (average_precision(&scores, &answers), named.map(|point| (point.recall, point.precision)).collect())
}

/// What is told instead of what is there, the most frequent first.
pub(super) fn confused(runs: &[ToldRun]) -> Vec<Confused> {
    let mut pairs: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    for run in runs {
        let findings = run.by(Detectors::Together);
        let missed = run.label.problems.iter().filter(|(problem, label)| {
            label.strength >= COUNTED_STRENGTH && !Told::of(**problem, &run.label, &findings).named
        });
        for (problem, _) in missed {
            let wrong: BTreeSet<Problem> = findings
                .iter()
                .map(|finding| finding.problem)
                .filter(|found| !run.label.problems.contains_key(found) && !run.label.unsure.contains(found))
                .collect();
            for found in wrong {
                *pairs.entry((problem.name(), found.name())).or_default() += 1;
            }
        }
    }
    let mut confused: Vec<Confused> =
        pairs.into_iter().map(|((labelled, found), runs)| Confused { labelled, found, runs }).collect();
    confused.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.cmp(b)));
    confused
}

/// How often findings are right by their confidence, and the mean square of what the confidence was off by.
pub(super) fn reliable(runs: &[ToldRun]) -> (Vec<Confidence>, Option<f64>) {
    let (mut said, mut right) = (Vec::new(), Vec::new());
    for run in runs {
        for finding in run.by(Detectors::Together) {
            let problem = finding.problem;
            let there = run.label.problems.contains_key(&problem);
            if there || !run.label.unsure.contains(&problem) {
                said.push(finding.confidence);
                right.push(there);
            }
        }
    }
    let groups = reliability(&said, &right, GROUPS).into_iter().map(|group| Confidence {
        findings: group.rows as u64,
        confidence: group.probability,
        right: group.share,
    });
    (groups.collect(), brier(&said, &right))
}

/// What isolation forests flag in healthy runs and in those with a severe problem.
pub(super) fn anomalies(runs: &[ToldRun]) -> Anomalies {
    let mut seen = Anomalies::default();
    for run in runs {
        let flagged = run.said.stands_out;
        if run.said.silent.is_some() {
            seen.not_looked_at += 1;
            continue;
        }
        if run.label.healthy() {
            seen.healthy_runs += 1;
            seen.healthy_runs_flagged += u64::from(flagged);
        } else if run.label.problems.values().any(|label| label.strength == super::STRENGTHS) {
            seen.severe_runs += 1;
            seen.severe_runs_flagged += u64::from(flagged);
        }
    }
    seen
}
