//! What every value of a threshold would find: the curves that thresholds are set from.
//!
//! One threshold is moved at a time, all others stay; each time the findings are told together, as in a diagnosis, so that a
//! problem that becomes another one's consequence counts as found.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use emberscope_extract::features::Features;
use emberscope_extract::sources::{InputError, ReadOptions, RunInput, SourceError, read_run};
use emberscope_rules::{
    Assessment, DetectorConfig, Finding, Outcome, Problem, RULES, Rule, Severity, Threshold, outcomes, tell,
};
use emberscope_run::{Run, Unit};
use serde::Serialize;

use super::{LabelledRun, ProblemFigures, Tally, Told, figures, inputs};
use crate::batch::{BatchOptions, Holding, for_each_run};
use crate::config::Config;

/// Factors of a threshold's value that are tried; without the condition at all among them.
const FACTORS: [f64; 12] = [0.0, 0.125, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0];
/// Digits of a value that is tried.
const DIGITS: i32 = 3;

/// The curves of some rules over a set of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Runs that were looked at.
    pub runs: u64,
    /// The least severity that counts as found.
    pub at: Severity,
    /// One entry a rule.
    pub rules: Vec<RuleCurve>,
    /// Logs that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// What a rule finds now, and with each of its thresholds moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleCurve {
    /// The rule's problem.
    pub problem: Problem,
    /// What it finds as it is.
    pub now: ProblemFigures,
    /// One curve a threshold.
    pub thresholds: Vec<ThresholdCurve>,
}

/// What a rule finds by the value of one threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThresholdCurve {
    /// Its name.
    pub name: &'static str,
    /// The value that holds.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// By rising value.
    pub points: Vec<Point>,
}

/// What a rule finds at one value of a threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The value.
    pub value: f64,
    /// The figures.
    pub figures: ProblemFigures,
}

/// One threshold and the values that it is tried with.
struct Trial {
    rule: &'static Rule,
    threshold: &'static Threshold,
    now: f64,
    values: Vec<f64>,
}

/// Looks at labelled runs with each threshold of the rules that the configuration has moved. Findings below `at` do not count.
///
/// # Errors
///
/// When a log is not there or is no event log.
pub fn calibrate(
    runs: &[LabelledRun],
    config: &Config,
    problems: &[Problem],
    at: Severity,
    options: &BatchOptions<'_>,
) -> Result<Calibration, InputError> {
    let wanted: Vec<&'static Rule> = RULES
        .iter()
        .copied()
        .filter(|rule| config.detectors.enabled(rule.problem))
        .filter(|rule| problems.is_empty() || problems.contains(&rule.problem))
        .collect();
    let trials: Vec<Trial> = wanted.iter().flat_map(|rule| trials(rule, &config.detectors)).collect();
    let found = inputs(runs)?;
    let mut unreadable = found.unreadable;
    let mut count = 0;
    let mut now: Vec<Tally> = wanted.iter().map(|_| Tally::default()).collect();
    let mut moved: Vec<Vec<Tally>> =
        trials.iter().map(|trial| trial.values.iter().map(|_| Tally::default()).collect()).collect();
    let truth: BTreeMap<&str, &LabelledRun> =
        found.logs.iter().map(|input| input.path.as_str()).zip(found.runs.iter().copied()).collect();
    let work = |input: &RunInput, options: &ReadOptions<'_>| {
        look(input, truth.get(input.path.as_str()).copied(), &wanted, &trials, &config.detectors, at, options)
    };
    for_each_run(&found.logs, options, Holding::WhileWorking, work, |input, result| {
        match (result, truth.get(input.path.as_str())) {
            (Ok(seen), Some(run)) => {
                count += 1;
                for ((rule, tally), told) in wanted.iter().zip(&mut now).zip(&seen.now) {
                    tally.take(rule.problem, run, *told);
                }
                for ((trial, tallies), told) in trials.iter().zip(&mut moved).zip(&seen.moved) {
                    tallies.iter_mut().zip(told).for_each(|(tally, told)| tally.take(trial.rule.problem, run, *told));
                }
            }
            (Err(error), _) => unreadable.push(format!("{}: {error}", input.path)),
            (Ok(_), None) => {}
        }
        ControlFlow::Continue(())
    });
    let rules = wanted.iter().zip(&now).map(|(rule, now)| RuleCurve {
        problem: rule.problem,
        now: figures(rule.problem, now),
        thresholds: trials
            .iter()
            .zip(&moved)
            .filter(|(trial, _)| trial.rule.problem == rule.problem)
            .map(|(trial, tallies)| curve(trial, tallies))
            .collect(),
    });
    Ok(Calibration { runs: count, at, rules: rules.collect(), unreadable })
}

