//! Reads the shared logs and keeps the score of a comparison.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod rest_fields;

use std::path::PathBuf;

use emberscope_extract::features::Features;
use emberscope_extract::sources::{DiscoverLimits, ReadOptions, discover, read_run};
use emberscope_run::{Run, Timestamp};
use serde_json::Value;

/// The folder of the shared real inputs.
pub(crate) fn shared() -> PathBuf {
    let Some(named) = std::env::var_os("EMBERSCOPE_SHARED").map(PathBuf::from) else {
        return PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    };
    // The folder itself, or the one that holds it.
    if named.join("real").is_dir() { named.join("real") } else { named }
}

/// A run that was read, and its features.
pub(crate) struct Read {
    /// Its input.
    pub(crate) path: String,
    /// The run.
    pub(crate) run: Run,
    /// Its features.
    pub(crate) features: Features,
}

/// The runs of some folders.
pub(crate) struct Loaded {
    /// Every run that can be read.
    pub(crate) runs: Vec<Read>,
}

impl Loaded {
    /// The runs of folders or files below `eventlogs`; `None`, and a message, when the shared inputs are absent.
    pub(crate) fn of(inputs: &[&str]) -> Option<Self> {
        let root = shared().join("eventlogs");
        if !root.is_dir() {
            eprintln!("skipped: {} is not there", root.display());
            return None;
        }
        let mut runs = Vec::new();
        for input in inputs {
            let found = discover(&root.join(input), &DiscoverLimits::default())
                .unwrap_or_else(|error| panic!("{input}: {error}"));
            for input in &found.runs {
                let path = input.path.clone();
                let run = read_run(input, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
                let features = Features::of(&run);
                runs.push(Read { path, run, features });
            }
        }
        Some(Self { runs })
    }

    /// The run of an application; of an attempt where that is given.
    pub(crate) fn find(&self, id: &str, attempt: Option<&str>) -> Option<&Read> {
        let is = |read: &&Read| {
            let application = &read.run.application;
            application.id.as_deref() == Some(id) && (attempt.is_none() || application.attempt_id.as_deref() == attempt)
        };
        self.runs.iter().find(is)
    }

    /// The same where it has to be there.
    pub(crate) fn run(&self, id: &str, attempt: Option<&str>) -> &Read {
        self.find(id, attempt).unwrap_or_else(|| panic!("no run of {id} {attempt:?}"))
    }
}

/// What was compared, and what differed.
#[derive(Default)]
pub(crate) struct Comparison {
    compared: usize,
    unknown: usize,
    differences: Vec<(String, String)>,
}

impl Comparison {
    /// Compares a whole number. Null expects nothing. 0 where the log does not say is what others print for unknown.
    pub(crate) fn number(&mut self, figure: &str, expected: &Value, ours: Option<u64>) {
        match expected {
            Value::Null => {}
            expected if expected.as_u64() == Some(0) && ours.is_none() => self.unknown += 1,
            expected => {
                self.compare(figure, expected.as_u64() == ours && ours.is_some(), expected, &format!("{ours:?}"))
            }
        }
    }

    /// Compares a number that is given rounded, to half of `step`.
    pub(crate) fn near(&mut self, figure: &str, expected: f64, ours: Option<f64>, step: f64) {
        if expected == 0.0 && ours.is_none() {
            self.unknown += 1;
            return;
        }
        let near = ours.is_some_and(|ours| (ours - expected).abs() <= step * 0.5 + 1e-9);
        self.compare(figure, near, &Value::from(expected), &format!("{ours:?}"));
    }

    /// Compares a text; null expects nothing.
    pub(crate) fn text(&mut self, figure: &str, expected: &Value, ours: Option<&str>) {
        if !expected.is_null() {
            self.compare(figure, expected.as_str() == ours && ours.is_some(), expected, &format!("{ours:?}"));
        }
    }

    /// Compares a flag; null expects nothing.
    pub(crate) fn flag(&mut self, figure: &str, expected: &Value, ours: Option<bool>) {
        match (expected, ours) {
            (Value::Null, _) => {}
            // False where the log does not say is what others print for unknown.
            (Value::Bool(false), None) => self.unknown += 1,
            (expected, ours) => {
                self.compare(figure, expected.as_bool() == ours && ours.is_some(), expected, &format!("{ours:?}"))
            }
        }
    }

    /// Compares a time as Spark writes it (`2020-07-07T03:11:21.040GMT`); null expects nothing.
    pub(crate) fn time(&mut self, figure: &str, expected: &Value, ours: Option<Timestamp>) {
        let ours = ours.map(|time| time.to_rfc3339().replace('Z', "GMT"));
        self.text(figure, expected, ours.as_deref());
    }

    fn compare(&mut self, figure: &str, equal: bool, expected: &Value, ours: &str) {
        self.compared += 1;
        if !equal {
            let mut expected = expected.to_string();
            expected.truncate((0..=160).rev().find(|&end| expected.is_char_boundary(end)).unwrap_or(0));
            self.differences.push((
                figure.to_owned(),
                format!("expected {expected}, ours {}", ours.chars().take(160).collect::<String>()),
            ));
        }
    }

    /// Every difference has to be intended, every intended one has to occur, and enough has to have been compared.
    pub(crate) fn finish(self, intended: &[(&str, &str)], least: usize) {
        let reason = |figure: &str| intended.iter().position(|(pattern, _)| matches(pattern, figure));
        let mut met = vec![0_usize; intended.len()];
        let mut wrong = Vec::new();
        for (figure, difference) in &self.differences {
            match reason(figure) {
                Some(place) => met[place] += 1,
                None => wrong.push(format!("{figure}: {difference}")),
            }
        }
        eprintln!(
            "{} figures compared, {} unknown here and 0 there, {} differ",
            self.compared,
            self.unknown,
            self.differences.len()
        );
        for ((pattern, reason), met) in intended.iter().zip(&met) {
            eprintln!("  {met} by intent: {pattern}: {reason}");
        }
        assert!(wrong.is_empty(), "{} figures differ:\n{}", wrong.len(), wrong.join("\n"));
        for ((pattern, _), met) in intended.iter().zip(met) {
            assert!(met > 0, "nothing differs any more in {pattern}: strike it from the list");
        }
        assert!(self.compared >= least, "only {} figures were compared", self.compared);
    }
}

/// Whether a figure matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, figure: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = figure.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}
