//! Features that are a metric times a statistic, and those that groups of stage attempts share.

use emberscope_run::Unit;

use super::list::{Batches, Entry, Executors, Jobs, NEVER, NO_METRIC, NO_RATIO, Number, Runs, Sqls, Stages, entry};
use super::row::{BatchRef, ExecutorRef, JobRef, RunRef, SqlRef, StageRef};
use crate::features::{Metric, Quantiles, TaskCounts, Work};

/// A statistic of a metric over successful tasks: its word, what it is, and its value.
pub(super) const QUANTILES: &[Number<Quantiles>] = &[
    ("min", "The least over successful tasks", |q| q.min),
    ("p05", "The 5 % quantile over successful tasks", |q| q.p05),
    ("p25", "The lower quartile over successful tasks", |q| q.p25),
    ("p50", "The median over successful tasks", |q| q.p50),
    ("p75", "The upper quartile over successful tasks", |q| q.p75),
    ("p95", "The 95 % quantile over successful tasks", |q| q.p95),
    ("max", "The largest over successful tasks", |q| q.max),
];

/// The metrics of which stage attempts have every statistic: those that can be uneven, and matter when they are.
pub(super) const SPREAD: &[Metric] = &[
    Metric::Duration,
    Metric::SchedulerDelay,
    Metric::GettingResultTime,
    Metric::ExecutorDeserializeTime,
    Metric::ExecutorRunTime,
    Metric::ExecutorCpuTime,
    Metric::PeakExecutionMemory,
    Metric::ResultSize,
    Metric::JvmGcTime,
    Metric::ResultSerializationTime,
    Metric::MemoryBytesSpilled,
    Metric::DiskBytesSpilled,
    Metric::InputBytes,
    Metric::InputRecords,
    Metric::OutputBytes,
    Metric::OutputRecords,
    Metric::ShuffleReadBytes,
    Metric::ShuffleReadRecords,
    Metric::ShuffleRemoteBytes,
    Metric::ShuffleFetchWaitTime,
    Metric::ShuffleWriteBytes,
    Metric::ShuffleWriteTime,
    Metric::ShuffleWriteRecords,
    Metric::BytesIn,
    Metric::RecordsIn,
];

/// The entry of a statistic of a metric.
pub(super) fn statistic(metric: Metric, word: &str, what: &str, null: &'static str) -> Entry {
    entry(metric.statistic(word), metric.unit(), metric.spark_field(), format!("{what}: {}", metric.meaning()), null)
}

/// Shares of one metric in another: name, part, whole, scale, meaning.
const SHARES: &[(&str, Metric, Metric, f64, &str)] = &[
    (
        "gc_ratio",
        Metric::JvmGcTime,
        Metric::ExecutorRunTime,
        1.0,
        "Garbage collection over run time; above 1 where concurrent tasks each count the pauses of their JVM.",
    ),
    ("cpu_ratio", Metric::ExecutorCpuTime, Metric::ExecutorRunTime, 1e6, "CPU time over run time."),
    ("run_time_ratio", Metric::ExecutorRunTime, Metric::Duration, 1.0, "Run time over duration."),
    ("scheduler_delay_ratio", Metric::SchedulerDelay, Metric::Duration, 1.0, "Scheduler delay over duration."),
    (
        "executor_deserialize_ratio",
        Metric::ExecutorDeserializeTime,
        Metric::Duration,
        1.0,
        "Deserializing tasks over duration.",
    ),
    (
        "result_serialization_ratio",
        Metric::ResultSerializationTime,
        Metric::Duration,
        1.0,
        "Serializing results over duration.",
    ),
    ("getting_result_ratio", Metric::GettingResultTime, Metric::Duration, 1.0, "Fetching results over duration."),
    (
        "shuffle_fetch_wait_ratio",
        Metric::ShuffleFetchWaitTime,
        Metric::ExecutorRunTime,
        1.0,
        "Waiting for shuffle blocks over run time.",
    ),
    (
        "shuffle_write_time_ratio",
        Metric::ShuffleWriteTime,
        Metric::ExecutorRunTime,
        1e6,
        "Writing shuffle data over run time.",
    ),
    (
        "shuffle_remote_ratio",
        Metric::ShuffleRemoteBytes,
        Metric::ShuffleReadBytes,
        1.0,
        "Shuffle bytes read from other hosts over all shuffle bytes read.",
    ),
    (
        "shuffle_remote_to_disk_ratio",
        Metric::ShuffleRemoteBytesToDisk,
        Metric::ShuffleRemoteBytes,
        1.0,
        "Remote shuffle bytes that went to disk first over all remote ones.",
    ),
    ("disk_spill_ratio", Metric::DiskBytesSpilled, Metric::BytesIn, 1.0, "Bytes spilled to disk over bytes taken in."),
    (
        "memory_spill_ratio",
        Metric::MemoryBytesSpilled,
        Metric::BytesIn,
        1.0,
        "Bytes in memory that were spilled over bytes taken in.",
    ),
    (
        "output_over_input_ratio",
        Metric::OutputBytes,
        Metric::BytesIn,
        1.0,
        "Bytes written to storage over bytes taken in.",
    ),
    (
        "shuffle_write_over_input_ratio",
        Metric::ShuffleWriteBytes,
        Metric::BytesIn,
        1.0,
        "Bytes written for shuffles over bytes taken in.",
    ),
    (
        "records_out_over_in_ratio",
        Metric::ShuffleWriteRecords,
        Metric::RecordsIn,
        1.0,
        "Records written for shuffles over records taken in.",
    ),
    ("bytes_per_record_ratio", Metric::BytesIn, Metric::RecordsIn, 1.0, "Bytes taken in a record."),
    (
        "shuffle_bytes_per_remote_block_ratio",
        Metric::ShuffleRemoteBytes,
        Metric::ShuffleRemoteBlocks,
        1.0,
        "Bytes of a remote shuffle block.",
    ),
    (
        "disk_over_memory_spilled_ratio",
        Metric::DiskBytesSpilled,
        Metric::MemoryBytesSpilled,
        1.0,
        "Bytes spilled to disk over their size in memory.",
    ),
];

