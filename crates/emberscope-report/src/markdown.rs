//! Markdown for a pull request: a table of the findings, the details of each folded.

use emberscope::{Advice, Diagnosis, Finding, Report, words};

use crate::escape::{for_fence, for_html, for_markdown};
use crate::phrases;
use crate::table;

/// The report as Markdown; ends with a line feed.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let several = report.diagnoses.len() + report.unreadable.len() > 1;
    if several {
        summary(report, &mut out);
    }
    for diagnosis in &report.diagnoses {
        one(diagnosis, several, &mut out);
    }
    let mut out = out.trim_end().to_owned();
    out.push('\n');
    out
}

fn row(cells: &[String], out: &mut String) {
    out.push_str("| ");
    out.push_str(&cells.join(" | "));
    out.push_str(" |\n");
}

fn heading_rule(columns: usize, out: &mut String) {
    row(&vec!["---".to_owned(); columns], out);
}

fn summary(report: &Report, out: &mut String) {
    out.push_str(&format!("# {}\n\n", words::plural(report.diagnoses.len() as u64, "run")));
    row(&table::HEADINGS.map(str::to_owned), out);
    heading_rule(table::HEADINGS.len(), out);
    for (_, cells) in table::rows(report) {
        row(&cells.map(|cell| for_markdown(&cell)), out);
    }
    out.push('\n');
    if !report.unreadable.is_empty() {
        out.push_str(&format!("{} could not be read:\n\n", words::plural(report.unreadable.len() as u64, "input")));
        for unreadable in &report.unreadable {
            out.push_str(&format!("- {}\n", for_markdown(&unreadable.error)));
        }
        out.push('\n');
    }
}

fn one(diagnosis: &Diagnosis, several: bool, out: &mut String) {
    let level = if several { "##" } else { "#" };
    out.push_str(&format!("{level} {}\n\n", for_markdown(&phrases::title(diagnosis))));
    out.push_str(&format!("**{}**\n\n", for_markdown(&phrases::verdict(diagnosis))));
    let facts = [
        phrases::identity(diagnosis),
        phrases::times(diagnosis),
        phrases::resources(diagnosis),
        phrases::work(diagnosis),
        phrases::losses(diagnosis),
    ];
    for fact in facts.iter().filter(|fact| !fact.is_empty()) {
        out.push_str(&format!("- {}\n", for_markdown(fact)));
    }
    out.push('\n');
    if !diagnosis.findings.is_empty() {
        row(&["", "severity", "problem", "where", "saves", "sure"].map(str::to_owned), out);
        heading_rule(6, out);
        for (index, finding) in diagnosis.findings.iter().enumerate() {
            let more = finding.more_subjects.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            row(
                &[
                    (index + 1).to_string(),
                    finding.severity.name().to_owned(),
                    finding.problem.to_string(),
                    for_markdown(&format!("{}{more}", phrases::place(&finding.subject))),
                    for_markdown(phrases::saves(diagnosis, finding).trim_start_matches("saves ")),
                    for_markdown(&phrases::sure(finding).replace(" sure", "")),
                ],
                out,
            );
        }
        out.push('\n');
    }
    for (index, finding) in diagnosis.findings.iter().enumerate() {
        details(index + 1, finding, out);
    }
    configuration(diagnosis, out);
    reading(diagnosis, out);
}

fn details(number: usize, finding: &Finding, out: &mut String) {
    let html = for_html(&phrases::sentence(&finding.summary));
    out.push_str(&format!("<details><summary>{number}. {}: {html}</summary>\n\n", finding.problem));
    if let Some(because) = phrases::because(finding) {
        out.push_str(&format!("Because: {}\n\n", for_markdown(&phrases::sentence(because))));
    }
    out.push_str(&format!("Where: {}\n\n", for_markdown(&phrases::places(finding).join("; "))));
    if !finding.evidence.is_empty() {
        row(&["evidence", "value", "typical", "threshold"].map(str::to_owned), out);
        heading_rule(4, out);
        for evidence in &finding.evidence {
            let figure = |number: Option<f64>| number.map(|n| phrases::figure(n, evidence.unit)).unwrap_or_default();
            let cells = [
                evidence.feature.clone(),
                phrases::value(evidence),
                figure(evidence.typical),
                figure(evidence.threshold),
            ];
            row(&cells.map(|cell| for_markdown(&cell)), out);
        }
        out.push('\n');
    }
    if !finding.savings.how.is_empty() {
        out.push_str(&format!("Estimate: {}\n\n", for_markdown(&phrases::sentence(&finding.savings.how))));
    }
    finding.advice.iter().for_each(|one| advice(one, out));
    if !finding.advice.is_empty() {
        out.push('\n');
    }
    for consequence in phrases::consequences(finding) {
        let summary = for_markdown(&phrases::sentence(&consequence.summary));
        out.push_str(&format!("Leads to {}: {summary}\n\n", consequence.problem));
    }
    out.push_str("</details>\n\n");
}

fn advice(advice: &Advice, out: &mut String) {
    let tried = advice.tried.as_ref().map(|tried| format!(" {}", phrases::sentence(&phrases::tried(tried))));
    let text = phrases::sentence(&advice.text) + &tried.unwrap_or_default();
    out.push_str(&format!("- {}\n", for_markdown(&text)));
    if !advice.config.is_empty() {
        out.push_str("  ```properties\n");
        for (key, value) in &advice.config {
            out.push_str(&format!("  {}={}\n", for_fence(key), for_fence(value)));
        }
        out.push_str("  ```\n");
    }
}

/// What the run shows of its settings, each folded.
fn configuration(diagnosis: &Diagnosis, out: &mut String) {
    for note in &diagnosis.configuration {
        out.push_str(&format!("<details><summary>{}</summary>\n\n", for_html(&phrases::setting(note))));
        out.push_str(&format!("{}\n\n", for_markdown(&phrases::sentence(&note.evidence))));
        advice(&note.advice, out);
        out.push_str("\n</details>\n\n");
    }
}

fn reading(diagnosis: &Diagnosis, out: &mut String) {
    for source in &diagnosis.sources {
        let line = format!("Read {}: {}.", source.path, phrases::account(diagnosis, source));
        out.push_str(&format!("{}\n\n", for_markdown(&line)));
    }
    for issue in &diagnosis.import_issues {
        let first = issue.first_at.as_ref().map(|at| format!(" (first at {at})")).unwrap_or_default();
        let line = format!("{} {} × {}{first}: {}", issue.severity.name(), issue.code, issue.count, issue.meaning);
        out.push_str(&format!("- {}\n", for_markdown(&line)));
    }
    if !diagnosis.import_issues.is_empty() {
        out.push('\n');
    }
    if !diagnosis.skipped.is_empty() {
        let count = words::plural(diagnosis.skipped.len() as u64, "rule");
        out.push_str(&format!("{} could not look: {}.\n", count, for_markdown(&phrases::skipped(diagnosis))));
    }
}
