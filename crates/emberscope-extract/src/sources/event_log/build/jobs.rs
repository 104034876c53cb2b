//! Jobs, stages and streaming queries.

use std::collections::BTreeMap;

use emberscope_run::{
    IssueCode, Job, JobId, JobResult, MicroBatch, RddInfo, RddStorage, SqlExecutionId, StageAttempt, StreamingQuery,
    Timestamp,
};

use super::{Builder, Position};
use crate::sources::event_log::events::{JobStart, StageInfo};

/// Jobs that a further attempt of a stage takes over from the first: the last ones, one of which it runs for.
const MAX_JOBS_OF_ATTEMPT: usize = 100;
/// Properties kept of a job.
const MAX_JOB_PROPERTIES: usize = 300;

impl Builder {
    pub(super) fn job_start(&mut self, start: JobStart, at: Position<'_>) {
        self.saw(start.at);
        if !self.run.jobs.contains_key(&start.id) && !self.room(self.run.jobs.len(), "jobs", at) {
            return;
        }
        let get = |key: &str| start.properties.get(key).cloned();
        let number = |key: &str| start.properties.get(key).and_then(|text| text.parse().ok());
        let sql = number("spark.sql.execution.id").map(SqlExecutionId);
        let pool = get("spark.scheduler.pool");
        let name = start.stages.iter().max_by_key(|stage| stage.key.stage_id).map(|stage| stage.name.clone());
        for info in start.stages {
            if let Some(stage) = self.stage(info.key, at) {
                stage.job_ids.insert(start.id);
                stage.sql_execution_id = stage.sql_execution_id.or(sql);
                if stage.pool.is_none() {
                    stage.pool.clone_from(&pool);
                }
                describe(stage, info);
            }
        }
        for &stage_id in &start.stage_ids {
            // Without stage infos (Spark before 1.2) the stages are known by their ids alone.
            let key = emberscope_run::StageKey { stage_id, attempt: 0 };
            if let Some(stage) = self.stage(key, at) {
                stage.job_ids.insert(start.id);
                stage.sql_execution_id = stage.sql_execution_id.or(sql);
            }
        }
        let job = Job {
            id: start.id,
            submitted_at: start.at,
            completed_at: None,
            result: None,
            stage_ids: start.stage_ids,
            name,
            description: get("spark.job.description"),
            group: get("spark.jobGroup.id"),
            tags: get("spark.job.tags").filter(|tags| !tags.is_empty()),
            pool,
            sql_execution_id: sql,
            sql_root_execution_id: number("spark.sql.execution.root.id").map(SqlExecutionId),
            streaming_query_id: get("sql.streaming.queryId"),
            streaming_batch_id: number("streaming.sql.batchId"),
            properties: self.own_properties(&start.properties),
        };
        self.run.jobs.insert(start.id, job);
    }

