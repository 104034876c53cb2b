//! A run: one attempt of an application, as observed.

use std::collections::BTreeMap;

use crate::application::{Application, Environment, ResourceProfile};
use crate::block::RddStorage;
use crate::configuration::Configuration;
use crate::executor::Executor;
use crate::failure::{Failure, FailureId};
use crate::ids::{ExecutorId, JobId, RddId, ResourceProfileId, SqlExecutionId, StageKey};
use crate::issue::ImportIssues;
use crate::job::Job;
use crate::source::Source;
use crate::sql::{ConnectOperation, SqlExecution};
use crate::stage::StageAttempt;
use crate::streaming::StreamingQuery;
use crate::task_column::TaskColumn;
use crate::task_store::TaskRow;
use crate::trace::Trace;
use crate::units::Timestamp;

/// Everything that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The application attempt.
    pub application: Application,
    /// What it was configured with.
    pub environment: Environment,
    /// Its resource profiles.
    pub resource_profiles: BTreeMap<ResourceProfileId, ResourceProfile>,
    /// Its jobs.
    pub jobs: BTreeMap<JobId, Job>,
    /// Its stage attempts, also those that were skipped.
    pub stages: BTreeMap<StageKey, StageAttempt>,
    /// Its executors and the driver.
    pub executors: BTreeMap<ExecutorId, Executor>,
    /// Its SQL executions.
    pub sql_executions: BTreeMap<SqlExecutionId, SqlExecution>,
    /// Its streaming queries by the id of their start.
    pub streaming_queries: BTreeMap<String, StreamingQuery>,
    /// Its Spark Connect operations by id.
    pub connect_operations: BTreeMap<String, ConnectOperation>,
    /// Its cached RDDs.
    pub rdds: BTreeMap<RddId, RddStorage>,
    /// The distinct causes of failed and killed tasks.
    pub failures: Vec<Failure>,
    /// Executor ids by the index that [`TaskColumn::Executor`] holds.
    pub executor_names: Vec<ExecutorId>,
    /// Hosts by the index that [`TaskColumn::Host`] holds.
    pub host_names: Vec<String>,
    /// What the operating system did to tasks, where somebody traced it.
    pub trace: Option<Trace>,
    /// What was read.
    pub sources: Vec<Source>,
    /// What went wrong in reading.
    pub issues: ImportIssues,
}

impl Run {
    /// The configuration that held for a job: the environment with what was set at run time on top.
    pub fn configuration_of(&self, job: Option<JobId>) -> Configuration {
        let mut configuration = self.environment.spark.clone();
        if let Some(job) = job.and_then(|id| self.jobs.get(&id)) {
            let sql = job.sql_execution_id.and_then(|id| self.sql_executions.get(&id));
            for (key, value) in sql.iter().flat_map(|sql| &sql.modified_configs) {
                configuration.set(key, value);
            }
            for (key, value) in &job.properties {
                configuration.set(key, value);
            }
        }
        configuration
    }

    /// The configuration that held for a stage attempt: that of its first job.
    pub fn configuration_of_stage(&self, key: StageKey) -> Configuration {
        self.configuration_of(self.stages.get(&key).and_then(|stage| stage.job_ids.first().copied()))
    }

    /// The configuration that held for a SQL execution.
    pub fn configuration_of_sql(&self, id: SqlExecutionId) -> Configuration {
        let Some(sql) = self.sql_executions.get(&id) else {
            return self.environment.spark.clone();
        };
        let mut configuration = self.configuration_of(sql.job_ids.first().copied());
        for (key, value) in &sql.modified_configs {
            configuration.set(key, value);
        }
        configuration
    }

    /// The executor that a task ran on.
    pub fn executor_of(&self, task: &TaskRow) -> Option<&ExecutorId> {
        self.executor_names.get(usize::try_from(task.get(TaskColumn::Executor)?).ok()?)
    }

    /// The host that a task ran on.
    pub fn host_of(&self, task: &TaskRow) -> Option<&str> {
        let index = usize::try_from(task.get(TaskColumn::Host)?).ok()?;
        self.host_names.get(index).map(String::as_str)
    }

    /// Why a task failed or was killed.
    pub fn failure_of(&self, task: &TaskRow) -> Option<&Failure> {
        self.failures.get(usize::try_from(task.get(TaskColumn::Failure)?).ok()?)
    }

    /// The failure of an id.
    pub fn failure(&self, id: FailureId) -> Option<&Failure> {
        self.failures.get(id.0 as usize)
    }

    /// The number of task attempts that ended in this log.
    pub fn task_count(&self) -> usize {
        self.stages.values().map(|stage| stage.tasks.len()).sum()
    }

    /// The executors that run tasks: all but a cluster's driver; the driver itself in local mode.
    pub fn worker_executors(&self) -> impl Iterator<Item = &Executor> {
        let only_driver = !self.executors.keys().any(|id| !id.is_driver());
        self.executors.values().filter(move |executor| only_driver || !executor.id.is_driver())
    }

    /// Core-milliseconds held by executors from their start to their end (or the end of the run); `None` when no executor
    /// says its cores.
    pub fn core_ms_held(&self) -> Option<u64> {
        let end = self.application.end();
        self.worker_executors()
            .filter_map(|executor| Some(executor.cores?.saturating_mul(executor.lifetime(end)?.0)))
            .fold(None, |sum: Option<u64>, held| Some(sum.unwrap_or(0).saturating_add(held)))
    }

    /// Task slots: the sum over executors that were there at `at` of cores divided by `spark.task.cpus`.
    pub fn slots_at(&self, at: Timestamp) -> Option<u64> {
        let cpus = self.environment.spark.integer("spark.task.cpus").ok().flatten().unwrap_or(1).max(1) as u64;
        self.worker_executors()
            .filter(|e| e.added_at.is_none_or(|added| added <= at) && e.removed_at.is_none_or(|removed| at < removed))
            .filter_map(|executor| executor.cores)
            .fold(None, |sum: Option<u64>, cores| Some(sum.unwrap_or(0).saturating_add(cores / cpus)))
    }
}
