//! Layouts of the file system.

use super::{content, find, only, summary, tree, write};
use crate::sources::event_log::inputs::{InputError, InputKind, RunInput};
use std::path::Path;

#[track_caller]
fn check(files: &[&str], expected: &[&str]) {
    let root = tree(files);
    assert_eq!(summary(root.path(), root.path()), expected);
}

#[test]
fn a_file_is_one_run_that_can_be_opened_again_and_again() {
    let root = tree(&["application_1_0001_2.zstd.inprogress"]);
    let run = only(find(&root.path().join("application_1_0001_2.zstd.inprogress")).unwrap());
    assert_eq!(run.kind, InputKind::SingleFile);
    assert!(run.in_progress && !run.archived);
    assert_eq!(run.hint.application_id.as_deref(), Some("application_1_0001"));
    assert_eq!(run.hint.attempt_id.as_deref(), Some("2"));
    assert_eq!(run.framed_bytes(), Some(36));
    for _ in 0..2 {
        assert_eq!(content(&run.parts[0]), b"application_1_0001_2.zstd.inprogress");
    }
}

#[test]
fn parts_of_a_rolling_log_are_ordered_by_number() {
    check(
        &[
            "eventlog_v2_app-1-2/events_10_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_1_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_2_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_3_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_4_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_5_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_6_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_7_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_8_app-1-2.zstd",
            "eventlog_v2_app-1-2/events_9_app-1-2.zstd",
            "eventlog_v2_app-1-2/appstatus_app-1-2",
            "eventlog_v2_app-1-2/.events_1_app-1-2.zstd.crc",
        ],
        &["rolling eventlog_v2_app-1-2: events_1_app-1-2.zstd events_2_app-1-2.zstd events_3_app-1-2.zstd \
            events_4_app-1-2.zstd events_5_app-1-2.zstd events_6_app-1-2.zstd events_7_app-1-2.zstd \
            events_8_app-1-2.zstd events_9_app-1-2.zstd events_10_app-1-2.zstd"],
    );
}

#[test]
fn a_rolling_log_may_be_given_itself_and_may_be_running() {
    let root = tree(&[
        "eventlog_v2_application_5_0001_1/events_1_application_5_0001_1",
        "eventlog_v2_application_5_0001_1/appstatus_application_5_0001_1.inprogress",
    ]);
    let run = only(find(&root.path().join("eventlog_v2_application_5_0001_1")).unwrap());
    assert_eq!((run.kind, run.in_progress), (InputKind::Rolling, true));
    assert_eq!(run.hint.application_id.as_deref(), Some("application_5_0001"));
    assert_eq!(run.hint.attempt_id.as_deref(), Some("1"));
}

#[test]
fn the_last_compacted_part_replaces_all_up_to_its_number() {
    check(
        &[
            "eventlog_v2_a/events_1_a.zstd",
            "eventlog_v2_a/events_2_a.zstd.compact",
            "eventlog_v2_a/events_3_a.zstd",
            "eventlog_v2_a/events_4_a.zstd",
            "eventlog_v2_a/events_4_a.zstd.compact",
            "eventlog_v2_a/events_5_a.zstd",
            "eventlog_v2_a/appstatus_a",
        ],
        &["rolling eventlog_v2_a: events_4_a.zstd.compact events_5_a.zstd"],
    );
}

#[test]
fn missing_parts_are_named_and_the_others_read() {
    check(
        &[
            "eventlog_v2_a/events_2_a",
            "eventlog_v2_a/events_3_a",
            "eventlog_v2_a/events_7_a",
            "eventlog_v2_a/appstatus_a",
        ],
        &[
            "rolling eventlog_v2_a: events_2_a events_3_a events_7_a",
            "issue eventlog_v2_a: part 1 is missing",
            "issue eventlog_v2_a: parts 4 to 6 are missing",
        ],
    );
    check(
        &["eventlog_v2_a/events_3_a.compact", "eventlog_v2_a/events_5_a", "eventlog_v2_a/appstatus_a"],
        &["rolling eventlog_v2_a: events_3_a.compact events_5_a", "issue eventlog_v2_a: part 4 is missing"],
    );
}

