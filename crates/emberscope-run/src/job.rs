//! Jobs.

use std::collections::BTreeMap;

use crate::ids::{JobId, SqlExecutionId, StageId};
use crate::units::{Millis, Timestamp};

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobResult {
    /// It did its work.
    Succeeded,
    /// It failed, with Spark's message (and stack, cut at a limit).
    Failed(String),
}

/// A Spark job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When it ended; `None` when it did not in this log.
    pub completed_at: Option<Timestamp>,
    /// How it ended; `None` when it did not in this log.
    pub result: Option<JobResult>,
    /// Its stages, also those that were skipped.
    pub stage_ids: Vec<StageId>,
    /// The call site, as the page of Spark shows it (`count at Main.scala:12`): the name of its last stage.
    pub name: Option<String>,
    /// `spark.job.description`.
    pub description: Option<String>,
    /// `spark.jobGroup.id`.
    pub group: Option<String>,
    /// `spark.job.tags`.
    pub tags: Option<String>,
    /// `spark.scheduler.pool`.
    pub pool: Option<String>,
    /// The SQL execution it belongs to.
    pub sql_execution_id: Option<SqlExecutionId>,
    /// The outermost SQL execution (Spark 3.3 on).
    pub sql_root_execution_id: Option<SqlExecutionId>,
    /// The streaming query it belongs to (`sql.streaming.queryId`).
    pub streaming_query_id: Option<String>,
    /// The micro-batch it belongs to.
    pub streaming_batch_id: Option<u64>,
    /// `spark.*` properties that the job was started with and that differ from the environment's: set at run time.
    pub properties: BTreeMap<String, String>,
}

impl Job {
    /// From submission to completion; `None` when either is not known.
    pub fn duration(&self) -> Option<Millis> {
        Some(self.completed_at?.since(self.submitted_at?))
    }
}
