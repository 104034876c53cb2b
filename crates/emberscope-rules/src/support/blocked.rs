//! Where the time of a stage's tasks went while they were not on a CPU.
//!
//! The event log says how long a task ran and how long its thread had a CPU. The difference is told apart, task by task,
//! in the order of how sure the log is: waiting for shuffle blocks, stopped by garbage collection, writing shuffle data;
//! what remains has no metric. No millisecond is counted twice.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageAttempt, StageKey, TaskColumn, TaskStatus};

use super::tasks::{self, Task};
use crate::rule::{Context, Outcome};

/// The task time of a stage attempt, in ms summed over its tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Blocked {
    /// Run time.
    pub(crate) run_ms: f64,
    /// CPU time of the task threads.
    pub(crate) cpu_ms: f64,
    /// Off the CPU, waiting for remote shuffle blocks.
    pub(crate) fetch_ms: f64,
    /// Off the CPU, stopped by garbage collection.
    pub(crate) gc_ms: f64,
    /// Off the CPU, in writing shuffle data.
    pub(crate) write_ms: f64,
    /// Off the CPU for a reason that no metric names.
    pub(crate) rest_ms: f64,
    /// Bytes that went to or came from files: input, output, local shuffle blocks, shuffle output, spills twice.
    pub(crate) io_bytes: f64,
}

/// A reason for being off the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Remote shuffle blocks.
    Fetch,
    /// Garbage collection.
    Gc,
    /// Files, by metrics or by the bytes that were moved meanwhile.
    Disk,
    /// Nothing that the log names.
    Unexplained,
}

/// A thread that waits for files gets at least this many bytes a ms (1 MiB a second): the slowest disk under random
/// access does, and below it the wait is for something else. Set by judgement, not yet calibrated on labelled runs.
pub(crate) const MIN_BYTES_PER_WAITED_MS: f64 = 1_048.576;

impl Blocked {
    /// The time of one task, by its run and CPU time in ms.
    pub(crate) fn of_task(row: &emberscope_run::TaskRow) -> Option<Self> {
        let number = |column| row.get(column).map_or(0.0, |value| value as f64);
        let run_ms = row.get(TaskColumn::ExecutorRunTime)? as f64;
        let cpu_ms = (row.get(TaskColumn::ExecutorCpuTime)? as f64 / 1e6).min(run_ms);
        let mut off = run_ms - cpu_ms;
        let mut take = |wanted: f64| {
            let taken = wanted.min(off).max(0.0);
            off -= taken;
            taken
        };
        let fetch_ms = take(number(TaskColumn::ShuffleFetchWaitTime));
        let gc_ms = take(number(TaskColumn::JvmGcTime));
        let write_ms = take(number(TaskColumn::ShuffleWriteTime) / 1e6);
        let io_bytes = number(TaskColumn::InputBytes)
            + number(TaskColumn::OutputBytes)
            + number(TaskColumn::ShuffleLocalBytesRead)
            + number(TaskColumn::ShuffleBytesWritten)
            + 2.0 * number(TaskColumn::DiskBytesSpilled);
        Some(Self { run_ms, cpu_ms, fetch_ms, gc_ms, write_ms, rest_ms: off, io_bytes })
    }

    /// The sum over the successful tasks of a stage attempt; `None` when none reports run and CPU time.
    pub(crate) fn of_stage(stage: &StageAttempt) -> Option<Self> {
        Self::sum(
            stage.tasks.rows().filter(|row| row.status() == Some(TaskStatus::Success)).map(|row| Self::of_task(&row)),
        )
    }

    /// The sum of what is known; `None` when nothing is.
    pub(crate) fn sum(parts: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        parts.flatten().fold(None, |sum: Option<Self>, part| {
            let mut sum = sum.unwrap_or_default();
            sum.run_ms += part.run_ms;
            sum.cpu_ms += part.cpu_ms;
            sum.fetch_ms += part.fetch_ms;
            sum.gc_ms += part.gc_ms;
            sum.write_ms += part.write_ms;
            sum.rest_ms += part.rest_ms;
            sum.io_bytes += part.io_bytes;
            Some(sum)
        })
    }

    /// Whether the bytes moved to and from files are enough to explain the time that no metric names.
    pub(crate) fn io_explains_rest(&self) -> bool {
        self.rest_ms > 0.0 && self.io_bytes / self.rest_ms >= MIN_BYTES_PER_WAITED_MS
    }

