//! Training: from labelled runs to models, with what they are worth.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::{Features, catalogue};
use emberscope_extract::sources::{DiscoverLimits, ReadOptions, RunInput, SourceError, discover, read_run};
use emberscope_learn::LearnError;
use emberscope_rules::{DetectorConfig, Problem, assess};
use ndarray::{Array2, ArrayView2, Axis};
use thiserror::Error;

use super::artefact::{FORMAT, Manifest, ModelInput, Models, ProblemModel};
use super::examples::{Examples, ObservedRun, Standing};
use super::fit::{Choice, Learner, calibration, choose};
use super::inputs::inputs;
use super::judging::{Added, Validated, nested};
use super::level::{Level, RowKey};
use super::observe::{Observations, Whole};
use super::usual::{unusual, usual};
use crate::batch::{BatchOptions, Holding, for_each_run};
use crate::evaluate::LabelledRun;

/// The least F1 on families that were not seen from which a model is kept: below it more is wrong than right.
const LEAST_F1: f64 = 0.5;

/// How models are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// What learns the models of the problems; `None` for the tree, and the forest where that pays ([`PAYS`]).
    pub learner: Option<Learner>,
    /// Whether all learners are judged, for the card, and not only those that may be used.
    pub compare: bool,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// About the share of healthy runs that the anomaly models may flag.
    pub false_alarm_rate: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { learner: None, compare: true, seed: 0, false_alarm_rate: 0.05 }
    }
}

impl TrainOptions {
    fn may_use(&self, learner: Learner) -> bool {
        self.learner.map_or(matches!(learner, Learner::Tree | Learner::Forest), |asked| asked == learner)
    }
}

/// By how much the F1 of a forest has to be larger than that of a tree, on families that neither saw, for a forest to be used: nobody can
/// read it.
pub const PAYS: f64 = 0.05;

/// Problems that no event log tells from others, and why there is no model of them.
const NOT_IN_EVENT_LOGS: [(Problem, &str); 1] = [(
    Problem::LockContention,
    "in event logs a lock is time off the CPU like that of a slow disk; models of the labelled runs told it by how many bytes the \
     file system of these runs counts, which is how they were made and not what happened",
)];

fn pays<'a>(of: &impl Fn(Learner) -> Option<&'a Validated>) -> Learner {
    match (of(Learner::Tree), of(Learner::Forest)) {
        (Some(tree), Some(forest)) if forest.f1 > tree.f1 + PAYS => Learner::Forest,
        _ => Learner::Tree,
    }
}

/// Why nothing was trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// Labelled runs whose log is not there, or could not be read; all are named, with the line of their label.
    #[error("{}", .0.join("\n"))]
    Unreadable(Vec<String>),
    /// Labels of nothing that is in their runs, or without a workload family; all are named, with their lines.
    #[error("{}", .0.join("\n"))]
    Labels(Vec<String>),
    /// A feature table cannot be read.
    #[cfg(feature = "tables")]
    #[error(transparent)]
    Table(#[from] emberscope_extract::tables::TableError),
    /// Too little to learn from.
    #[error("{0}")]
    TooLittle(String),
    /// What the learner says.
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// Reads labelled runs and keeps what models see of them.
///
/// # Errors
///
/// When a log is not there or cannot be read: models of fewer runs than were labelled would be others than were asked for.
pub fn observe(runs: &[LabelledRun], options: &BatchOptions<'_>) -> Result<Vec<ObservedRun>, TrainError> {
    let mut inputs: Vec<RunInput> = Vec::new();
    let mut unreadable = Vec::new();
    for run in runs {
        match discover(&run.log, &DiscoverLimits::default()).map(|found| found.runs.into_iter().next()) {
            Ok(Some(input)) => inputs.push(input),
            Ok(None) => unreadable.push(format!("{}: {}: no event log", run.said_at, run.log.display())),
            Err(error) => unreadable.push(format!("{}: {error}", run.said_at)),
        }
    }
    if !unreadable.is_empty() {
        return Err(TrainError::Unreadable(unreadable));
    }
    let work = |input: &RunInput, options: &ReadOptions<'_>| {
        let run = read_run(input, options)?;
        let features = Features::of(&run);
        let found = assess(&run, &features, &DetectorConfig::default()).findings;
        let named = found.iter().flat_map(crate::evaluate::problems).map(|problem| (problem, false));
        let mut ruled: BTreeMap<Problem, bool> = named.collect();
        ruled.extend(found.iter().map(|finding| (finding.problem, true)));
        Ok((Whole::of(&run, &features), ruled))
    };
    let mut labels = runs.iter();
    let mut observed = Vec::new();
    for_each_run(
        &inputs,
        options,
        Holding::WhileWorking,
        work,
        |input, result: Result<(Whole, BTreeMap<Problem, bool>), SourceError>| {
            if let Some(label) = labels.next() {
                match result {
                    Ok((whole, ruled)) => observed.push(ObservedRun::of(label.clone(), &whole, Some(ruled))),
                    Err(error) => unreadable.push(format!("{}: {}: {error}", label.said_at, input.path)),
                }
            }
            std::ops::ControlFlow::Continue(())
        },
    );
    if unreadable.is_empty() { Ok(observed) } else { Err(TrainError::Unreadable(unreadable)) }
}

