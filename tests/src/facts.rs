//! The facts of a run as text, one a line: what the cases compare with what they expect.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use emberscope_run::{
    Executor, JobResult, Locality, PlanNode, Run, SqlExecution, StageAttempt, StreamingQuery, TaskColumn, TaskEndKind,
    TaskRow, TaskStatus, Timestamp,
};

/// The facts of a run; unknown values are left out, and lists of which nothing is known too.
pub fn facts(run: &Run) -> String {
    let mut out = String::new();
    for line in application(run)
        .into_iter()
        .chain(sources(run))
        .chain(run.jobs.values().map(|job| {
            let mut line = Line::new(format!("job {}", job.id));
            line.time("submitted", job.submitted_at).time("completed", job.completed_at);
            match &job.result {
                Some(JobResult::Succeeded) => line.word("succeeded"),
                Some(JobResult::Failed(why)) => line.word("failed").text("why", Some(why)),
                None => line.word("open"),
            };
            line.list("stages", &job.stage_ids).text("name", job.name.as_deref());
            line.some("sql", job.sql_execution_id).some("root", job.sql_root_execution_id);
            line.text("description", job.description.as_deref()).text("group", job.group.as_deref());
            line.text("tags", job.tags.as_deref()).some("pool", job.pool.as_deref());
            line.some("query", job.streaming_query_id.as_deref()).some("batch", job.streaming_batch_id);
            line.pairs("set", &job.properties);
            line.0
        }))
        .chain(run.stages.values().flat_map(|stage| stage_lines(run, stage)))
        .chain(run.failures.iter().enumerate().map(|(index, failure)| {
            let mut line = Line::new(format!("failure {index}"));
            line.word(failure.kind.name()).some("count", Some(failure.count)).some("stage", Some(failure.stage));
            line.some("task", Some(failure.first_task)).some("executor", Some(&failure.executor));
            line.some("by-app", failure.caused_by_app).text("class", Some(&failure.class));
            line.text("message", Some(&failure.message)).text("stack", failure.stack_trace.as_deref());
            line.0
        }))
        .chain(run.executors.values().flat_map(executor))
        .chain(run.sql_executions.values().flat_map(sql))
        .chain(run.streaming_queries.values().flat_map(streaming))
        .chain(run.connect_operations.values().map(|operation| {
            let mut line = Line::new(format!("connect {}", operation.id));
            line.time("started", operation.started_at).time("ended", operation.ended_at);
            line.text("tag", operation.job_tag.as_deref()).text("user", operation.user.as_deref());
            line.text("statement", operation.statement.as_deref()).text("error", operation.error.as_deref());
            line.flag("canceled", operation.canceled);
            line.0
        }))
        .chain(run.rdds.values().map(|rdd| {
            let mut line = Line::new(format!("rdd {}", rdd.id));
            line.text("name", Some(&rdd.name)).some("scope", rdd.scope.as_deref());
            line.some("partitions", Some(rdd.partitions)).some("cached-max", Some(rdd.cached_partitions_max));
            line.some("memory-max", Some(rdd.memory_bytes_max.0)).some("stages", Some(rdd.stages));
            line.flag("disk", rdd.use_disk).flag("unpersisted", rdd.unpersisted);
            if let Some(updates) = rdd.updates {
                line.word(&format!(
                    "stored {} on-disk {} moved {} dropped {} again {} evicted-bytes {}",
                    updates.stored_in_memory,
                    updates.stored_on_disk,
                    updates.moved_to_disk,
                    updates.dropped,
                    updates.stored_again,
                    updates.evicted_bytes
                ));
            }
            line.0
        }))
        .chain(run.resource_profiles.values().map(|profile| {
            let mut line = Line::new(format!("profile {}", profile.id));
            for (what, requests) in [("executor", &profile.executor), ("task", &profile.task)] {
                line.pairs(what, &requests.iter().map(|(name, request)| (name.clone(), request.amount)).collect());
            }
            line.0
        }))
        .chain(run.issues.iter().map(|issue| {
            let mut line = Line::new(format!("issue {} x{}", issue.code.name(), issue.count));
            line.some("at", issue.first_at.as_deref());
            if let Some((_, first)) = issue.meaning.split_once(" First: ") {
                line.text("first", Some(first));
            }
            line.0
        }))
    {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A line under construction.
struct Line(String);

impl Line {
    fn new(start: String) -> Self {
        Self(start)
    }

    fn word(&mut self, word: &str) -> &mut Self {
        self.0.push(' ');
        self.0.push_str(word);
        self
    }

    fn flag(&mut self, name: &str, set: bool) -> &mut Self {
        if set { self.word(name) } else { self }
    }

    fn some(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            let _ = write!(self.0, " {name} {value}");
        }
        self
    }

    fn time(&mut self, name: &str, at: Option<Timestamp>) -> &mut Self {
        self.some(name, at.map(|at| at.0))
    }

    fn text(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        self.some(name, text.filter(|text| !text.is_empty()).map(|text| format!("{text:?}")))
    }

    fn list(&mut self, name: &str, items: impl IntoIterator<Item = impl Display>) -> &mut Self {
        let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
        if items.is_empty() { self } else { self.word(&format!("{name} {}", items.join(","))) }
    }

    fn pairs(&mut self, name: &str, pairs: &BTreeMap<String, impl Display>) -> &mut Self {
        self.list(name, pairs.iter().map(|(key, value)| format!("{key}={value}")))
    }
}

fn application(run: &Run) -> Vec<String> {
    let application = &run.application;
    let mut first = Line::new("application".to_owned());
    first.some("id", application.id.as_deref()).some("attempt", application.attempt_id.as_deref());
    first.text("name", application.name.as_deref()).text("user", application.user.as_deref());
    first.some("spark", application.spark_version.as_deref()).flag("databricks", application.databricks);
    first.time("started", application.started_at).time("ended", application.ended_at);
    first.some("exit-code", application.exit_code);
    first.time("first-event", application.first_event_at).time("last-event", application.last_event_at);
    let mut lines = vec![first.0];
    if run.environment.known {
        let mut line = Line::new("environment".to_owned());
        line.pairs("spark", &run.environment.spark.iter().map(|(key, value)| (key.to_owned(), value)).collect());
        line.pairs("hadoop", &run.environment.hadoop).pairs("system", &run.environment.system);
        line.pairs("jvm", &run.environment.jvm);
        lines.push(line.0);
    }
    lines
}

fn sources(run: &Run) -> impl Iterator<Item = String> + '_ {
    run.sources.iter().map(|source| {
        let mut line = Line::new(format!(
            "source {} parts {} read {} unknown {} lost {}",
            source.codecs.join(","),
            source.parts,
            source.events_read,
            source.events_unknown,
            source.events_lost
        ));
        line.flag("truncated", source.truncated);
        line.0
    })
}

