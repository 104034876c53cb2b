//! Applies events in their order to a run.

mod blocks;
mod executors;
mod finish;
mod jobs;
mod sql;
mod tasks;

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;
use emberscope_run::{
    AccumulatorId, Application, Executor, ExecutorId, IssueCode, Run, SqlExecutionId, StageAttempt, StageKey,
    TaskColumn, Timestamp,
};

use super::events::{ApplicationStart, Event};
use super::limits::Limits;

/// Where an event stands, for import issues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a> {
    pub(super) path: &'a str,
    pub(super) line: u64,
}

impl Position<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "import issues take a position that may be unknown")]
    fn text(self) -> Option<String> {
        Some(format!("{}:{}", self.path, self.line))
    }
}

/// Every task looks up its executor and its host. Seeded anew in each process: no log can aim at it.
type Hashing = foldhash::fast::RandomState;

/// A run under construction.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) run: Run,
    limits: Limits,
    executors: HashMap<CompactString, u64, Hashing>,
    hosts: HashMap<CompactString, u64, Hashing>,
    accumulators: HashMap<AccumulatorId, i64, Hashing>,
    ended: tasks::EndedTasks,
    failures: HashMap<tasks::FailureKey, u32>,
    /// Peaks from task ends, by executor index; in the order of [`TaskColumn::executor_metrics`].
    task_peaks: Vec<Option<Vec<u64>>>,
    blocks: blocks::BlockStates,
    task_count: usize,
    running_count: usize,
    exclusions: usize,
    host_questions: usize,
    /// Accumulators of the plan of the execution whose metrics adaptive execution added to last.
    plan_metrics: Option<(SqlExecutionId, HashSet<AccumulatorId, Hashing>)>,
}

