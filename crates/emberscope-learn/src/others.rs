//! Learners of other crates, to be compared with: linfa-trees' decision tree and smartcore's random forest.
//!
//! Both are guarded against what makes them fail (see `docs/learners.md`): they are given ranks instead of values, so that values that lie
//! close together stay apart, and the median where a value is missing. What they grow becomes a tree of ours: thresholds are put
//! back between the values, a missing value goes where the median went, and leaves count the training's rows.

use linfa::prelude::Fit;
use linfa::{DatasetBase, ParamGuard};
use linfa_trees::{DecisionTree as LinfaTree, SplitQuality, TreeNode};
use ndarray::{Array1, Array2, ArrayBase, Data, Ix1, Ix2};
use serde::Deserialize;
use smartcore::ensemble::random_forest_classifier::{RandomForestClassifier, RandomForestClassifierParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::decision_tree::{Grown, balanced};
use crate::{DecisionTree, DecisionTreeParams, LearnError, RandomForest, RandomForestParams, table};

/// Grows linfa-trees' decision tree with depth, least rows of a leaf and balance of the answers as asked for.
///
/// # Errors
///
/// As [`DecisionTreeParams::fit_weighted`].
pub fn linfa_tree<D: Data<Elem = f64>, T: Data<Elem = bool>>(
    params: &DecisionTreeParams,
    rows: &ArrayBase<D, Ix2>,
    answers: &ArrayBase<T, Ix1>,
    weights: &[f64],
) -> Result<DecisionTree, LearnError> {
    params.check(rows, answers, weights)?;
    let ranked = Ranked::of(rows);
    let answers = answers.to_vec();
    let own = if params.balanced { balanced(&answers, weights) } else { weights.to_vec() };
    // Its least weights are of rows, so weights are taken relative to the mean one.
    let mean = own.iter().sum::<f64>() / own.len() as f64;
    let relative: Array1<f32> =
        own.iter().zip(&answers).map(|(own, &yes)| (own / mean * tie_break(yes)) as f32).collect();
    let classes: Array1<usize> = answers.iter().map(|&answer| usize::from(answer)).collect();
    let dataset = DatasetBase::new(ranked.ranks.clone(), classes).with_weights(relative);
    let tree = LinfaTree::params()
        .split_quality(SplitQuality::Gini)
        .max_depth(Some(params.max_depth as usize))
        .min_weight_split(2.0)
        .min_weight_leaf(params.min_leaf_rows as f32 / 2.0)
        .check()
        .and_then(|params| params.fit(&dataset))
        .map_err(|error| LearnError::Other { learner: "linfa-trees", message: error.to_string() })?;
    let mut grown = Vec::new();
    linfa_nodes(tree.root_node(), &mut grown);
    Ok(DecisionTree::of_grown(&ranked.put_back(grown), &table::row_major(rows), rows.ncols(), &answers, &own))
}

/// Yes weighs a little more: which class a leaf with a tie is given would be another at each fit.
fn tie_break(yes: bool) -> f64 {
    if yes { 1.0 + 1.0 / 4_096.0 } else { 1.0 }
}

/// The nodes, children behind their parents. A row goes to the right from the threshold on.
fn linfa_nodes(node: &TreeNode<f64, usize>, nodes: &mut Vec<Option<Grown>>) -> usize {
    let at = nodes.len();
    nodes.push(None);
    if let [Some(left), Some(right)] = node.children().as_slice() {
        let (feature, threshold, _) = node.split();
        let left = linfa_nodes(left, nodes);
        let right = linfa_nodes(right, nodes);
        // Ranks are whole numbers, and its thresholds lie between them: there is no rank that equals one.
        nodes[at] = Some(Grown { feature, threshold, missing_right: false, left, right });
    }
    at
}

/// Grows smartcore's random forest with as many trees, depth, least rows of a leaf and seed as asked for; it knows no weights and no
/// groups, and its trees vote.
///
/// # Errors
///
/// As [`RandomForestParams::fit`].
pub fn smartcore_forest<D: Data<Elem = f64>, T: Data<Elem = bool>>(
    params: &RandomForestParams,
    rows: &ArrayBase<D, Ix2>,
    answers: &ArrayBase<T, Ix1>,
    weights: &[f64],
) -> Result<RandomForest, LearnError> {
    params.tree.check(rows, answers, weights)?;
    let wrong = |message: String| LearnError::Other { learner: "smartcore", message };
    let ranked = Ranked::of(rows);
    let answers = answers.to_vec();
    let matrix = DenseMatrix::new(rows.nrows(), rows.ncols(), ranked.ranks.iter().copied().collect(), false)
        .map_err(|error| wrong(error.to_string()))?;
    let classes: Vec<u32> = answers.iter().map(|&answer| u32::from(answer)).collect();
    let asked = RandomForestClassifierParameters::default()
        .with_n_trees(u16::try_from(params.trees).unwrap_or(u16::MAX))
        // It counts the root as a level.
        .with_max_depth(u16::try_from(params.tree.max_depth).unwrap_or(u16::MAX).saturating_add(1))
        .with_min_samples_leaf(params.tree.min_leaf_rows)
        .with_seed(params.tree.seed);
    let forest = RandomForestClassifier::fit(&matrix, &classes, asked).map_err(|error| wrong(error.to_string()))?;
    // Its trees are private; what it writes of them is not.
    let written = serde_json::to_value(&forest).and_then(serde_json::from_value::<Written>);
    let written = written.map_err(|error| wrong(format!("its forest is written otherwise than expected: {error}")))?;
    let values = table::row_major(rows);
    let trees = written
        .trees
        .into_iter()
        .map(|tree| {
            let grown = tree.nodes.iter().map(WrittenNode::grown).collect();
            DecisionTree::of_grown(&ranked.put_back(grown), &values, rows.ncols(), &answers, weights)
        })
        .collect();
    Ok(RandomForest::of_trees(rows.ncols(), trees))
}

#[derive(Deserialize)]
struct Written {
    trees: Vec<WrittenTree>,
}

#[derive(Deserialize)]
struct WrittenTree {
    nodes: Vec<WrittenNode>,
}

#[derive(Deserialize)]
struct WrittenNode {
    split_feature: usize,
    split_value: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

impl WrittenNode {
    /// A row goes to the true child up to the threshold.
    fn grown(&self) -> Option<Grown> {
        Some(Grown {
            feature: self.split_feature,
            threshold: self.split_value?,
            missing_right: false,
            left: self.true_child?,
            right: self.false_child?,
        })
    }
}

/// A table as ranks of its values, 0 for the smallest of each column; the median rank where a value is missing.
struct Ranked {
    ranks: Array2<f64>,
    /// The values of each column that are different, in order.
    values: Vec<Vec<f64>>,
    /// The rank that a missing value was given, by column.
    medians: Vec<f64>,
}

impl Ranked {
    fn of<D: Data<Elem = f64>>(rows: &ArrayBase<D, Ix2>) -> Self {
        let mut ranks = Array2::zeros(rows.dim());
        let (mut values, mut medians) = (Vec::new(), Vec::new());
        for (mut to, column) in ranks.columns_mut().into_iter().zip(rows.columns()) {
            let mut known: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
            known.sort_by(f64::total_cmp);
            let middle = known.get(known.len() / 2).copied();
            known.dedup();
            let rank = |value: f64| known.partition_point(|other| *other < value) as f64;
            let median = middle.map_or(0.0, rank);
            to.iter_mut()
                .zip(column)
                .for_each(|(to, &value): (&mut f64, &f64)| *to = if value.is_nan() { median } else { rank(value) });
            values.push(known);
            medians.push(median);
        }
        Self { ranks, values, medians }
    }

    /// The nodes with thresholds between values instead of ranks.
    fn put_back(&self, nodes: Vec<Option<Grown>>) -> Vec<Option<Grown>> {
        let threshold = |grown: &Grown| {
            let column = self.values.get(grown.feature)?;
            let below = grown.threshold.floor() as usize;
            let (least, most) = (*column.get(below)?, *column.get(below + 1)?);
            let middle = f64::midpoint(least, most);
            // Between neighbouring doubles there is none.
            Some(if middle < most { middle } else { least })
        };
        nodes
            .into_iter()
            .map(|node| {
                let grown = node?;
                let missing_right = self.medians.get(grown.feature).is_some_and(|median| *median > grown.threshold);
                Some(Grown { threshold: threshold(&grown)?, missing_right, ..grown })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// The answer is yes above 3.00001, which linfa-trees takes as equal to 3 where it is given values.
    fn close() -> (Array2<f64>, Array1<bool>) {
        let rows = array![
            [3.0, 1.0],
            [3.000_001, 2.0],
            [3.0, f64::NAN],
            [3.000_001, 1.0],
            [3.0, 2.0],
            [3.000_001, 3.0],
            [3.0, 1.0],
            [3.000_001, 2.0]
        ];
        let answers = array![false, true, false, true, false, true, false, true];
        (rows, answers)
    }

    #[test]
    fn values_that_lie_close_together_are_told_apart_and_missing_ones_do_no_harm() {
        let (rows, answers) = close();
        let tree = linfa_tree(&DecisionTreeParams::default(), &rows, &answers, &[1.0; 8]).unwrap();
        let said: Vec<bool> = tree.probabilities(&rows).unwrap().iter().map(|p| *p > 0.5).collect();
        assert_eq!(said, answers.to_vec());
        assert_eq!((tree.leaves(), tree.used()), (2, vec![0]));
        let params = RandomForestParams { trees: 25, ..RandomForestParams::default() };
        let forest = smartcore_forest(&params, &rows, &answers, &[1.0; 8]).unwrap();
        assert_eq!(forest.trees().len(), 25);
        let said: Vec<bool> = forest.probabilities(&rows).unwrap().iter().map(|p| *p > 0.5).collect();
        assert_eq!(said, answers.to_vec());
    }

    #[test]
    fn one_answer_alone_gives_one_leaf() {
        let (rows, _) = close();
        let answers = Array1::from_elem(8, true);
        assert_eq!(linfa_tree(&DecisionTreeParams::default(), &rows, &answers, &[1.0; 8]).unwrap().leaves(), 1);
    }
}
