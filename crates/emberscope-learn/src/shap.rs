//! Exact path-dependent TreeSHAP: what each feature adds to what a tree says of a row.
//!
//! Lundberg, Erion and Lee, *Consistent Individualized Feature Attribution for Tree Ensembles*, 2018, algorithm 2: the Shapley values of
//! the game in which features that do not take part are averaged over by the rows that went to either side in training. They sum to
//! what the tree says of the row, less its mean over the training.

/// A node as an explanation sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// The end of a path, and what the tree says there.
    Leaf(f64),
    /// A split of one feature.
    Split {
        feature: usize,
        left: usize,
        right: usize,
        /// Whether the row goes to the right; `None` where it goes both ways, by the rows that did.
        goes_right: Option<bool>,
    },
}

/// A tree whose answers are explained.
pub(crate) trait Explained {
    /// What a row meets at a node; the root is node 0.
    fn step(&self, at: usize, row: &[f64]) -> Step;

    /// Rows, or their weight, that came to a node in training.
    fn cover(&self, at: usize) -> f64;
}

/// A feature on the way to a node.
#[derive(Debug, Clone, Copy)]
struct Passed {
    /// `None` at the root.
    feature: Option<usize>,
    /// Share of the paths that come here when the feature does not take part.
    zero: f64,
    /// The same when it does.
    one: f64,
    /// Share of the sets of features of each size.
    weight: f64,
}

/// Adds what each feature adds to a tree's answer on a row.
pub(crate) fn add<T: Explained>(tree: &T, row: &[f64], values: &mut [f64]) {
    let root = Passed { feature: None, zero: 1.0, one: 1.0, weight: 1.0 };
    descend(tree, row, values, 0, &[], root);
}

/// The mean of a tree's answers over its training.
pub(crate) fn expected<T: Explained>(tree: &T, row: &[f64]) -> f64 {
    let whole = tree.cover(0);
    let mut sum = 0.0;
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        match tree.step(at, row) {
            Step::Leaf(value) => sum += value * tree.cover(at) / whole,
            Step::Split { left, right, .. } => open.extend([right, left]),
        }
    }
    sum
}

fn descend<T: Explained>(tree: &T, row: &[f64], values: &mut [f64], at: usize, path: &[Passed], next: Passed) {
    let path = extended(path, next);
    match tree.step(at, row) {
        Step::Leaf(value) => {
            for index in 1..path.len() {
                let Some(Passed { feature: Some(feature), zero, one, .. }) = path.get(index).copied() else { continue };
                let weight: f64 = unwound(&path, index).iter().map(|passed| passed.weight).sum();
                if let Some(slot) = values.get_mut(feature) {
                    *slot += weight * (one - zero) * value;
                }
            }
        }
        Step::Split { feature, left, right, goes_right } => {
            let met = path.iter().position(|passed| passed.feature == Some(feature));
            let (path, zero, one) = match met.and_then(|index| Some((index, path.get(index)?))) {
                Some((index, before)) => (unwound(&path, index), before.zero, before.one),
                None => (path, 1.0, 1.0),
            };
            let whole = tree.cover(at);
            for (child, is_right) in [(left, false), (right, true)] {
                let share = tree.cover(child) / whole;
                if share <= 0.0 {
                    continue;
                }
                let own = match goes_right {
                    Some(goes) => f64::from(u8::from(goes == is_right)),
                    None => share,
                };
                let next = Passed { feature: Some(feature), zero: zero * share, one: one * own, weight: 0.0 };
                descend(tree, row, values, child, &path, next);
            }
        }
    }
}

/// The path with one feature more (`EXTEND`).
fn extended(path: &[Passed], next: Passed) -> Vec<Passed> {
    let length = path.len();
    let mut longer = Vec::with_capacity(length + 1);
    longer.extend_from_slice(path);
    longer.push(Passed { weight: if length == 0 { 1.0 } else { 0.0 }, ..next });
    for index in (0..length).rev() {
        let weight = longer[index].weight;
        longer[index + 1].weight += next.one * weight * (index + 1) as f64 / (length + 1) as f64;
        longer[index].weight = next.zero * weight * (length - index) as f64 / (length + 1) as f64;
    }
    longer
}

