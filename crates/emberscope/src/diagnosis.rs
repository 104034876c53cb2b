//! The diagnosis of one run, as the JSON promises it: fields are added, never changed in meaning.

use emberscope_rules::{ConfigurationNote, Finding, Severity, Skipped};
use schemars::JsonSchema;
use serde::Serialize;

use crate::models::Said;

/// Version of the JSON; the first number changes when a field is taken away or changes its meaning.
pub const SCHEMA_VERSION: &str = "1.0";

/// Everything that Emberscope says of one run. `null` is unknown; `0` was measured.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// Version of this format.
    pub schema_version: String,
    /// Version of the program that wrote it.
    pub emberscope_version: String,
    /// The run.
    pub run: RunSummary,
    /// What was read.
    pub sources: Vec<SourceSummary>,
    /// Trouble in reading, one entry a code.
    pub import_issues: Vec<ImportIssueSummary>,
    /// The detectors that could not look, and what they lacked.
    pub skipped: Vec<Skipped>,
    /// How many detectors looked, and what they found.
    pub counts: Counts,
    /// The findings, the one whose mending saves most wall-clock time first.
    pub findings: Vec<Finding>,
    /// What the run shows of its configuration and no finding advises already, by key; empty when only some problems were
    /// asked for.
    pub configuration: Vec<ConfigurationNote>,
    /// What models say by themselves, told by a finding or not; `None` without models. Evaluation needs it, reports do not.
    #[serde(skip)]
    pub said: Option<Said>,
}

/// One attempt of an application, as far as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct RunSummary {
    /// The id that the cluster manager gave.
    pub application_id: Option<String>,
    /// Which attempt of it.
    pub attempt_id: Option<String>,
    /// `spark.app.name`.
    pub application_name: Option<String>,
    /// The user who started it.
    pub user: Option<String>,
    /// Spark's version as the log says it.
    pub spark_version: Option<String>,
    /// Start of the application (RFC 3339, UTC).
    pub started_at: Option<String>,
    /// End of the application (RFC 3339, UTC); null when it was not seen.
    pub ended_at: Option<String>,
    /// Whether the end of the application was seen; times are as far as the log goes otherwise.
    pub complete: bool,
    /// Exit code of the driver (Spark 4.1 on).
    pub exit_code: Option<i64>,
    /// From start to end, or to the last time known, in ms.
    pub wall_clock_ms: Option<u64>,
    /// Time in which at least one task ran, in ms.
    pub busy_ms: u64,
    /// Cores times time that executors were held, in ms; null when no executor says its cores or its start.
    pub core_ms_held: Option<u64>,
    /// Cores times time that tasks ran, in ms.
    pub core_ms_used: u64,
    /// Executors that were added; a cluster's driver is none.
    pub executors: u64,
    /// Executors that went before the end, for whatever reason.
    pub executors_removed: u64,
    /// The most task slots from the first launch to the last end of a task; null when not known.
    pub slots_max: Option<u64>,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that failed.
    pub failed_jobs: u64,
    /// Stage attempts that ran.
    pub stage_attempts: u64,
    /// Stage attempts that failed.
    pub failed_stage_attempts: u64,
    /// Stages whose output was there already, or that never started.
    pub skipped_stages: u64,
    /// SQL executions.
    pub sql_executions: u64,
    /// Task attempts by how they ended.
    pub tasks: TaskSummary,
    /// Time that tasks ran on executors, in ms, over all attempts; null when none says it.
    pub task_run_ms: Option<u64>,
    /// The part of it in which the executor's JVM collected garbage, in ms; a pause is counted by every task that waited for it.
    pub task_gc_ms: Option<u64>,
    /// Bytes that tasks spilled, as they were in memory; null when none says it.
    pub memory_bytes_spilled: Option<u64>,
    /// Bytes that tasks spilled, as they were on disk; null when none says it.
    pub disk_bytes_spilled: Option<u64>,
}

/// Task attempts by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TaskSummary {
    /// All that ended, resubmissions not among them.
    pub ended: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed.
    pub failed: u64,
    /// Killed on purpose.
    pub killed: u64,
    /// Ran again after their output was lost.
    pub resubmitted: u64,
    /// Started and not ended when the log ended.
    pub running: u64,
    /// Speculative copies among the ended.
    pub speculative: u64,
}

/// What was read, and how much of it was understood: every event is read, unknown or lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SourceSummary {
    /// `event-log` for now.
    pub kind: String,
    /// Where it was read from, as the user named it.
    pub path: String,
    /// The compressions of its parts by Spark's names (`plain`, `zstd`, ...).
    pub codecs: Vec<String>,
    /// Files or archive entries that it has.
    pub parts: u64,
    /// Events read and understood.
    pub events_read: u64,
    /// Events of a kind that is not known.
    pub events_unknown: u64,
    /// Lines that held no readable event.
    pub events_lost: u64,
    /// Bytes as stored; null for a stream whose length is not known.
    pub bytes: Option<u64>,
    /// Bytes after decompression.
    pub bytes_decompressed: u64,
    /// Whether it ends in the middle of a line, frame or part, or a part of it could not be opened.
    pub truncated: bool,
}

/// One kind of trouble in reading, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImportIssueSummary {
    /// Its name.
    pub code: String,
    /// `info` (nothing that counts was lost), `warning` (something was) or `error` (so much that the diagnosis may be wrong).
    pub severity: IssueLevel,
    /// How often it came.
    pub count: u64,
    /// Where it came first; null when it has no place.
    pub first_at: Option<String>,
    /// What it means.
    pub meaning: String,
}

/// How bad trouble in reading is for what the diagnosis says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IssueLevel {
    /// Nothing that counts was lost.
    Info,
    /// Something was lost, and it is said how much.
    Warning,
    /// So much was lost that the diagnosis may be wrong.
    Error,
}

impl IssueLevel {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How many detectors looked, and what they found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Detectors that were asked to look.
    pub detectors: u64,
    /// Detectors among them that could not.
    pub skipped: u64,
    /// Critical findings.
    pub critical: u64,
    /// Warnings.
    pub warning: u64,
    /// Findings worth knowing.
    pub info: u64,
}

impl Diagnosis {
    /// The highest severity of the findings; `None` without any.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether a finding is of `severity` or a higher one.
    pub fn reaches(&self, severity: Severity) -> bool {
        self.worst().is_some_and(|worst| worst >= severity)
    }
}

/// The diagnoses of several runs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this format: that of [`Diagnosis`].
    pub schema_version: String,
    /// Version of the program that wrote it.
    pub emberscope_version: String,
    /// One for each run that could be read, in the order of the inputs.
    pub diagnoses: Vec<Diagnosis>,
    /// The inputs that could not be read at all.
    pub unreadable: Vec<Unreadable>,
}

/// An input that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unreadable {
    /// The path as it was given or found.
    pub input: String,
    /// Why not.
    pub error: String,
}

impl Report {
    /// A report of diagnoses and inputs that could not be read.
    pub fn new(diagnoses: Vec<Diagnosis>, unreadable: Vec<Unreadable>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            emberscope_version: env!("CARGO_PKG_VERSION").to_owned(),
            diagnoses,
            unreadable,
        }
    }
}
