//! One model for one problem: parameters chosen, judged and calibrated by families that it did not see.

use emberscope_learn::calibration::Calibration;
use emberscope_learn::metrics::{average_precision, precision_recall};
use emberscope_learn::others::{linfa_tree, smartcore_forest};
use emberscope_learn::{DecisionTree, DecisionTreeParams, LearnError, RandomForest, RandomForestParams};
use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::examples::Examples;
use super::folds::parts;

/// Depths of trees that are tried: a person can read 16 leaves.
const DEPTHS: [u32; 4] = [1, 2, 3, 4];
/// Rows of a leaf at least.
const LEAF_ROWS: usize = 3;
/// Share of its calls that has to be right where no rule found the problem, and the least number of right ones that shows it: whoever
/// speaks alone has to be right nearly always.
const ALONE_PRECISION: f64 = 0.95;
const ALONE_RUNS: u64 = 5;
/// Trees of a forest.
const FOREST_TREES: usize = 50;
/// Depths of a forest's trees that are tried.
const FOREST_DEPTHS: [u32; 1] = [10];

/// What learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learner {
    /// One decision tree, at most four deep.
    Tree,
    /// A random forest of decision trees.
    Forest,
    /// linfa-trees' decision tree.
    LinfaTree,
    /// smartcore's random forest.
    SmartcoreForest,
}

impl Learner {
    /// Every learner.
    pub const ALL: &'static [Self] = &[Self::Tree, Self::Forest, Self::LinfaTree, Self::SmartcoreForest];

    /// Its name on the command line and in artefacts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Forest => "forest",
            Self::LinfaTree => "linfa-tree",
            Self::SmartcoreForest => "smartcore-forest",
        }
    }

    /// The learner of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|learner| learner.name() == name)
    }

    fn depths(self) -> &'static [u32] {
        match self {
            Self::Tree | Self::LinfaTree => &DEPTHS,
            Self::Forest | Self::SmartcoreForest => &FOREST_DEPTHS,
        }
    }

    /// Fits to examples of both answers.
    pub(super) fn fit(self, depth: u32, examples: &Examples, seed: u64) -> Result<Fitted, LearnError> {
        let tree = DecisionTreeParams {
            max_depth: depth,
            min_leaf_rows: LEAF_ROWS,
            balanced: true,
            seed,
            ..DecisionTreeParams::default()
        };
        let (values, answers, weights) = (&examples.values, &examples.answers, examples.weights.as_slice());
        let forest = |tree| RandomForestParams { trees: FOREST_TREES, tree };
        Ok(match self {
            Self::Tree => Fitted::Tree(tree.fit_weighted(values, answers, weights)?),
            Self::LinfaTree => Fitted::Tree(linfa_tree(&tree, values, answers, weights)?),
            Self::Forest => Fitted::Forest(forest(tree).fit(values, answers, weights, &examples.run_of)?.0),
            Self::SmartcoreForest => Fitted::Forest(smartcore_forest(&forest(tree), values, answers, weights)?),
        })
    }
}

/// What was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitted {
    /// A tree.
    Tree(DecisionTree),
    /// A forest.
    Forest(RandomForest),
}

impl Fitted {
    /// The same as it is grown to a smaller depth; a forest as it is.
    fn cut_at(&self, depth: u32) -> Self {
        match self {
            Self::Tree(tree) => Self::Tree(tree.cut_at(depth)),
            Self::Forest(_) => self.clone(),
        }
    }

    /// The same for tables of the inputs that it looks at, and which these are.
    pub(super) fn compacted(&self) -> (Self, Vec<usize>) {
        match self {
            Self::Tree(tree) => {
                let (tree, used) = tree.compacted();
                (Self::Tree(tree), used)
            }
            Self::Forest(forest) => {
                let (forest, used) = forest.compacted();
                (Self::Forest(forest), used)
            }
        }
    }

