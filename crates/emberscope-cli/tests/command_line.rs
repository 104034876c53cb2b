//! What a person sees of the command line, in process.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]
#![expect(clippy::expect_used, reason = "a test that cannot be set up should say so")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use emberscope_cli::{Environment, run};
use tempfile::TempDir;

/// What a command gave.
struct Seen {
    code: u8,
    out: String,
    err: String,
}

fn emberscope(args: &[&str]) -> Seen {
    with(args, Environment::default())
}

fn with(args: &[&str], environment: Environment) -> Seen {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("emberscope").chain(args.iter().copied());
    let code = run(args, &mut out, &mut err, environment);
    Seen { code, out: String::from_utf8(out).expect("UTF-8"), err: String::from_utf8(err).expect("UTF-8") }
}

/// The log of a run: one stage of 16 tasks on 4 cores, of which partition 7 takes `factor` times the data and time.
fn log(id: &str, factor: u64) -> String {
    let start = 1_700_000_000_000_u64;
    let mut lines = vec![
        r#"{"Event":"SparkListenerLogStart","Spark Version":"3.5.1"}"#.to_owned(),
        format!(r#"{{"Event":"SparkListenerApplicationStart","App Name":"nightly {id}","App ID":"{id}","Timestamp":{start},"User":"ada"}}"#),
        r#"{"Event":"SparkListenerEnvironmentUpdate","JVM Information":{},"Spark Properties":{"spark.app.name":"nightly"},"Hadoop Properties":{},"System Properties":{},"Metrics Properties":{},"Classpath Entries":{}}"#.to_owned(),
        format!(r#"{{"Event":"SparkListenerExecutorAdded","Timestamp":{start},"Executor ID":"1","Executor Info":{{"Host":"worker-1.corp","Total Cores":4,"Log Urls":{{}}}}}}"#),
        format!(r#"{{"Event":"SparkListenerJobStart","Job ID":0,"Submission Time":{start},"Stage Infos":[],"Stage IDs":[0],"Properties":{{}}}}"#),
    ];
    let info = |end: &str| {
        format!(
            r#""Stage Info":{{"Stage ID":0,"Stage Attempt ID":0,"Stage Name":"save at Orders.scala:88","Number of Tasks":16,"RDD Info":[],"Parent IDs":[],"Details":"","Submission Time":{start}{end},"Accumulables":[]}}"#
        )
    };
    lines.push(format!(r#"{{"Event":"SparkListenerStageSubmitted",{},"Properties":{{}}}}"#, info("")));
    let mut cores = [0_u64; 4];
    for partition in 0..16_u64 {
        let scale = if partition == 7 { factor } else { 1 };
        let core = cores.iter_mut().min().expect("four cores");
        let launch = start + *core;
        *core += 1_000 * scale;
        let (finish, bytes) = (start + *core, 10_000_000 * scale);
        lines.push(format!(
            r#"{{"Event":"SparkListenerTaskEnd","Stage ID":0,"Stage Attempt ID":0,"Task Type":"ResultTask","Task End Reason":{{"Reason":"Success"}},"Task Info":{{"Task ID":{partition},"Index":{partition},"Attempt":0,"Partition ID":{partition},"Launch Time":{launch},"Executor ID":"1","Host":"worker-1.corp","Locality":"PROCESS_LOCAL","Speculative":false,"Getting Result Time":0,"Finish Time":{finish},"Failed":false,"Killed":false,"Accumulables":[]}},"Task Executor Metrics":{{}},"Task Metrics":{{"Executor Deserialize Time":1,"Executor Deserialize CPU Time":1000000,"Executor Run Time":{run},"Executor CPU Time":{cpu},"Peak Execution Memory":0,"Result Size":1000,"JVM GC Time":0,"Result Serialization Time":0,"Memory Bytes Spilled":0,"Disk Bytes Spilled":0,"Shuffle Read Metrics":{{"Remote Blocks Fetched":0,"Local Blocks Fetched":1,"Fetch Wait Time":0,"Remote Bytes Read":0,"Remote Bytes Read To Disk":0,"Local Bytes Read":{bytes},"Total Records Read":{records}}},"Shuffle Write Metrics":{{"Shuffle Bytes Written":0,"Shuffle Write Time":0,"Shuffle Records Written":0}},"Input Metrics":{{"Bytes Read":0,"Records Read":0}},"Output Metrics":{{"Bytes Written":0,"Records Written":0}},"Updated Blocks":[]}}}}"#,
            run = 1_000 * scale - 10,
            cpu = (1_000 * scale - 20) * 1_000_000,
            records = 1_000 * scale,
        ));
    }
    let end = start + cores.iter().max().expect("four cores");
    lines.push(format!(
        r#"{{"Event":"SparkListenerStageCompleted",{}}}"#,
        info(&format!(r#","Completion Time":{end}"#))
    ));
    lines.push(format!(r#"{{"Event":"SparkListenerJobEnd","Job ID":0,"Completion Time":{end},"Job Result":{{"Result":"JobSucceeded"}}}}"#));
    lines.push(format!(r#"{{"Event":"SparkListenerApplicationEnd","Timestamp":{end}}}"#));
    lines.join("\n") + "\n"
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn path(&self) -> String {
        self.0.path().to_str().expect("UTF-8").to_owned()
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_skewed_run_is_diagnosed_in_every_format() {
    let folder = Folder::new();
    let path = folder.file("app", log("app-1", 10));
    let text = emberscope(&["diagnose", &path]);
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    assert!(
        text.out.starts_with("nightly app-1\nMost time is lost to data-skew in stage 0, partition 7"),
        "{}",
        text.out
    );
    let seen = emberscope(&["diagnose", "--format", "json", "--only", "data-skew", &path]);
    let diagnosis = json(&seen.out);
    assert_eq!(diagnosis["schema_version"], "1.0");
    assert_eq!(diagnosis["run"]["application_id"], "app-1");
    assert_eq!(diagnosis["run"]["tasks"]["succeeded"], 16);
    assert_eq!(diagnosis["findings"][0]["problem"], "data-skew");
    assert_eq!(diagnosis["findings"][0]["subject"]["partition"], 7);
    // 25 s of task time over 4 slots is 6.25 s; partition 7 starts in the second wave and ends at 11 s.
    assert_eq!(diagnosis["findings"][0]["savings"]["wall_clock_ms"], 4_750);
    let markdown = emberscope(&["diagnose", "--format", "markdown", &path]);
    assert!(markdown.out.starts_with("# nightly app-1\n"), "{}", markdown.out);
}

#[test]
fn a_run_without_a_problem_says_what_was_looked_at() {
    let folder = Folder::new();
    let seen = emberscope(&["diagnose", "--only", "data-skew", &folder.file("app", log("app-1", 1))]);
    assert_eq!(seen.code, 0);
    assert!(seen.out.contains("No problem found: 1 rule looked at 1 job, 1 stage attempt, 16 tasks"), "{}", seen.out);
}

#[test]
fn the_exit_code_says_whether_findings_reach_fail_on() {
    let folder = Folder::new();
    let (bad, good) = (folder.file("bad", log("app-1", 10)), folder.file("good", log("app-2", 1)));
    let only = ["diagnose", "--only", "data-skew"];
    let code = |rest: &[&str]| emberscope(&[&only[..], rest].concat()).code;
    assert_eq!(code(&[&bad]), 0);
    assert_eq!(code(&["--fail-on", "critical", &bad]), 1);
    assert_eq!(code(&["--fail-on", "info", &good]), 0);
    assert_eq!(code(&["--fail-on", "info", &good, &bad]), 1);
    let config = folder.file("config.toml", "fail_on = \"info\"");
    assert_eq!(code(&["--config", &config, &bad]), 1);
}

#[test]
fn a_threshold_of_the_configuration_holds() {
    let folder = Folder::new();
    let bad = folder.file("bad", log("app-1", 10));
    let config = folder.file("config.toml", "only = [\"data-skew\"]\n[rules.data-skew]\ntask_factor = 11");
    let seen = emberscope(&["diagnose", "--format", "json", "--config", &config, &bad]);
    assert_eq!(json(&seen.out)["findings"], serde_json::json!([]));
}

#[test]
fn an_unknown_key_of_the_configuration_is_refused_with_file_and_line() {
    let folder = Folder::new();
    let (bad, config) =
        (folder.file("bad", log("app-1", 10)), folder.file("c.toml", "\n[rules.data-skew]\ntask_facto = 4"));
    let seen = emberscope(&["diagnose", "--config", &config, &bad]);
    assert_eq!((seen.code, seen.out.as_str()), (2, ""));
    assert_eq!(
        seen.err,
        format!(
            "emberscope: {config}: line 3: rules.data-skew.task_facto: unknown threshold; did you mean \"task_factor\"?\n"
        )
    );
}

#[test]
fn an_unknown_problem_is_refused_with_the_nearest_name() {
    let seen = emberscope(&["diagnose", "--only", "dataskew", "x"]);
    assert_eq!(seen.code, 2);
    assert_eq!(seen.err, "emberscope: --only: unknown problem \"dataskew\"; did you mean \"data-skew\"?\n");
    let seen = emberscope(&["rule", "dta-skew"]);
    assert_eq!(seen.code, 2);
    assert_eq!(
        seen.err,
        "emberscope: unknown rule \"dta-skew\"; did you mean \"data-skew\"?; `emberscope rule` lists them\n"
    );
}

#[test]
fn inputs_that_hold_no_log_are_named_with_what_is_wrong() {
    let folder = Folder::new();
    let empty = Folder::new();
    let cases = [
        (folder.path() + "/none", "no such file or directory"),
        (empty.path(), "no event log in it"),
        (folder.file("empty", ""), "the file is empty"),
        (folder.file("notes.txt", "Dear diary,\n"), "not a Spark event log"),
        ("s3://bucket/app".to_owned(), "reading from URLs is not supported"),
    ];
    for (path, message) in cases {
        let seen = emberscope(&["diagnose", &path]);
        assert_eq!((seen.code, seen.out.as_str()), (2, ""), "{path}");
        assert!(seen.err.starts_with(&format!("emberscope: {path}")) && seen.err.contains(message), "{}", seen.err);
        assert_eq!(seen.err.lines().count(), 1, "{}", seen.err);
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.file("secret", log("app-1", 1));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("own file");
    if std::fs::File::open(&path).is_ok() {
        println!("skipped: root may read everything");
        return;
    }
    let seen = emberscope(&["diagnose", &path]);
    assert_eq!((seen.code, seen.err), (2, format!("emberscope: {path}: permission denied\n")));
}

#[test]
fn a_bad_log_among_good_ones_is_reported_and_does_not_stop_the_others() {
    let folder = Folder::new();
    folder.file("app-1", log("app-1", 10));
    let bad = folder.file("app-2", "this is no log\n");
    folder.file("app-3", log("app-3", 1));
    let seen = emberscope(&["diagnose", "--format", "json", &folder.path()]);
    assert_eq!(seen.code, 2);
    let report = json(&seen.out);
    let ids: Vec<_> =
        report["diagnoses"].as_array().expect("a list").iter().map(|one| &one["run"]["application_id"]).collect();
    assert_eq!(ids, ["app-1", "app-3"]);
    assert_eq!(report["unreadable"][0]["input"], bad.as_str());
    assert!(seen.err.contains(&bad), "{}", seen.err);
    let text = emberscope(&["diagnose", &folder.path()]);
    assert!(text.out.contains("1 input could not be read:") && text.out.contains("2 runs, "), "{}", text.out);
}

#[test]
fn two_runs_with_one_id_are_both_diagnosed_and_said_to_be_one() {
    let folder = Folder::new();
    let (a, b) = (folder.file("a", log("app-1", 10)), folder.file("b", log("app-1", 1)));
    let seen = emberscope(&["diagnose", "--format", "json", &a, &b]);
    assert_eq!(seen.code, 0);
    assert_eq!(json(&seen.out)["diagnoses"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        seen.err,
        format!("emberscope: note: {a} and {b} are both application app-1; each is diagnosed by itself\n")
    );
    let seen = emberscope(&["diagnose", &a, &b, &b, &b]);
    assert_eq!(
        seen.err,
        format!("emberscope: note: {a}, {b} and 2 more are all application app-1; each is diagnosed by itself\n")
    );
    assert!(seen.out.contains("app-1 · ") && seen.out.contains("run 4 of 4"), "{}", seen.out);
}

#[test]
fn a_log_on_standard_input_is_read() {
    let environment = Environment { stdin: Box::new(Cursor::new(log("app-1", 10))), ..Environment::default() };
    let seen = with(&["diagnose", "--format", "json", "-"], environment);
    assert_eq!(seen.code, 0);
    assert_eq!(json(&seen.out)["sources"][0]["path"], "-");
    let seen = emberscope(&["diagnose", "-", "-"]);
    assert_eq!((seen.code, seen.err.as_str()), (2, "emberscope: standard input (-) can be read only once\n"));
}

#[test]
fn a_written_file_is_whole_and_replaces_the_old_one_only_then() {
    let folder = Folder::new();
    let (path, out) = (folder.file("app", log("app-1", 10)), folder.file("out.json", "old"));
    let seen = emberscope(&["diagnose", "--format", "json", "--out", &out, &path]);
    assert_eq!((seen.code, seen.out.as_str()), (0, ""));
    assert_eq!(json(&std::fs::read_to_string(&out).expect("written"))["schema_version"], "1.0");
    let nowhere = folder.path() + "/none/out.json";
    let seen = emberscope(&["diagnose", "--out", &nowhere, &path]);
    assert_eq!(seen.code, 2);
    assert_eq!(seen.err, format!("emberscope: {nowhere}: no such file or directory\n"));
    let left: Vec<PathBuf> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("entry").path()).collect();
    assert_eq!(left.len(), 2, "no temporary file is left: {left:?}");
}

#[test]
fn redacted_output_names_nobody_in_any_format() {
    let folder = Folder::new();
    let path = folder.file("payroll-app", log("app-1", 10));
    for format in ["text", "json", "markdown"] {
        let seen = emberscope(&["diagnose", "--redact", "--format", format, &path]);
        assert_eq!(seen.code, 0);
        for secret in ["nightly", "worker-1.corp", "payroll", &folder.path(), "user ada", "\"ada\"", "Orders.scala"] {
            assert!(!seen.out.contains(secret), "{secret} in {}", seen.out);
        }
        assert!(seen.out.contains("app-1") && seen.out.contains("save at code-"), "{}", seen.out);
    }
}

#[test]
fn the_number_of_threads_changes_no_byte_of_the_output() {
    let folder = Folder::new();
    (0..9).for_each(|index| {
        folder.file(&format!("app-{index}"), log(&format!("app-{index}"), 1 + index % 4 * 5));
    });
    let one = emberscope(&["diagnose", "--threads", "1", "--format", "json", &folder.path()]);
    let four = emberscope(&["diagnose", "--threads", "4", "--format", "json", &folder.path()]);
    assert_eq!((one.code, &one.out), (four.code, &four.out));
    let environment = Environment { threads: Some("many".to_owned()), ..Environment::default() };
    let seen = with(&["diagnose", &folder.path()], environment);
    assert_eq!(seen.err, "emberscope: EMBERSCOPE_THREADS is \"many\", which is not a whole number over 0\n");
}

#[test]
fn every_rule_and_problem_explains_itself() {
    for rule in emberscope::RULES {
        let seen = emberscope(&["rule", rule.problem.name()]);
        assert_eq!(seen.code, 0);
        for heading in ["## What it means", "## How it is found", "## What to do", "## When not to", "## Thresholds"] {
            assert!(seen.out.contains(heading), "{heading} of {}", rule.problem);
        }
    }
    for problem in emberscope::Problem::ALL {
        let page = emberscope(&["problem", problem.name()]).out;
        assert!(page.split_whitespace().collect::<Vec<_>>().join(" ").contains(problem.meaning()), "{page}");
    }
    assert_eq!(
        emberscope(&["problem"]).out.lines().filter(|line| !line.starts_with(' ')).count(),
        emberscope::Problem::ALL.len()
    );
}

#[test]
fn every_feature_explains_itself_alone_and_behind_its_table() {
    let seen = emberscope(&["feature", "task_duration_p50_ms"]);
    assert_eq!(seen.code, 0);
    for line in ["task_duration_p50_ms", "table     stage_attempts", "unit      ms (integer)"] {
        assert!(seen.out.contains(line), "{line} in {}", seen.out);
    }
    assert_eq!(emberscope(&["feature", "task_duration_sum_ms"]).out.matches("table     ").count(), 6);
    assert_eq!(emberscope(&["feature", "jobs.task_duration_sum_ms"]).out.matches("table     ").count(), 1);
    assert!(emberscope(&["feature", "executors"]).out.starts_with("executors: One executor, the driver among them.\n"));
    let seen = emberscope(&["feature", "task_duration_p51_ms"]);
    assert_eq!(seen.code, 2);
    assert!(seen.err.contains("did you mean \"task_duration_p5"), "{}", seen.err);
}

#[test]
fn help_has_examples_and_offers_only_what_is_there() {
    let help = emberscope(&["diagnose", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Examples:"));
    for absent in ["html", "perfetto"] {
        assert!(!help.out.contains(absent), "{absent}");
    }
    assert!(emberscope(&["completions", "bash"]).out.contains("complete -F _emberscope"));
    let seen = emberscope(&["diagnoze"]);
    assert!(seen.code == 2 && seen.err.contains("diagnose"), "{}", seen.err);
}

#[test]
fn the_committed_pages_are_those_of_the_registries() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../emberscope/docs");
    let docs = docs.to_str().expect("UTF-8");
    if std::env::var_os("EMBERSCOPE_BLESS").is_some() {
        assert_eq!(emberscope(&["docs", docs]).code, 0);
    }
    let seen = emberscope(&["docs", "--check", docs]);
    assert!(seen.code == 0, "stale, run the tests with EMBERSCOPE_BLESS=1: {}", seen.err);
}

#[cfg(feature = "tables")]
#[test]
fn tables_are_written_for_every_run_and_named() {
    let folder = Folder::new();
    let (a, b) = (folder.file("a", log("app-1", 10)), folder.file("b", log("app-2", 1)));
    let out = folder.path() + "/tables";
    let seen = emberscope(&["extract", "--out", &out, "--format", "csv", "--tables", "tasks,application", &a, &b]);
    assert_eq!((seen.code, seen.err.as_str()), (0, ""));
    assert!(seen.out.contains(&format!("{out}/tasks.csv: 32 rows, ")), "{}", seen.out);
    assert_eq!(seen.out.lines().count(), 2);
    let tasks = std::fs::read_to_string(out.clone() + "/tasks.csv").expect("written");
    assert!(tasks.starts_with("application_id,attempt_id,run,"), "{tasks}");
    assert_eq!(tasks.lines().count(), 33);
    assert!(tasks.lines().nth(1).is_some_and(|row| row.starts_with("app-1,")), "{tasks}");
    assert!(tasks.lines().last().is_some_and(|row| row.starts_with("app-2,")), "{tasks}");
    let one = emberscope(&["extract", "--threads", "1", "--out", &out, "--format", "csv", "--tables", "tasks", &a, &b]);
    assert_eq!(one.code, 0);
    assert!(std::fs::read_to_string(out + "/tasks.csv").expect("written") == tasks, "threads change no byte");
}

#[cfg(feature = "tables")]
#[test]
fn a_bad_log_among_good_ones_leaves_the_tables_of_the_good_ones() {
    let folder = Folder::new();
    let (good, bad) = (folder.file("a", log("app-1", 1)), folder.file("b", "no log\n"));
    let out = folder.path() + "/tables";
    let seen = emberscope(&["extract", "--out", &out, "--format", "ndjson", &good, &bad]);
    assert_eq!(seen.code, 2);
    assert!(seen.err.starts_with(&format!("emberscope: {bad}:1: not a Spark event log")), "{}", seen.err);
    assert!(seen.out.contains("/tasks.ndjson: 16 rows, "), "{}", seen.out);
}

#[cfg(feature = "tables")]
#[test]
fn without_a_run_no_table_is_written() {
    let folder = Folder::new();
    let out = folder.path() + "/tables";
    let seen = emberscope(&["extract", "--out", &out, &folder.file("b", "no log\n")]);
    assert_eq!((seen.code, seen.out.as_str()), (2, ""));
    assert_eq!(std::fs::read_dir(&out).map_or(0, Iterator::count), 0);
    let seen = emberscope(&["extract", "--out", &out, "--tables", "task", "x"]);
    assert_eq!(seen.code, 2);
    assert!(
        seen.err.starts_with("emberscope: --tables: unknown table \"task\"; did you mean \"tasks\"?"),
        "{}",
        seen.err
    );
}
