//! How good the findings are, as text.

use emberscope::evaluate::{Calibration, Evaluation, Found, Point, ProblemFigures, ThresholdCurve};
use emberscope::words;

use crate::wrap::wrap;

/// The figures as a table, then every miss and every false alarm.
pub fn evaluation(evaluation: &Evaluation, width: usize) -> String {
    let mut out = format!("{} runs, {} of them healthy", evaluation.runs, evaluation.healthy_runs);
    let counted = if let Some(quiet) = evaluation.healthy_runs_without_warning {
        let of_all = share(ratio(quiet, evaluation.healthy_runs));
        out += &format!("; {quiet} healthy ones have no finding of severity warning or above ({of_all})");
        format!("findings of severity {} and above", evaluation.at.name())
    } else {
        "what models call, as rules do not look at tables".to_owned()
    };
    let macro_f1 = number(evaluation.macro_f1, 3);
    out += &format!("\nCounted: {counted}; labels of strength 2 to 4. Macro-averaged F1: {macro_f1}\n\n");
    out += &detectors(evaluation);
    out += &format!("{} {:>12} {:>6}\n", heading().trim_end(), "95 %", "PR-AUC");
    for figures in &evaluation.problems {
        let interval =
            figures.f1_interval.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"));
        let area = number(figures.average_precision, 2);
        out += &format!("{} {interval:>12} {area:>6}\n", row(figures.problem.name(), figures).trim_end());
    }
    out += &added(evaluation);
    out += &confidence(evaluation);
    let mut list = |heading: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        out += &format!("\n{heading}\n");
        for line in lines {
            for (index, part) in wrap(&line, width.saturating_sub(4)).iter().enumerate() {
                out += if index == 0 { "  " } else { "    " };
                out += part;
                out.push('\n');
            }
        }
    };
    let names = |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let pairs = evaluation.confusion.iter();
    list(
        "Told instead of what is there",
        pairs
            .map(|pair| format!("{} for {}: {}", pair.found, pair.labelled, words::plural(pair.runs, "run")))
            .collect(),
    );
    let misses = evaluation.misses.iter();
    list(
        "Missed",
        misses
            .map(|miss| {
                let found = names(&miss.instead);
                let text = format!("{} {} in {}; found: {found}", miss.problem, miss.strength, miss.run);
                remarked(text, miss.why.as_deref())
            })
            .collect(),
    );
    let alarms = evaluation.false_alarms.iter();
    list(
        "False alarms",
        alarms
            .map(|alarm| {
                let labelled = names(&alarm.labelled);
                let text =
                    format!("{} ({}) in {}; labelled: {labelled}", alarm.problem, alarm.severity.name(), alarm.run);
                remarked(text, alarm.why.as_deref())
            })
            .collect(),
    );
    list("Logs that could not be read", evaluation.unreadable.clone());
    out
}

/// Rules and models, each by themselves and together; nothing where no model looked.
fn detectors(evaluation: &Evaluation) -> String {
    let Some(trained_on) = evaluation.trained_on_runs else { return String::new() };
    let mut out = format!(
        "{:<16} {:>9} {:>15} {:>22} {:>25}\n",
        "findings of", "macro F1", "95 % interval", "healthy, no warning", "findings in a healthy run"
    );
    for figures in &evaluation.detectors {
        let interval = figures.macro_f1_interval.map(|(low, high)| format!("{low:.3} to {high:.3}"));
        out += &format!(
            "{:<16} {:>9} {:>15} {:>22} {:>25}\n",
            figures.detectors.name(),
            number(figures.macro_f1, 3),
            interval.unwrap_or_else(|| "-".to_owned()),
            figures.healthy_runs_without_warning.map_or_else(|| "-".to_owned(), |runs| runs.to_string()),
            number(figures.false_alarms_per_healthy_run, 2),
        );
    }
    out += &format!("{}\n{}\n", flagged(evaluation), no_test(trained_on, evaluation.runs));
    out
}

/// What the isolation forest flags, in a sentence; empty where none looked.
pub(crate) fn flagged(evaluation: &Evaluation) -> String {
    let Some(seen) = &evaluation.anomalies else { return String::new() };
    let mut said = format!(
        "The isolation forest flags {} of {} healthy runs and {} of {} with a severe problem",
        seen.healthy_runs_flagged, seen.healthy_runs, seen.severe_runs_flagged, seen.severe_runs,
    );
    if seen.not_looked_at > 0 {
        said += &format!("; {} are unlike all of its training and were not looked at", seen.not_looked_at);
    }
    said
}

