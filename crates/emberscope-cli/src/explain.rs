//! `emberscope rule`, `problem` and `schema`: what the registries say of themselves.

use std::io::Write;

use emberscope::suggest::did_you_mean;
use emberscope::{Problem, RULES, Rule, Threshold, diagnosis_schema, report_schema};

use crate::CLEAN;
use crate::args::Schema;
use crate::environment::Environment;

/// Explains a rule, or lists them.
pub(crate) fn rule(name: Option<&str>, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let Some(name) = name else {
        list(RULES.iter().map(|rule| (rule.problem.name(), rule.summary)), out, environment)?;
        return Ok(CLEAN);
    };
    let names = || RULES.iter().map(|rule| rule.problem.name());
    let Some(rule) = RULES.iter().find(|rule| rule.problem.name() == name) else {
        let suggestion = did_you_mean(name, names());
        if suggestion.is_empty() && Problem::from_name(name).is_some() {
            anyhow::bail!("no rule finds {name:?}; `emberscope problem {name}` says what it is");
        }
        anyhow::bail!("unknown rule {name:?}{suggestion}; `emberscope rule` lists them");
    };
    write!(out, "{}", rule_page(rule))?;
    Ok(CLEAN)
}

/// Explains a problem, or lists them.
pub(crate) fn problem(name: Option<&str>, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let Some(name) = name else {
        list(Problem::ALL.iter().map(|problem| (problem.name(), problem.meaning())), out, environment)?;
        return Ok(CLEAN);
    };
    let problem =
        emberscope::problem(name).map_err(|message| anyhow::anyhow!("{message}; `emberscope problem` lists them"))?;
    write!(out, "{}", problem_page(problem))?;
    Ok(CLEAN)
}

/// Prints a JSON schema.
pub(crate) fn schema(of: Schema, out: &mut dyn Write) -> anyhow::Result<u8> {
    let schema = match of {
        Schema::Diagnosis => diagnosis_schema(),
        Schema::Report => report_schema(),
    };
    writeln!(out, "{}", serde_json::to_string_pretty(&schema)?)?;
    Ok(CLEAN)
}

fn list<'a>(
    entries: impl Iterator<Item = (&'a str, &'a str)>,
    out: &mut dyn Write,
    environment: &Environment,
) -> anyhow::Result<()> {
    let entries: Vec<(&str, &str)> = entries.collect();
    let column = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let width = environment.width.unwrap_or(100).clamp(80, 120).saturating_sub(column);
    for (name, text) in entries {
        for (index, line) in emberscope_report::wrap(text, width).iter().enumerate() {
            writeln!(out, "{:column$}{line}", if index == 0 { name } else { "" })?;
        }
    }
    Ok(())
}

/// The page of a rule, in Markdown that reads well as text.
pub(crate) fn rule_page(rule: &Rule) -> String {
    let mut page = format!("# {}\n\n{}\n\n{}\n", rule.problem, rule.summary, rule.documentation.trim());
    page.push_str("\n## Thresholds\n\nSet them in the configuration file, for instance:\n\n```toml\n");
    if let Some(first) = rule.thresholds.first() {
        page.push_str(&format!("[rules.{}]\n{} = {}\n", rule.problem, first.name, first.value));
    }
    page.push_str("```\n");
    for threshold in rule.thresholds {
        page.push_str(&format!("\n- `{}` = {}: {}.\n", threshold.name, valued(threshold), one_line(threshold.reason)));
    }
    if !rule.explained_by.is_empty() {
        let causes: Vec<&str> = rule.explained_by.iter().map(|problem| problem.name()).collect();
        page.push_str(&format!(
            "\n## Told with its cause\n\nWhen one of these is found on the same subject, this is told as its consequence: {}.\n",
            causes.join(", ")
        ));
    }
    page
}

/// The page of a problem.
pub(crate) fn problem_page(problem: Problem) -> String {
    let mut page = format!("# {problem}\n\n{}\n\n", problem.meaning());
    page.push_str(&format!("- subject: {}\n", problem.subject()));
    page.push_str(&format!("- seen in the event log as: {}\n", problem.in_event_log()));
    if let Some(trace) = problem.in_trace() {
        page.push_str(&format!("- seen in a trace as: {trace}\n"));
    }
    page.push_str(&format!("- usual advice: {}\n", problem.usual_advice()));
    if RULES.iter().any(|rule| rule.problem == problem) {
        page.push_str(&format!("- found by: `emberscope rule {problem}`\n"));
    } else {
        page.push_str("- found by: no rule on an event log\n");
    }
    page
}

fn valued(threshold: &Threshold) -> String {
    match threshold.unit.symbol() {
        "" | "count" | "ratio" => threshold.value.to_string(),
        unit => format!("{} {unit}", threshold.value),
    }
}

/// The text as one line without a full stop at its end.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
