//! Figures that NVIDIA's spark-rapids-tools computed from its own test logs, against ours.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

mod support;

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, Sums};
use emberscope_run::{
    AccumulatorId, JobId, JobResult, SqlExecutionId, StageId, StageKey, TaskColumn, TaskId, TaskStatus, Timestamp,
};
use serde_json::Value;
use support::{Comparison, Loaded, Read};

/// Figures that differ on purpose, each with its reason. `*` stands for anything.
const INTENDED: &[(&str, &str)] = &[
    ("*.shuffleReadBytesMedian", MEDIAN),
    ("*.shuffleWriteBytesMedian", MEDIAN),
    ("*.shuffleWriteWriteTimeMedian", MEDIAN),
];

const MEDIAN: &str =
    "of an even number they take the mean of the two in the middle, cut; ours is Spark's, the upper one";

/// Sums by column: metric, and what the column's unit takes of ours (CPU and shuffle write times are ms there, ns here).
const SUMS: &[(&str, Metric, u64)] = &[
    ("diskBytesSpilledSum", Metric::DiskBytesSpilled, 1),
    ("durationSum", Metric::Duration, 1),
    ("executorCPUTimeSum", Metric::ExecutorCpuTime, 1_000_000),
    ("executorDeserializeCpuTimeSum", Metric::ExecutorDeserializeCpuTime, 1_000_000),
    ("executorDeserializeTimeSum", Metric::ExecutorDeserializeTime, 1),
    ("executorRunTimeSum", Metric::ExecutorRunTime, 1),
    ("inputBytesReadSum", Metric::InputBytes, 1),
    ("inputRecordsReadSum", Metric::InputRecords, 1),
    ("jvmGCTimeSum", Metric::JvmGcTime, 1),
    ("memoryBytesSpilledSum", Metric::MemoryBytesSpilled, 1),
    ("outputBytesWrittenSum", Metric::OutputBytes, 1),
    ("outputRecordsWrittenSum", Metric::OutputRecords, 1),
    ("resultSerializationTimeSum", Metric::ResultSerializationTime, 1),
    ("srFetchWaitTimeSum", Metric::ShuffleFetchWaitTime, 1),
    ("srLocalBlocksFetchedSum", Metric::ShuffleLocalBlocks, 1),
    ("srcLocalBytesReadSum", Metric::ShuffleLocalBytes, 1),
    ("srRemoteBlocksFetchSum", Metric::ShuffleRemoteBlocks, 1),
    ("srRemoteBytesReadSum", Metric::ShuffleRemoteBytes, 1),
    ("srRemoteBytesReadToDiskSum", Metric::ShuffleRemoteBytesToDisk, 1),
    ("srTotalBytesReadSum", Metric::ShuffleReadBytes, 1),
    ("swBytesWrittenSum", Metric::ShuffleWriteBytes, 1),
    ("swRecordsWrittenSum", Metric::ShuffleWriteRecords, 1),
    ("swWriteTimeSum", Metric::ShuffleWriteTime, 1_000_000),
];

/// Extremes by column, for stage attempts: every task of these logs succeeded, so that ours are over the same tasks.
const MAXIMA: &[(&str, Metric)] = &[
    ("durationMax", Metric::Duration),
    ("inputBytesReadMax", Metric::InputBytes),
    ("peakExecutionMemoryMax", Metric::PeakExecutionMemory),
    ("resultSizeMax", Metric::ResultSize),
];

/// Spreads by prefix, for stage attempts: metric, divisor.
const SPREADS: &[(&str, Metric, u64)] = &[
    ("memoryBytesSpilledMB", Metric::MemoryBytesSpilled, 1_048_576),
    ("diskBytesSpilledMB", Metric::DiskBytesSpilled, 1_048_576),
    ("inputBytesRead", Metric::InputBytes, 1),
    ("outputBytesWritten", Metric::OutputBytes, 1),
    ("shuffleReadBytes", Metric::ShuffleReadBytes, 1),
    ("shuffleWriteBytes", Metric::ShuffleWriteBytes, 1),
    ("shuffleReadFetchWaitTime", Metric::ShuffleFetchWaitTime, 1),
    ("shuffleWriteWriteTime", Metric::ShuffleWriteTime, 1_000_000),
];

