//! Trained models as files: what is written, what is read, and what is refused.
//!
//! A folder with `trees.json`, `anomalies.json`, `manifest.json` and a card (`card.md`). All is documented JSON; nothing of it is executed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use emberscope_extract::features::catalogue;
use emberscope_learn::calibration::Calibration;
use emberscope_learn::{IsolationForest, LearnError};
use emberscope_rules::Problem;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fit::{Alone, Fitted, Learner};
use super::inputs::inputs;
use super::judging::Validated;
use super::level::Level;
use crate::evaluate::STRENGTHS;

/// Version of the files; one that is newer is refused.
pub const FORMAT: u32 = 1;
const TREES: &str = "trees.json";
const ANOMALIES: &str = "anomalies.json";
const MANIFEST: &str = "manifest.json";
/// Bytes of a file at most: a model of this size would be no model of ours.
const MOST_BYTES: u64 = 256 << 20;

/// A number that a model looks at, and what was seen of it in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInput {
    /// Its name in the list of inputs.
    pub name: String,
    /// The smallest value of the training.
    pub least: Option<f64>,
    /// The largest.
    pub most: Option<f64>,
    /// The median of the rows of healthy runs.
    pub typical: Option<f64>,
}

/// The model of one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemModel {
    /// The problem's name.
    pub problem: String,
    /// What it judges.
    pub level: Level,
    /// What learned it.
    pub learner: Learner,
    /// What it looks at, in the order of its features.
    pub inputs: Vec<ModelInput>,
    /// What was learned.
    pub fitted: Fitted,
    /// From its scores to probabilities.
    pub calibration: Calibration,
    /// The score from which it says that the problem is there.
    pub threshold: f64,
    /// From where it says so where no rule found it; null where it is never right often enough for that.
    pub alone: Option<Alone>,
    /// Share of the runs that have the problem, of those in which a rule found it and the model too; null where rules could not look.
    pub agreed: Option<f64>,
    /// How good it was on families that it did not see.
    pub validated: Validated,
}

/// A number that the model of what is usual looks at, and how far healthy runs are from their median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsualInput {
    /// The number.
    #[serde(flatten)]
    pub input: ModelInput,
    /// From the median of healthy runs down to their 2nd percentile.
    pub below: f64,
    /// From the median up to their 98th.
    pub above: f64,
}

/// The model of what is usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnomalyModel {
    /// What it judges.
    pub level: Level,
    /// What it looks at, each as its distance from healthy runs.
    pub inputs: Vec<UsualInput>,
    /// What was learned.
    pub forest: IsolationForest,
    /// Runs that it was learned from.
    pub runs: u64,
    /// Healthy ones among them.
    pub healthy_runs: u64,
    /// Share of further healthy runs of other workloads that are about above its threshold.
    pub false_alarm_rate: f64,
}

/// What a set of models was made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of the files.
    pub format: u32,
    /// Version of the program that trained them.
    pub emberscope_version: String,
    /// Hash of the catalogue of features.
    pub catalogue_hash: String,
    /// Checksum of labels and observations.
    pub training_checksum: String,
    /// Runs that were learned from.
    pub runs: u64,
    /// Healthy ones among them.
    pub healthy_runs: u64,
    /// Their workload families.
    pub families: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The learner of the models.
    pub learner: String,
    /// What each learner reached on families that it did not see, by problem.
    pub compared: BTreeMap<String, BTreeMap<String, Validated>>,
    /// Problems for which there is no model, and why.
    pub without_model: BTreeMap<String, String>,
    /// Share of healthy runs that the anomaly models may flag, as it was asked for.
    pub false_alarm_rate: f64,
    /// What the anomaly models flag; null where there are none.
    pub unusual: Option<Unusual>,
    /// How large the runs were: features of the run as they are.
    pub sizes: Vec<ModelInput>,
    /// Major and minor versions of their Spark; empty where feature tables did not say.
    pub spark_versions: BTreeSet<String>,
}

/// Runs that forests flag which saw neither their workload family nor any run with their problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusual {
    /// Healthy runs, and those of them that are flagged.
    pub healthy: Flagged,
    /// Runs with each problem and no other, by strength from 1.
    pub problems: BTreeMap<String, [Flagged; STRENGTHS as usize]>,
}

