//! `emberscope docs`: pages that are made from the registries, so that they cannot be stale without a test that says so.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use emberscope::{Problem, RULES, TRIALS, catalogue, words};

use crate::explain::{one_line, rule_page};
use crate::output::{printable, write_file};
use crate::{CLEAN, FAILED};

const NOTE: &str = "<!-- Made by `emberscope docs`; do not edit. -->\n\n";

/// Every page by its path in the folder of the documentation.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![
        (PathBuf::from("features.md"), catalogue::markdown()),
        (PathBuf::from("problems.md"), problems()),
        (PathBuf::from("rules/README.md"), rules()),
        (PathBuf::from("advice.md"), trials()),
    ];
    pages.extend(
        RULES
            .iter()
            .map(|rule| (PathBuf::from(format!("rules/{}.md", rule.problem)), format!("{NOTE}{}", rule_page(rule)))),
    );
    pages
}

/// Writes the pages, or says which of them are stale; pages of rules that are no more are removed, or said to be stale.
pub(crate) fn docs(dir: &Path, check: bool, err: &mut dyn Write) -> anyhow::Result<u8> {
    let pages = pages();
    let mut stale = Vec::new();
    for (path, text) in &pages {
        let path = dir.join(path);
        if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        if !check {
            let folder = path.parent().unwrap_or(dir);
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            write_file(text.as_bytes(), &path).with_context(|| path.display().to_string())?;
        }
        stale.push(path);
    }
    for path in old_rules(dir)? {
        if !pages.iter().any(|(page, _)| dir.join(page) == path) {
            if !check {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
            stale.push(path);
        }
    }
    if check && !stale.is_empty() {
        for path in stale {
            writeln!(
                err,
                "emberscope: {} is stale; `emberscope docs {}` writes it",
                printable(&path.display().to_string()),
                dir.display()
            )?;
        }
        return Ok(FAILED);
    }
    Ok(CLEAN)
}

fn old_rules(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = dir.join("rules");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn rules() -> String {
    let mut page = format!(
        "{NOTE}# Rules\n\nOne for each problem that an event log can show.\n\n| rule | what it looks for |\n| --- | --- |\n"
    );
    for rule in RULES {
        page.push_str(&format!("| [{0}]({0}.md) | {1} |\n", rule.problem, cell(rule.summary)));
    }
    page
}

/// The table of all advice that was tried, in Markdown.
fn trials() -> String {
    let mut page = format!(
        "{NOTE}# Advice that was tried\n\nPairs of labelled runs (`datasets/lab`): one with a problem, and the same one with the advice of its \
         diagnosis followed. Settings were applied as they were given; changes of code are those that the advice names. `make \
         lab-advice` records the pairs.\n\n\
         | problem | what was done | kind | family, strength | pairs | time after / before | least | most | saved | stated | still found |\n\
         | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for trial in TRIALS.iter() {
        let Some(problem) = trial.problem else { continue };
        let kind = if trial.is_of_settings() { "settings" } else { "code" };
        let stated = trial.stated_saving_s.map_or_else(|| "-".to_owned(), |stated| format!("{stated:.1} s"));
        let mut change = trial.change.clone();
        if trial.failed_before + trial.failed_after > 0 {
            change.push_str(&format!(" ({} failed before, {} after)", trial.failed_before, trial.failed_after));
        }
        if !trial.saves.is_empty() {
            change.push_str(&format!(" (saves {}, not time)", trial.saves));
        }
        let note = if trial.note.is_empty() { String::new() } else { format!(". {}", one_line(&trial.note)) };
        page.push_str(&format!(
            "| {} | {change}{note} | {kind} | {}, {} | {} | {:.2} | {:.2} | {:.2} | {:.1} s of {:.1} s | {stated} | {} |\n",
            problem,
            trial.family,
            trial.strength,
            trial.pairs,
            trial.median_ratio,
            trial.least_ratio,
            trial.most_ratio,
            trial.saved_s,
            trial.before_s,
            trial.found_after,
        ));
    }
    let of_advice = || TRIALS.iter().filter(|trial| trial.problem.is_some());
    page.push_str(&format!(
        "\nIn {} of {} trials all runs took less time and the middle one at least a tenth less, or all failed before and none after. \
         Stated is the saving of the finding, a first estimate; still found, in how many runs as advised the problem was found.\n",
        of_advice().filter(|trial| trial.helped()).count(),
        of_advice().count()
    ));
    if let Some(control) = TRIALS.iter().find(|trial| trial.problem.is_none()) {
        page.push_str(&format!(
            "\nThe control, {} of runs of {} with nothing changed: {:.2} ({:.2} to {:.2}).\n",
            words::plural(control.pairs, "pair"),
            control.family,
            control.median_ratio,
            control.least_ratio,
            control.most_ratio
        ));
    }
    let without: Vec<String> = of_advice()
        .filter(|trial| trial.without_the_advice > 0)
        .map(|trial| format!("{} ({})", trial.name, trial.without_the_advice))
        .collect();
    if !without.is_empty() {
        page.push_str(&format!("\nRuns with the problem that were not given the advice: {}.\n", without.join(", ")));
    }
    let untried: Vec<&str> = RULES
        .iter()
        .filter(|rule| !TRIALS.iter().any(|trial| trial.problem == Some(rule.problem)))
        .map(|rule| rule.problem.name())
        .collect();
    page.push_str(&format!("\nNot tried, and said to be hints on the pages of their rules: {}.\n", untried.join(", ")));
    page
}

fn problems() -> String {
    let mut page = format!(
        "{NOTE}# Problems\n\nOne vocabulary for labels, rules, models, advice and documentation.\n\n\
         | problem | subject | what is true when it is there | seen in the event log as | seen in a trace as | usual advice |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    for &problem in Problem::ALL {
        let name = if RULES.iter().any(|rule| rule.problem == problem) {
            format!("[{problem}](rules/{problem}.md)")
        } else {
            problem.to_string()
        };
        let texts = [
            problem.subject(),
            problem.meaning(),
            problem.in_event_log(),
            problem.in_trace().unwrap_or("-"),
            problem.usual_advice(),
        ];
        page.push_str(&format!("| {name} | {} |\n", texts.map(cell).join(" | ")));
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