impl Builder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            run: Run::default(),
            limits: *limits,
            executors: HashMap::default(),
            hosts: HashMap::default(),
            accumulators: HashMap::default(),
            ended: tasks::EndedTasks::default(),
            failures: HashMap::new(),
            task_peaks: Vec::new(),
            blocks: blocks::BlockStates::default(),
            task_count: 0,
            running_count: 0,
            exclusions: 0,
            host_questions: 0,
            plan_metrics: None,
        }
    }

    /// Applies an event.
    pub(super) fn apply(&mut self, event: Event, at: Position<'_>) {
        match event {
            Event::LogStart { spark_version } => self.version(spark_version),
            Event::DatabricksMetadata { spark_version } => {
                self.run.application.databricks = true;
                self.version(spark_version);
            }
            Event::ApplicationStart(start) => self.application_start(*start, at),
            Event::ApplicationEnd { at: time, exit_code } => {
                self.saw(time);
                self.run.application.ended_at = time;
                self.run.application.exit_code = exit_code;
            }
            Event::EnvironmentUpdate(update) => {
                // Delta's own settings begin with `spark.databricks.delta` anywhere; these are set on Databricks only.
                let tag = "spark.databricks.clusterUsageTags.";
                let tagged = update.spark.iter().any(|spark| spark.iter().any(|(key, _)| key.starts_with(tag)));
                self.run.application.databricks |= tagged;
                let environment = &mut self.run.environment;
                environment.known = update.spark.is_some();
                environment.spark = update.spark.unwrap_or_default();
                environment.hadoop = update.hadoop;
                environment.system = update.system;
                environment.jvm = update.jvm;
            }
            Event::ResourceProfileAdded(profile) => {
                if self.room(self.run.resource_profiles.len(), "resource profiles", at) {
                    self.run.resource_profiles.insert(profile.id, *profile);
                }
            }
            Event::JobStart(job) => self.job_start(*job, at),
            Event::JobEnd { id, at: time, result } => self.job_end(id, time, result, at),
            Event::StageSubmitted { info, pool } => self.stage_submitted(*info, pool, at),
            Event::StageCompleted(info) => self.stage_completed(*info, at),
            Event::StageExecutorMetrics { executor, stage, metrics } => {
                self.stage_metrics(&executor, Some(stage), &metrics, at);
            }
            Event::ExecutorMetricsUpdate { executor, metrics } => {
                for (stage, peaks) in metrics {
                    self.stage_metrics(&executor, stage, &peaks, at);
                }
            }
            Event::TaskStart(start) => self.task_start(start, at),
            Event::TaskEnd(end) => self.task_end(*end, at),
            Event::SpeculativeTaskSubmitted(key) => {
                if let Some(stage) = self.stage(key, at) {
                    stage.speculative_submitted += 1;
                }
            }
            Event::UnschedulableTaskSet { stage, added } => {
                if let Some(stage) = self.stage(stage, at) {
                    stage.unschedulable |= added;
                }
            }
            Event::ExecutorAdded(added) => self.executor_added(*added, at),
            Event::ExecutorRemoved { id, at: time, reason } => self.executor_removed(&id, time, reason, at),
            Event::ExecutorExcluded { id, at: time, stage, failures } => {
                self.exclude(&id, time, stage, failures, false, at);
            }
            Event::ExecutorUnexcluded { id, at: time } => self.include(&id, time),
            Event::NodeExcluded { host, at: time, stage, failures } => {
                for id in self.executors_of(&host, at) {
                    self.exclude(&id, time, stage, failures, true, at);
                }
            }
            Event::NodeUnexcluded { host, at: time } => {
                for id in self.executors_of(&host, at) {
                    self.include(&id, time);
                }
            }
            Event::BlockManagerAdded(manager) => self.block_manager_added(*manager, at),
            Event::BlockManagerRemoved { id } => self.blocks.executor_gone(&id),
            Event::BlockUpdated(update) => self.block_update(&update, at),
            Event::UnpersistRdd(rdd) => self.unpersist(rdd, at),
            Event::SqlStart(start) => self.sql_start(*start, at),
            Event::SqlEnd { id, at: time, error } => self.sql_end(id, time, error, at),
            Event::SqlAdaptiveUpdate { id, plan } => self.sql_replan(id, *plan, at),
            Event::SqlAdaptiveMetricUpdate { id, metrics } => self.sql_metrics(id, metrics),
            Event::DriverAccumulatorUpdates { values } => {
                for (id, value) in values {
                    self.accumulate(id, value, at);
                }
            }
            Event::StreamingStarted { id, run_id, name, at: time } => self.streaming_start(id, &run_id, name, time, at),
            Event::StreamingProgress { id, run_id, name, batch } => {
                self.streaming_progress(id, &run_id, name, *batch, at);
            }
            Event::StreamingTerminated { id, run_id, exception } => {
                self.streaming_end(id, &run_id, exception, at);
            }
            Event::ConnectOperation(operation) => self.connect(*operation, at),
            Event::TaskGettingResult | Event::Noted(_) => {}
            Event::Unknown(name) => {
                self.run.issues.add(IssueCode::UnknownEvent, || at.text(), || name);
            }
        }
    }

    fn version(&mut self, version: Option<String>) {
        if version.is_some() {
            self.run.application.spark_version = version;
        }
    }

    fn application_start(&mut self, start: ApplicationStart, at: Position<'_>) {
        let application = &mut self.run.application;
        let known = application.started_at.is_some() || application.id.is_some();
        // Every part of a rolled log may repeat the start; another id or attempt is another application.
        if known && (application.id != start.id || application.attempt_id != start.attempt_id) {
            let id = start.id.unwrap_or_default();
            self.run.issues.add(IssueCode::MixedApplications, || at.text(), || format!("a second start, of {id}"));
            return;
        }
        let Application { id, attempt_id, name, user, started_at, .. } = application;
        *id = start.id;
        *attempt_id = start.attempt_id;
        *name = start.name;
        *user = start.user;
        *started_at = start.at;
        self.saw(start.at);
    }

    /// Notes a time that an event names.
    fn saw(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        let application = &mut self.run.application;
        application.last_event_at = application.last_event_at.max(Some(time));
        application.first_event_at = Some(application.first_event_at.map_or(time, |first| first.min(time)));
    }

    /// Whether one more id of a kind may be tracked; when not, that is counted.
    fn room(&mut self, tracked: usize, what: &str, at: Position<'_>) -> bool {
        self.room_under(("max_ids", self.limits.max_ids), tracked, what, at)
    }

    fn room_under(&mut self, limit: (&str, usize), tracked: usize, what: &str, at: Position<'_>) -> bool {
        let (name, limit) = limit;
        if tracked >= limit {
            let detail = || format!("more than {limit} {what} ({name})");
            self.run.issues.add(IssueCode::TooManyIds, || at.text(), detail);
        }
        tracked < limit
    }

    /// A stage attempt, made when it is new; `None` over the limit.
    fn stage(&mut self, key: StageKey, at: Position<'_>) -> Option<&mut StageAttempt> {
        if !self.run.stages.contains_key(&key) {
            if !self.room(self.run.stages.len(), "stage attempts", at) {
                return None;
            }
            self.run.stages.insert(key, StageAttempt { key, ..StageAttempt::default() });
        }
        self.run.stages.get_mut(&key)
    }

    /// The index of an executor in the run's list of names.
    fn executor_index(&mut self, id: &CompactString, at: Position<'_>) -> Option<u64> {
        if let Some(&index) = self.executors.get(id) {
            return Some(index);
        }
        if !self.room(self.executors.len(), "executors", at) {
            return None;
        }
        let index = self.run.executor_names.len() as u64;
        self.run.executor_names.push(ExecutorId(id.clone()));
        self.executors.insert(id.clone(), index);
        Some(index)
    }

    fn host_index(&mut self, host: &CompactString, at: Position<'_>) -> Option<u64> {
        if host.is_empty() {
            return None;
        }
        if let Some(&index) = self.hosts.get(host) {
            return Some(index);
        }
        if !self.room(self.hosts.len(), "hosts", at) {
            return None;
        }
        let index = self.run.host_names.len() as u64;
        self.run.host_names.push(host.to_string());
        self.hosts.insert(host.clone(), index);
        Some(index)
    }

    fn executor(&mut self, id: &CompactString, at: Position<'_>) -> Option<&mut Executor> {
        let id = ExecutorId(id.clone());
        if !self.run.executors.contains_key(&id) {
            if !self.room(self.run.executors.len(), "executors", at) {
                return None;
            }
            self.run.executors.insert(id.clone(), Executor { id: id.clone(), ..Executor::default() });
        }
        self.run.executors.get_mut(&id)
    }

    /// The last value of an accumulator. A metric of sizes or times that was never set is `-1` in Spark 3.5 and later.
    fn accumulate(&mut self, id: AccumulatorId, value: i64, at: Position<'_>) {
        let limit = ("max_accumulators", self.limits.max_accumulators);
        if self.accumulators.contains_key(&id) || self.room_under(limit, self.accumulators.len(), "accumulators", at) {
            self.accumulators.insert(id, value);
        }
    }

    /// The executor metrics as the columns of tasks.
    fn peak_columns() -> &'static [TaskColumn] {
        TaskColumn::executor_metrics()
    }
}