fn stage_lines(run: &Run, stage: &StageAttempt) -> Vec<String> {
    let mut line = Line::new(format!("stage {} {}", stage.key, stage.status().name()));
    line.some("tasks", Some(stage.num_tasks)).some("started", Some(stage.tasks_started));
    line.time("submitted", stage.submitted_at).time("completed", stage.completed_at);
    line.list("jobs", &stage.job_ids).list("parents", &stage.parent_ids);
    line.text("name", Some(&stage.name)).text("why", stage.failure_reason.as_deref());
    line.some("sql", stage.sql_execution_id).some("pool", stage.pool.as_deref());
    line.some("profile", stage.resource_profile).some("push", stage.shuffle_push_enabled);
    line.some("type", stage.task_type.as_deref()).list("accumulators", &stage.accumulators);
    line.some("speculative", Some(stage.speculative_submitted).filter(|&count| count > 0));
    line.flag("unschedulable", stage.unschedulable);
    let mut lines = vec![line.0];
    lines.extend(stage.tasks.rows().map(|row| task(run, &row)));
    lines.extend(stage.running.iter().map(|(id, task)| {
        let mut line = Line::new(format!("  task {id} running partition {} attempt {}", task.partition, task.attempt));
        line.some("executor", Some(&task.executor)).time("launched", task.launched_at);
        line.flag("speculative", task.speculative);
        line.0
    }));
    lines.extend(stage.executor_peaks.iter().map(|(executor, peaks)| {
        let peaks: Vec<_> = peaks.iter().map(|(column, peak)| format!("{}={peak}", column.name())).collect();
        format!("  peaks of executor {executor} {}", peaks.join(","))
    }));
    lines
}

