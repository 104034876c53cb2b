//! An executor, summed up over its tasks and held against its siblings.

use std::collections::{BTreeMap, HashMap};

use emberscope_run::{ExecutorId, NULL, Run, StageAttempt, StageKey, TaskColumn, TaskStatus, Timestamp};

use super::metric::Metric;
use super::pass::Pass;
use super::sums::{Sums, TaskCounts, ratio};

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
    sums: Sums,
}

impl ExecutorSummary {
    /// The sum of a metric over its attempts; `None` when none reports it.
    pub fn sum(&self, metric: Metric) -> Option<u64> {
        self.sums.get(metric)
    }

    /// The sums of all metrics over its attempts.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Task-milliseconds over core-milliseconds held; `None` when the latter are not known.
    pub fn utilisation(&self) -> Option<f64> {
        ratio(self.task_ms, self.core_ms?)
    }

    /// Garbage collection over run time; above 1 is possible, as concurrent tasks each count the JVM's pauses.
    pub fn gc_ratio(&self) -> Option<f64> {
        self.sums.share(Metric::JvmGcTime, Metric::ExecutorRunTime)
    }
}

/// What an executor did, gathered stage by stage; at the executor's index in [`Run::executor_names`].
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    pub(super) sums: Sums,
    tasks: TaskCounts,
    first_launch: Option<u64>,
    last_finish: Option<u64>,
    stages: u64,
    /// The stage attempt that was counted last.
    last_stage: Option<StageKey>,
    durations: Vec<f64>,
    bytes: Vec<f64>,
    compared_stages: u64,
    excess_ms: f64,
}

/// Counts the tasks of another stage attempt, which `pass` stands at.
pub(super) fn start(shares: &mut Vec<Share>, run: &Run, key: StageKey, pass: &Pass) {
    shares.resize_with(run.executor_names.len(), Share::default);
    for (index, &executor) in pass.executor.iter().enumerate() {
        let Some(share) = usize::try_from(executor).ok().and_then(|executor| shares.get_mut(executor)) else {
            continue;
        };
        share.stages += u64::from(share.last_stage != Some(key));
        share.last_stage = Some(key);
        let time = |times: &[u64]| times.get(index).copied().filter(|&time| time != NULL);
        share.tasks.count(pass.status.get(index).copied().unwrap_or(NULL));
        share.first_launch = [share.first_launch, time(&pass.launch)].into_iter().flatten().min();
        share.last_finish = share.last_finish.max(time(&pass.finish));
    }
}

/// Holds each executor's tasks against those of the same stage on the other executors.
pub(super) fn compare(shares: &mut [Share], stage: &StageAttempt, pass: &mut Pass) {
    pass.metric(stage, Metric::Duration);
    let durations = Siblings::of(pass);
    let mut comparable = HashMap::new();
    for (executor, own) in &durations.places {
        let typical = durations.median_of_others(own);
        comparable.insert(*executor, typical.is_some());
        if let (Some(typical), Some(share)) = (typical, shares.get_mut(*executor as usize)) {
            share.compared_stages += 1;
            share.durations.extend(durations.values(own).map(|value| value / typical));
            share.excess_ms += durations.values(own).map(|value| value - typical).sum::<f64>();
        }
    }
    let without_own = durations.median_of_others(&[]).is_some();
    drop(durations);
    pass.metric(stage, Metric::BytesIn);
    let bytes = Siblings::of(pass);
    for (executor, own) in &bytes.places {
        let comparable = comparable.get(executor).copied().unwrap_or(without_own);
        let typical = bytes.median_of_others(own).filter(|_| comparable);
        if let (Some(typical), Some(share)) = (typical, shares.get_mut(*executor as usize)) {
            share.bytes.extend(bytes.values(own).map(|value| value / typical));
        }
    }
}

/// The values of successful tasks in order, and where each executor's lie among them.
struct Siblings {
    /// Value and executor.
    sorted: Vec<(u64, u32)>,
    /// Each executor and its places in `sorted`, ascending. Only those of the stage: a run may have many more.
    places: Vec<(u32, Vec<u32>)>,
}

impl Siblings {
    fn of(pass: &Pass) -> Self {
        let mut sorted: Vec<(u64, u32)> = pass
            .rows()
            .filter(|&(value, status, _)| value != NULL && status == TaskStatus::Success.code())
            .filter_map(|(value, _, executor)| Some((value, u32::try_from(executor).ok()?)))
            .collect();
        sorted.sort_unstable();
        let mut places: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut index = HashMap::new();
        for (place, &(_, executor)) in sorted.iter().enumerate() {
            let slot = *index.entry(executor).or_insert_with(|| {
                places.push((executor, Vec::new()));
                places.len() - 1
            });
            if let Some((_, own)) = places.get_mut(slot) {
                own.push(place as u32);
            }
        }
        places.sort_unstable_by_key(|(executor, _)| *executor);
        Self { sorted, places }
    }

