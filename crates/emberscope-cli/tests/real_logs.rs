//! Logs that others wrote: every one gives a diagnosis or a clear error, and what is redacted stays hidden.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test that cannot be set up should say so")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use emberscope_cli::{Environment, run};
use serde_json::Value;

/// The folder of real inputs; `None`, said aloud, when this machine has none.
fn logs() -> Option<PathBuf> {
    let shared = std::env::var_os("EMBERSCOPE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let logs = shared.join("real/eventlogs");
    if !logs.is_dir() {
        println!("skipped: {} is not there", logs.display());
        return None;
    }
    Some(logs)
}

fn emberscope(args: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("emberscope").chain(args.iter().copied());
    let code = run(args, &mut out, &mut err, Environment::default());
    (code, String::from_utf8(out).expect("UTF-8"), String::from_utf8(err).expect("UTF-8"))
}

fn report(logs: &Path, options: &[&str]) -> Value {
    let folder = logs.to_str().expect("UTF-8");
    let (code, out, err) = emberscope(&[&["diagnose", "--format", "json"], options, &[folder]].concat());
    assert_eq!(code, 2, "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn every_log_is_diagnosed_and_the_file_that_is_none_is_named() {
    let Some(logs) = logs() else { return };
    let report = report(&logs, &[]);
    assert!(report["diagnoses"].as_array().expect("a list").len() >= 100);
    let unreadable = report["unreadable"].as_array().expect("a list");
    assert_eq!(unreadable.len(), 1, "{unreadable:#?}");
    assert!(
        unreadable[0]["error"].as_str().expect("text").contains("sparklint/invalid_log_file:1: not a Spark event log")
    );
    let findings = report["diagnoses"].as_array().into_iter().flatten();
    for finding in findings.flat_map(|diagnosis| diagnosis["findings"].as_array().into_iter().flatten()) {
        assert!(finding["confidence"].as_f64().is_some_and(|sure| (0.0..=1.0).contains(&sure)), "{finding}");
        assert!(!finding["summary"].as_str().unwrap_or_default().is_empty(), "{finding}");
        assert!(!finding["advice"].as_array().expect("a list").is_empty(), "{finding}");
    }
}

#[test]
fn text_holds_the_width_and_writes_no_control_character() {
    let Some(logs) = logs() else { return };
    let (_, out, _) = emberscope(&["diagnose", logs.to_str().expect("UTF-8")]);
    for line in out.lines().filter(|line| !line.contains("--conf")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn redacted_logs_name_no_application_user_host_or_path() {
    let Some(logs) = logs() else { return };
    let plain = report(&logs, &[]);
    let redacted = report(&logs, &["--redact"]);
    let pairs =
        plain["diagnoses"].as_array().expect("a list").iter().zip(redacted["diagnoses"].as_array().expect("a list"));
    for (plain, redacted) in pairs {
        let mut secrets = BTreeSet::new();
        collect(plain, "", &mut secrets);
        let mut texts = Vec::new();
        strings(redacted, &mut texts);
        for secret in secrets {
            for text in &texts {
                assert!(!stands_alone(text, &secret), "{secret:?} in {text:?}");
            }
        }
    }
}

/// The names of applications, users, hosts and inputs in a diagnosis.
fn collect(value: &Value, key: &str, secrets: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| collect(value, key, secrets)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, secrets)),
        // An application called `app` has the word of its token for a name.
        Value::String(text)
            if ["application_name", "user", "host", "path"].contains(&key)
                && !["app", "user"].contains(&text.as_str()) =>
        {
            secrets.insert(text.clone());
        }
        _ => {}
    }
}

fn strings(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| strings(value, texts)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, texts)),
        Value::String(text) => texts.push(text.clone()),
        _ => {}
    }
}

/// Whether a secret is in a text as a word of its own; a part of a dotted name (`spark.sql.files`) is none.
fn stands_alone(text: &str, secret: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    text.match_indices(secret).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(joins)
            && !text[at + secret.len()..].chars().next().is_some_and(joins)
    })
}
