//! Minimal cost-complexity pruning (Breiman and others 1984, chapter 3).

use super::{DecisionTree, Node};

impl DecisionTree {
    /// The smallest tree that costs least when each leaf costs `alpha`, in units of impurity as a share of the root's weight.
    #[must_use]
    pub fn pruned(&self, alpha: f64) -> Self {
        let mut pruning = Pruning::of(self);
        while let Some((at, link)) = pruning.weakest() {
            if link > alpha {
                break;
            }
            pruning.cut(at);
        }
        pruning.tree()
    }

    /// The complexities at which pruning takes away more, in ascending order, each with the leaves that are left then; the first
    /// is 0, with what pruning leaves that gains nothing.
    pub fn pruning_path(&self) -> Vec<(f64, usize)> {
        let mut pruning = Pruning::of(self);
        let mut path: Vec<(f64, usize)> = vec![(0.0, self.leaves())];
        while let Some((at, link)) = pruning.weakest() {
            pruning.cut(at);
            let leaves = pruning.tree().leaves();
            // Rounding lets a link look a little weaker than one before.
            let link = link.max(path.last().map_or(0.0, |&(before, _)| before));
            match path.last_mut() {
                Some(last) if last.0 == link => last.1 = leaves,
                _ => path.push((link, leaves)),
            }
        }
        path
    }
}

struct Pruning {
    features: usize,
    nodes: Vec<Node>,
}

impl Pruning {
    fn of(tree: &DecisionTree) -> Self {
        Self { features: tree.features, nodes: tree.nodes.clone() }
    }

    /// The split that gains least for each leaf it adds, with that gain; of equal ones the one nearest to the root.
    fn weakest(&self) -> Option<(usize, f64)> {
        let whole = self.nodes[0].weight;
        let reached = self.reached();
        // Children come after their parents: impurity and number of the leaves below each node, from the end.
        let mut below: Vec<(f64, usize)> = self.nodes.iter().map(|node| (node.impurity(), 1)).collect();
        let mut weakest: Option<(usize, f64)> = None;
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let Some(split) = node.split.filter(|_| reached[at]) else { continue };
            let (left, right) = (below[split.left as usize], below[split.left as usize + 1]);
            let (impurity, leaves) = (left.0 + right.0, left.1 + right.1);
            below[at] = (impurity, leaves);
            let link = ((node.impurity() - impurity) / whole / (leaves - 1) as f64).max(0.0);
            if weakest.is_none_or(|(_, least)| link <= least) {
                weakest = Some((at, link));
            }
        }
        weakest
    }

    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        reached[0] = true;
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(split) = node.split.filter(|_| reached[at]) {
                reached[split.left as usize] = true;
                reached[split.left as usize + 1] = true;
            }
        }
        reached
    }

    fn cut(&mut self, at: usize) {
        self.nodes[at].split = None;
    }

    /// The tree of the nodes that are reached, in their order.
    fn tree(&self) -> DecisionTree {
        let reached = self.reached();
        let mut places = Vec::with_capacity(self.nodes.len());
        let mut next = 0u32;
        for &reached in &reached {
            places.push(next);
            next += u32::from(reached);
        }
        let nodes = self
            .nodes
            .iter()
            .zip(&reached)
            .filter(|(_, reached)| **reached)
            .map(|(&node, _)| {
                let split = node.split.map(|split| super::Split { left: places[split.left as usize], ..split });
                Node { split, ..node }
            })
            .collect();
        DecisionTree { features: self.features, nodes }
    }
}
