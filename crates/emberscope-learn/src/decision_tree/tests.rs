use ndarray::{Array1, Array2, array};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

fn fit(rows: &Array2<f64>, answers: &[bool]) -> DecisionTree {
    DecisionTreeParams::default().fit(rows, &Array1::from(answers.to_vec())).unwrap()
}

const NO: bool = false;
const YES: bool = true;

/// Eight rows: up to 4 all answers are no; above, the second feature decides.
fn eight() -> (Array2<f64>, Vec<bool>) {
    let rows = array![[1.0, 0.0], [2.0, 9.0], [3.0, 0.0], [4.0, 9.0], [5.0, 9.0], [6.0, 0.0], [7.0, 9.0], [8.0, 9.0]];
    (rows, vec![NO, NO, NO, NO, YES, NO, YES, YES])
}

#[test]
fn the_split_that_lowers_gini_impurity_most_is_made() {
    let (rows, answers) = eight();
    let tree = fit(&rows, &answers);
    // The root: 8 * 2 * 3/8 * 5/8 = 3.75. At 4.5 in the first feature 4 * 2 * 3/4 * 1/4 = 1.5 is left; at 4.5 in the second, with 5 rows
    // of which 3 are yes, 5 * 2 * 3/5 * 2/5 = 2.4.
    assert_eq!(
        tree.to_text(&["a", "b"]),
        "a <= 4.5\n  no (0 of 4)\na > 4.5\n  b <= 4.5\n    no (0 of 1)\n  b > 4.5\n    yes (3 of 3)\n"
    );
    assert_eq!((tree.leaves(), tree.depth()), (3, 2));
    // 3.75 - 1.5 by the first, 1.5 by the second.
    let importances = tree.importances();
    assert!((importances[0] - 2.25 / 3.75).abs() < 1e-12 && (importances[1] - 1.5 / 3.75).abs() < 1e-12);
    assert_eq!(tree.probabilities(&array![[0.0, 9.0], [9.0, 9.0], [9.0, 1.0]]).unwrap(), array![0.0, 1.0, 0.0]);
}

#[test]
fn pruning_takes_the_weakest_link_first() {
    let (rows, answers) = eight();
    let tree = fit(&rows, &answers);
    // As shares of the root's weight of 8: the second split gains 1.5 / 8; the root then 2.25 / 8 for one leaf more.
    assert_eq!(tree.pruning_path(), [(0.0, 3), (0.1875, 2), (0.28125, 1)]);
    assert_eq!(tree.pruned(0.18).leaves(), 3);
    let pruned = tree.pruned(0.2);
    assert_eq!(pruned.to_text(&["a", "b"]), "a <= 4.5\n  no (0 of 4)\na > 4.5\n  yes (3 of 4)\n");
    assert_eq!(tree.pruned(0.3).to_text(&[]), "no (3 of 8)\n");
    let grown_so = DecisionTreeParams { pruning: 0.2, ..DecisionTreeParams::default() };
    assert_eq!(grown_so.fit(&rows, &Array1::from(answers)).unwrap(), pruned);
}

