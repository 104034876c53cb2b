//! Real logs that others wrote: the facts that are known of them, and that nothing of any of them is lost in silence.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use emberscope_extract::features::{Features, Metric};
use emberscope_extract::sources::{DiscoverLimits, discover};
use emberscope_run::{IssueCode, JobResult, Run, StageStatus, TaskColumn, TaskEndKind, TaskStatus};
use emberscope_tests::{bytes, dump, inputs, issue, only_run, read, shared, stage};

const RAPIDS_PROFILING: &str = "spark-rapids-tools/spark-events-profiling";
const RAPIDS_QUALIFICATION: &str = "spark-rapids-tools/spark-events-qualification";

fn logs() -> Option<PathBuf> {
    shared("eventlogs")
}

/// Task ends of a run by Spark's reason.
fn reasons(run: &Run) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for row in run.stages.values().flat_map(|stage| stage.tasks.rows()) {
        let kind = row.get(TaskColumn::EndReason).and_then(TaskEndKind::from_code).unwrap();
        *counts.entry(kind.name()).or_default() += 1;
    }
    counts
}

fn with_status(run: &Run, status: TaskStatus) -> u64 {
    run.stages.values().flat_map(|s| s.tasks.rows()).filter(|row| row.status() == Some(status)).count() as u64
}

fn removed(run: &Run) -> usize {
    run.executors.values().filter(|executor| executor.removed_at.is_some()).count()
}

/// The text of a log by other decoders than Emberscope's, as far as they come.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = match raw {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::Decoder::new(raw).unwrap().read_to_end(&mut text),
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(raw).read_to_end(&mut text),
        _ => {
            text = raw.to_vec();
            Ok(text.len())
        }
    };
    text
}

fn lines(text: &[u8]) -> u64 {
    text.split(|&byte| byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count() as u64
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn every_line_of_every_real_log_is_read_unknown_or_lost_and_every_refusal_names_the_file() {
    let Some(folder) = logs() else { return };
    let (mut runs, mut refused) = (0, Vec::new());
    for input in inputs(&folder) {
        match read(&input, 1) {
            Ok(run) => {
                let source = &run.sources[0];
                let expected: u64 = input.parts.iter().map(|part| lines(&decoded(&bytes(part)))).sum();
                let accounted = source.events_read + source.events_unknown + source.events_lost;
                assert_eq!(accounted, expected, "{}", input.path);
                let said: u64 =
                    [IssueCode::MalformedLine, IssueCode::MalformedEvent, IssueCode::CutLine, IssueCode::LineTooLong]
                        .iter()
                        .map(|&code| run.issues.count(code))
                        .sum();
                assert_eq!(source.events_lost, said, "{}: lost lines that no issue counts", input.path);
                assert_eq!(source.events_unknown, run.issues.count(IssueCode::UnknownEvent), "{}", input.path);
                assert!(dump(&read(&input, 2).unwrap()) == dump(&run), "{}: two threads differ", input.path);
                Features::of(&run);
                runs += 1;
            }
            Err(error) => {
                assert!(error.to_string().starts_with(&input.path), "{error}");
                refused.push(error.to_string().replace(&format!("{}/", folder.display()), ""));
            }
        }
    }
    // 116 files: without the empty one, the appstatus, and the second parts of two runs.
    assert_eq!(runs + refused.len(), 112, "{runs} runs, refused: {refused:?}");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].starts_with("sparklint/invalid_log_file:1: not a Spark event log"), "{refused:?}");
}

