//! Events of executors, hosts, block managers and blocks.

use std::collections::BTreeMap;

use compact_str::CompactString;
use emberscope_run::{Bytes, ExecutorMetrics, RddId, ResourceProfileId, StageId, StageKey, Timestamp};

use super::super::json::{self, Json};
use super::stage::storage_level;
use super::{Event, MAX_NAME, Result, compact, executor_metrics, finish, need, timestamp};

/// Spark counts cores in 32 bits: a larger number is none of its own.
const MAX_CORES: u64 = i32::MAX as u64;

#[derive(Debug, Clone, Default)]
pub(in super::super) struct ExecutorAdded {
    pub(in super::super) id: CompactString,
    pub(in super::super) at: Option<Timestamp>,
    pub(in super::super) host: Option<String>,
    pub(in super::super) cores: Option<u64>,
    pub(in super::super) resource_profile: Option<ResourceProfileId>,
    pub(in super::super) resources: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default)]
pub(in super::super) struct BlockManager {
    pub(in super::super) executor: CompactString,
    pub(in super::super) host: Option<String>,
    pub(in super::super) at: Option<Timestamp>,
    pub(in super::super) max_memory: Option<Bytes>,
    pub(in super::super) max_on_heap: Option<Bytes>,
    pub(in super::super) max_off_heap: Option<Bytes>,
}

/// The new state of a cached block on an executor.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct BlockUpdate {
    pub(in super::super) executor: CompactString,
    pub(in super::super) rdd: RddId,
    pub(in super::super) partition: u64,
    pub(in super::super) in_memory: bool,
    pub(in super::super) on_disk: bool,
    pub(in super::super) bytes: u64,
}

