//! `emberscope train`.

use std::io::Write;
use std::num::NonZeroUsize;

use anyhow::Context;
use emberscope::evaluate::{LabelledRun, read_labels};
use emberscope::models::{ObservedRun, TrainOptions, observe, train as fit};
use emberscope::{BatchOptions, Problem};

use crate::args;
use crate::environment::Environment;
use crate::{CLEAN, output, progress};

pub(crate) fn train(
    args: &args::Train,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let mut runs = read_labels(&args.labels)?;
    if let Some(split) = &args.split {
        runs.retain(|run| run.split == *split);
    }
    if runs.is_empty() {
        anyhow::bail!("{}: no labelled run is asked for", args.labels.display());
    }
    let threads = environment.threads(args.threads)?;
    let observed = match &args.features {
        #[cfg(feature = "tables")]
        Some(directory) => emberscope::models::observe_tables(directory, &runs)?,
        #[cfg(not(feature = "tables"))]
        Some(_) => anyhow::bail!("--features: this emberscope was built without feature tables"),
        None => read(&runs, threads, environment)?,
    };

    let options = TrainOptions {
        learner: args.learner.one(),
        compare: !args.quick,
        seed: args.seed,
        false_alarm_rate: args.false_alarms,
    };
    let bar = progress::steps(environment.progress);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZeroUsize::get)).build()?;
    let models = pool.install(|| fit(&observed, &options, |done, all, next| bar.set(done, all, next)))?;
    bar.finish_and_clear();

    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let card = ("card.md", emberscope_report::card(&models));
    for (name, text) in models.files().into_iter().chain([card]) {
        output::write(&text, Some(&args.out.join(name)), out)?;
    }
    if args.onnx {
        let folder = args.out.join("onnx");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, bytes) in models.onnx()? {
            let path = folder.join(name);
            output::write_file(&bytes, &path).with_context(|| path.display().to_string())?;
        }
    }
    if args.dot {
        let folder = args.out.join("dot");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, text) in models.dot() {
            output::write(&text, Some(&folder.join(name)), out)?;
        }
    }
    for (problem, why) in &models.manifest.without_model {
        writeln!(err, "emberscope: no model for {problem}: {why}")?;
    }
    let kept: Vec<f64> = models.problems.iter().map(|model| model.validated.f1).collect();
    let mean = if kept.is_empty() {
        String::new()
    } else {
        format!(" (mean F1 {:.3} on families that they did not see)", kept.iter().sum::<f64>() / kept.len() as f64)
    };
    let named = models.manifest.without_model.keys().filter(|name| *name != Problem::UnknownAnomaly.name()).count();
    let summary = format!(
        "{} models kept of {} problems{mean}, from {} runs of {} families: {}\n",
        kept.len(),
        kept.len() + named,
        models.manifest.runs,
        models.manifest.families.len(),
        args.out.join("card.md").display(),
    );
    output::write(&summary, None, out)?;
    Ok(CLEAN)
}

/// What models see of the runs' logs.
fn read(
    runs: &[LabelledRun],
    threads: Option<NonZeroUsize>,
    environment: &Environment,
) -> anyhow::Result<Vec<ObservedRun>> {
    let bytes = runs.iter().filter_map(|run| std::fs::metadata(&run.log).ok()).map(|data| data.len()).sum();
    let bar = progress::bar(Some(bytes), environment.progress);
    let reading = |bytes: u64| bar.inc(bytes);
    let observed = observe(runs, &BatchOptions { threads, progress: Some(&reading), ..BatchOptions::default() })?;
    bar.finish_and_clear();
    Ok(observed)
}
