use ndarray::{Array2, array};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

fn normal(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    Array2::from_shape_fn((rows, columns), |_| StandardNormal.sample(&mut random))
}

fn leaf(rows: u32) -> Node {
    Node { rows, split: None }
}

fn split(rows: u32, feature: u32, threshold: f64, left: u32) -> Node {
    Node { rows, split: Some(Split { left, at: At::Axis { feature, threshold } }) }
}

/// One tree of 8 rows: 5 with feature 0 up to 10; of the 3 others one has feature 1 above 2.
fn by_hand() -> IsolationForest {
    let nodes = vec![split(8, 0, 10.0, 1), leaf(5), split(3, 1, 2.0, 3), leaf(2), leaf(1)];
    IsolationForest {
        features: 2,
        samples: 8,
        trees: vec![IsolationTree { nodes }],
        threshold: None,
        false_alarm_rate: None,
    }
}

#[test]
fn search_lengths_are_those_of_harmonic_numbers() {
    // 2 H(n - 1) - 2 (n - 1) / n: H(1) = 1, H(2) = 3/2, H(3) = 11/6, H(4) = 25/12.
    let wanted = [0.0, 0.0, 1.0, 3.0 - 4.0 / 3.0, 11.0 / 3.0 - 1.5, 25.0 / 6.0 - 1.6];
    for (rows, wanted) in (0..).zip(wanted) {
        assert!((mean_search_length(rows) - wanted).abs() < 1e-15, "{rows}");
    }
    // H(255) = 6.120 438 7.
    assert!((mean_search_length(256) - (2.0 * 6.120_438_7 - 2.0 * 255.0 / 256.0)).abs() < 1e-6);
    // The sum and the series meet.
    let step = mean_search_length(1027) - mean_search_length(1026);
    assert!((step - (2.0 / 1026.0 - 2.0 / (1026.0 * 1027.0))).abs() < 1e-12, "{step}");
}

#[test]
fn path_lengths_and_scores_are_those_worked_out_by_hand() {
    let forest = by_hand();
    let c = mean_search_length;
    // c(5) = 25/6 - 8/5, c(2) = 1, c(1) = 0.
    let lengths = [1.0 + 25.0 / 6.0 - 1.6, 2.0 + 1.0, 2.0];
    let rows = array![[10.0, 9.0], [10.5, 2.0], [11.0, 2.5]];
    let scores = forest.scores(&rows).unwrap();
    for (score, length) in scores.iter().zip(lengths) {
        assert!((score - 2f64.powf(-length / c(8))).abs() < 1e-12, "{score} for a path of {length}");
    }
    // Feature 1 is missing: two of three rows went to the left there. Feature 0: five of eight.
    let rows = array![[11.0, f64::NAN], [f64::NAN, 2.5], [f64::NAN, f64::NAN]];
    let lengths =
        [(2.0 * 3.0 + 2.0) / 3.0, (5.0 * (1.0 + c(5)) + 3.0 * 2.0) / 8.0, (5.0 * (1.0 + c(5)) + 2.0 * 3.0 + 2.0) / 8.0];
    let scores = forest.scores(&rows).unwrap();
    for (score, length) in scores.iter().zip(lengths) {
        assert!((score - 2f64.powf(-length / c(8))).abs() < 1e-12, "{score} for a path of {length}");
    }
}

#[test]
fn contributions_are_those_worked_out_by_hand() {
    let forest = by_hand();
    let c = mean_search_length;
    let right = (2.0 * 3.0 + 2.0) / 3.0;
    let expected = (5.0 * (1.0 + c(5)) + 3.0 * right) / 8.0;
    // Of the row that is alone: feature 0 by itself moves the mean to that of the right side; feature 1 by itself counts on three rows
    // of eight. Each value is the mean of being first and being second.
    let second_alone = (5.0 * (1.0 + c(5)) + 3.0 * 2.0) / 8.0;
    let first = 0.5 * ((right - expected) + (2.0 - second_alone));
    let second = 0.5 * ((second_alone - expected) + (2.0 - right));
    let found = forest.contributions(&[11.0, 2.5]).unwrap();
    for (found, wanted) in [(found.expected, expected), (found.features[0], first), (found.features[1], second)] {
        assert!((found + wanted / c(8)).abs() < 1e-12, "{found} is not {}", -wanted / c(8));
    }
}

