//! The columns of `application`.

use std::borrow::Cow;

use emberscope_run::{Executor, Unit};

use super::Feature;
use super::list::{NEVER, NO_RATIO, NOT_SET, Runs, entry, some_text};
use super::row::RunRef;
use super::stage_tasks::{peak, unified};
use super::statistics::over;
use crate::features::Metric;

pub(super) fn features() -> Vec<Feature> {
    let mut list = Runs::new();
    identity(&mut list);
    time(&mut list);
    executors(&mut list);
    parts(&mut list);
    list.counts(|row| row.features.application.tasks);
    list.sums(|row, metric| row.features.application.sum(metric));
    list.shares(|row, metric| row.features.application.sum(metric));
    for &column in emberscope_run::TaskColumn::executor_metrics() {
        list.add(peak(column, "The largest over the executors"), move |row| {
            row.run.worker_executors().filter_map(|e| e.peaks.get(column)).max()
        });
    }
    list.add(
        entry("peak_unified_memory_over_max_ratio", Unit::Ratio, "OnHeapUnifiedMemory, OffHeapUnifiedMemory / Maximum Memory", "Peak of execution and storage memory over what the block managers have for them, at the executor that is nearest to it.", NO_RATIO),
        |row| largest(row, |executor| over(unified(&executor.peaks).map(|bytes| bytes as f64), Some(executor.max_memory?.0))),
    );
    list.done()
}

fn largest(row: &RunRef<'_>, value: impl Fn(&Executor) -> Option<f64>) -> Option<f64> {
    row.run.worker_executors().filter_map(value).max_by(f64::total_cmp)
}

fn identity(list: &mut Runs) {
    list.text(entry("application_name", Unit::Text, "Application Start.App Name", "Its name.", NOT_SET), |row| {
        some_text(row.run.application.name.as_ref())
    });
    list.text(entry("user", Unit::Text, "Application Start.User", "Who started it.", NOT_SET), |row| {
        some_text(row.run.application.user.as_ref())
    });
    list.text(
        entry(
            "spark_version",
            Unit::Text,
            "Log Start.Spark Version",
            "Spark's version.",
            "the log does not say, as before Spark 1.3",
        ),
        |row| some_text(row.run.application.spark_version.as_ref()),
    );
    list.text(
        entry(
            "master",
            Unit::Text,
            "Environment Update.Spark Properties.spark.master",
            "The cluster manager.",
            NOT_SET,
        ),
        |row| row.run.environment.spark.get("spark.master").map(Cow::Borrowed),
    );
    list.text(
        entry(
            "java_version",
            Unit::Text,
            "Environment Update.JVM Information.Java Version",
            "Java's version.",
            NOT_SET,
        ),
        |row| some_text(row.run.environment.jvm.get("Java Version")),
    );
    list.add(
        entry(
            "databricks",
            Unit::Flag,
            "DBCEventLoggingListenerMetadata",
            "Whether the log comes from Databricks.",
            NEVER,
        ),
        |row| row.run.application.databricks,
    );
    list.add(
        entry("complete", Unit::Flag, "Application End", "Whether the end of the application is in the log.", NEVER),
        |row| row.run.application.complete(),
    );
    list.add(
        entry(
            "exit_code",
            Unit::Id,
            "Application End.ExitCode",
            "Exit code of the driver.",
            "before Spark 4.1, or not in the log",
        ),
        |row| row.run.application.exit_code,
    );
    list.add(
        entry("events_read_count", Unit::Count, "none: of reading", "Events read and understood.", NEVER),
        |row| sum(row, |source| source.events_read),
    );
    list.add(
        entry("events_unknown_count", Unit::Count, "none: of reading", "Events of a kind that is not known.", NEVER),
        |row| sum(row, |source| source.events_unknown),
    );
    list.add(
        entry("events_lost_count", Unit::Count, "none: of reading", "Lines that held no readable event.", NEVER),
        |row| sum(row, |source| source.events_lost),
    );
    list.add(
        entry("log_bytes", Unit::Bytes, "none: of reading", "Bytes of the log after decompression.", NEVER),
        |row| sum(row, |source| source.bytes_decompressed),
    );
    list.add(
        entry("import_issues_count", Unit::Count, "none: of reading", "What went wrong in reading, counted.", NEVER),
        |row| row.run.issues.iter().fold(0_u64, |sum, issue| sum.saturating_add(issue.count)),
    );
    list.add(
        entry(
            "properties_count",
            Unit::Count,
            "Environment Update.Spark Properties",
            "Spark properties that were set.",
            "the log has no environment",
        ),
        |row| row.run.environment.known.then(|| row.run.environment.spark.iter().count() as u64),
    );
}

