//! Labels of runs: one JSON object a line, with the problems that were brought about and took.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use emberscope_rules::Problem;
use serde::Deserialize;

/// Strengths go from 1, hardly there, to this, severe.
pub const STRENGTHS: u8 = 4;

/// The truth about one run.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledRun {
    /// Its name.
    pub run: String,
    /// Its event log.
    pub log: PathBuf,
    /// The workload that it is of.
    pub family: String,
    /// Which part of the set it belongs to (`training`, `judged`).
    pub split: String,
    /// The problems that are there, with their strength; none in a healthy run.
    pub problems: BTreeMap<Problem, Label>,
    /// Problems that were brought about and had no effect: nothing is said of them either way.
    pub unsure: BTreeSet<Problem>,
    /// Why a problem is not found in this run, or found where it was not brought about, as somebody who looked says.
    pub remarks: BTreeMap<Problem, String>,
    /// Where that is said: `FILE:LINE`.
    pub said_at: String,
}

impl LabelledRun {
    /// Whether nothing was brought about in it, with or without effect.
    pub fn healthy(&self) -> bool {
        self.problems.is_empty() && self.unsure.is_empty()
    }
}

/// A problem that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// From 1, hardly there, to 4, severe.
    pub strength: u8,
    /// The stages, executors and SQL executions it is in, as far as the label says.
    pub subjects: Vec<LabelSubject>,
}

/// What a label points at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSubject {
    /// The kind, as `subject.kind` of a finding: only for a person who reads it.
    pub kind: Option<String>,
    /// The stage.
    pub stage_id: Option<u64>,
    /// The executor.
    pub executor_id: Option<String>,
    /// The SQL execution.
    pub sql_execution_id: Option<u64>,
    /// A job; rules and models point at its stages.
    pub job_id: Option<u64>,
    /// A partition of the stage.
    pub partition: Option<u64>,
    /// An RDD.
    pub rdd_id: Option<u64>,
    /// A streaming query.
    pub name: Option<String>,
}

impl std::fmt::Display for LabelSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers = [("stage", self.stage_id), ("SQL execution", self.sql_execution_id), ("job", self.job_id)];
        let mut parts: Vec<String> =
            numbers.into_iter().filter_map(|(what, id)| Some(format!("{what} {}", id?))).collect();
        parts.extend(self.executor_id.iter().map(|id| format!("executor {id}")));
        f.write_str(&parts.join(", "))
    }
}

impl LabelSubject {
    /// Whether it is something that a finding's subject can be compared with.
    pub(super) fn comparable(&self) -> bool {
        self.stage_id.is_some() || self.executor_id.is_some() || self.sql_execution_id.is_some()
    }
}