    /// The score of each row, 0 to 1: shares of yes in leaves, with both answers weighing the same.
    pub(super) fn scores(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>, LearnError> {
        match self {
            Self::Tree(tree) => Ok(tree.probabilities(&rows)?.to_vec()),
            Self::Forest(forest) => Ok(forest.probabilities(&rows)?.to_vec()),
        }
    }
}

/// What was chosen, and what rows of families that were left out are given by it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) depth: u32,
    /// A score for each row, by models that did not see the row's family.
    pub(super) scores: Vec<f64>,
    /// The score from which a run counts as having the problem.
    pub(super) threshold: f64,
    /// The score from which it is told where rules are silent.
    pub(super) alone: Option<Alone>,
    /// Share of the runs that have the problem, of those in which rules found it as well; `None` where rules could not look.
    pub(super) agreed: Option<f64>,
}

/// From where a model speaks without a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    /// The score.
    pub score: f64,
    /// Runs of families that it did not see, in which no rule found the problem and whose score is as high.
    pub runs: u64,
    /// Those of them that have it.
    pub right: u64,
}

impl Alone {
    /// How sure that makes: the share that is right, with one right and one wrong one added.
    pub fn confidence(self) -> f64 {
        (self.right as f64 + 1.0) / (self.runs as f64 + 2.0)
    }
}

/// Chooses the depth whose scores of left-out families rank runs best, and the threshold with the largest F1 on them; `None` where
/// fewer than two families have the problem.
pub(super) fn choose(learner: Learner, examples: &Examples, seed: u64) -> Result<Option<Choice>, LearnError> {
    let Some(of_depths) = left_out_scores(learner, examples, seed)? else { return Ok(None) };
    let mut best: Option<(f64, Choice)> = None;
    for (&depth, scores) in learner.depths().iter().zip(of_depths) {
        let (run_scores, answers) = told_runs(examples, &scores);
        let precision = average_precision(&run_scores, &answers).unwrap_or(0.0);
        let ruled = |run: usize| examples.runs[run].ruled;
        // A deeper tree has to be better, not as good.
        if best.as_ref().is_none_or(|(before, _)| precision > *before + 1e-9) {
            let threshold = best_threshold(&run_scores, &answers);
            let (silent, has) = told_where(examples, &scores, |run| ruled(run) != Some(true));
            let alone = alone(&silent, &has, threshold);
            let (found, has) = told_where(examples, &scores, |run| ruled(run) == Some(true));
            let agreed = agreed(&found, &has, threshold);
            best = Some((precision, Choice { depth, scores, threshold, alone, agreed }));
        }
    }
    Ok(best.map(|(_, choice)| choice))
}

/// For each depth a score for each row by models that did not see its family; `None` where families are too few.
fn left_out_scores(learner: Learner, examples: &Examples, seed: u64) -> Result<Option<Vec<Vec<f64>>>, LearnError> {
    let Some(parts) = parts(&examples.runs, |place| examples.asked[place]) else { return Ok(None) };
    let depths = learner.depths();
    let deepest = depths.last().copied().unwrap_or(1);
    let mut scores = vec![vec![0.0; examples.run_of.len()]; depths.len()];
    for part in 0..parts.count {
        let in_part = |run: usize| parts.has(part, &examples.runs[run].family);
        let others = examples.only(|run| !in_part(run));
        if !others.can_be_learned() {
            continue;
        }
        let rows: Vec<usize> = (0..examples.run_of.len()).filter(|&row| in_part(examples.run_of[row])).collect();
        let values = examples.values.select(Axis(0), &rows);
        let whole = learner.fit(deepest, &others, seed)?;
        for (&depth, scores) in depths.iter().zip(&mut scores) {
            let given = whole.cut_at(depth).scores(values.view())?;
            rows.iter().zip(given).for_each(|(&row, score)| scores[row] = score);
        }
    }
    Ok(Some(scores))
}

