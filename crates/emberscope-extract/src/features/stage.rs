//! A stage attempt, summed up over its tasks.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{
    ExecutorMetrics, Locality, NULL, Run, StageAttempt, StageKey, StageStatus, TaskColumn, TaskRow, TaskStatus,
    Timestamp,
};

use super::distribution::{Distribution, Quantiles};
use super::executor::{self, Share};
use super::metric::Metric;
use super::pass::Pass;
use super::slots::Slots;
use super::sums::{Sums, TaskCounts};
use super::warm;

/// A task that stands out in its stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotableTask {
    /// Its id.
    pub task_id: u64,
    /// Its partition.
    pub partition: u64,
    /// Index of its executor in [`Run::executor_names`].
    pub executor: Option<u64>,
    /// Its duration in ms.
    pub duration_ms: u64,
    /// Bytes it took in.
    pub bytes_in: Option<u64>,
    /// Records it took in.
    pub records_in: Option<u64>,
    /// Its launch.
    pub launched_at: Timestamp,
}

impl NotableTask {
    /// The task of a row; `None` when it has no times.
    pub fn of(row: &TaskRow) -> Option<Self> {
        Some(Self {
            task_id: row.get(TaskColumn::TaskId)?,
            partition: row.get(TaskColumn::Partition)?,
            executor: row.get(TaskColumn::Executor),
            duration_ms: row.duration_ms()?,
            bytes_in: row.bytes_in(),
            records_in: row.records_in(),
            launched_at: row.launched_at()?,
        })
    }

    /// The task at an index of the store; `None` when there is none or it has no times.
    fn at(stage: &StageAttempt, index: Option<usize>, scratch: &mut Vec<u64>) -> Option<Self> {
        use TaskColumn as C;
        let mut row = TaskRow::default();
        for column in [
            C::TaskId,
            C::Partition,
            C::Executor,
            C::LaunchTime,
            C::FinishTime,
            C::InputBytes,
            C::ShuffleLocalBytesRead,
            C::ShuffleRemoteBytesRead,
            C::InputRecords,
            C::ShuffleRecordsRead,
        ] {
            scratch.clear();
            stage.tasks.read_column(column, scratch);
            row.set(column, *scratch.get(index?)?);
        }
        Self::of(&row)
    }
}

/// A stage attempt in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSummary {
    /// Stage id and attempt.
    pub key: StageKey,
    /// What became of it.
    pub status: StageStatus,
    /// From submission to completion in ms; to the end of the last task when it has no completion.
    pub duration_ms: Option<u64>,
    /// This stage's share of the wall clock in ms (see [`super::Timeline::stage_ms`]); 0 when no task of it ran.
    pub wall_clock_ms: f64,
    /// Launch of its first task.
    pub first_launch: Option<Timestamp>,
    /// End of its last task.
    pub last_finish: Option<Timestamp>,
    /// Task slots (cores over `spark.task.cpus`) of the executors while it ran: the mean from its first launch to its last
    /// end, rounded, since executors come and go meanwhile; `None` when not known.
    pub slots: Option<u64>,
    /// Attempts by how they ended.
    pub tasks: TaskCounts,
    /// Distinct executors and hosts its tasks ran on.
    pub executors: u64,
    /// Distinct hosts its tasks ran on.
    pub hosts: u64,
    /// Successful tasks by locality.
    pub locality: BTreeMap<Locality, u64>,
    /// Sum of the durations of attempts that failed or were killed, in ms.
    pub wasted_task_ms: u64,
    /// Sum of the durations of killed attempts that were speculative, or whose partition a speculative copy won, in ms.
    pub speculative_waste_ms: u64,
    /// Durations of successful tasks without the first ones of each executor (as many as its cores): those pay for
    /// class loading, JIT and first connections. `None` when fewer than 4 remain.
    pub warm_duration: Option<Quantiles>,
    /// The successful task with the longest duration.
    pub longest: Option<NotableTask>,
    /// The successful task with the most bytes in.
    pub largest: Option<NotableTask>,
    /// Tasks that the stage was to run.
    pub wanted: u64,
    /// Distinct partitions of which an attempt succeeded.
    pub partitions_done: u64,
    /// Peaks of the executors' metrics while the stage ran, the largest over the executors; empty when none were polled.
    pub peaks: ExecutorMetrics,
    distributions: Distributions,
}

impl StageSummary {
    /// A stage attempt of a run in numbers; `wall_clock_ms` is filled from the timeline by [`super::Features::of`].
    pub fn of(run: &Run, stage: &StageAttempt) -> Self {
        Self::pass(run, stage, &Slots::of(run), &mut Pass::default(), &mut Vec::new())
    }

