//! The smallest tables on which linfa-trees and smartcore fail, as `docs/learners.md` tells them: what each library does there, and
//! what our tree and our adapters do. Where a library mends a fault, its test fails, and the page is stale.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use emberscope_learn::others::{linfa_tree, smartcore_forest};
use emberscope_learn::{DecisionTree, DecisionTreeParams, LearnError, RandomForest, RandomForestParams};
use linfa::DatasetBase;
use linfa::prelude::{Fit, Predict};
use linfa_trees::{DecisionTree as LinfaTree, DecisionTreeParams as LinfaParams, TreeNode};
use ndarray::{Array1, Array2, array};
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::tree::decision_tree_classifier::{
    DecisionTreeClassifier, DecisionTreeClassifierParameters as SmartcoreParams,
};

type SmartcoreTree = DecisionTreeClassifier<f64, u32, DenseMatrix<f64>, Vec<u32>>;

const NO: bool = false;
const YES: bool = true;

/// 2 to the power of 53: from here on only every second whole number is a double.
const LARGE: f64 = 9_007_199_254_740_992.0;

/// linfa-trees' own tree; without weights all rows weigh 1.
fn linfa(
    rows: &Array2<f64>,
    answers: &[bool],
    weights: &[f32],
    params: LinfaParams<f64, bool>,
) -> LinfaTree<f64, bool> {
    let dataset = DatasetBase::new(rows.clone(), Array1::from(answers.to_vec()));
    params.fit(&dataset.with_weights(Array1::from(weights.to_vec()))).unwrap()
}

fn linfa_says(tree: &LinfaTree<f64, bool>, rows: &Array2<f64>) -> Vec<bool> {
    let said: Array1<bool> = tree.predict(rows);
    said.to_vec()
}

/// Nodes of a tree of linfa-trees, those below what it calls a leaf as well.
fn nodes(node: &TreeNode<f64, bool>) -> usize {
    node.children().into_iter().flatten().fold(1, |count, child| count + nodes(child))
}

fn matrix(rows: &Array2<f64>) -> DenseMatrix<f64> {
    DenseMatrix::new(rows.nrows(), rows.ncols(), rows.iter().copied().collect(), false).unwrap()
}

/// smartcore's own tree.
fn smartcore(rows: &Array2<f64>, answers: &[bool], params: SmartcoreParams) -> SmartcoreTree {
    let classes: Vec<u32> = answers.iter().map(|&answer| u32::from(answer)).collect();
    SmartcoreTree::fit(&matrix(rows), &classes, params).unwrap()
}

fn smartcore_says(tree: &SmartcoreTree, rows: &Array2<f64>) -> Vec<bool> {
    tree.predict(&matrix(rows)).unwrap().into_iter().map(|class| class == 1).collect()
}

fn ours(rows: &Array2<f64>, answers: &[bool]) -> DecisionTree {
    DecisionTreeParams::default().fit(rows, &Array1::from(answers.to_vec())).unwrap()
}

fn adapted_tree(rows: &Array2<f64>, answers: &[bool], weights: &[f64]) -> DecisionTree {
    linfa_tree(&DecisionTreeParams::default(), rows, &Array1::from(answers.to_vec()), weights).unwrap()
}

fn adapted_forest(rows: &Array2<f64>, answers: &[bool], max_depth: u32) -> RandomForest {
    let tree = DecisionTreeParams { max_depth, ..DecisionTreeParams::default() };
    let params = RandomForestParams { trees: 25, tree };
    smartcore_forest(&params, rows, &Array1::from(answers.to_vec()), &vec![1.0; answers.len()]).unwrap()
}

/// Whether every row is given its own answer, with certainty.
fn told_apart(probabilities: &Array1<f64>, answers: &[bool]) -> bool {
    probabilities.iter().zip(answers).all(|(p, &answer)| if answer { *p >= 1.0 } else { *p <= 0.0 })
}

/// Our tree and both adapters give every row its own answer.
fn ours_and_the_adapters_are_right(rows: &Array2<f64>, answers: &[bool]) {
    let probabilities = [
        ours(rows, answers).probabilities(rows).unwrap(),
        adapted_tree(rows, answers, &vec![1.0; answers.len()]).probabilities(rows).unwrap(),
        adapted_forest(rows, answers, 4).probabilities(rows).unwrap(),
    ];
    assert!(probabilities.iter().all(|own| told_apart(own, answers)), "{probabilities:?}");
}