    /// Off the CPU for files: in writing shuffle data, and the rest where the bytes explain it.
    pub(crate) fn disk_ms(&self) -> f64 {
        self.write_ms + if self.io_explains_rest() { self.rest_ms } else { 0.0 }
    }

    /// Off the CPU without any explanation.
    pub(crate) fn unexplained_ms(&self) -> f64 {
        if self.io_explains_rest() { 0.0 } else { self.rest_ms }
    }

    /// A part as a share of the run time; 0 when nothing ran.
    pub(crate) fn share(&self, part_ms: f64) -> f64 {
        if self.run_ms > 0.0 { part_ms / self.run_ms } else { 0.0 }
    }

    /// The largest of the causes: lost time is told by one rule only.
    pub(crate) fn main_cause(&self) -> Cause {
        let all = [
            (self.fetch_ms, Cause::Fetch),
            (self.gc_ms, Cause::Gc),
            (self.disk_ms(), Cause::Disk),
            (self.unexplained_ms(), Cause::Unexplained),
        ];
        let mut largest = (f64::NEG_INFINITY, Cause::Unexplained);
        for candidate in all {
            if candidate.0 > largest.0 {
                largest = candidate;
            }
        }
        largest.1
    }
}

/// A settled task: what is kept of it for all stages at once, a tenth of its row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    /// Launch in ms since 1970.
    pub(crate) launch: i64,
    /// Finish in ms since 1970.
    pub(crate) finish: i64,
    /// Index of its executor in the run's names.
    pub(crate) executor: Option<u64>,
    /// Its time; `None` without run and CPU time.
    pub(crate) blocked: Option<Blocked>,
    /// Time and CPU time of deserializing it in ms; `None` when either is unknown.
    deserialize: Option<(f64, f64)>,
}

impl Settled {
    /// Finish less launch in ms.
    pub(crate) fn duration(&self) -> f64 {
        self.finish.saturating_sub(self.launch).max(0) as f64
    }

    fn of(task: &Task) -> Self {
        let cpu_ns = task.number(TaskColumn::ExecutorDeserializeCpuTime);
        Self {
            launch: task.launch,
            finish: task.finish,
            executor: task.executor,
            blocked: Blocked::of_task(&task.row),
            deserialize: task.number(TaskColumn::ExecutorDeserializeTime).zip(cpu_ns.map(|ns| ns / 1e6)),
        }
    }
}

/// A stage attempt with the time of its settled tasks: the warm ones, and those long enough for a cold start not to matter.
#[derive(Debug)]
pub(crate) struct StageBlocked<'a> {
    /// The stage attempt.
    pub(crate) stage: &'a StageSummary,
    /// Its successful tasks that are settled.
    pub(crate) tasks: Vec<Settled>,
    /// Their time.
    pub(crate) blocked: Blocked,
}

/// Below this many settled tasks a stage says nothing of its hosts or disks: one slow task is a straggler.
const MIN_SETTLED: usize = 4;

/// A task that runs this long is not marked by a cold start any more: class loading, JIT and first connections take a few
/// seconds. Set by judgement, not yet calibrated on labelled runs.
const SETTLED_MS: f64 = 20_000.0;

/// The stage attempts whose time off the CPU can be told apart: with CPU times, settled tasks, and no rows handed to or
/// taken from other processes, whose work the log does not show.
pub(crate) fn stages<'a>(ctx: &Context<'a>) -> Vec<StageBlocked<'a>> {
    ctx.features
        .stages
        .values()
        .filter(|stage| stage.metric(Metric::ExecutorCpuTime).is_some())
        .filter_map(|stage| of(ctx, stage))
        .collect()
}

fn of<'a>(ctx: &Context<'a>, stage: &'a StageSummary) -> Option<StageBlocked<'a>> {
    if stage.warm_duration.is_none() && (stage.quantiles(Metric::Duration)?.max as f64) < SETTLED_MS
        || works_elsewhere(ctx, stage.key)
    {
        return None;
    }
    let mut tasks = tasks::successful(ctx.run, ctx.run.stages.get(&stage.key)?);
    tasks.retain(|task| task.warm || task.duration() >= SETTLED_MS);
    if tasks.len() < MIN_SETTLED {
        return None;
    }
    let tasks: Vec<Settled> = tasks.iter().map(Settled::of).collect();
    let blocked = Blocked::sum(tasks.iter().map(|task| task.blocked))?;
    Some(StageBlocked { stage, tasks, blocked })
}

