//! The run model: one attempt of a Spark application, as its event log, REST API or trace shows it.
//!
//! Design constraints:
//!
//! - no IO, no JSON, no data frames: sources fill a [`Run`], features read it;
//! - unknown is `None`; `0` is only ever a measured zero. Spark's `-1` and `0` for "not known" end in the sources;
//! - a million tasks fit in memory: tasks live in a packed [`TaskStore`] per stage attempt, not in structs;
//! - everything is ordered, so that what is computed from a run is the same at every run of the program.

mod application;
mod block;
mod configuration;
mod executor;
mod failure;
mod ids;
mod issue;
mod job;
mod run;
mod source;
mod sql;
mod stage;
mod streaming;
mod task_column;
mod task_store;
mod units;

pub use application::{Application, Environment, ResourceProfile, ResourceRequest, major_minor};
pub use block::{BlockUpdateCounts, RddStorage};
pub use configuration::{ConfigError, Configuration, parse_bytes, parse_time};
pub use executor::{Exclusion, Executor, ExecutorMetrics};
pub use failure::{Failure, FailureId, TaskEndKind};
pub use ids::{AccumulatorId, ExecutorId, JobId, RddId, ResourceProfileId, SqlExecutionId, StageId, StageKey, TaskId};
pub use issue::{ImportIssue, ImportIssues, IssueCode, IssueSeverity};
pub use job::{Job, JobResult};
pub use run::Run;
pub use source::Source;
pub use sql::{ConnectOperation, PlanMetric, PlanNode, SqlExecution};
pub use stage::{RddInfo, RunningTask, StageAttempt, StageStatus};
pub use streaming::{MicroBatch, StateOperator, StreamingQuery, StreamingSource};
pub use task_column::{Locality, TaskColumn, TaskStatus, Unit};
pub use task_store::{NULL, TaskPart, TaskRow, TaskStore};
pub use units::{Bytes, Millis, Nanos, Timestamp};