impl ObservedRun {
    /// What models see of a run, and which problems rules found in it.
    pub fn of(label: LabelledRun, whole: &Whole, ruled: Option<BTreeMap<Problem, bool>>) -> Self {
        let observations = Level::ALL.iter().map(|&level| (level, whole.observations(level))).collect();
        let keys = Level::ALL.iter().map(|&level| (level, whole.keys(level))).collect();
        Self { label, observations, keys, sizes: whole.sizes(), spark_version: whole.spark_version.clone(), ruled }
    }
}

/// Trains a model for each labelled problem, and one of what is usual. `progress` is told of each step: how many are
/// done, how many there are, and what comes next.
///
/// # Errors
///
/// When no labelled problem is in two workload families, or there are no healthy runs: nothing could be judged.
pub fn train(
    observed: &[ObservedRun],
    options: &TrainOptions,
    mut progress: impl FnMut(usize, usize, &str),
) -> Result<Models, TrainError> {
    let wrong: Vec<String> = observed.iter().flat_map(wrong_label).collect();
    if !wrong.is_empty() {
        return Err(TrainError::Labels(wrong));
    }
    let problems: Vec<Problem> = Problem::ALL
        .iter()
        .copied()
        .filter(|&problem| observed.iter().any(|run| Standing::of(&run.label, problem) == Standing::Has))
        .collect();
    let steps = problems.len() + 1;
    let mut models = Models { manifest: manifest(observed, options), ..Models::default() };
    for (done, &problem) in problems.iter().enumerate() {
        progress(done, steps, problem.name());
        if let Some((_, why)) = NOT_IN_EVENT_LOGS.iter().find(|(of, _)| *of == problem) {
            models.manifest.without_model.insert(problem.name().to_owned(), (*why).to_owned());
            continue;
        }
        let examples = Examples::of(problem, observed);
        for &learner in Learner::ALL.iter().filter(|&&learner| options.compare || options.may_use(learner)) {
            if let Some(validated) = nested(learner, &examples, options.seed)? {
                let compared = models.manifest.compared.entry(problem.name().to_owned()).or_default();
                compared.insert(learner.name().to_owned(), validated);
            }
        }
        match of_problem(problem, &examples, observed, options, &models.manifest.compared)? {
            Ok(model) => models.problems.push(model),
            Err(why) => {
                models.manifest.without_model.insert(problem.name().to_owned(), why);
            }
        }
    }
    progress(problems.len(), steps, "what is usual");
    if let Some(model) = usual(observed, options)? {
        models.anomalies.push(model);
        models.manifest.unusual = Some(unusual(observed, options)?);
    } else {
        let why = format!("too few healthy runs to keep false alarms at {} of them", options.false_alarm_rate);
        models.manifest.without_model.insert(Problem::UnknownAnomaly.name().to_owned(), why);
    }
    progress(steps, steps, "");
    if models.problems.is_empty() && models.anomalies.is_empty() {
        return Err(TrainError::TooLittle(
            "no problem is labelled in two workload families, and there are too few healthy runs: nothing could be learned that is \
             judged on runs it was not learned from"
                .to_owned(),
        ));
    }
    Ok(models)
}

/// What is wrong with a label, by what was seen of its run.
fn wrong_label(run: &ObservedRun) -> Vec<String> {
    let label = &run.label;
    let mut wrong = Vec::new();
    if label.family.is_empty() {
        wrong.push(format!(
            "{}: {} has no family: models are judged on families that they did not see",
            label.said_at, label.run
        ));
    }
    for (problem, label_of) in &label.problems {
        let level = Level::of(*problem);
        let Some(known) = run.keys.get(&level) else { continue };
        for subject in &label_of.subjects {
            let there = |key: &RowKey| match key {
                RowKey::StageAttempt(key) => subject.stage_id.is_none_or(|id| id == key.stage_id.0),
                RowKey::Executor(id) => subject.executor_id.as_deref().is_none_or(|own| own == id.0.as_str()),
                RowKey::SqlExecution(id) => subject.sql_execution_id.is_none_or(|own| own == id.0),
                RowKey::Run => true,
            };
            if !known.iter().any(there) {
                wrong.push(format!(
                    "{}: {problem} is labelled at a {level} that {} does not have, or that had no task: {subject}",
                    label.said_at, label.run
                ));
            }
        }
    }
    wrong
}

fn manifest(observed: &[ObservedRun], options: &TrainOptions) -> Manifest {
    let families: BTreeSet<&str> = observed.iter().map(|run| run.label.family.as_str()).collect();
    Manifest {
        format: FORMAT,
        emberscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        catalogue_hash: format!("{:016x}", catalogue::hash()),
        training_checksum: checksum(observed),
        runs: observed.len() as u64,
        healthy_runs: observed.iter().filter(|run| run.label.healthy()).count() as u64,
        families: families.into_iter().map(ToOwned::to_owned).collect(),
        seed: options.seed,
        learner: options.learner.map_or("best", Learner::name).to_owned(),
        compared: BTreeMap::new(),
        without_model: BTreeMap::new(),
        false_alarm_rate: options.false_alarm_rate,
        unusual: None,
        sizes: sizes(observed),
        spark_versions: observed.iter().filter_map(|run| run.spark_version.clone()).collect(),
    }
}