/// Metrics of a failed task by column; the two times in ns are so there too.
const TASK: &[(&str, Metric)] = &[
    ("duration", Metric::Duration),
    ("diskBytesSpilled", Metric::DiskBytesSpilled),
    ("executorCPUTimeNS", Metric::ExecutorCpuTime),
    ("executorDeserializeCPUTimeNS", Metric::ExecutorDeserializeCpuTime),
    ("executorDeserializeTime", Metric::ExecutorDeserializeTime),
    ("executorRunTime", Metric::ExecutorRunTime),
    ("input_bytesRead", Metric::InputBytes),
    ("input_recordsRead", Metric::InputRecords),
    ("jvmGCTime", Metric::JvmGcTime),
    ("memoryBytesSpilled", Metric::MemoryBytesSpilled),
    ("output_bytesWritten", Metric::OutputBytes),
    ("output_recordsWritten", Metric::OutputRecords),
    ("peakExecutionMemory", Metric::PeakExecutionMemory),
    ("resultSerializationTime", Metric::ResultSerializationTime),
    ("resultSize", Metric::ResultSize),
    ("sr_fetchWaitTime", Metric::ShuffleFetchWaitTime),
    ("sr_localBlocksFetched", Metric::ShuffleLocalBlocks),
    ("sr_localBytesRead", Metric::ShuffleLocalBytes),
    ("sr_remoteBlocksFetched", Metric::ShuffleRemoteBlocks),
    ("sr_remoteBytesRead", Metric::ShuffleRemoteBytes),
    ("sr_remoteBytesReadToDisk", Metric::ShuffleRemoteBytesToDisk),
    ("sr_totalBytesRead", Metric::ShuffleReadBytes),
    ("sw_bytesWritten", Metric::ShuffleWriteBytes),
    ("sw_recordsWritten", Metric::ShuffleWriteRecords),
    ("sw_writeTimeNS", Metric::ShuffleWriteTime),
];

#[test]
fn our_figures_are_those_of_spark_rapids_tools() {
    const PROFILING: &str = "spark-rapids-tools/spark-events-profiling";
    let inputs =
        ["rapids_join_eventlog.zstd", "rapids_join_eventlog2.zstd", "tasks_executors_fail_compressed_eventlog.zstd"];
    let inputs = inputs.map(|input| format!("{PROFILING}/{input}"));
    let paths: Vec<&str> = inputs
        .iter()
        .map(String::as_str)
        .chain(["spark-rapids-tools/spark-events-qualification/complex_dec_eventlog.zstd"])
        .collect();
    let Some(logs) = Loaded::of(&paths) else { return };
    let [join, join2, failing, nested] = &logs.runs[..] else { panic!("{} runs", logs.runs.len()) };
    let mut comparison = Comparison::default();
    for (run, number) in [(join, ""), (join2, "2")] {
        stages(&mut comparison, run, &format!("rapids_join_eventlog_stagemetricsagg{number}"));
        jobs(&mut comparison, run, &format!("rapids_join_eventlog_jobmetricsagg{number}"));
        sqls(&mut comparison, run, &format!("rapids_join_eventlog_sqlmetricsagg{number}"));
    }
    spreads(&mut comparison, join, "rapids_join_eventlog_stagediagnosticmetrics");
    node_metrics(&mut comparison, join, "rapids_join_eventlog_sqlmetrics");
    durations(&mut comparison, nested, "rapids_duration_and_cpu");
    failures(&mut comparison, failing);
    comparison.finish(INTENDED, 950);
}

/// The rows of an answer, by column.
fn rows(name: &str) -> Vec<BTreeMap<String, String>> {
    let path = support::shared().join(format!("expected/spark-rapids-tools/{name}_expectation.csv"));
    let mut records = records(&std::fs::read_to_string(path).unwrap()).into_iter();
    let header = records.next().unwrap();
    let rows: Vec<_> = records.map(|record| header.iter().cloned().zip(record).collect()).collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}

