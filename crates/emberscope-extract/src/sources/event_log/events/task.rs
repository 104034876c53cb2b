//! Task events: nine tenths of a log, read in one pass without copying what is not kept.

use std::sync::LazyLock;

use compact_str::CompactString;
use emberscope_run::{
    Locality, StageId, StageKey, TaskColumn as C, TaskEndKind, TaskId, TaskRow, TaskStatus, Timestamp,
};
use memchr::memmem::Finder;

use super::super::json::{self, Json};
use super::executor::BlockUpdate;
use super::{Event, LAST_TIME, MAX_FAILURE_TEXT, MAX_NAME, Result, compact, executor, finish, need, task_id};

/// An enumeration of the fields of an object in Spark's order, and what reads such an object: `known` is given each field and must
/// read or skip its value.
macro_rules! fields {
    ($name:ident { $($field:ident => $text:literal),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy)]
        enum $name { $($field),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$field),+];
            const TEXTS: &[&[u8]] = &[$(concat!("\"", $text, "\":").as_bytes()),+];

            #[inline]
            fn read<'a, S>(
                json: &mut Json<'a>,
                state: &mut S,
                mut known: impl FnMut(&mut S, Self, &mut Json<'a>) -> json::Result<()>,
            ) -> json::Result<()> {
                let by_index = |state: &mut S, index: usize, json: &mut Json<'a>| match Self::ALL.get(index) {
                    Some(&field) => known(state, field, json),
                    None => json.skip(),
                };
                json.ordered(Self::TEXTS, state, by_index)
            }
        }
    };
}

fields!(EventField {
    Event => "Event",
    StageId => "Stage ID",
    StageAttemptId => "Stage Attempt ID",
    TaskType => "Task Type",
    TaskEndReason => "Task End Reason",
    TaskInfo => "Task Info",
    TaskExecutorMetrics => "Task Executor Metrics",
    TaskMetrics => "Task Metrics",
});

fields!(InfoField {
    TaskId => "Task ID",
    Index => "Index",
    Attempt => "Attempt",
    PartitionId => "Partition ID",
    LaunchTime => "Launch Time",
    ExecutorId => "Executor ID",
    Host => "Host",
    Locality => "Locality",
    Speculative => "Speculative",
    GettingResultTime => "Getting Result Time",
    FinishTime => "Finish Time",
    Failed => "Failed",
    Killed => "Killed",
    Accumulables => "Accumulables",
});

/// A task that was launched.
#[derive(Debug, Clone)]
pub(in super::super) struct TaskStart {
    pub(in super::super) stage: StageKey,
    pub(in super::super) task_id: TaskId,
    pub(in super::super) partition: u64,
    pub(in super::super) attempt: u64,
    pub(in super::super) launched_at: Option<Timestamp>,
    pub(in super::super) executor: CompactString,
    pub(in super::super) host: CompactString,
    pub(in super::super) speculative: bool,
}

/// A task that ended. Executor, host and failure of the row are filled in by the builder, which knows their indices.
#[derive(Debug, Clone)]
pub(in super::super) struct TaskEnd {
    pub(in super::super) stage: StageKey,
    pub(in super::super) result_task: Option<bool>,
    pub(in super::super) row: TaskRow,
    pub(in super::super) executor: CompactString,
    pub(in super::super) host: CompactString,
    pub(in super::super) kind: TaskEndKind,
    pub(in super::super) failure: Option<Box<FailureText>>,
    pub(in super::super) updated_blocks: Vec<BlockUpdate>,
}

/// What a task end says of a failure.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct FailureText {
    pub(in super::super) class: String,
    pub(in super::super) message: String,
    pub(in super::super) stack_trace: Option<String>,
    pub(in super::super) caused_by_app: Option<bool>,
}

