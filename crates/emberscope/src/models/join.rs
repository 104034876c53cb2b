//! What models say of a run, told together with what the rules found.
//!
//! What a rule and a model both find is one finding with both as evidence. What only a model finds is told with the way that led there and
//! without a saving, as no model measures one. A model never takes away what a rule found, nor changes what it measured.

use std::collections::BTreeMap;

use emberscope_learn::LearnError;
use emberscope_rules::{Advice, Detector, DetectorConfig, Evidence, Finding, Problem, Severity, Subject};
use emberscope_run::{Run, Unit};
use ndarray::Array2;

use super::ObservedRun;
use super::artefact::{AnomalyModel, Manifest, ModelInput, Models, ProblemModel};
use super::fit::Fitted;
use super::inputs::inputs;
use super::level::{Level, RowKey};
use super::observe::{Observations, Whole};
use super::train::select;
use super::usual::distances;

/// No two detectors together are surer than this.
const SUREST: f64 = 0.99;
/// Confidence of what only a model finds, at most: nobody measured what it costs.
const SUREST_ALONE: f64 = 0.8;
/// Factor on the confidence where a run is unlike all of the training.
const OUTSIDE: f64 = 0.5;
/// How many times larger or smaller than all runs of the training a run may be for models to speak of it by themselves. Set by judgement.
const FAR: f64 = 4.0;
/// Numbers that are told of what makes a run stand out.
const TOLD: usize = 4;
/// Subjects that are told of one finding.
const SUBJECTS: usize = 10;

/// A row with what a model makes of it.
struct Hit<'a> {
    model: &'a ProblemModel,
    key: RowKey,
    values: Vec<f64>,
    score: f64,
    probability: f64,
}

/// What the models say of a run by themselves, told or not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// What each model of a problem calls, without names: one finding a problem.
    pub calls: Vec<Finding>,
    /// How probable each model holds its problem, in the row where that is most; called or not.
    pub probabilities: BTreeMap<Problem, f64>,
    /// Whether the forest of what is usual flags the run.
    pub stands_out: bool,
    /// Why models did not speak by themselves, where they did not.
    pub silent: Option<String>,
}

/// Joins what the models say with the findings of the rules, and gives what they say by themselves.
///
/// # Errors
///
/// When a model does not fit its own inputs, which reading it rules out.
pub(crate) fn join(
    findings: &mut Vec<Finding>,
    models: &Models,
    run: &Run,
    whole: &Whole,
    config: &DetectorConfig,
) -> Result<Said, LearnError> {
    let rows: Vec<(Level, Observations)> = Level::ALL.iter().map(|&level| (level, whole.observations(level))).collect();
    let of_level = |level: Level| rows.iter().find(|(of, _)| *of == level).map(|(_, rows)| rows);
    let mut said = Said { silent: unlike(&models.manifest, run, whole), ..Said::default() };
    for model in &models.problems {
        let Some(problem) = Problem::from_name(&model.problem).filter(|&problem| config.enabled(problem)) else {
            continue;
        };
        let Some(rows) = of_level(model.level) else { continue };
        let hits = said.take(problem, model, rows)?;
        if !hits.is_empty() {
            tell(findings, problem, &hits, run, said.silent.as_deref())?;
        }
    }
    let rows = of_level(Level::Run).filter(|_| said.silent.is_none());
    for (model, rows) in models.anomalies.iter().zip(rows) {
        let Some(flagged) = model.flagged(rows)? else { continue };
        said.stands_out = true;
        let is_told = findings.iter().any(|finding| finding.severity >= Severity::Warning);
        if config.enabled(Problem::UnknownAnomaly) && !is_told {
            findings.push(anomaly(model, &flagged, whole, run)?);
        }
    }
    Ok(said)
}

impl Said {
    /// Takes what one model says, and gives the rows that it calls.
    fn take<'a>(
        &mut self,
        problem: Problem,
        model: &'a ProblemModel,
        rows: &Observations,
    ) -> Result<Vec<Hit<'a>>, LearnError> {
        let judged = judged(model, rows)?;
        if let Some(first) = judged.first() {
            self.probabilities.insert(problem, first.probability);
        }
        let hits: Vec<Hit<'a>> = judged.into_iter().filter(|hit| hit.score >= model.threshold).collect();
        if !hits.is_empty() {
            self.calls.push(call(problem, &hits));
        }
        Ok(hits)
    }
}

