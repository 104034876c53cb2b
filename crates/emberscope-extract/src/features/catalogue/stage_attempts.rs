//! The columns of `stage_attempts`.

use emberscope_run::{Locality, StageStatus, Unit};

use super::Feature;
use super::list::{NEVER, NO_RATIO, NO_SUCCESS, NOT_SET, Stages, entry, some_text, text};
use super::row::StageRef;
use super::stage_tasks::{notable_tasks, peaks, unevenness};
use super::statistics::{QUANTILES, SPREAD, over, statistic};
use crate::features::{Metric, Quantiles};

/// What a run has in all, so that a stage's part of it is a feature.
const PARTS: &[Metric] = &[
    Metric::Duration,
    Metric::ExecutorRunTime,
    Metric::ExecutorCpuTime,
    Metric::JvmGcTime,
    Metric::BytesIn,
    Metric::InputBytes,
    Metric::OutputBytes,
    Metric::ShuffleReadBytes,
    Metric::ShuffleWriteBytes,
    Metric::DiskBytesSpilled,
    Metric::ShuffleFetchWaitTime,
];

pub(super) fn features() -> Vec<Feature> {
    let mut list = Stages::new();
    identity(&mut list);
    time(&mut list);
    list.counts(|row| row.summary.tasks);
    places(&mut list);
    list.sums(|row, metric| row.summary.sum(metric));
    for &metric in SPREAD {
        list.add(
            entry(
                metric.statistic("mean"),
                metric.unit(),
                metric.spark_field(),
                format!("The mean over successful tasks: {}", metric.meaning()),
                NO_SUCCESS,
            ),
            move |row| row.summary.quantiles(metric).map(Quantiles::mean),
        );
        for &(word, what, value) in QUANTILES {
            list.add(statistic(metric, word, what, NO_SUCCESS), move |row| row.summary.quantiles(metric).map(value));
        }
    }
    unevenness(&mut list);
    list.shares(|row, metric| row.summary.sum(metric));
    for &metric in PARTS {
        let name = format!("{}_share_of_run_ratio", metric.stem());
        let meaning = format!("The stage attempt's part of the run's sum: {}", metric.meaning());
        list.add(entry(name, Unit::Ratio, metric.spark_field(), meaning, NO_RATIO), move |row| {
            over(row.summary.sum(metric).map(|sum| sum as f64), row.of.features.application.sum(metric))
        });
    }
    notable_tasks(&mut list);
    peaks(&mut list);
    list.done()
}

