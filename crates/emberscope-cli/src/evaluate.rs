//! `emberscope evaluate` and `emberscope calibrate`.

use std::io::Write;

#[cfg(feature = "tables")]
use emberscope::evaluate::evaluate_models;
use emberscope::evaluate::{LabelledRun, calibrate as curves, evaluate as figures, read_labels};
use emberscope::{BatchOptions, Config, Severity};

use crate::args::{self, CurveFormat, EvaluationFormat};
use crate::diagnose::{chosen, read_config};
use crate::environment::Environment;
use crate::output;
use crate::{CLEAN, FAILED};

pub(crate) fn evaluate(args: &args::Evaluate, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let mut asked = Asked::of(&args.labelled, environment)?;
    asked.config.models = chosen(&args.models)?;
    let evaluation = match (&args.features, asked.config.models.models()) {
        #[cfg(feature = "tables")]
        (Some(directory), Some(models)) => {
            evaluate_models(&emberscope::models::observe_tables(directory, &asked.runs)?, models)?
        }
        #[cfg(not(feature = "tables"))]
        (Some(_), Some(_)) => anyhow::bail!("--features: this emberscope was built without feature tables"),
        _ => figures(&asked.runs, &asked.config, asked.at, &asked.options)?,
    };
    let text = match args.format {
        EvaluationFormat::Json => serde_json::to_string_pretty(&evaluation)? + "\n",
        EvaluationFormat::Text => emberscope_report::evaluation(&evaluation, environment.columns()),
        EvaluationFormat::Html => emberscope_report::evaluation_html(&evaluation),
    };
    output::write(&text, args.out.as_deref(), out)?;
    Ok(if evaluation.unreadable.is_empty() { CLEAN } else { FAILED })
}

pub(crate) fn calibrate(args: &args::Calibrate, out: &mut dyn Write, environment: &Environment) -> anyhow::Result<u8> {
    let asked = Asked::of(&args.labelled, environment)?;
    let calibration = curves(&asked.runs, &asked.config, &args.only, asked.at, &asked.options)?;
    let text = match args.format {
        CurveFormat::Json => serde_json::to_string_pretty(&calibration)? + "\n",
        CurveFormat::Text => emberscope_report::calibration(&calibration),
    };
    output::write(&text, None, out)?;
    Ok(if calibration.unreadable.is_empty() { CLEAN } else { FAILED })
}

/// The labelled runs that were asked for, and how to look at them.
struct Asked {
    runs: Vec<LabelledRun>,
    config: Config,
    at: Severity,
    options: BatchOptions<'static>,
}

impl Asked {
    fn of(args: &args::Labelled, environment: &Environment) -> anyhow::Result<Self> {
        let mut runs = read_labels(&args.labels)?;
        if let Some(split) = &args.split {
            runs.retain(|run| run.split == *split);
        }
        runs.retain(|run| args.family.is_empty() || args.family.contains(&run.family));
        if runs.is_empty() {
            anyhow::bail!("{}: no labelled run is asked for", args.labels.display());
        }
        Ok(Self {
            runs,
            config: args.config.as_deref().map(read_config).transpose()?.unwrap_or_default(),
            at: args.at.map_or(Severity::Info, Into::into),
            options: BatchOptions { threads: environment.threads(args.threads)?, ..BatchOptions::default() },
        })
    }
}