/// The least and the largest of each size of the runs.
fn sizes(observed: &[ObservedRun]) -> Vec<ModelInput> {
    let names: BTreeSet<&str> = observed.iter().flat_map(|run| run.sizes.keys().copied()).collect();
    let size = |name: &str| {
        let mut known: Vec<f64> = observed.iter().filter_map(|run| run.sizes.get(name).copied()).collect();
        known.sort_by(f64::total_cmp);
        let typical = known.get(known.len() / 2).copied();
        ModelInput { name: name.to_owned(), least: known.first().copied(), most: known.last().copied(), typical }
    };
    names.into_iter().map(size).collect()
}

/// A checksum of labels and what was seen of the runs.
fn checksum(observed: &[ObservedRun]) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for run in observed {
        let label = &run.label;
        // As debug prints it, every part is told from the next.
        let told = (&label.run, &label.family, &label.problems, &label.unsure, &run.ruled);
        hasher.update(format!("{told:?}").as_bytes());
        for rows in run.observations.values() {
            for value in &rows.values {
                let bits = if value.is_nan() { f64::NAN } else { *value }.to_bits();
                hasher.update(&bits.to_le_bytes());
            }
        }
    }
    format!("{:032x}", hasher.digest128())
}

/// The model of a problem, or why there is none.
fn of_problem(
    problem: Problem,
    examples: &Examples,
    observed: &[ObservedRun],
    options: &TrainOptions,
    compared: &BTreeMap<String, BTreeMap<String, Validated>>,
) -> Result<Result<ProblemModel, String>, TrainError> {
    let of_learner = |learner: Learner| compared.get(problem.name())?.get(learner.name());
    let learner = options.learner.unwrap_or_else(|| pays(&of_learner));
    let (Some(validated), Some(choice)) = (of_learner(learner).cloned(), choose(learner, examples, options.seed)?)
    else {
        let families = examples.families_with().len();
        return Ok(Err(format!("labelled in {families} workload families: two are needed to judge a model")));
    };
    if validated.f1 < LEAST_F1 {
        return Ok(Err(format!("F1 {:.2} on families that it did not see: more is wrong than right", validated.f1)));
    }
    let Some(calibration) = calibration(examples, &choice.scores) else {
        return Ok(Err("its scores cannot be calibrated".to_owned()));
    };
    let level = Level::of(problem);
    let fitted = learner.fit(choice.shape, examples, options.seed)?;
    let (fitted, used) = fitted.compacted();
    if used.is_empty() {
        return Ok(Err("no input tells it".to_owned()));
    }
    let healthy = healthy_rows(level, observed);
    let inputs = used.iter().map(|&at| described(level, at, at, examples.values.view(), healthy.view())).collect();
    let Choice { threshold, agreed, .. } = choice;
    let alone = choice.alone.filter(|_| validated.added.is_some_and(Added::pays));
    Ok(Ok(ProblemModel {
        problem: problem.name().to_owned(),
        level,
        learner,
        inputs,
        fitted,
        calibration,
        threshold,
        alone,
        agreed,
        validated,
    }))
}

/// All rows of the healthy runs at a level.
fn healthy_rows(level: Level, observed: &[ObservedRun]) -> Array2<f64> {
    let columns = inputs(level).len();
    let mut values = Vec::new();
    for run in observed.iter().filter(|run| run.label.healthy()) {
        if let Some(rows) = run.observations.get(&level) {
            values.extend(rows.values.iter().copied());
        }
    }
    let rows = values.len() / columns.max(1);
    Array2::from_shape_vec((rows, columns), values).unwrap_or_else(|_| Array2::zeros((0, columns)))
}

/// An input of a level, with what was seen of it in a column of these tables.
pub(super) fn described(
    level: Level,
    input: usize,
    at: usize,
    seen: ArrayView2<'_, f64>,
    healthy: ArrayView2<'_, f64>,
) -> ModelInput {
    let known = |table: ArrayView2<'_, f64>| {
        let mut values: Vec<f64> = table.column(at).iter().copied().filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (all, usual) = (known(seen), known(healthy));
    ModelInput {
        name: inputs(level).get(input).map(|input| input.name.clone()).unwrap_or_default(),
        least: all.first().copied(),
        most: all.last().copied(),
        typical: usual.get(usual.len() / 2).copied(),
    }
}

/// The rows of a level as a model's inputs, by name.
pub(super) fn select(level: Level, rows: &Observations, wanted: &[ModelInput]) -> Array2<f64> {
    let list = inputs(level);
    let at: Vec<usize> =
        wanted.iter().filter_map(|input| list.iter().position(|known| known.name == input.name)).collect();
    rows.values.select(Axis(1), &at)
}
