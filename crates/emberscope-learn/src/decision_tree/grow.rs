//! How a tree grows: the best split of each node.

use rand::RngExt;
use rayon::prelude::*;

use super::bins::{BINS, Bins, MISSING};
use super::{DecisionTreeParams, Node, Split};
use crate::random::{self, Random};

/// What a tree is grown on.
pub(super) struct Data<'a> {
    /// Row by row.
    pub(super) values: &'a [f64],
    pub(super) features: usize,
    pub(super) answers: &'a [bool],
    pub(super) weights: &'a [f64],
}

impl Data<'_> {
    fn value(&self, row: u32, feature: usize) -> f64 {
        self.values[row as usize * self.features + feature]
    }

    /// The weight of a row, and the same where its answer is yes, else 0.
    fn weighed(&self, row: u32) -> (f64, f64) {
        let weight = self.weights[row as usize];
        (weight, if self.answers[row as usize] { weight } else { 0.0 })
    }
}

/// Rows, their weight, and the weight of those whose answer is yes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    rows: u32,
    weight: f64,
    yes: f64,
}

impl Sum {
    fn add(&mut self, weight: f64, yes: f64) {
        self.rows += 1;
        self.weight += weight;
        self.yes += yes;
    }

    fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, weight: self.weight + other.weight, yes: self.yes + other.yes }
    }

    fn without(self, other: Self) -> Self {
        let rows = self.rows - other.rows;
        if rows == 0 {
            return Self::default();
        }
        Self { rows, weight: self.weight - other.weight, yes: self.yes - other.yes }
    }

    /// What is to be as large as it can be for both sides of a split together: the squares of the answers' weights over the whole.
    fn purity(self) -> f64 {
        let no = self.weight - self.yes;
        (self.yes * self.yes + no * no) / self.weight
    }
}

/// A split that could be made.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    purity: f64,
    feature: u32,
    threshold: f64,
    /// The last bin of the left side, where there are bins.
    bin: u8,
    missing_right: bool,
    missing_rows: u32,
}

/// Looks for the best of a feature's splits, over thresholds in ascending order.
struct Search {
    feature: u32,
    missing: Sum,
    known: Sum,
    min_rows: u32,
    best: Option<Candidate>,
}

impl Search {
    /// Tries the rows known to be up to a threshold against the others, the missing on either side.
    fn try_at(&mut self, left: Sum, threshold: f64, bin: u8) {
        let right = self.known.without(left);
        if right.rows == 0 && threshold < f64::MAX {
            // All that is known is on one side: that is no split of values.
            return;
        }
        let sides: &[bool] = match self.missing.rows {
            // Those to come go where more went.
            0 if right.weight > left.weight => &[true],
            0 => &[false],
            _ => &[false, true],
        };
        for &missing_right in sides {
            let (left, right) =
                if missing_right { (left, right.and(self.missing)) } else { (left.and(self.missing), right) };
            if left.rows < self.min_rows || right.rows < self.min_rows || left.weight <= 0.0 || right.weight <= 0.0 {
                continue;
            }
            let purity = left.purity() + right.purity();
            if self.best.is_none_or(|best| purity > best.purity) {
                let (feature, missing_rows) = (self.feature, self.missing.rows);
                self.best = Some(Candidate { purity, feature, threshold, bin, missing_right, missing_rows });
            }
        }
    }
}

