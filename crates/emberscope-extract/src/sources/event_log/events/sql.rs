//! SQL and Spark Connect events.

use std::collections::BTreeMap;

use emberscope_run::{AccumulatorId, PlanMetric, PlanNode, SqlExecutionId, Timestamp};

use super::super::json::{self, Json};
use super::{Event, MAX_DETAILS, MAX_NAME, Result, checked, finish, need, timestamp};

/// Levels of a plan that are kept; deeper nodes are cut off and counted. Unions of hundreds of inputs stay below it.
const MAX_PLAN_DEPTH: u32 = 300;
/// Nodes of a plan that are kept.
const MAX_PLAN_NODES: u64 = 20_000;
/// Bytes kept of a SQL statement or plan node.
const MAX_DESCRIPTION: usize = 2 << 10;

/// A plan as an event carries it.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct SqlPlan {
    pub(in super::super) root: PlanNode,
    /// Nodes that were cut off by the limits.
    pub(in super::super) cut: u64,
}

#[derive(Debug, Clone, Default)]
pub(in super::super) struct SqlStart {
    pub(in super::super) id: SqlExecutionId,
    pub(in super::super) root_id: Option<SqlExecutionId>,
    pub(in super::super) description: String,
    pub(in super::super) details: String,
    pub(in super::super) at: Option<Timestamp>,
    pub(in super::super) plan: Option<SqlPlan>,
    pub(in super::super) modified_configs: BTreeMap<String, String>,
    pub(in super::super) tags: Vec<String>,
}

pub(super) fn parse(short: &str, name: &str, line: &[u8]) -> Result<Event> {
    match short {
        "SQLExecutionStart" => start(line),
        "SQLExecutionEnd" => end(line),
        "SQLAdaptiveExecutionUpdate" => adaptive_update(line),
        "SQLAdaptiveSQLMetricUpdates" => adaptive_metrics(line),
        "DriverAccumUpdates" => driver_accumulators(line),
        "EffectiveSQLConf" | "QueryExecutionMetrics" => checked(line, Event::Noted("SQL listener event")),
        _ => checked(line, Event::Unknown(json::cut(name, 200))),
    }
}

