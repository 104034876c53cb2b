//! Every figure that Spark's REST API gave for Apache Spark's own test logs, against ours.
//!
//! Which log an answer belongs to is in `HistoryServerSuite` of apache/spark: a request per name of an answer.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

mod support;

use emberscope_extract::features::catalogue::{self, Row, RunRef, StageRef, Table, TaskRef, Value as Cell};
use emberscope_extract::features::{Metric, Quantiles, StageSummary, quantile_index};
use emberscope_run::{JobId, JobResult, StageAttempt, StageId, StageKey, StageStatus, TaskColumn, TaskStatus};
use serde_json::Value;
use support::rest_fields::{SUMS, TASK_METRICS, TASK_TIMES};
use support::{Comparison, Loaded};

/// A request: name of the answer, application, its attempt where there are several.
type Request = (&'static str, &'static str, Option<&'static str>);

const APPLICATIONS: &[Request] = &[
    ("one_app_json", "local-1422981780767", None),
    ("one_app_multi_attempt_json", "local-1426533911241", None),
    ("application_list_json", "", None),
];

const STAGES: &[Request] = &[
    ("stage_list_json", "local-1422981780767", None),
    ("complete_stage_list_json", "local-1422981780767", None),
    ("failed_stage_list_json", "local-1422981780767", None),
    ("one_stage_json", "local-1422981780767", None),
    ("one_stage_json_with_details", "local-1422981780767", None),
    ("one_stage_attempt_json", "local-1422981780767", None),
    ("one_stage_attempt_json_details_with_failed_task", "local-1422981780767", None),
    ("one_stage_json_with_partitionId", "local-1642039451826", None),
    ("stage_list_with_accumulable_json", "local-1426533911241", Some("1")),
    ("stage_with_accumulable_json", "local-1426533911241", Some("1")),
    ("stage_list_with_peak_metrics", "app-20200706201101-0003", None),
    ("stage_with_peak_metrics", "app-20200706201101-0003", None),
    ("stage_with_summaries", "app-20200706201101-0003", None),
    ("stage_with_speculation_summary", "application_1628109047826_1317105", None),
    ("excludeOnFailure_for_stage", "app-20180109111548-0000", None),
    ("excludeOnFailure_node_for_stage", "application_1516285256255_0012", None),
];

/// Answers about the tasks of one stage attempt: also the stage and the attempt.
const TASKS: &[(Request, u64)] = &[
    (("stage_task_list", "local-1430917381534", None), 0),
    (("stage_task_list_w__offset___length", "local-1430917381534", None), 0),
    (("stage_task_list_w__sortBy", "local-1430917381534", None), 0),
    (("stage_task_list_w__sortBy_short_names___runtime", "local-1430917381534", None), 0),
    (("stage_task_list_w__sortBy_short_names__runtime", "local-1430917381534", None), 0),
    (("stage_task_list_w__status", "app-20161115172038-0000", None), 0),
    (("stage_task_list_w__status___offset___length", "local-1430917381534", None), 0),
    (("stage_task_list_w__status___sortBy_short_names__runtime", "local-1430917381534", None), 0),
    (("stage_task_list_with_partitionId", "local-1642039451826", None), 0),
    (("stage_task_list_from_multi_attempt_app_json_1_", "local-1426533911241", Some("1")), 0),
    (("stage_task_list_from_multi_attempt_app_json_2_", "local-1426533911241", Some("2")), 0),
];

const SUMMARIES: &[(Request, u64)] = &[
    (("stage_task_summary_w_shuffle_write", "local-1430917381534", None), 0),
    (("stage_task_summary_w_shuffle_read", "local-1430917381534", None), 1),
    (("stage_task_summary_w__custom_quantiles", "local-1430917381534", None), 0),
];

const JOBS: &[Request] = &[
    ("job_list_json", "local-1422981780767", None),
    ("one_job_json", "local-1422981780767", None),
    ("succeeded_job_list_json", "local-1422981780767", None),
    ("succeeded_failed_job_list_json", "local-1422981780767", None),
    ("job_list_from_multi_attempt_app_json_1_", "local-1426533911241", Some("1")),
    ("job_list_from_multi_attempt_app_json_2_", "local-1426533911241", Some("2")),
];

const EXECUTORS: &[Request] = &[
    ("executor_list_json", "local-1422981780767", None),
    ("executor_list_with_executor_metrics_json", "application_1553914137147_0018", None),
    ("executor_memory_usage", "app-20161116163331-0000", None),
    ("executor_node_excludeOnFailure", "app-20161116163331-0000", None),
    ("executor_node_excludeOnFailure_unexcluding", "app-20161115172038-0000", None),
    ("executor_resource_information", "application_1555004656427_0144", None),
];

/// Figures that differ on purpose, each with its reason. `*` stands for anything.
const INTENDED: &[(&str, &str)] = &[
    (
        "executor*.driver.totalDuration",
        "Spark shows the driver's uptime here; ours is the time of its tasks, as for every executor",
    ),
    (
        "executor_list_json.driver.totalGCTime",
        "Spark shows the driver's polled TotalGCTime here, 0 in old logs; ours is the sum over its tasks, as for every executor",
    ),
];

#[test]
fn our_figures_are_those_of_sparks_rest_api() {
    let Some(logs) = Loaded::of(&["apache-spark/spark-events"]) else { return };
    let mut comparison = Comparison::default();
    for request in APPLICATIONS {
        for_each(request, |answer, _| applications(&mut comparison, request.0, &logs, answer));
    }
    for request in STAGES {
        for_each(request, |answer, _| stage(&mut comparison, request, &logs, answer));
    }
    for (request, stage_id) in TASKS {
        let run = logs.run(request.1, request.2);
        for_each(request, |answer, _| task(&mut comparison, request.0, run, *stage_id, answer));
    }
    for (request, stage_id) in SUMMARIES {
        let run = logs.run(request.1, request.2);
        let key = StageKey { stage_id: StageId(*stage_id), attempt: 0 };
        for_each(request, |answer, _| {
            quantiles(&mut comparison, request.0, &run.run.stages[&key], &run.features.stages[&key], answer)
        });
    }
    for request in JOBS {
        for_each(request, |answer, _| job(&mut comparison, request, &logs, answer));
    }
    for request in EXECUTORS {
        for_each(request, |answer, _| executor(&mut comparison, request, &logs, answer));
    }
    storage(&mut comparison, &logs);
    comparison.finish(INTENDED, 9_500);
}

/// Every answer of a request: a list is its elements.
fn for_each(request: &Request, mut visit: impl FnMut(&Value, usize)) {
    let path = support::shared().join("expected/spark-rest").join(format!("{}_expectation.json", request.0));
    let answer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    match &answer {
        Value::Array(answers) => {
            assert!(!answers.is_empty(), "{} has no answer", request.0);
            answers.iter().enumerate().for_each(|(index, answer)| visit(answer, index));
        }
        answer => visit(answer, 0),
    }
}

fn at<'a>(answer: &'a Value, path: &str) -> &'a Value {
    path.split('/').fold(answer, |value, part| &value[part])
}

