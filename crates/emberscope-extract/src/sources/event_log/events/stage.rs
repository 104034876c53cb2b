//! Stage events.

use emberscope_run::{AccumulatorId, Bytes, RddId, RddInfo, ResourceProfileId, StageId, StageKey, Timestamp};

use super::super::json::{self, Json};
use super::{Event, MAX_DETAILS, MAX_FAILURE_TEXT, MAX_NAME, Result, finish, need, timestamp};

/// A stage info, as job starts, stage submissions and completions carry it.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct StageInfo {
    pub(in super::super) key: StageKey,
    pub(in super::super) name: String,
    pub(in super::super) details: String,
    pub(in super::super) num_tasks: u64,
    pub(in super::super) parent_ids: Vec<StageId>,
    pub(in super::super) rdds: Vec<RddInfo>,
    pub(in super::super) submitted_at: Option<Timestamp>,
    pub(in super::super) completed_at: Option<Timestamp>,
    pub(in super::super) failure_reason: Option<String>,
    pub(in super::super) accumulators: Vec<(AccumulatorId, Option<i64>)>,
    pub(in super::super) resource_profile: Option<ResourceProfileId>,
    pub(in super::super) shuffle_push_enabled: Option<bool>,
}

/// RDDs kept of one stage.
const MAX_RDDS: usize = 1_000;

