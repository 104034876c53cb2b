//! Decision trees for yes or no, by the CART algorithm.
//!
//! Breiman, Friedman, Olshen and Stone, *Classification and Regression Trees*, 1984: a node is divided where it lowers the Gini
//! impurity most, over all features and all thresholds between two values. On small tables every threshold is tried; on large ones
//! the values of a feature are put into 255 bins first, and the thresholds between bins are tried (as gradient boosting does since
//! Ke et al., *LightGBM*, 2017).
//!
//! # Missing values
//!
//! At each split they go to the side where they lower the impurity more, or where more rows went if none was missing in training.
//! Where being missing is itself what divides best, the split says so: its threshold is then `f64::MAX`.

mod bins;
mod grow;
mod importance;
mod of_grown;
mod prune;
mod render;
#[cfg(test)]
mod tests;

pub use importance::permutation_importance;
pub(crate) use importance::shares;
use ndarray::{Array1, ArrayBase, Data, Ix1, Ix2};
pub(crate) use of_grown::Grown;
use rayon::prelude::*;
pub use render::LeafRule;
use serde::{Deserialize, Serialize};

use crate::onnx::EnsembleNode;
use crate::shap::{self, Explained, Step};
use crate::{LearnError, nodes, table};

/// How a tree is grown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionTreeParams {
    /// Splits on a path, at most. The default of 4 gives at most 16 leaves, which a person can read.
    pub max_depth: u32,
    /// Rows of a leaf, at least; default 1.
    pub min_leaf_rows: usize,
    /// Whether both answers weigh the same, however many rows each has; default no.
    pub balanced: bool,
    /// Complexity for which a split has to pay (`alpha` of minimal cost-complexity pruning); default 0: no pruning.
    pub pruning: f64,
    /// Rows up to which all thresholds are tried; default 4,096.
    pub exact_rows: usize,
    /// Features that are drawn for each split; `None`, the default, for all.
    pub features_per_split: Option<usize>,
    /// Seed of what is drawn: the features of splits, and the rows that bins are made from.
    pub seed: u64,
}

impl Default for DecisionTreeParams {
    fn default() -> Self {
        Self {
            max_depth: 4,
            min_leaf_rows: 1,
            balanced: false,
            pruning: 0.0,
            exact_rows: 4_096,
            features_per_split: None,
            seed: 0,
        }
    }
}

impl DecisionTreeParams {
    /// Grows a tree on a table of shape rows x features with an answer for each row, all rows weighing the same.
    ///
    /// # Errors
    ///
    /// When the table is empty or has an infinite value, there are not as many answers as rows, or a parameter is out of range.
    ///
    /// ```
    /// use emberscope_learn::DecisionTreeParams;
    /// use ndarray::array;
    ///
    /// let rows = array![[1.0, 5.0], [2.0, 1.0], [8.0, 4.0], [9.0, 2.0]];
    /// let tree = DecisionTreeParams::default().fit(&rows, &array![false, false, true, true])?;
    /// assert_eq!(tree.to_text(&["gc_ratio", "tasks"]), "gc_ratio <= 5\n  no (0 of 2)\ngc_ratio > 5\n  yes (2 of 2)\n");
    /// # Ok::<(), emberscope_learn::LearnError>(())
    /// ```
    pub fn fit<D: Data<Elem = f64>, T: Data<Elem = bool>>(
        &self,
        rows: &ArrayBase<D, Ix2>,
        answers: &ArrayBase<T, Ix1>,
    ) -> Result<DecisionTree, LearnError> {
        self.fit_weighted(rows, answers, &vec![1.0; rows.nrows()])
    }

    /// The same with a weight for each row; a row of weight 0 counts for nothing.
    ///
    /// # Errors
    ///
    /// As [`fit`](Self::fit), and when a weight is negative or not a number, or all are 0.
    pub fn fit_weighted<D: Data<Elem = f64>, T: Data<Elem = bool>>(
        &self,
        rows: &ArrayBase<D, Ix2>,
        answers: &ArrayBase<T, Ix1>,
        weights: &[f64],
    ) -> Result<DecisionTree, LearnError> {
        self.check(rows, answers, weights)?;
        let answers: Vec<bool> = answers.iter().copied().collect();
        Ok(self.grow(&table::row_major(rows), rows.ncols(), &answers, weights))
    }

