//! Every log that Spark 3.5 and 4.3 wrote for us, in every framing and layout, against what another reader (Python, other
//! libraries) counted in it.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

use std::fs;
use std::path::PathBuf;

use emberscope_run::{Run, StageAttempt, TaskColumn as C, TaskEndKind, TaskStatus};
use emberscope_tests::{dump, inputs, read, root};
use serde_json::Value;

/// The logs by their place under `datasets/framings`, each with its facts.
fn logs() -> Vec<(PathBuf, Value)> {
    let folder = root().join("datasets/framings");
    let facts: Value = serde_json::from_slice(&fs::read(folder.join("facts.json")).unwrap()).unwrap();
    facts.as_object().unwrap().iter().map(|(name, facts)| (folder.join(name), facts.clone())).collect()
}

/// The sum of a column over tasks that report it; resubmissions report none.
fn sum(stages: &[&StageAttempt], column: C) -> u64 {
    stages.iter().flat_map(|stage| stage.tasks.rows()).filter_map(|row| row.get(column)).sum()
}

const SUMS: &[(&str, C)] = &[
    ("executor_run_time_ms", C::ExecutorRunTime),
    ("executor_cpu_time_ns", C::ExecutorCpuTime),
    ("executor_deserialize_time_ms", C::ExecutorDeserializeTime),
    ("jvm_gc_time_ms", C::JvmGcTime),
    ("result_size_bytes", C::ResultSize),
    ("memory_bytes_spilled", C::MemoryBytesSpilled),
    ("disk_bytes_spilled", C::DiskBytesSpilled),
    ("input_bytes", C::InputBytes),
    ("input_records", C::InputRecords),
    ("output_bytes", C::OutputBytes),
    ("output_records", C::OutputRecords),
    ("shuffle_read_local_bytes", C::ShuffleLocalBytesRead),
    ("shuffle_read_remote_bytes", C::ShuffleRemoteBytesRead),
    ("shuffle_read_records", C::ShuffleRecordsRead),
    ("shuffle_fetch_wait_time_ms", C::ShuffleFetchWaitTime),
    ("shuffle_write_bytes", C::ShuffleBytesWritten),
    ("shuffle_write_records", C::ShuffleRecordsWritten),
    ("shuffle_write_time_ns", C::ShuffleWriteTime),
];

/// Compares sums and counts of some stage attempts with the facts of them.
fn compare(what: &str, stages: &[&StageAttempt], facts: &Value) {
    let count = |status: TaskStatus| {
        stages.iter().flat_map(|stage| stage.tasks.rows()).filter(|row| row.status() == Some(status)).count() as u64
    };
    let tasks: u64 = stages.iter().map(|stage| stage.tasks.len() as u64).sum();
    assert_eq!(Some(tasks), facts["tasks"].as_u64(), "{what}: tasks");
    assert_eq!(Some(count(TaskStatus::Failed)), facts["failed"].as_u64(), "{what}: failed");
    assert_eq!(Some(count(TaskStatus::Killed)), facts["killed"].as_u64(), "{what}: killed");
    assert_eq!(Some(sum(stages, C::Speculative)), facts["speculative"].as_u64(), "{what}: speculative");
    for &(name, column) in SUMS {
        assert_eq!(Some(sum(stages, column)), facts[name].as_u64(), "{what}: {name}");
    }
}