impl StageInfo {
    /// Reads a stage info; `None` when it has no stage id.
    pub(super) fn read(json: &mut Json<'_>) -> json::Result<Option<Self>> {
        let mut info = Self::default();
        let (mut id, mut attempt) = (None, None);
        json.object(|key, json| {
            match key {
                b"Stage ID" => id = json.unsigned()?,
                b"Stage Attempt ID" => attempt = json.unsigned()?,
                b"Stage Name" => info.name = json.text_cut(MAX_NAME)?.unwrap_or_default(),
                b"Number of Tasks" => info.num_tasks = json.unsigned()?.unwrap_or(0),
                b"RDD Info" => json.array(|json| {
                    if info.rdds.len() >= MAX_RDDS {
                        return json.skip();
                    }
                    rdd(json).map(|rdd| info.rdds.extend(rdd))
                })?,
                b"Parent IDs" => {
                    json.array(|json| json.unsigned().map(|id| info.parent_ids.extend(id.map(StageId))))?;
                }
                b"Details" => info.details = json.text_cut(MAX_DETAILS)?.unwrap_or_default(),
                b"Submission Time" => info.submitted_at = timestamp(json)?,
                b"Completion Time" => info.completed_at = timestamp(json)?,
                b"Failure Reason" => info.failure_reason = json.text_cut(MAX_FAILURE_TEXT)?,
                b"Accumulables" => json.array(|json| accumulable(json).map(|a| info.accumulators.extend(a)))?,
                b"Resource Profile Id" => info.resource_profile = json.unsigned()?.map(ResourceProfileId),
                b"Shuffle Push Enabled" => info.shuffle_push_enabled = json.boolean()?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        let Some(id) = id else { return Ok(None) };
        let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0);
        info.key = StageKey { stage_id: StageId(id), attempt };
        Ok(Some(info))
    }
}

/// An accumulator's id and its value where that is a number; Spark's own task metrics are left out.
fn accumulable(json: &mut Json<'_>) -> json::Result<Option<(AccumulatorId, Option<i64>)>> {
    let (mut id, mut value, mut internal) = (None, None, false);
    json.object(|key, json| {
        match key {
            b"ID" => id = json.unsigned()?,
            b"Name" => internal = json.text()?.is_some_and(|name| name.starts_with("internal.metrics.")),
            b"Value" => value = json.signed()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(id.filter(|_| !internal).map(|id| (AccumulatorId(id), value)))
}

fn rdd(json: &mut Json<'_>) -> json::Result<Option<RddInfo>> {
    let mut info = RddInfo::default();
    let mut id = None;
    json.object(|key, json| {
        match key {
            b"RDD ID" => id = json.unsigned()?,
            b"Name" => info.name = json.text_cut(MAX_NAME)?.unwrap_or_default(),
            b"Scope" => info.scope = json.text_cut(MAX_NAME)?.and_then(|scope| scope_name(&scope)),
            b"Callsite" => info.callsite = json.text_cut(MAX_NAME)?,
            b"Parent IDs" => json.array(|json| json.unsigned().map(|id| info.parent_ids.extend(id.map(RddId))))?,
            b"Storage Level" => {
                let level = storage_level(json)?;
                info.cached = level.use_memory || level.use_disk || level.use_off_heap;
                info.use_disk = level.use_disk;
                info.deserialized = level.deserialized;
            }
            b"Number of Partitions" => info.partitions = json.unsigned()?.unwrap_or(0),
            b"Number of Cached Partitions" => info.cached_partitions = json.unsigned()?.unwrap_or(0),
            b"Memory Size" => info.memory_size = Bytes(json.unsigned()?.unwrap_or(0)),
            b"Disk Size" => info.disk_size = Bytes(json.unsigned()?.unwrap_or(0)),
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(id.map(|id| RddInfo { id: RddId(id), ..info }))
}

/// The name of an operator scope, which is JSON inside a string: `{"id":"0","name":"textFile"}`.
fn scope_name(scope: &str) -> Option<String> {
    let mut name = None;
    Json::new(scope.as_bytes())
        .object(|key, json| match key {
            b"name" => json.text_cut(MAX_NAME).map(|text| name = text),
            _ => json.skip(),
        })
        .ok()?;
    name
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of Spark's StorageLevel")]
pub(super) struct StorageLevel {
    pub(super) use_disk: bool,
    pub(super) use_memory: bool,
    pub(super) use_off_heap: bool,
    pub(super) deserialized: bool,
}

pub(super) fn storage_level(json: &mut Json<'_>) -> json::Result<StorageLevel> {
    let mut level = StorageLevel::default();
    json.object(|key, json| {
        match key {
            b"Use Disk" => level.use_disk = json.boolean()?.unwrap_or(false),
            b"Use Memory" => level.use_memory = json.boolean()?.unwrap_or(false),
            b"Use Off Heap" | b"Use OffHeap" | b"Use ExternalBlockStore" | b"Use Tachyon" => {
                level.use_off_heap = json.boolean()?.unwrap_or(false);
            }
            b"Deserialized" => level.deserialized = json.boolean()?.unwrap_or(false),
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(level)
}

pub(super) fn submitted(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut info, mut pool) = (None, None);
    json.object(|key, json| match key {
        b"Stage Info" => StageInfo::read(json).map(|read| info = read),
        b"Properties" => json.object(|key, json| match key {
            b"spark.scheduler.pool" => json.text_cut(MAX_NAME).map(|name| pool = name),
            _ => json.skip(),
        }),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::StageSubmitted { info: Box::new(need(info, "SparkListenerStageSubmitted", "Stage ID")?), pool })
}

pub(super) fn completed(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut info = None;
    json.object(|key, json| match key {
        b"Stage Info" => StageInfo::read(json).map(|read| info = read),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::StageCompleted(Box::new(need(info, "SparkListenerStageCompleted", "Stage ID")?)))
}

pub(super) fn speculative(line: &[u8]) -> Result<Event> {
    Ok(Event::SpeculativeTaskSubmitted(key_of(line, "SparkListenerSpeculativeTaskSubmitted")?))
}

pub(super) fn unschedulable(line: &[u8], added: bool) -> Result<Event> {
    Ok(Event::UnschedulableTaskSet { stage: key_of(line, "SparkListenerUnschedulableTaskSet")?, added })
}

fn key_of(line: &[u8], event: &str) -> Result<StageKey> {
    let mut json = Json::new(line);
    let (mut id, mut attempt) = (None, None);
    json.object(|key, json| match key {
        b"Stage ID" | b"stageId" => json.unsigned().map(|value| id = value),
        b"Stage Attempt ID" | b"stageAttemptId" => json.unsigned().map(|value| attempt = value),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0);
    Ok(StageKey { stage_id: StageId(need(id, event, "Stage ID")?), attempt })
}