/// The largest score of each run, 0 without rows, and whether it has the problem.
pub(super) fn told_runs(examples: &Examples, scores: &[f64]) -> (Vec<f64>, Vec<bool>) {
    told_where(examples, scores, |_| true)
}

/// The same of some runs only.
fn told_where(examples: &Examples, scores: &[f64], wanted: impl Fn(usize) -> bool) -> (Vec<f64>, Vec<bool>) {
    let by_run = examples.by_run(scores);
    let runs = by_run.iter().zip(&examples.runs).enumerate();
    let runs = runs.filter(|(place, _)| examples.asked[*place] && wanted(*place));
    runs.map(|(_, (score, run))| (score.unwrap_or(0.0), run.has)).unzip()
}

/// The threshold with the largest F1, in the middle between the scores on its two sides; the higher one of equals.
pub(super) fn best_threshold(scores: &[f64], answers: &[bool]) -> f64 {
    let curve = precision_recall(scores, answers);
    let f1 = |at: usize| {
        let (precision, recall) = (curve[at].precision, curve[at].recall);
        if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    };
    let best = (0..curve.len()).reduce(|best, at| if f1(at) > f1(best) + 1e-12 { at } else { best });
    match best {
        Some(at) => {
            let below = curve.get(at + 1).map_or(0.0, |point| point.threshold);
            f64::midpoint(curve[at].threshold, below)
        }
        None => 1.0,
    }
}

/// The least score from which at least [`ALONE_PRECISION`] of the runs have the problem, [`ALONE_RUNS`] of them at least, in the middle between the
/// scores on its two sides, and not below the threshold.
fn alone(scores: &[f64], answers: &[bool], threshold: f64) -> Option<Alone> {
    let curve = precision_recall(scores, answers);
    let sure = |at: &usize| {
        let called = called_from(scores, answers, curve[*at].threshold);
        curve[*at].precision >= ALONE_PRECISION && called.right >= ALONE_RUNS && curve[*at].threshold >= threshold
    };
    let at = (0..curve.len()).rev().find(sure)?;
    let below = curve.get(at + 1).map_or(0.0, |point| point.threshold);
    let score = f64::midpoint(curve[at].threshold, below).max(threshold);
    Some(Alone { score, ..called_from(scores, answers, curve[at].threshold) })
}

fn called_from(scores: &[f64], answers: &[bool], score: f64) -> Alone {
    let called = || scores.iter().zip(answers).filter(|(own, _)| **own >= score);
    Alone { score, runs: called().count() as u64, right: called().filter(|(_, has)| **has).count() as u64 }
}

/// The share of runs that have the problem among those that are called, with one right and one wrong one added; `None` without any.
fn agreed(scores: &[f64], answers: &[bool], threshold: f64) -> Option<f64> {
    let called = called_from(scores, answers, threshold);
    (called.runs > 0).then(|| called.confidence())
}

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
}

