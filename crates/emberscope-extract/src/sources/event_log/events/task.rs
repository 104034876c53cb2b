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
    json.object(|key, json| match key {
        b"Stage ID" => json.unsigned().map(|id| stage_id = id),
        b"Stage Attempt ID" => json.unsigned().map(|id| stage_attempt = id),
        b"Task Info" => info.read(json, &mut TaskRow::default(), true),
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
    json.object(|key, json| match key {
        b"Stage ID" => json.unsigned().map(|id| stage_id = id),
        b"Stage Attempt ID" => json.unsigned().map(|id| stage_attempt = id),
        b"Task Type" => json.text().map(|kind| result_task = kind.map(|kind| kind == "ResultTask")),
        b"Task End Reason" => end_reason(json, &mut reason, &mut failure),
        b"Task Info" => info.read(json, row, false),
        b"Task Executor Metrics" => peaks(json, row),
        b"Task Metrics" => metrics(json, row, &mut updated_blocks),
        _ => json.skip(),
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

fn is_time(at: u64) -> bool {
    (1..=LAST_TIME as u64).contains(&at)
}

/// A point in time, where Spark's 0 stands for "not known".
fn read_time(json: &mut Json<'_>, row: &mut TaskRow, column: C) -> json::Result<()> {
    if let Some(value) = json.unsigned()?.filter(|&value| is_time(value)) {
        row.set(column, value);
    }
    Ok(())
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
    fn read(&mut self, json: &mut Json<'_>, row: &mut TaskRow, start: bool) -> json::Result<()> {
        json.object(|key, json| {
            match key {
                b"Task ID" => self.task_id = json.unsigned()?,
                b"Index" => self.index = json.unsigned()?,
                b"Partition ID" => self.partition = json.unsigned()?,
                b"Attempt" => self.attempt = json.unsigned()?,
                b"Launch Time" => self.launched = json.unsigned()?.filter(|&at| is_time(at)),
                b"Executor ID" => self.executor = compact(json)?,
                b"Host" => self.host = json.text()?.map(CompactString::from),
                b"Locality" => {
                    let name = json.text()?;
                    set(row, C::Locality, name.and_then(|name| Locality::from_name(&name)).map(Locality::code));
                }
                b"Speculative" => self.speculative = json.boolean()?.unwrap_or(false),
                b"Getting Result Time" => read_time(json, row, C::GettingResultAt)?,
                b"Finish Time" => read_time(json, row, C::FinishTime)?,
                b"Failed" => self.failed = json.boolean()?.unwrap_or(false),
                b"Killed" => self.killed = json.boolean()?.unwrap_or(false),
                b"Accumulables" if !start => skip_accumulables(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })
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

/// Executor metrics of a task end; all at zero means that nothing was polled while it ran.
fn peaks(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    let fields = &*EXECUTOR_METRICS;
    let mut polled = false;
    let number = |index: usize, value: u64| {
        polled |= value > 0;
        if let Some(&column) = C::executor_metrics().get(index) {
            row.set(column, value);
        }
    };
    json.numbers(fields, number, |_, json| json.skip())?;
    if !polled {
        C::executor_metrics().iter().for_each(|&column| row.clear(column));
    }
    Ok(())
}

/// `"Name":` of every executor metric, in the order of the columns, which is Spark's.
static EXECUTOR_METRICS: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| {
    let quoted = |column: &C| {
        let name = column.executor_metric_name().unwrap_or_default();
        &*Box::leak(format!("\"{name}\":").into_bytes().into_boxed_slice())
    };
    C::executor_metrics().iter().map(quoted).collect()
});

/// Fields and columns of an object of numbers, in Spark's order.
macro_rules! numbers {
    ($json:expr, $row:expr, { $($field:literal => $column:ident),+ $(,)? }, $other:expr) => {{
        const FIELDS: &[&[u8]] = &[$(concat!("\"", $field, "\":").as_bytes()),+];
        const COLUMNS: &[C] = &[$(C::$column),+];
        let row = &mut *$row;
        $json.numbers(FIELDS, |index, value| if let Some(&column) = COLUMNS.get(index) { row.set(column, value) }, $other)
    }};
}

fn metrics(json: &mut Json<'_>, row: &mut TaskRow, blocks: &mut Vec<BlockUpdate>) -> json::Result<()> {
    let mut nested = TaskRow::default();
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
    }, |key, json| match key {
        b"Shuffle Read Metrics" => shuffle_read(json, &mut nested),
        b"Shuffle Write Metrics" => numbers!(json, &mut nested, {
            "Shuffle Bytes Written" => ShuffleBytesWritten,
            "Shuffle Write Time" => ShuffleWriteTime,
            "Shuffle Records Written" => ShuffleRecordsWritten,
        }, |_, json| json.skip()),
        b"Input Metrics" => numbers!(json, &mut nested, {
            "Bytes Read" => InputBytes,
            "Records Read" => InputRecords,
        }, |_, json| json.skip()),
        b"Output Metrics" => numbers!(json, &mut nested, {
            "Bytes Written" => OutputBytes,
            "Records Written" => OutputRecords,
        }, |_, json| json.skip()),
        b"Updated Blocks" => json.array(|json| executor::updated_block(json).map(|block| blocks.extend(block))),
        _ => json.skip(),
    })?;
    row.take_known(&nested);
    Ok(())
}

fn shuffle_read(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    let mut push = TaskRow::default();
    let mut pushed = false;
    numbers!(json, row, {
        "Remote Blocks Fetched" => ShuffleRemoteBlocksFetched,
        "Local Blocks Fetched" => ShuffleLocalBlocksFetched,
        "Fetch Wait Time" => ShuffleFetchWaitTime,
        "Remote Bytes Read" => ShuffleRemoteBytesRead,
        "Remote Bytes Read To Disk" => ShuffleRemoteBytesReadToDisk,
        "Local Bytes Read" => ShuffleLocalBytesRead,
        "Total Records Read" => ShuffleRecordsRead,
        "Remote Requests Duration" => ShuffleRemoteRequestsDuration,
    }, |key, json| match key {
        b"Shuffle Push Read Metrics" | b"Push Based Shuffle" => {
            pushed = true;
            numbers!(json, &mut push, {
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
            }, |_, json| json.skip())
        }
        _ => json.skip(),
    })?;
    if pushed {
        row.take_known(&push);
    }
    Ok(())
}
