//! Events: one line of a log as a value, with everything that Emberscope reads of it.

mod application;
mod executor;
mod sql;
mod stage;
mod streaming;
mod task;

use std::fmt;

use compact_str::CompactString;
use emberscope_run::{
    AccumulatorId, ExecutorMetrics, JobId, JobResult, PlanMetric, RddId, ResourceProfile, SqlExecutionId, StageKey,
    TaskColumn, TaskId, Timestamp,
};

use super::json::{Json, JsonError};

pub(super) use application::{ApplicationStart, EnvironmentUpdate, JobStart};
pub(super) use executor::{BlockManager, BlockUpdate, ExecutorAdded};
pub(super) use sql::{SqlPlan, SqlStart};
pub(super) use stage::StageInfo;
pub(super) use task::{FailureText, TaskEnd, TaskStart};

/// Bytes kept of a stack trace or failure message.
pub(super) const MAX_FAILURE_TEXT: usize = 16 << 10;
/// Bytes kept of a call site in full.
pub(super) const MAX_DETAILS: usize = 2 << 10;
/// The end of the year 9999: no clock says more.
pub(super) const LAST_TIME: i64 = 253_402_300_799_999;
/// Bytes kept of a name, description or property.
pub(super) const MAX_NAME: usize = 1 << 10;

/// An event. Names are Spark's without `SparkListener`.
#[derive(Debug, Clone)]
pub(super) enum Event {
    LogStart {
        spark_version: Option<String>,
    },
    DatabricksMetadata {
        spark_version: Option<String>,
    },
    ApplicationStart(Box<ApplicationStart>),
    ApplicationEnd {
        at: Option<Timestamp>,
        exit_code: Option<i64>,
    },
    EnvironmentUpdate(Box<EnvironmentUpdate>),
    ResourceProfileAdded(Box<ResourceProfile>),
    JobStart(Box<JobStart>),
    JobEnd {
        id: JobId,
        at: Option<Timestamp>,
        result: Option<JobResult>,
    },
    StageSubmitted {
        info: Box<StageInfo>,
        pool: Option<String>,
    },
    StageCompleted(Box<StageInfo>),
    StageExecutorMetrics {
        executor: CompactString,
        stage: StageKey,
        metrics: Box<ExecutorMetrics>,
    },
    TaskStart(TaskStart),
    TaskGettingResult,
    TaskEnd(Box<TaskEnd>),
    SpeculativeTaskSubmitted(StageKey),
    UnschedulableTaskSet {
        stage: StageKey,
        added: bool,
    },
    ExecutorAdded(Box<ExecutorAdded>),
    ExecutorRemoved {
        id: CompactString,
        at: Option<Timestamp>,
        reason: Option<String>,
    },
    ExecutorMetricsUpdate {
        executor: CompactString,
        metrics: Vec<(Option<StageKey>, ExecutorMetrics)>,
    },
    ExecutorExcluded {
        id: CompactString,
        at: Timestamp,
        stage: Option<StageKey>,
        failures: Option<u64>,
    },
    ExecutorUnexcluded {
        id: CompactString,
        at: Timestamp,
    },
    NodeExcluded {
        host: String,
        at: Timestamp,
        stage: Option<StageKey>,
        failures: Option<u64>,
    },
    NodeUnexcluded {
        host: String,
        at: Timestamp,
    },
    BlockManagerAdded(Box<BlockManager>),
    BlockManagerRemoved {
        id: CompactString,
    },
    BlockUpdated(Box<BlockUpdate>),
    UnpersistRdd(RddId),
    SqlStart(Box<SqlStart>),
    SqlEnd {
        id: SqlExecutionId,
        at: Option<Timestamp>,
        error: Option<String>,
    },
    SqlAdaptiveUpdate {
        id: SqlExecutionId,
        plan: Box<SqlPlan>,
    },
    SqlAdaptiveMetricUpdate {
        id: SqlExecutionId,
        metrics: Vec<PlanMetric>,
    },
    DriverAccumulatorUpdates {
        values: Vec<(AccumulatorId, i64)>,
    },
    StreamingStarted {
        id: String,
        run_id: String,
        name: Option<String>,
        at: Option<Timestamp>,
    },
    StreamingProgress {
        id: String,
        run_id: String,
        name: Option<String>,
        batch: Box<emberscope_run::MicroBatch>,
    },
    StreamingTerminated {
        id: String,
        run_id: String,
        exception: Option<String>,
    },
    ConnectOperation(Box<emberscope_run::ConnectOperation>),
    /// Understood, and there is nothing in it that a run keeps.
    Noted(&'static str),
    /// Of a kind that is not known.
    Unknown(String),
}

/// Why a line is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventError {
    /// It is not JSON, or not an object with an `Event`.
    Malformed(JsonError),
    /// It has more bytes than the limit and was not looked at.
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// It is an event that lacks a field it cannot be understood without.
    Incomplete {
        /// The event.
        event: String,
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::TooLong { limit } => write!(f, "it has more bytes than max_line_bytes = {limit}"),
            Self::Incomplete { event, field } => write!(f, "{event} has no {field}"),
        }
    }
}

