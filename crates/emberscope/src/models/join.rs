//! What models say of a run, told together with what the rules found.
//!
//! What a rule and a model both find is one finding with both as evidence. What only a model finds is told with the way that led there and
//! without a saving, as no model measures one. A model never takes away what a rule found, nor changes what it measured.

use emberscope_learn::LearnError;
use emberscope_rules::{Advice, Detector, DetectorConfig, Evidence, Finding, Problem, Subject};
use emberscope_run::{Run, Unit};

use super::artefact::{AnomalyModel, ModelInput, Models, ProblemModel};
use super::fit::Fitted;
use super::inputs::inputs;
use super::level::{Level, RowKey};
use super::observe::{Observations, Whole};
use super::train::select;

/// No two detectors together are surer than this.
const SUREST: f64 = 0.99;
/// Confidence of what only a model finds, at most: nobody measured what it costs.
const SUREST_ALONE: f64 = 0.8;
/// Factor on the confidence where a run is unlike all of the training.
const OUTSIDE: f64 = 0.5;
/// Numbers that are told of what makes a row stand out.
const TOLD: usize = 4;
/// Subjects that are told of one finding.
const SUBJECTS: usize = 10;

/// A row that a model calls a problem.
struct Hit<'a> {
    model: &'a ProblemModel,
    key: RowKey,
    values: Vec<f64>,
    probability: f64,
}

/// Joins what the models say with the findings of the rules.
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
) -> Result<(), LearnError> {
    let rows: Vec<(Level, Observations)> = Level::ALL.iter().map(|&level| (level, whole.observations(level))).collect();
    let of_level = |level: Level| rows.iter().find(|(of, _)| *of == level).map(|(_, rows)| rows);
    for model in &models.problems {
        let Some(problem) = Problem::from_name(&model.problem).filter(|&problem| config.enabled(problem)) else {
            continue;
        };
        let Some(rows) = of_level(model.level) else { continue };
        let hits = hits(model, rows)?;
        if !hits.is_empty() {
            tell(findings, problem, &hits, run)?;
        }
    }
    if config.enabled(Problem::UnknownAnomaly) {
        for model in &models.anomalies {
            if let Some(rows) = of_level(model.level) {
                findings.extend(anomaly(model, rows, findings, run)?);
            }
        }
    }
    Ok(())
}

/// The rows that a model calls a problem, the most probable first.
fn hits<'a>(model: &'a ProblemModel, rows: &Observations) -> Result<Vec<Hit<'a>>, LearnError> {
    let values = select(model.level, rows, &model.inputs);
    let scores = model.fitted.scores(values.view())?;
    let mut hits: Vec<Hit<'a>> = scores
        .iter()
        .zip(&rows.keys)
        .zip(values.rows())
        .filter(|((score, _), _)| **score >= model.threshold)
        .map(|((&score, key), row)| Hit {
            model,
            key: key.clone(),
            values: row.to_vec(),
            probability: model.calibration.probability(score),
        })
        .collect();
    hits.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.key.cmp(&b.key)));
    Ok(hits)
}

fn tell(findings: &mut Vec<Finding>, problem: Problem, hits: &[Hit<'_>], run: &Run) -> Result<(), LearnError> {
    let Some(first) = hits.first() else { return Ok(()) };
    if findings.iter().any(|found| found.consequences.iter().any(|consequence| consequence.problem == problem)) {
        return Ok(());
    }
    let kind = first.model.learner.name();
    let detector = Detector { kind: if kind == "forest" { "forest" } else { "tree" }, name: problem.name().to_owned() };
    let probability = Evidence::number("model_probability_ratio", first.probability, Unit::Ratio);
    if let Some(found) = findings.iter_mut().find(|found| found.problem == problem) {
        found.confidence =
            (1.0 - (1.0 - found.confidence) * (1.0 - first.probability)).min(SUREST).max(found.confidence);
        found.evidence.push(probability);
        found.also.push(detector);
        return Ok(());
    }
    let outside = outside(&first.model.inputs, &first.values);
    let way = way(first)?;
    let mut summary = format!(
        "the {kind} for {problem}, trained on {} labelled runs, knows this from them ({} there had the problem): {}",
        first.model.validated.runs_with + first.model.validated.runs_without,
        emberscope_rules::words::percent(first.probability),
        way.words,
    );
    let mut confidence = first.probability.min(SUREST_ALONE);
    if let Some(outside) = &outside {
        confidence *= OUTSIDE;
        summary.push_str(&format!("; but {outside}, outside of all that it was trained on"));
    }
    let mut finding = Finding::new(problem, confidence, subject(&first.key, run), summary);
    finding.detector = detector;
    finding.more_subjects = hits.iter().skip(1).take(SUBJECTS - 1).map(|hit| subject(&hit.key, run)).collect();
    finding.evidence = way.evidence;
    finding.evidence.push(probability);
    "no rule measured what it costs".clone_into(&mut finding.savings.how);
    finding.advice = vec![Advice {
        text: format!("No rule of Emberscope saw it. What usually helps: {}.", problem.usual_advice()),
        more: format!("emberscope problem {problem}"),
        ..Advice::default()
    }];
    findings.push(finding);
    Ok(())
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
            let asked = |name: &&str| rule.conditions.iter().any(|condition| condition.starts_with(*name));
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
        let number = |value: f64| emberscope_rules::words::rounded(value).to_string();
        (value < least || value > most)
            .then(|| format!("{} is {} (training: {} to {})", input.name, number(value), number(least), number(most)))
    })
}