fn applications(comparison: &mut Comparison, name: &str, logs: &Loaded, answer: &Value) {
    for attempt in answer["attempts"].as_array().unwrap() {
        let id = answer["id"].as_str().unwrap();
        let Some(run) = logs.find(id, attempt["attemptId"].as_str()) else { continue };
        let application = &run.run.application;
        let figure = |field: &str| format!("{name}.{id}.{field}");
        comparison.text(&figure("name"), &answer["name"], application.name.as_deref());
        comparison.text(&figure("sparkUser"), &attempt["sparkUser"], application.user.as_deref());
        comparison.text(
            &figure("appSparkVersion"),
            &attempt["appSparkVersion"],
            application.spark_version.as_deref().or(Some("")),
        );
        comparison.time(&figure("startTime"), &attempt["startTime"], application.started_at);
        comparison.time(&figure("endTime"), &attempt["endTime"], application.end());
        comparison.number(&figure("duration"), &attempt["duration"], run.features.application.wall_clock_ms);
        comparison.flag(&figure("completed"), &attempt["completed"], Some(application.complete()));
    }
}

fn stage(comparison: &mut Comparison, request: &Request, logs: &Loaded, answer: &Value) {
    let run = logs.run(request.1, request.2);
    let number = |field: &str| answer[field].as_u64().unwrap();
    let key = StageKey { stage_id: StageId(number("stageId")), attempt: number("attemptId") as u32 };
    let (stage, summary) = (&run.run.stages[&key], &run.features.stages[&key]);
    let figure = |field: &str| format!("{}.{key}.{field}", request.0);
    let status = match summary.status {
        StageStatus::Complete => "COMPLETE",
        StageStatus::Failed => "FAILED",
        StageStatus::Running => "ACTIVE",
        StageStatus::Skipped => "SKIPPED",
        StageStatus::Pending => "PENDING",
    };
    comparison.text(&figure("status"), &answer["status"], Some(status));
    comparison.text(&figure("name"), &answer["name"], Some(&stage.name));
    comparison.text(&figure("details"), &answer["details"], Some(&stage.details));
    comparison.text(&figure("schedulingPool"), &answer["schedulingPool"], stage.pool.as_deref().or(Some("default")));
    comparison.text(&figure("failureReason"), &answer["failureReason"], stage.failure_reason.as_deref());
    comparison.time(&figure("submissionTime"), &answer["submissionTime"], stage.submitted_at);
    comparison.time(&figure("firstTaskLaunchedTime"), &answer["firstTaskLaunchedTime"], summary.first_launch);
    comparison.time(&figure("completionTime"), &answer["completionTime"], stage.completed_at);
    for (field, ours) in [
        ("numTasks", stage.num_tasks),
        ("numActiveTasks", summary.tasks.running),
        ("numCompleteTasks", summary.tasks.succeeded),
        ("numFailedTasks", summary.tasks.failed),
        ("numKilledTasks", summary.tasks.killed),
        ("numCompletedIndices", summary.partitions_done),
    ] {
        comparison.number(&figure(field), &answer[field], Some(ours));
    }
    comparison.number(
        &figure("resourceProfileId"),
        &answer["resourceProfileId"],
        Some(stage.resource_profile.map_or(0, |id| id.0)),
    );
    for &(field, metric) in SUMS {
        comparison.number(&figure(field), &answer[field], summary.sum(metric));
        // What the table says is what the summary says.
        let feature = catalogue::find(Table::StageAttempts, &metric.statistic("sum")).unwrap();
        let of = RunRef { name: "", run: &run.run, features: &run.features };
        let cell = feature.value(&Row::Stage(StageRef { of, stage, summary }));
        assert_eq!(cell.as_f64(), summary.sum(metric).map(|sum| sum as f64), "{}", feature.name);
    }
    if let Value::Object(peaks) = &answer["peakExecutorMetrics"] {
        for (name, expected) in peaks {
            let column =
                TaskColumn::executor_metrics().iter().find(|column| column.executor_metric_name() == Some(name));
            let ours = column.and_then(|&column| summary.peaks.get(column));
            comparison.number(&figure(&format!("peakExecutorMetrics.{name}")), expected, ours);
        }
    }
    if let Value::Object(executors) = &answer["executorSummary"] {
        // The driver is listed for its memory, without tasks.
        let worked = |executor: &&Value| {
            ["succeededTasks", "failedTasks", "killedTasks"].iter().any(|field| executor[*field] != 0)
        };
        comparison.number(
            &figure("executors"),
            &Value::from(executors.values().filter(worked).count()),
            Some(summary.executors),
        );
        let excluded = |executor: &Value| executor["isExcludedForStage"].as_bool();
        for (id, executor) in executors {
            let ours = run.run.executors.get(&id.as_str().into());
            let ours = ours.map(|executor| executor.exclusions.iter().any(|exclusion| exclusion.stage == Some(key)));
            let expected = excluded(executor).map_or(Value::Null, Value::from);
            comparison.flag(&figure(&format!("executorSummary.{id}.isExcludedForStage")), &expected, ours);
        }
    }
    let copies = &answer["speculationSummary"];
    comparison.number(&figure("speculationSummary.numTasks"), &copies["numTasks"], Some(summary.tasks.speculative));
    if let Value::Object(tasks) = &answer["tasks"] {
        for expected in tasks.values() {
            task(comparison, request.0, run, key.stage_id.0, expected);
        }
    }
    if answer["taskMetricsDistributions"].is_object() {
        quantiles(comparison, request.0, stage, summary, &answer["taskMetricsDistributions"]);
    }
}