/// Labels that cannot be used, each with its line.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Some lines are wrong; all are named.
    #[error("{}", lines.join("\n"))]
    Lines {
        /// `FILE:LINE: what is wrong`.
        lines: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    run: String,
    log: String,
    #[serde(default)]
    family: String,
    #[serde(default)]
    split: String,
    #[serde(default)]
    problems: Vec<ProblemLine>,
    #[serde(default)]
    did_not_take: Vec<String>,
    #[serde(default)]
    remarks: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemLine {
    problem: String,
    #[serde(default = "severe")]
    strength: u8,
    #[serde(default)]
    subjects: Vec<LabelSubject>,
}

fn severe() -> u8 {
    STRENGTHS
}

/// Reads labels. Logs are named relative to the folder of the file and cannot be outside of it.
///
/// # Errors
///
/// When the file cannot be read, or any line is wrong: no JSON, a field that is none of ours, an unknown problem, a strength out of range, a run or a log
/// twice, a problem both there and not. Every wrong line is named.
pub fn read_labels(path: &Path) -> Result<Vec<LabelledRun>, LabelError> {
    let text = std::fs::read_to_string(path).map_err(|source| LabelError::Io { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut runs, mut wrong) = (Vec::new(), Vec::new());
    let (mut seen, mut logs) = (BTreeMap::new(), BTreeMap::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        match labelled(line, folder) {
            Ok(mut run) => {
                run.said_at = format!("{}:{number}", path.display());
                if let Some(first) = seen.insert(run.run.clone(), number) {
                    wrong.push(format!("{}:{number}: run {:?} is in line {first} already", path.display(), run.run));
                } else if let Some(first) = logs.insert(run.log.clone(), number) {
                    let log = run.log.display();
                    wrong.push(format!("{}:{number}: log {log} is in line {first} already", path.display()));
                }
                runs.push(run);
            }
            Err(faults) => wrong.extend(faults.iter().map(|what| format!("{}:{number}: {what}", path.display()))),
        }
    }
    if wrong.is_empty() { Ok(runs) } else { Err(LabelError::Lines { lines: wrong }) }
}

/// A line, or everything that is wrong with it.
fn labelled(line: &str, folder: &Path) -> Result<LabelledRun, Vec<String>> {
    let line: Line = serde_json::from_str(line).map_err(|error| vec![error.to_string()])?;
    let mut wrong = Vec::new();
    let problem = |name: &str| {
        let names = Problem::ALL.iter().map(|problem| problem.name());
        Problem::from_name(name)
            .ok_or_else(|| format!("unknown problem {name:?}{}", crate::suggest::did_you_mean(name, names)))
    };
    let mut problems = BTreeMap::new();
    for found in line.problems {
        if !(1..=STRENGTHS).contains(&found.strength) {
            wrong.push(format!("{}: strength {} is not between 1 and {STRENGTHS}", found.problem, found.strength));
        }
        match problem(&found.problem) {
            Ok(known) => {
                let label = Label { strength: found.strength, subjects: found.subjects };
                if problems.insert(known, label).is_some() {
                    wrong.push(format!("{} is there twice", found.problem));
                }
            }
            Err(what) => wrong.push(what),
        }
    }
    let mut unsure = BTreeSet::new();
    for name in line.did_not_take {
        match problem(&name) {
            Ok(known) if problems.contains_key(&known) => {
                wrong.push(format!("{name} is said to be there and not to have taken"));
            }
            Ok(known) => {
                unsure.insert(known);
            }
            Err(what) => wrong.push(what),
        }
    }
    let log = Path::new(&line.log);
    if log.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        wrong.push(format!("log {:?} is not below the folder of the labels", line.log));
    }
    let mut remarks = BTreeMap::new();
    for (name, text) in line.remarks {
        match problem(&name) {
            Ok(known) => {
                remarks.insert(known, text);
            }
            Err(what) => wrong.push(what),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(LabelledRun {
        run: line.run,
        log: folder.join(log),
        family: line.family,
        split: line.split,
        problems,
        unsure,
        remarks,
        said_at: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<LabelledRun>, LabelError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.jsonl");
        std::fs::write(&path, text).unwrap();
        read_labels(&path)
    }

    #[test]
    fn remarks_name_problems() {
        let runs = read(r#"{"run":"a","log":"a.zstd","remarks":{"data-skew":"the key is not in the log"}}"#).unwrap();
        assert_eq!(runs[0].remarks[&Problem::DataSkew], "the key is not in the log");
        assert!(runs[0].healthy());
        let wrong = read(r#"{"run":"a","log":"a.zstd","remarks":{"data-skeww":"x"}}"#).unwrap_err().to_string();
        assert!(wrong.contains(":1: unknown problem \"data-skeww\""), "{wrong}");
    }

    #[test]
    fn a_line_is_a_run_with_what_is_there_and_what_is_unsure() {
        let runs = read(
            r#"{"run":"a","log":"logs/a.zstd","family":"f","split":"judged","problems":[{"problem":"data-skew","strength":3,"subjects":[{"kind":"stage","stage_id":7}]}],"did_not_take":["memory-spill"]}
{"run":"b","log":"logs/b.zstd"}"#,
        )
        .unwrap();
        let label = &runs[0].problems[&Problem::from_name("data-skew").unwrap()];
        assert_eq!((label.strength, label.subjects[0].stage_id), (3, Some(7)));
        assert!(runs[0].unsure.contains(&Problem::from_name("memory-spill").unwrap()));
        assert!(runs[1].problems.is_empty() && runs[0].log.ends_with("logs/a.zstd"));
    }

    #[test]
    fn a_field_that_is_misspelt_is_not_a_healthy_run() {
        for (text, field) in [
            (r#"{"run":"a","log":"a","problms":[{"problem":"data-skew"}]}"#, "problms"),
            (r#"{"run":"a","log":"a","problems":[{"problem":"data-skew","strenght":1}]}"#, "strenght"),
            (r#"{"run":"a","log":"a","problems":[{"problem":"data-skew","subjects":[{"stage":1}]}]}"#, "`stage`"),
        ] {
            let wrong = read(text).unwrap_err().to_string();
            assert!(wrong.contains(":1: unknown field") && wrong.contains(field), "{wrong}");
        }
    }

    #[test]
    fn every_fault_of_a_line_is_told() {
        let text = r#"{"run":"a","log":"../a","problems":[{"problem":"data-skwe","strength":9}],"did_not_take":["gc-presure"]}"#;
        let Err(LabelError::Lines { lines }) = read(text) else { panic!("wrong labels were read") };
        for (line, part) in lines.iter().zip(["strength 9", "data-skew", "gc-pressure", "../a"]) {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number() {
        let text = r#"{"run":"a","log":"a","problems":[{"problem":"data-skwe"}]}
{"run":"b","log":"../b"}
{"run":"c","log":"c","problems":[{"problem":"data-skew"}],"did_not_take":["data-skew"]}
{"run":"d","log":"d"}
{"run":"d","log":"d"}
{"run":"e","log":"e","problems":[{"problem":"data-skew","strength":9}]}
no json
{"run":"f","log":"d"}"#;
        let Err(LabelError::Lines { lines }) = read(text) else { panic!("wrong labels were read") };
        let numbers: Vec<_> = lines.iter().map(|line| line.split(':').nth(1).unwrap().to_owned()).collect();
        assert_eq!(numbers, ["1", "2", "3", "5", "6", "7", "8"]);
        assert!(lines[0].contains("data-skew"), "{}", lines[0]);
    }
}