    /// The same with the buffers of the stage before, and with the sums of each executor on the way.
    pub(super) fn pass(
        run: &Run,
        stage: &StageAttempt,
        slots: &Slots,
        pass: &mut Pass,
        executors: &mut Vec<Share>,
    ) -> Self {
        pass.start(stage);
        executor::start(executors, run, stage.key, pass);
        let mut summary = Self { wanted: stage.num_tasks, ..Self::empty(slots, stage, pass) };
        for &metric in Metric::ALL {
            pass.metric(stage, metric);
            if metric == Metric::Duration {
                summary.take_durations(run, stage, pass);
            }
            if metric == Metric::BytesIn {
                summary.largest = NotableTask::at(stage, pass.largest(), &mut pass.scratch);
            }
            if let Some(distribution) = distribution(metric, pass, executors) {
                summary.distributions.set(metric, distribution);
            }
        }
        pass.column(stage, TaskColumn::Host);
        summary.hosts = distinct(pass.values.iter().copied());
        pass.column(stage, TaskColumn::Locality);
        for (code, status, _) in pass.rows() {
            if status == TaskStatus::Success.code()
                && let Some(locality) = Locality::from_code(code)
            {
                *summary.locality.entry(locality).or_default() += 1;
            }
        }
        summary.peaks = peaks(stage, pass);
        summary
    }

    fn empty(slots: &Slots, stage: &StageAttempt, pass: &Pass) -> Self {
        let time = |value: Option<u64>| Some(Timestamp(i64::try_from(value?).ok()?));
        let first_launch = time(pass.launch.iter().copied().filter(|&t| t != NULL).min());
        let last_finish = time(pass.finish.iter().copied().filter(|&t| t != NULL).max());
        Self {
            key: stage.key,
            status: stage.status(),
            wanted: 0,
            duration_ms: stage
                .duration()
                .map(|d| d.0)
                .or_else(|| Some(last_finish?.since(stage.submitted_at.or(first_launch)?).0)),
            wall_clock_ms: 0.0,
            slots: first_launch
                .or(stage.submitted_at)
                .and_then(|from| slots.mean(from, last_finish.map_or(from, |to| to.max(from))))
                .filter(|&slots| slots > 0),
            executors: distinct(pass.executor.iter().copied()),
            hosts: 0,
            partitions_done: 0,
            locality: BTreeMap::new(),
            wasted_task_ms: 0,
            speculative_waste_ms: 0,
            warm_duration: None,
            longest: None,
            largest: None,
            first_launch,
            last_finish,
            tasks: TaskCounts { running: stage.running.len() as u64, ..TaskCounts::default() },
            peaks: ExecutorMetrics::default(),
            distributions: Distributions::default(),
        }
    }

    /// What comes of durations, which `pass` holds, and of how the tasks ended.
    fn take_durations(&mut self, run: &Run, stage: &StageAttempt, pass: &mut Pass) {
        self.longest = NotableTask::at(stage, pass.largest(), &mut pass.scratch);
        self.warm_duration = warm::durations(run, pass);
        let lost = [TaskStatus::Failed.code(), TaskStatus::Killed.code()];
        for (duration, status, _) in pass.rows() {
            self.tasks.count(status);
            if duration != NULL && lost.contains(&status) {
                self.wasted_task_ms = self.wasted_task_ms.saturating_add(duration);
            }
        }
        let partitions = stage.tasks.column(TaskColumn::Partition);
        let succeeded =
            partitions.iter().zip(&pass.status).filter(|&(_, &status)| status == TaskStatus::Success.code());
        self.partitions_done = distinct(succeeded.map(|(&partition, _)| partition));
        let flags = stage.tasks.column(TaskColumn::Speculative);
        if flags.contains(&1) {
            let reported = |&(_, &status): &(&u64, &u64)| status != TaskStatus::Resubmitted.code();
            self.tasks.speculative =
                flags.iter().zip(&pass.status).filter(reported).filter(|&(&flag, _)| flag == 1).count() as u64;
            let copied: BTreeSet<u64> = partitions
                .iter()
                .zip(&flags)
                .filter(|&(_, &flag)| flag == 1)
                .map(|(&partition, _)| partition)
                .collect();
            for ((duration, status, _), partition) in pass.rows().zip(&partitions) {
                if status == TaskStatus::Killed.code() && duration != NULL && copied.contains(partition) {
                    self.speculative_waste_ms = self.speculative_waste_ms.saturating_add(duration);
                }
            }
        }
    }

    /// A metric over the tasks; `None` when no task reports it.
    pub fn metric(&self, metric: Metric) -> Option<&Distribution> {
        self.distributions.get(metric)
    }

    /// The sum of a metric over all attempts; `None` when none reports it.
    pub fn sum(&self, metric: Metric) -> Option<u64> {
        Some(self.metric(metric)?.sum)
    }

