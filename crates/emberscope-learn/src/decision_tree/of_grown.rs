//! Trees from splits that something else chose, and parts of trees.

use super::{DecisionTree, Node, Split};

/// A split that was chosen elsewhere: above the threshold a row goes to the right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grown {
    pub(crate) feature: usize,
    pub(crate) threshold: f64,
    pub(crate) missing_right: bool,
    pub(crate) left: usize,
    pub(crate) right: usize,
}

impl DecisionTree {
    /// A tree with these splits, whose nodes count the rows that come to them; `None` is a leaf, the first node the root. A split that
    /// leaves a side without a row is none.
    pub(crate) fn of_grown(
        grown: &[Option<Grown>],
        values: &[f64],
        features: usize,
        answers: &[bool],
        weights: &[f64],
    ) -> Self {
        let mut nodes = vec![Node { rows: 0, weight: 0.0, yes: 0.0, split: None }];
        let mut open = vec![(0, 0, (0..answers.len()).collect::<Vec<_>>())];
        while let Some((at, of, rows)) = open.pop() {
            nodes[at].rows = rows.len() as u64;
            nodes[at].weight = rows.iter().map(|&row| weights[row]).sum();
            nodes[at].yes = rows.iter().filter(|&&row| answers[row]).map(|&row| weights[row]).sum();
            let Some(split) = grown.get(of).copied().flatten() else { continue };
            let value = |row: usize| values[row * features + split.feature];
            let goes_right = |&row: &usize| {
                if value(row).is_nan() { split.missing_right } else { value(row) > split.threshold }
            };
            let missing = rows.iter().filter(|&&row| value(row).is_nan()).count();
            let (right, left): (Vec<usize>, Vec<usize>) = rows.into_iter().partition(goes_right);
            let weight = |rows: &[usize]| rows.iter().map(|&row| weights[row]).sum::<f64>();
            if weight(&left) <= 0.0 || weight(&right) <= 0.0 {
                continue;
            }
            let child = nodes.len();
            nodes[at].split = Some(Split {
                feature: split.feature as u32,
                threshold: split.threshold,
                missing_right: split.missing_right,
                missing_rows: u32::try_from(missing).unwrap_or(u32::MAX),
                left: child as u32,
            });
            let empty = Node { rows: 0, weight: 0.0, yes: 0.0, split: None };
            nodes.extend([empty, empty]);
            open.push((child + 1, split.right, right));
            open.push((child, split.left, left));
        }
        Self { features, nodes }
    }

    /// The features that splits look at, in order.
    pub fn used(&self) -> Vec<usize> {
        let mut used: Vec<usize> =
            self.nodes.iter().filter_map(|node| node.split.map(|split| split.feature as usize)).collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// The tree as it is grown to a smaller depth: growing is greedy, so what is above a depth does not know what is below.
    #[must_use]
    pub fn cut_at(&self, depth: u32) -> Self {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut open = std::collections::VecDeque::from([(0usize, 0u32)]);
        while let Some((at, level)) = open.pop_front() {
            let mut node = self.nodes[at];
            node.split = node.split.filter(|_| level < depth).map(|split| {
                open.extend([(split.left as usize, level + 1), (split.left as usize + 1, level + 1)]);
                // Its children are the next two behind all that are open and not written yet.
                Split { left: (nodes.len() + open.len() - 1) as u32, ..split }
            });
            nodes.push(node);
        }
        Self { features: self.features, nodes }
    }

    /// The tree for tables that have only the columns that its splits look at, and which these are.
    pub fn compacted(&self) -> (Self, Vec<usize>) {
        let used = self.used();
        (self.renumbered(&used), used)
    }

    /// The tree for tables that have only some columns, which all that its splits look at are among.
    #[must_use]
    pub(crate) fn renumbered(&self, columns: &[usize]) -> Self {
        let mut nodes = self.nodes.clone();
        for split in nodes.iter_mut().filter_map(|node| node.split.as_mut()) {
            split.feature = columns.partition_point(|&column| column < split.feature as usize) as u32;
        }
        Self { features: columns.len(), nodes }
    }
}
