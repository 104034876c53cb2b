//! One model for one problem: parameters chosen, judged and calibrated by families that it did not see.

use emberscope_learn::calibration::Calibration;
use emberscope_learn::metrics::{average_precision, precision_recall};
use emberscope_learn::others::{linfa_tree, smartcore_forest};
use emberscope_learn::{DecisionTree, DecisionTreeParams, LearnError, RandomForest, RandomForestParams};
use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::examples::{ExampleRun, Examples, Ruled};
use super::folds::parts;

/// Depths of trees that are tried: a person can read 16 leaves.
const DEPTHS: [u32; 4] = [1, 2, 3, 4];
/// Rows of a leaf at least.
const LEAF_ROWS: usize = 3;
/// A model that speaks alone has to be right nearly always: this share of all that it calls, so many at least.
const ALONE_PRECISION: f64 = 0.95;
const ALONE_RUNS: u64 = 5;
/// And this share of what it calls where rules are silent, one at least: there the doubtful ones are.
pub(super) const SILENT_PRECISION: f64 = 0.75;
/// Trees of a forest.
const FOREST_TREES: usize = 50;
/// How a learner grows: the inputs it sees at most, those that tell rows apart in most families, and the depth of trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) inputs: usize,
    pub(super) depth: u32,
}

/// Inputs of a tree, both of which are tried, and of a forest. Set by cross-validation on the training families of datasets/lab: forests of
/// 12 to 80 inputs, and of all, are worse.
const TREE_INPUTS: [usize; 2] = [40, 150];
const FOREST: Shape = Shape { inputs: 150, depth: 10 };

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

    /// Inputs to try, and depths; simpler ones first.
    pub(super) fn shapes(self) -> (&'static [usize], &'static [u32]) {
        match self {
            Self::Tree | Self::LinfaTree => (&TREE_INPUTS, &DEPTHS),
            Self::Forest | Self::SmartcoreForest => (&[FOREST.inputs], &[FOREST.depth]),
        }
    }

    /// The shape where nothing can be chosen.
    pub(super) fn middle_shape(self) -> Shape {
        match self {
            Self::Tree | Self::LinfaTree => Shape { inputs: TREE_INPUTS[0], depth: DEPTHS[1] },
            Self::Forest | Self::SmartcoreForest => FOREST,
        }
    }

    /// Fits to examples of both answers.
    pub(super) fn fit(self, shape: Shape, examples: &Examples, seed: u64) -> Result<FittedOn, LearnError> {
        let tree = DecisionTreeParams {
            max_depth: shape.depth,
            min_leaf_rows: LEAF_ROWS,
            // By cross-validation as well: a single tree of balanced answers calls too much, and a forest of rare ones too little.
            balanced: matches!(self, Self::Forest | Self::SmartcoreForest),
            seed,
            ..DecisionTreeParams::default()
        };
        let used = examples.telling(shape.inputs);
        let values = &examples.values.select(Axis(1), &used);
        let (answers, weights) = (&examples.answers, examples.weights.as_slice());
        let forest = |tree| RandomForestParams { trees: FOREST_TREES, tree };
        let fitted = match self {
            Self::Tree => Fitted::Tree(tree.fit_weighted(values, answers, weights)?),
            Self::LinfaTree => Fitted::Tree(linfa_tree(&tree, values, answers, weights)?),
            Self::Forest => Fitted::Forest(forest(tree).fit(values, answers, weights, &examples.run_of)?.0),
            Self::SmartcoreForest => Fitted::Forest(smartcore_forest(&forest(tree), values, answers, weights)?),
        };
        Ok(FittedOn { fitted, used })
    }
}

/// What was fitted on some of the inputs.
pub(super) struct FittedOn {
    fitted: Fitted,
    used: Vec<usize>,
}

impl FittedOn {
    fn cut_at(&self, depth: u32) -> Self {
        Self { fitted: self.fitted.cut_at(depth), used: self.used.clone() }
    }