    /// Grows a tree on what was checked; the values lie row by row.
    pub(crate) fn grow(&self, values: &[f64], features: usize, answers: &[bool], weights: &[f64]) -> DecisionTree {
        let balanced = self.balanced.then(|| balanced(answers, weights));
        let data = grow::Data { values, features, answers, weights: balanced.as_deref().unwrap_or(weights) };
        let tree = DecisionTree { features, nodes: grow::tree(&data, self) };
        if self.pruning > 0.0 { tree.pruned(self.pruning) } else { tree }
    }

    /// Refuses tables, answers and weights that no tree can be grown on, and parameters out of range.
    pub(crate) fn check<D: Data<Elem = f64>, T: Data<Elem = bool>>(
        &self,
        rows: &ArrayBase<D, Ix2>,
        answers: &ArrayBase<T, Ix1>,
        weights: &[f64],
    ) -> Result<(), LearnError> {
        table::check(rows.view())?;
        self.check_parameters()?;
        table::check_lengths(rows.nrows(), &[("answers", answers.len()), ("weights", weights.len())])?;
        table::check_weights(weights)
    }

    fn check_parameters(&self) -> Result<(), LearnError> {
        let wrong = |name, value: f64, range| Err(LearnError::Parameter { name, value, range });
        match self {
            Self { max_depth: 65.., .. } => wrong("max_depth", f64::from(self.max_depth), "64 at most"),
            Self { min_leaf_rows: 0, .. } => wrong("min_leaf_rows", 0.0, "1 or more"),
            Self { features_per_split: Some(0), .. } => wrong("features_per_split", 0.0, "1 or more"),
            Self { pruning, .. } if !(pruning.is_finite() && *pruning >= 0.0) => {
                wrong("pruning", *pruning, "0 or more")
            }
            _ => Ok(()),
        }
    }
}

/// Weights with which both answers have half of the whole; as they are where there is only one answer.
pub(crate) fn balanced(answers: &[bool], weights: &[f64]) -> Vec<f64> {
    let whole: f64 = weights.iter().sum();
    let yes: f64 = answers.iter().zip(weights).filter(|(answer, _)| **answer).map(|(_, weight)| weight).sum();
    let no = whole - yes;
    if yes <= 0.0 || no <= 0.0 {
        return weights.to_vec();
    }
    let factor = |answer: bool| whole / (2.0 * if answer { yes } else { no });
    answers.iter().zip(weights).map(|(&answer, weight)| weight * factor(answer)).collect()
}

/// A grown tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct DecisionTree {
    features: usize,
    /// The root is the first; the children of a node lie side by side, after it.
    nodes: Vec<Node>,
}

/// A tree as it is read, which may be no tree.
#[derive(Deserialize)]
struct Written {
    features: usize,
    nodes: Vec<Node>,
}

impl TryFrom<Written> for DecisionTree {
    type Error = String;

