//! Runs the rules over a run, tells consequences with their cause, sets severities and ranks.

mod fold;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use emberscope_extract::features::Features;
use emberscope_run::Run;
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Finding, Harm, Severity};
use crate::problem::Problem;
use crate::rule::{Context, Outcome};
use crate::rules::RULES;
use crate::settings::Settings;
use crate::words;

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
        // A first estimate can be over the whole; nobody saves more than the run took.
        if let (Some(saved), Some(wall)) = (&mut finding.savings.wall_clock_ms, wall_clock) {
            *saved = wall.min(*saved);
        }
        finding.severity = severity(finding, wall_clock);
        finding.confidence = words::rounded(finding.confidence);
    }
    assessment.findings = rank(fold::fold_consequences(assessment.findings));
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
