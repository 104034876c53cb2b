//! `emberscope diagnose`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use emberscope::models::{ModelChoice, Models};
use emberscope::{BatchOptions, Config, Diagnosis, Redactor, Report, Unreadable, diagnose_all};
use emberscope_report::TextOptions;

use crate::args::{self, Format};
use crate::environment::Environment;
use crate::inputs;
use crate::output::{self, printable};
use crate::progress;
use crate::{CLEAN, FAILED, FINDINGS};

pub(crate) fn diagnose(
    args: &args::Diagnose,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<u8> {
    let (width, colour) = (environment.columns(), environment.colour_out);
    let (report, code) = report(args, err, environment)?;
    let Some(report) = report else { return Ok(code) };
    let text = match args.format {
        Format::Json => emberscope_report::json(&report)?,
        Format::Markdown => emberscope_report::markdown(&report),
        Format::Text => {
            let colour = colour && args.out.is_none();
            emberscope_report::text(&report, &TextOptions { width, colour })
        }
    };
    match output::write(&text, args.out.as_deref(), out) {
        Err(error) if output::is_closed_pipe(&error) => {}
        result => result?,
    }
    Ok(code)
}

/// The diagnoses of all inputs and the exit code; no report where no input could be diagnosed.
pub(crate) fn report(
    args: &args::Diagnose,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<(Option<Report>, u8)> {
    let config = config(args)?;
    let threads = environment.threads(args.threads)?;
    let bars = environment.progress;
    let mut inputs = inputs::find(&args.inputs, environment.stdin, err)?;

    let bar = progress::bar(inputs.bytes(), bars);
    let progress = |bytes: u64| bar.inc(bytes);
    let options = BatchOptions { threads, progress: Some(&progress), traces: &args.trace, ..BatchOptions::default() };
    let mut diagnoses: Vec<Diagnosis> = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    diagnose_all(&inputs.runs, &config, &options, |input, result| match result {
        Ok(diagnosis) => {
            paths.push(input.path.clone());
            diagnoses.push(diagnosis);
        }
        Err(error) => inputs.unreadable.push(Unreadable { input: input.path.clone(), error: error.to_string() }),
    });
    bar.finish_and_clear();

    for unreadable in &inputs.unreadable {
        writeln!(err, "emberscope: {}", printable(&unreadable.error))?;
    }
    warn_of_twins(&diagnoses, &paths, err)?;
    if diagnoses.is_empty() {
        return Ok((None, FAILED));
    }
    let failed = !inputs.unreadable.is_empty();
    if config.redact {
        inputs.unreadable.iter_mut().for_each(redact);
    }
    let found = config.fail_on.is_some_and(|severity| diagnoses.iter().any(|diagnosis| diagnosis.reaches(severity)));
    let code = if failed {
        FAILED
    } else if found {
        FINDINGS
    } else {
        CLEAN
    };
    Ok((Some(Report::new(diagnoses, inputs.unreadable)), code))
}

/// The configuration file with the options of the command line on top.
fn config(args: &args::Diagnose) -> anyhow::Result<Config> {
    let mut config = args.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
    if !args.only.is_empty() {
        let only = args.only.iter().map(|name| emberscope::problem(name.trim()).map_err(anyhow::Error::msg));
        config.detectors.only = only.collect::<Result<_, _>>().context("--only")?;
    }
    if let Some(severity) = args.fail_on {
        config.fail_on = Some(severity.into());
    }
    config.redact |= args.redact;
    config.models = chosen(&args.models)?;
    Ok(config)
}

/// The models that are asked for.
pub(crate) fn chosen(args: &args::ModelArgs) -> anyhow::Result<ModelChoice> {
    Ok(match &args.models {
        Some(folder) => ModelChoice::Given(Arc::new(Models::read(folder)?)),
        None if args.no_models => ModelChoice::None,
        None => ModelChoice::BuiltIn,
    })
}

/// Reads a configuration file.
pub(crate) fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Config::from_toml(&text).with_context(|| path.display().to_string())
}

/// Says which inputs are the same attempt of an application: copies, or a log beside its own compressed form. One line an
/// attempt, however many there are.
fn warn_of_twins(diagnoses: &[Diagnosis], paths: &[String], err: &mut dyn Write) -> anyhow::Result<()> {
    let mut inputs: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for (diagnosis, path) in diagnoses.iter().zip(paths) {
        if let Some(id) = diagnosis.run.application_id.as_deref() {
            inputs.entry((id, diagnosis.run.attempt_id.as_deref())).or_default().push(path);
        }
    }
    for ((id, attempt), paths) in inputs {
        let which = match paths.as_slice() {
            [] | [_] => continue,
            [first, second] => format!("{first} and {second} are both"),
            [first, second, rest @ ..] => format!("{first}, {second} and {} more are all", rest.len()),
        };
        let attempt = attempt.map(|attempt| format!(" attempt {attempt}")).unwrap_or_default();
        let message = format!("{which} application {id}{attempt}; each is diagnosed by itself");
        writeln!(err, "emberscope: note: {}", printable(&message))?;
    }
    Ok(())
}

fn redact(unreadable: &mut Unreadable) {
    let redactor = Redactor::of_path(&unreadable.input);
    unreadable.error = redactor.text(&unreadable.error);
    unreadable.input = redactor.text(&unreadable.input);
}
