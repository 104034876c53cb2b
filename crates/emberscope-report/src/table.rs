//! The summary of several runs, one row each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use emberscope::{Diagnosis, Report, words};

use crate::phrases;

/// Headings of [`rows`].
pub(crate) const HEADINGS: [&str; 7] = ["", "run", "length", "worst", "findings", "first problem", "saves"];
/// The column that gives way when the terminal is narrow.
pub(crate) const NAME: usize = 1;

/// One row a run: number, name, length, worst severity, number of findings, the first problem and what mending it saves. The
/// worst run is first, and of those the one that lost most time; runs of one name are told apart by their inputs.
pub(crate) fn rows(report: &Report) -> Vec<(&Diagnosis, [String; 7])> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for diagnosis in &report.diagnoses {
        *names.entry(name(diagnosis)).or_default() += 1;
    }
    let mut rows: Vec<_> = report
        .diagnoses
        .iter()
        .enumerate()
        .map(|(index, diagnosis)| {
            let mut row = row(index + 1, diagnosis);
            if names.get(&row[NAME]).is_some_and(|&count| count > 1)
                && let Some(source) = diagnosis.sources.first()
            {
                row[NAME] = format!("{} · {}", phrases::title(diagnosis), source.path);
            }
            (diagnosis, row)
        })
        .collect();
    rows.sort_by_key(|(diagnosis, _)| Reverse((diagnosis.worst(), lost(diagnosis))));
    rows
}

/// The most wall-clock time that mending one finding of a run would save, in ms.
fn lost(diagnosis: &Diagnosis) -> u64 {
    diagnosis.findings.iter().filter_map(|finding| finding.savings.wall_clock_ms).max().unwrap_or(0)
}

fn row(number: usize, diagnosis: &Diagnosis) -> [String; 7] {
    let first = diagnosis.findings.first();
    [
        number.to_string(),
        name(diagnosis),
        diagnosis.run.wall_clock_ms.map_or_else(|| "?".to_owned(), |ms| words::duration(ms as f64)),
        phrases::severity(diagnosis.worst()).to_owned(),
        diagnosis.findings.len().to_string(),
        first.map_or_else(|| "-".to_owned(), |finding| finding.problem.to_string()),
        first
            .and_then(|finding| finding.savings.wall_clock_ms)
            .filter(|&ms| ms > 0)
            .map_or_else(|| "-".to_owned(), |ms| words::duration(ms as f64)),
    ]
}

fn name(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let mut name = phrases::title(diagnosis);
    if let (Some(id), Some(_)) = (&run.application_id, &run.application_name) {
        name = format!("{name} · {id}");
    }
    if let Some(attempt) = &run.attempt_id {
        name = format!("{name} (attempt {attempt})");
    }
    name
}