fn sum(row: &RunRef<'_>, value: impl Fn(&emberscope_run::Source) -> u64) -> u64 {
    row.run.sources.iter().map(value).fold(0, u64::saturating_add)
}

fn time(list: &mut Runs) {
    list.add(
        entry(
            "started_at",
            Unit::At,
            "Application Start.Timestamp",
            "Start of the application, or the first time in the log.",
            "the log has no time",
        ),
        |row| row.run.application.start(),
    );
    list.add(
        entry(
            "ended_at",
            Unit::At,
            "Application End.Timestamp",
            "End of the application, or the last time in the log.",
            "the log has no time",
        ),
        |row| row.run.application.end(),
    );
    list.add(
        entry(
            "wall_clock_ms",
            Unit::Ms,
            "Application End - Application Start",
            "From start to end, as far as it was seen.",
            "the log has no time",
        ),
        |row| row.features.application.wall_clock_ms,
    );
    list.add(
        entry("busy_ms", Unit::Ms, "Task Info.Launch Time, Finish Time", "Time in which at least one task ran.", NEVER),
        |row| row.features.timeline.busy_ms,
    );
    list.add(entry("busy_ratio", Unit::Ratio, "computed", "The same over the wall-clock time.", NO_RATIO), |row| {
        over(Some(row.features.timeline.busy_ms as f64), row.features.application.wall_clock_ms)
    });
    list.add(
        entry(
            "before_first_task_ms",
            Unit::Ms,
            "Task Info.Launch Time",
            "From the start to the launch of the first task.",
            "no task ran",
        ),
        |row| Some(row.features.timeline.first_launch?.since(row.run.application.start()?).0),
    );
    list.add(
        entry(
            "after_last_task_ms",
            Unit::Ms,
            "Task Info.Finish Time",
            "From the end of the last task to the end.",
            "no task ended",
        ),
        |row| Some(row.run.application.end()?.since(row.features.timeline.last_finish?).0),
    );
    list.add(
        entry(
            "driver_gaps_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "Time between the first and the last task in which no task ran.",
            NEVER,
        ),
        gaps_ms,
    );
    list.add(
        entry(
            "driver_gaps_count",
            Unit::Count,
            "Task Info.Launch Time, Finish Time",
            "How many such times there were.",
            NEVER,
        ),
        |row| row.features.timeline.inner_gaps().count() as u64,
    );
    list.add(
        entry(
            "driver_gap_max_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "The longest of them.",
            "there was none",
        ),
        |row| row.features.timeline.inner_gaps().map(crate::features::Gap::ms).max(),
    );
    list.add(
        entry("driver_gaps_ratio", Unit::Ratio, "computed", "All of them over the wall-clock time.", NO_RATIO),
        |row| over(Some(gaps_ms(row) as f64), row.features.application.wall_clock_ms),
    );
    list.add(
        entry(
            "no_task_ratio",
            Unit::Ratio,
            "computed",
            "Time without any task, also before the first and after the last, over the wall-clock time.",
            NO_RATIO,
        ),
        |row| {
            let gaps = row.features.timeline.gaps.iter().fold(0_u64, |sum, gap| sum.saturating_add(gap.ms()));
            over(Some(gaps as f64), row.features.application.wall_clock_ms)
        },
    );
    list.add(
        entry(
            "tasks_at_once_max_count",
            Unit::Count,
            "Task Info.Launch Time, Finish Time",
            "The most tasks that ran at once.",
            NEVER,
        ),
        |row| row.features.timeline.peak_tasks,
    );
    list.add(
        entry(
            "tasks_at_once_mean_ratio",
            Unit::Ratio,
            "computed",
            "Tasks that ran at once, over the time in which any ran.",
            NO_RATIO,
        ),
        |row| over(Some(row.features.timeline.task_ms as f64), Some(row.features.timeline.busy_ms)),
    );
    list.add(
        entry(
            "longest_stage_share_ratio",
            Unit::Ratio,
            "computed",
            "The largest share of the wall clock of one stage attempt.",
            NO_RATIO,
        ),
        |row| {
            let most = row.features.stages.values().map(|stage| stage.wall_clock_ms).max_by(f64::total_cmp);
            over(most, row.features.application.wall_clock_ms)
        },
    );
    list.add(entry("longest_stage_id", Unit::Id, "Stage ID", "The stage of it.", "no stage ran"), |row| {
        let ran = row.features.stages.values().filter(|stage| stage.wall_clock_ms > 0.0);
        ran.max_by(|a, b| a.wall_clock_ms.total_cmp(&b.wall_clock_ms).then(b.key.cmp(&a.key)))
            .map(|stage| stage.key.stage_id.0)
    });
}