fn task(comparison: &mut Comparison, name: &str, run: &support::Read, stage_id: u64, answer: &Value) {
    let key = StageKey { stage_id: StageId(stage_id), attempt: 0 };
    let (stage, summary) = (&run.run.stages[&key], &run.features.stages[&key]);
    let id = answer["taskId"].as_u64().unwrap();
    let figure = |field: &str| format!("{name}.task {id}.{field}");
    if let Some(running) = stage.running.get(&emberscope_run::TaskId(id)) {
        comparison.text(&figure("status"), &answer["status"], Some("RUNNING"));
        comparison.number(&figure("index"), &answer["index"], Some(running.partition));
        return;
    }
    let row = stage
        .tasks
        .rows()
        .find(|row| row.get(TaskColumn::TaskId) == Some(id))
        .unwrap_or_else(|| panic!("{name} has no task {id}"));
    let of = RunRef { name: "", run: &run.run, features: &run.features };
    let row = Row::Task(TaskRef { of, stage, summary, task: &row });
    // Through the table, as a reader of it would see the task.
    let cell = |name: &str| catalogue::find(Table::Tasks, name).unwrap().value(&row);
    let integer = |name: &str| match cell(name) {
        Cell::Integer(value) => u64::try_from(value).ok(),
        _ => None,
    };
    let text = |name: &str| match cell(name) {
        Cell::Text(text) => Some(text.into_owned()),
        _ => None,
    };
    for (field, column) in [("index", "partition"), ("attempt", "attempt")] {
        comparison.number(&figure(field), &answer[field], integer(column));
    }
    if answer["partitionId"] != -1 {
        comparison.number(&figure("partitionId"), &answer["partitionId"], integer("partition_id"));
    }
    comparison.time(
        &figure("launchTime"),
        &answer["launchTime"],
        integer("launched_at").map(|ms| emberscope_run::Timestamp(ms as i64)),
    );
    comparison.text(&figure("executorId"), &answer["executorId"], text("executor_id").as_deref());
    comparison.text(&figure("host"), &answer["host"], text("host").as_deref());
    comparison.text(
        &figure("status"),
        &answer["status"],
        text("status").map(|status| status.to_uppercase()).as_deref(),
    );
    comparison.text(&figure("taskLocality"), &answer["taskLocality"], text("locality").as_deref());
    let speculative = match cell("speculative") {
        Cell::Flag(flag) => Some(flag),
        _ => None,
    };
    comparison.flag(&figure("speculative"), &answer["speculative"], speculative);
    for &(field, metric) in TASK_TIMES {
        comparison.number(&figure(field), &answer[field], integer(&format!("{}{}", metric.stem(), metric.suffix())));
    }
    for &(path, metric) in TASK_METRICS {
        let name = metric
            .column()
            .map_or_else(|| format!("{}{}", metric.stem(), metric.suffix()), |column| column.name().to_owned());
        comparison.number(&figure(path), at(&answer["taskMetrics"], path), integer(&name));
    }
}

