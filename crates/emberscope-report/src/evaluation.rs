//! How good the findings are, as text.

use emberscope::evaluate::{Evaluation, Found, ProblemFigures};

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
    out += &format!(
        "{:<21} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6}\n",
        "problem", "1", "2", "3", "4", "right", "alarms", "missed", "precision", "recall", "F1"
    );
    for problem in &evaluation.problems {
        out += &row(problem);
    }
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
    let misses = evaluation.misses.iter();
    list(
        "Missed",
        misses
            .map(|miss| format!("{} {} in {}; found: {}", miss.problem, miss.strength, miss.run, names(&miss.instead)))
            .collect(),
    );
    let alarms = evaluation.false_alarms.iter();
    list(
        "False alarms",
        alarms
            .map(|alarm| {
                format!(
                    "{} ({}) in {}; labelled: {}",
                    alarm.problem,
                    alarm.severity.name(),
                    alarm.run,
                    names(&alarm.labelled)
                )
            })
            .collect(),
    );
    list("Logs that could not be read", evaluation.unreadable.clone());
    out
}

fn row(problem: &ProblemFigures) -> String {
    let found = |found: &Found| {
        if found.labelled == 0 { "-".to_owned() } else { format!("{}/{}", found.found, found.labelled) }
    };
    let curve: Vec<String> = problem.by_strength.iter().map(|at| format!("{:>7}", found(at))).collect();
    format!(
        "{:<21} {} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6}\n",
        problem.problem.name(),
        curve.join(" "),
        problem.true_positives,
        problem.false_positives,
        problem.false_negatives,
        share(problem.precision),
        share(problem.recall),
        problem.f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.2}")),
    )
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}