fn check(what: &str, run: &Run, facts: &Value) {
    let source = &run.sources[0];
    let lines = facts["lines"].as_u64().unwrap();
    assert_eq!(source.events_read + source.events_unknown + source.events_lost, lines, "{what}: lines");
    assert_eq!(Some(source.events_lost), facts["broken_lines"].as_u64(), "{what}: lost");
    assert_eq!(source.events_unknown, 0, "{what}: unknown");
    assert_eq!(Some(source.bytes_decompressed), facts["decoded_bytes"].as_u64(), "{what}: bytes of text");
    let mut codecs = source.codecs.clone();
    codecs.sort();
    assert_eq!(serde_json::to_value(codecs).unwrap(), facts["framing"], "{what}: codecs");
    assert_eq!(run.application.spark_version.as_deref(), facts["spark_version"].as_str(), "{what}: version");
    assert_eq!(run.application.id.as_deref(), facts["application_id"].as_str(), "{what}: id");
    assert_eq!(run.application.name.as_deref(), facts["application_name"].as_str(), "{what}: name");
    assert_eq!(Some(run.application.complete()), facts["application_ended"].as_bool(), "{what}: end");
    let all: Vec<_> = run.stages.values().collect();
    compare(what, &all, &facts["total"]);
    for (key, facts) in facts["stage_attempts"].as_object().unwrap() {
        let of_key: Vec<_> = run.stages.values().filter(|stage| stage.key.to_string() == *key).collect();
        compare(&format!("{what}: stage {key}"), &of_key, facts);
    }
    for (reason, count) in facts["task_end_reasons"].as_object().unwrap() {
        let code = TaskEndKind::from_name(reason).code();
        let ends = all.iter().flat_map(|stage| stage.tasks.rows()).filter(|row| row.get(C::EndReason) == Some(code));
        assert_eq!(Some(ends.count() as u64), count.as_u64(), "{what}: {reason}");
    }
    events(what, run, &facts["events"]);
}

/// What the run keeps of each kind of event, where that is a number.
fn events(what: &str, run: &Run, facts: &Value) {
    let sql = "org.apache.spark.sql.execution.ui.SparkListenerSQL";
    let count = |name: &str| facts[name].as_u64().unwrap_or(0);
    let started: u64 = run.stages.values().map(|stage| stage.tasks_started).sum();
    assert_eq!(started, count("SparkListenerTaskStart"), "{what}: task starts");
    assert_eq!(run.task_count() as u64, count("SparkListenerTaskEnd"), "{what}: task ends");
    assert_eq!(run.jobs.len() as u64, count("SparkListenerJobStart"), "{what}: jobs");
    let ended = run.jobs.values().filter(|job| job.result.is_some()).count() as u64;
    assert_eq!(ended, count("SparkListenerJobEnd"), "{what}: job ends");
    let executions = count("SparkListenerSQLExecutionStart").max(count(&format!("{sql}ExecutionStart")));
    assert_eq!(run.sql_executions.len() as u64, executions, "{what}: SQL executions");
    let replans: u64 = run.sql_executions.values().map(|sql| sql.replans).sum();
    let updates = count("SparkListenerSQLAdaptiveExecutionUpdate").max(count(&format!("{sql}AdaptiveExecutionUpdate")));
    assert_eq!(replans, updates, "{what}: adaptive updates");
    let removed = run.executors.values().filter(|executor| executor.removed_at.is_some()).count() as u64;
    // A decommissioned executor is removed a second time when its process ends.
    let times = if what.contains("decommission") { 2 } else { 1 };
    assert_eq!(times * removed, count("SparkListenerExecutorRemoved"), "{what}: executors removed");
    assert_eq!(run.resource_profiles.len() as u64, count("SparkListenerResourceProfileAdded"), "{what}: profiles");
}

#[test]
fn every_log_that_spark_wrote_has_its_known_facts_on_one_thread_and_on_two() {
    let logs = logs();
    assert!(logs.len() >= 40, "{} logs", logs.len());
    for (path, facts) in logs {
        let runs = inputs(&path);
        assert_eq!(runs.len(), 1, "{}", path.display());
        let one = read(&runs[0], 1).unwrap();
        check(&path.display().to_string(), &one, &facts);
        assert!(dump(&read(&runs[0], 2).unwrap()) == dump(&one), "{}: two threads differ", path.display());
    }
}

#[test]
fn the_codecs_of_one_run_give_the_same_tasks() {
    // Five recordings of one job: times differ, tasks and rows do not.
    for version in ["spark-3.5", "spark-4.3"] {
        for codec in ["", ".lz4", ".lzf", ".snappy", ".zstd"] {
            let path = root().join(format!("datasets/framings/{version}/small{codec}"));
            let run = emberscope_tests::only_run(&path);
            let all: Vec<_> = run.stages.values().collect();
            assert_eq!((run.task_count(), run.issues.iter().count()), (5, 0), "{}", path.display());
            assert!(sum(&all, C::ShuffleRecordsWritten) > 0, "{}", path.display());
        }
    }
}
