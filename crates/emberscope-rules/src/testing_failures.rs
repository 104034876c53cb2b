//! Failures and departures for runs made by hand.

use emberscope_run::{
    ExecutorId, Failure, Job, JobId, JobResult, StageId, StageKey, TaskColumn, TaskEndKind, TaskId, TaskStatus,
    Timestamp,
};

use crate::testing::{RunBuilder, START, TaskBuilder};

impl RunBuilder {
    /// Registers a cause of failed tasks and gives its index.
    pub(crate) fn failure(&mut self, kind: TaskEndKind, class: &str, message: &str, stack: Option<&str>) -> u64 {
        self.run.failures.push(Failure {
            kind,
            class: class.to_owned(),
            message: message.to_owned(),
            stack_trace: stack.map(str::to_owned),
            stage: StageKey::default(),
            first_task: TaskId(0),
            executor: ExecutorId::from("1"),
            caused_by_app: None,
            count: 1,
        });
        self.run.failures.len() as u64 - 1
    }

    /// Adds an executor that comes `at` ms after the start.
    pub(crate) fn executor_at(self, id: &str, cores: u64, at: i64) -> Self {
        let id = id.to_owned();
        self.executor(&id, cores).with(move |run| {
            if let Some(executor) = run.executors.get_mut(&ExecutorId::from(id.as_str())) {
                executor.added_at = Some(Timestamp(START + at));
            }
        })
    }

    /// Removes an executor `at` ms after the start.
    pub(crate) fn removed(self, id: &str, at: i64, reason: &str) -> Self {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.with(move |run| {
            if let Some(executor) = run.executors.get_mut(&ExecutorId::from(id.as_str())) {
                executor.removed_at = Some(Timestamp(START + at));
                executor.removed_reason = Some(reason);
            }
        })
    }

    /// Adds a job with its times in ms since the start; `None` for an end that was not seen.
    pub(crate) fn job(self, id: u64, from: i64, to: Option<i64>, result: Option<JobResult>, stages: &[u64]) -> Self {
        let stage_ids = stages.iter().map(|&id| StageId(id)).collect();
        self.with(move |run| {
            for (key, stage) in &mut run.stages {
                let named: &Vec<StageId> = &stage_ids;
                if named.contains(&key.stage_id) {
                    stage.job_ids = [JobId(id)].into();
                }
            }
            run.jobs.insert(
                JobId(id),
                Job {
                    id: JobId(id),
                    submitted_at: Some(Timestamp(START + from)),
                    completed_at: to.map(|to| Timestamp(START + to)),
                    result,
                    stage_ids,
                    ..Job::default()
                },
            );
        })
    }
}

/// How a task fails.
pub(crate) trait Fail {
    /// It failed with a cause that [`RunBuilder::failure`] gave; the kind is set to the commonest.
    fn fails(&mut self, failure: u64) -> &mut Self;
    /// It had succeeded and its output was lost: a resubmission without time of its own.
    fn resubmitted(&mut self) -> &mut Self;
    /// It was killed on purpose.
    fn killed(&mut self) -> &mut Self;
}

impl Fail for TaskBuilder {
    fn fails(&mut self, failure: u64) -> &mut Self {
        self.status(TaskStatus::Failed, TaskEndKind::ExceptionFailure).set(TaskColumn::Failure, failure)
    }

    fn resubmitted(&mut self) -> &mut Self {
        self.status(TaskStatus::Resubmitted, TaskEndKind::Resubmitted)
    }

    fn killed(&mut self) -> &mut Self {
        self.status(TaskStatus::Killed, TaskEndKind::TaskKilled)
    }
}
