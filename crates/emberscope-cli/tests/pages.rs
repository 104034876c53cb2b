//! The pages that explain things fit the terminal, and inputs beside logs are told apart from logs.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

use emberscope_cli::{Environment, run};
use tempfile::TempDir;

/// Exit code, standard output and standard error of a command on a terminal of so many columns; `None` for a pipe.
fn emberscope(args: &[&str], width: Option<usize>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("emberscope").chain(args.iter().copied());
    let code = run(args, &mut out, &mut err, Environment { width, ..Environment::default() });
    (code, String::from_utf8(out).expect("UTF-8"), String::from_utf8(err).expect("UTF-8"))
}

/// Lines over a width that are neither of a table nor of code.
fn too_long(page: &str, width: usize) -> Vec<&str> {
    let mut code = false;
    page.lines()
        .filter(|line| {
            code ^= line.starts_with("```");
            !code && !line.starts_with('|') && line.chars().count() > width
        })
        .collect()
}

#[test]
fn every_page_fits_the_terminal_in_all_its_parts_and_a_pipe_has_100_columns() {
    let mut pages: Vec<Vec<&str>> = vec![vec!["rule"], vec!["problem"], vec!["feature"]];
    pages.extend(emberscope::RULES.iter().map(|rule| vec!["rule", rule.problem.name()]));
    pages.extend(emberscope::Problem::ALL.iter().map(|problem| vec!["problem", problem.name()]));
    pages.extend(emberscope::catalogue::Table::ALL.iter().map(|table| vec!["feature", table.name()]));
    pages.push(vec!["feature", "task_duration_p50_ms"]);
    for page in pages {
        for (width, columns) in [(Some(60), 80), (Some(80), 80), (Some(93), 93), (None, 100), (Some(200), 120)] {
            let (code, out, _) = emberscope(&page, width);
            assert_eq!(code, 0);
            let long = too_long(&out, columns);
            assert!(long.is_empty(), "{page:?} at {columns}: {long:#?}");
        }
    }
}

#[test]
fn a_wider_terminal_is_used_and_no_word_depends_on_it() {
    let words = |page: &str| page.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let page = |width| emberscope(&["rule", "data-skew"], Some(width)).1;
    assert_eq!(words(&page(80)), words(&page(120)));
    assert!(page(120).lines().count() < page(80).lines().count());
    assert!(too_long(&page(120), 100).len() > 5);
}

const LOG: &str = concat!(
    "{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"3.5.1\"}\n",
    "{\"Event\":\"SparkListenerApplicationStart\",\"App Name\":\"n\",\"App ID\":\"app-1\",\"Timestamp\":1000,\"User\":\"u\"}\n",
    "{\"Event\":\"SparkListenerApplicationEnd\",\"Timestamp\":9000}\n",
);

#[test]
fn notes_and_scripts_beside_logs_are_passed_over_and_are_no_failure() {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("app-1", LOG);
    write("facts.json", "{\"runs\": 3}\n");
    write("make.py", "print('no log')\n");
    let path = folder.path().to_str().expect("UTF-8");
    let (code, _, err) = emberscope(&["diagnose", path], None);
    assert_eq!(
        (code, err),
        (0, format!("emberscope: note: {path}: passed over 2 files that are no event logs: facts.json, make.py\n"))
    );
    std::fs::remove_file(folder.path().join("app-1")).expect("removed");
    let (code, _, err) = emberscope(&["diagnose", path], None);
    assert!(code == 2 && err.contains("no event log in it"), "{err}");
    let script = format!("{path}/make.py");
    let (code, _, err) = emberscope(&["diagnose", &script], None);
    assert!(code == 2 && err.contains("not a Spark event log"), "{err}");
}

#[test]
fn an_archive_that_is_cut_is_said_to_be() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("history.zip");
    std::fs::write(&path, b"PK\x03\x04 and then nothing of a directory").expect("written");
    let path = path.to_str().expect("UTF-8");
    let (code, _, err) = emberscope(&["diagnose", path], None);
    let says =
        "cannot read the zip archive: its directory of entries is not there or not whole: the file is cut or damaged";
    assert_eq!((code, err), (2, format!("emberscope: {path}: {says}\n")));
}

#[test]
fn a_missing_configuration_is_said_in_the_words_of_a_missing_input() {
    for args in [["diagnose", "--config", "none.toml", "x"], ["diagnose", "--only", "data-skew", "none.toml"]] {
        let (code, _, err) = emberscope(&args, None);
        assert_eq!((code, err.as_str()), (2, "emberscope: none.toml: no such file or directory\n"));
    }
}

