//! Trained models as files: what is written, what is read, and what is refused.
//!
//! A folder with `trees.json`, `anomalies.json`, `manifest.json` and a card (`card.md`). All is documented JSON; nothing of it is executed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use emberscope_extract::features::catalogue;
use emberscope_learn::IsolationForest;
use emberscope_learn::calibration::Calibration;
use emberscope_rules::Problem;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fit::{Fitted, Learner, Validated};
use super::inputs::inputs;
use super::level::Level;

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
    /// How good it was on families that it did not see.
    pub validated: Validated,
}

/// A model of what is usual at a level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnomalyModel {
    /// What it judges.
    pub level: Level,
    /// What it looks at.
    pub inputs: Vec<ModelInput>,
    /// What was learned.
    pub forest: IsolationForest,
    /// Healthy rows that it was learned from.
    pub rows: u64,
    /// Healthy runs that they are of.
    pub runs: u64,
    /// Share of further healthy runs of other workloads that have a row above its threshold, as promised.
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
        if models.manifest.format > FORMAT {
            let message = format!("format {} is newer than {FORMAT}, which this program reads", models.manifest.format);
            return Err(ModelError::Content { path: manifest.0.clone(), message });
        }
        for model in &models.problems {
            if Problem::from_name(&model.problem).is_none() {
                let message = format!("the model of {:?} is for no problem of the vocabulary", model.problem);
                return Err(ModelError::Content { path: trees.0.clone(), message });
            }
            let features = match &model.fitted {
                Fitted::Tree(tree) => tree.features(),
                Fitted::Forest(forest) => forest.features(),
            };
            check_inputs(&trees.0, &model.problem, model.level, &model.inputs, features)?;
        }
        for model in &models.anomalies {
            let name = format!("anomalies of {}", model.level);
            check_inputs(&anomalies.0, &name, model.level, &model.inputs, model.forest.features())?;
        }
        Ok(models)
    }

    /// The files of the models: names and contents.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let text = |value: serde_json::Result<String>| value.unwrap_or_default() + "\n";
        vec![
            (TREES, text(serde_json::to_string_pretty(&self.problems))),
            (ANOMALIES, text(serde_json::to_string(&self.anomalies))),
            (MANIFEST, text(serde_json::to_string_pretty(&self.manifest))),
        ]
    }
}

fn read_bounded(path: &Path) -> Result<String, ModelError> {
    let wrong = |source| ModelError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(wrong)?.len();
    if bytes > MOST_BYTES {
        let message = format!("{bytes} bytes are more than a model has ({MOST_BYTES} at most)");
        return Err(ModelError::Content { path: path.to_owned(), message });
    }
    fs::read_to_string(path).map_err(wrong)
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