fn identity(list: &mut Stages) {
    let info = |name, unit, field: &str, meaning, null| entry(name, unit, format!("Stage Info.{field}"), meaning, null);
    list.add(info("stage_id", Unit::Id, "Stage ID", "The stage.", NEVER), |row| row.stage.key.stage_id.0);
    list.add(info("stage_attempt", Unit::Id, "Stage Attempt ID", "The attempt of the stage, from 0.", NEVER), |row| {
        u64::from(row.stage.key.attempt)
    });
    list.text(info("stage_name", Unit::Text, "Stage Name", "The call site in short.", NOT_SET), |row| {
        some_text(Some(&row.stage.name))
    });
    list.text(
        entry(
            "stage_status",
            Unit::Text,
            "StageSubmitted, StageCompleted",
            "What became of it: complete, failed, running, skipped or pending.",
            NEVER,
        ),
        |row| text(row.summary.status.name()),
    );
    list.text(
        entry(
            "failure_reason",
            Unit::Text,
            "Stage Info.Failure Reason",
            "The first line of why it failed.",
            "it did not fail",
        ),
        |row| {
            row.stage
                .failure_reason
                .as_deref()
                .and_then(|reason| reason.lines().find(|line| !line.trim().is_empty()))
                .and_then(text)
        },
    );
    list.text(entry("task_type", Unit::Text, "Task Type", "ShuffleMapTask or ResultTask.", "no task ended"), |row| {
        some_text(row.stage.task_type.as_ref())
    });
    list.add(
        entry("job_id", Unit::Id, "Job Start.Stage IDs", "The first job that names it.", "no job names it"),
        |row| row.stage.job_ids.first().map(|id| id.0),
    );
    list.add(entry("jobs_count", Unit::Count, "Job Start.Stage IDs", "Jobs that name it.", NEVER), |row| {
        row.stage.job_ids.len() as u64
    });
    list.add(
        entry(
            "sql_execution_id",
            Unit::Id,
            "Job Start.Properties.spark.sql.execution.id",
            "The SQL execution of its jobs.",
            "its jobs are of none",
        ),
        |row| row.stage.sql_execution_id.map(|id| id.0),
    );
    list.text(
        entry(
            "scheduler_pool",
            Unit::Text,
            "Stage Submitted.Properties.spark.scheduler.pool",
            "The scheduler pool.",
            NOT_SET,
        ),
        |row| some_text(row.stage.pool.as_ref()),
    );
    list.add(info("resource_profile_id", Unit::Id, "Resource Profile Id", "Its resource profile.", NOT_SET), |row| {
        row.stage.resource_profile.map(|id| id.0)
    });
    list.add(info("parents_count", Unit::Count, "Parent IDs", "Stages whose output it reads.", NEVER), |row| {
        row.stage.parent_ids.len() as u64
    });
    list.add(info("rdds_count", Unit::Count, "RDD Info", "RDDs it is made of.", NEVER), |row| {
        row.stage.rdds.len() as u64
    });
    list.add(
        info("cached_rdds_count", Unit::Count, "RDD Info.Storage Level", "RDDs of it that are to be cached.", NEVER),
        |row| row.stage.rdds.iter().filter(|rdd| rdd.cached).count() as u64,
    );
    list.add(
        entry(
            "accumulators_count",
            Unit::Count,
            "Stage Info.Accumulables",
            "SQL metrics and accumulators it updated.",
            NEVER,
        ),
        |row| row.stage.accumulators.len() as u64,
    );
    list.add(
        entry(
            "shuffle_push_enabled",
            Unit::Flag,
            "Stage Info.Shuffle Push Enabled",
            "Whether push-based shuffle was on for it.",
            NOT_SET,
        ),
        |row| row.stage.shuffle_push_enabled,
    );
    list.add(
        entry(
            "speculative_submitted_count",
            Unit::Count,
            "SpeculativeTaskSubmitted",
            "Speculative copies that the scheduler asked for.",
            NEVER,
        ),
        |row| row.stage.speculative_submitted,
    );
    list.add(
        entry(
            "unschedulable",
            Unit::Flag,
            "UnschedulableTaskSetAdded",
            "Whether a task set of it could not be scheduled for exclusions.",
            NEVER,
        ),
        |row| row.stage.unschedulable,
    );
}