fn gaps_ms(row: &RunRef<'_>) -> u64 {
    row.features.timeline.inner_gaps().fold(0, |sum, gap| sum.saturating_add(gap.ms()))
}

fn executors(list: &mut Runs) {
    list.add(
        entry(
            "executors_count",
            Unit::Count,
            "Executor Added",
            "Executors that were added (the driver of a cluster is none).",
            NEVER,
        ),
        |row| row.features.application.executors,
    );
    list.add(
        entry("executors_removed_count", Unit::Count, "Executor Removed", "Executors that went before the end.", NEVER),
        |row| row.run.worker_executors().filter(|e| e.removed_at.is_some()).count() as u64,
    );
    list.add(
        entry(
            "executors_excluded_count",
            Unit::Count,
            "ExecutorExcluded, ExecutorBlacklisted",
            "Executors that were excluded at some time.",
            NEVER,
        ),
        |row| row.run.worker_executors().filter(|e| !e.exclusions.is_empty()).count() as u64,
    );
    list.add(
        entry(
            "executors_without_task_count",
            Unit::Count,
            "Task Info.Executor ID",
            "Executors that ran no task.",
            NEVER,
        ),
        |row| {
            let idle = |executor: &&Executor| {
                row.features.executors.get(&executor.id).is_none_or(|summary| summary.stages == 0)
            };
            row.run.worker_executors().filter(idle).count() as u64
        },
    );
    list.add(
        entry("hosts_count", Unit::Count, "Task Info.Host, Executor Info.Host", "Hosts of its executors.", NEVER),
        |row| {
            row.run
                .worker_executors()
                .filter_map(|e| e.host.as_deref())
                .collect::<std::collections::BTreeSet<_>>()
                .len() as u64
        },
    );
    list.add(
        entry(
            "executor_cores_max_count",
            Unit::Count,
            "Executor Info.Total Cores",
            "Cores of the largest executor.",
            "no executor says",
        ),
        |row| row.run.worker_executors().filter_map(|e| e.cores).max(),
    );
    list.add(
        entry(
            "executor_memory_max_bytes",
            Unit::Bytes,
            "Block Manager Added.Maximum Memory",
            "Memory for execution and storage of the largest executor.",
            "no executor says",
        ),
        |row| row.run.worker_executors().filter_map(|e| e.max_memory.map(|bytes| bytes.0)).max(),
    );
    list.add(
        entry(
            "slots_max_count",
            Unit::Count,
            "Executor Info.Total Cores / spark.task.cpus",
            "The most task slots from the first launch to the last end of a task.",
            "no executor says its cores",
        ),
        |row| row.features.application.slots_max,
    );
    list.add(
        entry(
            "core_time_held_ms",
            Unit::Ms,
            "Executor Added, Executor Removed",
            "Core time held by executors.",
            "no executor says its cores or its start",
        ),
        |row| row.features.application.core_ms_held,
    );
    list.add(
        entry(
            "core_time_used_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "Core time used by tasks: the tasks that ran at a time, but no more than there were slots, times spark.task.cpus.",
            NEVER,
        ),
        |row| row.features.application.core_ms_used,
    );
    list.add(
        entry("utilisation_ratio", Unit::Ratio, "computed", "Core time used over core time held.", NO_RATIO),
        |row| row.features.application.utilisation(),
    );
    list.add(
        entry(
            "relative_duration_max_ratio",
            Unit::Ratio,
            "computed",
            "The slowest executor: durations of its tasks over the others' medians.",
            "no executor can be compared",
        ),
        |row| row.features.executors.values().filter_map(|executor| executor.relative_duration).max_by(f64::total_cmp),
    );
    list.add(
        entry(
            "executor_gc_max_ratio",
            Unit::Ratio,
            "JVM GC Time / Executor Run Time",
            "Garbage collection over run time of the executor with the most.",
            NO_RATIO,
        ),
        |row| {
            row.features
                .executors
                .values()
                .filter_map(crate::features::ExecutorSummary::gc_ratio)
                .max_by(f64::total_cmp)
        },
    );
}