/// Throughputs: name, metric, meaning.
const RATES: &[(&str, Metric, &str)] = &[
    ("bytes_in_per_second", Metric::BytesIn, "Bytes taken in a second of run time of a task."),
    ("records_in_per_second", Metric::RecordsIn, "Records taken in a second of run time of a task."),
    (
        "shuffle_write_per_second",
        Metric::ShuffleWriteBytes,
        "Bytes written for shuffles a second of run time of a task.",
    ),
];

/// Counts of attempts: name, meaning, value.
const COUNTS: &[Number<TaskCounts>] = &[
    ("tasks_ended_count", "Task attempts that ended, resubmissions not among them.", |tasks| tasks.ended),
    ("tasks_succeeded_count", "Task attempts that succeeded.", |tasks| tasks.succeeded),
    ("tasks_failed_count", "Task attempts that failed, resubmissions not among them.", |tasks| tasks.failed),
    ("tasks_killed_count", "Task attempts that were killed on purpose.", |tasks| tasks.killed),
    ("tasks_resubmitted_count", "Finished tasks that ran again because their output was lost.", |tasks| {
        tasks.resubmitted
    }),
    ("tasks_running_count", "Task attempts that were started and whose end is not in the log.", |tasks| tasks.running),
    ("tasks_speculative_count", "Speculative copies among the attempts that ended.", |tasks| tasks.speculative),
];

fn quotient(part: Option<u64>, whole: Option<u64>, scale: f64) -> Option<f64> {
    Some(over(Some(part? as f64), whole)? / scale)
}

macro_rules! shared {
    ($($list:ident $row:ident $what:literal),+ $(,)?) => {$(
        impl $list {
            /// Attempts by how they ended, and shares of failed and killed ones.
            pub(super) fn counts(&mut self, tasks: impl for<'a> Fn(&$row<'a>) -> TaskCounts + Copy + Send + Sync + 'static) {
                for &(name, meaning, value) in COUNTS {
                    self.add(entry(name, Unit::Count, "Task End Reason.Reason", meaning, NEVER), move |row| value(&tasks(row)));
                }
                let of_ended = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
                self.add(
                    entry("tasks_failed_ratio", Unit::Ratio, "Task End Reason.Reason", "Failed attempts over all that ended.", NO_RATIO),
                    move |row| of_ended(tasks(row).failed, tasks(row).ended),
                );
                self.add(
                    entry("tasks_killed_ratio", Unit::Ratio, "Task End Reason.Reason", "Killed attempts over all that ended.", NO_RATIO),
                    move |row| of_ended(tasks(row).killed, tasks(row).ended),
                );
            }

            /// The sum of every metric.
            pub(super) fn sums(&mut self, sum: impl for<'a> Fn(&$row<'a>, Metric) -> Option<u64> + Copy + Send + Sync + 'static) {
                for &metric in Metric::ALL {
                    let entry = statistic(metric, "sum", concat!("Sum over all task attempts of ", $what), NO_METRIC);
                    self.add(entry, move |row| sum(row, metric));
                }
            }

            /// Shares of time and data, throughputs.
            pub(super) fn shares(&mut self, sum: impl for<'a> Fn(&$row<'a>, Metric) -> Option<u64> + Copy + Send + Sync + 'static) {
                for &(name, part, whole, scale, meaning) in SHARES {
                    let field = format!("{} / {}", part.spark_field(), whole.spark_field());
                    self.add(entry(name, Unit::Ratio, field, meaning, NO_RATIO), move |row| quotient(sum(row, part), sum(row, whole), scale));
                }
                for &(name, metric, meaning) in RATES {
                    let field = format!("{} / {}", metric.spark_field(), Metric::ExecutorRunTime.spark_field());
                    self.add(entry(name, Unit::PerSecond, field, meaning, NO_RATIO), move |row| {
                        quotient(sum(row, metric), sum(row, Metric::ExecutorRunTime), 1e-3)
                    });
                }
            }
        }
    )+};
}

