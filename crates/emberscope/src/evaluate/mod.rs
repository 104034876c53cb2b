//! How good the findings are on runs whose truth is known.
//!
//! A labelled problem counts as found when a finding of the run names it, by itself or among its consequences. A finding of a
//! problem that is not labelled is a false alarm, unless it is a consequence of another. Strength 1, hardly there, is on the
//! curve and counts neither as a miss nor as an alarm: a rule has a floor below which it is silent on purpose. The same holds
//! for what was brought about and had no effect.

mod added;
mod calibration;
mod detectors;
mod labels;

use std::collections::{BTreeMap, BTreeSet};

pub use added::Added;
use detectors::ToldRun;
use emberscope_extract::sources::{DiscoverLimits, InputError, RunInput, discover};
use emberscope_learn::LearnError;
use emberscope_learn::metrics::wilson;
use emberscope_rules::{Finding, Problem, RULES, Severity, Subject};
use serde::Serialize;

pub use calibration::{Calibration, Point, RuleCurve, ThresholdCurve, calibrate};
pub use detectors::{Anomalies, Confidence, Confused, DetectorFigures, Detectors};
pub use labels::{Label, LabelError, LabelSubject, LabelledRun, STRENGTHS, read_labels};

use crate::batch::{BatchOptions, diagnose_all};
use crate::config::Config;
use crate::diagnosis::Diagnosis;
use crate::models::{Models, ObservedRun};

/// The least strength that a rule is held to.
const COUNTED_STRENGTH: u8 = 2;

/// The figures over a set of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Runs that were looked at.
    pub runs: u64,
    /// Runs in which nothing was brought about.
    pub healthy_runs: u64,
    /// Those of them without a finding of severity warning or critical; null where no rule looked, as nothing has a severity then.
    pub healthy_runs_without_warning: Option<u64>,
    /// The least severity that counts as found.
    pub at: Severity,
    /// Mean over the problems that have a labelled run of strength 2 or more; null when there is none.
    pub macro_f1: Option<f64>,
    /// Each problem that has a label or a finding.
    pub problems: Vec<ProblemFigures>,
    /// Rules and models, each by themselves and together.
    pub detectors: Vec<DetectorFigures>,
    /// What is told instead of what is there.
    pub confusion: Vec<Confused>,
    /// What rules and models would find together if models spoke from a probability on, for each of some; empty where either did not look.
    pub added: Vec<Added>,
    /// How often findings are right by their confidence.
    pub reliability: Vec<Confidence>,
    /// The mean square of what the confidence of findings was off by; null without findings.
    pub brier: Option<f64>,
    /// What isolation forests flag; null where none looked.
    pub anomalies: Option<Anomalies>,
    /// Runs of workload families that the models were trained on: what models find there says nothing of other runs. Null without models.
    pub trained_on_runs: Option<u64>,
    /// Labelled problems of strength 2 or more that no finding names.
    pub misses: Vec<Miss>,
    /// Findings of problems that are not there.
    pub false_alarms: Vec<FalseAlarm>,
    /// Logs that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// The figures of one problem.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProblemFigures {
    /// The problem.
    pub problem: Problem,
    /// By strength from 1: labelled runs, and those found among them.
    pub by_strength: Vec<Found>,
    /// Labelled runs of strength 2 or more that were found.
    pub true_positives: u64,
    /// Runs with a finding and without a label.
    pub false_positives: u64,
    /// Labelled runs of strength 2 or more that were not found.
    pub false_negatives: u64,
    /// Of what was found, the share that is there; null when nothing was found.
    pub precision: Option<f64>,
    /// Of what is there, the share that was found; null when nothing is there.
    pub recall: Option<f64>,
    /// Between which values the precision lies with 95 % (Wilson).
    pub precision_interval: Option<(f64, f64)>,
    /// The same for the recall.
    pub recall_interval: Option<(f64, f64)>,
    /// The harmonic mean of both; null when nothing is there.
    pub f1: Option<f64>,
    /// Between which values it lies with 95 %: as F1 is 2 j / (1 + j) of the share j that is right of all that is there or told, Wilson's interval
    /// of j.
    pub f1_interval: Option<(f64, f64)>,
    /// The area under precision over recall by the confidence of what names the problem; null when nothing is there, and where only
    /// rules are moved.
    pub average_precision: Option<f64>,
    /// Recall and precision at each confidence, from the highest on.
    pub curve: Vec<(f64, f64)>,
    /// Of the runs found whose label names subjects, the share in which the finding names one of them; null without such.
    pub subject_share: Option<f64>,
}

