//! An executor, summed up over its tasks and held against its siblings.

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, NULL, Run, StageKey, TaskColumn, TaskStatus, Timestamp};

use super::distribution::Quantiles;
use super::metric::Metric;
use super::stage::{StageSummary, TaskCounts};

/// An executor in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecutorSummary {
    /// Its id.
    pub id: ExecutorId,
    /// Attempts by how they ended.
    pub tasks: TaskCounts,
    /// Sum of the durations of its attempts in ms.
    pub task_ms: u64,
    /// How long it was held in ms; `None` when its start is not known.
    pub lifetime_ms: Option<u64>,
    /// Core-milliseconds held: lifetime times cores.
    pub core_ms: Option<u64>,
    /// Launch of its first task.
    pub first_launch: Option<Timestamp>,
    /// End of its last task.
    pub last_finish: Option<Timestamp>,
    /// Stage attempts it worked on.
    pub stages: u64,
    /// Its tasks' durations over the median duration of the same stage on the other executors, the median over its
    /// successful tasks; `None` below 4 tasks in stages that ran on others too. 1 is typical.
    pub relative_duration: Option<f64>,
    /// The same for bytes taken in; `None` where stages took in none.
    pub relative_bytes: Option<f64>,
    /// How many stage attempts `relative_duration` rests on.
    pub compared_stages: u64,
    /// Duration in excess of the others' median, summed over its successful tasks, in ms.
    pub excess_ms: f64,
    sums: BTreeMap<Metric, u64>,
}

impl ExecutorSummary {
    /// The sum of a metric over its attempts; `None` when none reports it.
    pub fn sum(&self, metric: Metric) -> Option<u64> {
        self.sums.get(&metric).copied()
    }

    /// Task-milliseconds over core-milliseconds held; `None` when the latter are not known.
    pub fn utilisation(&self) -> Option<f64> {
        let held = self.core_ms.filter(|&held| held > 0)?;
        Some(self.task_ms as f64 / held as f64)
    }

    /// Garbage collection over run time; above 1 is possible, as concurrent tasks each count the JVM's pauses.
    pub fn gc_ratio(&self) -> Option<f64> {
        let (gc, run) = (self.sum(Metric::JvmGcTime)?, self.sum(Metric::ExecutorRunTime)?);
        (run > 0).then(|| gc as f64 / run as f64)
    }
}

/// All executors of a run that ran a task or were added, by id.
pub(super) fn summarise(run: &Run, stages: &BTreeMap<StageKey, StageSummary>) -> BTreeMap<ExecutorId, ExecutorSummary> {
    let end = run.application.end();
    let mut all: BTreeMap<ExecutorId, ExecutorSummary> = run
        .executors
        .values()
        .map(|executor| {
            let lifetime_ms = executor.lifetime(end).map(|lifetime| lifetime.0);
            let core_ms = lifetime_ms.and_then(|ms| Some(ms.saturating_mul(executor.cores?)));
            (executor.id.clone(), ExecutorSummary { id: executor.id.clone(), lifetime_ms, core_ms, ..Default::default() })
        })
        .collect();
    let mut relative: BTreeMap<u64, Relative> = BTreeMap::new();
    for (key, stage) in &run.stages {
        let executors = stage.tasks.column(TaskColumn::Executor);
        let statuses = stage.tasks.column(TaskColumn::Status);
        add_sums(run, stage, &executors, &statuses, &mut all);
        if stages.get(key).is_some_and(|summary| summary.executors > 1) {
            compare(stage, &executors, &statuses, &mut relative);
        }
    }
    for (index, relative) in relative {
        let name = usize::try_from(index).ok().and_then(|index| run.executor_names.get(index));
        if let Some(summary) = name.and_then(|id| all.get_mut(id)) {
            summary.relative_duration = median_ratio(&relative.durations);
            summary.relative_bytes = median_ratio(&relative.bytes);
            summary.compared_stages = relative.stages;
            summary.excess_ms = relative.excess_ms;
        }
    }
    all
}