#[test]
fn a_run_tells_what_it_lost_though_no_rule_fires_and_doubts_times_of_years() {
    let task = r#"{"Event":"SparkListenerTaskEnd","Stage ID":0,"Stage Attempt ID":0,"Task Type":"ResultTask","Task End Reason":{"Reason":"Success"},"Task Info":{"Task ID":0,"Index":0,"Attempt":0,"Launch Time":1700000000000,"Executor ID":"1","Host":"h","Locality":"ANY","Speculative":true,"Finish Time":1700000001000,"Failed":false,"Killed":false},"Task Metrics":{"Executor Run Time":1000,"JVM GC Time":70,"Memory Bytes Spilled":3145728,"Disk Bytes Spilled":1048576}}"#;
    let folder = TempDir::new().expect("a folder");
    let log = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let path = log("spilled", &format!("{}\n{task}\n", LOG.lines().next().expect("a line")));
    let (_, out, _) = emberscope(&["diagnose", &path], None);
    let line =
        "3.0 MiB of memory spilled (1.0 MiB on disk), 7 % of task time in garbage collection, 1 speculative attempt";
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("1 task {line} Read")), "{out}");
    assert!(out.contains("1.0 s as far as the log goes"), "{out}");
    let (_, out, _) = emberscope(&["diagnose", "--format", "json", &path], None);
    let run = &serde_json::from_str::<serde_json::Value>(&out).expect("JSON")["run"];
    let facts =
        ["task_run_ms", "task_gc_ms", "memory_bytes_spilled", "disk_bytes_spilled"].map(|key| run[key].as_u64());
    assert_eq!(facts, [Some(1_000), Some(70), Some(3 << 20), Some(1 << 20)]);

    let early = task.replace("1700000000000", "1500000000000").replace("\"Task ID\":0", "\"Task ID\":1");
    let path = log("years", &format!("{}\n{task}\n{early}\n", LOG.lines().next().expect("a line")));
    let (_, out, _) = emberscope(&["diagnose", &path], None);
    // 200,000,001 s are 2,314 days and 19.6 h.
    assert!(out.contains("2,314 days 20 h if the times in the log were right, which is doubtful"), "{out}");
    assert!(out.contains("warning implausible-times × 1"), "{out}");
}

#[test]
fn a_start_without_id_and_an_environment_without_properties_are_import_issues() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("log");
    let environment =
        "{\"Event\":\"SparkListenerEnvironmentUpdate\",\"JVM Information\":{},\"System Properties\":{}}\n";
    std::fs::write(&path, LOG.replace("\"App ID\":\"app-1\",", "") + environment).expect("written");
    let (_, out, _) = emberscope(&["diagnose", "--format", "json", path.to_str().expect("UTF-8")], None);
    let diagnosis: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let codes: Vec<&str> = diagnosis["import_issues"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|issue| issue["code"].as_str().expect("a name"))
        .collect();
    assert_eq!(codes, ["no-application-id", "no-environment"]);
}

#[cfg(unix)]
#[test]
fn a_part_that_may_not_be_opened_is_in_the_record_of_its_run() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("eventlog_v2_app-1");
    std::fs::create_dir(&path).expect("made");
    std::fs::write(path.join("events_1_app-1"), LOG).expect("written");
    std::fs::write(path.join("appstatus_app-1"), "").expect("written");
    // Tests may run as root, who may open everything: a file that refuses to be read instead.
    std::os::unix::fs::symlink("/proc/self/mem", path.join("events_2_app-1")).expect("linked");
    let path = path.to_str().expect("UTF-8");
    let (code, out, err) = emberscope(&["diagnose", "--format", "json", path], None);
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.starts_with(&format!("emberscope: {path}/events_2_app-1: cannot be read: ")), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let diagnosis = &report["diagnoses"][0];
    assert_eq!(diagnosis["sources"][0]["truncated"], true);
    let issue = &diagnosis["import_issues"][0];
    assert_eq!((&issue["code"], &issue["count"]), (&"unreadable-part".into(), &1.into()));
    assert_eq!(issue["first_at"], format!("{path}/events_2_app-1"));
    let (_, out, _) = emberscope(&["diagnose", path], None);
    assert!(out.split_whitespace().collect::<Vec<_>>().join(" ").contains("not all of its parts"), "{out}");
}