/// What models find in runs like those they learned from says nothing; empty where there are none.
pub(crate) fn no_test(trained_on: u64, runs: u64) -> String {
    if trained_on == 0 {
        return String::new();
    }
    format!(
        "The models were trained on the workload families of {trained_on} of these {runs} runs: what they find there is no test of them\n"
    )
}

/// What models would add to the rules by the probability from which they speak; nothing where either did not look.
fn added(evaluation: &Evaluation) -> String {
    if evaluation.added.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "\nIf models spoke besides the rules from a probability on\n  {:>11} {:>13} {:>13} {:>9}\n",
        "probability", "found besides", "false alarms", "macro F1"
    );
    for rows in evaluation.added.chunk_by(|a, b| (a.found, a.false_alarms) == (b.found, b.false_alarms)) {
        // The lowest probability of those that find the same.
        if let Some(at) = rows.last() {
            let macro_f1 = number(at.macro_f1, 3);
            out += &format!("  {:>11.2} {:>13} {:>13} {macro_f1:>9}\n", at.probability, at.found, at.false_alarms);
        }
    }
    out
}

/// How often findings are right that say how sure they are.
fn confidence(evaluation: &Evaluation) -> String {
    let groups: Vec<String> = evaluation
        .reliability
        .iter()
        .map(|group| {
            let (said, right) = (words::percent(group.confidence), words::percent(group.right));
            format!("  of {} that are {said} sure {right} are right\n", words::plural(group.findings, "finding"))
        })
        .collect();
    let brier = number(evaluation.brier, 3);
    if groups.is_empty() { String::new() } else { format!("\nConfidence (Brier score {brier})\n{}", groups.concat()) }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A line with the remark of the labels.
fn remarked(text: String, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("{text}. {}", why.trim()),
        None => text,
    }
}

/// The curves of thresholds: for each rule what it finds now, for each threshold what it would find by its value. Values
/// with the same figures are one row; `>` marks the row of the value that holds.
pub fn calibration(calibration: &Calibration) -> String {
    let mut out = format!(
        "{} runs. Counted: findings of severity {} and above, labels of strength 2 to 4; one threshold is moved at a time\n",
        calibration.runs,
        calibration.at.name(),
    );
    for rule in &calibration.rules {
        out += &format!("\n{}", heading());
        out += &row(rule.problem.name(), &rule.now);
        for curve in &rule.thresholds {
            out += &format!("  {} = {} {}\n", curve.name, curve.value, curve.unit.symbol());
            out += &rows(curve);
        }
    }
    for log in &calibration.unreadable {
        out += &format!("\n{log}\n");
    }
    out
}

/// The rows of a curve; nothing but a remark where the threshold decides nothing in these runs.
fn rows(curve: &ThresholdCurve) -> String {
    let alike: Vec<&[Point]> = curve.points.chunk_by(|a, b| a.figures == b.figures).collect();
    if let ([_], Some(first), Some(last)) = (alike.as_slice(), curve.points.first(), curve.points.last()) {
        return format!("    decides nothing from {} to {}\n", first.value, last.value);
    }
    let name = |points: &[Point]| {
        let values: Vec<String> = points.iter().map(|point| point.value.to_string()).collect();
        let holds = points.iter().any(|point| point.value.total_cmp(&curve.value).is_eq());
        let range = match values.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            _ => values.concat(),
        };
        format!("  {} {range}", if holds { ">" } else { " " })
    };
    alike.into_iter().filter_map(|points| Some(row(&name(points), &points.first()?.figures))).collect()
}

fn heading() -> String {
    format!(
        "{:<24} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6}\n",
        "problem", "1", "2", "3", "4", "right", "alarms", "missed", "precision", "recall", "F1"
    )
}