fn start(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut start = SqlStart::default();
    let mut id = None;
    json.object(|key, json| {
        match key {
            b"executionId" => id = json.unsigned()?,
            b"rootExecutionId" => start.root_id = json.unsigned()?.map(SqlExecutionId),
            b"description" => start.description = json.text_cut(MAX_DESCRIPTION)?.unwrap_or_default(),
            b"details" => start.details = json.text_cut(MAX_DETAILS)?.unwrap_or_default(),
            b"time" => start.at = timestamp(json)?,
            b"sparkPlanInfo" => start.plan = Some(plan(json)?),
            b"modifiedConfigs" => json.object(|key, json| {
                if let Some(value) = json.text_cut(MAX_NAME)? {
                    start.modified_configs.insert(String::from_utf8_lossy(key).into_owned(), value);
                }
                Ok(())
            })?,
            b"jobTags" => json.array(|json| json.text_cut(MAX_NAME).map(|tag| start.tags.extend(tag)))?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    start.id = SqlExecutionId(need(id, "SparkListenerSQLExecutionStart", "executionId")?);
    Ok(Event::SqlStart(Box::new(start)))
}

fn end(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut at, mut error) = (None, None, None);
    json.object(|key, json| match key {
        b"executionId" => json.unsigned().map(|value| id = value),
        b"time" => timestamp(json).map(|time| at = time),
        b"errorMessage" => json.text_cut(super::MAX_FAILURE_TEXT).map(|text| error = text),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let id = SqlExecutionId(need(id, "SparkListenerSQLExecutionEnd", "executionId")?);
    Ok(Event::SqlEnd { id, at, error: error.filter(|error| !error.is_empty()) })
}

fn adaptive_update(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut update) = (None, None);
    json.object(|key, json| match key {
        b"executionId" => json.unsigned().map(|value| id = value),
        b"sparkPlanInfo" => plan(json).map(|plan| update = Some(plan)),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let event = "SparkListenerSQLAdaptiveExecutionUpdate";
    Ok(Event::SqlAdaptiveUpdate {
        id: SqlExecutionId(need(id, event, "executionId")?),
        plan: Box::new(need(update, event, "sparkPlanInfo")?),
    })
}

fn adaptive_metrics(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    let mut metrics = Vec::new();
    json.object(|key, json| match key {
        b"executionId" => json.unsigned().map(|value| id = value),
        b"sqlPlanMetrics" => json.array(|json| metric(json).map(|metric| metrics.extend(metric))),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let id = SqlExecutionId(need(id, "SparkListenerSQLAdaptiveSQLMetricUpdates", "executionId")?);
    Ok(Event::SqlAdaptiveMetricUpdate { id, metrics })
}

fn driver_accumulators(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut values = Vec::new();
    json.object(|key, json| match key {
        b"accumUpdates" => json.array(|json| {
            let mut pair = Vec::with_capacity(2);
            json.array(|json| json.signed().map(|number| pair.extend(number)))?;
            if let [id, value] = pair[..]
                && let Ok(id) = u64::try_from(id)
            {
                values.push((AccumulatorId(id), value));
            }
            Ok(())
        }),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::DriverAccumulatorUpdates { values })
}

/// A plan, its nodes numbered in pre-order from 0.
fn plan(json: &mut Json<'_>) -> json::Result<SqlPlan> {
    let mut count = 0;
    let mut cut = 0;
    let root = node(json, 0, &mut count, &mut cut)?;
    Ok(SqlPlan { root: root.unwrap_or_default(), cut })
}

fn node(json: &mut Json<'_>, depth: u32, count: &mut u64, cut: &mut u64) -> json::Result<Option<PlanNode>> {
    if depth >= MAX_PLAN_DEPTH || *count >= MAX_PLAN_NODES {
        *cut += 1;
        json.skip()?;
        return Ok(None);
    }
    let mut plan = PlanNode { id: *count, ..PlanNode::default() };
    *count += 1;
    json.object(|key, json| {
        match key {
            b"nodeName" => plan.name = json.text_cut(MAX_NAME)?.unwrap_or_default(),
            b"simpleString" => plan.description = json.text_cut(MAX_DESCRIPTION)?.unwrap_or_default(),
            b"children" => {
                json.array(|json| node(json, depth + 1, count, cut).map(|child| plan.children.extend(child)))?;
            }
            b"metadata" => json.object(|key, json| {
                if let Some(value) = json.text_cut(MAX_DESCRIPTION)? {
                    plan.metadata.insert(String::from_utf8_lossy(key).into_owned(), value);
                }
                Ok(())
            })?,
            b"metrics" => json.array(|json| metric(json).map(|metric| plan.metrics.extend(metric)))?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(Some(plan))
}

fn metric(json: &mut Json<'_>) -> json::Result<Option<PlanMetric>> {
    let (mut name, mut id, mut kind) = (None, None, None);
    json.object(|key, json| match key {
        b"name" => json.compact_cut(MAX_NAME).map(|text| name = text),
        b"accumulatorId" => json.unsigned().map(|value| id = value),
        b"metricType" => json.compact_cut(MAX_NAME).map(|text| kind = text),
        _ => json.skip(),
    })?;
    Ok(id.map(|id| PlanMetric {
        name: name.unwrap_or_default(),
        accumulator_id: AccumulatorId(id),
        kind: kind.unwrap_or_default(),
        value: None,
    }))
}

/// Spark Connect's events: what a session asked for, tied to SQL executions by the job tag.
pub(super) fn connect(short: &str, name: &str, line: &[u8]) -> Result<Event> {
    if !short.starts_with("Operation") {
        let event = if short.starts_with("Session") || short.starts_with("Service") {
            Event::Noted("Connect session event")
        } else {
            Event::Unknown(json::cut(name, 200))
        };
        return checked(line, event);
    }
    let mut json = Json::new(line);
    let mut operation = emberscope_run::ConnectOperation::default();
    let mut at = None;
    json.object(|key, json| {
        match key {
            b"operationId" => operation.id = json.text_cut(MAX_NAME)?.unwrap_or_default(),
            b"jobTag" => operation.job_tag = json.text_cut(MAX_NAME)?,
            b"userName" => operation.user = json.text_cut(MAX_NAME)?.filter(|user| !user.is_empty()),
            b"statementText" => operation.statement = json.text_cut(MAX_DESCRIPTION)?,
            b"errorMessage" => operation.error = json.text_cut(MAX_DESCRIPTION)?,
            b"eventTime" => at = timestamp(json)?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    match short {
        "OperationStarted" => operation.started_at = at,
        "OperationFinished" | "OperationFailed" | "OperationCanceled" => operation.ended_at = at,
        _ => {}
    }
    operation.canceled = short == "OperationCanceled";
    if operation.id.is_empty() {
        // Only the start is sure to name the tag; every event names the operation.
        return Ok(Event::Noted("Connect operation event"));
    }
    Ok(Event::ConnectOperation(Box::new(operation)))
}