fn parts(list: &mut Runs) {
    let count = |name, field, meaning| entry(name, Unit::Count, field, meaning, NEVER);
    list.add(count("jobs_count", "Job Start", "Jobs."), |row| row.features.application.jobs);
    list.add(count("jobs_failed_count", "Job End.Job Result", "Jobs that failed."), |row| {
        row.features.application.failed_jobs
    });
    list.add(count("stage_attempts_count", "Stage Submitted", "Stage attempts that ran."), |row| {
        row.features.application.stage_attempts
    });
    list.add(
        count("stage_attempts_failed_count", "Stage Completed.Failure Reason", "Stage attempts that failed."),
        |row| row.features.application.failed_stage_attempts,
    );
    list.add(
        count("stages_skipped_count", "Job Start.Stage IDs", "Stages that were skipped or never submitted."),
        |row| row.features.application.skipped_stages,
    );
    list.add(count("stages_retried_count", "Stage Attempt ID", "Stage attempts after the first."), |row| {
        row.run.stages.keys().filter(|key| key.attempt > 0).count() as u64
    });
    list.add(count("sql_executions_count", "SparkListenerSQLExecutionStart", "SQL executions."), |row| {
        row.features.sql_executions.len() as u64
    });
    list.add(count("sql_executions_failed_count", "errorMessage, Job Result", "SQL executions that failed."), |row| {
        row.features.sql_executions.values().filter(|sql| sql.failed == Some(true)).count() as u64
    });
    list.add(count("streaming_queries_count", "QueryStartedEvent", "Starts of streaming queries."), |row| {
        row.run.streaming_queries.len() as u64
    });
    list.add(count("streaming_batches_count", "QueryProgressEvent", "Micro-batches."), |row| {
        row.features.streaming_batches.len() as u64
    });
    list.add(count("cached_rdds_count", "RDD Info.Storage Level", "RDDs that were to be cached."), |row| {
        row.run.rdds.len() as u64
    });
    list.add(count("failures_count", "Task End Reason", "Distinct causes of failed and killed tasks."), |row| {
        row.run.failures.len() as u64
    });
    list.add(
        entry(
            "wasted_task_time_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "Durations of attempts that failed or were killed.",
            NEVER,
        ),
        wasted,
    );
    list.add(
        entry(
            "wasted_task_time_ratio",
            Unit::Ratio,
            "computed",
            "The same over the durations of all attempts.",
            NO_RATIO,
        ),
        |row| over(Some(wasted(row) as f64), row.features.application.sum(Metric::Duration)),
    );
    list.add(
        entry(
            "speculative_waste_ms",
            Unit::Ms,
            "Task Info.Speculative",
            "Durations of killed attempts at partitions that had a speculative copy.",
            NEVER,
        ),
        |row| row.features.stages.values().fold(0_u64, |sum, stage| sum.saturating_add(stage.speculative_waste_ms)),
    );
    list.add(entry("task_duration_skew_max_ratio", Unit::Ratio, "Task Info.Finish Time - Launch Time", "The largest ratio of longest to median task duration of the stage attempts that have 4 tasks or more and 1 % of the wall clock.", NO_RATIO), |row| {
        let wall = row.features.application.wall_clock_ms? as f64;
        let stages = row.features.stages.values().filter(|stage| stage.wall_clock_ms >= wall * 0.01 && stage.tasks.succeeded >= 4);
        stages.filter_map(|stage| stage.quantiles(Metric::Duration)?.max_over_p50()).max_by(f64::total_cmp)
    });
}

fn wasted(row: &RunRef<'_>) -> u64 {
    row.features.stages.values().fold(0, |sum, stage| sum.saturating_add(stage.wasted_task_ms))
}
