//! How good scores and probabilities are.

use rand::RngExt;
use rayon::prelude::*;

use crate::random;

/// A point of the curve of precision over recall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operating {
    /// Rows with this score or a higher one are called yes.
    pub threshold: f64,
    /// Share of yes in truth among those called so.
    pub precision: f64,
    /// Share of those called so among yes in truth.
    pub recall: f64,
}

/// A group of rows with about the same probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reliability {
    /// Rows in the group.
    pub rows: usize,
    /// Their mean probability.
    pub probability: f64,
    /// Share of yes among them.
    pub share: f64,
}

/// Scores in descending order, equal ones together: the score, rows, and rows whose answer is yes.
fn descending(scores: &[f64], answers: &[bool]) -> Vec<(f64, usize, usize)> {
    let mut sorted: Vec<(f64, bool)> = scores.iter().copied().zip(answers.iter().copied()).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|equal| (equal[0].0, equal.len(), equal.iter().filter(|(_, answer)| *answer).count()))
        .collect()
}

/// The area under the receiver operating characteristic: the probability that a row whose answer is yes has the higher score of
/// two, a tie counting as half (Hanley and McNeil 1982). `None` where all answers are the same.
pub fn roc_auc(scores: &[f64], answers: &[bool]) -> Option<f64> {
    let yes = answers.iter().filter(|answer| **answer).count();
    let no = answers.len() - yes;
    if yes == 0 || no == 0 {
        return None;
    }
    let mut above = 0usize;
    let mut won = 0.0;
    for (_, rows, own) in descending(scores, answers) {
        // Each no of this score loses to the yes above it, and half to those of its score.
        won += (rows - own) as f64 * (above as f64 + own as f64 / 2.0);
        above += own;
    }
    Some(won / (yes as f64 * no as f64))
}

/// The curve of precision over recall, from the highest score on, one point for each score.
pub fn precision_recall(scores: &[f64], answers: &[bool]) -> Vec<Operating> {
    let yes = answers.iter().filter(|answer| **answer).count();
    if yes == 0 {
        return Vec::new();
    }
    let mut called = 0usize;
    let mut right = 0usize;
    descending(scores, answers)
        .into_iter()
        .map(|(threshold, rows, own)| {
            called += rows;
            right += own;
            Operating { threshold, precision: right as f64 / called as f64, recall: right as f64 / yes as f64 }
        })
        .collect()
}

/// The area under that curve as a sum of steps, without interpolation (average precision). `None` where no answer is yes.
pub fn average_precision(scores: &[f64], answers: &[bool]) -> Option<f64> {
    let curve = precision_recall(scores, answers);
    if curve.is_empty() {
        return None;
    }
    let before = std::iter::once(0.0).chain(curve.iter().map(|point| point.recall));
    Some(curve.iter().zip(before).map(|(point, before)| (point.recall - before) * point.precision).sum())
}

/// The mean square of what probabilities were off by (Brier 1950); `None` without rows.
pub fn brier(probabilities: &[f64], answers: &[bool]) -> Option<f64> {
    let off = |(probability, answer): (&f64, &bool)| (probability - f64::from(u8::from(*answer))).powi(2);
    let count = answers.len();
    (count > 0).then(|| probabilities.iter().zip(answers).map(off).sum::<f64>() / count as f64)
}

/// How often yes was right where its probability was said to be so large: rows in `groups` groups of equal width, those without
/// rows left out.
pub fn reliability(probabilities: &[f64], answers: &[bool], groups: usize) -> Vec<Reliability> {
    let groups = groups.max(1);
    let mut sums = vec![(0usize, 0.0, 0usize); groups];
    for (&probability, &answer) in probabilities.iter().zip(answers) {
        let group = ((probability * groups as f64) as usize).min(groups - 1);
        let (rows, sum, yes) = &mut sums[group];
        *rows += 1;
        *sum += probability;
        *yes += usize::from(answer);
    }
    let filled = sums.into_iter().filter(|(rows, ..)| *rows > 0);
    filled
        .map(|(rows, sum, yes)| Reliability { rows, probability: sum / rows as f64, share: yes as f64 / rows as f64 })
        .collect()
}