/// Labelled runs, and those found among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Runs with the label.
    pub labelled: u64,
    /// Those in which it was found.
    pub found: u64,
}

/// A problem that is there and was not found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Miss {
    /// The problem.
    pub problem: &'static str,
    /// The run.
    pub run: String,
    /// How strong it is.
    pub strength: u8,
    /// What was found instead.
    pub instead: Vec<&'static str>,
    /// Why, where the labels have a remark on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A finding of a problem that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FalseAlarm {
    /// The problem.
    pub problem: &'static str,
    /// The run.
    pub run: String,
    /// The finding's severity.
    pub severity: Severity,
    /// What is there.
    pub labelled: Vec<&'static str>,
    /// Why, where the labels have a remark on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Default)]
struct Tally {
    by_strength: [Found; STRENGTHS as usize],
    true_positives: u64,
    false_positives: u64,
    false_negatives: u64,
    with_subject: Found,
}

/// Diagnoses labelled runs and compares. Findings below `at` do not count.
///
/// # Errors
///
/// When a log is not there or is no event log.
pub fn evaluate(
    runs: &[LabelledRun],
    config: &Config,
    at: Severity,
    options: &BatchOptions<'_>,
) -> Result<Evaluation, InputError> {
    let mut counting = Counting { at, ..Counting::default() };
    counting.trained_on = config.models.models().map(|models| models.manifest.families.iter().cloned().collect());
    let found = inputs(runs)?;
    counting.unreadable = found.unreadable;
    let mut truth = found.runs.into_iter();
    diagnose_all(&found.logs, config, options, |input, result| {
        // Every run has one input, and they come in order.
        if let Some(run) = truth.next() {
            match result {
                Ok(diagnosis) => counting.take(run, &diagnosis),
                Err(error) => counting.unreadable.push(format!("{}: {error}", input.path)),
            }
        }
    });
    Ok(counting.finish())
}

/// Compares what models say of labelled runs that were observed with what is there, as [`evaluate`] does. Rules do not look, nothing has a
/// severity, and whatever a model calls is a finding.
///
/// # Errors
///
/// When an observation is infinite.
pub fn evaluate_models(runs: &[ObservedRun], models: &Models) -> Result<Evaluation, LearnError> {
    let mut counting = Counting { models_only: true, ..Counting::default() };
    counting.trained_on = Some(models.manifest.families.iter().cloned().collect());
    for run in runs {
        let told = ToldRun::by_models(&run.label, models.say(run)?);
        counting.count(told, false);
    }
    Ok(counting.finish())
}

/// The inputs of labelled runs, one each and in their order.
struct Inputs<'a> {
    logs: Vec<RunInput>,
    runs: Vec<&'a LabelledRun>,
    unreadable: Vec<String>,
}

fn inputs(runs: &[LabelledRun]) -> Result<Inputs<'_>, InputError> {
    let mut found = Inputs { logs: Vec::new(), runs: Vec::new(), unreadable: Vec::new() };
    for run in runs {
        if let Some(input) = discover(&run.log, &DiscoverLimits::default())?.runs.into_iter().next() {
            found.logs.push(input);
            found.runs.push(run);
        } else {
            found.unreadable.push(format!("{}: no event log", run.log.display()));
        }
    }
    Ok(found)
}