fn add_sums(
    run: &Run,
    stage: &emberscope_run::StageAttempt,
    executors: &[u64],
    statuses: &[u64],
    all: &mut BTreeMap<ExecutorId, ExecutorSummary>,
) {
    let mut by_index: BTreeMap<u64, ExecutorSummary> = BTreeMap::new();
    for (&executor, &status) in executors.iter().zip(statuses) {
        let counts = &mut by_index.entry(executor).or_default().tasks;
        match TaskStatus::from_code(status) {
            Some(TaskStatus::Success) => counts.succeeded += 1,
            Some(TaskStatus::Failed) => counts.failed += 1,
            Some(TaskStatus::Killed) => counts.killed += 1,
            Some(TaskStatus::Resubmitted) => counts.resubmitted += 1,
            None => {}
        }
        counts.ended += u64::from(status != TaskStatus::Resubmitted.code());
    }
    for &metric in Metric::ALL {
        let values: Vec<u64> = match metric.column() {
            Some(column) => stage.tasks.column(column),
            None => stage.tasks.rows().map(|row| metric.of(&row).unwrap_or(NULL)).collect(),
        };
        for ((&executor, &status), &value) in executors.iter().zip(statuses).zip(&values) {
            if value != NULL
                && status != TaskStatus::Resubmitted.code()
                && let Some(summary) = by_index.get_mut(&executor)
            {
                let sum = summary.sums.entry(metric).or_default();
                *sum = sum.saturating_add(value);
            }
        }
    }
    let launches = stage.tasks.column(TaskColumn::LaunchTime);
    let finishes = stage.tasks.column(TaskColumn::FinishTime);
    for ((&executor, &launch), &finish) in executors.iter().zip(&launches).zip(&finishes) {
        if let Some(summary) = by_index.get_mut(&executor) {
            summary.first_launch = earliest(summary.first_launch, launch);
            summary.last_finish = latest(summary.last_finish, finish);
        }
    }
    for (index, part) in by_index {
        let Some(id) = usize::try_from(index).ok().and_then(|index| run.executor_names.get(index)) else { continue };
        let total = all.entry(id.clone()).or_insert_with(|| ExecutorSummary { id: id.clone(), ..Default::default() });
        total.merge(&part);
    }
}

impl ExecutorSummary {
    fn merge(&mut self, part: &Self) {
        self.stages += 1;
        self.tasks.ended += part.tasks.ended;
        self.tasks.succeeded += part.tasks.succeeded;
        self.tasks.failed += part.tasks.failed;
        self.tasks.killed += part.tasks.killed;
        self.tasks.resubmitted += part.tasks.resubmitted;
        self.task_ms = self.task_ms.saturating_add(part.sum(Metric::Duration).unwrap_or(0));
        self.first_launch = [self.first_launch, part.first_launch].into_iter().flatten().min();
        self.last_finish = self.last_finish.max(part.last_finish);
        for (&metric, &value) in &part.sums {
            let sum = self.sums.entry(metric).or_default();
            *sum = sum.saturating_add(value);
        }
    }
}

fn earliest(known: Option<Timestamp>, value: u64) -> Option<Timestamp> {
    let value = (value != NULL).then_some(Timestamp(value as i64));
    [known, value].into_iter().flatten().min()
}

fn latest(known: Option<Timestamp>, value: u64) -> Option<Timestamp> {
    known.max((value != NULL).then_some(Timestamp(value as i64)))
}

#[derive(Default)]
struct Relative {
    durations: Vec<f64>,
    bytes: Vec<f64>,
    stages: u64,
    excess_ms: f64,
}

/// Each task's duration and bytes over the median of the same stage's tasks on other executors.
fn compare(
    stage: &emberscope_run::StageAttempt,
    executors: &[u64],
    statuses: &[u64],
    relative: &mut BTreeMap<u64, Relative>,
) {
    let mut tasks: BTreeMap<u64, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for ((row, &executor), &status) in stage.tasks.rows().zip(executors).zip(statuses) {
        if let (true, Some(duration)) = (status == TaskStatus::Success.code(), row.duration_ms()) {
            tasks.entry(executor).or_default().push((duration, row.bytes_in()));
        }
    }
    for (&executor, own) in &tasks {
        let others = || tasks.iter().filter(|(id, _)| **id != executor).flat_map(|(_, tasks)| tasks);
        let mut durations: Vec<u64> = others().map(|task| task.0).collect();
        let mut bytes: Vec<u64> = others().filter_map(|task| task.1).collect();
        let entry = relative.entry(executor).or_default();
        let Some(typical) = Quantiles::of(&mut durations).map(|q| q.p50).filter(|&p50| p50 > 0) else { continue };
        entry.stages += 1;
        entry.durations.extend(own.iter().map(|task| task.0 as f64 / typical as f64));
        entry.excess_ms += own.iter().map(|task| task.0 as f64 - typical as f64).sum::<f64>();
        if let Some(typical) = Quantiles::of(&mut bytes).map(|q| q.p50).filter(|&p50| p50 > 0) {
            entry.bytes.extend(own.iter().filter_map(|task| Some(task.1? as f64 / typical as f64)));
        }
    }
}

fn median_ratio(ratios: &[f64]) -> Option<f64> {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted.len() >= 4).then(|| sorted.get(sorted.len() / 2).copied()).flatten()
}