/// Records of CSV; quotes within quotes are doubled or, as here, behind a backslash.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => match chars.next() {
                Some('n') => field.push('\n'),
                Some('t') => field.push('\t'),
                Some(other) => field.push(other),
                None => {}
            },
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    records.retain(|record: &Vec<String>| record.len() > 1);
    records
}

fn whole(row: &BTreeMap<String, String>, column: &str) -> Value {
    row[column].parse::<u64>().map_or(Value::Null, Value::from)
}

fn id(row: &BTreeMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap()
}

/// Compares the sums over some stage attempts. Times in ns are cut to ms there for each stage before they are summed.
fn sums(comparison: &mut Comparison, name: &str, row: &BTreeMap<String, String>, stages: &[Sums]) {
    for &(column, metric, divisor) in SUMS {
        comparison.number(&format!("{name}.{column}"), &whole(row, column), cut(stages, metric, divisor));
    }
}

fn cut(stages: &[Sums], metric: Metric, divisor: u64) -> Option<u64> {
    let parts: Vec<u64> = stages.iter().filter_map(|sums| sums.get(metric)).map(|sum| sum / divisor).collect();
    (!parts.is_empty()).then(|| parts.iter().sum())
}

/// CPU over run time in percent, of such cut times.
fn cpu_percent(stages: &[Sums]) -> Option<f64> {
    let (cpu, run) = (cut(stages, Metric::ExecutorCpuTime, 1_000_000)?, cut(stages, Metric::ExecutorRunTime, 1)?);
    Some(cpu as f64 / run as f64 * 100.0)
}

/// The sums of the stage attempts of jobs. Together they have to be what our summary says.
fn sums_of(run: &Read, jobs: impl Fn(&JobId) -> bool, ours: &Sums) -> Vec<Sums> {
    let of_jobs = run.run.stages.values().filter(|stage| stage.job_ids.iter().any(&jobs));
    let stages: Vec<Sums> = of_jobs.map(|stage| run.features.stages[&stage.key].sums()).collect();
    for &metric in Metric::ALL {
        assert_eq!(cut(&stages, metric, 1), ours.get(metric), "{metric:?}");
    }
    stages
}

fn stages(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let key = StageKey { stage_id: StageId(id(&row, "id")), attempt: 0 };
        let summary = &run.features.stages[&key];
        let figure = |column: &str| format!("{name}.{key}.{column}");
        comparison.number(&figure("numTasks"), &whole(&row, "numTasks"), Some(summary.tasks.ended));
        comparison.number(&figure("duration"), &whole(&row, "duration"), summary.duration_ms);
        sums(comparison, &format!("{name}.{key}"), &row, &[summary.sums()]);
        for &(column, metric) in MAXIMA {
            comparison.number(&figure(column), &whole(&row, column), summary.quantiles(metric).map(|q| q.max));
        }
        comparison.number(
            &figure("durationMin"),
            &whole(&row, "durationMin"),
            summary.quantiles(Metric::Duration).map(|q| q.min),
        );
        let mean = summary.quantiles(Metric::Duration).map(emberscope_extract::features::Quantiles::mean);
        comparison.near(&figure("durationAvg"), row["durationAvg"].parse().unwrap(), mean, 0.1);
    }
}

fn jobs(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let id = JobId(id(&row, "id"));
        let summary = &run.features.jobs[&id];
        comparison.number(&format!("{name}.numTasks"), &whole(&row, "numTasks"), Some(summary.work.tasks.ended));
        comparison.number(&format!("{name}.duration"), &whole(&row, "duration"), summary.duration_ms);
        sums(comparison, name, &row, &sums_of(run, |job| *job == id, &summary.work.sums));
    }
}