/// What something panics with; nothing where it does not.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else { return String::new() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Two rows each; the threshold that linfa-trees puts between them has both on one side.
fn without_end() -> [Array2<f64>; 3] {
    [array![[1.0], [f64::NAN]], array![[1.0], [f64::INFINITY]], array![[LARGE + 2.0], [LARGE + 4.0]]]
}

/// The case that a process of the next test is to grow a tree on.
const CASE: &str = "EMBERSCOPE_LEARNERS_FAULT";

#[test]
fn linfa_trees_overflows_the_stack_where_a_split_takes_no_row_away() {
    if let Ok(case) = std::env::var(CASE) {
        let rows = &without_end()[case.parse::<usize>().unwrap()];
        linfa(rows, &[NO, YES], &[], LinfaTree::params());
        return;
    }
    // An overflow ends the whole process, so each case has one of its own; with two threads no test is on the main thread.
    let name = "linfa_trees_overflows_the_stack_where_a_split_takes_no_row_away";
    for (case, rows) in without_end().iter().enumerate() {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=2"])
            .env(CASE, case.to_string())
            .env_remove("RUST_MIN_STACK")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&process.stderr);
        assert!(!process.status.success() && said.contains("overflowed its stack"), "{rows}: {said}");
    }
}

#[test]
fn with_a_greatest_depth_linfa_trees_passes_all_rows_down_to_it_and_has_one_leaf() {
    for rows in without_end() {
        let tree = linfa(&rows, &[NO, YES], &[], LinfaTree::params().max_depth(Some(50)));
        assert_eq!((tree.root_node().is_leaf(), nodes(tree.root_node())), (true, 51), "{rows}");
    }
    let [missing, infinite, neighbours] = without_end();
    assert!(told_apart(&ours(&missing, &[NO, YES]).probabilities(&missing).unwrap(), &[NO, YES]));
    ours_and_the_adapters_are_right(&neighbours, &[NO, YES]);
    let (params, answers) = (DecisionTreeParams::default(), array![NO, YES]);
    for fitted in [params.fit(&infinite, &answers), linfa_tree(&params, &infinite, &answers, &[1.0; 2])] {
        assert!(matches!(fitted, Err(LearnError::Infinite { row: 1, column: 0 })));
    }
}

#[test]
fn a_missing_value_takes_a_split_from_both() {
    let rows = array![[1.0], [1.0], [f64::NAN], [8.0]];
    let answers = [NO, NO, NO, YES];
    // The threshold after the missing value is the best, and it is no number: all rows go to the right.
    let tree = linfa(&rows, &answers, &[], LinfaTree::params().max_depth(Some(4)));
    assert_eq!(linfa_says(&tree, &rows), [NO, NO, NO, NO]);
    // Counted with the low values when the split is chosen, and with the high ones when it is made.
    let tree = smartcore(&rows, &answers, SmartcoreParams::default());
    assert_eq!(smartcore_says(&tree, &rows), [NO, NO, YES, YES]);
    ours_and_the_adapters_are_right(&rows, &answers);
}

#[test]
fn smartcore_panics_where_a_missing_value_is_in_the_middle_of_eight_rows() {
    let rows = array![[0.0], [1.0], [2.0], [f64::NAN], [4.0], [5.0], [6.0], [7.0]];
    let answers = [NO, NO, NO, NO, YES, YES, YES, YES];
    let panic = panic_of(|| smartcore(&rows, &answers, SmartcoreParams::default()));
    assert!(panic.contains("index out of bounds"), "{panic}");
    assert!(told_apart(&ours(&rows, &answers).probabilities(&rows).unwrap(), &answers));
    let probabilities = adapted_forest(&rows, &answers, 4).probabilities(&rows).unwrap();
    assert!(probabilities[0] < 0.5 && probabilities[7] > 0.5, "{probabilities}");
}

#[test]
fn linfa_trees_takes_values_as_equal_that_are_less_than_a_hundred_thousandth_apart() {
    let (rows, answers) = (array![[0.0], [0.000_001]], [NO, YES]);
    assert!(linfa(&rows, &answers, &[], LinfaTree::params()).root_node().is_leaf());
    // The same in another unit.
    let thousandths = &rows * 1_000.0;
    let tree = linfa(&thousandths, &answers, &[], LinfaTree::params());
    assert_eq!(linfa_says(&tree, &thousandths), answers);
    ours_and_the_adapters_are_right(&rows, &answers);
}