    fn try_from(Written { features, nodes }: Written) -> Result<Self, String> {
        nodes::check(nodes.iter().map(|node| node.split.map(|split| split.left)))?;
        for (at, node) in nodes.iter().enumerate() {
            let Node { weight, yes, split, .. } = *node;
            // Sums of the same numbers in another order differ in their last digits.
            if !(weight.is_finite() && (0.0..=weight * (1.0 + 1e-9)).contains(&yes)) {
                return Err(format!("node {at} of a tree has {yes} of a weight of {weight}"));
            }
            if let Some(split) = split {
                nodes::check_split(at, split.feature, split.threshold, features)?;
            }
        }
        Ok(Self { features, nodes })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    /// Rows of the training that came here.
    rows: u64,
    /// Their weight.
    weight: f64,
    /// The weight of those whose answer is yes.
    yes: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    split: Option<Split>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Split {
    feature: u32,
    /// Above it a row goes to the right.
    threshold: f64,
    /// Whether a row goes to the right where the value is missing.
    missing_right: bool,
    /// Rows of the training whose value was missing here.
    missing_rows: u32,
    /// The child of the left side; that of the right is the next node.
    left: u32,
}

impl Split {
    fn child(self, value: f64) -> usize {
        let right = if value.is_nan() { self.missing_right } else { value > self.threshold };
        self.left as usize + usize::from(right)
    }
}

impl Node {
    /// Share of yes; one half where nothing has a weight.
    fn probability(&self) -> f64 {
        if self.weight > 0.0 { self.yes / self.weight } else { 0.5 }
    }

    /// Weight times Gini impurity, `2 p (1 - p)`.
    fn impurity(&self) -> f64 {
        let no = self.weight - self.yes;
        if self.weight > 0.0 { 2.0 * self.yes * no / self.weight } else { 0.0 }
    }
}

impl DecisionTree {
    /// Columns of the tables that it is for.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of leaves.
    pub fn leaves(&self) -> usize {
        self.nodes.iter().filter(|node| node.split.is_none()).count()
    }

    /// Splits on the longest path.
    pub fn depth(&self) -> u32 {
        let depths = nodes::depths(self.nodes.iter().map(|node| node.split.map(|split| split.left)));
        depths.into_iter().max().unwrap_or(0)
    }

    /// The probability of yes for each row: the share of yes in its leaf, by weight.
    ///
    /// # Errors
    ///
    /// When the table has other features or an infinite value.
    pub fn probabilities<D: Data<Elem = f64>>(&self, rows: &ArrayBase<D, Ix2>) -> Result<Array1<f64>, LearnError> {
        table::check_for(rows.view(), self.features)?;
        let values = table::row_major(rows);
        Ok(values.par_chunks_exact(self.features).map(|row| self.probability(row)).collect::<Vec<_>>().into())
    }

    /// What each feature adds to the probability of a row, and the mean probability of the training: Shapley values, exact for
    /// this tree.
    ///
    /// # Errors
    ///
    /// When the row has another number of features.
    pub fn contributions(&self, row: &[f64]) -> Result<(f64, Vec<f64>), LearnError> {
        if row.len() != self.features {
            return Err(LearnError::Features { expected: self.features, found: row.len() });
        }
        let mut values = vec![0.0; self.features];
        shap::add(self, row, &mut values);
        Ok((shap::expected(self, row), values))
    }

    /// The nodes for other programs.
    pub(crate) fn ensemble_nodes(&self) -> impl Iterator<Item = EnsembleNode> + '_ {
        self.nodes.iter().map(|node| match node.split {
            None => EnsembleNode::Leaf(node.probability()),
            Some(Split { feature, threshold, missing_right, left, .. }) => {
                EnsembleNode::Split { feature, threshold, left, missing_left: !missing_right }
            }
        })
    }

    /// The probability of a row that has as many values as there are features.
    pub(crate) fn probability(&self, row: &[f64]) -> f64 {
        self.leaf(row).probability()
    }

    /// The leaf of a row.
    fn leaf(&self, row: &[f64]) -> &Node {
        let mut node = &self.nodes[0];
        while let Some(split) = node.split {
            node = &self.nodes[split.child(row[split.feature as usize])];
        }
        node
    }
}

impl Explained for DecisionTree {
    fn step(&self, at: usize, row: &[f64]) -> Step {
        let node = &self.nodes[at];
        match node.split {
            None => Step::Leaf(node.probability()),
            Some(split) => {
                let (feature, left) = (split.feature as usize, split.left as usize);
                Step::Split { feature, left, right: left + 1, goes_right: Some(split.child(row[feature]) > left) }
            }
        }
    }

    fn cover(&self, at: usize) -> f64 {
        self.nodes[at].weight
    }
}