impl Models {
    /// What the models say of a run by themselves. That the log goes to the end of the run is taken for granted, and where the version of Spark
    /// is unknown, that it is one of the training's.
    ///
    /// # Errors
    ///
    /// When a model does not fit its own inputs, which reading it rules out, and when an observation is infinite.
    pub fn say(&self, run: &ObservedRun) -> Result<Said, LearnError> {
        let silent = run.spark_version.as_deref().and_then(|version| other_spark(&self.manifest, version));
        let mut said = Said { silent: silent.or_else(|| beyond(&self.manifest.sizes, &run.sizes)), ..Said::default() };
        for model in &self.problems {
            if let (Some(problem), Some(rows)) =
                (Problem::from_name(&model.problem), run.observations.get(&model.level))
            {
                said.take(problem, model, rows)?;
            }
        }
        for model in self.anomalies.iter().filter(|_| said.silent.is_none()) {
            said.stands_out |= model.stands_out(run)?;
        }
        Ok(said)
    }
}

/// Why a run is none of those that models can speak of by themselves, in words; `None` where it may be one. What stands out in a log that was
/// cut, in another Spark, or in a run of another size, are those.
fn unlike(manifest: &Manifest, run: &Run, whole: &Whole) -> Option<String> {
    if !run.application.complete() {
        return Some("the log does not go to the end of the run".to_owned());
    }
    let version = whole.spark_version.as_deref().unwrap_or("unknown");
    other_spark(manifest, version).or_else(|| beyond(&manifest.sizes, &whole.sizes()))
}

/// That the training had other versions of Spark, in words.
fn other_spark(manifest: &Manifest, own: &str) -> Option<String> {
    let versions = &manifest.spark_versions;
    let list: Vec<&str> = versions.iter().map(String::as_str).collect();
    (!versions.is_empty() && !versions.contains(own))
        .then(|| format!("Spark {own}, where training had {}", list.join(", ")))
}

/// By what a run is far larger or smaller than all of the training, in words.
fn beyond(trained: &[ModelInput], sizes: &BTreeMap<&'static str, f64>) -> Option<String> {
    trained.iter().find_map(|size| {
        let (least, most, own) = (size.least?, size.most?, *sizes.get(size.name.as_str())?);
        (own >= most * FAR || own * FAR <= least).then(|| {
            format!("{} of {}, where training had {} to {}", size.name, number(own), number(least), number(most))
        })
    })
}

fn number(value: f64) -> String {
    emberscope_rules::words::rounded(value).to_string()
}

/// The rows of a model, the most probable first.
fn judged<'a>(model: &'a ProblemModel, rows: &Observations) -> Result<Vec<Hit<'a>>, LearnError> {
    let values = select(model.level, rows, &model.inputs);
    let scores = model.fitted.scores(values.view())?;
    let mut rows: Vec<Hit<'a>> = scores
        .iter()
        .zip(&rows.keys)
        .zip(values.rows())
        .map(|((&score, key), row)| Hit {
            model,
            key: key.clone(),
            values: row.to_vec(),
            score,
            probability: model.calibration.probability(score),
        })
        .collect();
    rows.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.key.cmp(&b.key)));
    Ok(rows)
}

