//! The columns of `executors`.

use emberscope_run::{Bytes, TaskColumn, Unit};

use super::Feature;
use super::list::{Executors, NEVER, NO_RATIO, NOT_SET, entry, some_text, text};
use super::stage_tasks::{peak, unified};
use super::statistics::over;
use crate::features::Metric;

pub(super) fn features() -> Vec<Feature> {
    let mut list = Executors::new();
    identity(&mut list);
    work(&mut list);
    list.counts(|row| row.summary.tasks);
    list.sums(|row, metric| row.summary.sum(metric));
    list.shares(|row, metric| row.summary.sum(metric));
    for &column in TaskColumn::executor_metrics() {
        list.add(peak(column, "Over its life"), move |row| row.executor?.peaks.get(column));
    }
    list.add(
        entry(
            "peak_unified_memory_over_max_ratio",
            Unit::Ratio,
            "OnHeapUnifiedMemory, OffHeapUnifiedMemory / Maximum Memory",
            "Peak of execution and storage memory over what the block manager has for them.",
            NO_RATIO,
        ),
        |row| over(unified(&row.executor?.peaks).map(|bytes| bytes as f64), Some(row.executor?.max_memory?.0)),
    );
    list.add(
        entry(
            "peak_storage_over_unified_ratio",
            Unit::Ratio,
            "OnHeapStorageMemory / OnHeapUnifiedMemory",
            "Peak of storage memory over peak of execution and storage memory, on the heap.",
            NO_RATIO,
        ),
        |row| {
            let peaks = &row.executor?.peaks;
            over(
                peaks.get(TaskColumn::PeakOnHeapStorage).map(|bytes| bytes as f64),
                peaks.get(TaskColumn::PeakOnHeapUnified),
            )
        },
    );
    list.add(
        entry(
            "peak_heap_over_max_ratio",
            Unit::Ratio,
            "JVMHeapMemory / Maximum Onheap Memory",
            "Peak of the heap in use over the part of it that is for execution and storage.",
            NO_RATIO,
        ),
        |row| {
            let executor = row.executor?;
            // A JVM that runs has something on its heap: 0 is one that was not polled.
            let heap = executor.peaks.get(TaskColumn::PeakJvmHeap).filter(|&bytes| bytes > 0)?;
            over(Some(heap as f64), Some(executor.max_on_heap_memory?.0))
        },
    );
    list.done()
}

fn identity(list: &mut Executors) {
    let unknown = "only its tasks are known";
    list.text(entry("executor_id", Unit::Text, "Executor ID", "Its id; `driver` is one.", NEVER), |row| {
        text(row.summary.id.0.as_str())
    });
    list.text(entry("host", Unit::Text, "Executor Info.Host", "Its host.", unknown), |row| {
        some_text(row.executor?.host.as_ref())
    });
    list.add(entry("is_driver", Unit::Flag, "Executor ID", "Whether it is the driver.", NEVER), |row| {
        row.summary.id.is_driver()
    });
    list.add(
        entry(
            "cores_count",
            Unit::Count,
            "Executor Info.Total Cores",
            "Cores for tasks.",
            "not known, as for the driver of a cluster",
        ),
        |row| row.executor?.cores,
    );
    list.add(
        entry("resource_profile_id", Unit::Id, "Executor Info.Resource Profile Id", "Its resource profile.", NOT_SET),
        |row| row.executor?.resource_profile.map(|id| id.0),
    );
    list.add(entry("added_at", Unit::At, "Executor Added.Timestamp", "When it registered.", unknown), |row| {
        row.executor?.added_at
    });
    list.add(
        entry("removed_at", Unit::At, "Executor Removed.Timestamp", "When it went.", "it stayed to the end"),
        |row| row.executor?.removed_at,
    );
    list.text(
        entry(
            "removed_reason",
            Unit::Text,
            "Executor Removed.Removed Reason",
            "The first line of why it went.",
            "it stayed to the end",
        ),
        |row| {
            row.executor?
                .removed_reason
                .as_deref()
                .and_then(|reason| reason.lines().find(|line| !line.trim().is_empty()))
                .and_then(text)
        },
    );
    list.add(
        entry(
            "lifetime_ms",
            Unit::Ms,
            "Executor Added, Executor Removed",
            "How long it was held, to the end of the run when it was not removed.",
            unknown,
        ),
        |row| row.summary.lifetime_ms,
    );
    list.add(
        entry("core_time_held_ms", Unit::Ms, "Executor Added, Executor Removed", "That times its cores.", unknown),
        |row| row.summary.core_ms,
    );
    let max = |name, field: &str, meaning| {
        entry(name, Unit::Bytes, format!("Block Manager Added.{field}"), meaning, "its block manager was not seen")
    };
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0);
    list.add(
        max("max_memory_bytes", "Maximum Memory", "Memory of its block manager for execution and storage."),
        move |row| bytes(row.executor?.max_memory),
    );
    list.add(max("max_on_heap_memory_bytes", "Maximum Onheap Memory", "The part of it on the heap."), move |row| {
        bytes(row.executor?.max_on_heap_memory)
    });
    list.add(max("max_off_heap_memory_bytes", "Maximum Offheap Memory", "The part of it off the heap."), move |row| {
        bytes(row.executor?.max_off_heap_memory)
    });
    list.add(
        entry(
            "exclusions_count",
            Unit::Count,
            "ExecutorExcluded, ExecutorBlacklisted",
            "Times that it (or its host) was excluded from running tasks.",
            unknown,
        ),
        |row| Some(row.executor?.exclusions.len() as u64),
    );
    list.add(
        entry(
            "custom_resources_count",
            Unit::Count,
            "Executor Info.Resources",
            "Addresses of its custom resources (GPUs).",
            unknown,
        ),
        |row| Some(row.executor?.resources.values().fold(0_u64, |sum, &count| sum.saturating_add(count))),
    );
}