/// A task with every column that is known, zeros of metrics apart.
fn task(run: &Run, row: &TaskRow) -> String {
    let status = row.status().map_or("?", TaskStatus::name);
    let mut line = Line::new(format!("  task {} {status}", row.get(TaskColumn::TaskId).unwrap_or(u64::MAX)));
    let mut zeros = Vec::new();
    for &column in TaskColumn::ALL {
        let value = row.get(column);
        match column {
            TaskColumn::TaskId | TaskColumn::Status => {}
            TaskColumn::Executor => drop(line.some("executor", run.executor_of(row))),
            TaskColumn::Host => drop(line.some("host", run.host_of(row))),
            TaskColumn::Locality => drop(line.some("locality", row.locality().map(Locality::name))),
            TaskColumn::EndReason => {
                let reason = value.and_then(TaskEndKind::from_code).map(TaskEndKind::name);
                line.some("reason", reason.filter(|reason| !reason.eq_ignore_ascii_case(status)));
            }
            TaskColumn::Speculative => drop(line.flag("speculative", value == Some(1))),
            TaskColumn::PartitionId if value == row.get(TaskColumn::Partition) => {}
            _ if value == Some(0) && column > TaskColumn::GettingResultAt => zeros.push(column),
            _ => drop(line.some(column.name(), value)),
        }
    }
    line.some("zeros", Some(zeros.len()).filter(|&count| count > 0));
    line.0
}

fn executor(executor: &Executor) -> Vec<String> {
    let mut line = Line::new(format!("executor {}", executor.id));
    line.some("host", executor.host.as_deref()).some("cores", executor.cores);
    line.some("profile", executor.resource_profile).pairs("resources", &executor.resources);
    line.time("added", executor.added_at).time("removed", executor.removed_at);
    line.text("why", executor.removed_reason.as_deref()).some("memory", executor.max_memory.map(|bytes| bytes.0));
    line.some("on-heap", executor.max_on_heap_memory.map(|bytes| bytes.0));
    line.some("off-heap", executor.max_off_heap_memory.map(|bytes| bytes.0));
    line.list("peaks", executor.peaks.iter().map(|(column, peak)| format!("{}={peak}", column.name())));
    let mut lines = vec![line.0];
    lines.extend(executor.exclusions.iter().map(|exclusion| {
        let mut line = Line::new(format!("  excluded at {}", exclusion.at.0));
        line.time("until", exclusion.until).some("stage", exclusion.stage).some("failures", exclusion.task_failures);
        line.flag("whole-host", exclusion.whole_host);
        line.0
    }));
    lines
}

fn sql(sql: &SqlExecution) -> Vec<String> {
    let mut line = Line::new(format!("sql {}", sql.id));
    line.time("started", sql.started_at).time("ended", sql.ended_at).some("root", sql.root_id);
    line.text("description", Some(&sql.description)).text("error", sql.error_message.as_deref());
    line.list("jobs", &sql.job_ids).list("tags", &sql.tags).pairs("set", &sql.modified_configs);
    line.some("connect", sql.connect_operation_id.as_deref());
    line.some("replans", Some(sql.replans).filter(|&replans| replans > 0)).list("first", &sql.initial_nodes);
    let mut lines = vec![line.0];
    let mut open: Vec<(&PlanNode, usize)> = sql.plan.iter().map(|plan| (plan, 1)).collect();
    while let Some((node, depth)) = open.pop() {
        let mut line = Line::new(format!("{:indent$}{}: {}", "", node.id, node.name, indent = 2 * depth));
        line.pairs("metadata", &node.metadata);
        line.list(
            "metrics",
            node.metrics.iter().map(|metric| {
                let value = metric.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
                format!("{}={value} {}", metric.name, metric.kind)
            }),
        );
        lines.push(line.0);
        open.extend(node.children.iter().rev().map(|child| (child, depth + 1)));
    }
    lines
}

fn streaming(query: &StreamingQuery) -> Vec<String> {
    let mut line = Line::new(format!("query {} run {}", query.id, query.run_id));
    line.text("name", query.name.as_deref()).time("started", query.started_at).flag("terminated", query.terminated);
    line.text("exception", query.exception.as_deref());
    let mut lines = vec![line.0];
    lines.extend(query.batches.values().map(|batch| {
        let mut line = Line::new(format!("  batch {}", batch.batch_id));
        line.time("started", batch.started_at).pairs("ms", &batch.duration_ms).some("rows", batch.input_rows);
        line.some("arrived", batch.input_rows_per_second).some("processed", batch.processed_rows_per_second);
        line.list("sources", batch.sources.iter().map(|source| &source.description));
        line.list("state", batch.state_operators.iter().map(|operator| operator.rows_total.unwrap_or(0)));
        line.some("sink", batch.sink.as_deref());
        line.0
    }));
    lines
}