/// What a run's findings say of one problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    /// A finding names it, by itself or among its consequences.
    named: bool,
    /// It is a finding by itself.
    own: bool,
    /// A finding that names it points at a subject of the label.
    pointed: bool,
}

impl Told {
    fn of(problem: Problem, run: &LabelledRun, findings: &[&Finding]) -> Self {
        let naming = || findings.iter().filter(|finding| problems(finding).any(|named| named == problem));
        let labels = run.problems.get(&problem).map_or(&[][..], |label| &label.subjects);
        Self {
            named: naming().next().is_some(),
            own: findings.iter().any(|finding| finding.problem == problem),
            pointed: naming().any(|finding| points_at(finding, labels)),
        }
    }
}

impl Tally {
    /// Counts one run; false alarms among them.
    fn take(&mut self, problem: Problem, run: &LabelledRun, told: Told) {
        let Some(label) = run.problems.get(&problem) else {
            self.false_positives += u64::from(told.own && !run.unsure.contains(&problem));
            return;
        };
        let found = u64::from(told.named);
        let place = usize::from(label.strength.clamp(1, STRENGTHS) - 1);
        self.by_strength[place].labelled += 1;
        self.by_strength[place].found += found;
        if told.named && label.subjects.iter().any(LabelSubject::comparable) {
            self.with_subject.labelled += 1;
            self.with_subject.found += u64::from(told.pointed);
        }
        if label.strength >= COUNTED_STRENGTH {
            self.true_positives += found;
            self.false_negatives += 1 - found;
        }
    }
}

struct Counting {
    at: Severity,
    tallies: BTreeMap<Problem, Tally>,
    runs: u64,
    healthy: u64,
    quiet: u64,
    misses: Vec<Miss>,
    false_alarms: Vec<FalseAlarm>,
    unreadable: Vec<String>,
    told: Vec<ToldRun>,
    trained_on: Option<BTreeSet<String>>,
    models_only: bool,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            at: Severity::Info,
            tallies: BTreeMap::new(),
            runs: 0,
            healthy: 0,
            quiet: 0,
            misses: Vec::new(),
            false_alarms: Vec::new(),
            unreadable: Vec::new(),
            told: Vec::new(),
            trained_on: None,
            models_only: false,
        }
    }
}

impl Counting {
    fn take(&mut self, run: &LabelledRun, diagnosis: &Diagnosis) {
        self.count(ToldRun::of(run, diagnosis, self.at), !diagnosis.reaches(Severity::Warning));
    }

    fn count(&mut self, told_run: ToldRun, quiet: bool) {
        let run = &told_run.label;
        self.runs += 1;
        if run.healthy() {
            self.healthy += 1;
            self.quiet += u64::from(quiet);
        }
        let findings = told_run.by(Detectors::Together);
        let own: BTreeSet<Problem> = findings.iter().map(|finding| finding.problem).collect();
        for &problem in own.iter().chain(run.problems.keys()).collect::<BTreeSet<_>>() {
            let told = Told::of(problem, run, &findings);
            let label = run.problems.get(&problem);
            if label.is_some() || !run.unsure.contains(&problem) {
                self.tallies.entry(problem).or_default().take(problem, run, told);
            }
            match label {
                Some(label) if !told.named && label.strength >= COUNTED_STRENGTH => self.misses.push(Miss {
                    problem: problem.name(),
                    run: run.run.clone(),
                    strength: label.strength,
                    instead: own.iter().map(|problem| problem.name()).collect(),
                    why: run.remarks.get(&problem).cloned(),
                }),
                None if !run.unsure.contains(&problem) => self.false_alarms.push(FalseAlarm {
                    problem: problem.name(),
                    run: run.run.clone(),
                    severity: worst(problem, &findings),
                    labelled: run.problems.keys().map(|problem| problem.name()).collect(),
                    why: run.remarks.get(&problem).cloned(),
                }),
                _ => {}
            }
        }
        self.told.push(told_run);
    }

