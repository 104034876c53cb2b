//! The facade: from a run's input to its diagnosis. Front ends use this and nothing below it.
//!
//! [`diagnose`] reads a run and computes its [`Diagnosis`], [`diagnose_all`] those of many runs; nothing here renders, and
//! `emberscope-report` renders and computes nothing.

mod batch;
mod compose;
mod config;
mod diagnosis;
pub mod evaluate;
#[cfg(feature = "tables")]
mod extract;
pub mod models;
mod redact;
mod schema;
pub mod suggest;

pub use batch::{BatchOptions, diagnose, diagnose_all};
pub use compose::diagnose_run;
pub use config::{Config, ConfigError, problem, severity};
pub use diagnosis::{
    Counts, Diagnosis, ImportIssueSummary, IssueLevel, Report, RunSummary, SCHEMA_VERSION, SourceSummary, TaskSummary,
    Unreadable,
};
pub use emberscope_extract::features::catalogue;
pub use emberscope_extract::sources::{
    DiscoverLimits, Discovery, InputError, InputIssue, Limits, ReadOptions, RunInput, SourceError, discover,
    inputs::{InputIssueKind, said},
    read_run,
};
#[cfg(feature = "tables")]
pub use emberscope_extract::tables;
pub use emberscope_rules::{
    Advice, ConfigurationNote, Consequence, Detector, DetectorConfig, Evidence, Finding, Harm, Problem, RULES, Rule,
    Savings, Severity, Skipped, Subject, TRIALS, Threshold, Trial, Tried, Value, words,
};
pub use emberscope_run::{Timestamp, Unit};
#[cfg(feature = "tables")]
pub use extract::extract_all;
pub use redact::Redactor;
pub use schema::{diagnosis_schema, report_schema};
