//! `emberscope rule`, `feature`, `problem` and `schema`: what the registries say of themselves.

use std::io::Write;

use emberscope::catalogue::{self, Feature, Table};
use emberscope::suggest::did_you_mean;
use emberscope::{Problem, RULES, Rule, TRIALS, Threshold, Trial, diagnosis_schema, report_schema, words};

use crate::CLEAN;
use crate::args::Schema;
use crate::environment::Environment;
use crate::reflow::reflow;

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
    write!(out, "{}", reflow(&rule_page(rule), environment.columns()))?;
    Ok(CLEAN)
}

/// Explains a feature or a table, or lists all features by table.
pub(crate) fn feature(name: Option<&str>, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let tables = match name.map(Table::from_name) {
        None => Table::ALL.to_vec(),
        Some(Some(table)) => vec![table],
        Some(None) => Vec::new(),
    };
    for (index, table) in tables.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        let heading = emberscope_report::wrap(&format!("{table}: {}", table.row()), environment.columns());
        writeln!(out, "{gap}{}\n", heading.join("\n"))?;
        let features = table.features();
        list(features.iter().map(|feature| (feature.name.as_str(), feature.meaning.as_str())), out, environment)?;
    }
    let Some(name) = name.filter(|_| tables.is_empty()) else { return Ok(CLEAN) };
    let features = catalogue::named(name);
    if features.is_empty() {
        // A name behind a table's is compared with such names, any other with the names alone.
        let qualified: Vec<String> =
            catalogue::all().map(|feature| format!("{}.{}", feature.table, feature.name)).collect();
        let names: Vec<&str> = if name.contains('.') {
            qualified.iter().map(String::as_str).collect()
        } else {
            let tables = Table::ALL.iter().map(|table| table.name());
            tables.chain(catalogue::all().map(|feature| feature.name.as_str())).collect()
        };
        anyhow::bail!("unknown feature {name:?}{}; `emberscope feature` lists them", did_you_mean(name, names));
    }
    for (index, feature) in features.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        write!(out, "{gap}{}", feature_page(feature, environment))?;
    }
    Ok(CLEAN)
}

fn feature_page(feature: &Feature, environment: &Environment) -> String {
    let unit = match feature.unit.symbol() {
        "" => feature.kind.name().to_owned(),
        symbol => format!("{symbol} ({})", feature.kind.name()),
    };
    let mut page = format!("{}\n", feature.name);
    let facts = [
        ("table", feature.table.name()),
        ("meaning", feature.meaning.as_str()),
        ("unit", unit.as_str()),
        ("Spark", feature.spark_field.as_str()),
        ("null", feature.null_meaning.as_str()),
    ];
    let width = environment.columns().saturating_sub(12);
    for (label, text) in facts {
        for (index, line) in emberscope_report::wrap(text, width).iter().enumerate() {
            page.push_str(&format!("  {:9} {line}\n", if index == 0 { label } else { "" }));
        }
    }
    page
}

/// Explains a problem, or lists them.
pub(crate) fn problem(name: Option<&str>, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let Some(name) = name else {
        list(Problem::ALL.iter().map(|problem| (problem.name(), problem.meaning())), out, environment)?;
        return Ok(CLEAN);
    };
    let problem =
        emberscope::problem(name).map_err(|message| anyhow::anyhow!("{message}; `emberscope problem` lists them"))?;
    write!(out, "{}", reflow(&problem_page(problem), environment.columns()))?;
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
    let width = environment.columns().saturating_sub(column);
    for (name, text) in entries {
        for (index, line) in emberscope_report::wrap(text, width).iter().enumerate() {
            writeln!(out, "{:column$}{line}", if index == 0 { name } else { "" })?;
        }
    }
    Ok(())
}

/// Columns of pages in files.
const PAGE: usize = 100;

