//! The run as a whole.

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, Run, StageKey, StageStatus};

use super::executor::ExecutorSummary;
use super::metric::Metric;
use super::slots::Slots;
use super::stage::StageSummary;
use super::sums::{Sums, TaskCounts, ratio};
use super::timeline::Timeline;

/// A run in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApplicationSummary {
    /// From start to end (or as far as it was seen) in ms.
    pub wall_clock_ms: Option<u64>,
    /// Core-milliseconds held by executors; `None` when no executor says its cores or its start.
    pub core_ms_held: Option<u64>,
    /// Core-milliseconds used: the time in which cores had a task. In the hand-over from one task to the next both count as
    /// running, the one until its end is noticed; no more tasks are counted at a time than there were slots.
    pub core_ms_used: u64,
    /// Attempts by how they ended.
    pub tasks: TaskCounts,
    /// Jobs, failed jobs.
    pub jobs: u64,
    /// Jobs that failed.
    pub failed_jobs: u64,
    /// Stage attempts that ran.
    pub stage_attempts: u64,
    /// Stage attempts that failed.
    pub failed_stage_attempts: u64,
    /// Stages that were skipped.
    pub skipped_stages: u64,
    /// Executors that were added (the driver of a cluster is none).
    pub executors: u64,
    /// The most task slots there were from the first launch to the last end of a task; `None` when not known.
    pub slots_max: Option<u64>,
    sums: Sums,
}

impl ApplicationSummary {
    pub(super) fn of(
        run: &Run,
        stages: &BTreeMap<StageKey, StageSummary>,
        executors: &BTreeMap<ExecutorId, ExecutorSummary>,
        timeline: &Timeline,
        slots: &Slots,
    ) -> Self {
        let mut summary = Self {
            wall_clock_ms: run.application.wall_clock().map(|ms| ms.0),
            core_ms_held: run
                .worker_executors()
                .filter_map(|executor| executors.get(&executor.id)?.core_ms)
                .fold(None, |sum: Option<u64>, ms| Some(sum.unwrap_or(0).saturating_add(ms))),
            core_ms_used: timeline.core_ms,
            jobs: run.jobs.len() as u64,
            failed_jobs: run
                .jobs
                .values()
                .filter(|job| matches!(job.result, Some(emberscope_run::JobResult::Failed(_))))
                .count() as u64,
            executors: run.worker_executors().count() as u64,
            slots_max: timeline
                .first_launch
                .zip(timeline.last_finish)
                .and_then(|(from, to)| slots.most(from, to))
                .or_else(|| stages.values().filter_map(|stage| stage.slots).max())
                .filter(|&slots| slots > 0),
            ..Self::default()
        };
        for stage in stages.values() {
            match stage.status {
                StageStatus::Skipped | StageStatus::Pending => summary.skipped_stages += 1,
                StageStatus::Failed => {
                    summary.stage_attempts += 1;
                    summary.failed_stage_attempts += 1;
                }
                StageStatus::Complete | StageStatus::Running => summary.stage_attempts += 1,
            }
            summary.tasks.merge(&stage.tasks);
            summary.sums.merge(&stage.sums());
        }
        summary
    }

    /// The sum of a metric over all attempts of the run; `None` when none reports it.
    pub fn sum(&self, metric: Metric) -> Option<u64> {
        self.sums.get(metric)
    }

    /// The sums of all metrics over all attempts of the run.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Core-milliseconds used over held; `None` when the latter are not known.
    pub fn utilisation(&self) -> Option<f64> {
        ratio(self.core_ms_used, self.core_ms_held?)
    }
}