#[test]
fn linfa_trees_sends_a_row_on_the_threshold_left_when_it_grows_and_right_when_it_is_asked() {
    // The threshold is rounded to the first of the values.
    let (rows, answers) = (array![[LARGE], [LARGE + 2.0]], [NO, YES]);
    let tree = linfa(&rows, &answers, &[], LinfaTree::params());
    assert_eq!(linfa_says(&tree, &rows), [YES, YES]);
    ours_and_the_adapters_are_right(&rows, &answers);
    // What is asked about lies on it: "feature <= split value" is the left side, by its documentation.
    let (rows, between) = (array![[1.0], [3.0]], array![[2.0]]);
    assert_eq!(linfa_says(&linfa(&rows, &answers, &[], LinfaTree::params()), &between), [YES]);
    assert!(told_apart(&ours(&rows, &answers).probabilities(&between).unwrap(), &[NO]));
}

#[test]
fn linfa_trees_grows_one_tree_or_another_from_the_same_rows() {
    let (rows, answers) = (array![[1.0], [1.0], [2.0]], [NO, YES, YES]);
    // The leaf of the first two rows is a tie: where it says yes, the split is taken back.
    let one_leaf = (0..100).filter(|_| linfa(&rows, &answers, &[], LinfaTree::params()).root_node().is_leaf()).count();
    assert!((1..100).contains(&one_leaf), "{one_leaf}");
    let first = ours(&rows, &answers);
    assert!((0..100).all(|_| ours(&rows, &answers) == first));
    // To the adapter a tie is a yes.
    let adapted = adapted_tree(&rows, &answers, &[1.0; 3]);
    assert_eq!(adapted.leaves(), 1);
    assert!((0..100).all(|_| adapted_tree(&rows, &answers, &[1.0; 3]) == adapted));
}

