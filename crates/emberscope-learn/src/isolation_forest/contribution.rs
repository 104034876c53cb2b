//! Which features make a row stand out.

use super::grow::right;
use super::{At, IsolationForest, IsolationTree, mean_search_length};
use crate::LearnError;
use crate::shap::{self, Explained, Step};

/// What the score of a row is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// The binary logarithm of the score of a row of which nothing is known.
    pub expected: f64,
    /// What each feature adds to the logarithm; above 0 where it makes the row stand out.
    pub features: Vec<f64>,
}

impl Contributions {
    /// The score that they add up to.
    pub fn score(&self) -> f64 {
        (self.expected + self.features.iter().sum::<f64>()).exp2()
    }
}

impl IsolationForest {
    /// Splits the binary logarithm of a row's score, which is the mean path length over the trees but for a factor, into
    /// what each feature adds to it: Shapley values, exact for these trees. A missing value adds nothing.
    ///
    /// # Errors
    ///
    /// When the row has another number of features, or the forest has slanted splits, which are of no one feature.
    pub fn contributions(&self, row: &[f64]) -> Result<Contributions, LearnError> {
        if row.len() != self.features {
            return Err(LearnError::Features { expected: self.features, found: row.len() });
        }
        let slanted = |tree: &IsolationTree| {
            tree.nodes.iter().any(|node| node.split.as_ref().is_some_and(|split| matches!(split.at, At::Slant { .. })))
        };
        if self.trees.iter().any(slanted) {
            return Err(LearnError::Slanted);
        }
        let mut lengths = vec![0.0; self.features];
        let mut expected = 0.0;
        for tree in &self.trees {
            let tree = Lengths::of(tree);
            shap::add(&tree, row, &mut lengths);
            expected += shap::expected(&tree, row);
        }
        let scale = -1.0 / (self.unit() * self.trees.len() as f64);
        Ok(Contributions {
            expected: expected * scale,
            features: lengths.into_iter().map(|length| length * scale).collect(),
        })
    }
}

/// A tree whose answer is the path length.
struct Lengths<'a> {
    tree: &'a IsolationTree,
    depths: Vec<u32>,
}

impl<'a> Lengths<'a> {
    fn of(tree: &'a IsolationTree) -> Self {
        Self { tree, depths: tree.depths() }
    }
}

impl Explained for Lengths<'_> {
    fn step(&self, at: usize, row: &[f64]) -> Step {
        let node = &self.tree.nodes[at];
        match &node.split {
            Some(split) => {
                let At::Axis { feature, .. } = split.at else { return Step::Leaf(0.0) };
                Step::Split {
                    feature: feature as usize,
                    left: split.left as usize,
                    right: split.left as usize + 1,
                    goes_right: right(&split.at, |feature| row.get(feature as usize).copied().unwrap_or(f64::NAN)),
                }
            }
            None => Step::Leaf(f64::from(self.depths[at]) + mean_search_length(u64::from(node.rows))),
        }
    }

    fn cover(&self, at: usize) -> f64 {
        f64::from(self.tree.nodes[at].rows)
    }
}