pub(super) fn added(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut executor = ExecutorAdded::default();
    let mut id = None;
    json.object(|key, json| {
        match key {
            b"Timestamp" => executor.at = timestamp(json)?,
            b"Executor ID" => id = compact(json)?,
            b"Executor Info" => json.object(|key, json| {
                match key {
                    b"Host" => executor.host = json.text_cut(MAX_NAME)?,
                    b"Total Cores" => executor.cores = json.unsigned()?.filter(|cores| (1..=MAX_CORES).contains(cores)),
                    b"Resource Profile Id" => executor.resource_profile = json.unsigned()?.map(ResourceProfileId),
                    b"Resources" => json.object(|name, json| {
                        let mut addresses = 0;
                        json.object(|key, json| match key {
                            b"addresses" => json.array(|json| {
                                addresses += 1;
                                json.skip()
                            }),
                            _ => json.skip(),
                        })?;
                        executor.resources.insert(String::from_utf8_lossy(name).into_owned(), addresses);
                        Ok(())
                    })?,
                    _ => json.skip()?,
                }
                Ok(())
            })?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    executor.id = need(id, "SparkListenerExecutorAdded", "Executor ID")?;
    Ok(Event::ExecutorAdded(Box::new(executor)))
}

pub(super) fn removed(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut at, mut reason) = (None, None, None);
    json.object(|key, json| match key {
        b"Timestamp" => timestamp(json).map(|time| at = time),
        b"Executor ID" => compact(json).map(|text| id = text),
        b"Removed Reason" => json.text_cut(4 * MAX_NAME).map(|text| reason = text),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::ExecutorRemoved { id: need(id, "SparkListenerExecutorRemoved", "Executor ID")?, at, reason })
}

pub(super) fn stage_metrics(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut stage, mut attempt) = (None, None, 0);
    let mut metrics = ExecutorMetrics::default();
    json.object(|key, json| {
        match key {
            b"Executor ID" => id = compact(json)?,
            b"Stage ID" => stage = json.unsigned()?,
            b"Stage Attempt ID" => attempt = json.unsigned()?.unwrap_or(0),
            b"Executor Metrics" => metrics = executor_metrics(json)?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    let event = "SparkListenerStageExecutorMetrics";
    Ok(Event::StageExecutorMetrics {
        executor: need(id, event, "Executor ID")?,
        stage: StageKey {
            stage_id: StageId(need(stage, event, "Stage ID")?),
            attempt: u32::try_from(attempt).unwrap_or(0),
        },
        metrics: Box::new(metrics),
    })
}

pub(super) fn metrics_update(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    let mut metrics = Vec::new();
    json.object(|key, json| match key {
        b"Executor ID" => compact(json).map(|text| id = text),
        b"Executor Metrics Updated" => json.array(|json| {
            let (mut stage, mut attempt) = (None, 0);
            let mut peaks = ExecutorMetrics::default();
            json.object(|key, json| {
                match key {
                    b"Stage ID" => stage = json.unsigned()?,
                    b"Stage Attempt ID" => attempt = json.unsigned()?.unwrap_or(0),
                    b"Executor Metrics" => peaks = executor_metrics(json)?,
                    _ => json.skip()?,
                }
                Ok(())
            })?;
            let attempt = u32::try_from(attempt).unwrap_or(0);
            metrics.push((stage.map(|id| StageKey { stage_id: StageId(id), attempt }), peaks));
            Ok(())
        }),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::ExecutorMetricsUpdate {
        executor: need(id, "SparkListenerExecutorMetricsUpdate", "Executor ID")?,
        metrics,
    })
}

#[derive(Default)]
struct Exclusion {
    executor: Option<CompactString>,
    host: Option<String>,
    at: Option<Timestamp>,
    failures: Option<u64>,
    stage: Option<u64>,
    attempt: u64,
}

impl Exclusion {
    fn read(line: &[u8]) -> Result<Self> {
        let mut json = Json::new(line);
        let mut exclusion = Self::default();
        json.object(|key, json| {
            match key {
                b"time" => exclusion.at = timestamp(json)?,
                b"executorId" => exclusion.executor = compact(json)?,
                b"hostId" => exclusion.host = json.text_cut(MAX_NAME)?,
                b"taskFailures" | b"executorFailures" => exclusion.failures = json.unsigned()?,
                b"stageId" => exclusion.stage = json.unsigned()?,
                b"stageAttemptId" => exclusion.attempt = json.unsigned()?.unwrap_or(0),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        finish(&mut json)?;
        Ok(exclusion)
    }

    fn stage(&self) -> Option<StageKey> {
        let attempt = u32::try_from(self.attempt).unwrap_or(0);
        self.stage.map(|id| StageKey { stage_id: StageId(id), attempt })
    }
}

pub(super) fn excluded(event: &str, line: &[u8]) -> Result<Event> {
    let exclusion = Exclusion::read(line)?;
    let stage = exclusion.stage();
    Ok(Event::ExecutorExcluded {
        id: need(exclusion.executor, event, "executorId")?,
        at: need(exclusion.at, event, "time")?,
        failures: exclusion.failures,
        stage,
    })
}

pub(super) fn unexcluded(event: &str, line: &[u8]) -> Result<Event> {
    let exclusion = Exclusion::read(line)?;
    Ok(Event::ExecutorUnexcluded {
        id: need(exclusion.executor, event, "executorId")?,
        at: need(exclusion.at, event, "time")?,
    })
}

pub(super) fn node_excluded(event: &str, line: &[u8]) -> Result<Event> {
    let exclusion = Exclusion::read(line)?;
    let stage = exclusion.stage();
    Ok(Event::NodeExcluded {
        host: need(exclusion.host, event, "hostId")?,
        at: need(exclusion.at, event, "time")?,
        failures: exclusion.failures,
        stage,
    })
}

pub(super) fn node_unexcluded(event: &str, line: &[u8]) -> Result<Event> {
    let exclusion = Exclusion::read(line)?;
    Ok(Event::NodeUnexcluded { host: need(exclusion.host, event, "hostId")?, at: need(exclusion.at, event, "time")? })
}

fn block_manager_id(json: &mut Json<'_>) -> json::Result<(Option<CompactString>, Option<String>)> {
    let (mut executor, mut host) = (None, None);
    json.object(|key, json| match key {
        b"Executor ID" => compact(json).map(|text| executor = text),
        b"Host" => json.text_cut(MAX_NAME).map(|text| host = text),
        _ => json.skip(),
    })?;
    Ok((executor, host))
}

pub(super) fn block_manager_added(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut manager = BlockManager::default();
    let mut id = None;
    json.object(|key, json| {
        match key {
            b"Block Manager ID" => (id, manager.host) = block_manager_id(json)?,
            b"Timestamp" => manager.at = timestamp(json)?,
            b"Maximum Memory" => manager.max_memory = json.unsigned()?.map(Bytes),
            b"Maximum Onheap Memory" => manager.max_on_heap = json.unsigned()?.map(Bytes),
            b"Maximum Offheap Memory" => manager.max_off_heap = json.unsigned()?.map(Bytes),
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    manager.executor = need(id, "SparkListenerBlockManagerAdded", "Executor ID")?;
    Ok(Event::BlockManagerAdded(Box::new(manager)))
}

pub(super) fn block_manager_removed(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    json.object(|key, json| match key {
        b"Block Manager ID" => block_manager_id(json).map(|(executor, _)| id = executor),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::BlockManagerRemoved { id: need(id, "SparkListenerBlockManagerRemoved", "Executor ID")? })
}

/// `rdd_3_17` as RDD and partition; `None` for broadcasts, shuffles and streams.
fn rdd_block(id: &str) -> Option<(RddId, u64)> {
    let (rdd, partition) = id.strip_prefix("rdd_")?.split_once('_')?;
    Some((RddId(rdd.parse().ok()?), partition.parse().ok()?))
}

/// The fields that block updates and the updated blocks of a task share.
#[derive(Default)]
struct BlockFields {
    executor: Option<CompactString>,
    id: Option<String>,
    in_memory: bool,
    on_disk: bool,
    bytes: u64,
}

impl BlockFields {
    fn field(&mut self, key: &[u8], json: &mut Json<'_>) -> json::Result<()> {
        match key {
            b"Block Manager ID" => self.executor = block_manager_id(json)?.0,
            b"Block ID" => self.id = json.text_cut(MAX_NAME)?,
            b"Storage Level" => {
                let level = storage_level(json)?;
                self.in_memory = level.use_memory || level.use_off_heap;
                self.on_disk = level.use_disk;
            }
            b"Memory Size" | b"Disk Size" => self.bytes = self.bytes.saturating_add(json.unsigned()?.unwrap_or(0)),
            b"Status" => json.object(|key, json| self.field(key, json))?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn update(self) -> Option<BlockUpdate> {
        let (rdd, partition) = rdd_block(self.id.as_deref()?)?;
        Some(BlockUpdate {
            executor: self.executor.unwrap_or_default(),
            rdd,
            partition,
            in_memory: self.in_memory,
            on_disk: self.on_disk,
            bytes: self.bytes,
        })
    }
}

pub(super) fn block_updated(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut fields = BlockFields::default();
    json.object(|key, json| match key {
        b"Block Updated Info" => json.object(|key, json| fields.field(key, json)),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(fields.update().map_or(Event::Noted("BlockUpdated"), |update| Event::BlockUpdated(Box::new(update))))
}

/// An updated block of a task's metrics; `None` when it is of no RDD.
pub(super) fn updated_block(json: &mut Json<'_>) -> json::Result<Option<BlockUpdate>> {
    let mut fields = BlockFields::default();
    json.object(|key, json| fields.field(key, json))?;
    Ok(fields.update())
}

pub(super) fn unpersist(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    json.object(|key, json| match key {
        b"RDD ID" => json.unsigned().map(|value| id = value),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::UnpersistRdd(RddId(need(id, "SparkListenerUnpersistRDD", "RDD ID")?)))
}