#[test]
fn linfa_trees_overlooks_a_split_where_the_last_of_equal_values_is_in_another_node() {
    let rows = array![[0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [1.0, 1.0]];
    let answers = [NO, NO, YES, YES];
    assert_eq!(linfa_says(&linfa(&rows, &answers, &[], LinfaTree::params()), &rows), [NO, NO, NO, YES]);
    // The same rows with the last one first.
    let reordered = array![[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]];
    let tree = linfa(&reordered, &[YES, NO, NO, YES], &[], LinfaTree::params());
    assert_eq!(linfa_says(&tree, &reordered), [YES, NO, NO, YES]);
    assert!(told_apart(&ours(&rows, &answers).probabilities(&rows).unwrap(), &answers));
}

#[test]
fn linfa_trees_takes_a_split_back_whose_sides_differ_in_how_sure_they_are() {
    let (rows, answers) = (array![[1.0], [1.0], [1.0], [2.0]], [YES, YES, NO, YES]);
    let tree = linfa(&rows, &answers, &[], LinfaTree::params());
    assert!(tree.root_node().is_leaf());
    assert_eq!(linfa_says(&tree, &rows), [YES; 4]);
    let share = 2.0 / 3.0;
    assert_eq!(ours(&rows, &answers).probabilities(&rows).unwrap(), array![share, share, share, 1.0]);
}

#[test]
fn linfa_trees_counts_rows_where_it_says_weight_and_weights_where_rows_are_meant() {
    let (rows, answers) = (array![[1.0], [2.0]], [NO, YES]);
    // By default a side has to weigh 1.
    assert!(linfa(&rows, &answers, &[0.5; 2], LinfaTree::params()).root_node().is_leaf());
    // The least weight of a node that is divided is compared with its rows: it weighs 20.
    assert!(!linfa(&rows, &answers, &[10.0; 2], LinfaTree::params()).root_node().is_leaf());
    assert!(linfa(&rows, &answers, &[10.0; 2], LinfaTree::params().min_weight_split(3.0)).root_node().is_leaf());
    // A least weight of 0 is accepted.
    let panic = panic_of(|| linfa(&rows, &answers, &[0.0, 1.0], LinfaTree::params().min_weight_leaf(0.0)));
    assert_eq!(panic, "assertion failed: n_samples > 0.0");

    let grown = |weights: &[f64]| {
        let own = DecisionTreeParams::default().fit_weighted(&rows, &Array1::from(answers.to_vec()), weights).unwrap();
        [own, adapted_tree(&rows, &answers, weights)].map(|tree| tree.probabilities(&rows).unwrap())
    };
    for weights in [[0.5; 2], [10.0; 2]] {
        assert!(grown(&weights).iter().all(|own| told_apart(own, &answers)));
    }
    assert!(grown(&[0.0, 1.0]).iter().all(|own| told_apart(own, &[YES, YES])));
}

#[test]
fn smartcore_is_sure_of_every_row() {
    let (rows, answers) = (array![[1.0], [1.0], [1.0]], [YES, YES, NO]);
    let one = array![[1.0]];
    let tree = smartcore(&rows, &answers, SmartcoreParams::default());
    assert_eq!(tree.predict_proba(&matrix(&one)).unwrap(), matrix(&array![[0.0, 1.0]]));
    let shares = [
        ours(&rows, &answers).probabilities(&one).unwrap()[0],
        adapted_tree(&rows, &answers, &[1.0; 3]).probabilities(&one).unwrap()[0],
        adapted_forest(&rows, &answers, 4).probabilities(&one).unwrap()[0],
    ];
    assert!(shares.iter().all(|share| (share - 2.0 / 3.0).abs() < 1e-12), "{shares:?}");
}

#[test]
fn smartcore_counts_the_root_as_a_level_of_depth() {
    let (rows, answers) = (array![[1.0], [2.0]], [NO, YES]);
    let grown = |depth| smartcore(&rows, &answers, SmartcoreParams::default().with_max_depth(depth));
    assert_eq!(smartcore_says(&grown(1), &rows), [NO, NO]);
    assert_eq!(smartcore_says(&grown(2), &rows), [NO, YES]);
    let params = DecisionTreeParams { max_depth: 1, ..DecisionTreeParams::default() };
    let tree = params.fit(&rows, &Array1::from(answers.to_vec())).unwrap();
    assert!(told_apart(&tree.probabilities(&rows).unwrap(), &answers));
    let deepest = adapted_forest(&rows, &answers, 1).trees().iter().map(DecisionTree::depth).max();
    assert_eq!(deepest, Some(1));
}

#[test]
fn smartcore_overlooks_a_split_where_the_last_of_equal_values_has_the_answer_of_the_next() {
    let rows = array![[1.0], [1.0], [1.0], [2.0]];
    let tree = smartcore(&rows, &[NO, NO, YES, YES], SmartcoreParams::default());
    assert_eq!(smartcore_says(&tree, &rows), [NO, NO, NO, NO]);
    // The same rows, the second and the third the other way round.
    let tree = smartcore(&rows, &[NO, YES, NO, YES], SmartcoreParams::default());
    assert_eq!(smartcore_says(&tree, &rows), [NO, NO, NO, YES]);
    for answers in [[NO, NO, YES, YES], [NO, YES, NO, YES]] {
        let share = 1.0 / 3.0;
        assert_eq!(ours(&rows, &answers).probabilities(&rows).unwrap(), array![share, share, share, 1.0]);
    }
}

#[test]
fn smartcore_drops_a_split_between_neighbouring_numbers() {
    let [_, _, neighbours] = without_end();
    let tree = smartcore(&neighbours, &[NO, YES], SmartcoreParams::default());
    assert_eq!(smartcore_says(&tree, &neighbours), [NO, NO]);
    ours_and_the_adapters_are_right(&neighbours, &[NO, YES]);
}

#[test]
fn smartcore_refuses_rows_of_one_answer() {
    let rows = array![[1.0], [2.0]];
    assert!(SmartcoreTree::fit(&matrix(&rows), &vec![1, 1], SmartcoreParams::default()).is_err());
    let adapted = smartcore_forest(&RandomForestParams::default(), &rows, &array![YES, YES], &[1.0; 2]);
    assert!(matches!(adapted, Err(LearnError::Other { learner: "smartcore", .. })));
    assert_eq!(ours(&rows, &[YES, YES]).leaves(), 1);
}

#[test]
fn that_a_value_is_missing_tells_nothing_to_the_adapters() {
    let (rows, answers) = (array![[1.0], [f64::NAN]], [NO, YES]);
    assert!(told_apart(&ours(&rows, &answers).probabilities(&rows).unwrap(), &answers));
    assert_eq!(adapted_tree(&rows, &answers, &[1.0; 2]).leaves(), 1);
    assert!(adapted_forest(&rows, &answers, 4).trees().iter().all(|tree| tree.leaves() == 1));
}

// What "What is not mended" in the page says; where an adapter mends one of these, the page is to be changed with it.

#[test]
fn splits_overlooked_and_splits_taken_back_are_not_mended() {
    let rows = array![[0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [1.0, 1.0]];
    assert_eq!(adapted_tree(&rows, &[NO, NO, YES, YES], &[1.0; 4]).leaves(), 2);
    let rows = array![[1.0], [1.0], [1.0], [2.0]];
    assert_eq!(adapted_tree(&rows, &[YES, YES, NO, YES], &[1.0; 4]).leaves(), 1);
}
