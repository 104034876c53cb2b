//! The summary of several runs, one row each.

use emberscope::{Diagnosis, Report, words};

use crate::phrases;

/// Headings of [`rows`].
pub(crate) const HEADINGS: [&str; 7] = ["", "run", "length", "worst", "findings", "first problem", "saves"];
/// The column that gives way when the terminal is narrow.
pub(crate) const NAME: usize = 1;

/// One row a run: number, name, length, worst severity, number of findings, the first problem and what mending it saves.
pub(crate) fn rows(report: &Report) -> Vec<[String; 7]> {
    report.diagnoses.iter().enumerate().map(|(index, diagnosis)| row(index + 1, diagnosis)).collect()
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