/// Runs, and those of them that are flagged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flagged {
    /// Runs.
    pub runs: u64,
    /// Those that are flagged.
    pub flagged: u64,
}

impl Unusual {
    /// Runs with a problem of the greatest strength, over all problems.
    pub fn severe(&self) -> Flagged {
        let last = |by_strength: &[Flagged; STRENGTHS as usize]| by_strength.last().copied().unwrap_or_default();
        self.problems.values().map(last).fold(Flagged::default(), |sum, one| Flagged {
            runs: sum.runs + one.runs,
            flagged: sum.flagged + one.flagged,
        })
    }
}

/// Trained models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Models {
    /// One for each problem that could be learned.
    pub problems: Vec<ProblemModel>,
    /// One for each level.
    pub anomalies: Vec<AnomalyModel>,
    /// What they were made from.
    pub manifest: Manifest,
}

/// Why models cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is none of ours.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
}

impl Models {
    /// The models that the program brings; empty where it was built without any.
    ///
    /// # Errors
    ///
    /// When they are not for this program's features, which a test rules out.
    pub fn built_in() -> Result<Self, ModelError> {
        let file = |name: &str, text: &str| (PathBuf::from("built-in models").join(name), text.to_owned());
        Self::parse(
            &file(TREES, include_str!("../../../../models/trees.json")),
            &file(ANOMALIES, include_str!("../../../../models/anomalies.json")),
            &file(MANIFEST, include_str!("../../../../models/manifest.json")),
        )
    }

    /// Reads the models of a folder.
    ///
    /// # Errors
    ///
    /// When a file is not there, is too large or no model, or looks at an input that this program does not have.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let file = |name: &str| {
            let path = folder.join(name);
            let text = read_bounded(&path)?;
            Ok((path, text))
        };
        Self::parse(&file(TREES)?, &file(ANOMALIES)?, &file(MANIFEST)?)
    }

    fn parse(
        trees: &(PathBuf, String),
        anomalies: &(PathBuf, String),
        manifest: &(PathBuf, String),
    ) -> Result<Self, ModelError> {
        let models = Self { manifest: parsed(manifest)?, problems: parsed(trees)?, anomalies: parsed(anomalies)? };
        let refuse = |file: &(PathBuf, String), message| Err(ModelError::Content { path: file.0.clone(), message });
        let format = models.manifest.format;
        if format > FORMAT || (format == 0 && !models.is_empty()) {
            return refuse(manifest, format!("format {format} is none that this program reads ({FORMAT})"));
        }
        let mut seen = BTreeSet::new();
        for model in &models.problems {
            let name = &model.problem;
            let Some(problem) = Problem::from_name(name) else {
                return refuse(trees, format!("the model of {name:?} is for no problem of the vocabulary"));
            };
            if !seen.insert(problem) {
                return refuse(trees, format!("{name} has two models"));
            }
            if model.level != Level::of(problem) {
                let (own, level) = (model.level, Level::of(problem));
                return refuse(
                    trees,
                    format!("the model of {name} judges a {own}, where that problem is one of a {level}"),
                );
            }
            if let Some(wrong) = [Some(model.threshold), model.alone.map(|alone| alone.score), model.agreed]
                .into_iter()
                .flatten()
                .find(|score| !is_share(*score))
            {
                return refuse(trees, format!("the model of {name} calls from a score of {wrong}"));
            }
            if model.alone.is_some_and(|alone| alone.right > alone.runs) {
                return refuse(trees, format!("the model of {name} was right more often than it spoke"));
            }
            let features = match &model.fitted {
                Fitted::Tree(tree) => tree.features(),
                Fitted::Forest(forest) => forest.features(),
            };
            check_inputs(&trees.0, &model.problem, model.level, &model.inputs, features)?;
        }
        let mut levels = BTreeSet::new();
        for model in &models.anomalies {
            if !levels.insert(model.level) || !is_share(model.false_alarm_rate) {
                return refuse(
                    anomalies,
                    format!("two models of what is usual for each {}, or a rate of none", model.level),
                );
            }
            let name = format!("anomalies of {}", model.level);
            let asked: Vec<ModelInput> = model.inputs.iter().map(|input| input.input.clone()).collect();
            check_inputs(&anomalies.0, &name, model.level, &asked, model.forest.features())?;
            let spans = model.inputs.iter().flat_map(|input| [input.below, input.above]);
            if model.level != Level::Run || spans.into_iter().any(|span| !(span.is_finite() && span > 0.0)) {
                return refuse(anomalies, format!("the model of {name} has a distance that is none, or judges no run"));
            }
        }
        Ok(models)
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.anomalies.is_empty()
    }

    /// Each model as an ONNX model, by name of its problem. Its input `features` has the columns that `inputs` names, in their order; that of
    /// what is usual takes their distances from healthy runs ([`UsualInput`]) instead. Its output is the score; for what is usual it is that of
    /// [`Models`] where no value is missing, as ONNX knows one way for a missing value and the forest goes both.
    ///
    /// # Errors
    ///
    /// When a forest has slanted splits, which ONNX does not know; those that are trained here have none.
    pub fn onnx(&self) -> Result<Vec<(String, Vec<u8>)>, LearnError> {
        let of_problem = |model: &ProblemModel| match &model.fitted {
            Fitted::Tree(tree) => tree.to_onnx(),
            Fitted::Forest(forest) => forest.to_onnx(),
        };
        let mut files: Vec<(String, Vec<u8>)> =
            self.problems.iter().map(|model| (format!("{}.onnx", model.problem), of_problem(model))).collect();
        for model in &self.anomalies {
            files.push((format!("{}.onnx", Problem::UnknownAnomaly), model.forest.to_onnx()?));
        }
        Ok(files)
    }

    /// Each decision tree as a graph in the DOT language, by name of its problem.
    pub fn dot(&self) -> Vec<(String, String)> {
        let tree = |model: &ProblemModel| match &model.fitted {
            Fitted::Tree(tree) => {
                let names: Vec<&str> = model.inputs.iter().map(|input| input.name.as_str()).collect();
                Some((format!("{}.dot", model.problem), tree.to_dot(&names)))
            }
            Fitted::Forest(_) => None,
        };
        self.problems.iter().filter_map(tree).collect()
    }

    /// The files of the models: names and contents.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let text = |value: serde_json::Result<String>| value.unwrap_or_default() + "\n";
        vec![
            (TREES, lines(&self.problems)),
            (ANOMALIES, text(serde_json::to_string(&self.anomalies))),
            (MANIFEST, text(serde_json::to_string_pretty(&self.manifest))),
        ]
    }
}