/// Grows a tree's nodes.
pub(super) fn tree(data: &Data<'_>, params: &DecisionTreeParams) -> Vec<Node> {
    let mut rows: Vec<u32> = (0..data.answers.len() as u32).filter(|&row| data.weights[row as usize] > 0.0).collect();
    let mut random = random::stream(params.seed, 0);
    let bins = (rows.len() > params.exact_rows).then(|| Bins::of(data, &rows, &mut random));
    let mut nodes = vec![node(data, &rows)];
    let mut features: Vec<u32> = (0..data.features as u32).collect();
    let mut open = vec![Open { node: 0, from: 0, to: rows.len(), depth: 0, histogram: None }];
    while let Some(Open { node: at, from, to, depth, histogram }) = open.pop() {
        let own = &mut rows[from..to];
        let Node { weight, yes, .. } = nodes[at];
        let pure = yes <= 0.0 || yes >= weight;
        if depth >= params.max_depth || pure || own.len() < 2 * params.min_leaf_rows {
            continue;
        }
        let drawn = drawn(&mut features, params.features_per_split, &mut random);
        let (found, histogram) = match &bins {
            None => (exact(data, own, drawn, params), None),
            Some(bins) => {
                let histogram = histogram.unwrap_or_else(|| Histogram::of(data, bins, own));
                (histogram.best(bins, drawn, params), Some(histogram))
            }
        };
        let Some(found) = found else { continue };
        let middle = from + divide(data, bins.as_ref(), own, &found);
        let left = nodes.len();
        nodes[at].split = Some(Split {
            feature: found.feature,
            threshold: found.threshold,
            missing_right: found.missing_right,
            missing_rows: found.missing_rows,
            left: left as u32,
        });
        nodes.push(node(data, &rows[from..middle]));
        nodes.push(node(data, &rows[middle..to]));
        // Only the smaller side is counted, the other is what is left; and neither where nothing will be divided.
        let last = depth + 1 >= params.max_depth;
        let histograms = match (&bins, histogram) {
            (Some(bins), Some(whole)) if !last => {
                let small_left = middle - from <= to - middle;
                let smaller =
                    Histogram::of(data, bins, if small_left { &rows[from..middle] } else { &rows[middle..to] });
                let other = whole.without(&smaller);
                if small_left { (Some(smaller), Some(other)) } else { (Some(other), Some(smaller)) }
            }
            _ => (None, None),
        };
        open.push(Open { node: left + 1, from: middle, to, depth: depth + 1, histogram: histograms.1 });
        open.push(Open { node: left, from, to: middle, depth: depth + 1, histogram: histograms.0 });
    }
    nodes
}

/// A node that may be divided.
struct Open {
    node: usize,
    from: usize,
    to: usize,
    depth: u32,
    histogram: Option<Histogram>,
}

fn node(data: &Data<'_>, rows: &[u32]) -> Node {
    let sum = rows.iter().fold(Sum::default(), |mut sum, &row| {
        let (weight, yes) = data.weighed(row);
        sum.add(weight, yes);
        sum
    });
    Node { rows: u64::from(sum.rows), weight: sum.weight, yes: sum.yes, split: None }
}

/// The features that a split may be of, in ascending order.
fn drawn<'a>(features: &'a mut [u32], count: Option<usize>, random: &mut Random) -> &'a [u32] {
    let Some(count) = count.filter(|&count| count < features.len()) else {
        features.sort_unstable();
        return features;
    };
    for at in 0..count {
        let other = random.random_range(at..features.len());
        features.swap(at, other);
    }
    let drawn = &mut features[..count];
    drawn.sort_unstable();
    drawn
}

/// The best of some features' candidates; the first of equal ones.
fn best(candidates: impl Iterator<Item = Option<Candidate>>) -> Option<Candidate> {
    candidates.flatten().reduce(|best, next| if next.purity > best.purity { next } else { best })
}

