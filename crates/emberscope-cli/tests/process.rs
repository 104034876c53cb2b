//! What only a real process shows: closed pipes and what is written where.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]
#![expect(clippy::expect_used, reason = "a test that cannot be set up should say so")]
#![cfg(unix)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

const BINARY: &str = env!("CARGO_BIN_EXE_emberscope");

fn log() -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    writeln!(file, r#"{{"Event":"SparkListenerLogStart","Spark Version":"3.5.1"}}"#).expect("written");
    writeln!(
        file,
        r#"{{"Event":"SparkListenerApplicationStart","App Name":"a","App ID":"app-1","Timestamp":1700000000000,"User":"u"}}"#
    )
    .expect("written");
    file
}

fn shell(script: &str, log: &NamedTempFile) -> Output {
    Command::new("bash")
        .args(["-c", script])
        .env("EMBERSCOPE", BINARY)
        .env("LOG", log.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash is there")
}

#[test]
fn a_closed_pipe_is_success_and_silent() {
    let log = log();
    for command in
        ["\"$EMBERSCOPE\" problem", "\"$EMBERSCOPE\" diagnose --format json \"$LOG\"", "\"$EMBERSCOPE\" schema"]
    {
        // `true` reads nothing: the first write may already find the pipe closed.
        for reader in ["head -n 1", "true"] {
            let seen = shell(&format!("{command} | {reader} > /dev/null; echo ${{PIPESTATUS[0]}}"), &log);
            assert_eq!(String::from_utf8_lossy(&seen.stdout), "0\n", "{command} | {reader}");
            assert_eq!(String::from_utf8_lossy(&seen.stderr), "", "{command} | {reader}");
        }
    }
}

#[test]
fn a_full_disk_is_an_error() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: no /dev/full here");
        return;
    }
    let seen = shell("\"$EMBERSCOPE\" problem > /dev/full; echo $?", &log());
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "2\n");
    assert!(String::from_utf8_lossy(&seen.stderr).starts_with("emberscope: "), "{:?}", seen.stderr);
}

#[test]
fn output_that_is_no_terminal_has_no_colour_and_stderr_no_bar() {
    let seen = shell("\"$EMBERSCOPE\" diagnose \"$LOG\"", &log());
    assert_eq!(seen.status.code(), Some(0));
    assert!(!seen.stdout.contains(&0x1b));
    assert_eq!(String::from_utf8_lossy(&seen.stderr), "");
}

#[test]
fn a_log_can_be_piped_in() {
    let seen = shell("\"$EMBERSCOPE\" diagnose --format json - < \"$LOG\"", &log());
    assert_eq!(seen.status.code(), Some(0));
    let diagnosis: serde_json::Value = serde_json::from_slice(&seen.stdout).expect("JSON");
    assert_eq!(diagnosis["run"]["application_id"], "app-1");
}