fn trials(rule: &'static Rule, config: &DetectorConfig) -> Vec<Trial> {
    let own = config.thresholds.get(&rule.problem);
    rule.thresholds
        .iter()
        .map(|threshold| {
            let now = own.and_then(|own| own.get(threshold.name)).copied().unwrap_or(threshold.value);
            let largest = threshold.largest().unwrap_or(f64::INFINITY);
            let mut values: Vec<f64> = FACTORS
                .iter()
                // The value that holds stays as it is, to the last digit.
                .map(|&factor| if (factor - 1.0).abs() < 1e-9 { now } else { rounded(now * factor).min(largest) })
                .collect();
            values.dedup();
            Trial { rule, threshold, now, values }
        })
        .collect()
}

fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let places = DIGITS - 1 - value.abs().log10().floor() as i32;
    // Powers of ten are exact upwards only.
    let power = 10f64.powi(places.abs());
    if places > 0 { (value * power).round() / power } else { (value / power).round() * power }
}

/// What one run shows of each rule as it is, and of each trial by value.
struct Seen {
    now: Vec<Told>,
    moved: Vec<Vec<Told>>,
}

fn look(
    input: &RunInput,
    labelled: Option<&LabelledRun>,
    wanted: &[&'static Rule],
    trials: &[Trial],
    config: &DetectorConfig,
    at: Severity,
    options: &ReadOptions<'_>,
) -> Result<Seen, SourceError> {
    let run = read_run(input, options)?;
    let Some(labelled) = labelled else { return Ok(Seen { now: Vec::new(), moved: Vec::new() }) };
    let features = Features::of(&run);
    let base = outcomes(&run, &features, config);
    let assessment = tell(&run, &features, base.clone());
    let now: Vec<Told> = wanted.iter().map(|rule| told(rule.problem, labelled, &assessment, at)).collect();
    let moved = trials
        .iter()
        .map(|trial| {
            let problem = trial.rule.problem;
            let as_it_is = told(problem, labelled, &assessment, at);
            let mut last: Option<(Outcome, Told)> = None;
            let each = trial.values.iter().map(|&value| {
                let outcome = outcome(&run, &features, config, trial, value);
                if base.iter().any(|(of, known)| *of == problem && *known == outcome) {
                    return as_it_is;
                }
                if let Some((known, told)) = &last
                    && *known == outcome
                {
                    return *told;
                }
                let mut all = base.clone();
                for (_, known) in all.iter_mut().filter(|(of, _)| *of == problem) {
                    known.clone_from(&outcome);
                }
                let told = told(problem, labelled, &tell(&run, &features, all), at);
                last = Some((outcome, told));
                told
            });
            each.collect()
        })
        .collect();
    Ok(Seen { now, moved })
}

/// What a trial's rule says of a run with one of its values.
fn outcome(run: &Run, features: &Features, config: &DetectorConfig, trial: &Trial, value: f64) -> Outcome {
    let mut alone = DetectorConfig { only: vec![trial.rule.problem], ..config.clone() };
    alone.thresholds.entry(trial.rule.problem).or_default().insert(trial.threshold.name.to_owned(), value);
    outcomes(run, features, &alone).pop().map_or(Outcome::Clear, |(_, outcome)| outcome)
}

fn told(problem: Problem, run: &LabelledRun, assessment: &Assessment, at: Severity) -> Told {
    let findings: Vec<&Finding> = assessment.findings.iter().filter(|finding| finding.severity >= at).collect();
    Told::of(problem, run, &findings)
}

fn curve(trial: &Trial, tallies: &[Tally]) -> ThresholdCurve {
    let point = |(&value, tally): (&f64, &Tally)| Point { value, figures: figures(trial.rule.problem, tally) };
    ThresholdCurve {
        name: trial.threshold.name,
        value: trial.now,
        unit: trial.threshold.unit,
        points: trial.values.iter().zip(tallies).map(point).collect(),
    }
}