impl From<JsonError> for EventError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error)
    }
}

type Result<T> = std::result::Result<T, EventError>;

const SQL: &str = "org.apache.spark.sql.execution.ui.SparkListener";
const SCHEDULER: &str = "org.apache.spark.scheduler.SparkListener";
const STREAMING: &str = "org.apache.spark.sql.streaming.StreamingQueryListener$";
const CONNECT: &str = "org.apache.spark.sql.connect.service.SparkListenerConnect";

/// The event of a line.
pub(super) fn parse_line(line: &[u8]) -> Result<Event> {
    // Spark writes the name first; writers that do not cost a second look.
    let name = match line.strip_prefix(br#"{"Event":""#) {
        Some(rest) => rest.get(..memchr::memchr(b'"', rest).unwrap_or(0)).unwrap_or_default(),
        None => b"",
    };
    match name {
        b"SparkListenerTaskEnd" => return task::end(line),
        b"SparkListenerTaskStart" => return task::start(line),
        // A name with escapes is read as the string it is.
        name if name.is_empty() || name.contains(&b'\\') => {}
        name => return parse_named(&String::from_utf8_lossy(name), line),
    }
    let mut found = None;
    let mut json = Json::new(line);
    json.object(|key, json| match key {
        b"Event" if found.is_none() => json.text().map(|name| found = name.map(String::from)),
        _ => json.skip(),
    })?;
    let Some(name) = found else {
        return Err(JsonError { at: 0, what: "not an object with an event" }.into());
    };
    match name.as_str() {
        "SparkListenerTaskEnd" => task::end(line),
        "SparkListenerTaskStart" => task::start(line),
        name => parse_named(name, line),
    }
}

fn parse_named(name: &str, line: &[u8]) -> Result<Event> {
    if let Some(short) = name.strip_prefix("SparkListener").or_else(|| name.strip_prefix(SCHEDULER)) {
        return parse_core(short, name, line);
    }
    if let Some(short) = name.strip_prefix(SQL) {
        return sql::parse(short, name, line);
    }
    if let Some(short) = name.strip_prefix(STREAMING) {
        return streaming::parse(short, name, line);
    }
    if let Some(short) = name.strip_prefix(CONNECT) {
        return sql::connect(short, name, line);
    }
    match name {
        "DBCEventLoggingListenerMetadata" => application::databricks(line),
        "DataMechanicsLogComplete" => checked(line, Event::Noted("DataMechanicsLogComplete")),
        name if name.starts_with("org.apache.spark.sql.catalyst.catalog.") => {
            checked(line, Event::Noted("catalog event"))
        }
        _ => checked(line, Event::Unknown(super::json::cut(name, 200))),
    }
}

fn parse_core(short: &str, name: &str, line: &[u8]) -> Result<Event> {
    match short {
        "LogStart" => application::log_start(line),
        "ApplicationStart" => application::start(line),
        "ApplicationEnd" => application::end(line),
        "EnvironmentUpdate" => application::environment(line),
        "ResourceProfileAdded" => application::resource_profile(line),
        "JobStart" => application::job_start(line),
        "JobEnd" => application::job_end(line),
        "StageSubmitted" => stage::submitted(line),
        "StageCompleted" => stage::completed(line),
        "StageExecutorMetrics" => executor::stage_metrics(line),
        "TaskStart" => task::start(line),
        "TaskEnd" => task::end(line),
        "TaskGettingResult" => checked(line, Event::TaskGettingResult),
        "SpeculativeTaskSubmitted" => stage::speculative(line),
        "UnschedulableTaskSetAdded" => stage::unschedulable(line, true),
        "UnschedulableTaskSetRemoved" => stage::unschedulable(line, false),
        "ExecutorAdded" => executor::added(line),
        "ExecutorRemoved" => executor::removed(line),
        "ExecutorMetricsUpdate" => executor::metrics_update(line),
        "ExecutorExcluded" | "ExecutorBlacklisted" | "ExecutorExcludedForStage" | "ExecutorBlacklistedForStage" => {
            executor::excluded(name, line)
        }
        "ExecutorUnexcluded" | "ExecutorUnblacklisted" => executor::unexcluded(name, line),
        "NodeExcluded" | "NodeBlacklisted" | "NodeExcludedForStage" | "NodeBlacklistedForStage" => {
            executor::node_excluded(name, line)
        }
        "NodeUnexcluded" | "NodeUnblacklisted" => executor::node_unexcluded(name, line),
        "BlockManagerAdded" => executor::block_manager_added(line),
        "BlockManagerRemoved" => executor::block_manager_removed(line),
        "BlockUpdated" => executor::block_updated(line),
        "UnpersistRDD" => executor::unpersist(line),
        "MiscellaneousProcessAdded" => checked(line, Event::Noted("MiscellaneousProcessAdded")),
        _ => checked(line, Event::Unknown(super::json::cut(name, 200))),
    }
}

/// An event of which nothing is read: the line must be a whole object all the same.
fn checked(line: &[u8], event: Event) -> Result<Event> {
    let mut json = Json::new(line);
    json.skip()?;
    finish(&mut json)?;
    Ok(event)
}

