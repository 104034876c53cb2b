//! Text for a terminal: the verdict first, then the findings in the order of time saved.

use emberscope::{Advice, Diagnosis, Finding, Report, Severity, words};

use crate::escape::for_terminal;
use crate::phrases;
use crate::table;
use crate::wrap::{columns, shorten, shorten_middle, wrap};

/// How text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Columns of the terminal; what is written takes between 80 and 120 of them.
    pub width: usize,
    /// Whether to use colours (ANSI sequences).
    pub colour: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 100, colour: false }
    }
}

/// Columns of the labels before a finding's paragraphs.
const LABEL: usize = 12;
/// Columns of a value of evidence that stands in its column.
const VALUE: usize = 16;

/// The report as text; ends with a line feed.
pub fn text(report: &Report, options: &TextOptions) -> String {
    let mut page = Page { out: String::new(), width: options.width.clamp(80, 120), colour: options.colour };
    let several = report.diagnoses.len() + report.unreadable.len() > 1;
    if several {
        page.summary(report);
    }
    for (index, diagnosis) in report.diagnoses.iter().enumerate() {
        if several {
            let rule = "─".repeat(page.width);
            page.line("");
            page.line(&page.paint(Ink::Dim, &rule));
            page.line(&page.paint(Ink::Dim, &format!("run {} of {}", index + 1, report.diagnoses.len())));
        }
        page.diagnosis(diagnosis);
    }
    page.out
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Red,
    Yellow,
    Cyan,
    Green,
}

struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Red => "1;31",
            Ink::Yellow => "33",
            Ink::Cyan => "36",
            Ink::Green => "32",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn severity_ink(severity: Severity) -> Ink {
        match severity {
            Severity::Critical => Ink::Red,
            Severity::Warning => Ink::Yellow,
            Severity::Info => Ink::Cyan,
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// Wrapped text with every line indented.
    fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrap(&for_terminal(text), self.width - indent) {
            let line = format!("{:indent$}{line}", "");
            self.line(&line);
        }
    }

    /// Wrapped text behind a label.
    fn labelled(&mut self, label: &str, text: &str) {
        for (index, line) in wrap(&for_terminal(text), self.width - LABEL).into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let label = self.paint(Ink::Dim, &format!("   {label:<width$}", width = LABEL - 3));
            let label = if index == 0 { label } else { " ".repeat(LABEL) };
            self.line(&format!("{label}{line}"));
        }
    }

    fn summary(&mut self, report: &Report) {
        let runs = report.diagnoses.len() as u64;
        let bad = report.diagnoses.iter().filter(|diagnosis| !diagnosis.findings.is_empty()).count() as u64;
        self.line(&self.paint(Ink::Bold, &format!("{}, {} with findings", words::plural(runs, "run"), bad)));
        self.line("");
        let rows: Vec<(&Diagnosis, [String; 7])> = table::rows(report)
            .into_iter()
            .map(|(diagnosis, row)| (diagnosis, row.map(|cell| for_terminal(&cell))))
            .collect();
        let mut widths = table::HEADINGS.map(columns);
        for (_, row) in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(columns(cell));
            }
        }
        let all: usize = widths.iter().map(|width| width + 2).sum();
        let others = all.saturating_sub(widths[table::NAME] + 2);
        let room = self.width.saturating_sub(others + 2).max(12);
        widths[table::NAME] = widths[table::NAME].min(room);
        self.line(&self.paint(Ink::Dim, &cells(&table::HEADINGS.map(str::to_owned), &widths)));
        for (diagnosis, row) in &rows {
            let line = cells(row, &widths);
            let line = match diagnosis.worst() {
                Some(severity) => self.paint(Self::severity_ink(severity), &line),
                None => line,
            };
            self.line(&line);
        }
        if !report.unreadable.is_empty() {
            self.line("");
            let count = words::plural(report.unreadable.len() as u64, "input");
            self.line(&self.paint(Ink::Bold, &format!("{count} could not be read:")));
            for unreadable in &report.unreadable {
                self.paragraph(2, &unreadable.error);
            }
        }
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        let title = shorten(&for_terminal(&phrases::title(diagnosis)), self.width);
        self.line(&self.paint(Ink::Bold, &title));
        let ink = diagnosis.worst().map_or(Ink::Green, Self::severity_ink);
        for line in wrap(&for_terminal(&phrases::verdict(diagnosis)), self.width) {
            let line = self.paint(ink, &line);
            self.line(&line);
        }
        self.line("");
        let facts = [
            phrases::identity(diagnosis),
            phrases::times(diagnosis),
            phrases::resources(diagnosis),
            phrases::work(diagnosis),
            phrases::losses(diagnosis),
        ];
        for fact in facts.iter().filter(|fact| !fact.is_empty()) {
            self.paragraph(0, fact);
        }
        for (index, finding) in diagnosis.findings.iter().enumerate() {
            self.line("");
            self.finding(index + 1, diagnosis, finding);
        }
        self.line("");
        self.configuration(diagnosis);
        self.reading(diagnosis);
    }

    fn finding(&mut self, number: usize, diagnosis: &Diagnosis, finding: &Finding) {
        let head = format!("{number}. {} {}", finding.severity.name(), finding.problem);
        let head = self.paint(Self::severity_ink(finding.severity), &head);
        let tail = format!("{}, {}", phrases::saves(diagnosis, finding), phrases::sure(finding));
        self.line(&format!("{head} · {tail}"));
        self.paragraph(3, &phrases::sentence(&finding.summary));
        if let Some(because) = phrases::because(finding) {
            self.labelled("because", &phrases::sentence(because));
        }
        self.labelled("where", &phrases::places(finding).join("; "));
        self.evidence(finding);
        if !finding.savings.how.is_empty() && finding.savings.wall_clock_ms.is_some() {
            self.labelled("estimate", &phrases::sentence(&finding.savings.how));
        }
        for (index, advice) in finding.advice.iter().enumerate() {
            self.advice(if index == 0 { "advice" } else { "also" }, advice);
        }
        for consequence in phrases::consequences(finding) {
            self.labelled("leads to", &format!("{}: {}", consequence.problem, phrases::sentence(&consequence.summary)));
        }
        if let Some(more) = finding.advice.iter().map(|advice| advice.more.as_str()).find(|more| !more.is_empty()) {
            self.labelled("more", more);
        }
    }

    fn advice(&mut self, label: &str, advice: &Advice) {
        self.labelled(label, &phrases::sentence(&advice.text));
        if let Some(tried) = &advice.tried {
            self.labelled("", &phrases::sentence(&phrases::tried(tried)));
        }
        for (key, value) in &advice.config {
            // Not wrapped: it is there to be copied.
            let pair = for_terminal(&format!("--conf {}", shell_quoted(&format!("{key}={value}"))));
            let pair = self.paint(Ink::Bold, &pair);
            self.line(&format!("{:LABEL$}{pair}", ""));
        }
    }

    /// What the run shows of its settings.
    fn configuration(&mut self, diagnosis: &Diagnosis) {
        if diagnosis.configuration.is_empty() {
            return;
        }
        self.line(&self.paint(Ink::Bold, "Configuration"));
        for note in &diagnosis.configuration {
            self.paragraph(3, &phrases::setting(note));
            self.labelled("seen", &phrases::sentence(&note.evidence));
            self.advice("advice", &note.advice);
        }
        self.line("");
    }

    fn evidence(&mut self, finding: &Finding) {
        let rows: Vec<[String; 4]> = finding
            .evidence
            .iter()
            .filter(|evidence| !phrases::value(evidence).trim().is_empty())
            .map(|evidence| {
                let (typical, threshold) = phrases::compared(evidence);
                [evidence.feature.clone(), phrases::value(evidence), typical, threshold].map(|cell| for_terminal(&cell))
            })
            .collect();
        // A long text value would push the columns apart: such rows are wrapped by themselves.
        let mut widths = [0; 4];
        for row in rows.iter().filter(|row| columns(&row[1]) <= VALUE) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(columns(cell));
            }
        }
        for (index, row) in rows.iter().enumerate() {
            let label = if index == 0 { "evidence" } else { "" };
            let line = cells(row, &widths);
            let line = if columns(&row[1]) > VALUE || columns(&line) > self.width - LABEL {
                let rest: Vec<&str> = row[1..].iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
                format!("{}: {}", row[0], rest.join(", "))
            } else {
                line.trim_end().to_owned()
            };
            let label = self.paint(Ink::Dim, &format!("   {label:<width$}", width = LABEL - 3));
            let lines = if columns(&line) > self.width - LABEL { wrap(&line, self.width - LABEL) } else { vec![line] };
            for (index, line) in lines.iter().enumerate() {
                let label = if index == 0 { label.clone() } else { " ".repeat(LABEL) };
                self.line(&format!("{label}{line}"));
            }
        }
    }

    /// What was read, what was lost, and which rules could not look.
    fn reading(&mut self, diagnosis: &Diagnosis) {
        for source in &diagnosis.sources {
            self.paragraph(0, &format!("Read {}: {}.", source.path, phrases::account(diagnosis, source)));
        }
        for issue in &diagnosis.import_issues {
            let first = issue.first_at.as_ref().map(|at| format!(" (first at {at})")).unwrap_or_default();
            let text = format!("{} {} × {}{first}: {}", issue.severity.name(), issue.code, issue.count, issue.meaning);
            self.paragraph(2, &text);
        }
        if !diagnosis.skipped.is_empty() {
            let count = words::plural(diagnosis.skipped.len() as u64, "rule");
            self.paragraph(0, &format!("{count} could not look: {}.", phrases::skipped(diagnosis)));
        }
    }
}

/// Cells padded to their columns; those that are wider are shortened.
fn cells<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (index, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let cell = shorten_middle(cell, width);
        let pad = width.saturating_sub(columns(&cell));
        if index > 0 {
            line.push_str("  ");
        }
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', pad));
    }
    line.trim_end().to_owned()
}

/// A word as a POSIX shell takes it: quoted where it must be.
fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-=,:/@%+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