    /// The settings of a job that differ from the environment's: they were set at run time.
    fn own_properties(&self, properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        // What Spark itself hands on with every job is no setting.
        const OWN: &[&str] = &[
            "spark.sql.execution.id",
            "spark.sql.execution.root.id",
            "spark.job.description",
            "spark.job.tags",
            "spark.jobGroup.id",
            "spark.job.interruptOnCancel",
            "spark.rdd.scope",
            "spark.rdd.scope.noOverride",
            "spark.scheduler.pool",
        ];
        let environment = &self.run.environment.spark;
        properties
            .iter()
            .filter(|(key, value)| {
                key.starts_with("spark.")
                    && !OWN.contains(&key.as_str())
                    && environment.get(key.as_str()) != Some(value.as_str())
            })
            .take(MAX_JOB_PROPERTIES)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn job_end(&mut self, id: JobId, time: Option<Timestamp>, result: Option<JobResult>, at: Position<'_>) {
        self.saw(time);
        if !self.run.jobs.contains_key(&id) && !self.room(self.run.jobs.len(), "jobs", at) {
            return;
        }
        // A job whose start was lost still says how it ended.
        let job = self.run.jobs.entry(id).or_insert_with(|| Job { id, ..Job::default() });
        job.completed_at = time;
        job.result = result;
    }

    pub(super) fn stage_submitted(&mut self, info: StageInfo, pool: Option<String>, at: Position<'_>) {
        self.saw(info.submitted_at);
        self.cached_rdds(&info.rdds, at);
        let first = emberscope_run::StageKey { stage_id: info.key.stage_id, attempt: 0 };
        // A further attempt is of the jobs of the first one.
        let new = !self.run.stages.contains_key(&info.key);
        let of_first = self.run.stages.get(&first).filter(|_| new).map(|stage| {
            let last = stage.job_ids.iter().rev().take(MAX_JOBS_OF_ATTEMPT).copied();
            (last.collect::<Vec<_>>(), stage.sql_execution_id)
        });
        if let Some(stage) = self.stage(info.key, at) {
            if let Some((jobs, sql)) = of_first {
                stage.job_ids.extend(jobs);
                stage.sql_execution_id = stage.sql_execution_id.or(sql);
            }
            if pool.is_some() {
                stage.pool = pool;
            }
            describe(stage, info);
        }
    }

    pub(super) fn stage_completed(&mut self, info: StageInfo, at: Position<'_>) {
        self.saw(info.submitted_at);
        self.saw(info.completed_at);
        self.cached_rdds(&info.rdds, at);
        let accumulators = info.accumulators.clone();
        for &(id, value) in &accumulators {
            if let Some(value) = value {
                self.accumulate(id, value, at);
            }
        }
        if let Some(stage) = self.stage(info.key, at) {
            stage.accumulators.extend(accumulators.into_iter().map(|(id, _)| id));
            describe(stage, info);
            stage.tasks.seal();
        }
    }

    /// What stage infos show of cached RDDs.
    fn cached_rdds(&mut self, rdds: &[RddInfo], at: Position<'_>) {
        for info in rdds.iter().filter(|rdd| rdd.cached) {
            if !self.run.rdds.contains_key(&info.id) && !self.room(self.run.rdds.len(), "RDDs", at) {
                return;
            }
            let rdd =
                self.run.rdds.entry(info.id).or_insert_with(|| RddStorage { id: info.id, ..RddStorage::default() });
            rdd.name.clone_from(&info.name);
            rdd.scope.clone_from(&info.scope);
            rdd.callsite.clone_from(&info.callsite);
            rdd.partitions = info.partitions;
            rdd.cached_partitions_max = rdd.cached_partitions_max.max(info.cached_partitions);
            rdd.cached_partitions_last = info.cached_partitions;
            rdd.memory_bytes_max = rdd.memory_bytes_max.max(info.memory_size);
            rdd.disk_bytes_max = rdd.disk_bytes_max.max(info.disk_size);
            rdd.use_disk |= info.use_disk;
            rdd.deserialized |= info.deserialized;
        }
    }

    fn query(&mut self, id: String, run_id: &str, at: Position<'_>) -> Option<&mut StreamingQuery> {
        if !self.run.streaming_queries.contains_key(run_id) {
            if !self.room(self.run.streaming_queries.len(), "streaming queries", at) {
                return None;
            }
            let query = StreamingQuery { id, run_id: run_id.to_owned(), ..StreamingQuery::default() };
            self.run.streaming_queries.insert(run_id.to_owned(), query);
        }
        self.run.streaming_queries.get_mut(run_id)
    }

    pub(super) fn streaming_start(
        &mut self,
        id: String,
        run_id: &str,
        name: Option<String>,
        time: Option<Timestamp>,
        at: Position<'_>,
    ) {
        self.saw(time);
        if let Some(query) = self.query(id, run_id, at) {
            query.name = name;
            query.started_at = time;
        }
    }

    pub(super) fn streaming_progress(
        &mut self,
        id: String,
        run_id: &str,
        name: Option<String>,
        batch: MicroBatch,
        at: Position<'_>,
    ) {
        self.saw(batch.started_at);
        let limit = self.limits.max_batches;
        let Some(query) = self.query(id, run_id, at) else { return };
        query.name = name.or(query.name.take());
        let full = query.batches.len() >= limit && !query.batches.contains_key(&batch.batch_id);
        if full {
            let detail = || format!("more than {limit} micro-batches of a streaming query");
            self.run.issues.add(IssueCode::TooManyIds, || at.text(), detail);
        } else {
            query.batches.insert(batch.batch_id, batch);
        }
    }

    pub(super) fn streaming_end(&mut self, id: String, run_id: &str, exception: Option<String>, at: Position<'_>) {
        if let Some(query) = self.query(id, run_id, at) {
            query.terminated = true;
            query.exception = exception;
        }
    }
}

/// Takes over what an info says; later infos know more and never less.
fn describe(stage: &mut StageAttempt, info: StageInfo) {
    if !info.name.is_empty() {
        stage.name = info.name;
    }
    if !info.details.is_empty() {
        stage.details = info.details;
    }
    stage.num_tasks = info.num_tasks;
    if !info.parent_ids.is_empty() {
        stage.parent_ids = info.parent_ids;
    }
    if !info.rdds.is_empty() {
        stage.rdds = info.rdds;
    }
    stage.submitted_at = info.submitted_at.or(stage.submitted_at);
    stage.completed_at = info.completed_at.or(stage.completed_at);
    stage.failure_reason = info.failure_reason.or(stage.failure_reason.take());
    stage.resource_profile = info.resource_profile.or(stage.resource_profile);
    stage.shuffle_push_enabled = info.shuffle_push_enabled.or(stage.shuffle_push_enabled);
}
