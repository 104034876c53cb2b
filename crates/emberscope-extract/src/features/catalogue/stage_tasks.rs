//! The columns of `stage_attempts` about how its tasks differ from each other, and about memory.

use emberscope_run::{ExecutorMetrics, TaskColumn, Unit};

use super::list::{Entry, NO_RATIO, NOT_POLLED, Stages, entry, text};
use super::row::StageRef;
use super::statistics::{QUANTILES, over};
use crate::features::{Metric, NotableTask};

/// A task that stands out: prefix of its columns, what it is, the task.
type Notable = (&'static str, &'static str, fn(&StageRef<'_>) -> Option<NotableTask>);

/// The metrics whose unevenness has features of its own.
const UNEVEN: &[Metric] = &[
    Metric::Duration,
    Metric::ExecutorRunTime,
    Metric::BytesIn,
    Metric::RecordsIn,
    Metric::InputBytes,
    Metric::ShuffleReadBytes,
    Metric::ShuffleReadRecords,
    Metric::ShuffleWriteBytes,
    Metric::OutputBytes,
    Metric::PeakExecutionMemory,
    Metric::JvmGcTime,
    Metric::DiskBytesSpilled,
];

/// How unevenly tasks took time and data, and how much of it is the first tasks' warming up.
pub(super) fn unevenness(list: &mut Stages) {
    for &metric in UNEVEN {
        let ratio = |word: &str, what: &str| -> Entry {
            entry(
                format!("{}_{word}_ratio", metric.stem()),
                Unit::Ratio,
                metric.spark_field(),
                format!("{what} over successful tasks: {}", metric.meaning()),
                NO_RATIO,
            )
        };
        list.add(ratio("max_over_p50", "The largest over the median"), move |row| {
            row.summary.quantiles(metric)?.max_over_p50()
        });
        list.add(ratio("p95_over_p50", "The 95 % quantile over the median"), move |row| {
            let q = row.summary.quantiles(metric)?;
            over(Some(q.p95 as f64), Some(q.p50))
        });
        list.add(ratio("max_over_mean", "The largest over the mean"), move |row| {
            let q = row.summary.quantiles(metric)?;
            Some(q.max as f64 / q.mean())
        });
        list.add(ratio("iqr_over_p50", "The distance of the quartiles over the median"), move |row| {
            let q = row.summary.quantiles(metric)?;
            over(Some(q.p75.saturating_sub(q.p25) as f64), Some(q.p50))
        });
        list.add(ratio("max_over_sum", "The largest over the sum"), move |row| {
            let q = row.summary.quantiles(metric)?;
            over(Some(q.max as f64), Some(q.sum))
        });
    }
    for &(word, _, value) in QUANTILES {
        list.add(
            entry(format!("warm_task_duration_{word}_ms"), Unit::Ms, Metric::Duration.spark_field(), format!("The {word} of the durations of successful tasks without the first ones of each executor, as many as its cores."), "fewer than 4 such tasks"),
            move |row| row.summary.warm_duration.as_ref().map(value),
        );
    }
    list.add(
        entry(
            "warm_task_duration_max_over_p50_ratio",
            Unit::Ratio,
            Metric::Duration.spark_field(),
            "The largest over the median of those.",
            NO_RATIO,
        ),
        |row| row.summary.warm_duration.as_ref()?.max_over_p50(),
    );
    list.add(
        entry(
            "cold_over_warm_duration_ratio",
            Unit::Ratio,
            Metric::Duration.spark_field(),
            "The median duration of all successful tasks over that of the warm ones.",
            NO_RATIO,
        ),
        |row| {
            over(
                row.summary.quantiles(Metric::Duration).map(|q| q.p50 as f64),
                row.summary.warm_duration.map(|q| q.p50),
            )
        },
    );
}

/// The tasks that stand out.
pub(super) fn notable_tasks(list: &mut Stages) {
    let tasks: [Notable; 2] = [
        ("longest_task", "the successful task with the longest duration", |row| row.summary.longest.clone()),
        ("largest_task", "the successful task with the most bytes taken in", |row| row.summary.largest.clone()),
    ];
    for (prefix, what, task) in tasks {
        let name = |suffix: &str| format!("{prefix}_{suffix}");
        let null = "no successful task";
        list.add(entry(name("id"), Unit::Id, "Task Info.Task ID", format!("The id of {what}."), null), move |row| {
            task(row).map(|task| task.task_id)
        });
        list.add(
            entry(name("partition"), Unit::Id, "Task Info.Index", format!("The partition of {what}."), null),
            move |row| task(row).map(|task| task.partition),
        );
        list.text(
            entry(name("executor_id"), Unit::Text, "Task Info.Executor ID", format!("The executor of {what}."), null),
            move |row| {
                let index = usize::try_from(task(row)?.executor?).ok()?;
                row.of.run.executor_names.get(index).and_then(|id| text(id.0.as_str()))
            },
        );
        for metric in [Metric::Duration, Metric::BytesIn, Metric::RecordsIn] {
            let value = move |task: NotableTask| match metric {
                Metric::Duration => Some(task.duration_ms),
                Metric::BytesIn => task.bytes_in,
                _ => task.records_in,
            };
            list.add(
                entry(
                    name(&format!("{}_over_p50_ratio", metric.stem())),
                    Unit::Ratio,
                    metric.spark_field(),
                    format!("Of {what}, over the median: {}", metric.meaning()),
                    NO_RATIO,
                ),
                move |row| {
                    over(
                        task(row).and_then(value).map(|value| value as f64),
                        row.summary.quantiles(metric).map(|q| q.p50),
                    )
                },
            );
        }
    }
}

/// Peaks of the executors' memory while the stage ran.
pub(super) fn peaks(list: &mut Stages) {
    for &column in TaskColumn::executor_metrics() {
        list.add(peak(column, "The largest over the executors while the stage ran"), move |row| {
            row.summary.peaks.get(column)
        });
    }
    list.add(
        entry("peak_unified_memory_over_max_ratio", Unit::Ratio, "OnHeapUnifiedMemory, OffHeapUnifiedMemory / Maximum Memory", "Peak of execution and storage memory over what the block managers have for them, at the executor that is nearest to it.", NO_RATIO),
        |row| {
            let ratios = row.stage.executor_peaks.iter().filter_map(|(id, peaks)| {
                let max = row.of.run.executors.get(id)?.max_memory?.0;
                unified(peaks).and_then(|bytes| over(Some(bytes as f64), Some(max)))
            });
            ratios.max_by(f64::total_cmp)
        },
    );
    list.add(
        entry(
            "peak_execution_memory_per_slot_ratio",
            Unit::Ratio,
            "Peak Execution Memory / Maximum Memory",
            "The largest peak of execution memory of a task over a slot's part of the largest executor's memory.",
            NO_RATIO,
        ),
        |row| {
            let largest = row
                .of
                .run
                .worker_executors()
                .filter_map(|e| Some(e.max_memory?.0 / e.cores.filter(|&cores| cores > 0)?))
                .max();
            over(row.summary.quantiles(Metric::PeakExecutionMemory).map(|q| q.max as f64), largest)
        },
    );
}

/// The entry of a peak of an executor metric.
pub(super) fn peak(column: TaskColumn, what: &str) -> Entry {
    let suffix = match column.unit() {
        Unit::Ms => "_ms",
        Unit::Bytes => "_bytes",
        _ => "_count",
    };
    entry(
        format!("{}_max{suffix}", column.stem()),
        column.unit(),
        column.spark_field(),
        format!("{what}: {}", column.meaning()),
        NOT_POLLED,
    )
}

/// Execution and storage memory at their peaks, on and off the heap; `None` when neither was polled.
pub(super) fn unified(peaks: &ExecutorMetrics) -> Option<u64> {
    let parts = [TaskColumn::PeakOnHeapUnified, TaskColumn::PeakOffHeapUnified].map(|column| peaks.get(column));
    parts.into_iter().flatten().fold(None, |sum: Option<u64>, part| Some(sum.unwrap_or(0).saturating_add(part)))
}