/// The path without a feature (`UNWIND`).
fn unwound(path: &[Passed], without: usize) -> Vec<Passed> {
    let mut shorter = path.to_vec();
    let last = shorter.len() - 1;
    let Passed { zero, one, .. } = shorter[without];
    let mut next = shorter[last].weight;
    for index in (0..last).rev() {
        let weight = shorter[index].weight;
        if one == 0.0 {
            shorter[index].weight = weight * (last + 1) as f64 / (zero * (last - index) as f64);
        } else {
            shorter[index].weight = next * (last + 1) as f64 / ((index + 1) as f64 * one);
            next = weight - shorter[index].weight * zero * (last - index) as f64 / (last + 1) as f64;
        }
    }
    for index in without..last {
        let after = shorter[index + 1];
        shorter[index] = Passed { weight: shorter[index].weight, ..after };
    }
    shorter.truncate(last);
    shorter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree written by hand: `(feature, threshold, left, right, cover, value)`; a leaf has no feature.
    struct Tree(Vec<(Option<usize>, f64, usize, usize, f64, f64)>);

    impl Explained for Tree {
        fn step(&self, at: usize, row: &[f64]) -> Step {
            match self.0[at] {
                (None, _, _, _, _, value) => Step::Leaf(value),
                (Some(feature), threshold, left, right, ..) => {
                    let value = row[feature];
                    let goes_right = (!value.is_nan()).then_some(value > threshold);
                    Step::Split { feature, left, right, goes_right }
                }
            }
        }

        fn cover(&self, at: usize) -> f64 {
            self.0[at].4
        }
    }

    /// What a tree says when only some features take part.
    fn answer(tree: &Tree, row: &[f64], at: usize, known: &[bool]) -> f64 {
        match tree.step(at, row) {
            Step::Leaf(value) => value,
            Step::Split { feature, left, right, goes_right } => match goes_right.filter(|_| known[feature]) {
                Some(goes) => answer(tree, row, if goes { right } else { left }, known),
                None => {
                    (tree.cover(left) * answer(tree, row, left, known)
                        + tree.cover(right) * answer(tree, row, right, known))
                        / tree.cover(at)
                }
            },
        }
    }

    /// Shapley values by their definition: the mean over all orders of what a feature adds to those before it.
    fn by_definition(tree: &Tree, row: &[f64]) -> Vec<f64> {
        fn orders(rest: &[usize]) -> Vec<Vec<usize>> {
            if rest.is_empty() {
                return vec![vec![]];
            }
            let mut all = Vec::new();
            for (at, &first) in rest.iter().enumerate() {
                let mut others = rest.to_vec();
                others.remove(at);
                all.extend(orders(&others).into_iter().map(|mut order| {
                    order.insert(0, first);
                    order
                }));
            }
            all
        }
        let all = orders(&(0..row.len()).collect::<Vec<_>>());
        let mut values = vec![0.0; row.len()];
        for order in &all {
            let mut known = vec![false; row.len()];
            for &feature in order {
                let before = answer(tree, row, 0, &known);
                known[feature] = true;
                values[feature] += (answer(tree, row, 0, &known) - before) / all.len() as f64;
            }
        }
        values
    }

    /// Feature 0 twice on one path, and all three features.
    fn tree() -> Tree {
        Tree(vec![
            (Some(0), 5.0, 1, 2, 100.0, 0.0),
            (Some(1), 0.5, 3, 4, 60.0, 0.0),
            (Some(2), 1.0, 5, 6, 40.0, 0.0),
            (None, 0.0, 0, 0, 45.0, 1.0),
            (Some(0), 2.0, 7, 8, 15.0, 0.0),
            (None, 0.0, 0, 0, 30.0, -2.0),
            (None, 0.0, 0, 0, 10.0, 8.0),
            (None, 0.0, 0, 0, 5.0, 4.0),
            (None, 0.0, 0, 0, 10.0, 0.5),
        ])
    }

    #[test]
    fn values_are_the_shapley_values_of_the_definition() {
        let tree = tree();
        for row in [
            [1.0, 1.0, 0.0],
            [4.0, 1.0, 2.0],
            [6.0, 0.0, 2.0],
            [6.0, 1.0, 0.0],
            [1.0, 0.0, f64::NAN],
            [f64::NAN, 1.0, 2.0],
        ] {
            let mut values = vec![0.0; 3];
            add(&tree, &row, &mut values);
            let wanted = by_definition(&tree, &row);
            for (found, wanted) in values.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-12, "{row:?}: {values:?}, by definition {wanted:?}");
            }
            let whole: f64 = values.iter().sum::<f64>() + expected(&tree, &row);
            assert!((whole - answer(&tree, &row, 0, &[true; 3])).abs() < 1e-12);
        }
    }

    #[test]
    fn a_missing_value_adds_nothing_where_the_feature_is_met_once() {
        let mut values = vec![0.0; 3];
        add(&tree(), &[6.0, 0.0, f64::NAN], &mut values);
        assert!(values[2].abs() < 1e-12, "{values:?}");
    }
}