/// The page of a rule, in Markdown that reads well as text.
pub(crate) fn rule_page(rule: &Rule) -> String {
    let summary = emberscope_report::wrap(rule.summary, PAGE).join("\n");
    let mut page = format!("# {}\n\n{summary}\n\n{}\n", rule.problem, rule.documentation.trim());
    page.push_str(&format!("\n## Tried\n\n{}\n", emberscope_report::wrap(&tried(rule.problem), PAGE).join("\n")));
    page.push_str("\n## Thresholds\n\nSet them in the configuration file, for instance:\n\n```toml\n");
    if let Some(first) = rule.thresholds.first() {
        page.push_str(&format!("[rules.{}]\n{} = {}\n", rule.problem, first.name, first.value));
    }
    page.push_str("```\n");
    for threshold in rule.thresholds {
        let text = format!("`{}` = {}: {}.", threshold.name, valued(threshold), one_line(threshold.reason));
        page.push_str(&format!("\n- {}\n", emberscope_report::wrap(&text, PAGE - 2).join("\n  ")));
    }
    if !rule.explained_by.is_empty() {
        let causes: Vec<&str> = rule.explained_by.iter().map(|problem| problem.name()).collect();
        let text = format!(
            "When one of these is found on the same subject, this is told as its consequence: {}.",
            causes.join(", ")
        );
        page.push_str(&format!("\n## Told with its cause\n\n{}\n", emberscope_report::wrap(&text, PAGE).join("\n")));
    }
    page
}

/// What came of following a rule's advice, in words.
fn tried(problem: Problem) -> String {
    let mut trials = TRIALS.iter().filter(|trial| trial.problem == Some(problem)).peekable();
    if trials.peek().is_none() {
        return "Not tried on labelled runs: take the advice as a hint.".to_owned();
    }
    let told: Vec<String> = trials.map(trial_in_words).collect();
    format!("{} All trials: advice.md, which `emberscope docs` writes.", told.join(" "))
}

fn trial_in_words(trial: &Trial) -> String {
    let runs =
        format!("{} of runs ({}, strength {} of 4)", words::plural(trial.pairs, "pair"), trial.family, trial.strength);
    let came = if trial.mended() {
        "all failed before and none as advised".to_owned()
    } else {
        format!(
            "the time as advised was {:.2} of the time before ({:.2} to {:.2})",
            trial.median_ratio, trial.least_ratio, trial.most_ratio
        )
    };
    let hint = match trial.saves.as_str() {
        "" if !trial.helped() => " That is little or no gain: take the advice as a hint.".to_owned(),
        "" => String::new(),
        saves => format!(" It saves {saves}, not time."),
    };
    let note = if trial.note.is_empty() { String::new() } else { format!(" {}.", one_line(&trial.note)) };
    format!("{}, on {runs}: {came}.{note}{hint}", capitalized(&trial.change))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The page of a problem.
pub(crate) fn problem_page(problem: Problem) -> String {
    let mut facts = vec![
        format!("subject: {}", problem.subject()),
        format!("seen in the event log as: {}", problem.in_event_log()),
    ];
    facts.extend(problem.in_trace().map(|trace| format!("seen in a trace as: {trace}")));
    facts.push(format!("usual advice: {}", problem.usual_advice()));
    facts.push(if RULES.iter().any(|rule| rule.problem == problem) {
        format!("found by: `emberscope rule {problem}`")
    } else {
        "found by: no rule on an event log".to_owned()
    });
    let mut page = format!("# {problem}\n\n{}\n\n", problem.meaning());
    for fact in facts {
        page.push_str(&format!("- {}\n", emberscope_report::wrap(&fact, PAGE - 2).join("\n  ")));
    }
    page
}

fn valued(threshold: &Threshold) -> String {
    if threshold.largest().is_some() {
        return format!("{} (a share, 0 to 1)", threshold.value);
    }
    match threshold.unit.symbol() {
        "" | "count" | "ratio" => threshold.value.to_string(),
        unit => format!("{} {unit}", threshold.value),
    }
}

/// The text as one line without a full stop at its end.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