    /// The sums of all metrics over all attempts.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for &metric in Metric::ALL {
            if let Some(sum) = self.sum(metric) {
                sums.add(metric, sum);
            }
        }
        sums
    }

    /// The quantiles of a metric over successful tasks; `None` when none reports it.
    pub fn quantiles(&self, metric: Metric) -> Option<&Quantiles> {
        self.metric(metric)?.quantiles.as_ref()
    }

    /// The sum of one metric over the sum of another in the same unit; `None` when either is unknown or the second is 0.
    pub fn share(&self, part: Metric, whole: Metric) -> Option<f64> {
        let (part, whole) = (self.sum(part)?, self.sum(whole)?);
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// CPU time over run time, both over all attempts; `None` when either is unknown or no time was spent.
    pub fn cpu_ratio(&self) -> Option<f64> {
        let (cpu_ns, run_ms) = (self.sum(Metric::ExecutorCpuTime)?, self.sum(Metric::ExecutorRunTime)?);
        (run_ms > 0).then(|| cpu_ns as f64 / 1e6 / run_ms as f64)
    }

    /// Task-milliseconds: the sum of the durations of all attempts.
    pub fn task_ms(&self) -> u64 {
        self.sum(Metric::Duration).unwrap_or(0)
    }

    /// The wall-clock time of this stage if its tasks were spread evenly over its slots, in ms; `None` without slots.
    pub fn balanced_ms(&self) -> Option<f64> {
        Some(self.task_ms() as f64 / self.slots? as f64)
    }

    /// How much wall-clock time of the run `saved_ms` of this stage's own time is worth: stages that ran beside others
    /// give back only their share.
    pub fn wall_clock_saving(&self, saved_ms: f64) -> f64 {
        let own = match (self.first_launch, self.last_finish) {
            (Some(first), Some(last)) => last.since(first).0 as f64,
            _ => return 0.0,
        };
        if own <= 0.0 { 0.0 } else { (saved_ms.max(0.0) * (self.wall_clock_ms / own).min(1.0)).min(self.wall_clock_ms) }
    }
}

/// The distributions of the metrics that are reported; equal ones, as the many that are all zero, are kept once.
#[derive(Debug, Clone, Default, PartialEq)]
struct Distributions {
    index: Vec<u8>,
    distinct: Vec<Distribution>,
}

impl Distributions {
    fn get(&self, metric: Metric) -> Option<&Distribution> {
        self.distinct.get(usize::from(*self.index.get(metric as usize)?))
    }

    fn set(&mut self, metric: Metric, distribution: Distribution) {
        let known = self.distinct.iter().position(|known| distribution.sum == 0 && *known == distribution);
        let place = known.unwrap_or_else(|| {
            self.distinct.push(distribution);
            self.distinct.len() - 1
        });
        self.index.resize(Metric::COUNT, u8::MAX);
        self.index[metric as usize] = place as u8;
    }
}

fn distribution(metric: Metric, pass: &mut Pass, executors: &mut [Share]) -> Option<Distribution> {
    // Half of the metrics are 0 in every task of a stage, and then one is as the other.
    let zero = pass.values.iter().all(|&value| value == 0);
    if zero && let Some((zeros, shares)) = &pass.zeros {
        for &share in shares {
            executors[share].sums.add(metric, 0);
        }
        return *zeros;
    }
    let mut shares = BTreeSet::new();
    let mut successful = std::mem::take(&mut pass.successful);
    successful.clear();
    let (mut sum, mut count) = (0_u64, 0);
    for (value, status, executor) in pass.rows() {
        if value == NULL || status == TaskStatus::Resubmitted.code() {
            continue;
        }
        sum = sum.saturating_add(value);
        count += 1;
        if status == TaskStatus::Success.code() {
            successful.push(value);
        }
        if let Some(place) = usize::try_from(executor).ok()
            && let Some(share) = executors.get_mut(place)
        {
            share.sums.add(metric, value);
            if zero {
                shares.insert(place);
            }
        }
    }
    let quantiles = Quantiles::of(&mut successful);
    pass.successful = successful;
    let distribution = (count > 0).then_some(Distribution { sum, count, quantiles });
    if zero {
        pass.zeros = Some((distribution, shares));
    }
    distribution
}

/// Peaks over the executors while the stage ran: of the stage's own events, or of its tasks where those are absent.
fn peaks(stage: &StageAttempt, pass: &mut Pass) -> ExecutorMetrics {
    let mut peaks = ExecutorMetrics::default();
    stage.executor_peaks.values().for_each(|of_executor| peaks.merge(of_executor));
    if peaks.is_empty() {
        for &column in TaskColumn::executor_metrics() {
            pass.column(stage, column);
            if let Some(peak) = pass.values.iter().copied().filter(|&value| value != NULL).max() {
                peaks.raise(column, peak);
            }
        }
    }
    peaks
}

fn distinct(values: impl Iterator<Item = u64>) -> u64 {
    // Executors, hosts and partitions are numbered from 0: a bit each is enough, unless a log says otherwise.
    let dense = (values.size_hint().1.unwrap_or(0) as u64).saturating_mul(64).max(4_096);
    let mut bits: Vec<u64> = Vec::new();
    let mut rest: BTreeSet<u64> = BTreeSet::new();
    let mut count = 0;
    for value in values.filter(|&value| value != NULL) {
        if value >= dense {
            count += u64::from(rest.insert(value));
            continue;
        }
        let (word, bit) = ((value / 64) as usize, 1 << (value % 64));
        if word >= bits.len() {
            bits.resize(word + 1, 0);
        }
        count += u64::from(bits[word] & bit == 0);
        bits[word] |= bit;
    }
    count
}