#[test]
fn a_missing_status_and_a_part_that_is_there_twice_are_noted() {
    let root = tree(&["eventlog_v2_a/events_1_a.zstd", "eventlog_v2_a/events_2_a"]);
    write(root.path(), "eventlog_v2_a/events_1_a", b"the longer one of both, which is read");
    assert_eq!(
        summary(root.path(), root.path()),
        [
            "rolling eventlog_v2_a: events_1_a events_2_a",
            "issue eventlog_v2_a: the appstatus file is missing",
            "issue eventlog_v2_a: several files are part 1; the longest is read",
        ]
    );
}

#[test]
fn a_status_without_parts_is_no_run() {
    let root = tree(&["eventlog_v2_a/appstatus_a.inprogress"]);
    assert_eq!(
        summary(root.path(), &root.path().join("eventlog_v2_a")),
        ["eventlog_v2_a: no event log in it; eventlog_v2_a/a: a rolling log without any part"]
    );
}

#[test]
fn parts_of_several_rolling_logs_thrown_together_are_told_apart() {
    check(
        &["x/events_1_a.lz4", "x/events_2_a.lz4", "x/events_1_b", "x/appstatus_a", "x/appstatus_b.inprogress"],
        &["rolling x/a: events_1_a.lz4 events_2_a.lz4", "running rolling x/b: events_1_b"],
    );
}

#[test]
fn a_single_part_given_by_itself_is_a_single_file() {
    let root = tree(&["eventlog_v2_a/events_2_application_5_0001.zstd", "eventlog_v2_a/appstatus_a"]);
    let run = only(find(&root.path().join("eventlog_v2_a/events_2_application_5_0001.zstd")).unwrap());
    assert_eq!((run.kind, run.parts.len()), (InputKind::SingleFile, 1));
    assert_eq!(run.hint.application_id.as_deref(), Some("application_5_0001"));
}

#[test]
fn databricks_parts_are_ordered_by_time_with_the_undated_last() {
    check(
        &[
            "0615/eventlog/123/eventlog",
            "0615/eventlog/123/eventlog-2021-06-15--15-00.gz",
            "0615/eventlog/123/eventlog-2021-06-15--09-30.gz",
            "0615/eventlog/123/eventlog-2021-07-01--00-00.zst",
            "0615/eventlog/123/eventlog-2020-12-31--23-59",
        ],
        &["databricks-roll-over 0615/eventlog/123: eventlog-2020-12-31--23-59 eventlog-2021-06-15--09-30.gz \
            eventlog-2021-06-15--15-00.gz eventlog-2021-07-01--00-00.zst eventlog"],
    );
    // Names that only look alike are runs of their own.
    check(
        &["d/eventlog", "d/eventlog-2021-06-15", "d/eventlog_1"],
        &[
            "single-file d/eventlog: eventlog",
            "single-file d/eventlog-2021-06-15: eventlog-2021-06-15",
            "single-file d/eventlog_1: eventlog_1",
        ],
    );
}

#[test]
fn a_directory_of_many_runs_is_searched_in_natural_order() {
    let root = tree(&[
        "app-20240101-0010",
        "app-20240101-0009.zstd",
        "_SUCCESS",
        ".hidden",
        "app-20240101-0009.zstd.crc",
        "deep/er/local-1700000000000",
        "eventlog_v2_b/events_1_b",
        "eventlog_v2_b/appstatus_b",
    ]);
    write(root.path(), "empty", b"");
    assert_eq!(
        summary(root.path(), root.path()),
        [
            "single-file app-20240101-0009.zstd: app-20240101-0009.zstd",
            "single-file app-20240101-0010: app-20240101-0010",
            "single-file deep/er/local-1700000000000: local-1700000000000",
            "rolling eventlog_v2_b: events_1_b",
            "issue empty: the file is empty",
        ]
    );
}

