//! The rules: what someone thought of. Each is one file with metadata, documentation, thresholds, check and advice.
//!
//! A rule is a pure function of a run and its features. A rule that lacks its input says so ([`Outcome::Skipped`]); it
//! is never silently clear. Every rule has a floor below which a pattern costs nobody anything.

mod assess;
mod audit;
mod deployment;
mod failures;
mod finding;
mod gaps;
mod naming;
mod plan;
mod problem;
mod root_cause;
mod rule;
mod rules;
mod settings;
mod support;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_failures;
mod trials;
pub mod words;

pub use assess::{Assessment, DetectorConfig, Skipped, assess, outcomes, rank, tell};
pub use audit::{ConfigurationNote, audit};
pub use finding::{Advice, Consequence, Detector, Evidence, Finding, Harm, Savings, Severity, Subject, Value};
pub use problem::Problem;
pub use root_cause::{Frame, RootCause};
pub use rule::{Context, Outcome, Rule, Threshold};
pub use rules::RULES;
pub use settings::{Setting, Settings};
pub use trials::{TRIALS, Trial, Tried};
