//! A job, summed up over its stage attempts.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{Job, JobId, JobResult, Run, StageKey, StageStatus, Timestamp};

use super::stage::StageSummary;
use super::sums::{Sums, TaskCounts};
use super::timeline::Timeline;

/// A group of stage attempts in numbers: those of a job, a SQL execution or a micro-batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// Attempts of tasks by how they ended.
    pub tasks: TaskCounts,
    /// Stage attempts that ran.
    pub stage_attempts: u64,
    /// Stage attempts that failed.
    pub failed_stage_attempts: u64,
    /// Stages whose output was there already, or that were never submitted.
    pub skipped_stages: u64,
    /// Tasks of those stages.
    pub skipped_tasks: u64,
    /// Their shares of the wall clock in ms (see [`Timeline::stage_ms`]).
    pub wall_clock_ms: f64,
    /// Launch of the first task.
    pub first_launch: Option<Timestamp>,
    /// End of the last task.
    pub last_finish: Option<Timestamp>,
    /// Sum of the durations of attempts that failed or were killed, in ms.
    pub wasted_task_ms: u64,
    /// The stage attempt with the largest share of the wall clock; `None` when none ran.
    pub longest_stage: Option<StageKey>,
    /// Sums of each metric over all attempts.
    pub sums: Sums,
}

impl Work {
    /// The work of the stage attempts `keys`.
    pub(super) fn of(
        keys: impl IntoIterator<Item = StageKey>,
        run: &Run,
        stages: &BTreeMap<StageKey, StageSummary>,
    ) -> Self {
        let mut work = Self::default();
        let mut longest = 0.0;
        for (key, stage) in keys.into_iter().filter_map(|key| Some((key, stages.get(&key)?))) {
            match stage.status {
                StageStatus::Skipped | StageStatus::Pending => {
                    work.skipped_stages += 1;
                    work.skipped_tasks =
                        work.skipped_tasks.saturating_add(run.stages.get(&key).map_or(0, |s| s.num_tasks));
                    continue;
                }
                StageStatus::Failed => work.failed_stage_attempts += 1,
                StageStatus::Complete | StageStatus::Running => {}
            }
            work.stage_attempts += 1;
            work.tasks.merge(&stage.tasks);
            work.wall_clock_ms += stage.wall_clock_ms;
            work.wasted_task_ms = work.wasted_task_ms.saturating_add(stage.wasted_task_ms);
            work.first_launch = [work.first_launch, stage.first_launch].into_iter().flatten().min();
            work.last_finish = work.last_finish.max(stage.last_finish);
            work.sums.merge(&stage.sums());
            if stage.wall_clock_ms > longest {
                longest = stage.wall_clock_ms;
                work.longest_stage = Some(key);
            }
        }
        work
    }
}

/// A job in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// From submission to its end in ms; `None` when either is not known.
    pub duration_ms: Option<u64>,
    /// Whether it failed; `None` when it did not end in this log.
    pub failed: Option<bool>,
    /// Time from submission to its end in which no task of the run ran, in ms; `None` when it did not end.
    pub no_task_ms: Option<u64>,
    /// What its stage attempts did.
    pub work: Work,
}

/// All jobs of a run.
pub(super) fn summarise(
    run: &Run,
    stages: &BTreeMap<StageKey, StageSummary>,
    timeline: &Timeline,
) -> BTreeMap<JobId, JobSummary> {
    let keys = keys_by_job(run);
    let one = |job: &Job| JobSummary {
        id: job.id,
        duration_ms: job.duration().map(|duration| duration.0),
        failed: job.result.as_ref().map(|result| matches!(result, JobResult::Failed(_))),
        no_task_ms: idle_ms(timeline, job.submitted_at, job.completed_at),
        work: Work::of(keys.get(&job.id).into_iter().flatten().copied(), run, stages),
    };
    run.jobs.iter().map(|(&id, job)| (id, one(job))).collect()
}

/// The stage attempts of each job.
pub(super) fn keys_by_job(run: &Run) -> BTreeMap<JobId, BTreeSet<StageKey>> {
    let mut keys: BTreeMap<JobId, BTreeSet<StageKey>> = BTreeMap::new();
    for (&key, stage) in &run.stages {
        for &job in &stage.job_ids {
            keys.entry(job).or_default().insert(key);
        }
    }
    keys
}

/// Time between two instants in which no task of the run ran, in ms; `None` when either is not known.
pub(super) fn idle_ms(timeline: &Timeline, from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    let (from, to) = (from?, to?);
    let first = timeline.gaps.partition_point(|gap| gap.to <= from);
    let gaps = timeline.gaps.iter().skip(first).take_while(|gap| gap.from < to);
    Some(gaps.map(|gap| gap.to.min(to).since(gap.from.max(from)).0).sum())
}
