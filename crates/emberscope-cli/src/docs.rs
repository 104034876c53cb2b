//! `emberscope docs`: pages that are made from the registries, so that they cannot be stale without a test that says so.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use emberscope::{Problem, RULES, catalogue};

use crate::explain::rule_page;
use crate::output::{printable, write_file};
use crate::{CLEAN, FAILED};

const NOTE: &str = "<!-- Made by `emberscope docs`; do not edit. -->\n\n";

/// Every page by its path in the folder of the documentation.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![
        (PathBuf::from("features.md"), catalogue::markdown()),
        (PathBuf::from("problems.md"), problems()),
        (PathBuf::from("rules/README.md"), rules()),
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