pub(super) fn start(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut stage_id, mut stage_attempt) = (None, None);
    let mut info = Info::default();
    EventField::read(&mut json, &mut (), |(), field, json| match field {
        EventField::StageId => json.unsigned().map(|id| stage_id = id),
        EventField::StageAttemptId => json.unsigned().map(|id| stage_attempt = id),
        EventField::TaskInfo => info.read(json, None),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let event = "SparkListenerTaskStart";
    Ok(Event::TaskStart(TaskStart {
        stage: stage_key(need(stage_id, event, "Stage ID")?, stage_attempt),
        task_id: need(task_id(info.task_id), event, "Task ID")?,
        partition: info.index.unwrap_or(0),
        attempt: info.attempt.unwrap_or(0),
        launched_at: info.launched.map(|at| Timestamp(at as i64)),
        executor: need(info.executor, event, "Executor ID")?,
        host: info.host.unwrap_or_default(),
        speculative: info.speculative,
    }))
}

pub(super) fn end(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut stage_id, mut stage_attempt, mut result_task) = (None, None, None);
    let mut info = Info::default();
    let mut boxed = Box::new(TaskEnd {
        stage: StageKey::default(),
        result_task: None,
        row: TaskRow::default(),
        executor: CompactString::default(),
        host: CompactString::default(),
        kind: TaskEndKind::Success,
        failure: None,
        updated_blocks: Vec::new(),
    });
    let row = &mut boxed.row;
    let mut reason = None;
    let mut failure = None;
    let mut updated_blocks = Vec::new();
    EventField::read(&mut json, row, |row, field, json| match field {
        EventField::StageId => json.unsigned().map(|id| stage_id = id),
        EventField::StageAttemptId => json.unsigned().map(|id| stage_attempt = id),
        EventField::TaskType => json.text().map(|kind| result_task = kind.map(|kind| kind == "ResultTask")),
        EventField::TaskEndReason => end_reason(json, &mut reason, &mut failure),
        EventField::TaskInfo => info.read(json, Some(row)),
        EventField::TaskExecutorMetrics => peaks(json, row),
        EventField::TaskMetrics => metrics(json, row, &mut updated_blocks),
        EventField::Event => json.skip(),
    })?;
    finish(&mut json)?;
    let event = "SparkListenerTaskEnd";
    let id = need(info.task_id, event, "Task ID")?;
    let executor = need(info.executor, event, "Executor ID")?;
    let kind = reason.unwrap_or(if info.failed { TaskEndKind::UnknownReason } else { TaskEndKind::Success });
    row.set(C::TaskId, id);
    set(row, C::Partition, info.index);
    set(row, C::PartitionId, info.partition);
    set(row, C::Attempt, info.attempt);
    set(row, C::LaunchTime, info.launched);
    row.set(C::Speculative, u64::from(info.speculative));
    row.set(C::EndReason, kind.code());
    row.set(C::Status, status(kind, info.killed).code());
    if kind == TaskEndKind::Resubmitted {
        // It repeats the metrics of the attempt whose output was lost; they count once.
        C::ALL.iter().filter(|&&column| column >= C::ExecutorDeserializeTime).for_each(|&column| row.clear(column));
    }
    let stage = stage_key(need(stage_id, event, "Stage ID")?, stage_attempt);
    for block in &mut updated_blocks {
        block.executor.clone_from(&executor);
    }
    boxed.stage = stage;
    boxed.result_task = result_task;
    boxed.executor = executor;
    boxed.host = info.host.unwrap_or_default();
    boxed.kind = kind;
    boxed.failure = failure;
    boxed.updated_blocks = updated_blocks;
    Ok(Event::TaskEnd(boxed))
}

fn stage_key(id: u64, attempt: Option<u64>) -> StageKey {
    StageKey { stage_id: StageId(id), attempt: attempt.and_then(|a| u32::try_from(a).ok()).unwrap_or(0) }
}

fn status(kind: TaskEndKind, killed: bool) -> TaskStatus {
    match kind {
        TaskEndKind::Success => TaskStatus::Success,
        TaskEndKind::TaskKilled | TaskEndKind::TaskCommitDenied => TaskStatus::Killed,
        TaskEndKind::Resubmitted => TaskStatus::Resubmitted,
        _ if killed => TaskStatus::Killed,
        _ => TaskStatus::Failed,
    }
}

fn set(row: &mut TaskRow, column: C, value: Option<u64>) {
    if let Some(value) = value {
        row.set(column, value);
    }
}

/// A point in time, where Spark's 0 stands for "not known".
fn time(json: &mut Json<'_>) -> json::Result<Option<u64>> {
    Ok(json.unsigned()?.filter(|at| (1..=LAST_TIME as u64).contains(at)))
}

