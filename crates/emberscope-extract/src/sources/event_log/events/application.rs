//! Events of the application, its configuration and its jobs.

use std::collections::BTreeMap;

use emberscope_run::{
    Configuration, JobId, JobResult, ResourceProfile, ResourceProfileId, ResourceRequest, StageId, Timestamp,
};

use super::super::json::{self, Json};
use super::stage::StageInfo;
use super::{Event, MAX_FAILURE_TEXT, MAX_NAME, Result, finish, need, timestamp};

/// Properties kept of one object; a Hadoop configuration has a thousand or two.
const MAX_PROPERTIES: usize = 20_000;

#[derive(Debug, Clone, Default)]
pub(in super::super) struct ApplicationStart {
    pub(in super::super) name: Option<String>,
    pub(in super::super) id: Option<String>,
    pub(in super::super) attempt_id: Option<String>,
    pub(in super::super) user: Option<String>,
    pub(in super::super) at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default)]
pub(in super::super) struct EnvironmentUpdate {
    /// `None` when the event has no Spark properties.
    pub(in super::super) spark: Option<Configuration>,
    pub(in super::super) hadoop: BTreeMap<String, String>,
    pub(in super::super) system: BTreeMap<String, String>,
    pub(in super::super) jvm: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
pub(in super::super) struct JobStart {
    pub(in super::super) id: JobId,
    pub(in super::super) at: Option<Timestamp>,
    pub(in super::super) stage_ids: Vec<StageId>,
    pub(in super::super) stages: Vec<StageInfo>,
    pub(in super::super) properties: BTreeMap<String, String>,
}

pub(super) fn log_start(line: &[u8]) -> Result<Event> {
    Ok(Event::LogStart { spark_version: version(line)? })
}

pub(super) fn databricks(line: &[u8]) -> Result<Event> {
    Ok(Event::DatabricksMetadata { spark_version: version(line)? })
}

fn version(line: &[u8]) -> Result<Option<String>> {
    let mut json = Json::new(line);
    let mut version = None;
    json.object(|key, json| match key {
        b"Spark Version" => json.text_cut(MAX_NAME).map(|text| version = text),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(version)
}

pub(super) fn start(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut start = ApplicationStart::default();
    json.object(|key, json| {
        match key {
            b"App Name" => start.name = json.text_cut(MAX_NAME)?,
            b"App ID" => start.id = json.text_cut(MAX_NAME)?,
            b"App Attempt ID" => start.attempt_id = json.text_cut(MAX_NAME)?,
            b"User" => start.user = json.text_cut(MAX_NAME)?,
            b"Timestamp" => start.at = timestamp(json)?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    Ok(Event::ApplicationStart(Box::new(start)))
}

pub(super) fn end(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut at, mut exit_code) = (None, None);
    json.object(|key, json| match key {
        b"Timestamp" => timestamp(json).map(|time| at = time),
        b"ExitCode" => json.signed().map(|code| exit_code = code),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    Ok(Event::ApplicationEnd { at: Some(need(at, "SparkListenerApplicationEnd", "Timestamp")?), exit_code })
}

/// An object of texts; an array of pairs, as Spark 1.2 writes some, is read too.
fn properties(json: &mut Json<'_>) -> json::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    json.object(|key, json| {
        if let Some(value) = json.text_cut(16 * MAX_NAME)?
            && map.len() < MAX_PROPERTIES
        {
            // The key may hold escapes: read it as the string it is.
            let quoted = [b"\"", key, b"\""].concat();
            let key = Json::new(&quoted).text_cut(MAX_NAME)?.unwrap_or_default();
            map.insert(key, value);
        }
        Ok(())
    })?;
    Ok(map)
}

pub(super) fn environment(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut environment = EnvironmentUpdate::default();
    json.object(|key, json| {
        match key {
            b"Spark Properties" => environment.spark = Some(properties(json)?.into_iter().collect()),
            b"Hadoop Properties" => environment.hadoop = properties(json)?,
            b"System Properties" => environment.system = properties(json)?,
            b"JVM Information" => environment.jvm = properties(json)?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    Ok(Event::EnvironmentUpdate(Box::new(environment)))
}

pub(super) fn resource_profile(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    let (mut executor, mut task) = (BTreeMap::new(), BTreeMap::new());
    json.object(|key, json| match key {
        b"Resource Profile Id" => json.unsigned().map(|value| id = value),
        b"Executor Resource Requests" => requests(json).map(|requests| executor = requests),
        b"Task Resource Requests" => requests(json).map(|requests| task = requests),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let id = ResourceProfileId(need(id, "SparkListenerResourceProfileAdded", "Resource Profile Id")?);
    Ok(Event::ResourceProfileAdded(Box::new(ResourceProfile { id, executor, task })))
}

fn requests(json: &mut Json<'_>) -> json::Result<BTreeMap<String, ResourceRequest>> {
    let mut map = BTreeMap::new();
    json.object(|name, json| {
        let mut amount = None;
        json.object(|key, json| match key {
            b"Amount" => json.number().map(|number| amount = number),
            _ => json.skip(),
        })?;
        if let Some(amount) = amount {
            map.insert(String::from_utf8_lossy(name).into_owned(), ResourceRequest { amount });
        }
        Ok(())
    })?;
    Ok(map)
}

pub(super) fn job_start(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let mut id = None;
    let mut job = JobStart::default();
    json.object(|key, json| {
        match key {
            b"Job ID" => id = json.unsigned()?,
            b"Submission Time" => job.at = timestamp(json)?,
            b"Stage IDs" => json.array(|json| json.unsigned().map(|id| job.stage_ids.extend(id.map(StageId))))?,
            b"Stage Infos" => json.array(|json| StageInfo::read(json).map(|info| job.stages.extend(info)))?,
            b"Properties" => job.properties = properties(json)?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    finish(&mut json)?;
    job.id = JobId(need(id, "SparkListenerJobStart", "Job ID")?);
    Ok(Event::JobStart(Box::new(job)))
}

pub(super) fn job_end(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut at, mut result, mut exception) = (None, None, None, None);
    json.object(|key, json| match key {
        b"Job ID" => json.unsigned().map(|value| id = value),
        b"Completion Time" => timestamp(json).map(|time| at = time),
        b"Job Result" => json.object(|key, json| match key {
            b"Result" => json.text_cut(MAX_NAME).map(|text| result = text),
            b"Exception" => read_exception(json, &mut exception),
            _ => json.skip(),
        }),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    let id = JobId(need(id, "SparkListenerJobEnd", "Job ID")?);
    let result = result.map(|result| match result.as_str() {
        "JobSucceeded" => JobResult::Succeeded,
        other => JobResult::Failed(exception.unwrap_or_else(|| other.to_owned())),
    });
    Ok(Event::JobEnd { id, at, result })
}

fn read_exception(json: &mut Json<'_>, exception: &mut Option<String>) -> json::Result<()> {
    let mut stack = Vec::new();
    json.object(|key, json| match key {
        b"Message" => json.text_cut(MAX_FAILURE_TEXT).map(|text| *exception = text),
        b"Stack Trace" => json.array(|json| {
            let mut frame = Frame::default();
            frame.read(json)?;
            if stack.len() < 60 {
                stack.push(frame.to_string());
            }
            Ok(())
        }),
        _ => json.skip(),
    })?;
    if let Some(message) = exception.as_mut()
        && !stack.is_empty()
    {
        message.push('\n');
        message.push_str(&stack.join("\n"));
    }
    Ok(())
}

#[derive(Default)]
struct Frame {
    class: String,
    method: String,
    file: String,
    line: Option<i64>,
}

impl Frame {
    fn read(&mut self, json: &mut Json<'_>) -> json::Result<()> {
        json.object(|key, json| {
            match key {
                b"Declaring Class" => self.class = json.text_cut(MAX_NAME)?.unwrap_or_default(),
                b"Method Name" => self.method = json.text_cut(MAX_NAME)?.unwrap_or_default(),
                b"File Name" => self.file = json.text_cut(MAX_NAME)?.unwrap_or_default(),
                b"Line Number" => self.line = json.signed()?,
                _ => json.skip()?,
            }
            Ok(())
        })
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\tat {}.{}({}:{})", self.class, self.method, self.file, self.line.unwrap_or(-1))
    }
}
