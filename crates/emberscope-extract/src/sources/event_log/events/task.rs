//! Task events: nine tenths of a log, read in one pass without copying what is not kept.

use std::sync::LazyLock;

use compact_str::CompactString;
use emberscope_run::{Locality, StageId, StageKey, TaskColumn as C, TaskEndKind, TaskId, TaskRow, TaskStatus, Timestamp};
use memchr::memmem::Finder;

use super::super::json::{self, Json};
use super::executor::BlockUpdate;
use super::{Event, MAX_FAILURE_TEXT, MAX_NAME, Result, compact, executor, finish, need, task_id};

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
    let mut row = TaskRow::default();
    let mut reason = None;
    let mut failure = None;
    let mut updated_blocks = Vec::new();
    json.object(|key, json| match key {
        b"Stage ID" => json.unsigned().map(|id| stage_id = id),
        b"Stage Attempt ID" => json.unsigned().map(|id| stage_attempt = id),
        b"Task Type" => json.text().map(|kind| result_task = kind.map(|kind| kind == "ResultTask")),
        b"Task End Reason" => end_reason(json, &mut reason, &mut failure),
        b"Task Info" => info.read(json, &mut row, false),
        b"Task Executor Metrics" => peaks(json, &mut row),
        b"Task Metrics" => metrics(json, &mut row, &mut updated_blocks),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let event = "SparkListenerTaskEnd";
    let id = need(info.task_id, event, "Task ID")?;
    let executor = need(info.executor, event, "Executor ID")?;
    let kind = reason.unwrap_or(if info.failed { TaskEndKind::UnknownReason } else { TaskEndKind::Success });
    row.set(C::TaskId, id);
    set(&mut row, C::Partition, info.index);
    set(&mut row, C::PartitionId, info.partition);
    set(&mut row, C::Attempt, info.attempt);
    set(&mut row, C::LaunchTime, info.launched);
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
    Ok(Event::TaskEnd(Box::new(TaskEnd {
        stage,
        result_task,
        row,
        executor,
        host: info.host.unwrap_or_default(),
        kind,
        failure,
        updated_blocks,
    })))
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

fn read(json: &mut Json<'_>, row: &mut TaskRow, column: C) -> json::Result<()> {
    if let Some(value) = json.unsigned()? {
        row.set(column, value);
    }
    Ok(())
}

/// A point in time, where Spark's 0 stands for "not known".
fn read_time(json: &mut Json<'_>, row: &mut TaskRow, column: C) -> json::Result<()> {
    if let Some(value) = json.unsigned()?.filter(|&value| value > 0) {
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
                b"Launch Time" => self.launched = json.unsigned()?.filter(|&at| at > 0),
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
    let columns = C::executor_metrics();
    let mut polled = false;
    let mut next = 0;
    json.object(|key, json| {
        let value = json.unsigned()?;
        // The names come in Spark's order, a few of them only in some versions: look at the next ones first.
        let is_key = |column: &C| column.executor_metric_name().is_some_and(|name| name.as_bytes() == key);
        let position = columns.get(next..).unwrap_or_default().iter().position(is_key).map(|offset| next + offset);
        if let Some(position) = position.or_else(|| columns.iter().position(is_key)) {
            next = position + 1;
            if let (Some(&column), Some(value)) = (columns.get(position), value) {
                polled |= value > 0;
                row.set(column, value);
            }
        }
        Ok(())
    })?;
    if !polled {
        columns.iter().for_each(|&column| row.clear(column));
    }
    Ok(())
}

fn metrics(json: &mut Json<'_>, row: &mut TaskRow, blocks: &mut Vec<BlockUpdate>) -> json::Result<()> {
    json.object(|key, json| match key {
        b"Executor Deserialize Time" => read(json, row, C::ExecutorDeserializeTime),
        b"Executor Deserialize CPU Time" => read(json, row, C::ExecutorDeserializeCpuTime),
        b"Executor Run Time" => read(json, row, C::ExecutorRunTime),
        b"Executor CPU Time" => read(json, row, C::ExecutorCpuTime),
        b"Peak Execution Memory" => read(json, row, C::PeakExecutionMemory),
        b"Peak On Heap Execution Memory" => read(json, row, C::PeakOnHeapExecutionMemory),
        b"Peak Off Heap Execution Memory" => read(json, row, C::PeakOffHeapExecutionMemory),
        b"Result Size" => read(json, row, C::ResultSize),
        b"JVM GC Time" => read(json, row, C::JvmGcTime),
        b"Result Serialization Time" => read(json, row, C::ResultSerializationTime),
        b"Memory Bytes Spilled" => read(json, row, C::MemoryBytesSpilled),
        b"Disk Bytes Spilled" => read(json, row, C::DiskBytesSpilled),
        b"Shuffle Read Metrics" => shuffle_read(json, row),
        b"Shuffle Write Metrics" => json.object(|key, json| match key {
            b"Shuffle Bytes Written" => read(json, row, C::ShuffleBytesWritten),
            b"Shuffle Write Time" => read(json, row, C::ShuffleWriteTime),
            b"Shuffle Records Written" => read(json, row, C::ShuffleRecordsWritten),
            _ => json.skip(),
        }),
        b"Input Metrics" => json.object(|key, json| match key {
            b"Bytes Read" => read(json, row, C::InputBytes),
            b"Records Read" => read(json, row, C::InputRecords),
            _ => json.skip(),
        }),
        b"Output Metrics" => json.object(|key, json| match key {
            b"Bytes Written" => read(json, row, C::OutputBytes),
            b"Records Written" => read(json, row, C::OutputRecords),
            _ => json.skip(),
        }),
        b"Updated Blocks" => json.array(|json| executor::updated_block(json).map(|block| blocks.extend(block))),
        _ => json.skip(),
    })
}

fn shuffle_read(json: &mut Json<'_>, row: &mut TaskRow) -> json::Result<()> {
    json.object(|key, json| match key {
        b"Remote Blocks Fetched" => read(json, row, C::ShuffleRemoteBlocksFetched),
        b"Local Blocks Fetched" => read(json, row, C::ShuffleLocalBlocksFetched),
        b"Fetch Wait Time" => read(json, row, C::ShuffleFetchWaitTime),
        b"Remote Bytes Read" => read(json, row, C::ShuffleRemoteBytesRead),
        b"Remote Bytes Read To Disk" => read(json, row, C::ShuffleRemoteBytesReadToDisk),
        b"Local Bytes Read" => read(json, row, C::ShuffleLocalBytesRead),
        b"Total Records Read" => read(json, row, C::ShuffleRecordsRead),
        b"Remote Requests Duration" => read(json, row, C::ShuffleRemoteRequestsDuration),
        b"Shuffle Push Read Metrics" | b"Push Based Shuffle" => json.object(|key, json| match key {
            b"Corrupt Merged Block Chunks" => read(json, row, C::PushCorruptMergedBlockChunks),
            b"Merged Fallback Count" | b"Merged Fetch Fallback Count" => read(json, row, C::PushMergedFetchFallback),
            b"Merged Remote Blocks Fetched" => read(json, row, C::PushMergedRemoteBlocks),
            b"Merged Local Blocks Fetched" => read(json, row, C::PushMergedLocalBlocks),
            b"Merged Remote Chunks Fetched" => read(json, row, C::PushMergedRemoteChunks),
            b"Merged Local Chunks Fetched" => read(json, row, C::PushMergedLocalChunks),
            b"Merged Remote Bytes Read" => read(json, row, C::PushMergedRemoteBytes),
            b"Merged Local Bytes Read" => read(json, row, C::PushMergedLocalBytes),
            b"Merged Remote Requests Duration" => read(json, row, C::PushMergedRemoteRequestsDuration),
            _ => json.skip(),
        }),
        _ => json.skip(),
    })
}
