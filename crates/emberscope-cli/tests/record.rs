//! `emberscope record` without tracers: what it does around any job. tests/python/test_record.py records Spark.

#![expect(clippy::expect_used, reason = "a test that cannot be set up should say so")]
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const LOG: &str = "{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"3.5.1\"}\n\
    {\"Event\":\"SparkListenerApplicationStart\",\"App Name\":\"a\",\"App ID\":\"app-1\",\"Timestamp\":1700000000000,\"User\":\"u\"}\n";

fn record(folder: &Path, options: &[&str], job: &[&str], submit_args: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberscope"));
    command.args(["record", "--out"]).arg(folder.join("run")).args(["--no-user", "--no-kernel"]).args(options);
    command.arg("--").args(job).env_remove("SPARK_CONF_DIR").env_remove("SPARK_HOME").env_remove("PYSPARK_SUBMIT_ARGS");
    command.envs(submit_args.map(|value| ("PYSPARK_SUBMIT_ARGS", value)));
    command.output().expect("the binary is there")
}

fn manifest(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("run/recording.json")).expect("a manifest");
    serde_json::from_str(&text).expect("JSON")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_exit_code_is_that_of_the_job() {
    let folder = TempDir::new().expect("a folder");
    let seen = record(folder.path(), &["--no-diagnose"], &["sh", "-c", "echo out; echo err >&2; exit 7"], None);
    assert_eq!((seen.status.code(), seen.stdout.as_slice()), (Some(7), b"out\n".as_slice()));
    assert!(error(&seen).contains("err\n"), "{}", error(&seen));
    let manifest = manifest(folder.path());
    assert_eq!((&manifest["exit_code"], &manifest["signal"]), (&7.into(), &serde_json::Value::Null));
    assert_eq!(manifest["interrupted"], false);
    assert_eq!(manifest["command"], serde_json::json!(["sh", "-c", "echo out; echo err >&2; exit 7"]));
    // No event log came.
    assert_eq!(manifest["complete"], false);
    assert!(manifest["issues"][0].as_str().is_some_and(|issue| issue.contains("no event log")), "{manifest}");
}

#[test]
fn a_job_that_a_signal_ended_has_128_and_its_number() {
    let folder = TempDir::new().expect("a folder");
    let seen = record(folder.path(), &["--no-diagnose"], &["sh", "-c", "kill -9 $$"], None);
    assert_eq!(seen.status.code(), Some(137));
    let manifest = manifest(folder.path());
    assert_eq!((&manifest["exit_code"], &manifest["signal"]), (&serde_json::Value::Null, &9.into()));
}

#[test]
fn the_log_of_the_run_is_diagnosed() {
    let folder = TempDir::new().expect("a folder");
    // What a job learns of the place of its log: its variable.
    let script = r#"dir=$(echo "$PYSPARK_SUBMIT_ARGS" | sed 's/.*eventLog.dir=file:\/\/\([^ ]*\).*/\1/'); printf '%s' "$0" > "$dir/app-1""#;
    let seen = record(folder.path(), &[], &["sh", "-c", script, LOG], None);
    assert_eq!(seen.status.code(), Some(0), "{}", error(&seen));
    assert!(String::from_utf8_lossy(&seen.stdout).contains("app-1"), "{:?}", seen.stdout);
    let text = std::fs::read_to_string(folder.path().join("run/diagnosis.json")).expect("a diagnosis");
    let diagnosis: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(diagnosis["run"]["application_id"], "app-1");
    let manifest = manifest(folder.path());
    assert_eq!(manifest["complete"], true, "{manifest}");
    assert_eq!(manifest["event_logs"], serde_json::json!([{"path": "eventlog/app-1", "recorded": true}]));
}

#[test]
fn a_log_that_goes_elsewhere_is_found_there() {
    let folder = TempDir::new().expect("a folder");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).expect("a folder");
    std::fs::write(logs.join("old"), LOG).expect("written");
    // File systems stamp with the clock of the last tick.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let variable = format!("--conf spark.eventLog.enabled=true --conf spark.eventLog.dir=file://{}", logs.display());
    let script = "sleep 0.1; printf '%s' \"$0\" > \"$1/new\"";
    let logs_text = logs.to_string_lossy();
    let seen = record(folder.path(), &[], &["sh", "-c", script, LOG, &logs_text], Some(&variable));
    assert_eq!(seen.status.code(), Some(0), "{}", error(&seen));
    assert!(error(&seen).contains("as your settings have it"), "{}", error(&seen));
    let new = logs.join("new").to_string_lossy().into_owned();
    assert_eq!(manifest(folder.path())["event_logs"], serde_json::json!([{"path": new, "recorded": false}]));
    assert!(!folder.path().join("run/eventlog").exists());
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let folder = TempDir::new().expect("a folder");
    for options in
        [&["--slow-after", "10s"][..], &["--ring-buffer", "--max-size=1G"], &["--sample", "0"], &["--max-size", "0"]]
    {
        let seen = record(folder.path(), options, &["true"], None);
        assert_eq!(seen.status.code(), Some(2), "{options:?}");
        assert!(!folder.path().join("run").exists(), "{options:?}");
    }
    // A size belongs to its option with an equals sign: what follows may be the next option.
    let seen = record(folder.path(), &["--ring-buffer", "--slow-after", "1m", "--no-diagnose"], &["true"], None);
    assert_eq!(seen.status.code(), Some(0), "{}", error(&seen));
}