/// Judges a learner on each part of the families in turn; `None` where fewer than two families have the problem.
///
/// A learner with several depths chooses among them within the other parts. With one depth only the threshold is left to choose, and it is
/// chosen by the scores of the other parts' runs, each by a model that did not see its family.
pub(super) fn nested(learner: Learner, examples: &Examples, seed: u64) -> Result<Option<Validated>, LearnError> {
    let Some(parts) = parts(&examples.runs, |_| true) else { return Ok(None) };
    let mut scores = Vec::new();
    let mut answers = Vec::new();
    let mut called = Vec::new();
    let single = match learner.depths() {
        [_] => left_out_scores(learner, examples, seed)?.and_then(|of_depths| of_depths.into_iter().next()),
        _ => None,
    };
    for part in 0..parts.count {
        let in_part = |run: usize| parts.has(part, &examples.runs[run].family);
        if let Some(given) = &single {
            let (of_others, has) = told_where(examples, given, |run| !in_part(run));
            let threshold = best_threshold(&of_others, &has);
            let (own, has) = told_where(examples, given, in_part);
            called.extend(own.iter().map(|score| *score >= threshold));
            scores.extend(own);
            answers.extend(has);
            continue;
        }
        let (others, own) = (examples.only(|run| !in_part(run)), examples.only(in_part));
        if !others.can_be_learned() {
            continue;
        }
        // With one family that has the problem left, nothing can be chosen by it.
        let (depth, threshold) = match choose(learner, &others, seed)? {
            Some(choice) => (choice.depth, choice.threshold),
            None => (learner.depths()[learner.depths().len() / 2], 0.5),
        };
        let given = learner.fit(depth, &others, seed)?.scores(own.values.view())?;
        let (run_scores, has) = told_runs(&own, &given);
        called.extend(run_scores.iter().map(|score| *score >= threshold));
        scores.extend(run_scores);
        answers.extend(has);
    }
    let count = |called_so: bool| {
        called.iter().zip(&answers).filter(|(called, has)| **called && **has == called_so).count() as u64
    };
    let (hits, alarms) = (count(true), count(false));
    let with = answers.iter().filter(|has| **has).count() as u64;
    let whole = 2 * hits + alarms + (with - hits);
    Ok(Some(Validated {
        runs_with: with,
        runs_without: answers.len() as u64 - with,
        families_with: examples.families_with().len() as u64,
        true_positives: hits,
        false_positives: alarms,
        f1: if whole > 0 { 2.0 * hits as f64 / whole as f64 } else { 0.0 },
        average_precision: average_precision(&scores, &answers).unwrap_or(0.0),
    }))
}

/// The map from the highest score of a run to the probability that it has the problem, by runs of left-out families.
pub(super) fn calibration(examples: &Examples, scores: &[f64]) -> Option<Calibration> {
    let (scores, answers) = told_runs(examples, scores);
    Calibration::fit(&scores, &answers, &vec![1.0; scores.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_where_f1_is_largest_and_lies_between_scores() {
        // Called from 0.6 up: two right, one wrong, none missed: F1 0.8. From 0.9: one right: 0.67.
        let threshold = best_threshold(&[0.9, 0.7, 0.6, 0.2], &[true, false, true, false]);
        assert!((threshold - 0.4).abs() < 1e-12, "{threshold}");
        assert!((best_threshold(&[0.5, 0.1], &[true, false]) - 0.3).abs() < 1e-12);
        assert!((best_threshold(&[], &[]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_model_speaks_alone_from_where_it_is_right_nearly_always() {
        // Six right calls from 0.5 up, then a wrong one at 0.4: 6 of 7 are too few. Without the sixth it is five: just enough.
        let scores = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1];
        let answers = [true, true, true, true, true, true, false, false];
        let found = alone(&scores, &answers, 0.2).unwrap();
        assert!((found.score - 0.45).abs() < 1e-12, "{found:?}");
        assert_eq!((found.runs, found.right), (6, 6));
        assert!((found.confidence() - 7.0 / 8.0).abs() < 1e-12);
        assert_eq!(alone(&scores, &answers, 0.75), None, "three calls from the threshold on");
        let four = [true, true, true, true, false, false, false, false];
        assert_eq!(alone(&scores, &four, 0.2), None);
        // A wrong call among 25 is 96 %: still nearly always.
        let scores: Vec<f64> = (0..25).map(|at| 1.0 - f64::from(at) * 0.01).collect();
        let answers: Vec<bool> = (0..25).map(|at| at != 3).collect();
        assert!(alone(&scores, &answers, 0.2).is_some_and(|found| found.right == 24));
    }

    #[test]
    fn where_both_speak_the_share_that_was_right_is_told() {
        assert_eq!(agreed(&[0.9, 0.8, 0.2], &[true, false, true], 0.5), Some(0.5));
        assert_eq!(agreed(&[0.9, 0.8, 0.7], &[true, true, true], 0.5), Some(0.8));
        assert_eq!(agreed(&[0.2], &[true], 0.5), None);
    }
}
