//! The columns of `jobs`.

use emberscope_run::{JobResult, Unit};

use super::Feature;
use super::list::{Jobs, NEVER, NO_END, NO_RATIO, NOT_SET, entry, some_text, text};
use super::statistics::over;

pub(super) fn features() -> Vec<Feature> {
    let mut list = Jobs::new();
    let of_property =
        |name, key: &str, meaning| entry(name, Unit::Text, format!("Job Start.Properties.{key}"), meaning, NOT_SET);
    list.add(entry("job_id", Unit::Id, "Job ID", "Its id.", NEVER), |row| row.job.id.0);
    list.text(
        entry(
            "job_name",
            Unit::Text,
            "Job Start.Stage Infos.Stage Name",
            "The call site: the name of its last stage.",
            NOT_SET,
        ),
        |row| some_text(row.job.name.as_ref()),
    );
    list.text(of_property("description", "spark.job.description", "Its description."), |row| {
        some_text(row.job.description.as_ref())
    });
    list.text(of_property("job_group", "spark.jobGroup.id", "Its group."), |row| some_text(row.job.group.as_ref()));
    list.text(of_property("job_tags", "spark.job.tags", "Its tags."), |row| some_text(row.job.tags.as_ref()));
    list.text(of_property("scheduler_pool", "spark.scheduler.pool", "The scheduler pool."), |row| {
        some_text(row.job.pool.as_ref())
    });
    list.add(
        entry(
            "sql_execution_id",
            Unit::Id,
            "Job Start.Properties.spark.sql.execution.id",
            "The SQL execution it belongs to.",
            "it belongs to none",
        ),
        |row| row.job.sql_execution_id.map(|id| id.0),
    );
    list.add(
        entry(
            "sql_root_execution_id",
            Unit::Id,
            "Job Start.Properties.spark.sql.execution.root.id",
            "The outermost SQL execution.",
            "it belongs to none, or this Spark does not say",
        ),
        |row| row.job.sql_root_execution_id.map(|id| id.0),
    );
    list.text(
        of_property("streaming_query_id", "sql.streaming.queryId", "The streaming query it belongs to."),
        |row| some_text(row.job.streaming_query_id.as_ref()),
    );
    list.add(
        entry(
            "streaming_batch_id",
            Unit::Id,
            "Job Start.Properties.streaming.sql.batchId",
            "The micro-batch it belongs to.",
            "it belongs to none",
        ),
        |row| row.job.streaming_batch_id,
    );
    list.text(
        entry(
            "job_status",
            Unit::Text,
            "Job End.Job Result",
            "What became of it: succeeded, failed or running.",
            NEVER,
        ),
        |row| {
            text(match row.job.result {
                Some(JobResult::Succeeded) => "succeeded",
                Some(JobResult::Failed(_)) => "failed",
                None => "running",
            })
        },
    );
    list.add(entry("job_failed", Unit::Flag, "Job End.Job Result", "Whether it failed.", NO_END), |row| {
        row.summary.failed
    });
    list.text(
        entry(
            "failure_reason",
            Unit::Text,
            "Job End.Job Result.Exception.Message",
            "The first line of why it failed.",
            "it did not fail",
        ),
        |row| match &row.job.result {
            Some(JobResult::Failed(reason)) => reason.lines().find(|line| !line.trim().is_empty()).and_then(text),
            _ => None,
        },
    );
    list.add(entry("submitted_at", Unit::At, "Job Start.Submission Time", "When it was submitted.", NOT_SET), |row| {
        row.job.submitted_at
    });
    list.add(entry("completed_at", Unit::At, "Job End.Completion Time", "When it ended.", NO_END), |row| {
        row.job.completed_at
    });
    list.add(
        entry("job_duration_ms", Unit::Ms, "Completion Time - Submission Time", "From submission to its end.", NO_END),
        |row| row.summary.duration_ms,
    );
    list.add(
        entry(
            "job_duration_share_ratio",
            Unit::Ratio,
            "computed",
            "The same over the wall-clock time of the run.",
            NO_RATIO,
        ),
        |row| over(row.summary.duration_ms.map(|ms| ms as f64), row.of.features.application.wall_clock_ms),
    );
    list.add(
        entry(
            "first_task_wait_ms",
            Unit::Ms,
            "Task Info.Launch Time - Submission Time",
            "From submission to the launch of its first task.",
            "either is not known",
        ),
        |row| Some(row.summary.work.first_launch?.since(row.job.submitted_at?).0),
    );
    list.add(
        entry(
            "no_task_ms",
            Unit::Ms,
            "computed",
            "Time from submission to its end in which no task of the run ran.",
            NO_END,
        ),
        |row| row.summary.no_task_ms,
    );
    list.add(entry("no_task_ratio", Unit::Ratio, "computed", "The same over its duration.", NO_RATIO), |row| {
        over(row.summary.no_task_ms.map(|ms| ms as f64), row.summary.duration_ms)
    });
    list.add(
        entry(
            "stages_named_count",
            Unit::Count,
            "Job Start.Stage IDs",
            "Stages it names, also those that were skipped.",
            NEVER,
        ),
        |row| row.job.stage_ids.len() as u64,
    );
    list.add(
        entry(
            "properties_set_count",
            Unit::Count,
            "Job Start.Properties",
            "Spark properties that it was started with and that differ from the environment's.",
            NEVER,
        ),
        |row| row.job.properties.len() as u64,
    );
    list.work(|row| &row.summary.work);
    list.done()
}