/// Nothing may follow the object of the event.
fn finish(json: &mut Json<'_>) -> Result<()> {
    if json.at_end() { Ok(()) } else { Err(JsonError { at: 0, what: "something follows the event" }.into()) }
}

/// A field that an event cannot be understood without.
fn need<T>(value: Option<T>, event: &str, field: &'static str) -> Result<T> {
    value.ok_or_else(|| EventError::Incomplete { event: event.to_owned(), field })
}

fn timestamp(json: &mut Json<'_>) -> super::json::Result<Option<Timestamp>> {
    // 0 and -1 stand for "not known".
    Ok(json.signed()?.filter(|at| (1..=LAST_TIME).contains(at)).map(Timestamp))
}

fn compact(json: &mut Json<'_>) -> super::json::Result<Option<CompactString>> {
    Ok(json.text()?.map(|text| CompactString::from(if text == "<driver>" { "driver" } else { &text })))
}

/// An object of executor metrics. All at zero means that nothing was polled: the result is empty then. A
/// process tree of zeros was not measured.
fn executor_metrics(json: &mut Json<'_>) -> super::json::Result<ExecutorMetrics> {
    let mut metrics = ExecutorMetrics::default();
    let mut polled = false;
    json.object(|key, json| {
        let value = json.unsigned()?;
        if let (Some(column), Some(value)) = (executor_metric(key), value) {
            polled |= value > 0;
            metrics.raise(column, value);
        }
        Ok(())
    })?;
    if !polled {
        return Ok(ExecutorMetrics::default());
    }
    let tree = TaskColumn::process_tree_metrics();
    if tree.iter().all(|&column| metrics.get(column).is_none_or(|value| value == 0)) {
        tree.iter().for_each(|&column| metrics.clear(column));
    }
    Ok(metrics)
}

/// The column of an executor metric by Spark's name.
fn executor_metric(key: &[u8]) -> Option<TaskColumn> {
    TaskColumn::executor_metrics()
        .iter()
        .copied()
        .find(|column| column.executor_metric_name().is_some_and(|name| name.as_bytes() == key))
}

/// The task id of a task info.
fn task_id(value: Option<u64>) -> Option<TaskId> {
    value.map(TaskId)
}

impl Event {
    /// Its name without prefix, for people.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::LogStart { .. } => "LogStart",
            Self::DatabricksMetadata { .. } => "DBCEventLoggingListenerMetadata",
            Self::ApplicationStart(_) => "ApplicationStart",
            Self::ApplicationEnd { .. } => "ApplicationEnd",
            Self::EnvironmentUpdate(_) => "EnvironmentUpdate",
            Self::ResourceProfileAdded(_) => "ResourceProfileAdded",
            Self::JobStart(_) => "JobStart",
            Self::JobEnd { .. } => "JobEnd",
            Self::StageSubmitted { .. } => "StageSubmitted",
            Self::StageCompleted(_) => "StageCompleted",
            Self::StageExecutorMetrics { .. } => "StageExecutorMetrics",
            Self::TaskStart(_) => "TaskStart",
            Self::TaskGettingResult => "TaskGettingResult",
            Self::TaskEnd(_) => "TaskEnd",
            Self::SpeculativeTaskSubmitted(_) => "SpeculativeTaskSubmitted",
            Self::UnschedulableTaskSet { .. } => "UnschedulableTaskSet",
            Self::ExecutorAdded(_) => "ExecutorAdded",
            Self::ExecutorRemoved { .. } => "ExecutorRemoved",
            Self::ExecutorMetricsUpdate { .. } => "ExecutorMetricsUpdate",
            Self::ExecutorExcluded { .. } => "ExecutorExcluded",
            Self::ExecutorUnexcluded { .. } => "ExecutorUnexcluded",
            Self::NodeExcluded { .. } => "NodeExcluded",
            Self::NodeUnexcluded { .. } => "NodeUnexcluded",
            Self::BlockManagerAdded(_) => "BlockManagerAdded",
            Self::BlockManagerRemoved { .. } => "BlockManagerRemoved",
            Self::BlockUpdated(_) => "BlockUpdated",
            Self::UnpersistRdd(_) => "UnpersistRDD",
            Self::SqlStart(_) => "SQLExecutionStart",
            Self::SqlEnd { .. } => "SQLExecutionEnd",
            Self::SqlAdaptiveUpdate { .. } => "SQLAdaptiveExecutionUpdate",
            Self::SqlAdaptiveMetricUpdate { .. } => "SQLAdaptiveSQLMetricUpdates",
            Self::DriverAccumulatorUpdates { .. } => "DriverAccumUpdates",
            Self::StreamingStarted { .. } => "QueryStartedEvent",
            Self::StreamingProgress { .. } => "QueryProgressEvent",
            Self::StreamingTerminated { .. } => "QueryTerminatedEvent",
            Self::ConnectOperation(_) => "ConnectOperation",
            Self::Noted(name) => name,
            Self::Unknown(name) => name,
        }
    }
}