#[test]
fn contributions_add_up_to_the_score_and_name_the_feature_that_stands_out() {
    let mut rows = normal(500, 6, 1);
    rows[(17, 4)] = 12.0;
    rows[(30, 2)] = f64::NAN;
    let forest = IsolationForestParams::default().fit(&rows).unwrap();
    let scores = forest.scores(&rows).unwrap();
    for row in [0, 17, 30] {
        let found = forest.contributions(&rows.row(row).to_vec()).unwrap();
        assert!((found.score() - scores[row]).abs() < 1e-9, "row {row}: {} is not {}", found.score(), scores[row]);
    }
    let found = forest.contributions(&rows.row(17).to_vec()).unwrap();
    let largest = found.features.iter().copied().fold(f64::MIN, f64::max);
    assert!(found.features[4] == largest && largest > 0.0, "{found:?}");
    assert_eq!(forest.contributions(&rows.row(30).to_vec()).unwrap().features[2], 0.0);
}

#[test]
fn equal_seeds_give_equal_forests_and_scores_with_any_number_of_threads() {
    let rows = normal(3_000, 7, 2);
    let params = IsolationForestParams { trees: 40, seed: 5, ..IsolationForestParams::default() };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let forest = params.fit_to_false_alarm_rate(&rows, 0.05).unwrap();
            let scores = forest.scores(&rows).unwrap();
            (serde_json::to_string(&forest).unwrap(), scores)
        })
    };
    assert_eq!(with(1), with(3));
    let other = IsolationForestParams { seed: 6, ..params.clone() };
    assert_ne!(params.fit(&rows).unwrap(), other.fit(&rows).unwrap());
}

#[test]
fn a_written_forest_scores_as_the_one_that_was_written() {
    let rows = normal(300, 3, 3);
    for extension in [0, 2] {
        let forest = IsolationForestParams { extension, ..IsolationForestParams::default() }.fit(&rows).unwrap();
        let read: IsolationForest = serde_json::from_str(&serde_json::to_string(&forest).unwrap()).unwrap();
        assert!(read == forest, "a number was written in too few digits or read wrong");
        assert_eq!(read.scores(&rows).unwrap(), forest.scores(&rows).unwrap());
    }
}

#[test]
fn rows_with_and_without_missing_values_are_scored_alike_beside_each_other() {
    let mut rows = normal(200, 3, 4);
    let forest = IsolationForestParams::default().fit(&rows).unwrap();
    let before = forest.scores(&rows).unwrap();
    rows[(100, 1)] = f64::NAN;
    let after = forest.scores(&rows).unwrap();
    assert!((0..200).filter(|&row| row != 100).all(|row| before[row] == after[row]));
    // Rows that lie column by column, and every other row.
    let turned = rows.t().to_owned().reversed_axes();
    assert_eq!(forest.scores(&turned).unwrap(), after);
    let every_other = forest.scores(&rows.slice(ndarray::s![..;2, ..])).unwrap();
    assert!((0..100).all(|row| every_other[row] == after[2 * row]));
}

#[test]
fn a_missing_value_neither_makes_a_row_stand_out_nor_the_row_that_has_it_typical() {
    let mut rows = normal(1_000, 4, 5);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
    for value in &mut rows {
        if random.random::<f64>() < 0.2 {
            *value = f64::NAN;
        }
    }
    let forest = IsolationForestParams::default().fit(&rows).unwrap();
    let nothing = f64::NAN;
    let scores = forest
        .scores(&array![[nothing, nothing, nothing, nothing], [0.0, 0.0, 0.0, 0.0], [8.0, nothing, 8.0, nothing]])
        .unwrap();
    assert!(scores[0] < 0.55 && scores[1] < scores[0] && scores[2] > 0.6, "{scores}");
}

#[test]
fn the_threshold_keeps_the_false_alarm_rate_that_was_asked_for() {
    let rows = normal(1_500, 5, 7);
    let params = IsolationForestParams { trees: 60, ..IsolationForestParams::default() };
    for rate in [0.02, 0.1] {
        let forest = params.fit_to_false_alarm_rate(&rows, rate).unwrap();
        assert_eq!(forest.false_alarm_rate(), Some(rate));
        let fresh = normal(4_000, 5, 8);
        let alarms = forest.anomalous(&fresh).unwrap().iter().filter(|&&alarm| alarm).count();
        let share = alarms as f64 / 4_000.0;
        // Five standard deviations of a count of 1,500 and of one of 4,000.
        let spread = 5.0 * (rate * (1.0 - rate) * (1.0 / 1_500.0 + 1.0 / 4_000.0)).sqrt();
        assert!((share - rate).abs() < spread, "{share} for a rate of {rate}");
    }
    // Of 18 rows one in twenty cannot be told.
    let few = params.fit_to_false_alarm_rate(&normal(18, 5, 9), 0.05).unwrap();
    assert_eq!(few.threshold(), Some(1.0));
}