/// Wilson's interval of a share: between which values the share of all such rows lies with 95 % (Wilson 1927). `None` without rows.
pub fn wilson(part: u64, whole: u64) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_963_984_540_054;
    if whole == 0 {
        return None;
    }
    let (n, share) = (whole as f64, part as f64 / whole as f64);
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

/// The 95 % interval of a figure over sets of rows like this one: its quantiles over sets that are drawn from the rows with putting
/// back (Efron 1979). `statistic` is given the places of the rows that were drawn; `None` where it never says anything.
pub fn bootstrap(
    rows: usize,
    times: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
) -> Option<(f64, f64)> {
    if rows == 0 {
        return None;
    }
    let drawn = |index: usize| {
        let mut random = random::stream(seed, index);
        let places: Vec<usize> = (0..rows).map(|_| random.random_range(0..rows)).collect();
        statistic(&places)
    };
    let mut values: Vec<f64> = (0..times).into_par_iter().filter_map(drawn).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len().max(1) - 1) as f64 * share).round() as usize).copied();
    Some((at(0.025)?, at(0.975)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: [bool; 6] = [true, false, true, true, false, false];

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        // Yes: 0.9, 0.6, 0.4; no: 0.7, 0.4, 0.1. Of nine pairs: 0.9 wins 3, 0.6 wins 2, 0.4 wins 1 and ties with one.
        let scores = [0.9, 0.7, 0.6, 0.4, 0.4, 0.1];
        assert!((roc_auc(&scores, &ANSWERS).unwrap() - 6.5 / 9.0).abs() < 1e-15);
        assert_eq!(roc_auc(&[1.0, 1.0], &[true, false]), Some(0.5));
        assert_eq!(roc_auc(&[1.0, 2.0], &[true, true]), None);
    }

    #[test]
    fn average_precision_sums_the_steps_of_recall() {
        let scores = [0.9, 0.7, 0.6, 0.4, 0.4, 0.1];
        // Recall rises by a third at 1 of 1, 2 of 3 and (with a tie) 3 of 5.
        let wanted = (1.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0;
        assert!((average_precision(&scores, &ANSWERS).unwrap() - wanted).abs() < 1e-15);
        let curve = precision_recall(&scores, &ANSWERS);
        assert_eq!(curve.len(), 5);
        assert_eq!(curve[2], Operating { threshold: 0.6, precision: 2.0 / 3.0, recall: 2.0 / 3.0 });
        assert_eq!(average_precision(&[0.1], &[false]), None);
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // 8 of 10: 0.490 to 0.943 by Wilson's formula, worked out by hand.
        let (low, high) = wilson(8, 10).unwrap();
        assert!((low - 0.4902).abs() < 1e-4 && (high - 0.9433).abs() < 1e-4, "{low} {high}");
        assert_eq!(wilson(0, 0), None);
        assert!(wilson(0, 5).unwrap().0.abs() < 1e-12);
        // The mean of 100 rows, half of them 1: its deviation is 0.05, and 1.96 of them are 0.098.
        let mean = |places: &[usize]| Some(places.iter().filter(|at| **at < 50).count() as f64 / places.len() as f64);
        let (low, high) = bootstrap(100, 2_000, 1, mean).unwrap();
        assert!((low - 0.402).abs() < 0.03 && (high - 0.598).abs() < 0.03, "{low} {high}");
        assert_eq!(bootstrap(100, 2_000, 1, mean), Some((low, high)));
        assert_eq!(bootstrap(10, 5, 1, |_| None), None);
    }

    #[test]
    fn probabilities_are_judged_by_what_happened() {
        let probabilities = [0.1, 0.15, 0.9, 1.0];
        let answers = [false, true, true, true];
        let off = (0.01 + 0.7225 + 0.01 + 0.0) / 4.0;
        assert!((brier(&probabilities, &answers).unwrap() - off).abs() < 1e-15);
        let groups = reliability(&probabilities, &answers, 5);
        assert_eq!(groups.iter().map(|group| (group.rows, group.share)).collect::<Vec<_>>(), [(2, 0.5), (2, 1.0)]);
        assert!((groups[1].probability - 0.95).abs() < 1e-15);
    }
}
