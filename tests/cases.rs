//! Small logs that we wrote by hand, a folder a case: `input` is a log or a folder of logs, `expected` its facts.
//!
//! To add a case, write `input`, run with `EMBERSCOPE_BLESS=1`, and read `expected` line by line before it is committed:
//! it must say what the log says, not what the reader makes of it.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

use std::fs;
use std::path::Path;

use emberscope_extract::sources::{DiscoverLimits, discover};
use emberscope_tests::{facts, read, root};

/// The facts of every run of an input, or why there is none; paths are relative to the case.
fn facts_of(case: &Path, threads: usize) -> String {
    let mut out = String::new();
    match discover(&case.join("input"), &DiscoverLimits::default()) {
        Err(error) => out.push_str(&format!("error: {error}\n")),
        Ok(found) => {
            for issue in &found.issues {
                out.push_str(&format!("input issue: {issue}\n"));
            }
            for input in &found.runs {
                out.push_str(&format!("== {} ({})\n", input.path, input.kind.name()));
                match read(input, threads) {
                    Ok(run) => out.push_str(&facts(&run)),
                    Err(error) => out.push_str(&format!("error: {error}\n")),
                }
            }
        }
    }
    out.replace(&format!("{}/", case.display()), "")
}

#[test]
fn every_case_has_the_facts_that_it_expects_on_one_thread_and_on_two() {
    let mut cases: Vec<_> =
        fs::read_dir(root().join("tests/cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let found = facts_of(case, 1);
        assert_eq!(facts_of(case, 2), found, "{}: two threads read something else", case.display());
        if std::env::var_os("EMBERSCOPE_BLESS").is_some() {
            fs::write(case.join("expected"), &found).unwrap();
        }
        let expected = fs::read_to_string(case.join("expected")).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}\n{}", case.display(), difference(&expected, &found)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Lines of only one side.
fn difference(expected: &str, found: &str) -> String {
    let only = |sign: &str, of: &str, other: &str| {
        let other: Vec<_> = other.lines().collect();
        of.lines().filter(|line| !other.contains(line)).map(|line| format!("{sign}{line}\n")).collect::<String>()
    };
    format!("{}{}", only("-", expected, found), only("+", found, expected))
}
