//! The facade: from a run's input to its diagnosis. Front ends use this and nothing below it.
//!
//! [`diagnose_run`] computes a [`Diagnosis`] and renders nothing; `emberscope-report` renders one and computes nothing.

mod compose;
mod config;
mod diagnosis;
mod schema;
pub mod suggest;

pub use compose::diagnose_run;
pub use config::{Config, ConfigError, problem, severity};
pub use diagnosis::{
    Counts, Diagnosis, ImportIssueSummary, IssueLevel, Report, RunSummary, SCHEMA_VERSION, SourceSummary, TaskSummary,
    Unreadable,
};
pub use emberscope_rules::{
    Advice, Consequence, Detector, DetectorConfig, Evidence, Finding, Harm, Problem, RULES, Rule, Savings, Severity, Skipped,
    Subject, Threshold, Value, words,
};
pub use emberscope_run::{Timestamp, Unit};
pub use schema::{diagnosis_schema, report_schema};
