//! A stage attempt, summed up over its tasks.

use std::collections::BTreeMap;

use emberscope_run::{Locality, NULL, Run, StageAttempt, StageKey, StageStatus, TaskColumn, TaskRow, TaskStatus, Timestamp};

use super::distribution::{Distribution, Quantiles};
use super::metric::Metric;

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
    /// Task slots (cores over `spark.task.cpus`) of the executors at its first launch; `None` when not known.
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
    distributions: Vec<Option<Distribution>>,
}

/// Attempts of a stage by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// All attempts that ended, without resubmissions.
    pub ended: u64,
    /// Successful.
    pub succeeded: u64,
    /// Failed, resubmissions not among them.
    pub failed: u64,
    /// Killed on purpose.
    pub killed: u64,
    /// Resubmitted after their output was lost.
    pub resubmitted: u64,
    /// Started and not ended.
    pub running: u64,
    /// Speculative copies among the ended.
    pub speculative: u64,
}

impl StageSummary {
    /// A stage attempt of a run in numbers; `wall_clock_ms` is filled from the timeline by [`super::Features::of`].
    pub fn of(run: &Run, stage: &StageAttempt) -> Self {
        let mut columns = Columns::read(stage);
        let status = columns.take(TaskColumn::Status);
        let succeeded: Vec<bool> = status.iter().map(|&code| code == TaskStatus::Success.code()).collect();
        let reported: Vec<bool> = status.iter().map(|&code| code != TaskStatus::Resubmitted.code()).collect();
        let distributions =
            Metric::ALL.iter().map(|&metric| distribution(metric, &columns, &succeeded, &reported)).collect();
        let durations = columns.metric(Metric::Duration);
        let mut tasks = TaskCounts { running: stage.running.len() as u64, ..TaskCounts::default() };
        let mut wasted_task_ms = 0_u64;
        let speculative = columns.get(TaskColumn::Speculative);
        for (index, &code) in status.iter().enumerate() {
            match TaskStatus::from_code(code) {
                Some(TaskStatus::Success) => tasks.succeeded += 1,
                Some(TaskStatus::Failed) => tasks.failed += 1,
                Some(TaskStatus::Killed) => tasks.killed += 1,
                Some(TaskStatus::Resubmitted) => tasks.resubmitted += 1,
                None => {}
            }
            if code == TaskStatus::Failed.code() || code == TaskStatus::Killed.code() {
                wasted_task_ms = wasted_task_ms.saturating_add(known(durations[index]).unwrap_or(0));
            }
            tasks.speculative += u64::from(reported[index] && speculative.get(index) == Some(&1));
        }
        tasks.ended = reported.iter().filter(|&&counts| counts).count() as u64;
        let first_launch = time_of(columns.get(TaskColumn::LaunchTime).iter().copied().filter(|&t| t != NULL).min());
        let last_finish = time_of(columns.get(TaskColumn::FinishTime).iter().copied().filter(|&t| t != NULL).max());
        let argmax = |values: &[u64]| {
            let candidates = values.iter().enumerate().filter(|&(i, &v)| succeeded[i] && v != NULL);
            candidates.max_by_key(|&(i, &v)| (v, std::cmp::Reverse(i))).map(|(i, _)| i)
        };
        let longest = argmax(&durations);
        let largest = argmax(&columns.metric(Metric::BytesIn));
        let row_at = |index: Option<usize>| columns.notable(index?);
        Self {
            key: stage.key,
            status: stage.status(),
            duration_ms: stage.duration().map(|d| d.0).or_else(|| {
                Some(last_finish?.since(stage.submitted_at.or(first_launch)?).0)
            }),
            wall_clock_ms: 0.0,
            slots: first_launch.or(stage.submitted_at).and_then(|at| run.slots_at(at)).filter(|&slots| slots > 0),
            executors: distinct(columns.get(TaskColumn::Executor)),
            hosts: distinct(columns.get(TaskColumn::Host)),
            locality: locality(columns.get(TaskColumn::Locality), &succeeded),
            wasted_task_ms,
            speculative_waste_ms: speculative_waste(&columns, &status, &durations),
            warm_duration: warm_durations(run, &columns, &succeeded, &durations),
            longest: row_at(longest),
            largest: row_at(largest),
            first_launch,
            last_finish,
            tasks,
            distributions,
        }
    }

    /// A metric over the tasks; `None` when no task reports it.
    pub fn metric(&self, metric: Metric) -> Option<&Distribution> {
        self.distributions.get(metric as usize)?.as_ref()
    }

