//! Stage attempts and their tasks.

use std::collections::{BTreeMap, BTreeSet};

use crate::executor::ExecutorMetrics;
use crate::ids::{
    AccumulatorId, ExecutorId, JobId, RddId, ResourceProfileId, SqlExecutionId, StageId, StageKey, TaskId,
};
use crate::task_store::TaskStore;
use crate::units::{Bytes, Millis, Timestamp};

/// What became of a stage attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageStatus {
    /// It completed.
    Complete,
    /// It failed.
    Failed,
    /// It was submitted and had not ended when the log did.
    Running,
    /// Its output was there already.
    Skipped,
    /// A job named it, and the log ended before it was submitted.
    Pending,
}

impl StageStatus {
    /// The word that tables and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Skipped => "skipped",
            Self::Pending => "pending",
        }
    }
}

/// An RDD of a stage, from its stage info.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RddInfo {
    /// Its id.
    pub id: RddId,
    /// Its class or operator name (`ShuffledRowRDD`, `MapPartitionsRDD`), or the name the user gave.
    pub name: String,
    /// The operator scope's name (`Exchange`, `WholeStageCodegen (1)`, `textFile`).
    pub scope: Option<String>,
    /// The call site.
    pub callsite: Option<String>,
    /// RDDs it is made from.
    pub parent_ids: Vec<RddId>,
    /// How many partitions.
    pub partitions: u64,
    /// How many of them were cached when the stage info was written.
    pub cached_partitions: u64,
    /// Whether a storage level is set: the user asked for it to be cached.
    pub cached: bool,
    /// Whether that level uses memory and disk.
    pub use_disk: bool,
    /// Whether it is kept as objects.
    pub deserialized: bool,
    /// Bytes cached in memory.
    pub memory_size: Bytes,
    /// Bytes cached on disk.
    pub disk_size: Bytes,
}

/// A task that was started and whose end has not been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    /// Its index in the stage.
    pub partition: u64,
    /// Which attempt at the partition.
    pub attempt: u64,
    /// When it was launched.
    pub launched_at: Option<Timestamp>,
    /// Where it runs.
    pub executor: ExecutorId,
    /// Whether it is a speculative copy.
    pub speculative: bool,
}

/// One attempt of a stage.
#[derive(Debug, Clone, Default)]
pub struct StageAttempt {
    /// Stage id and attempt.
    pub key: StageKey,
    /// The call site in short, Spark's stage name (`count at Main.scala:12`).
    pub name: String,
    /// The call site in full: a stack of the driver, cut at a limit.
    pub details: String,
    /// How many tasks it was to run.
    pub num_tasks: u64,
    /// The stages whose output it reads.
    pub parent_ids: Vec<StageId>,
    /// Its RDDs.
    pub rdds: Vec<RddInfo>,
    /// Whether a job that has not ended names it and it was not submitted when the log ended.
    pub pending: bool,
    /// When it was submitted; `None` when it never was.
    pub submitted_at: Option<Timestamp>,
    /// When it completed or failed.
    pub completed_at: Option<Timestamp>,
    /// Why it failed, cut at a limit; `None` when it did not.
    pub failure_reason: Option<String>,
    /// Its resource profile.
    pub resource_profile: Option<ResourceProfileId>,
    /// Whether push-based shuffle was on for it.
    pub shuffle_push_enabled: Option<bool>,
    /// `ShuffleMapTask` or `ResultTask`, from its tasks.
    pub task_type: Option<String>,
    /// The jobs that name it.
    pub job_ids: BTreeSet<JobId>,
    /// The SQL execution of its jobs.
    pub sql_execution_id: Option<SqlExecutionId>,
    /// The scheduler pool.
    pub pool: Option<String>,
    /// The SQL metrics and user accumulators it updated.
    pub accumulators: BTreeSet<AccumulatorId>,
    /// Its finished task attempts.
    pub tasks: TaskStore,
    /// Tasks started and not ended when the log ended.
    pub running: BTreeMap<TaskId, RunningTask>,
    /// How many tasks were seen to start.
    pub tasks_started: u64,
    /// Peaks by executor while it ran (`SparkListenerStageExecutorMetrics`).
    pub executor_peaks: BTreeMap<ExecutorId, ExecutorMetrics>,
    /// How many speculative copies the scheduler asked for (`SparkListenerSpeculativeTaskSubmitted`).
    pub speculative_submitted: u64,
    /// Whether a task set of it could not be scheduled for exclusions (`SparkListenerUnschedulableTaskSetAdded`).
    pub unschedulable: bool,
}

impl StageAttempt {
    /// What became of it, by its own events.
    pub fn status(&self) -> StageStatus {
        match (self.submitted_at, self.completed_at, &self.failure_reason) {
            (_, _, Some(_)) => StageStatus::Failed,
            (Some(_), Some(_), None) => StageStatus::Complete,
            (Some(_), None, None) => StageStatus::Running,
            (None, ..) if !self.tasks.is_empty() || !self.running.is_empty() => StageStatus::Running,
            (None, ..) if self.pending => StageStatus::Pending,
            (None, ..) => StageStatus::Skipped,
        }
    }

    /// From submission to completion; `None` when either is not known.
    pub fn duration(&self) -> Option<Millis> {
        Some(self.completed_at?.since(self.submitted_at?))
    }
}
