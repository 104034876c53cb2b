//! How good the findings are, as one page that opens offline and without scripts.

use std::fmt::Write as _;

use emberscope::evaluate::{Confidence, Detectors, Evaluation, ProblemFigures};

use crate::escape::html;
use crate::evaluation::{flagged, no_test};

/// Width and height of a curve in px.
const SIDE: f64 = 150.0;
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de; --one: #0a5fb4; --two: #b35900; --three: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --one: #6cb6ff; --two: #f0a45d; --three: #57ab5a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: .85rem; }
svg { background: var(--paper); } .axis { stroke: var(--line); fill: none; } .curve { stroke: var(--one); fill: none; stroke-width: 2; }
.even { stroke: var(--line); stroke-dasharray: 4 4; } .dot { fill: var(--one); } ul { padding-left: 1.2rem; }
";

/// The page.
pub fn evaluation_html(evaluation: &Evaluation) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Emberscope: how good the findings are</title><style>{STYLE}</style></head>\n<body>\n<h1>How good the findings are</h1>\n"
    );
    let _ = writeln!(
        page,
        "<p>{} labelled runs, {} of them healthy{}; labels of strength 2 to 4. Macro-averaged F1: <strong>{}</strong>.</p>",
        evaluation.runs,
        evaluation.healthy_runs,
        evaluation.healthy_runs_without_warning.map_or_else(
            || ". Counted: what models call, as rules do not look at tables".to_owned(),
            |quiet| format!(
                "; {quiet} healthy ones have no finding of severity warning or above. Counted: findings of severity {} and above",
                evaluation.at.name()
            )
        ),
        number(evaluation.macro_f1),
    );
    detectors(&mut page, evaluation);
    problems(&mut page, &evaluation.problems);
    page.push_str(
        "<h2>Precision over recall</h2>\n<p>By the confidence of what names the problem.</p>\n<div class=\"curves\">\n",
    );
    for figures in &evaluation.problems {
        curve(&mut page, figures);
    }
    page.push_str("</div>\n");
    added(&mut page, evaluation);
    reliability(&mut page, &evaluation.reliability);
    confusion(&mut page, evaluation);
    lists(&mut page, evaluation);
    page.push_str("</body>\n</html>\n");
    page
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn interval(value: Option<(f64, f64)>) -> String {
    value.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"))
}

fn detectors(page: &mut String, evaluation: &Evaluation) {
    page.push_str(
        "<h2>Rules and models</h2>\n<table><caption>Each by itself, and together</caption>\n<tr><th scope=\"col\">findings of</th><th \
         scope=\"col\">macro F1</th><th scope=\"col\">95 % interval</th><th scope=\"col\">healthy runs without a warning</th><th \
         scope=\"col\">findings in a healthy run</th></tr>\n",
    );
    for figures in &evaluation.detectors {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            figures.detectors.name(),
            number(figures.macro_f1),
            interval(figures.macro_f1_interval),
            figures.healthy_runs_without_warning.map_or_else(|| "-".to_owned(), |runs| runs.to_string()),
            number(figures.false_alarms_per_healthy_run),
        );
    }
    page.push_str("</table>\n");
    let Some(trained_on) = evaluation.trained_on_runs else { return };
    let _ = writeln!(page, "<p>{}. {}</p>", flagged(evaluation), no_test(trained_on, evaluation.runs));
}

fn problems(page: &mut String, all: &[ProblemFigures]) {
    page.push_str(
        "<h2>Problems</h2>\n<table><caption>Found of those labelled, by strength; then over strengths 2 to 4</caption>\n<tr><th \
         scope=\"col\">problem</th><th scope=\"col\">1</th><th scope=\"col\">2</th><th scope=\"col\">3</th><th scope=\"col\">4</th><th \
         scope=\"col\">false alarms</th><th scope=\"col\">precision</th><th scope=\"col\">95 % interval</th><th scope=\"col\">recall</th><th \
         scope=\"col\">95 % interval</th><th scope=\"col\">F1</th><th scope=\"col\">95 % interval</th><th \
         scope=\"col\">PR-AUC</th></tr>\n",
    );
    for figures in all {
        let _ = write!(page, "<tr><td>{}</td>", html(figures.problem.name()));
        for at in &figures.by_strength {
            let _ = write!(page, "<td>{}/{}</td>", at.found, at.labelled);
        }
        let _ = writeln!(
            page,
            "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            figures.false_positives,
            number(figures.precision),
            interval(figures.precision_interval),
            number(figures.recall),
            interval(figures.recall_interval),
            number(figures.f1),
            interval(figures.f1_interval),
            number(figures.average_precision),
        );
    }
    page.push_str("</table>\n");
}

/// A frame for a curve, with what it shows in words.
fn frame(page: &mut String, words: &str, inside: &str, caption: &str) {
    let room = SIDE + 12.0;
    let _ = writeln!(
        page,
        "<figure><svg role=\"img\" aria-label=\"{}\" width=\"{SIDE}\" height=\"{SIDE}\" viewBox=\"-6 -6 {room} {room}\"><rect class=\"axis\" width=\"{SIDE}\" \
         height=\"{SIDE}\"/>{inside}</svg><figcaption>{}</figcaption></figure>",
        html(words),
        html(caption),
    );
}

