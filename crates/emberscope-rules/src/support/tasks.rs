//! The successful tasks of a stage attempt, told apart into cold and warm.
//!
//! An executor's first tasks of a stage, one for each core, pay for class loading, JIT and first connections: in healthy
//! runs they are 5 to 10 times slower at equal data. Whatever is judged by comparing tasks is judged on the others.

use std::collections::{BTreeMap, BinaryHeap};

use emberscope_run::{NULL, Run, StageAttempt, StageKey, TaskColumn, TaskRow, TaskStatus};

use crate::rule::Context;

/// A successful task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    /// Everything the log says of it.
    pub(crate) row: TaskRow,
    /// Launch in ms since 1970.
    pub(crate) launch: i64,
    /// Finish in ms since 1970.
    pub(crate) finish: i64,
    /// Index of its executor in the run's names.
    pub(crate) executor: Option<u64>,
    /// Whether its executor had begun at least as many tasks of this stage before as it has cores.
    pub(crate) warm: bool,
}

impl Task {
    /// Finish less launch in ms.
    pub(crate) fn duration(&self) -> f64 {
        self.finish.saturating_sub(self.launch).max(0) as f64
    }

    /// A column as a number in its unit; `None` when unknown.
    pub(crate) fn number(&self, column: TaskColumn) -> Option<f64> {
        self.row.get(column).map(|value| value as f64)
    }

    /// CPU time in ms; `None` when unknown.
    pub(crate) fn cpu_ms(&self) -> Option<f64> {
        self.number(TaskColumn::ExecutorCpuTime).map(|ns| ns / 1e6)
    }
}

/// The successful tasks of a stage attempt in the order of their launch.
pub(crate) fn successful(run: &Run, stage: &StageAttempt) -> Vec<Task> {
    let mut rows: Vec<TaskRow> = stage.tasks.rows().filter(|row| row.get(TaskColumn::LaunchTime).is_some()).collect();
    rows.sort_by_key(|row| (row.get(TaskColumn::LaunchTime), row.get(TaskColumn::TaskId)));
    let mut begun: BTreeMap<Option<u64>, u64> = BTreeMap::new();
    let mut tasks = Vec::with_capacity(rows.len());
    for row in rows {
        let executor = row.get(TaskColumn::Executor);
        let cores = run.executor_of(&row).and_then(|id| run.executors.get(id)?.cores).unwrap_or(1);
        let before = begun.entry(executor).or_default();
        let warm = *before >= cores;
        *before += 1;
        if row.status() != Some(TaskStatus::Success) {
            continue;
        }
        if let (Some(launch), Some(finish)) = (row.launched_at(), row.finished_at()) {
            tasks.push(Task { launch: launch.0, finish: finish.0, executor, warm, row });
        }
    }
    tasks
}

/// The warm successful tasks of a stage attempt; empty when the run has no such stage.
pub(crate) fn warm(ctx: &Context<'_>, key: StageKey) -> Vec<Task> {
    let Some(stage) = ctx.run.stages.get(&key) else { return Vec::new() };
    let mut tasks = successful(ctx.run, stage);
    tasks.retain(|task| task.warm);
    tasks
}

/// Executors by their index in the run's names, with the launch in ms since 1970 from which on they are new no more: each of
/// their cores had so many tasks, in which the JVM loads classes and compiles.
pub(crate) fn settled_from(run: &Run, tasks_a_core: u64) -> BTreeMap<u64, i64> {
    let mut first: BTreeMap<u64, BinaryHeap<i64>> = BTreeMap::new();
    for stage in run.stages.values() {
        let launches = stage.tasks.column(TaskColumn::LaunchTime);
        let executors = stage.tasks.column(TaskColumn::Executor);
        for (&launch, &executor) in launches.iter().zip(&executors) {
            let (Ok(launch), true) = (i64::try_from(launch), launch != NULL && executor != NULL) else { continue };
            let id = usize::try_from(executor).ok().and_then(|index| run.executor_names.get(index));
            let cores = id.and_then(|id| run.executors.get(id)?.cores).unwrap_or(1).max(1);
            let heap = first.entry(executor).or_default();
            if (heap.len() as u64) < cores.saturating_mul(tasks_a_core) {
                heap.push(launch);
            } else if let Some(mut last) = heap.peek_mut()
                && launch < *last
            {
                *last = launch;
            }
        }
    }
    first.into_iter().filter_map(|(executor, heap)| Some((executor, heap.peek()?.saturating_add(1)))).collect()
}

/// The median of some numbers (the upper of the two middle ones, as Spark takes it); `None` when there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