shared! {
    Stages StageRef "the stage attempt",
    Executors ExecutorRef "the executor",
    Jobs JobRef "the job",
    Sqls SqlRef "the SQL execution",
    Batches BatchRef "the micro-batch",
    Runs RunRef "the run",
}

macro_rules! work {
    ($($list:ident $row:ident $what:literal),+ $(,)?) => {$(
        impl $list {
            /// What the stage attempts of a group did.
            pub(super) fn work(&mut self, work: for<'a> fn(&$row<'a>) -> &'a Work) {
                let count = |name, meaning| entry(name, Unit::Count, "StageSubmitted, StageCompleted", meaning, NEVER);
                self.add(count("stage_attempts_count", "Stage attempts that ran."), move |row| work(row).stage_attempts);
                self.add(count("stage_attempts_failed_count", "Stage attempts that failed."), move |row| work(row).failed_stage_attempts);
                self.add(count("stages_skipped_count", "Stages whose output was there already, or that were never submitted."), move |row| work(row).skipped_stages);
                self.add(count("tasks_skipped_count", "Tasks of those stages."), move |row| work(row).skipped_tasks);
                self.add(
                    entry("wall_clock_ms", Unit::Ms, "Task Info.Launch Time, Finish Time", concat!("Time in which tasks of ", $what, " ran, shared with other stages that ran then."), NEVER),
                    move |row| work(row).wall_clock_ms,
                );
                self.add(
                    entry("wall_clock_share_ratio", Unit::Ratio, "Task Info.Launch Time, Finish Time", "The same over the wall-clock time of the run.", NO_RATIO),
                    move |row| over(Some(work(row).wall_clock_ms), row.of.features.application.wall_clock_ms),
                );
                self.add(
                    entry("first_task_launched_at", Unit::At, "Task Info.Launch Time", "Launch of its first task.", "no task ran"),
                    move |row| work(row).first_launch,
                );
                self.add(
                    entry("last_task_finished_at", Unit::At, "Task Info.Finish Time", "End of its last task.", "no task ended"),
                    move |row| work(row).last_finish,
                );
                self.add(
                    entry("wasted_task_time_ms", Unit::Ms, "Task Info.Launch Time, Finish Time", "Durations of attempts that failed or were killed.", NEVER),
                    move |row| work(row).wasted_task_ms,
                );
                self.add(
                    entry("wasted_task_time_ratio", Unit::Ratio, "Task Info.Launch Time, Finish Time", "The same over the durations of all attempts.", NO_RATIO),
                    move |row| over(Some(work(row).wasted_task_ms as f64), work(row).sums.get(Metric::Duration)),
                );
                self.add(
                    entry("longest_stage_id", Unit::Id, "Stage ID", "The stage with the largest share of the wall clock.", "no stage ran"),
                    move |row| work(row).longest_stage.map(|key| key.stage_id.0),
                );
                self.add(
                    entry("task_time_share_ratio", Unit::Ratio, "Task Info.Launch Time, Finish Time", "Durations of its tasks over those of all tasks of the run.", NO_RATIO),
                    move |row| over(work(row).sums.get(Metric::Duration).map(|ms| ms as f64), row.of.features.application.sum(Metric::Duration)),
                );
                self.counts(move |row| work(row).tasks);
                self.sums(move |row, metric| work(row).sums.get(metric));
                self.shares(move |row, metric| work(row).sums.get(metric));
            }
        }
    )+};
}

work! {
    Jobs JobRef "the job",
    Sqls SqlRef "the SQL execution",
    Batches BatchRef "the micro-batch",
}

/// One number over another; `None` when either is not known or the second is 0.
pub(super) fn over(part: Option<f64>, whole: Option<u64>) -> Option<f64> {
    Some(part? / whole.filter(|&whole| whole > 0)? as f64)
}