#[test]
fn two_features_that_tell_only_together_are_found() {
    let rows = array![[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
    let tree = fit(&rows, &[NO, YES, YES, NO]);
    assert_eq!(tree.probabilities(&rows).unwrap(), array![0.0, 1.0, 1.0, 0.0]);
}

#[test]
fn a_weight_is_as_many_rows() {
    let rows = array![[1.0], [2.0], [3.0], [4.0], [5.0]];
    let answers = array![NO, YES, NO, YES, YES];
    let repeated = array![[1.0], [2.0], [2.0], [2.0], [3.0], [4.0], [5.0], [5.0]];
    let of_repeated = fit(&repeated, &[NO, YES, YES, YES, NO, YES, YES, YES]);
    let weighted = DecisionTreeParams::default().fit_weighted(&rows, &answers, &[1.0, 3.0, 1.0, 1.0, 2.0]).unwrap();
    let grid = Array2::from_shape_fn((60, 1), |(row, _)| row as f64 / 10.0);
    assert_eq!(weighted.probabilities(&grid).unwrap(), of_repeated.probabilities(&grid).unwrap());
    // A row of weight 0 is not there.
    let without = DecisionTreeParams::default().fit_weighted(&rows, &answers, &[1.0, 0.0, 1.0, 1.0, 1.0]).unwrap();
    assert_eq!(without.to_text(&["a"]), "a <= 3.5\n  no (0 of 2)\na > 3.5\n  yes (2 of 2)\n");
}

#[test]
fn balanced_answers_weigh_the_same() {
    let rows = Array2::from_shape_fn((10, 1), |_| 1.0);
    let answers = Array1::from_shape_fn(10, |row| row == 0);
    let params = DecisionTreeParams { balanced: true, ..DecisionTreeParams::default() };
    let tree = params.fit(&rows, &answers).unwrap();
    assert!((tree.probabilities(&rows).unwrap()[0] - 0.5).abs() < 1e-12);
}

#[test]
fn missing_values_go_where_they_lower_impurity_and_are_split_off_where_they_are_what_tells() {
    let nothing = f64::NAN;
    // Missing goes with the low values.
    let rows = array![[1.0], [2.0], [nothing], [nothing], [8.0], [9.0]];
    let tree = fit(&rows, &[YES, YES, YES, YES, NO, NO]);
    assert_eq!(tree.probabilities(&array![[nothing], [0.0], [7.0]]).unwrap(), array![1.0, 1.0, 0.0]);
    assert_eq!(tree.rules(&["a"])[0].to_string(), "a up to 5 or unknown: 100 % of 4 rows of the training");
    // Being missing is the answer.
    let tree = fit(&rows, &[NO, NO, YES, YES, NO, NO]);
    assert_eq!(tree.to_text(&["a"]), "a known\n  no (0 of 4)\na unknown\n  yes (2 of 2)\n");
    assert_eq!(tree.rules(&["a"])[0].to_string(), "a unknown: 100 % of 2 rows of the training");
    // None is missing in training: the larger side.
    let tree = fit(&array![[1.0], [7.0], [8.0], [9.0]], &[YES, NO, NO, NO]);
    assert_eq!(tree.probabilities(&array![[nothing]]).unwrap(), array![0.0]);
    // A feature without any value divides nothing.
    let tree = fit(&array![[nothing], [nothing]], &[YES, NO]);
    assert_eq!(tree.to_text(&["a"]), "no (1 of 2)\n");
}

#[test]
fn a_leaf_as_a_rule_has_the_tightest_bounds() {
    let rows = Array2::from_shape_fn((9, 1), |(row, _)| row as f64);
    let tree = fit(&rows, &[NO, NO, NO, YES, YES, YES, NO, NO, NO]);
    let rule = &tree.rules(&["gc_ratio"])[0];
    assert_eq!(rule.to_string(), "gc_ratio above 2.5 and up to 5.5: 100 % of 3 rows of the training");
    assert_eq!(&tree.rule_of(&[4.0], &["gc_ratio"]), rule);
}

#[test]
fn a_graph_has_a_node_for_each_and_names_are_escaped() {
    let tree = fit(&array![[1.0], [3.0]], &[NO, YES]);
    let dot = tree.to_dot(&["a \"b\""]);
    assert!(dot.contains(r#"n0 [label="a \"b\""]"#) && dot.contains(r#"n0 -> n2 [label="> 2"]"#), "{dot}");
    assert_eq!(dot.matches("->").count(), 2);
}

/// Rows of which a few features tell the answer, some values missing, all from few distinct numbers.
fn random_table(rows: usize, features: usize, seed: u64) -> (Array2<f64>, Array1<bool>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let table = Array2::from_shape_fn((rows, features), |_| {
        if random.random::<f64>() < 0.05 { f64::NAN } else { f64::from(random.random_range(0..200u32)) }
    });
    let answers = table
        .rows()
        .into_iter()
        .map(|row| (row[0] > 100.0) != (row[1] > 60.0) || random.random::<f64>() < 0.1)
        .collect();
    (table, answers)
}

#[test]
fn bins_of_few_values_give_the_tree_that_all_thresholds_give() {
    for seed in 0..5 {
        let (rows, answers) = random_table(3_000, 6, seed);
        let exact = DecisionTreeParams { max_depth: 6, exact_rows: 3_000, ..DecisionTreeParams::default() };
        let binned = DecisionTreeParams { exact_rows: 0, ..exact.clone() };
        let (exact, binned) = (exact.fit(&rows, &answers).unwrap(), binned.fit(&rows, &answers).unwrap());
        // Below the root a bin's edge may lie elsewhere between two values of the node: the same rows go the same way.
        assert_eq!(exact.probabilities(&rows).unwrap(), binned.probabilities(&rows).unwrap());
        assert_eq!(exact.leaves(), binned.leaves());
    }
}

#[test]
fn bins_of_many_values_are_nearly_as_good() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let rows = Array2::from_shape_fn((20_000, 3), |_| random.random::<f64>() * 1e6);
    let answers: Array1<bool> = rows.rows().into_iter().map(|row| row[1] > 400_000.0).collect();
    let tree = DecisionTreeParams { max_depth: 1, ..DecisionTreeParams::default() }.fit(&rows, &answers).unwrap();
    let wrong =
        tree.probabilities(&rows).unwrap().iter().zip(&answers).filter(|(p, answer)| (**p > 0.5) != **answer).count();
    // The nearest of 254 edges is within half a bin: 1 / 510 of the rows, and some for the draw.
    assert!(wrong < 20_000 / 300, "{wrong}");
}

#[test]
fn trees_are_the_same_with_any_number_of_threads() {
    let (rows, answers) = random_table(6_000, 9, 3);
    let params =
        DecisionTreeParams { max_depth: 8, features_per_split: Some(3), seed: 4, ..DecisionTreeParams::default() };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| serde_json::to_string(&params.fit(&rows, &answers).unwrap()).unwrap())
    };
    assert_eq!(with(1), with(3));
    let read: DecisionTree = serde_json::from_str(&with(1)).unwrap();
    assert_eq!(read, params.fit(&rows, &answers).unwrap());
}

#[test]
fn leaves_are_as_large_and_paths_as_short_as_asked() {
    let (rows, answers) = random_table(500, 4, 5);
    for exact_rows in [0, 1_000] {
        let params =
            DecisionTreeParams { max_depth: 3, min_leaf_rows: 30, exact_rows, ..DecisionTreeParams::default() };
        let tree = params.fit(&rows, &answers).unwrap();
        assert!(tree.depth() <= 3 && tree.rules(&[]).iter().all(|rule| rule.rows >= 30), "{}", tree.to_text(&[]));
        assert_eq!(tree.rules(&[]).iter().map(|rule| rule.rows).sum::<u64>(), 500);
    }
}

#[test]
fn contributions_add_up_to_the_probability() {
    let (rows, answers) = random_table(800, 5, 6);
    let tree = DecisionTreeParams { max_depth: 6, ..DecisionTreeParams::default() }.fit(&rows, &answers).unwrap();
    let probabilities = tree.probabilities(&rows).unwrap();
    let share = answers.iter().filter(|answer| **answer).count() as f64 / 800.0;
    for row in 0..20 {
        let (expected, features) = tree.contributions(&rows.row(row).to_vec()).unwrap();
        assert!((expected - share).abs() < 1e-12);
        assert!((expected + features.iter().sum::<f64>() - probabilities[row]).abs() < 1e-9);
    }
}

#[test]
fn a_feature_that_tells_nothing_loses_nothing_when_it_is_dealt_out() {
    let (rows, answers) = random_table(1_000, 4, 7);
    let tree = DecisionTreeParams { max_depth: 2, ..DecisionTreeParams::default() }.fit(&rows, &answers).unwrap();
    let right = |rows: &Array2<f64>| {
        let probabilities = tree.probabilities(rows).unwrap();
        probabilities.iter().zip(&answers).filter(|(p, answer)| (**p > 0.5) == **answer).count() as f64 / 1_000.0
    };
    let lost = permutation_importance(&rows, right, 3, 1);
    assert!(lost[0] > 0.2 && lost[1] > 0.2, "{lost:?}");
    assert_eq!(&lost[2..], [0.0, 0.0]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let rows = array![[1.0], [2.0]];
    let answers = array![NO, YES];
    let params = DecisionTreeParams::default();
    let short = params.fit(&rows, &array![NO]).unwrap_err();
    assert_eq!(short.to_string(), "answers: 1 for 2 rows");
    for weights in [[-1.0, 1.0], [f64::NAN, 1.0], [0.0, 0.0], [f64::INFINITY, 1.0]] {
        assert!(matches!(params.fit_weighted(&rows, &answers, &weights), Err(LearnError::Weights)));
    }
    let deep = DecisionTreeParams { max_depth: 65, ..params.clone() }.fit(&rows, &answers).unwrap_err();
    assert_eq!(deep.to_string(), "max_depth is 65 and must be 64 at most");
    let infinite = params.fit(&array![[1.0], [f64::NEG_INFINITY]], &answers).unwrap_err();
    assert_eq!(infinite.to_string(), "row 1 has an infinite value in column 0");
    let tree = params.fit(&rows, &answers).unwrap();
    assert!(matches!(tree.probabilities(&array![[1.0, 2.0]]), Err(LearnError::Features { expected: 1, found: 2 })));
}

#[test]
fn a_tree_that_is_cut_is_the_one_that_is_grown_to_that_depth() {
    let mut random = crate::random::stream(7, 0);
    let rows = Array2::from_shape_fn((300, 5), |_| rand::RngExt::random::<f64>(&mut random));
    let answers: Array1<bool> =
        rows.rows().into_iter().map(|row| row[0] + row[1] * row[2] > 0.8 || row[3] < 0.1).collect();
    let grown =
        |max_depth| DecisionTreeParams { max_depth, ..DecisionTreeParams::default() }.fit(&rows, &answers).unwrap();
    let whole = grown(6);
    for depth in 0..=6 {
        let (cut, short) = (whole.cut_at(depth), grown(depth));
        assert_eq!((cut.leaves(), cut.depth()), (short.leaves(), short.depth()));
        assert_eq!(cut.probabilities(&rows).unwrap(), short.probabilities(&rows).unwrap());
    }
}
