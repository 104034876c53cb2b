//! Path lengths of rows.

use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array1;
use rayon::prelude::*;

use super::grow::right;
use super::{At, IsolationForest, IsolationTree, mean_search_length};

/// The mean path length of each row over all trees; the table lies row by row. `None` where a value is infinite.
pub(super) fn mean_path_lengths(forest: &IsolationForest, values: &[f64]) -> Option<Array1<f64>> {
    // Blocks of rows that fit into the first cache with a tree, each row with room for so many features.
    let sums = match forest.features {
        0..=64 => sums::<64, 48>(forest, values),
        65..=256 => sums::<256, 16>(forest, values),
        _ => sums::<1024, 16>(forest, values),
    };
    let trees = forest.trees.len() as f64;
    Some(Array1::from(sums?) / trees)
}

/// The path lengths of each row, summed over the trees, in blocks of `ROWS` rows with room for `ROOM` features.
fn sums<const ROOM: usize, const ROWS: usize>(forest: &IsolationForest, values: &[f64]) -> Option<Vec<f64>> {
    const { assert!(ROWS.is_multiple_of(LANES), "rows go down in full groups") };
    let features = forest.features;
    let flat: Option<Vec<FlatTree>> = forest.trees.iter().map(FlatTree::of).collect();
    let flat = flat.filter(|_| features <= ROOM);
    let mut lengths = vec![0.0; values.len() / features];
    let blocks = lengths.par_chunks_mut(ROWS).zip(values.par_chunks(ROWS * features));
    let padded = || vec![[0.0; ROOM]; ROWS];
    let infinite = AtomicBool::new(false);
    blocks.for_each_init(padded, |padded, (lengths, rows)| match &flat {
        Some(trees) if pad(rows, features, padded) => trees.iter().for_each(|tree| tree.add_lengths(padded, lengths)),
        _ => {
            if rows.iter().any(|value| value.is_infinite()) {
                infinite.store(true, Ordering::Relaxed);
            }
            for (length, row) in lengths.iter_mut().zip(rows.chunks_exact(features)) {
                *length = forest.trees.iter().map(|tree| path_length(tree, row)).sum();
            }
        }
    });
    (!infinite.into_inner()).then_some(lengths)
}

/// Puts rows at equal distances, so that no step through a tree asks how long a row is; `false` where a value is missing or infinite.
fn pad<const ROOM: usize>(rows: &[f64], features: usize, padded: &mut [[f64; ROOM]]) -> bool {
    let mut missing = false;
    for (to, row) in padded.iter_mut().zip(rows.chunks_exact(features)) {
        for (to, &value) in to.iter_mut().zip(row) {
            missing |= !value.is_finite();
            *to = value;
        }
    }
    !missing
}

/// The score of each row by the trees that were not grown on it; by all where there is no other.
pub(super) fn left_out(forest: &IsolationForest, values: &[f64], grown_on: &[Vec<u32>]) -> Vec<f64> {
    let unit = forest.unit();
    values
        .par_chunks_exact(forest.features)
        .enumerate()
        .map(|(row, values)| {
            let unknown = |sample: &Vec<u32>| sample.binary_search(&(row as u32)).is_err();
            let trees = forest.trees.iter().zip(grown_on).filter(|(_, sample)| unknown(sample));
            let (sum, count) =
                trees.fold((0.0, 0u32), |(sum, count), (tree, _)| (sum + path_length(tree, values), count + 1));
            let mean = if count > 0 {
                sum / f64::from(count)
            } else {
                forest.trees.iter().map(|tree| path_length(tree, values)).sum::<f64>() / forest.trees.len() as f64
            };
            (-mean / unit).exp2()
        })
        .collect()
}

/// The path length of a row: where a value is missing, the mean of both sides by the rows that went there.
pub(super) fn path_length(tree: &IsolationTree, row: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut open = vec![(0usize, 0u32, 1.0)];
    while let Some((at, depth, share)) = open.pop() {
        let Some(node) = tree.nodes.get(at) else { continue };
        let Some(split) = &node.split else {
            sum += share * (f64::from(depth) + mean_search_length(u64::from(node.rows)));
            continue;
        };
        let left = split.left as usize;
        match right(&split.at, |feature| row.get(feature as usize).copied().unwrap_or(f64::NAN)) {
            Some(right) => open.push((left + usize::from(right), depth + 1, share)),
            None => {
                for child in [left, left + 1] {
                    let rows = tree.nodes.get(child).map_or(0, |child| child.rows);
                    open.push((child, depth + 1, share * f64::from(rows) / f64::from(node.rows.max(1))));
                }
            }
        }
    }
    sum
}

/// A tree of splits on one feature each, as it is gone through most quickly: a leaf leads to itself, so that all rows take equally
/// many steps.
struct FlatTree {
    nodes: Vec<FlatNode>,
    /// Path length that ends at each node.
    lengths: Vec<f64>,
    height: u32,
    small: bool,
}

/// Rows that go down a tree at once.
const LANES: usize = 16;

/// Nodes of a small tree at most: one grown on 256 rows has 511.
const SMALL: usize = 512;

#[derive(Clone, Copy)]
struct FlatNode {
    threshold: f64,
    feature: u32,
    left: u32,
}

impl FlatTree {
    /// `None` where a split is slanted.
    fn of(tree: &IsolationTree) -> Option<Self> {
        let mut nodes = Vec::with_capacity(tree.nodes.len());
        let mut lengths = Vec::with_capacity(tree.nodes.len());
        let mut height = 0;
        for ((at, node), depth) in tree.nodes.iter().enumerate().zip(tree.depths()) {
            height = height.max(depth);
            lengths.push(f64::from(depth) + mean_search_length(u64::from(node.rows)));
            nodes.push(match &node.split {
                None => FlatNode { threshold: f64::INFINITY, feature: 0, left: at as u32 },
                Some(split) => {
                    let At::Axis { feature, threshold } = split.at else { return None };
                    FlatNode { threshold, feature, left: split.left }
                }
            });
        }
        // Nodes that nothing leads to, so that a small tree is an array whose indices need no check.
        let unused = FlatNode { threshold: f64::INFINITY, feature: 0, left: 0 };
        nodes.resize(nodes.len().max(SMALL), unused);
        let small = lengths.len() <= SMALL;
        Some(Self { nodes, lengths, height, small })
    }

    /// Adds the path length of each row; none has a missing value.
    fn add_lengths<const ROOM: usize>(&self, rows: &[[f64; ROOM]], lengths: &mut [f64]) {
        match self.nodes.first_chunk::<SMALL>().filter(|_| self.small) {
            Some(nodes) => self.add(rows, lengths, |at| nodes[at as usize % SMALL]),
            None => self.add(rows, lengths, |at| self.nodes[at as usize]),
        }
    }

    /// Goes down with some rows at once, whose places stay in registers.
    #[inline]
    fn add<const ROOM: usize>(&self, rows: &[[f64; ROOM]], lengths: &mut [f64], node: impl Fn(u32) -> FlatNode) {
        let (rows, _) = rows.as_chunks::<LANES>();
        for (rows, lengths) in rows.iter().zip(lengths.chunks_mut(LANES)) {
            let mut at = [0u32; LANES];
            for _ in 0..self.height {
                for (at, row) in at.iter_mut().zip(rows) {
                    let FlatNode { threshold, feature, left } = node(*at);
                    *at = left.wrapping_add(u32::from(row[feature as usize % ROOM] > threshold));
                }
            }
            for (length, at) in lengths.iter_mut().zip(at) {
                *length += self.lengths[at as usize];
            }
        }
    }
}