#[derive(Default)]
struct Info {
    task_id: Option<u64>,
    index: Option<u64>,
    partition: Option<u64>,
    attempt: Option<u64>,
    launched: Option<u64>,
    executor: Option<CompactString>,
    host: Option<CompactString>,
    speculative: bool,
    failed: bool,
    killed: bool,
}

impl Info {
    /// Reads the task info; of a task that ended into its row too.
    fn read(&mut self, json: &mut Json<'_>, row: Option<&mut TaskRow>) -> json::Result<()> {
        use InfoField as F;
        let (mut getting, mut finish, mut locality) = (None, None, None);
        let ended = row.is_some();
        F::read(json, self, |this, field, json| {
            match field {
                F::TaskId => this.task_id = json.unsigned()?,
                F::Index => this.index = json.unsigned()?,
                F::PartitionId => this.partition = json.unsigned()?,
                F::Attempt => this.attempt = json.unsigned()?,
                F::LaunchTime => this.launched = time(json)?,
                F::ExecutorId => this.executor = compact(json)?,
                F::Host => this.host = json.text()?.map(CompactString::from),
                F::Speculative => this.speculative = json.boolean()?.unwrap_or(false),
                F::Failed => this.failed = json.boolean()?.unwrap_or(false),
                F::Killed => this.killed = json.boolean()?.unwrap_or(false),
                F::Locality if ended => locality = json.text()?.and_then(|name| Locality::from_name(&name)),
                F::GettingResultTime if ended => getting = time(json)?,
                F::FinishTime if ended => finish = time(json)?,
                F::Accumulables if ended => skip_accumulables(json)?,
                F::Locality | F::GettingResultTime | F::FinishTime | F::Accumulables => json.skip()?,
            }
            Ok(())
        })?;
        if let Some(row) = row {
            set(row, C::Locality, locality.map(Locality::code));
            set(row, C::GettingResultAt, getting);
            set(row, C::FinishTime, finish);
        }
        Ok(())
    }
}

static PEAKS_FOLLOW: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#"]},"Task Executor Metrics":"#));
static METRICS_FOLLOW: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#"]},"Task Metrics":"#));

/// The accumulables are half of a task end and nothing of them is kept: their totals come with the stage. They are the
/// last field of the task info, so the search is for what follows it. Inside a string every quote has a backslash before
/// it, so the pattern can only match where a key really begins.
fn skip_accumulables(json: &mut Json<'_>) -> json::Result<()> {
    let rest = json.rest();
    match PEAKS_FOLLOW.find(rest).or_else(|| METRICS_FOLLOW.find(rest)) {
        Some(end) if rest.first() == Some(&b'[') => {
            json.advance(end + 1);
            Ok(())
        }
        _ => json.skip(),
    }
}