fn time(list: &mut Stages) {
    let never_submitted = "it was never submitted in this log";
    list.add(
        entry("submitted_at", Unit::At, "Stage Info.Submission Time", "When it was submitted.", never_submitted),
        |row| row.stage.submitted_at,
    );
    list.add(
        entry(
            "completed_at",
            Unit::At,
            "Stage Info.Completion Time",
            "When it completed or failed.",
            "its end is not in the log",
        ),
        |row| row.stage.completed_at,
    );
    list.add(
        entry(
            "first_task_launched_at",
            Unit::At,
            "Task Info.Launch Time",
            "Launch of its first task.",
            "no task ended",
        ),
        |row| row.summary.first_launch,
    );
    list.add(
        entry("last_task_finished_at", Unit::At, "Task Info.Finish Time", "End of its last task.", "no task ended"),
        |row| row.summary.last_finish,
    );
    list.add(
        entry(
            "stage_duration_ms",
            Unit::Ms,
            "Stage Info.Completion Time - Submission Time",
            "From submission to completion; to the end of the last task when it has no completion.",
            "neither is known",
        ),
        |row| row.summary.duration_ms,
    );
    list.add(
        entry(
            "wall_clock_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "Time in which tasks of it ran, shared equally with the other stages that ran then.",
            NEVER,
        ),
        |row| row.summary.wall_clock_ms,
    );
    list.add(
        entry(
            "wall_clock_share_ratio",
            Unit::Ratio,
            "Task Info.Launch Time, Finish Time",
            "The same over the wall-clock time of the run.",
            NO_RATIO,
        ),
        |row| over(Some(row.summary.wall_clock_ms), row.of.features.application.wall_clock_ms),
    );
    list.add(
        entry(
            "first_task_wait_ms",
            Unit::Ms,
            "Task Info.Launch Time - Submission Time",
            "From submission to the launch of the first task.",
            "either is not known",
        ),
        |row| Some(row.summary.first_launch?.since(row.stage.submitted_at?).0),
    );
    list.add(
        entry(
            "after_last_task_ms",
            Unit::Ms,
            "Completion Time - Task Info.Finish Time",
            "From the end of the last task to completion.",
            "either is not known",
        ),
        |row| Some(row.stage.completed_at?.since(row.summary.last_finish?).0),
    );
    list.add(
        entry(
            "tasks_span_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "From the first launch to the last end.",
            "no task ended",
        ),
        span,
    );
    list.add(
        entry(
            "slots_count",
            Unit::Count,
            "Executor Added.Total Cores / spark.task.cpus",
            "Task slots of the executors while it ran: the mean from its first launch to its last end, rounded.",
            "no executor says its cores",
        ),
        |row| row.summary.slots,
    );
    list.add(
        entry(
            "balanced_ms",
            Unit::Ms,
            "computed",
            "Its wall-clock time if its tasks were spread evenly over the slots.",
            "the slots are not known",
        ),
        |row| row.summary.balanced_ms(),
    );
    list.add(entry("imbalance_ratio", Unit::Ratio, "computed", "From first launch to last end over that time: 1 is perfect, more is time in which slots were empty or other stages had them.", NO_RATIO), |row| Some(span(row)? as f64 / row.summary.balanced_ms()?));
    list.add(
        entry(
            "slot_utilisation_ratio",
            Unit::Ratio,
            "computed",
            "Durations of its tasks over its slots' time from first launch to last end.",
            NO_RATIO,
        ),
        |row| over(Some(row.summary.task_ms() as f64), span(row)?.checked_mul(row.summary.slots?)),
    );
    list.add(
        entry(
            "waves_ratio",
            Unit::Ratio,
            "Number of Tasks / slots",
            "Tasks over slots: how many rounds it takes.",
            NO_RATIO,
        ),
        |row| over(Some(row.stage.num_tasks as f64), row.summary.slots),
    );
    list.add(
        entry(
            "tail_ratio",
            Unit::Ratio,
            "computed",
            "The longest successful task over the time from first launch to last end.",
            NO_RATIO,
        ),
        |row| over(row.summary.quantiles(Metric::Duration).map(|q| q.max as f64), span(row)),
    );
    list.add(
        entry(
            "wasted_task_time_ms",
            Unit::Ms,
            "Task Info.Launch Time, Finish Time",
            "Durations of attempts that failed or were killed.",
            NEVER,
        ),
        |row| row.summary.wasted_task_ms,
    );
    list.add(
        entry(
            "wasted_task_time_ratio",
            Unit::Ratio,
            "Task Info.Launch Time, Finish Time",
            "The same over the durations of all attempts.",
            NO_RATIO,
        ),
        |row| over(Some(row.summary.wasted_task_ms as f64), row.summary.sum(Metric::Duration)),
    );
    list.add(
        entry(
            "speculative_waste_ms",
            Unit::Ms,
            "Task Info.Speculative",
            "Durations of killed attempts at partitions that had a speculative copy.",
            NEVER,
        ),
        |row| row.summary.speculative_waste_ms,
    );
}

fn span(row: &StageRef<'_>) -> Option<u64> {
    Some(row.summary.last_finish?.since(row.summary.first_launch?).0)
}

fn places(list: &mut Stages) {
    list.add(
        entry("tasks_wanted_count", Unit::Count, "Stage Info.Number of Tasks", "Tasks that it was to run.", NEVER),
        |row| row.stage.num_tasks,
    );
    list.add(
        entry(
            "partitions_done_count",
            Unit::Count,
            "Task Info.Index",
            "Distinct partitions of which an attempt succeeded.",
            NEVER,
        ),
        |row| row.summary.partitions_done,
    );
    list.add(
        entry("executors_count", Unit::Count, "Task Info.Executor ID", "Executors its tasks ran on.", NEVER),
        |row| row.summary.executors,
    );
    list.add(entry("hosts_count", Unit::Count, "Task Info.Host", "Hosts its tasks ran on.", NEVER), |row| {
        row.summary.hosts
    });
    for locality in Locality::ALL {
        let word = locality.name().to_lowercase();
        list.add(
            entry(
                format!("locality_{word}_ratio"),
                Unit::Ratio,
                "Task Info.Locality",
                format!("Successful tasks that ran at {}, over all successful ones.", locality.name()),
                "no task succeeded",
            ),
            move |row| {
                over(
                    Some(row.summary.locality.get(&locality).copied().unwrap_or(0) as f64),
                    Some(row.summary.tasks.succeeded),
                )
            },
        );
    }
    list.add(
        entry(
            "stage_failed",
            Unit::Flag,
            "Stage Info.Failure Reason",
            "Whether it failed.",
            "its end is not in the log",
        ),
        |row| match row.summary.status {
            StageStatus::Complete => Some(false),
            StageStatus::Failed => Some(true),
            _ => None,
        },
    );
}