fn sqls(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let id = SqlExecutionId(id(&row, "sqlId"));
        let (sql, summary) = (&run.run.sql_executions[&id], &run.features.sql_executions[&id]);
        comparison.text(
            &format!("{name}.appId"),
            &Value::from(row["appId"].as_str()),
            run.run.application.id.as_deref(),
        );
        comparison.text(
            &format!("{name}.description"),
            &Value::from(row["description"].as_str()),
            Some(&sql.description),
        );
        comparison.number(&format!("{name}.numTasks"), &whole(&row, "numTasks"), Some(summary.work.tasks.ended));
        comparison.number(&format!("{name}.duration"), &whole(&row, "duration"), summary.duration_ms);
        let stages = sums_of(run, |job| sql.job_ids.contains(job), &summary.work.sums);
        comparison.near(
            &format!("{name}.executorCpuRatio"),
            row["executorCpuRatio"].parse().unwrap(),
            cpu_percent(&stages),
            0.01,
        );
        sums(comparison, name, &row, &stages);
    }
}

fn spreads(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let key = StageKey { stage_id: StageId(id(&row, "stageId")), attempt: 0 };
        let summary = &run.features.stages[&key];
        let figure = |column: &str| format!("{name}.{key}.{column}");
        comparison.number(&figure("stageDurationMs"), &whole(&row, "stageDurationMs"), summary.duration_ms);
        comparison.number(&figure("numTasks"), &whole(&row, "numTasks"), Some(summary.tasks.ended));
        for &(prefix, metric, divisor) in SPREADS {
            let quantiles = summary.quantiles(metric);
            for (suffix, ours) in [
                ("Min", quantiles.map(|q| q.min)),
                ("Median", quantiles.map(|q| q.p50)),
                ("Max", quantiles.map(|q| q.max)),
                ("Total", summary.sum(metric)),
            ] {
                let column = format!("{prefix}{suffix}");
                comparison.number(&figure(&column), &whole(&row, &column), ours.map(|value| value / divisor));
            }
        }
    }
}

fn node_metrics(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let sql = &run.run.sql_executions[&SqlExecutionId(id(&row, "sqlID"))];
        let accumulator = AccumulatorId(id(&row, "accumulatorId"));
        let figure = |column: &str| format!("{name}.{}.{}", accumulator.0, column);
        let nodes = sql.nodes();
        let found = nodes
            .iter()
            .find_map(|node| Some((node, node.metrics.iter().find(|metric| metric.accumulator_id == accumulator)?)));
        let Some((node, metric)) = found else {
            comparison.text(&figure("name"), &Value::from(row["name"].as_str()), None);
            continue;
        };
        comparison.text(&figure("nodeName"), &Value::from(row["nodeName"].as_str()), Some(node.name.trim()));
        // Spark's graph, whose numbers they take, leaves out the adapters between code generation and its inputs.
        let adapters = nodes.iter().filter(|other| other.id < node.id && other.name == "InputAdapter").count() as u64;
        comparison.number(&figure("nodeID"), &whole(&row, "nodeID"), Some(node.id - adapters));
        comparison.text(&figure("name"), &Value::from(row["name"].as_str()), Some(&metric.name));
        comparison.text(&figure("metricType"), &Value::from(row["metricType"].as_str()), Some(&metric.kind));
        comparison.number(
            &figure("total"),
            &whole(&row, "total"),
            metric.value.and_then(|value| u64::try_from(value).ok()),
        );
    }
}

fn durations(comparison: &mut Comparison, run: &Read, name: &str) {
    for row in rows(name) {
        let id = SqlExecutionId(id(&row, "sqlID"));
        let summary = &run.features.sql_executions[&id];
        let figure = |column: &str| format!("{name}.{id}.{column}");
        comparison.text(&figure("App ID"), &Value::from(row["App ID"].as_str()), run.run.application.id.as_deref());
        comparison.number(&figure("SQL Duration"), &whole(&row, "SQL Duration"), summary.duration_ms);
        comparison.number(
            &figure("App Duration"),
            &whole(&row, "App Duration"),
            run.features.application.wall_clock_ms,
        );
        let stages = sums_of(run, |job| run.run.sql_executions[&id].job_ids.contains(job), &summary.work.sums);
        // They never say more than 100.
        let percent = cpu_percent(&stages).map(|percent| percent.min(100.0));
        comparison.near(
            &figure("Executor CPU Time Percent"),
            row["Executor CPU Time Percent"].parse().unwrap(),
            percent,
            0.01,
        );
    }
}