    /// The score of each row, of all inputs.
    pub(super) fn scores(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>, LearnError> {
        self.fitted.scores(rows.select(Axis(1), &self.used).view())
    }

    /// The same for tables of the inputs that it looks at, and which these are.
    pub(super) fn compacted(&self) -> (Fitted, Vec<usize>) {
        let (fitted, used) = self.fitted.compacted();
        (fitted, used.into_iter().filter_map(|at| self.used.get(at).copied()).collect())
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
    fn compacted(&self) -> (Self, Vec<usize>) {
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
    pub(super) shape: Shape,
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
    fn share(self) -> f64 {
        self.right as f64 / self.runs.max(1) as f64
    }

    /// How sure that makes: the share that is right, with one right and one wrong one added.
    pub fn confidence(self) -> f64 {
        (self.right as f64 + 1.0) / (self.runs as f64 + 2.0)
    }
}

/// Chooses the shape whose scores of left-out families rank runs best, and the threshold with the largest F1 on them; `None` where
/// fewer than two families have the problem.
pub(super) fn choose(learner: Learner, examples: &Examples, seed: u64) -> Result<Option<Choice>, LearnError> {
    let Some(of_shapes) = left_out_scores(learner, examples, seed)? else { return Ok(None) };
    let mut best: Option<(f64, Choice)> = None;
    for (shape, scores) in of_shapes {
        let (run_scores, answers) = told_runs(examples, &scores);
        let precision = average_precision(&run_scores, &answers).unwrap_or(0.0);
        // A deeper tree has to be better, not as good.
        if best.as_ref().is_none_or(|(before, _)| precision > *before + 1e-9) {
            let threshold = best_threshold(&run_scores, &answers);
            let alone = alone(&heard(examples, &scores, |_| true), threshold);
            let ruled = |run: usize| matches!(examples.runs[run].ruled, Some(Ruled::Found));
            let (found, has) = told_where(examples, &scores, ruled);
            let agreed = agreed(&found, &has, threshold);
            best = Some((precision, Choice { shape, scores, threshold, alone, agreed }));
        }
    }
    Ok(best.map(|(_, choice)| choice))
}

/// A score for each row, by shape.
pub(super) type OfShapes = Vec<(Shape, Vec<f64>)>;

/// For each shape a score for each row by models that did not see its family; `None` where families are too few.
pub(super) fn left_out_scores(
    learner: Learner,
    examples: &Examples,
    seed: u64,
) -> Result<Option<OfShapes>, LearnError> {
    let Some(parts) = parts(&examples.runs, |place| examples.asked[place]) else { return Ok(None) };
    let (numbers, depths) = learner.shapes();
    let deepest = depths.last().copied().unwrap_or(1);
    let mut of_shapes: OfShapes = numbers
        .iter()
        .flat_map(|&inputs| depths.iter().map(move |&depth| Shape { inputs, depth }))
        .map(|shape| (shape, vec![0.0; examples.run_of.len()]))
        .collect();
    for part in 0..parts.count {
        let in_part = |run: usize| parts.has(part, &examples.runs[run].family);
        let others = examples.only(|run| !in_part(run));
        if !others.can_be_learned() {
            continue;
        }
        let rows: Vec<usize> = (0..examples.run_of.len()).filter(|&row| in_part(examples.run_of[row])).collect();
        let values = examples.values.select(Axis(0), &rows);
        for &inputs in numbers {
            let whole = learner.fit(Shape { inputs, depth: deepest }, &others, seed)?;
            for (shape, scores) in of_shapes.iter_mut().filter(|(shape, _)| shape.inputs == inputs) {
                let given = whole.cut_at(shape.depth).scores(values.view())?;
                rows.iter().zip(given).for_each(|(&row, score)| scores[row] = score);
            }
        }
    }
    Ok(Some(of_shapes))
}

/// The largest score of each run, 0 without rows, and whether it has the problem.
fn told_runs(examples: &Examples, scores: &[f64]) -> (Vec<f64>, Vec<bool>) {
    told_where(examples, scores, |_| true)
}

/// The same of some runs only.
pub(super) fn told_where(examples: &Examples, scores: &[f64], wanted: impl Fn(usize) -> bool) -> (Vec<f64>, Vec<bool>) {
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

/// The least score from which a model may speak where rules are silent, in the middle between the scores on its two sides, and not below
/// its threshold; `None` where it may not. Each run has its score, whether it has the problem, and whether rules were silent in it.
pub(super) fn alone(runs: &[(f64, bool, bool)], threshold: f64) -> Option<Alone> {
    let of = |wanted: &dyn Fn(bool) -> bool| -> (Vec<f64>, Vec<bool>) {
        runs.iter().filter(|(.., silent)| wanted(*silent)).map(|(score, has, _)| (*score, *has)).unzip()
    };
    let ((scores, has), (of_silent, silent_has)) = (of(&|_| true), of(&|silent| silent));
    let curve = precision_recall(&scores, &has);
    let may = |at: &usize| {
        let score = curve[*at].threshold;
        let (called, silent) = (called_from(&scores, &has, score), called_from(&of_silent, &silent_has, score));
        score >= threshold
            && called.right >= ALONE_RUNS
            && called.share() >= ALONE_PRECISION
            && (silent.runs == 0 || silent.share() >= SILENT_PRECISION)
    };
    let at = (0..curve.len()).rev().find(may)?;
    let below = curve.get(at + 1).map_or(0.0, |point| point.threshold);
    let score = f64::midpoint(curve[at].threshold, below).max(threshold);
    Some(Alone { score, ..called_from(&of_silent, &silent_has, curve[at].threshold) })
}

/// Some runs for [`alone`].
pub(super) fn heard(examples: &Examples, scores: &[f64], wanted: impl Fn(usize) -> bool) -> Vec<(f64, bool, bool)> {
    let by_run = examples.by_run(scores);
    let runs = by_run.iter().zip(&examples.runs).enumerate();
    let runs = runs.filter(|(place, _)| examples.asked[*place] && wanted(*place));
    let silent = |run: &ExampleRun| matches!(run.ruled, None | Some(Ruled::Silent));
    runs.map(|(_, (score, run))| (score.unwrap_or(0.0), run.has, silent(run))).collect()
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
    fn a_model_speaks_alone_where_it_is_right_nearly_always_and_where_rules_are_silent_too() {
        // Six right calls from 0.5 up, in two of which rules were silent, then wrong ones.
        let run = |score: f64, has: bool, silent: bool| (score, has, silent);
        let mut runs = vec![
            run(0.95, true, false),
            run(0.9, true, true),
            run(0.8, true, false),
            run(0.7, true, false),
            run(0.6, true, true),
            run(0.5, true, false),
            run(0.4, false, true),
            run(0.1, false, true),
        ];
        let found = alone(&runs, 0.2).unwrap();
        assert!((found.score - 0.45).abs() < 1e-12, "{found:?}");
        assert_eq!((found.runs, found.right), (2, 2));
        assert!((found.confidence() - 3.0 / 4.0).abs() < 1e-12);
        assert_eq!(alone(&runs, 0.75), None, "three calls from the threshold on");
        // One of the two silent ones wrong: half is too little there, and 83 % too little of all.
        runs[4].1 = false;
        assert_eq!(alone(&runs, 0.2), None);
        // A wrong call among 40 is 98 % of all; alone it is one of one.
        let mut many: Vec<_> = (0..40).map(|at| run(1.0 - f64::from(at) * 0.01, at != 30, false)).collect();
        assert_eq!(alone(&many, 0.2).map(|found| (found.runs, found.right)), Some((0, 0)));
        many[30].2 = true;
        assert!(
            alone(&many, 0.2).is_some_and(|found| found.score > 0.7 && found.runs == 0),
            "above the wrong one only"
        );
    }

    #[test]
    fn where_both_speak_the_share_that_was_right_is_told() {
        assert_eq!(agreed(&[0.9, 0.8, 0.2], &[true, false, true], 0.5), Some(0.5));
        assert_eq!(agreed(&[0.9, 0.8, 0.7], &[true, true, true], 0.5), Some(0.8));
        assert_eq!(agreed(&[0.2], &[true], 0.5), None);
    }
}