/// The row that stands out most at a level, where no finding points at it; `None` where none stands out.
fn anomaly(
    model: &AnomalyModel,
    rows: &Observations,
    findings: &[Finding],
    run: &Run,
) -> Result<Option<Finding>, LearnError> {
    let Some(threshold) = model.forest.threshold() else { return Ok(None) };
    let values = select(model.level, rows, &model.inputs);
    if values.nrows() == 0 {
        return Ok(None);
    }
    let scores = model.forest.scores(&values)?;
    let mut flagged: Vec<(usize, f64)> = scores
        .iter()
        .copied()
        .enumerate()
        .filter(|(at, score)| *score > threshold && rows.keys.get(*at).is_some_and(|key| !is_told(key, findings)))
        .collect();
    flagged.sort_by(|a, b| b.1.total_cmp(&a.1));
    let Some(&(at, score)) = flagged.first() else { return Ok(None) };
    let (Some(key), Some(row)) = (rows.keys.get(at), values.rows().into_iter().nth(at)) else { return Ok(None) };
    let row = row.to_vec();
    let strongest = strongest(&model.forest.contributions(&row)?.features);
    let evidence: Vec<Evidence> = strongest
        .iter()
        .filter_map(|&at| Some((model.inputs.get(at)?, *row.get(at)?)))
        .filter_map(|(input, value)| told(input, value))
        .collect();
    let names: Vec<String> = evidence.iter().map(|evidence| evidence.feature.clone()).collect();
    let rate = model.false_alarm_rate;
    let mut finding = Finding::new(
        Problem::UnknownAnomaly,
        0.5 * (1.0 - rate),
        subject(key, run),
        format!(
            "no problem by name, but more unlike others than any row of {} of {} healthy runs, most of all by {}",
            emberscope_rules::words::percent(1.0 - rate),
            emberscope_rules::words::count(model.runs),
            names.join(", "),
        ),
    );
    finding.detector = Detector { kind: "forest", name: Problem::UnknownAnomaly.name().to_owned() };
    let others = flagged.iter().skip(1).take(SUBJECTS - 1).filter_map(|(at, _)| rows.keys.get(*at));
    finding.more_subjects = others.map(|key| subject(key, run)).collect();
    finding.evidence = evidence;
    finding.evidence.push(Evidence::number("anomaly_score_ratio", score, Unit::Ratio).over(threshold));
    "what is only unusual has no cost that could be told".clone_into(&mut finding.savings.how);
    let meaning = |name: &str| inputs(model.level).iter().find(|input| input.name == name).map(|input| &input.meaning);
    if let Some((name, meaning)) = names.first().and_then(|name| Some((name, meaning(name)?))) {
        finding.advice = vec![Advice {
            text: format!("Look at what makes it stand out first. {name}: {meaning}"),
            more: "emberscope problem unknown-anomaly".to_owned(),
            ..Advice::default()
        }];
    }
    Ok(Some(finding))
}

/// Whether a finding points at a row already, or at the run that it is of.
fn is_told(key: &RowKey, findings: &[Finding]) -> bool {
    findings.iter().flat_map(Finding::subjects).any(|subject| match key {
        RowKey::Run => true,
        RowKey::StageAttempt(key) => subject.stage_id == Some(key.stage_id.0),
        RowKey::Executor(id) => subject.executor_id.as_deref() == Some(id.0.as_str()),
        RowKey::SqlExecution(id) => subject.sql_execution_id == Some(id.0),
    })
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