fn failures(comparison: &mut Comparison, run: &Read) {
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    for row in rows("executors_removed_eventlog") {
        let executor = &run.run.executors[&row["executorId"].as_str().into()];
        let figure = |column: &str| format!("executors_removed.{}.{column}", row["executorId"]);
        comparison.number(&figure("time"), &whole(&row, "time"), executor.removed_at.map(|at| at.0 as u64));
        comparison.text(&figure("reason"), &Value::from(row["reason"].as_str()), executor.removed_reason.as_deref());
    }
    for row in rows("removed_blockManagers_eventlog") {
        // A block manager goes some milliseconds before its executor.
        let executor = &run.run.executors[&row["executorId"].as_str().into()];
        let gone = executor.removed_at.map(|at| at.since(Timestamp(id(&row, "time") as i64)).0 <= 1_000);
        comparison.flag(&format!("removed_blockManagers.{}", row["executorId"]), &Value::from(true), gone);
    }
    let removed = run.run.worker_executors().filter(|executor| executor.removed_at.is_some()).count() as u64;
    comparison.number("executors_removed", &Value::from(rows("executors_removed_eventlog").len()), Some(removed));
    for row in rows("jobs_failure_eventlog") {
        let job = &run.run.jobs[&JobId(id(&row, "jobID"))];
        comparison.number("jobs_failure.sqlID", &whole(&row, "sqlID"), job.sql_execution_id.map(|id| id.0));
        let reason = match &job.result {
            Some(JobResult::Failed(reason)) => Some(reason.as_str()),
            _ => None,
        };
        let expected = row["failureReason"].strip_prefix("java.lang.Exception: ").unwrap();
        comparison.text("jobs_failure.failureReason", &Value::from(expected), reason.map(first_line).as_deref());
    }
    comparison.number(
        "jobs_failure",
        &Value::from(rows("jobs_failure_eventlog").len()),
        Some(run.features.application.failed_jobs),
    );
    for row in rows("stages_failure_eventlog") {
        let key = StageKey { stage_id: StageId(id(&row, "stageId")), attempt: id(&row, "attemptId") as u32 };
        let stage = &run.run.stages[&key];
        comparison.text("stages_failure.name", &Value::from(row["name"].as_str()), Some(&stage.name));
        comparison.number("stages_failure.numTasks", &whole(&row, "numTasks"), Some(stage.num_tasks));
        comparison.text(
            "stages_failure.failureReason",
            &Value::from(first_line(&row["failureReason"])),
            stage.failure_reason.as_deref().map(first_line).as_deref(),
        );
    }
    comparison.number(
        "stages_failure",
        &Value::from(rows("stages_failure_eventlog").len()),
        Some(run.features.application.failed_stage_attempts),
    );
    for row in rows("tasks_failure_eventlog") {
        let key = StageKey { stage_id: StageId(id(&row, "stageId")), attempt: id(&row, "stageAttemptId") as u32 };
        let task_id = TaskId(id(&row, "taskId"));
        let stage = &run.run.stages[&key];
        let is = |task: &emberscope_run::TaskRow| {
            task.get(TaskColumn::TaskId) == Some(task_id.0) && task.status() == Some(TaskStatus::Failed)
        };
        let task = stage.tasks.rows().find(is).unwrap_or_else(|| panic!("no failed task {task_id}"));
        let figure = |column: &str| format!("tasks_failure.{task_id}.{column}");
        comparison.number(&figure("attempt"), &whole(&row, "attempt"), task.get(TaskColumn::Attempt));
        comparison.text(&figure("taskType"), &Value::from(row["taskType"].as_str()), stage.task_type.as_deref());
        for &(column, metric) in TASK {
            comparison.number(&figure(column), &whole(&row, column), metric.of(&task));
        }
        let kind = run.run.failure_of(&task).map(|failure| failure.kind.name());
        let expected = row["failureReason"].split(|c: char| !c.is_alphanumeric()).next().unwrap();
        comparison.text(&figure("failureReason"), &Value::from(expected), kind);
    }
    comparison.number(
        "tasks_failure",
        &Value::from(rows("tasks_failure_eventlog").len()),
        Some(run.features.application.tasks.failed),
    );
}