/// The best split over all thresholds between two values.
fn exact(data: &Data<'_>, rows: &[u32], features: &[u32], params: &DecisionTreeParams) -> Option<Candidate> {
    let of = |&feature: &u32| {
        let mut known: Vec<(f64, f64, f64)> = Vec::with_capacity(rows.len());
        let mut search = Search {
            feature,
            missing: Sum::default(),
            known: Sum::default(),
            min_rows: params.min_leaf_rows as u32,
            best: None,
        };
        for &row in rows {
            let value = data.value(row, feature as usize);
            let (weight, yes) = data.weighed(row);
            if value.is_nan() {
                search.missing.add(weight, yes);
            } else {
                search.known.add(weight, yes);
                known.push((value, weight, yes));
            }
        }
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut left = Sum::default();
        for (index, &(value, weight, yes)) in known.iter().enumerate() {
            left.add(weight, yes);
            if let Some(&(next, ..)) = known.get(index + 1)
                && value < next
            {
                search.try_at(left, between(value, next), 0);
            }
        }
        if search.missing.rows > 0 && search.known.rows > 0 {
            search.try_at(search.known, f64::MAX, 0);
        }
        search.best
    };
    let many = rows.len() * features.len() > 1 << 14;
    if many { best(features.par_iter().map(of).collect::<Vec<_>>().into_iter()) } else { best(features.iter().map(of)) }
}

/// A number from the first on and below the second, half way where that is one.
pub(super) fn between(value: f64, next: f64) -> f64 {
    let middle = value / 2.0 + next / 2.0;
    if middle >= next || middle < value { value } else { middle }
}

/// The sums of each feature's bins at a node.
struct Histogram {
    bins: Vec<[Sum; BINS]>,
}

impl Histogram {
    fn of(data: &Data<'_>, bins: &Bins, rows: &[u32]) -> Self {
        let weighed: Vec<(u32, f64, f64)> = rows
            .iter()
            .map(|&row| {
                let (weight, yes) = data.weighed(row);
                (row, weight, yes)
            })
            .collect();
        let of = |feature: usize| {
            let codes = bins.codes(feature);
            let mut sums = [Sum::default(); BINS];
            for &(row, weight, yes) in &weighed {
                sums[usize::from(codes[row as usize])].add(weight, yes);
            }
            sums
        };
        let bins = if rows.len() > 1 << 10 {
            (0..data.features).into_par_iter().map(of).collect()
        } else {
            (0..data.features).map(of).collect()
        };
        Self { bins }
    }

    fn without(mut self, other: &Self) -> Self {
        for (own, other) in self.bins.iter_mut().zip(&other.bins) {
            for (own, other) in own.iter_mut().zip(other) {
                *own = own.without(*other);
            }
        }
        self
    }

    fn best(&self, bins: &Bins, features: &[u32], params: &DecisionTreeParams) -> Option<Candidate> {
        best(features.iter().map(|&feature| {
            let sums = &self.bins[feature as usize];
            let edges = bins.edges(feature as usize);
            let missing = sums[usize::from(MISSING)];
            let known = sums[..=edges.len()].iter().fold(Sum::default(), |sum, bin| sum.and(*bin));
            let mut search = Search { feature, missing, known, min_rows: params.min_leaf_rows as u32, best: None };
            let mut left = Sum::default();
            for (bin, (sum, &edge)) in sums.iter().zip(edges).enumerate() {
                if sum.rows == 0 {
                    // The same rows as one bin before.
                    continue;
                }
                left = left.and(*sum);
                search.try_at(left, edge, bin as u8);
            }
            if missing.rows > 0 && known.rows > 0 {
                search.try_at(known, f64::MAX, edges.len() as u8);
            }
            search.best
        }))
    }
}

/// Puts the rows of the left side before the others, each in their order; says how many they are.
fn divide(data: &Data<'_>, bins: Option<&Bins>, rows: &mut [u32], found: &Candidate) -> usize {
    let feature = found.feature as usize;
    let right = |row: u32| match bins {
        None => {
            let value = data.value(row, feature);
            if value.is_nan() { found.missing_right } else { value > found.threshold }
        }
        Some(bins) => match bins.codes(feature)[row as usize] {
            MISSING => found.missing_right,
            code => code > found.bin,
        },
    };
    let mut others = Vec::with_capacity(rows.len());
    let mut middle = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        if right(row) {
            others.push(row);
        } else {
            rows[middle] = row;
            middle += 1;
        }
    }
    rows[middle..].copy_from_slice(&others);
    middle
}
