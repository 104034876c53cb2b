//! Runs the rules over a run, tells consequences with their cause, sets severities and ranks.

mod budget;
mod fold;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use emberscope_extract::features::Features;
use emberscope_run::{ImportIssue, IssueCode, IssueSeverity, Run};
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Evidence, Finding, Harm, Severity};
use crate::problem::Problem;
use crate::rule::{Context, Outcome};
use crate::rules::RULES;
use crate::settings::Settings;
use crate::trials;
use crate::words;

/// Share of the run's wall-clock time at stake from which a finding is a warning. Below 5 % a rerun of the same job
/// varies as much: first set by judgement, to be calibrated on labelled runs.
const WARNING_SHARE: f64 = 0.05;
/// Share from which a finding is critical: a quarter of the run. First set by judgement, to be calibrated on labelled runs.
const CRITICAL_SHARE: f64 = 0.25;
/// Confidence from which a finding may be more than an info: what is more likely wrong than right is no warning.
const LEAST_CONFIDENCE: f64 = 0.5;

/// Problems that are seen by what is not in the log: a time without tasks, cores without work.
const SEEN_BY_ABSENCE: &[Problem] = &[Problem::DriverBottleneck, Problem::IdleCores, Problem::SlowStart];
/// Confidence of such a finding at most where events of the log are lost: what is absent may have been there.
const CONFIDENCE_AFTER_LOSS: f64 = 0.4;

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
    /// The findings in the order of [`rank`].
    pub findings: Vec<Finding>,
    /// The rules that could not look.
    pub skipped: Vec<Skipped>,
}

/// Runs every enabled rule over a run.
pub fn assess(run: &Run, features: &Features, config: &DetectorConfig) -> Assessment {
    tell(run, features, outcomes(run, features, config))
}

/// What each enabled rule says of a run by itself, in the order of [`RULES`].
pub fn outcomes(run: &Run, features: &Features, config: &DetectorConfig) -> Vec<(Problem, Outcome)> {
    let settings = Settings::of_run(run);
    let none = BTreeMap::new();
    let enabled = RULES.iter().filter(|rule| config.enabled(rule.problem));
    enabled
        .map(|rule| {
            let overrides = config.thresholds.get(&rule.problem).unwrap_or(&none);
            (rule.problem, (rule.check)(&Context::new(run, features, &settings, overrides)))
        })
        .collect()
}

/// Tells together what the rules said one by one: consequences with their cause, severities, ranks.
pub fn tell(run: &Run, features: &Features, outcomes: Vec<(Problem, Outcome)>) -> Assessment {
    let mut assessment = Assessment::default();
    for (problem, outcome) in outcomes {
        match outcome {
            Outcome::Clear => {}
            Outcome::Skipped { missing } => {
                assessment.skipped.push(Skipped { detector: problem.name().to_owned(), missing });
            }
            Outcome::Found(findings) => assessment.findings.extend(findings.into_iter().map(|mut finding| {
                for advice in &mut finding.advice {
                    advice.more = format!("emberscope rule {problem}");
                    trials::note(problem, advice);
                }
                finding
            })),
        }
    }
    if let Some(lost) = lost_events(run) {
        assessment.findings.iter_mut().for_each(|finding| doubt(finding, &lost));
    }
    let wall_clock = features.application.wall_clock_ms;
    for finding in &mut assessment.findings {
        // A first estimate can be over the whole; nobody saves more than the run took.
        if let (Some(saved), Some(wall)) = (&mut finding.savings.wall_clock_ms, wall_clock) {
            *saved = wall.min(*saved);
        }
    }
    // Consequences first: what is told with its cause takes no part of a stage's time for itself.
    let mut findings = rank(fold::fold_consequences(assessment.findings));
    budget::share_out(&mut findings, features);
    for finding in &mut findings {
        finding.severity = severity(finding, wall_clock);
        finding.confidence = words::rounded(finding.confidence);
    }
    assessment.findings = rank(findings);
    assessment
}

/// What of a log's inside is lost, in words (`corrupt-stream x 4`); `None` when nothing is known to be. A log that ends early
/// has lost nothing inside.
fn lost_events(run: &Run) -> Option<String> {
    let lost = |issue: &&ImportIssue| issue.severity == IssueSeverity::Error || issue.code == IssueCode::DroppedEvents;
    let told: Vec<String> =
        run.issues.iter().filter(lost).map(|issue| format!("{} x {}", issue.code.name(), issue.count)).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Lowers the confidence of a finding that rests on what is not in a log of which events are lost.
fn doubt(finding: &mut Finding, lost: &str) {
    if SEEN_BY_ABSENCE.contains(&finding.problem) && finding.confidence > CONFIDENCE_AFTER_LOSS {
        finding.confidence = CONFIDENCE_AFTER_LOSS;
        finding.evidence.push(Evidence::text("events_lost", lost));
        finding.summary.push_str("; but events of this log are lost, and tasks may have run then");
    }
}

/// The severity of a finding from the share of wall-clock time that mending it saves, and from harm. One that is less than
/// half sure is an info, whatever it would save.
fn severity(finding: &Finding, wall_clock_ms: Option<u64>) -> Severity {
    if !surely(finding) {
        return Severity::Info;
    }
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

/// Whether a finding is at least as likely right as wrong; NaN is not.
fn surely(finding: &Finding) -> bool {
    finding.confidence >= LEAST_CONFIDENCE
}

/// The finding that would save most wall-clock time first, whatever it is: a failed run is told by the verdict, by severity
/// and by harm, and its findings stand where their time puts them. A saving that is not known comes after those that are; at
/// equal savings the more severe, the surer, then by name.
pub fn rank(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        // `None` is less than any time.
        (b.savings.wall_clock_ms.cmp(&a.savings.wall_clock_ms))
            .then(b.severity.cmp(&a.severity))
            .then(b.confidence.total_cmp(&a.confidence))
            .then(a.problem.cmp(&b.problem))
            .then(a.subject.cmp(&b.subject))
    });
    findings
}