/// A JSON array with one model a line: a model that changed is one line that changed.
fn lines(models: &[ProblemModel]) -> String {
    let lines: Vec<String> = models.iter().map(|model| serde_json::to_string(model).unwrap_or_default()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn read_bounded(path: &Path) -> Result<String, ModelError> {
    let wrong = |source| ModelError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(wrong)?.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(wrong)?;
    if text.len() as u64 > MOST_BYTES {
        let message = format!("more bytes than a model has ({MOST_BYTES} at most)");
        return Err(ModelError::Content { path: path.to_owned(), message });
    }
    Ok(text)
}

fn parsed<T: for<'a> Deserialize<'a>>((path, text): &(PathBuf, String)) -> Result<T, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError::Content { path: path.clone(), message: error.to_string() })
}

/// Refuses models that look at what this program does not have, by name, and those whose parts do not belong together.
fn check_inputs(
    path: &Path,
    model: &str,
    level: Level,
    asked: &[ModelInput],
    features: usize,
) -> Result<(), ModelError> {
    let refuse = |message| Err(ModelError::Content { path: path.to_owned(), message });
    if asked.len() != features {
        return refuse(format!("the model of {model} names {} inputs and was learned from {features}", asked.len()));
    }
    let known = inputs(level);
    match asked.iter().find(|input| !known.iter().any(|known| known.name == input.name)) {
        Some(input) => {
            let nearest = crate::suggest::did_you_mean(&input.name, known.iter().map(|known| known.name.as_str()));
            refuse(format!(
                "the model of {model} looks at {:?}, which no {level} has here{nearest}: it was trained with other features \
                 (catalogue {:016x} here)",
                input.name,
                catalogue::hash(),
            ))
        }
        None => Ok(()),
    }
}
