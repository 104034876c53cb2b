//! How good a learner is on families that it did not see: nested cross-validation.

use emberscope_learn::LearnError;
use emberscope_learn::metrics::average_precision;
use serde::{Deserialize, Serialize};

use super::examples::{Examples, Ruled};
use super::fit::{Alone, Learner, SILENT_PRECISION, choose};
use super::folds::parts;

/// How good a model is on families that it did not see, parameters and threshold chosen without them: nested cross-validation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// Runs that have the problem.
    pub runs_with: u64,
    /// Runs that do not.
    pub runs_without: u64,
    /// Families with such a run.
    pub families_with: u64,
    /// Runs that have it and were called so.
    pub true_positives: u64,
    /// Runs that do not and were called so.
    pub false_positives: u64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The area under the curve of precision over recall.
    pub average_precision: f64,
    /// What speaking where rules are silent added; null where rules could not look.
    pub added: Option<Added>,
}

/// What models added to rules by speaking alone, on families that they did not see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// Runs that have the problem, that rules missed and the model told.
    pub right: u64,
    /// Runs that do not, in which rules were silent and the model was not.
    pub wrong: u64,
    /// F1 of rules by themselves on the same runs.
    pub rules_f1: f64,
    /// F1 of rules and the model together.
    pub together_f1: f64,
}

impl Added {
    /// Whether speaking where rules were silent was seen to help, and was right as often as it has to be.
    pub fn pays(self) -> bool {
        self.right > 0 && self.right as f64 >= SILENT_PRECISION * (self.right + self.wrong) as f64
    }
}

/// A run that was judged by what did not see its family.
struct Judged {
    score: f64,
    has: bool,
    ruled: Option<Ruled>,
    called: bool,
    called_alone: bool,
}

/// Judges a learner on each part of the families in turn; `None` where fewer than two families have the problem.
///
/// Shape and threshold are chosen within the other parts, by models that saw neither the part nor the family that they score.
pub(super) fn nested(learner: Learner, examples: &Examples, seed: u64) -> Result<Option<Validated>, LearnError> {
    let Some(parts) = parts(&examples.runs, |_| true) else { return Ok(None) };
    let mut judged: Vec<Judged> = Vec::new();
    for part in 0..parts.count {
        let in_part = |run: usize| parts.has(part, &examples.runs[run].family);
        let (others, own) = (examples.only(|run| !in_part(run)), examples.only(in_part));
        if !others.can_be_learned() {
            continue;
        }
        // With one family that has the problem left, nothing can be chosen by it.
        let (shape, threshold, alone) = match choose(learner, &others, seed)? {
            Some(choice) => (choice.shape, choice.threshold, choice.alone),
            None => (learner.middle_shape(), 0.5, None),
        };
        let given = learner.fit(shape, &others, seed)?.scores(own.values.view())?;
        judged.extend(judge(&own, &given, threshold, alone));
    }
    Ok(Some(validated(&judged, examples.families_with().len() as u64)))
}

/// The runs of examples that are asked for, with what a model calls.
fn judge(examples: &Examples, scores: &[f64], threshold: f64, alone: Option<Alone>) -> Vec<Judged> {
    let by_run = examples.by_run(scores);
    let runs = by_run.iter().zip(&examples.runs).enumerate();
    let runs = runs.filter(|(place, _)| examples.asked[*place]);
    runs.map(|(_, (score, run))| {
        let score = score.unwrap_or(0.0);
        let called_alone = alone.is_some_and(|alone| score >= alone.score);
        Judged { score, has: run.has, ruled: run.ruled, called: score >= threshold, called_alone }
    })
    .collect()
}

fn validated(judged: &[Judged], families_with: u64) -> Validated {
    let count = |wanted: &dyn Fn(&Judged) -> bool| judged.iter().filter(|run| wanted(run)).count() as u64;
    let with = count(&|run| run.has);
    let f1 = |called: &dyn Fn(&Judged) -> bool| {
        let (hits, alarms) = (count(&|run| called(run) && run.has), count(&|run| called(run) && !run.has));
        let whole = alarms + with + hits;
        if whole > 0 { 2.0 * hits as f64 / whole as f64 } else { 0.0 }
    };
    let added = judged.iter().all(|run| run.ruled.is_some()).then(|| {
        // As `emberscope evaluate` counts: what is told as following from another is found where it is there, and no alarm where it is not.
        let ruled = |run: &Judged| match run.ruled {
            Some(Ruled::Found) => true,
            Some(Ruled::Consequence) => run.has,
            _ => false,
        };
        let alone = |run: &Judged| run.ruled == Some(Ruled::Silent) && run.called_alone;
        Added {
            right: count(&|run| alone(run) && run.has),
            wrong: count(&|run| alone(run) && !run.has),
            rules_f1: f1(&ruled),
            together_f1: f1(&|run| ruled(run) || alone(run)),
        }
    });
    let (scores, answers): (Vec<f64>, Vec<bool>) = judged.iter().map(|run| (run.score, run.has)).unzip();
    Validated {
        runs_with: with,
        runs_without: judged.len() as u64 - with,
        families_with,
        true_positives: count(&|run| run.called && run.has),
        false_positives: count(&|run| run.called && !run.has),
        f1: f1(&|run| run.called),
        average_precision: average_precision(&scores, &answers).unwrap_or(0.0),
        added,
    }
}
