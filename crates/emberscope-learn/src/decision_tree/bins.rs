//! The values of large tables in 255 bins a feature.

use rand::seq::index;
use rayon::prelude::*;

use super::grow::{Data, between};
use crate::random::Random;

/// Bins of a feature, that of missing values among them.
pub(super) const BINS: usize = 256;
/// The code of a missing value.
pub(super) const MISSING: u8 = 255;
/// Rows that the edges are taken from.
const SAMPLE: usize = 1 << 15;
/// Columns that are gone through together: as many as one line of the cache has values.
const TOGETHER: usize = 8;

/// The bin of each value.
pub(super) struct Bins {
    rows: usize,
    /// Column by column.
    codes: Vec<u8>,
    /// The thresholds between a feature's bins: values up to `edges[bin]` are in that bin or one before.
    edges: Vec<Vec<f64>>,
}

impl Bins {
    pub(super) fn of(data: &Data<'_>, rows: &[u32], random: &mut Random) -> Self {
        let count = data.answers.len();
        let sample: Vec<u32> = if rows.len() <= SAMPLE {
            rows.to_vec()
        } else {
            let mut drawn = index::sample(random, rows.len(), SAMPLE).into_vec();
            drawn.sort_unstable();
            drawn.into_iter().map(|at| rows[at]).collect()
        };
        let mut codes = vec![0u8; count * data.features];
        let edges: Vec<Vec<Vec<f64>>> = codes
            .par_chunks_mut(count * TOGETHER)
            .enumerate()
            .map(|(group, codes)| {
                let first = group * TOGETHER;
                let columns = codes.len() / count;
                let edges: Vec<Vec<f64>> =
                    (first..first + columns).map(|feature| edges(data, &sample, feature)).collect();
                for row in 0..count {
                    let values = &data.values[row * data.features + first..][..columns];
                    for (column, (&value, edges)) in values.iter().zip(&edges).enumerate() {
                        codes[column * count + row] = code(edges, value);
                    }
                }
                edges
            })
            .collect();
        Self { rows: count, codes, edges: edges.into_iter().flatten().collect() }
    }

    /// The bins of a feature's values, by row.
    pub(super) fn codes(&self, feature: usize) -> &[u8] {
        &self.codes[feature * self.rows..][..self.rows]
    }

    /// The thresholds between a feature's bins.
    pub(super) fn edges(&self, feature: usize) -> &[f64] {
        &self.edges[feature]
    }
}

fn code(edges: &[f64], value: f64) -> u8 {
    if value.is_nan() { MISSING } else { edges.partition_point(|&edge| edge < value) as u8 }
}

/// Thresholds that part a feature's values into at most 255 bins of about as many rows; between all values where they are few.
fn edges(data: &Data<'_>, sample: &[u32], feature: usize) -> Vec<f64> {
    let mut values: Vec<f64> = sample
        .iter()
        .map(|&row| data.values[row as usize * data.features + feature])
        .filter(|value| !value.is_nan())
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let parts = usize::from(MISSING);
    let distinct: Vec<f64> = values.chunk_by(|a, b| a == b).map(|equal| equal[0]).take(parts + 1).collect();
    if distinct.len() <= parts {
        return distinct.windows(2).map(|pair| between(pair[0], pair[1])).collect();
    }
    let mut edges: Vec<f64> = (1..parts)
        .filter_map(|part| {
            let at = part * values.len() / parts;
            (values[at - 1] < values[at]).then(|| between(values[at - 1], values[at]))
        })
        .collect();
    edges.dedup();
    edges
}