fn end_reason(
    json: &mut Json<'_>,
    reason: &mut Option<TaskEndKind>,
    failure: &mut Option<Box<FailureText>>,
) -> json::Result<()> {
    let mut text = FailureText::default();
    let mut executor = None;
    json.object(|key, json| {
        match key {
            b"Reason" => *reason = json.text()?.map(|name| TaskEndKind::from_name(&name)),
            b"Class Name" => text.class = json.text_cut(MAX_NAME)?.unwrap_or_default(),
            b"Description" | b"Message" | b"Kill Reason" | b"Loss Reason" => {
                text.message = json.text_cut(MAX_FAILURE_TEXT)?.unwrap_or_default();
            }
            b"Full Stack Trace" => text.stack_trace = json.text_cut(MAX_FAILURE_TEXT)?,
            b"Exit Caused By App" => text.caused_by_app = json.boolean()?,
            b"Executor ID" => executor = compact(json)?,
            b"Block Manager Address" => json.object(|key, json| match key {
                b"Executor ID" => compact(json).map(|id| executor = id),
                _ => json.skip(),
            })?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    match *reason {
        None | Some(TaskEndKind::Success | TaskEndKind::Resubmitted) => {}
        Some(kind) => {
            if text.class.is_empty() {
                text.class = match (kind, executor) {
                    (TaskEndKind::ExecutorLostFailure, Some(id)) => format!("executor {id} lost"),
                    (TaskEndKind::FetchFailed, Some(id)) => format!("fetch from executor {id} failed"),
                    _ => kind.name().to_owned(),
                };
            }
            *failure = Some(Box::new(text));
        }
    }
    Ok(())
}

/// Reads an object into a row: first the fields that are numbers, with their columns, then those that are nested, with what
/// reads them; both in Spark's order.
macro_rules! numbers {
    ($json:ident, $row:ident, { $($field:literal => $column:ident),+ $(,)? }, { $($nested:literal => $read:expr),* $(,)? }) => {{
        const COLUMNS: &[C] = &[$(C::$column),+];
        const FIELDS: &[&[u8]] =
            &[$(concat!("\"", $field, "\":").as_bytes(),)+ $(concat!("\"", $nested, "\":").as_bytes()),*];
        const NESTED: &[&str] = &[$($nested),*];
        let known = |$row: &mut TaskRow, index: usize, $json: &mut Json<'_>| {
            if let Some(&column) = COLUMNS.get(index) {
                return $json.unsigned().map(|value| set($row, column, value));
            }
            match NESTED.get(index - COLUMNS.len()) {
                $(Some(&$nested) => $read,)*
                _ => $json.skip(),
            }
        };
        $json.ordered(FIELDS, &mut *$row, known)
    }};
}

/// Executor metrics of a task end; all at zero means that nothing was polled while it ran, and a process tree of zeros that
/// Spark did not measure it.
fn peaks(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    numbers!(json, row, {
        "JVMHeapMemory" => PeakJvmHeap,
        "JVMOffHeapMemory" => PeakJvmOffHeap,
        "OnHeapExecutionMemory" => PeakOnHeapExecution,
        "OffHeapExecutionMemory" => PeakOffHeapExecution,
        "OnHeapStorageMemory" => PeakOnHeapStorage,
        "OffHeapStorageMemory" => PeakOffHeapStorage,
        "OnHeapUnifiedMemory" => PeakOnHeapUnified,
        "OffHeapUnifiedMemory" => PeakOffHeapUnified,
        "DirectPoolMemory" => PeakDirectPool,
        "MappedPoolMemory" => PeakMappedPool,
        "ProcessTreeJVMVMemory" => PeakTreeJvmVirtual,
        "ProcessTreeJVMRSSMemory" => PeakTreeJvmRss,
        "ProcessTreePythonVMemory" => PeakTreePythonVirtual,
        "ProcessTreePythonRSSMemory" => PeakTreePythonRss,
        "ProcessTreeOtherVMemory" => PeakTreeOtherVirtual,
        "ProcessTreeOtherRSSMemory" => PeakTreeOtherRss,
        "MinorGCCount" => MinorGcCount,
        "MinorGCTime" => MinorGcTime,
        "MajorGCCount" => MajorGcCount,
        "MajorGCTime" => MajorGcTime,
        "TotalGCTime" => TotalGcTime,
        "ConcurrentGCCount" => ConcurrentGcCount,
        "ConcurrentGCTime" => ConcurrentGcTime,
    }, {})?;
    for columns in [C::executor_metrics(), C::process_tree_metrics()] {
        if columns.iter().all(|&column| row.get(column).is_none_or(|value| value == 0)) {
            columns.iter().for_each(|&column| row.clear(column));
        }
    }
    Ok(())
}

fn metrics(json: &mut Json<'_>, row: &mut TaskRow, blocks: &mut Vec<BlockUpdate>) -> json::Result<()> {
    numbers!(json, row, {
        "Executor Deserialize Time" => ExecutorDeserializeTime,
        "Executor Deserialize CPU Time" => ExecutorDeserializeCpuTime,
        "Executor Run Time" => ExecutorRunTime,
        "Executor CPU Time" => ExecutorCpuTime,
        "Peak Execution Memory" => PeakExecutionMemory,
        "Peak On Heap Execution Memory" => PeakOnHeapExecutionMemory,
        "Peak Off Heap Execution Memory" => PeakOffHeapExecutionMemory,
        "Result Size" => ResultSize,
        "JVM GC Time" => JvmGcTime,
        "Result Serialization Time" => ResultSerializationTime,
        "Memory Bytes Spilled" => MemoryBytesSpilled,
        "Disk Bytes Spilled" => DiskBytesSpilled,
    }, {
        "Shuffle Read Metrics" => shuffle_read(json, row),
        "Shuffle Write Metrics" => numbers!(json, row, {
            "Shuffle Bytes Written" => ShuffleBytesWritten,
            "Shuffle Write Time" => ShuffleWriteTime,
            "Shuffle Records Written" => ShuffleRecordsWritten,
        }, {}),
        "Input Metrics" => numbers!(json, row, {
            "Bytes Read" => InputBytes,
            "Records Read" => InputRecords,
        }, {}),
        "Output Metrics" => numbers!(json, row, {
            "Bytes Written" => OutputBytes,
            "Records Written" => OutputRecords,
        }, {}),
        "Updated Blocks" => json.array(|json| executor::updated_block(json).map(|block| blocks.extend(block))),
    })
}

fn shuffle_read(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    numbers!(json, row, {
        "Remote Blocks Fetched" => ShuffleRemoteBlocksFetched,
        "Local Blocks Fetched" => ShuffleLocalBlocksFetched,
        "Fetch Wait Time" => ShuffleFetchWaitTime,
        "Remote Bytes Read" => ShuffleRemoteBytesRead,
        "Remote Bytes Read To Disk" => ShuffleRemoteBytesReadToDisk,
        "Local Bytes Read" => ShuffleLocalBytesRead,
        "Total Records Read" => ShuffleRecordsRead,
        "Remote Requests Duration" => ShuffleRemoteRequestsDuration,
    }, {
        "Push Based Shuffle" => push_based(json, row),
        "Shuffle Push Read Metrics" => push_based(json, row),
    })
}

fn push_based(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    numbers!(json, row, {
                "Corrupt Merged Block Chunks" => PushCorruptMergedBlockChunks,
                "Merged Fallback Count" => PushMergedFetchFallback,
                "Merged Fetch Fallback Count" => PushMergedFetchFallback,
                "Merged Remote Blocks Fetched" => PushMergedRemoteBlocks,
                "Merged Local Blocks Fetched" => PushMergedLocalBlocks,
                "Merged Remote Chunks Fetched" => PushMergedRemoteChunks,
                "Merged Local Chunks Fetched" => PushMergedLocalChunks,
                "Merged Remote Bytes Read" => PushMergedRemoteBytes,
                "Merged Local Bytes Read" => PushMergedLocalBytes,
                "Merged Remote Requests Duration" => PushMergedRemoteRequestsDuration,
            }, {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_executor_metric_of_a_task_end_reaches_its_column() {
        let columns = C::executor_metrics();
        let field =
            |(place, column): (usize, &C)| format!("\"{}\":{}", column.executor_metric_name().unwrap(), place + 1);
        let fields: Vec<String> = columns.iter().enumerate().map(field).collect();
        let mut reversed = fields.clone();
        reversed.reverse();
        for fields in [fields, reversed] {
            let text = format!("{{{}}}", fields.join(","));
            let mut row = TaskRow::default();
            peaks(&mut Json::new(text.as_bytes()), &mut row).unwrap();
            let found: Vec<_> = columns.iter().map(|&column| row.get(column)).collect();
            let expected: Vec<_> = (1..=columns.len() as u64).map(Some).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_process_tree_that_spark_did_not_measure_is_unknown_and_one_that_it_did_may_hold_zeros() {
        let read = |jvm_rss: u64| {
            let text = format!(
                r#"{{"JVMHeapMemory":7,"ProcessTreeJVMVMemory":0,"ProcessTreeJVMRSSMemory":{jvm_rss},"ProcessTreePythonVMemory":0,
                "ProcessTreePythonRSSMemory":0,"ProcessTreeOtherVMemory":0,"ProcessTreeOtherRSSMemory":0,"MinorGCCount":0}}"#
            );
            let mut row = TaskRow::default();
            peaks(&mut Json::new(text.as_bytes()), &mut row).unwrap();
            let metrics = super::super::executor_metrics(&mut Json::new(text.as_bytes())).unwrap();
            let columns =
                [C::PeakJvmHeap, C::PeakTreeJvmRss, C::PeakTreePythonRss, C::PeakTreeOtherVirtual, C::MinorGcCount];
            assert_eq!(columns.map(|column| row.get(column)), columns.map(|column| metrics.get(column)));
            columns.map(|column| row.get(column))
        };
        assert_eq!(read(0), [Some(7), None, None, None, Some(0)]);
        assert_eq!(read(5), [Some(7), Some(5), Some(0), Some(0), Some(0)]);
    }
}