    fn finish(mut self) -> Evaluation {
        self.misses.sort();
        self.false_alarms.sort();
        let order = |problem: &Problem| RULES.iter().position(|rule| rule.problem == *problem).unwrap_or(usize::MAX);
        let mut problems: Vec<ProblemFigures> =
            self.tallies.iter().map(|(&problem, tally)| figures(problem, tally)).collect();
        problems.sort_by_key(|figures| order(&figures.problem));
        for figures in &mut problems {
            (figures.average_precision, figures.curve) = detectors::ranked(figures.problem, &self.told);
        }
        let (reliability, brier) = detectors::reliable(&self.told);
        let scores: Vec<f64> = problems.iter().filter_map(|figures| figures.f1).collect();
        Evaluation {
            runs: self.runs,
            healthy_runs: self.healthy,
            healthy_runs_without_warning: (!self.models_only).then_some(self.quiet),
            at: self.at,
            macro_f1: (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64),
            problems,
            detectors: detectors::compared(&self.told, |detectors| match detectors {
                Detectors::Rules | Detectors::Together => !self.models_only,
                Detectors::Models | Detectors::IsolationForest => self.trained_on.is_some(),
            }),
            confusion: detectors::confused(&self.told),
            added: if self.trained_on.is_some() && !self.models_only { added::added(&self.told) } else { Vec::new() },
            reliability,
            brier,
            anomalies: self.trained_on.is_some().then(|| detectors::anomalies(&self.told)),
            trained_on_runs: self
                .trained_on
                .as_ref()
                .map(|families| self.told.iter().filter(|run| families.contains(&run.label.family)).count() as u64),
            misses: self.misses,
            false_alarms: self.false_alarms,
            unreadable: self.unreadable,
        }
    }
}

/// The worst severity of a problem's findings.
fn worst(problem: Problem, findings: &[&Finding]) -> Severity {
    let own = findings.iter().filter(|finding| finding.problem == problem);
    own.map(|finding| finding.severity).max().unwrap_or(Severity::Info)
}

/// The problem of a finding, and those that follow from it.
pub(crate) fn problems(finding: &Finding) -> impl Iterator<Item = Problem> + '_ {
    std::iter::once(finding.problem).chain(finding.consequences.iter().map(|consequence| consequence.problem))
}

/// Everything that a finding points at.
fn subjects(finding: &Finding) -> impl Iterator<Item = &Subject> {
    let consequences = finding.consequences.iter().flat_map(|consequence| &consequence.subjects);
    std::iter::once(&finding.subject).chain(&finding.more_subjects).chain(consequences)
}

fn points_at(finding: &Finding, labels: &[LabelSubject]) -> bool {
    subjects(finding).any(|subject| {
        labels.iter().any(|label| {
            let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
            same(label.stage_id, subject.stage_id)
                || same(label.sql_execution_id, subject.sql_execution_id)
                || (label.executor_id.is_some() && label.executor_id == subject.executor_id)
        })
    })
}

fn figures(problem: Problem, tally: &Tally) -> ProblemFigures {
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let (hits, alarms, misses) = (tally.true_positives, tally.false_positives, tally.false_negatives);
    ProblemFigures {
        problem,
        by_strength: tally.by_strength.to_vec(),
        true_positives: hits,
        false_positives: alarms,
        false_negatives: misses,
        precision: share(hits, hits + alarms),
        recall: share(hits, hits + misses),
        precision_interval: wilson(hits, hits + alarms),
        recall_interval: wilson(hits, hits + misses),
        f1_interval: (hits + misses > 0).then(|| wilson(hits, hits + alarms + misses)).flatten().map(|(low, high)| {
            let f1 = |of: f64| 2.0 * of / (1.0 + of);
            (f1(low), f1(high))
        }),
        average_precision: None,
        curve: Vec::new(),
        f1: (hits + misses > 0).then(|| 2.0 * hits as f64 / (2 * hits + alarms + misses) as f64),
        subject_share: share(tally.with_subject.found, tally.with_subject.labelled),
    }
}