    /// The sum of a metric over all attempts; `None` when none reports it.
    pub fn sum(&self, metric: Metric) -> Option<u64> {
        Some(self.metric(metric)?.sum)
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

fn known(value: u64) -> Option<u64> {
    (value != NULL).then_some(value)
}

fn time_of(value: Option<u64>) -> Option<Timestamp> {
    Some(Timestamp(i64::try_from(value?).ok()?))
}

/// The columns of a stage's tasks that were asked for, unpacked once each.
struct Columns {
    columns: Vec<Vec<u64>>,
    len: usize,
}

impl Columns {
    fn read(stage: &StageAttempt) -> Self {
        let columns = TaskColumn::ALL
            .iter()
            .map(|&column| if column < TaskColumn::PeakJvmHeap { stage.tasks.column(column) } else { Vec::new() })
            .collect();
        Self { columns, len: stage.tasks.len() }
    }

    fn get(&self, column: TaskColumn) -> &[u64] {
        &self.columns[column as usize]
    }

    fn take(&mut self, column: TaskColumn) -> Vec<u64> {
        self.columns[column as usize].clone()
    }

    fn metric(&self, metric: Metric) -> Vec<u64> {
        let sum = |a: TaskColumn, b: &[u64]| -> Vec<u64> {
            let add = |(&a, &b): (&u64, &u64)| match (a, b) {
                (NULL, other) | (other, NULL) => other,
                (a, b) => a.saturating_add(b).min(NULL - 1),
            };
            self.get(a).iter().zip(b).map(add).collect()
        };
        use TaskColumn as C;
        match metric {
            Metric::ShuffleReadBytes => sum(C::ShuffleLocalBytesRead, self.get(C::ShuffleRemoteBytesRead)),
            Metric::BytesIn => sum(C::InputBytes, &self.metric(Metric::ShuffleReadBytes)),
            Metric::RecordsIn => sum(C::InputRecords, self.get(C::ShuffleRecordsRead)),
            Metric::Duration | Metric::SchedulerDelay | Metric::GettingResultTime => {
                (0..self.len).map(|index| metric.of(&self.times(index)).unwrap_or(NULL)).collect()
            }
            _ => metric.column().map(|column| self.get(column).to_vec()).unwrap_or_default(),
        }
    }

    /// The columns that times are derived from, of one task.
    fn times(&self, index: usize) -> TaskRow {
        use TaskColumn as C;
        let mut row = TaskRow::default();
        for column in [
            C::LaunchTime,
            C::FinishTime,
            C::GettingResultAt,
            C::ExecutorDeserializeTime,
            C::ExecutorRunTime,
            C::ResultSerializationTime,
        ] {
            row.set(column, self.get(column)[index]);
        }
        row
    }

    fn notable(&self, index: usize) -> Option<NotableTask> {
        let mut row = TaskRow::default();
        for &column in TaskColumn::ALL.iter().take_while(|&&column| column < TaskColumn::PeakJvmHeap) {
            row.set(column, self.get(column)[index]);
        }
        NotableTask::of(&row)
    }
}

fn distribution(metric: Metric, columns: &Columns, succeeded: &[bool], reported: &[bool]) -> Option<Distribution> {
    let values = columns.metric(metric);
    let mut successful = Vec::with_capacity(values.len());
    let (mut sum, mut count) = (0_u64, 0);
    for (index, &value) in values.iter().enumerate() {
        if value != NULL && reported[index] {
            sum = sum.saturating_add(value);
            count += 1;
            if succeeded[index] {
                successful.push(value);
            }
        }
    }
    (count > 0).then(|| Distribution { sum, count, quantiles: Quantiles::of(&mut successful) })
}

fn distinct(values: &[u64]) -> u64 {
    let mut seen: Vec<u64> = values.iter().copied().filter(|&value| value != NULL).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() as u64
}

fn locality(values: &[u64], succeeded: &[bool]) -> BTreeMap<Locality, u64> {
    let mut counts = BTreeMap::new();
    for (&code, _) in values.iter().zip(succeeded).filter(|&(_, &succeeded)| succeeded) {
        if let Some(locality) = Locality::from_code(code) {
            *counts.entry(locality).or_default() += 1;
        }
    }
    counts
}

/// Killed attempts of partitions that a speculative copy was started for.
fn speculative_waste(columns: &Columns, status: &[u64], durations: &[u64]) -> u64 {
    let partitions = columns.get(TaskColumn::Partition);
    let speculative = columns.get(TaskColumn::Speculative);
    let copied: std::collections::BTreeSet<u64> =
        partitions.iter().zip(speculative).filter(|&(_, &flag)| flag == 1).map(|(&partition, _)| partition).collect();
    let killed = |index: &usize| status[*index] == TaskStatus::Killed.code() && copied.contains(&partitions[*index]);
    (0..status.len()).filter(killed).fold(0, |sum: u64, i| sum.saturating_add(known(durations[i]).unwrap_or(0)))
}

fn warm_durations(run: &Run, columns: &Columns, succeeded: &[bool], durations: &[u64]) -> Option<Quantiles> {
    let launches = columns.get(TaskColumn::LaunchTime);
    let executors = columns.get(TaskColumn::Executor);
    let mut order: Vec<usize> = (0..columns.len).collect();
    order.sort_by_key(|&index| launches[index]);
    let mut launched: BTreeMap<u64, u64> = BTreeMap::new();
    let mut warm = Vec::new();
    for index in order {
        let seen = launched.entry(executors[index]).or_default();
        *seen += 1;
        let name = usize::try_from(executors[index]).ok().and_then(|index| run.executor_names.get(index));
        let cores = name.and_then(|id| run.executors.get(id)?.cores).unwrap_or(1);
        if *seen > cores && succeeded[index] && durations[index] != NULL {
            warm.push(durations[index]);
        }
    }
    (warm.len() >= 4).then(|| Quantiles::of(&mut warm)).flatten()
}