/// What a model calls, as a finding that nobody is shown.
fn call(problem: Problem, hits: &[Hit<'_>]) -> Finding {
    let bare = |key: &RowKey| match key {
        RowKey::Run => Subject::run(),
        RowKey::StageAttempt(key) => Subject::stage(*key),
        RowKey::Executor(id) => Subject::executor(id),
        RowKey::SqlExecution(id) => Subject::sql(*id, None),
    };
    let (first, others) = hits.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
    let subject = first.map_or_else(Subject::run, |hit| bare(&hit.key));
    let mut finding = Finding::new(problem, first.map_or(0.0, |hit| hit.probability), subject, "");
    finding.more_subjects = others.iter().map(|hit| bare(&hit.key)).collect();
    finding
}

fn tell(
    findings: &mut Vec<Finding>,
    problem: Problem,
    hits: &[Hit<'_>],
    run: &Run,
    beyond: Option<&str>,
) -> Result<(), LearnError> {
    let Some(first) = hits.first() else { return Ok(()) };
    if findings.iter().any(|found| found.consequences.iter().any(|consequence| consequence.problem == problem)) {
        return Ok(());
    }
    let kind = match &first.model.fitted {
        Fitted::Tree(_) => "tree",
        Fitted::Forest(_) => "forest",
    };
    let detector = Detector { kind, name: problem.name().to_owned() };
    if findings.iter().any(|found| found.problem == problem) {
        // A rule has measured it somewhere: what the model calls elsewhere is no finding of its own.
        let both = findings.iter_mut().filter(|found| found.problem == problem);
        for found in both {
            if let Some(hit) = hits.iter().find(|hit| found.subjects().any(|subject| points_at(subject, &hit.key))) {
                agree(found, hit, detector.clone(), beyond);
            }
        }
        return Ok(());
    }
    let Some(alone) = first.model.alone.filter(|_| beyond.is_none()) else { return Ok(()) };
    let hits: Vec<&Hit<'_>> = hits.iter().filter(|hit| hit.score >= alone.score).collect();
    let Some(&first) = hits.first() else { return Ok(()) };
    let outside = outside(&first.model.inputs, &first.values);
    let way = way(first)?;
    let runs = first.model.validated.runs_with + first.model.validated.runs_without;
    let so_far = if alone.runs == 0 {
        "rules missed none of those that it found in runs of other workloads".to_owned()
    } else {
        format!("of {} runs of other workloads in which it alone said so {} had the problem", alone.runs, alone.right)
    };
    let mut summary = format!(
        "no rule found it, but the {kind} for {problem}, trained on {runs} labelled runs, knows this from them ({so_far}): {}",
        way.words,
    );
    let mut confidence = alone.confidence().min(SUREST_ALONE);
    if let Some(outside) = &outside {
        confidence *= OUTSIDE;
        summary.push_str(&format!("; but {outside}, outside of all that it was trained on"));
    }
    let mut finding = Finding::new(problem, confidence, subject(&first.key, run), summary);
    finding.detector = detector;
    finding.more_subjects = hits.iter().skip(1).take(SUBJECTS - 1).map(|hit| subject(&hit.key, run)).collect();
    finding.evidence = way.evidence;
    finding.evidence.push(probability(first));
    "no rule measured what it costs".clone_into(&mut finding.savings.how);
    finding.advice = vec![Advice {
        text: format!("No rule of Emberscope saw it. What usually helps: {}.", problem.usual_advice()),
        more: format!("emberscope problem {problem}"),
        ..Advice::default()
    }];
    findings.push(finding);
    Ok(())
}

/// Adds what a model says to the finding of a rule: as sure as runs of other workloads were in which both found the problem, and no
/// surer where the run is unlike all of the training.
fn agree(found: &mut Finding, hit: &Hit<'_>, detector: Detector, beyond: Option<&str>) {
    found.evidence.push(probability(hit));
    let outside = beyond.map(ToOwned::to_owned).or_else(|| outside(&hit.model.inputs, &hit.values));
    if let Some(outside) = outside {
        found.evidence.push(Evidence::text("outside_of_training", outside));
    } else {
        let agreed = hit.model.agreed.unwrap_or(hit.probability).min(SUREST);
        found.confidence = found.confidence.max(agreed);
    }
    found.also.push(detector);
}

fn probability(hit: &Hit<'_>) -> Evidence {
    Evidence::number("model_probability_ratio", hit.probability, Unit::Ratio)
}

/// What led a model to its answer.
struct Way {
    words: String,
    evidence: Vec<Evidence>,
}

fn way(hit: &Hit<'_>) -> Result<Way, LearnError> {
    let names: Vec<&str> = hit.model.inputs.iter().map(|input| input.name.as_str()).collect();
    match &hit.model.fitted {
        Fitted::Tree(tree) => {
            let rule = tree.rule_of(&hit.values, &names);
            let is_of =
                |condition: &String, name: &str| condition.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
            let asked = |name: &&str| rule.conditions.iter().any(|condition| is_of(condition, name));
            let evidence = hit.model.inputs.iter().zip(&hit.values).filter(|(input, _)| asked(&input.name.as_str()));
            Ok(Way {
                words: rule.conditions.join(", "),
                evidence: evidence.filter_map(|(input, &value)| told(input, value)).collect(),
            })
        }
        Fitted::Forest(forest) => {
            let (_, parts) = forest.contributions(&hit.values)?;
            let strongest = strongest(&parts);
            let of = |at: &usize| Some((hit.model.inputs.get(*at)?, *hit.values.get(*at)?));
            let evidence: Vec<Evidence> =
                strongest.iter().filter_map(of).filter_map(|(input, value)| told(input, value)).collect();
            let words: Vec<&str> = evidence.iter().map(|evidence| evidence.feature.as_str()).collect();
            Ok(Way { words: words.join(", "), evidence })
        }
    }
}

/// The places of the largest parts that speak for it.
fn strongest(parts: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..parts.len()).filter(|&at| parts[at] > 0.0).collect();
    places.sort_by(|&a, &b| parts[b].total_cmp(&parts[a]));
    places.truncate(TOLD);
    places
}

/// An input as evidence, against what is typical of healthy runs; `None` where it is not known.
fn told(input: &ModelInput, value: f64) -> Option<Evidence> {
    if value.is_nan() {
        return None;
    }
    let evidence = Evidence::number(input.name.clone(), value, Unit::Ratio);
    Some(match input.typical {
        Some(typical) => evidence.against(typical),
        None => evidence,
    })
}

/// The first number that lies outside of all that was seen in training, in words.
fn outside(asked: &[ModelInput], values: &[f64]) -> Option<String> {
    asked.iter().zip(values).find_map(|(input, &value)| {
        let (least, most) = (input.least?, input.most?);
        (value < least || value > most)
            .then(|| format!("{} is {} (training: {} to {})", input.name, number(value), number(least), number(most)))
    })
}

/// A run that stands out.
pub(super) struct StandsOut {
    /// What the model looks at.
    values: Vec<f64>,
    /// The same as it sees them.
    distances: Vec<f64>,
    score: f64,
    threshold: f64,
}

impl AnomalyModel {
    /// The run as the model sees it, where that flags it.
    pub(super) fn flagged(&self, rows: &Observations) -> Result<Option<StandsOut>, LearnError> {
        let asked: Vec<ModelInput> = self.inputs.iter().map(|input| input.input.clone()).collect();
        let values = select(self.level, rows, &asked);
        let Some(threshold) = self.forest.threshold().filter(|_| values.nrows() > 0) else { return Ok(None) };
        let distances = distances(&self.inputs, &values);
        let score = self.forest.scores(&distances)?.first().copied().unwrap_or(0.0);
        let row = |table: &Array2<f64>| table.row(0).to_vec();
        Ok((score > threshold).then(|| StandsOut {
            values: row(&values),
            distances: row(&distances),
            score,
            threshold,
        }))
    }
}

/// What only the forest finds, with what makes the run stand out and where.
fn anomaly(model: &AnomalyModel, flagged: &StandsOut, whole: &Whole, run: &Run) -> Result<Finding, LearnError> {
    let mut strongest = strongest(&model.forest.contributions(&flagged.distances)?.features);
    // What is as healthy runs have it is no reason.
    strongest.retain(|&at| flagged.distances.get(at).is_some_and(|&distance| distance >= 1.0));
    let of = |at: &usize| Some((&model.inputs.get(*at)?.input, *flagged.values.get(*at)?));
    let told_of: Vec<(&ModelInput, f64)> = strongest.iter().filter_map(of).collect();
    let evidence: Vec<Evidence> = told_of.iter().filter_map(|(input, value)| told(input, *value)).collect();
    let list = inputs(model.level);
    let known = |name: &str| list.iter().find(|known| known.name == name);
    let places = told_of.iter().filter_map(|(input, value)| {
        let typical = input.typical?;
        whole.most_of(known(&input.name)?.source, typical, *value > typical)
    });
    let mut more: Vec<RowKey> = Vec::new();
    for key in places {
        if !more.contains(&key) {
            more.push(key);
        }
    }
    let names: Vec<&str> = told_of.iter().map(|(input, _)| input.name.as_str()).collect();
    let rate = model.false_alarm_rate;
    let mut finding = Finding::new(
        Problem::UnknownAnomaly,
        0.5 * (1.0 - rate),
        Subject::run(),
        format!(
            "no problem by name, but more unlike healthy runs than {} of {} of them are, most of all by {}",
            emberscope_rules::words::percent(1.0 - rate),
            emberscope_rules::words::count(model.healthy_runs),
            if names.is_empty() { "many numbers a little".to_owned() } else { names.join(", ") },
        ),
    );
    finding.detector = Detector { kind: "forest", name: Problem::UnknownAnomaly.name().to_owned() };
    finding.more_subjects = more.iter().map(|key| subject(key, run)).collect();
    finding.evidence = evidence;
    finding.evidence.push(Evidence::number("anomaly_score_ratio", flagged.score, Unit::Ratio).over(flagged.threshold));
    "what is only unusual has no cost that could be told".clone_into(&mut finding.savings.how);
    if let Some(first) = names.first().and_then(|name| known(name)) {
        finding.advice = vec![Advice {
            text: format!("Look at what makes it stand out first. {}: {}", first.name, first.meaning),
            more: "emberscope problem unknown-anomaly".to_owned(),
            ..Advice::default()
        }];
    }
    Ok(finding)
}

/// Whether a subject is in a row.
fn points_at(subject: &Subject, key: &RowKey) -> bool {
    match key {
        RowKey::Run => true,
        RowKey::StageAttempt(key) => subject.stage_id == Some(key.stage_id.0),
        RowKey::Executor(id) => subject.executor_id.as_deref() == Some(id.0.as_str()),
        RowKey::SqlExecution(id) => subject.sql_execution_id == Some(id.0),
    }
}

/// A row as what a finding points at.
fn subject(key: &RowKey, run: &Run) -> Subject {
    match key {
        RowKey::Run => Subject::run(),
        RowKey::StageAttempt(key) => {
            Subject::stage(*key).named(run.stages.get(key).map(|stage| stage.name.clone()).unwrap_or_default())
        }
        RowKey::Executor(id) => Subject::executor(id),
        RowKey::SqlExecution(id) => {
            let name = run.sql_executions.get(id).map(|sql| sql.description.clone()).unwrap_or_default();
            Subject::sql(*id, None).named(name)
        }
    }
}