fn work(list: &mut Executors) {
    let no_task = "no task ended on it";
    list.add(
        entry("first_task_launched_at", Unit::At, "Task Info.Launch Time", "Launch of its first task.", no_task),
        |row| row.summary.first_launch,
    );
    list.add(
        entry("last_task_finished_at", Unit::At, "Task Info.Finish Time", "End of its last task.", no_task),
        |row| row.summary.last_finish,
    );
    list.add(
        entry(
            "first_task_wait_ms",
            Unit::Ms,
            "Task Info.Launch Time - Executor Added.Timestamp",
            "From its start to its first task.",
            "either is not known",
        ),
        |row| Some(row.summary.first_launch?.since(row.executor?.added_at?).0),
    );
    list.add(
        entry(
            "after_last_task_ms",
            Unit::Ms,
            "Executor Removed.Timestamp - Task Info.Finish Time",
            "From its last task to its end, or that of the run.",
            "either is not known",
        ),
        |row| Some(row.executor?.removed_at.or(row.of.run.application.end())?.since(row.summary.last_finish?).0),
    );
    list.add(
        entry("stage_attempts_count", Unit::Count, "Task Info.Executor ID", "Stage attempts that it worked on.", NEVER),
        |row| row.summary.stages,
    );
    list.add(
        entry(
            "utilisation_ratio",
            Unit::Ratio,
            "computed",
            "Durations of its tasks over its core time held.",
            NO_RATIO,
        ),
        |row| row.summary.utilisation(),
    );
    list.add(entry("relative_duration_ratio", Unit::Ratio, "computed", "Durations of its tasks over the median of the same stage on the other executors, the median over its successful tasks; 1 is typical.", "fewer than 4 tasks in stages that ran on others too"), |row| row.summary.relative_duration);
    list.add(
        entry(
            "relative_bytes_ratio",
            Unit::Ratio,
            "computed",
            "The same for bytes taken in.",
            "fewer than 4 such tasks that took in anything",
        ),
        |row| row.summary.relative_bytes,
    );
    list.add(
        entry("compared_stages_count", Unit::Count, "computed", "Stage attempts that these rest on.", NEVER),
        |row| row.summary.compared_stages,
    );
    list.add(
        entry(
            "excess_task_time_ms",
            Unit::Ms,
            "computed",
            "Durations beyond the other executors' medians, summed; negative when it was faster.",
            NEVER,
        ),
        |row| row.summary.excess_ms,
    );
    list.add(
        entry("tasks_share_of_run_ratio", Unit::Ratio, "computed", "Its attempts over those of the run.", NO_RATIO),
        |row| over(Some(row.summary.tasks.ended as f64), Some(row.of.features.application.tasks.ended)),
    );
    for metric in
        [Metric::Duration, Metric::BytesIn, Metric::ShuffleWriteBytes, Metric::DiskBytesSpilled, Metric::JvmGcTime]
    {
        let meaning = format!("The executor's part of the run's sum: {}", metric.meaning());
        list.add(
            entry(
                format!("{}_share_of_run_ratio", metric.stem()),
                Unit::Ratio,
                metric.spark_field(),
                meaning,
                NO_RATIO,
            ),
            move |row| over(row.summary.sum(metric).map(|sum| sum as f64), row.of.features.application.sum(metric)),
        );
    }
    list.add(
        entry(
            "task_time_mean_ms",
            Unit::Ms,
            "Task Info.Finish Time - Launch Time",
            "Mean duration of its attempts.",
            no_task,
        ),
        |row| over(Some(row.summary.task_ms as f64), Some(row.summary.tasks.ended)),
    );
}