    fn values<'a>(&'a self, own: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
        own.iter().filter_map(|&place| Some(self.sorted.get(place as usize)?.0 as f64))
    }

    /// The median over all tasks but `own`; `None` when there are no others or it is 0.
    fn median_of_others(&self, own: &[u32]) -> Option<f64> {
        let others = self.sorted.len().checked_sub(own.len()).filter(|&others| others > 0)?;
        let wanted = super::distribution::quantile_index(0.5, others);
        // Own tasks that lie before the wanted one push it back by a place each.
        let pushed = partition_point(own.len(), |index| own[index] as usize - index <= wanted);
        self.sorted.get(wanted + pushed).map(|&(median, _)| median as f64).filter(|&median| median > 0.0)
    }
}

fn partition_point(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// All executors of a run that ran a task or were added, by id.
pub(super) fn summarise(run: &Run, shares: Vec<Share>) -> BTreeMap<ExecutorId, ExecutorSummary> {
    let end = run.application.end();
    let mut all: BTreeMap<ExecutorId, ExecutorSummary> = run
        .executors
        .values()
        .map(|executor| {
            let lifetime_ms = executor.lifetime(end).map(|lifetime| lifetime.0);
            let core_ms = lifetime_ms.and_then(|ms| Some(ms.saturating_mul(executor.cores?)));
            (
                executor.id.clone(),
                ExecutorSummary { id: executor.id.clone(), lifetime_ms, core_ms, ..Default::default() },
            )
        })
        .collect();
    for (id, mut share) in run.executor_names.iter().zip(shares) {
        if share.stages == 0 {
            continue;
        }
        let time = |time: Option<u64>| Some(Timestamp(i64::try_from(time?).ok()?));
        let summary = all.entry(id.clone()).or_insert_with(|| ExecutorSummary { id: id.clone(), ..Default::default() });
        summary.tasks = share.tasks;
        summary.task_ms = share.sums.get(Metric::Duration).unwrap_or(0);
        summary.first_launch = time(share.first_launch);
        summary.last_finish = time(share.last_finish);
        summary.stages = share.stages;
        summary.relative_duration = median_ratio(&mut share.durations);
        summary.relative_bytes = median_ratio(&mut share.bytes);
        summary.compared_stages = share.compared_stages;
        summary.excess_ms = share.excess_ms;
        summary.sums = share.sums;
    }
    add_running(run, &mut all);
    all
}

fn add_running(run: &Run, all: &mut BTreeMap<ExecutorId, ExecutorSummary>) {
    for task in run.stages.values().flat_map(|stage| stage.running.values()) {
        if let Some(summary) = all.get_mut(&task.executor) {
            summary.tasks.running += 1;
        }
    }
    for stage in run.stages.values() {
        let flags = stage.tasks.column(TaskColumn::Speculative);
        if !flags.contains(&1) {
            continue;
        }
        let (executors, statuses) = (stage.tasks.column(TaskColumn::Executor), stage.tasks.column(TaskColumn::Status));
        for ((&executor, &status), _) in executors.iter().zip(&statuses).zip(&flags).filter(|&(_, &flag)| flag == 1) {
            let id = usize::try_from(executor).ok().and_then(|executor| run.executor_names.get(executor));
            if let Some(summary) = id.and_then(|id| all.get_mut(id)) {
                summary.tasks.speculative += u64::from(status != TaskStatus::Resubmitted.code());
            }
        }
    }
}

fn median_ratio(ratios: &mut [f64]) -> Option<f64> {
    let middle = ratios.len() / 2;
    (ratios.len() >= 4).then(|| *ratios.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_median_of_the_others_is_that_of_the_list_without_the_own(
            tasks in proptest::collection::vec((1..30_u64, 0..4_u64), 1..60),
        ) {
            let pass = Pass {
                values: tasks.iter().map(|task| task.0).collect(),
                executor: tasks.iter().map(|task| task.1).collect(),
                status: vec![TaskStatus::Success.code(); tasks.len()],
                ..Pass::default()
            };
            let siblings = Siblings::of(&pass);
            for (executor, own) in &siblings.places {
                let mut others: Vec<u64> =
                    tasks.iter().filter(|task| task.1 != u64::from(*executor)).map(|task| task.0).collect();
                others.sort_unstable();
                let expected = others.get(others.len() / 2).map(|&median| median as f64);
                proptest::prop_assert_eq!(siblings.median_of_others(own), expected);
            }
        }
    }
}
