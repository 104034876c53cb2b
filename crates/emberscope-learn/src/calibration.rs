//! From what a model says to how often it is right.

use serde::{Deserialize, Serialize};

/// A map from scores to probabilities that never falls: isotonic regression by pooling adjacent violators (Ayer and others 1955;
/// for probabilities Zadrozny and Elkan 2002).
///
/// It is to be fitted to scores of rows that the model was not fitted to. Groups of few rows do not give 0 or 1: each group is taken
/// with one row of yes and one of no added in the proportion of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Calibration {
    /// Scores in ascending order, each with the probability there; between them it is interpolated.
    points: Vec<(f64, f64)>,
}

/// A map as it is read, which may be none.
#[derive(Deserialize)]
struct Written {
    points: Vec<(f64, f64)>,
}

impl TryFrom<Written> for Calibration {
    type Error = String;

    fn try_from(Written { points }: Written) -> Result<Self, String> {
        let known = points.iter().all(|(score, probability)| score.is_finite() && (0.0..=1.0).contains(probability));
        let rises = points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        if points.is_empty() || !known || !rises {
            return Err("a calibration is no rising line of probabilities".to_owned());
        }
        Ok(Self { points })
    }
}

impl Calibration {
    /// Fits the map to scores and what was true, each row with its weight. `None` without rows of a weight, or where a number is
    /// not finite.
    pub fn fit(scores: &[f64], answers: &[bool], weights: &[f64]) -> Option<Self> {
        let mut rows: Vec<(f64, f64, f64)> = scores
            .iter()
            .zip(answers)
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|((&score, &answer), &weight)| (score, if answer { weight } else { 0.0 }, weight))
            .collect();
        if rows.is_empty() || rows.iter().any(|(score, _, weight)| !score.is_finite() || !weight.is_finite()) {
            return None;
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let whole: f64 = rows.iter().map(|row| row.2).sum();
        let share = rows.iter().map(|row| row.1).sum::<f64>() / whole;
        let mut pools: Vec<Pool> = Vec::new();
        for equal in rows.chunk_by(|a, b| a.0 == b.0) {
            let mut pool = Pool {
                first: equal[0].0,
                last: equal[0].0,
                yes: equal.iter().map(|row| row.1).sum(),
                weight: equal.iter().map(|row| row.2).sum(),
            };
            while let Some(before) = pools.pop_if(|before| before.mean() >= pool.mean()) {
                pool = Pool {
                    first: before.first,
                    last: pool.last,
                    yes: before.yes + pool.yes,
                    weight: before.weight + pool.weight,
                };
            }
            pools.push(pool);
        }
        // Two rows of the whole's proportion; what was in order may be so no longer where pools are small.
        let mut points: Vec<(f64, f64)> = Vec::with_capacity(2 * pools.len());
        let mut least: f64 = 0.0;
        for pool in &pools {
            least = least.max((pool.yes + 2.0 * share) / (pool.weight + 2.0));
            points.push((pool.first, least));
            if pool.last > pool.first {
                points.push((pool.last, least));
            }
        }
        Some(Self { points })
    }

    /// The probability that belongs to a score.
    pub fn probability(&self, score: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 < score);
        match (after.checked_sub(1).and_then(|before| self.points.get(before)), self.points.get(after)) {
            (None, Some(only)) | (Some(only), None) => only.1,
            (Some(before), Some(after)) => {
                let part = (score - before.0) / (after.0 - before.0);
                before.1 + part * (after.1 - before.1)
            }
            (None, None) => f64::NAN,
        }
    }
}

/// Neighbouring scores with one probability.
#[derive(Debug, Clone, Copy)]
struct Pool {
    first: f64,
    last: f64,
    yes: f64,
    weight: f64,
}

impl Pool {
    fn mean(&self) -> f64 {
        self.yes / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_the_wrong_order_are_pooled() {
        let scores = [0.1, 0.2, 0.3, 0.4, 0.5];
        let answers = [false, true, false, true, true];
        let map = Calibration::fit(&scores, &answers, &[1.0; 5]).unwrap();
        // Pools: {0.1}, {0.2, 0.3}, {0.4, 0.5} with 0 of 1, 1 of 2 and 2 of 2, each with two rows of which 3/5 are yes.
        let wanted = [1.2 / 3.0, 2.2 / 4.0, 2.2 / 4.0, 3.2 / 4.0, 3.2 / 4.0];
        for (score, wanted) in scores.iter().zip(wanted) {
            assert!((map.probability(*score) - wanted).abs() < 1e-12, "{score}");
        }
        // Half way between two pools, and beyond the ends.
        assert!((map.probability(0.35) - 0.675).abs() < 1e-12);
        assert_eq!((map.probability(-1.0), map.probability(9.0)), (map.probability(0.1), map.probability(0.5)));
    }

    #[test]
    fn a_higher_score_is_never_less_probable() {
        let scores: Vec<f64> = (0..200).map(|row| f64::from(row * 37 % 101)).collect();
        let answers: Vec<bool> = (0..200).map(|row| row * 61 % 7 < 3).collect();
        let map = Calibration::fit(&scores, &answers, &vec![1.0; 200]).unwrap();
        let on = |step: u32| map.probability(f64::from(step) / 4.0);
        assert!((1..500).all(|step| on(step) >= on(step - 1) && (0.0..=1.0).contains(&on(step))));
    }

    #[test]
    fn scores_that_tell_nothing_give_the_share_of_the_whole() {
        let map = Calibration::fit(&[0.5; 4], &[true, false, false, false], &[1.0; 4]).unwrap();
        assert!((map.probability(0.5) - 0.25).abs() < 1e-12);
        assert_eq!(Calibration::fit(&[], &[], &[]), None);
        assert_eq!(Calibration::fit(&[f64::NAN], &[true], &[1.0]), None);
    }
}
