//! How good the findings are, as text.

use emberscope::evaluate::{Calibration, Evaluation, Found, Point, ProblemFigures, ThresholdCurve};
use emberscope::words;

use crate::wrap::wrap;

/// The figures as a table, then every miss and every false alarm.
pub fn evaluation(evaluation: &Evaluation, width: usize) -> String {
    let mut out = format!(
        "{} runs, {} of them healthy; {} healthy ones have no finding of severity warning or above ({})\n",
        evaluation.runs,
        evaluation.healthy_runs,
        evaluation.healthy_runs_without_warning,
        share(ratio(evaluation.healthy_runs_without_warning, evaluation.healthy_runs)),
    );
    out += &format!(
        "Counted: findings of severity {} and above, labels of strength 2 to 4. Macro-averaged F1: {}\n\n",
        evaluation.at.name(),
        evaluation.macro_f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.3}")),
    );
    out += &detectors(evaluation);
    out += &heading();
    for figures in &evaluation.problems {
        out += &row(figures.problem.name(), figures);
    }
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
        "{:<12} {:>9} {:>15} {:>22} {:>25}\n",
        "findings of", "macro F1", "95 % interval", "healthy, no warning", "findings in a healthy run"
    );
    for figures in &evaluation.detectors {
        let interval = figures.macro_f1_interval.map(|(low, high)| format!("{low:.3} to {high:.3}"));
        out += &format!(
            "{:<12} {:>9} {:>15} {:>22} {:>25}\n",
            figures.detectors.name(),
            number(figures.macro_f1, 3),
            interval.unwrap_or_else(|| "-".to_owned()),
            figures.healthy_runs_without_warning.map_or_else(|| "-".to_owned(), |runs| runs.to_string()),
            number(figures.false_alarms_per_healthy_run, 2),
        );
    }
    let seen = &evaluation.anomalies;
    out += &format!(
        "The forest of what is usual flags {} of {} healthy runs and {} of {} with a severe problem\n{}\n",
        seen.healthy_runs_flagged,
        seen.healthy_runs,
        seen.severe_runs_flagged,
        seen.severe_runs,
        no_test(trained_on, evaluation.runs),
    );
    out
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
    use emberscope::evaluate::RuleCurve;
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
            average_precision: None,
            curve: Vec::new(),
            subject_share: None,
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