fn row(name: &str, figures: &ProblemFigures) -> String {
    let found = |found: &Found| {
        if found.labelled == 0 { "-".to_owned() } else { format!("{}/{}", found.found, found.labelled) }
    };
    let curve: Vec<String> = figures.by_strength.iter().map(|at| format!("{:>7}", found(at))).collect();
    format!(
        "{name:<24} {} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6}\n",
        curve.join(" "),
        figures.true_positives,
        figures.false_positives,
        figures.false_negatives,
        share(figures.precision),
        share(figures.recall),
        figures.f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.2}")),
    )
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use emberscope::evaluate::{Added, Anomalies, Confidence, Confused, DetectorFigures, Detectors, Miss, RuleCurve};
    use emberscope::{Problem, Severity, Unit};

    use super::*;

    fn figures(found: u64) -> ProblemFigures {
        ProblemFigures {
            problem: Problem::DataSkew,
            by_strength: vec![Found { labelled: 0, found: 0 }, Found { labelled: 4, found }],
            true_positives: found,
            false_positives: 0,
            false_negatives: 4 - found,
            precision: Some(1.0),
            recall: Some(found as f64 / 4.0),
            precision_interval: None,
            recall_interval: None,
            f1: Some(0.5),
            f1_interval: None,
            average_precision: None,
            curve: Vec::new(),
            subject_share: None,
        }
    }

    fn judged() -> Evaluation {
        let detectors = |detectors, macro_f1, quiet| DetectorFigures {
            detectors,
            macro_f1: Some(macro_f1),
            macro_f1_interval: Some((macro_f1 - 0.1, macro_f1 + 0.05)),
            healthy_runs_without_warning: quiet,
            false_alarms_per_healthy_run: Some(0.25),
            f1: std::iter::once(("data-skew", macro_f1)).collect(),
        };
        let added = |probability, found, false_alarms, macro_f1| Added { probability, found, false_alarms, macro_f1 };
        Evaluation {
            runs: 8,
            healthy_runs: 4,
            healthy_runs_without_warning: Some(3),
            at: Severity::Info,
            macro_f1: Some(0.857),
            problems: vec![ProblemFigures {
                f1_interval: Some((0.5, 0.95)),
                average_precision: Some(0.75),
                curve: vec![(0.5, 1.0), (0.75, 0.75)],
                ..figures(3)
            }],
            detectors: vec![
                detectors(Detectors::Rules, 0.8, Some(3)),
                detectors(Detectors::Models, 0.7, None),
                detectors(Detectors::Together, 0.857, Some(3)),
            ],
            confusion: vec![Confused { labelled: "data-skew", found: "straggler-task", runs: 1 }],
            added: vec![added(1.0, 0, 0, Some(0.8)), added(0.95, 0, 0, Some(0.8)), added(0.9, 1, 0, Some(0.857))],
            reliability: vec![Confidence { findings: 4, confidence: 0.9, right: 0.75 }],
            brier: Some(0.1),
            anomalies: Some(Anomalies {
                healthy_runs: 4,
                healthy_runs_flagged: 1,
                severe_runs: 2,
                severe_runs_flagged: 2,
                not_looked_at: 1,
            }),
            trained_on_runs: Some(2),
            misses: vec![Miss {
                problem: "data-skew",
                run: "<b>-2".to_owned(),
                strength: 2,
                instead: vec!["straggler-task"],
                why: Some("Its tasks are few.".to_owned()),
            }],
            false_alarms: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn an_evaluation_reads_well_as_text() {
        insta::assert_snapshot!(evaluation(&judged(), 120));
    }

    #[test]
    fn an_evaluation_reads_well_as_a_page() {
        insta::assert_snapshot!(crate::evaluation_html(&judged()));
    }

    #[test]
    fn what_no_rule_looked_at_has_no_severities_and_no_bar() {
        let alone = Evaluation { healthy_runs_without_warning: None, added: Vec::new(), ..judged() };
        let (text, page) = (evaluation(&alone, 120), crate::evaluation_html(&alone));
        for said in [&text, &page] {
            assert!(said.contains("what models call, as rules do not look at tables"), "{said}");
            assert!(!said.contains("no finding of severity warning"), "{said}");
            assert!(!said.contains("If models spoke"), "{said}");
        }
    }

    #[test]
    fn values_that_find_the_same_are_one_row_and_the_one_that_holds_is_marked() {
        let curve = |name, found: [u64; 4]| ThresholdCurve {
            name,
            value: 2.0,
            unit: Unit::Ratio,
            points: [0.0, 1.0, 2.0, 4.0]
                .into_iter()
                .zip(found.map(figures))
                .map(|(value, figures)| Point { value, figures })
                .collect(),
        };
        let thresholds = vec![curve("task_factor", [4, 3, 3, 0]), curve("idle_factor", [3, 3, 3, 3])];
        let rule = RuleCurve { problem: Problem::DataSkew, now: figures(3), thresholds };
        let text = calibration(&Calibration { runs: 9, at: Severity::Info, rules: vec![rule], unreadable: Vec::new() });
        let rows: Vec<&str> = text.lines().collect();
        let starting = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
        assert_eq!((starting("    0  "), starting("  > 1 to 2 "), starting("    4 ")), (1, 1, 1), "{text}");
        assert!(rows.contains(&"    decides nothing from 0 to 4"), "{text}");
        assert_eq!(
            rows.iter().filter(|row| row.contains("  3/4 ")).count(),
            2,
            "the rule as it is, and one row: {text}"
        );
    }
}
