//! Runs the rules over a run, tells consequences with their cause, sets severities and ranks.

use std::collections::BTreeMap;

use emberscope_extract::features::Features;
use emberscope_run::Run;
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Consequence, Finding, Harm, Severity, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome};
use crate::rules::RULES;
use crate::settings::Settings;

/// Share of the run's wall-clock time at stake from which a finding is a warning. Below 5 % a rerun of the same job
/// varies as much: first set by judgement, to be calibrated on labelled runs.
const WARNING_SHARE: f64 = 0.05;
/// Share from which a finding is critical: a quarter of the run. First set by judgement, to be calibrated on labelled runs.
const CRITICAL_SHARE: f64 = 0.25;

/// Which rules run, and with which thresholds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectorConfig {
    /// Only these problems are looked for; all when empty.
    pub only: Vec<Problem>,
    /// These are not.
    pub disabled: Vec<Problem>,
    /// Thresholds that the user set, by problem and name.
    pub thresholds: BTreeMap<Problem, BTreeMap<String, f64>>,
}

impl DetectorConfig {
    /// Whether a problem is looked for.
    pub fn enabled(&self, problem: Problem) -> bool {
        (self.only.is_empty() || self.only.contains(&problem)) && !self.disabled.contains(&problem)
    }
}

/// A detector that could not look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Skipped {
    /// The detector's name.
    pub detector: String,
    /// What it lacks.
    pub missing: Vec<String>,
}

/// What the rules say of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assessment {
    /// The findings, the one that saves most wall-clock time first.
    pub findings: Vec<Finding>,
    /// The rules that could not look.
    pub skipped: Vec<Skipped>,
}

/// Runs every enabled rule over a run.
pub fn assess(run: &Run, features: &Features, config: &DetectorConfig) -> Assessment {
    let settings = Settings::of_run(run);
    let none = BTreeMap::new();
    let mut assessment = Assessment::default();
    for rule in RULES.iter().filter(|rule| config.enabled(rule.problem)) {
        let overrides = config.thresholds.get(&rule.problem).unwrap_or(&none);
        match (rule.check)(&Context::new(run, features, &settings, overrides)) {
            Outcome::Clear => {}
            Outcome::Skipped { missing } => {
                assessment.skipped.push(Skipped { detector: rule.problem.name().to_owned(), missing });
            }
            Outcome::Found(findings) => assessment.findings.extend(findings.into_iter().map(|mut finding| {
                for advice in &mut finding.advice {
                    advice.more = format!("emberscope rule {}", rule.problem);
                }
                finding
            })),
        }
    }
    let wall_clock = features.application.wall_clock_ms;
    for finding in &mut assessment.findings {
        finding.severity = severity(finding, wall_clock);
    }
    assessment.findings = rank(fold_consequences(assessment.findings));
    assessment
}

/// The severity of a finding from the share of wall-clock time that mending it saves, and from harm.
fn severity(finding: &Finding, wall_clock_ms: Option<u64>) -> Severity {
    let by_share = match (finding.savings.wall_clock_ms, wall_clock_ms) {
        (Some(saved), Some(wall)) if wall > 0 => {
            let share = saved as f64 / wall as f64;
            if share >= CRITICAL_SHARE {
                Severity::Critical
            } else if share >= WARNING_SHARE {
                Severity::Warning
            } else {
                Severity::Info
            }
        }
        _ => Severity::Info,
    };
    let by_harm = match finding.harm {
        Harm::None => Severity::Info,
        Harm::RiskOfFailure | Harm::LostWork => Severity::Warning,
        Harm::Failure => Severity::Critical,
    };
    by_share.max(by_harm)
}

/// The finding that would save most wall-clock time first; at equal savings the more severe, the surer, then by name.
pub fn rank(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let failed = |finding: &Finding| finding.harm == Harm::Failure;
        failed(b)
            .cmp(&failed(a))
            .then(b.savings.wall_clock_ms.unwrap_or(0).cmp(&a.savings.wall_clock_ms.unwrap_or(0)))
            .then(b.severity.cmp(&a.severity))
            .then(b.confidence.total_cmp(&a.confidence))
            .then(a.problem.cmp(&b.problem))
            .then(a.subject.cmp(&b.subject))
    });
    findings
}

/// Tells a finding with its cause when a finding that explains it points at the same thing.
fn fold_consequences(findings: Vec<Finding>) -> Vec<Finding> {
    let explained_by = |problem: Problem| {
        RULES.iter().find(|rule| rule.problem == problem).map_or(&[][..], |rule| rule.explained_by)
    };
    // Each finding goes to its first explanation, and on to that one's, so that a chain of causes ends at its root.
    let parents: Vec<Option<usize>> = findings
        .iter()
        .enumerate()
        .map(|(index, finding)| {
            explained_by(finding.problem).iter().find_map(|&cause| {
                findings.iter().enumerate().position(|(other, candidate)| {
                    other != index && candidate.problem == cause && related(candidate, finding)
                })
            })
        })
        .collect();
    let root = |mut index: usize| {
        for _ in 0..findings.len() {
            match parents[index] {
                Some(parent) => index = parent,
                None => return index,
            }
        }
        index
    };
    let roots: Vec<usize> = (0..findings.len()).map(root).collect();
    let mut kept: BTreeMap<usize, Finding> = BTreeMap::new();
    let mut folded = Vec::new();
    for (index, finding) in findings.into_iter().enumerate() {
        if roots[index] == index || roots.get(roots[index]) != Some(&roots[index]) {
            kept.insert(index, finding);
        } else {
            folded.push((roots[index], finding));
        }
    }
    for (root, finding) in folded {
        if let Some(cause) = kept.get_mut(&root) {
            absorb(cause, finding);
        }
    }
    kept.into_values().collect()
}

fn absorb(cause: &mut Finding, finding: Finding) {
    cause.severity = cause.severity.max(finding.severity);
    cause.harm = cause.harm.max(finding.harm);
    // The consequence's time is lost because of the cause: the larger of the two, never their sum.
    if finding.savings.wall_clock_ms > cause.savings.wall_clock_ms {
        cause.savings = finding.savings;
    }
    if cause.because.is_none() {
        cause.because = finding.because;
    }
    let mut subjects = vec![finding.subject];
    subjects.extend(finding.more_subjects);
    cause.consequences.push(Consequence { problem: finding.problem, summary: finding.summary, subjects });
    cause.consequences.extend(finding.consequences);
}

/// Whether two findings point at the same thing: a shared stage, executor, SQL execution or job, or either at the run.
fn related(cause: &Finding, finding: &Finding) -> bool {
    cause.subjects().any(|a| finding.subjects().any(|b| overlap(a, b)))
}

fn overlap(a: &Subject, b: &Subject) -> bool {
    let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
    a.kind == "run"
        || b.kind == "run"
        || same(a.stage_id, b.stage_id)
        || same(a.sql_execution_id, b.sql_execution_id)
        || same(a.job_id, b.job_id)
        || (a.executor_id.is_some() && a.executor_id == b.executor_id)
}