fn quantiles(comparison: &mut Comparison, name: &str, stage: &StageAttempt, summary: &StageSummary, answer: &Value) {
    let wanted: Vec<f64> = answer["quantiles"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    for &(path, metric) in TASK_METRICS.iter().chain(TASK_TIMES) {
        let Value::Array(expected) = at(answer, path) else { continue };
        let mut values: Vec<u64> = stage
            .tasks
            .rows()
            .filter(|row| row.status() == Some(TaskStatus::Success))
            .filter_map(|row| metric.of(&row))
            .collect();
        values.sort_unstable();
        for (&quantile, expected) in wanted.iter().zip(expected) {
            let of_summary = |q: &Quantiles| match (quantile * 100.0) as u64 {
                0 if quantile == 0.0 => Some(q.min),
                5 => Some(q.p05),
                25 => Some(q.p25),
                50 => Some(q.p50),
                75 => Some(q.p75),
                95 => Some(q.p95),
                100 => Some(q.max),
                _ => None,
            };
            // Quantiles that no feature holds are taken by the rule that the features follow.
            let ours = summary
                .quantiles(metric)
                .and_then(of_summary)
                .or_else(|| values.get(quantile_index(quantile, values.len())).copied());
            let figure = format!("{name}.{}.{path}[{quantile}]", summary.key);
            let whole = expected.as_f64().map_or(Value::Null, |value| Value::from(value as u64));
            comparison.number(&figure, &whole, ours);
        }
    }
}

fn job(comparison: &mut Comparison, request: &Request, logs: &Loaded, answer: &Value) {
    let run = logs.run(request.1, request.2);
    let id = JobId(answer["jobId"].as_u64().unwrap());
    let (job, summary) = (&run.run.jobs[&id], &run.features.jobs[&id]);
    let figure = |field: &str| format!("{}.{id}.{field}", request.0);
    let status = match job.result {
        Some(JobResult::Succeeded) => "SUCCEEDED",
        Some(JobResult::Failed(_)) => "FAILED",
        None => "RUNNING",
    };
    comparison.text(&figure("status"), &answer["status"], Some(status));
    comparison.text(&figure("name"), &answer["name"], job.name.as_deref());
    comparison.time(&figure("submissionTime"), &answer["submissionTime"], job.submitted_at);
    comparison.time(&figure("completionTime"), &answer["completionTime"], job.completed_at);
    let mut stages: Vec<u64> = job.stage_ids.iter().map(|id| id.0).collect();
    let mut expected: Vec<u64> = answer["stageIds"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    stages.sort_unstable();
    expected.sort_unstable();
    comparison.text(&figure("stageIds"), &Value::from(format!("{expected:?}")), Some(&format!("{stages:?}")));
    let work = &summary.work;
    let wanted: u64 = job
        .stage_ids
        .iter()
        .filter_map(|id| run.run.stages.get(&StageKey { stage_id: *id, attempt: 0 }))
        .map(|stage| stage.num_tasks)
        .sum();
    let done: u64 = run
        .features
        .stages
        .values()
        .filter(|stage| run.run.stages[&stage.key].job_ids.contains(&id))
        .map(|stage| stage.partitions_done)
        .sum();
    for (field, ours) in [
        ("numTasks", wanted),
        ("numActiveTasks", work.tasks.running),
        ("numCompletedTasks", work.tasks.succeeded),
        ("numSkippedTasks", work.skipped_tasks),
        ("numFailedTasks", work.tasks.failed),
        ("numKilledTasks", work.tasks.killed),
        ("numCompletedIndices", done),
        ("numCompletedStages", work.stage_attempts - work.failed_stage_attempts),
        ("numSkippedStages", work.skipped_stages),
        ("numFailedStages", work.failed_stage_attempts),
    ] {
        comparison.number(&figure(field), &answer[field], Some(ours));
    }
}

fn executor(comparison: &mut Comparison, request: &Request, logs: &Loaded, answer: &Value) {
    let run = logs.run(request.1, request.2);
    let id = answer["id"].as_str().unwrap();
    let figure = |field: &str| format!("{}.{id}.{field}", request.0);
    let all = || run.run.executors.values();
    let Some(executor) = all().find(|executor| executor.id.0 == id) else {
        comparison.text(&figure("id"), &answer["id"], None);
        return;
    };
    let summary = &run.features.executors[&executor.id];
    let tasks = &summary.tasks;
    let finished = tasks.succeeded + tasks.failed + tasks.killed;
    for (field, ours) in [
        ("totalCores", executor.cores),
        ("activeTasks", Some(tasks.running)),
        ("failedTasks", Some(tasks.failed)),
        ("completedTasks", Some(tasks.succeeded)),
        ("totalTasks", Some(finished - tasks.killed + tasks.running)),
        ("totalDuration", Some(summary.task_ms)),
        ("totalGCTime", summary.sum(Metric::JvmGcTime)),
        ("totalInputBytes", summary.sum(Metric::InputBytes)),
        ("totalShuffleRead", summary.sum(Metric::ShuffleReadBytes)),
        ("totalShuffleWrite", summary.sum(Metric::ShuffleWriteBytes)),
        ("maxMemory", executor.max_memory.map(|bytes| bytes.0)),
    ] {
        comparison.number(&figure(field), &answer[field], ours);
    }
    comparison.time(&figure("addTime"), &answer["addTime"], executor.added_at);
    comparison.time(&figure("removeTime"), &answer["removeTime"], executor.removed_at);
    comparison.text(&figure("removeReason"), &answer["removeReason"], executor.removed_reason.as_deref());
    comparison.flag(&figure("isActive"), &answer["isActive"], Some(executor.removed_at.is_none()));
    comparison.number(
        &figure("resourceProfileId"),
        &answer["resourceProfileId"],
        Some(executor.resource_profile.map_or(0, |id| id.0)),
    );
    let still = executor.exclusions.iter().any(|exclusion| exclusion.stage.is_none() && exclusion.until.is_none());
    comparison.flag(&figure("isExcluded"), &answer["isExcluded"], Some(still));
    let host = answer["hostPort"].as_str().map(|host| host.split(':').next().unwrap_or_default().to_owned());
    comparison.text(&figure("host"), &host.map_or(Value::Null, Value::from), executor.host.as_deref());
    let memory = &answer["memoryMetrics"];
    comparison.number(
        &figure("totalOnHeapStorageMemory"),
        &memory["totalOnHeapStorageMemory"],
        executor.max_on_heap_memory.map(|bytes| bytes.0),
    );
    comparison.number(
        &figure("totalOffHeapStorageMemory"),
        &memory["totalOffHeapStorageMemory"],
        executor.max_off_heap_memory.map(|bytes| bytes.0),
    );
    if let Value::Object(peaks) = &answer["peakMemoryMetrics"] {
        for (name, expected) in peaks {
            let column =
                TaskColumn::executor_metrics().iter().find(|column| column.executor_metric_name() == Some(name));
            comparison.number(&figure(name), expected, column.and_then(|&column| executor.peaks.get(column)));
        }
    }
    if let Value::Object(resources) = &answer["resources"] {
        for (name, resource) in resources {
            let expected = Value::from(resource["addresses"].as_array().map_or(0, Vec::len));
            comparison.number(&figure(&format!("resources.{name}")), &expected, executor.resources.get(name).copied());
        }
    }
}

fn storage(comparison: &mut Comparison, logs: &Loaded) {
    let request = ("one_rdd_storage_json", "local-1422981780767", None);
    let run = logs.run(request.1, request.2);
    for_each(&request, |answer, _| {
        let id = emberscope_run::RddId(answer["id"].as_u64().unwrap());
        let Some(rdd) = run.run.rdds.get(&id) else {
            comparison.number("one_rdd_storage_json.id", &answer["id"], None);
            return;
        };
        comparison.text("one_rdd_storage_json.name", &answer["name"], Some(&rdd.name));
        comparison.number("one_rdd_storage_json.numPartitions", &answer["numPartitions"], Some(rdd.partitions));
        comparison.number(
            "one_rdd_storage_json.numCachedPartitions",
            &answer["numCachedPartitions"],
            Some(rdd.cached_partitions_last),
        );
    });
}
