//! On small tables our trees make the splits that scikit-learn makes; `benches/learn_reference.py` wrote what it grows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use emberscope_learn::{DecisionTree, DecisionTreeParams};
use ndarray::{Array1, Array2};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Reference {
    rows: Vec<Vec<Option<f64>>>,
    answers: Vec<bool>,
    weights: Vec<f64>,
    max_depth: u32,
    min_leaf_rows: usize,
    pruning: f64,
    feature: Vec<i64>,
    threshold: Vec<Option<f64>>,
    left: Vec<i64>,
    right: Vec<i64>,
    rows_there: Vec<u64>,
    impurity: Vec<f64>,
    weight: Vec<f64>,
    probability: Vec<f64>,
}

impl Reference {
    fn table(&self) -> Array2<f64> {
        let columns = self.rows[0].len();
        let values = self.rows.iter().flatten().map(|value| value.unwrap_or(f64::NAN)).collect();
        Array2::from_shape_vec((self.rows.len(), columns), values).unwrap()
    }

    /// Weighted impurity that the two sides of a node's split leave.
    fn left_over(&self, at: usize) -> f64 {
        let side = |child: i64| self.impurity[child as usize] * self.weight[child as usize];
        side(self.left[at]) + side(self.right[at])
    }
}

/// Our node as JSON: rows, weight, yes and the split.
struct Ours(Vec<Value>);

impl Ours {
    fn of(tree: &DecisionTree) -> Self {
        Self(serde_json::to_value(tree).unwrap()["nodes"].as_array().unwrap().clone())
    }

    fn impurity(&self, at: usize) -> f64 {
        let (weight, yes) = (self.0[at]["weight"].as_f64().unwrap(), self.0[at]["yes"].as_f64().unwrap());
        2.0 * yes * (weight - yes) / weight
    }
}

#[test]
fn splits_are_those_of_scikit_learn_but_for_ties() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/scikit_learn_trees.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let trees: Vec<Reference> = serde_json::from_value(file["trees"].clone()).unwrap();
    assert!(trees.len() >= 5);
    let (mut same, mut ties) = (0, 0);
    for reference in &trees {
        let rows = reference.table();
        let params = DecisionTreeParams {
            max_depth: reference.max_depth,
            min_leaf_rows: reference.min_leaf_rows,
            pruning: reference.pruning,
            ..DecisionTreeParams::default()
        };
        let answers = Array1::from(reference.answers.clone());
        let tree = params.fit_weighted(&rows, &answers, &reference.weights).unwrap();
        let ours = Ours::of(&tree);
        let mut open = vec![(0usize, 0usize)];
        let mut tied = false;
        while let Some((own, their)) = open.pop() {
            assert_eq!(ours.0[own]["rows"].as_u64().unwrap(), reference.rows_there[their]);
            let split = &ours.0[own]["split"];
            assert_eq!(split.is_null(), reference.feature[their] < 0, "node {their} is a leaf to one only");
            if split.is_null() {
                continue;
            }
            let left = split["left"].as_u64().unwrap() as usize;
            let left_over = ours.impurity(left) + ours.impurity(left + 1);
            assert!(
                (left_over - reference.left_over(their)).abs() < 1e-9,
                "node {their}: one of the splits is not the best"
            );
            let threshold = split["threshold"].as_f64().unwrap();
            let theirs = reference.threshold[their].unwrap_or(f64::MAX);
            let equal = (threshold - theirs).abs() <= 1e-6 * threshold.abs();
            if split["feature"].as_i64().unwrap() == reference.feature[their] && equal {
                same += 1;
                open.push((left, reference.left[their] as usize));
                open.push((left + 1, reference.right[their] as usize));
            } else {
                tied = true;
                ties += 1;
            }
        }
        if !tied {
            for (own, their) in tree.probabilities(&rows).unwrap().iter().zip(&reference.probability) {
                assert!((own - their).abs() < 1e-12);
            }
        }
    }
    assert!(same >= 40 && ties * 5 <= same, "{same} splits are the same, {ties} are ties");
}