#[test]
fn what_is_not_there_or_empty_is_said_with_its_path() {
    let root = tree(&["full"]);
    write(root.path(), "empty", b"");
    std::fs::create_dir(root.path().join("none")).unwrap();
    let says = |name: &str| summary(root.path(), &root.path().join(name));
    assert_eq!(says("missing"), ["missing: no such file or directory"]);
    assert_eq!(says("empty"), ["empty: the file is empty"]);
    assert_eq!(says("none"), ["none: no event log in it"]);
    let under_a_file = find(&root.path().join("full/x"));
    assert!(matches!(under_a_file, Err(InputError::Io { .. })), "{under_a_file:?}");
}

#[test]
fn a_reader_is_a_run_that_can_be_read_once() {
    let run = RunInput::from_reader("-", std::io::Cursor::new(b"events".to_vec()));
    assert_eq!((run.kind, run.path.as_str(), run.framed_bytes()), (InputKind::Stream, "-", None));
    assert_eq!(content(&run.parts[0]), b"events");
    let again = run.parts[0].open().err().unwrap();
    assert_eq!(again.to_string(), "a stream can be read only once");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_end() {
    use std::os::unix::fs::symlink;
    let root = tree(&["runs/a", "elsewhere/b"]);
    let link = |to: &Path, name: &str| symlink(to, root.path().join(name)).unwrap();
    link(&root.path().join("elsewhere/b"), "runs/linked");
    link(root.path(), "runs/up");
    link(Path::new("/nowhere/at/all"), "runs/broken");
    assert_eq!(
        summary(root.path(), &root.path().join("runs")),
        [
            "single-file runs/a: a",
            "single-file runs/linked: linked",
            "single-file runs/up/elsewhere/b: b",
            "issue runs/broken: cannot be read: no such file or directory",
            "issue runs/up/runs: leads to a directory that was read already",
        ]
    );
}

#[test]
fn files_that_are_plainly_no_logs_are_passed_over_in_a_directory_and_counted_in_one_line() {
    let root = tree(&["app-20240101-0009", "record.py", "deep/README.md", "facts.json", "unnamed"]);
    write(root.path(), "log.json", b"{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"3.5.1\"}\n");
    write(root.path(), "cut.txt", b"the head of the log is lost\n{\"Event\":\"SparkListenerApplicationEnd\"}\n");
    write(root.path(), "packed.log", b"\x28\xb5\x2f\xfd and so on");
    assert_eq!(
        summary(root.path(), root.path()),
        [
            "single-file app-20240101-0009: app-20240101-0009",
            "single-file cut.txt: cut.txt",
            "single-file log.json: log.json",
            "single-file packed.log: packed.log",
            "single-file unnamed: unnamed",
            "issue .: passed over 3 files that are no event logs: README.md, facts.json, record.py",
        ]
    );
    // Named explicitly it is an input like any other, and a directory of nothing else holds no log.
    assert_eq!(summary(root.path(), &root.path().join("record.py")), ["single-file record.py: record.py"]);
    assert_eq!(
        summary(root.path(), &root.path().join("deep")),
        ["deep: no event log in it; deep: passed over 1 file that is no event log: README.md"]
    );
}

#[cfg(unix)]
#[test]
fn a_part_that_may_not_be_opened_is_told_of_its_run_and_is_not_called_missing() {
    use std::os::unix::fs::symlink;
    let root = tree(&["eventlog_v2_a/events_1_a", "eventlog_v2_a/events_3_a", "eventlog_v2_a/appstatus_a"]);
    // Tests may run as root, who may open everything: a file that refuses to be read instead.
    symlink("/proc/self/mem", root.path().join("eventlog_v2_a/events_2_a")).unwrap();
    let found = find(root.path()).unwrap();
    assert_eq!(found.issues, found.runs[0].issues);
    let lines = summary(root.path(), root.path());
    assert_eq!(lines[0], "rolling eventlog_v2_a: events_1_a events_3_a");
    assert!(lines[1].starts_with("issue eventlog_v2_a/events_2_a: cannot be read: "), "{lines:?}");
    assert_eq!(lines.len(), 2);
}
