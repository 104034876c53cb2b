//! Which features a tree, or any model, lives by.

use ndarray::{Array2, ArrayBase, Data, Ix2};
use rand::seq::SliceRandom;

use super::DecisionTree;
use crate::random;

impl DecisionTree {
    /// Mean decrease of impurity: the share of each feature in what all splits together lower the impurity by. Sums to 1, or is
    /// 0 throughout where no split lowers it.
    ///
    /// It favours features with many values and is measured on the training rows: [`permutation_importance`] on others does not.
    pub fn importances(&self) -> Vec<f64> {
        let mut gains = vec![0.0; self.features];
        for node in &self.nodes {
            let Some(split) = node.split else { continue };
            let sides = self.nodes[split.left as usize].impurity() + self.nodes[split.left as usize + 1].impurity();
            gains[split.feature as usize] += (node.impurity() - sides).max(0.0);
        }
        shares(gains)
    }
}

/// Each number's part of their sum; all 0 where that is.
pub(crate) fn shares(mut numbers: Vec<f64>) -> Vec<f64> {
    let whole: f64 = numbers.iter().sum();
    if whole > 0.0 {
        numbers.iter_mut().for_each(|number| *number /= whole);
    }
    numbers
}

/// By how much a figure of a model gets worse, on average, when a feature's values are dealt out to other rows (Breiman, *Random
/// Forests*, 2001): one number a feature, in the figure's unit; higher is better for `figure`.
pub fn permutation_importance<D: Data<Elem = f64>>(
    rows: &ArrayBase<D, Ix2>,
    figure: impl Fn(&Array2<f64>) -> f64,
    repeats: usize,
    seed: u64,
) -> Vec<f64> {
    let mut table = rows.to_owned();
    let whole = figure(&table);
    (0..rows.ncols())
        .map(|feature| {
            let before = table.column(feature).to_vec();
            let mut lost = 0.0;
            for repeat in 0..repeats {
                let mut random = random::stream(seed, feature * repeats + repeat);
                let mut dealt = before.clone();
                dealt.shuffle(&mut random);
                table.column_mut(feature).iter_mut().zip(dealt).for_each(|(slot, value)| *slot = value);
                lost += whole - figure(&table);
            }
            table.column_mut(feature).iter_mut().zip(&before).for_each(|(slot, value)| *slot = *value);
            lost / repeats.max(1) as f64
        })
        .collect()
}