#[test]
fn a_contamination_puts_that_share_above_the_threshold() {
    let rows = normal(200, 3, 10);
    let forest = IsolationForestParams::default().fit(&rows).unwrap().with_contamination(&rows, 0.1).unwrap();
    assert_eq!(forest.anomalous(&rows).unwrap().iter().filter(|&&alarm| alarm).count(), 20);
}

#[test]
fn slanted_splits_see_that_the_corners_between_two_groups_are_empty() {
    // Two groups at (0, 10) and (10, 0): a row at (0, 0) is in the range of both features' groups, and in neither group.
    let mut rows = normal(1_000, 2, 11);
    for (index, mut row) in rows.rows_mut().into_iter().enumerate() {
        row[index % 2] += 10.0;
    }
    let ratio = |extension| {
        let forest =
            IsolationForestParams { extension, trees: 200, ..IsolationForestParams::default() }.fit(&rows).unwrap();
        let scores = forest.scores(&array![[0.0, 0.0], [0.0, 10.0]]).unwrap();
        assert!(scores[0] > scores[1]);
        scores[0] / scores[1]
    };
    assert!(ratio(1) > ratio(0), "{} with slanted splits, {} without", ratio(1), ratio(0));
}

#[test]
fn rows_that_are_all_equal_stand_out_by_nothing() {
    let rows = Array2::from_elem((50, 2), 3.0);
    let forest = IsolationForestParams::default().fit(&rows).unwrap();
    // Nothing can be divided: the path ends at the root, with the length that 50 rows are expected to take.
    assert!(forest.scores(&rows).unwrap().iter().all(|score| (score - 0.5).abs() < 1e-12));
    assert!(matches!(
        IsolationForestParams::default().fit(&array![[1.0, 2.0]]),
        Err(LearnError::Empty { rows: 1, .. })
    ));
}

#[test]
fn extreme_values_are_divided_and_infinite_ones_refused_by_their_place() {
    let rows = array![[f64::MIN], [f64::MAX], [0.0], [f64::MIN_POSITIVE], [1.0]];
    let forest = IsolationForestParams { samples: 5, ..IsolationForestParams::default() }.fit(&rows).unwrap();
    assert!(forest.scores(&rows).unwrap().iter().all(|score| (0.0..=1.0).contains(score)));
    let error = IsolationForestParams::default().fit(&array![[0.0, 1.0], [2.0, f64::INFINITY]]).unwrap_err();
    assert_eq!(error.to_string(), "row 1 has an infinite value in column 1");
    let error = forest.scores(&array![[0.0, 1.0]]).unwrap_err();
    assert_eq!(error.to_string(), "the model was fitted to 1 features and the table has 2");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let rows = array![[0.0], [1.0]];
    let with = |params: IsolationForestParams| params.fit(&rows).unwrap_err().to_string();
    let params = IsolationForestParams::default();
    assert_eq!(with(IsolationForestParams { trees: 0, ..params.clone() }), "trees is 0 and must be 1 or more");
    assert_eq!(with(IsolationForestParams { samples: 1, ..params.clone() }), "samples is 1 and must be 2 or more");
    let empty = params.fit(&Array2::<f64>::zeros((0, 3))).unwrap_err();
    assert_eq!(empty.to_string(), "the table has 0 rows and 3 columns: there is nothing to learn from");
    assert!(params.fit_to_false_alarm_rate(&rows, 0.0).is_err());
    assert!(params.fit_to_false_alarm_rate(&rows, f64::NAN).is_err());
    let slanted = IsolationForestParams { extension: 1, ..params }.fit(&array![[0.0, 1.0], [1.0, 3.0]]).unwrap();
    assert!(matches!(slanted.contributions(&[0.0, 1.0]), Err(LearnError::Slanted)));
}

#[test]
fn trees_of_one_forest_differ() {
    let forest =
        IsolationForestParams { trees: 2, ..IsolationForestParams::default() }.fit(&normal(300, 2, 12)).unwrap();
    assert_ne!(forest.trees[0], forest.trees[1]);
}