fn at(right: f64, up: f64) -> String {
    format!("{:.1},{:.1}", right * SIDE, (1.0 - up) * SIDE)
}

fn curve(page: &mut String, figures: &ProblemFigures) {
    if figures.curve.is_empty() {
        return;
    }
    let first = figures.curve.first().map_or(1.0, |(_, precision)| *precision);
    let points: Vec<String> = std::iter::once((0.0, first))
        .chain(figures.curve.iter().copied())
        .map(|(recall, precision)| at(recall, precision))
        .collect();
    let name = figures.problem.name();
    let words = format!("{name}: precision over recall, area {}", number(figures.average_precision));
    let line = format!("<polyline class=\"curve\" points=\"{}\"/>", points.join(" "));
    frame(page, &words, &line, &format!("{name} ({})", number(figures.average_precision)));
}

/// What models would add to the rules by the probability from which they speak.
fn added(page: &mut String, evaluation: &Evaluation) {
    let rules = evaluation.detectors.iter().find(|figures| figures.detectors == Detectors::Rules);
    let Some(rules) = rules.and_then(|figures| figures.macro_f1) else { return };
    let known: Vec<(f64, f64)> =
        evaluation.added.iter().filter_map(|added| Some((added.probability, added.macro_f1?))).collect();
    if known.is_empty() {
        return;
    }
    let values = || known.iter().map(|(_, f1)| *f1).chain([rules]);
    let low = (values().fold(1.0, f64::min) * 20.0).floor() / 20.0;
    let high = (values().fold(0.0, f64::max) * 20.0).ceil() / 20.0;
    let up = |f1: f64| (f1 - low) / (high - low).max(0.05);
    let points: Vec<String> = known.iter().map(|&(probability, f1)| at(probability, up(f1))).collect();
    let inside = format!(
        "<polyline class=\"even\" points=\"{} {}\"/><polyline class=\"curve\" points=\"{}\"/>",
        at(0.0, up(rules)),
        at(1.0, up(rules)),
        points.join(" ")
    );
    page.push_str("<h2>If models spoke besides the rules from a probability on</h2>\n<div class=\"curves\">\n");
    let caption = format!("macro F1 ({low:.2} to {high:.2}) over the probability; dashed: rules alone ({rules:.3})");
    frame(page, &caption, &inside, &caption);
    page.push_str(
        "</div>\n<table><tr><th scope=\"col\">probability</th><th scope=\"col\">found besides</th><th \
         scope=\"col\">false alarms</th><th scope=\"col\">macro F1</th></tr>\n",
    );
    for added in &evaluation.added {
        let _ = writeln!(
            page,
            "<tr><td>{:.2}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            added.probability,
            added.found,
            added.false_alarms,
            number(added.macro_f1),
        );
    }
    page.push_str("</table>\n");
}

fn reliability(page: &mut String, groups: &[Confidence]) {
    page.push_str("<h2>How often a finding is right that says it is so sure</h2>\n<div class=\"curves\">\n");
    let mut inside = format!("<polyline class=\"even\" points=\"{} {}\"/>", at(0.0, 0.0), at(1.0, 1.0));
    let mut words = Vec::new();
    for group in groups {
        let _ = write!(
            inside,
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"/>",
            group.confidence * SIDE,
            (1.0 - group.right) * SIDE,
            (group.findings as f64).sqrt().clamp(2.0, 12.0),
        );
        words.push(format!(
            "{:.0} % sure: {:.0} % of {} right",
            100.0 * group.confidence,
            100.0 * group.right,
            group.findings
        ));
    }
    frame(page, &words.join("; "), &inside, "right over confidence; a dot's area is the number of findings");
    page.push_str("</div>\n<ul>\n");
    for line in words {
        let _ = writeln!(page, "<li>{}</li>", html(&line));
    }
    page.push_str("</ul>\n");
}

fn confusion(page: &mut String, evaluation: &Evaluation) {
    if evaluation.confusion.is_empty() {
        return;
    }
    page.push_str(
        "<h2>What is told instead of what is there</h2>\n<table><tr><th scope=\"col\">there</th><th scope=\"col\">told</th><th \
         scope=\"col\">runs</th></tr>\n",
    );
    for pair in &evaluation.confusion {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", pair.labelled, pair.found, pair.runs);
    }
    page.push_str("</table>\n");
}

fn lists(page: &mut String, evaluation: &Evaluation) {
    let mut list = |heading: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(page, "<h2>{heading}</h2>\n<ul>");
        for line in lines {
            let _ = writeln!(page, "<li>{}</li>", html(&line));
        }
        page.push_str("</ul>\n");
    };
    let why = |why: &Option<String>| why.as_ref().map(|why| format!(". {why}")).unwrap_or_default();
    let missed = evaluation.misses.iter();
    list(
        "Missed",
        missed.map(|miss| format!("{} {} in {}{}", miss.problem, miss.strength, miss.run, why(&miss.why))).collect(),
    );
    let alarms = evaluation.false_alarms.iter();
    list(
        "False alarms",
        alarms
            .map(|alarm| format!("{} ({}) in {}{}", alarm.problem, alarm.severity.name(), alarm.run, why(&alarm.why)))
            .collect(),
    );
    list("Logs that could not be read", evaluation.unreadable.clone());
}