#[test]
fn every_real_file_given_alone_is_a_run_or_an_error_that_names_it() {
    let Some(folder) = logs() else { return };
    let mut errors = Vec::new();
    for file in files_below(&folder) {
        let found = match discover(&file, &DiscoverLimits::default()) {
            Ok(found) => found,
            Err(error) => {
                assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
                errors.push(file.file_name().unwrap().to_string_lossy().into_owned());
                continue;
            }
        };
        for input in found.runs {
            if let Err(error) = read(&input, 1) {
                assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
                errors.push(file.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    errors.sort();
    assert_eq!(errors, ["appstatus_local-1623876083964", "file_event_log_empty_test", "invalid_log_file"]);
}

#[test]
fn the_log_with_failing_tasks_and_executors_has_its_known_failures() {
    let Some(folder) = logs() else { return };
    let run = only_run(&folder.join(RAPIDS_PROFILING).join("tasks_executors_fail_compressed_eventlog.zstd"));
    assert_eq!(run.task_count(), 8_630);
    let reasons = reasons(&run);
    assert_eq!((reasons["Resubmitted"], reasons["ExecutorLostFailure"], reasons["FetchFailed"]), (50, 1, 2));
    let failed: Vec<_> = run.stages.values().filter(|s| s.status() == StageStatus::Failed).map(|s| s.key).collect();
    assert!(failed.contains(&stage(238, 0)), "{failed:?}");
    let jobs = run.jobs.values().filter(|job| matches!(job.result, Some(JobResult::Failed(_))));
    assert_eq!(jobs.map(|job| job.id.0).collect::<Vec<_>>(), [79]);
    assert_eq!(removed(&run), 2);
    let without_metrics = run.stages.values().flat_map(|stage| stage.tasks.rows());
    assert!(without_metrics.filter(|row| row.get(TaskColumn::ExecutorRunTime).is_none()).count() >= 53);
    // A resubmission is no failure, and counts nothing twice.
    let features = Features::of(&run);
    assert_eq!((features.application.tasks.resubmitted, features.application.tasks.ended), (50, 8_580));
    assert_eq!(features.application.tasks.failed, with_status(&run, TaskStatus::Failed));
}

#[test]
fn the_shuffle_logs_spilled_what_is_known_of_them() {
    let Some(folder) = logs() else { return };
    for name in ["aqeshuffle_eventlog.zstd", "customshuffle_eventlog.zstd"] {
        let run = only_run(&folder.join(RAPIDS_QUALIFICATION).join(name));
        let spilled = Features::of(&run).application.sum(Metric::DiskBytesSpilled).unwrap();
        assert_eq!(spilled / 100_000, 1_189, "{name}: {spilled}");
    }
}

#[test]
fn the_logs_with_exclusions_have_their_failed_tasks_and_exclusions() {
    let Some(folder) = logs() else { return };
    for (name, failed) in [
        ("app-20161115172038-0000", 10),
        ("app-20161116163331-0000", 8),
        ("app-20180109111548-0000", 2),
        ("application_1516285256255_0012", 4),
    ] {
        let run = only_run(&folder.join("apache-spark/spark-events").join(name));
        assert_eq!(with_status(&run, TaskStatus::Failed), failed, "{name}");
        let exclusions: Vec<_> = run.executors.values().flat_map(|executor| &executor.exclusions).collect();
        let written = fs::read_to_string(folder.join("apache-spark/spark-events").join(name)).unwrap();
        let excluded = written.lines().filter(|line| {
            let event = line.split(',').next().unwrap_or_default();
            event.contains("Blacklisted") || event.contains("Excluded")
        });
        assert_eq!(exclusions.is_empty(), excluded.count() == 0, "{name}");
    }
}

#[test]
fn the_log_with_speculation_has_one_copy_and_one_killed_task() {
    let Some(folder) = logs() else { return };
    let run = only_run(&folder.join("apache-spark/spark-events/application_1628109047826_1317105"));
    let counts = Features::of(&run).application.tasks;
    assert_eq!((counts.speculative, counts.killed, counts.failed), (1, 1, 0));
    assert_eq!(removed(&run), 6);
}

#[test]
fn the_malformed_log_says_that_line_four_is_lost_and_reads_the_rest() {
    let Some(folder) = logs() else { return };
    let path = folder.join(RAPIDS_PROFILING).join("malformed_json_eventlog.zstd");
    let run = only_run(&path);
    let (_, at, _) = issue(&run, IssueCode::MalformedLine).unwrap();
    assert_eq!(at, format!("{}:4", path.display()));
    assert!(run.sources[0].events_read > 4);
}

#[test]
fn the_logs_known_for_garbage_collection_have_their_shares() {
    let Some(folder) = logs() else { return };
    for (name, percent) in [
        ("apache-spark/spark-events/application_1578436911597_0052".to_owned(), 136),
        (format!("{RAPIDS_QUALIFICATION}/jdbc_eventlog.zstd"), 35),
        (format!("{RAPIDS_QUALIFICATION}/udf_func_eventlog"), 28),
        ("sparklint/spark_event_log_example".to_owned(), 26),
    ] {
        let run = only_run(&folder.join(&name));
        let share = Features::of(&run).application.sums().share(Metric::JvmGcTime, Metric::ExecutorRunTime).unwrap();
        assert_eq!((share * 100.0).round() as u64, percent, "{name}: {share}");
    }
}

#[test]
fn the_databricks_directory_is_one_run_with_the_undated_part_last() {
    let Some(folder) = logs() else { return };
    let folder = folder.join(RAPIDS_QUALIFICATION);
    let run = only_run(&folder.join("db_sim_eventlog"));
    assert!(run.application.complete());
    assert_eq!((run.sources[0].parts, run.issues.count(IssueCode::TaskOfUnknownStage)), (2, 0));
    // It was made from the rolling log beside it.
    let rolling = only_run(&folder.join("eventlog_v2_local-1623876083964"));
    assert_eq!((run.task_count(), run.jobs.len()), (rolling.task_count(), rolling.jobs.len()));
}

#[test]
fn logs_of_databricks_say_where_they_come_from_by_their_metadata_or_settings() {
    let Some(folder) = logs() else { return };
    // The simulated directory has neither: it was made from another log.
    for name in [
        "spark-rapids-tools/event_logs/photon_eventlog.zstd",
        "spark-rapids-tools/spark-events-qualification/xgboost_eventlog.zstd",
        "spark-rapids-tools/spark-events-qualification/db_subExecution_id.zstd",
    ] {
        let application = only_run(&folder.join(name)).application;
        assert!(application.databricks && application.spark_version.is_some(), "{name}: {application:?}");
    }
}
