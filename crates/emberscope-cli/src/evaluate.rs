//! `emberscope evaluate`.

use std::io::Write;

use emberscope::evaluate::{evaluate as figures, read_labels};
use emberscope::{BatchOptions, Severity};

use crate::args::{self, EvaluationFormat};
use crate::diagnose::read_config;
use crate::environment::Environment;
use crate::output;
use crate::{CLEAN, FAILED};

pub(crate) fn evaluate(args: &args::Evaluate, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let mut runs = read_labels(&args.labels)?;
    if let Some(split) = &args.split {
        runs.retain(|run| run.split == *split);
    }
    runs.retain(|run| args.family.is_empty() || args.family.contains(&run.family));
    if runs.is_empty() {
        anyhow::bail!("{}: no labelled run is asked for", args.labels.display());
    }
    let config = args.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
    let options = BatchOptions { threads: environment.threads(args.threads)?, ..BatchOptions::default() };
    let evaluation = figures(&runs, &config, args.at.map_or(Severity::Info, Into::into), &options)?;
    let text = match args.format {
        EvaluationFormat::Json => serde_json::to_string_pretty(&evaluation)? + "\n",
        EvaluationFormat::Text => emberscope_report::evaluation(&evaluation, environment.columns()),
    };
    output::write(&text, None, out)?;
    Ok(if evaluation.unreadable.is_empty() { CLEAN } else { FAILED })
}