/// CPU time over time of deserializing settled tasks below which the hosts were too busy for a disk to be told: lower than where
/// cpu-contention begins, as what waits for a slow disk deserializes late as well. Set on the training families of datasets/lab.
pub(crate) const BUSY_HOST_RATIO: f64 = 0.45;

/// CPU time over time of deserializing settled tasks, all stages together; `None` when they took too little of it to tell.
///
/// Deserializing a warm task needs a CPU and no lock, file or service: on a busy host it lacks the CPU as the task's own code
/// does, and elsewhere it does not. Seen in real logs: 0.5 to 1 and more (the clock of the time is coarser) on quiet hosts, 0.3
/// on two cores with five times as many threads.
pub(crate) fn deserialize_cpu_ratio<'a>(stages: impl Iterator<Item = &'a StageBlocked<'a>>) -> Option<f64> {
    const LEAST_MS: f64 = 40.0;
    let (mut time, mut cpu) = (0.0, 0.0);
    for task in stages.flat_map(|stage| &stage.tasks) {
        if let Some((ms, cpu_ms)) = task.deserialize {
            time += ms;
            cpu += cpu_ms;
        }
    }
    (time >= LEAST_MS).then(|| cpu / time)
}

/// Time in writing shuffle files over run time, of the stages that wrote any: Spark measures it around nothing but the calls
/// that write. `None` when none wrote.
pub(crate) fn writing_share(stages: &[StageBlocked<'_>]) -> Option<f64> {
    let written = |stage: &&StageBlocked<'_>| stage.stage.sum(Metric::ShuffleWriteBytes).is_some_and(|bytes| bytes > 0);
    let sum = Blocked::sum(stages.iter().filter(written).map(|stage| Some(stage.blocked)))?;
    Some(sum.share(sum.write_ms))
}

/// Why no stage's time off the CPU can be told apart; `None` when the log has what is needed.
pub(crate) fn missing(ctx: &Context<'_>) -> Option<Outcome> {
    let mut ran = ctx.features.stages.values().filter(|stage| stage.tasks.succeeded > 0).peekable();
    if ran.peek().is_none() {
        return Some(Outcome::missing("successful tasks"));
    }
    ran.all(|stage| stage.metric(Metric::ExecutorCpuTime).is_none())
        .then(|| Outcome::missing("executor CPU times (Spark writes them from 2.1 on)"))
}

/// Whether the tasks of a stage hand rows to Python workers, as the names of its RDDs and their scopes say.
pub(crate) fn runs_python(ctx: &Context<'_>, key: StageKey) -> bool {
    let is_python = |name: &str| ["Python", "Pandas", "Arrow"].iter().any(|word| name.contains(word));
    ctx.run.stages.get(&key).is_some_and(|attempt| {
        attempt.rdds.iter().any(|rdd| is_python(&rdd.name) || rdd.scope.as_deref().is_some_and(is_python))
    })
}

/// Whether the tasks of a stage hand rows to other processes or devices (Python, R, a pipe, a GPU) or take them from a service
/// (a database, a message broker): their thread waits while those work.
fn works_elsewhere(ctx: &Context<'_>, key: StageKey) -> bool {
    const FOREIGN: &[&str] = &[
        "Python",
        "PipedRDD",
        "RRDD",
        "Pandas",
        "Arrow",
        "JDBC",
        "Jdbc",
        "Kafka",
        "Kinesis",
        "Cassandra",
        "Mongo",
        "Elasticsearch",
        "HBase",
        "Receiver",
        "Gpu",
    ];
    let Some((attempt, stage)) = ctx.run.stages.get(&key).zip(ctx.features.stages.get(&key)) else { return false };
    let is_foreign = |name: &str| FOREIGN.iter().any(|word| name.contains(word));
    // A connector that does not say what it read: what its tasks wait for cannot be told.
    let silent_source = attempt.rdds.iter().any(|rdd| rdd.name == "DataSourceRDD" || rdd.name == "NewHadoopRDD")
        && stage.sum(Metric::InputBytes).unwrap_or(0) == 0;
    silent_source
        || attempt.rdds.iter().any(|rdd| is_foreign(&rdd.name) || rdd.scope.as_deref().is_some_and(is_foreign))
        || attempt
            .sql_execution_id
            .and_then(|id| ctx.run.sql_executions.get(&id))
            .is_some_and(|sql| sql.nodes().iter().any(|node| is_foreign(&node.name)))
}
