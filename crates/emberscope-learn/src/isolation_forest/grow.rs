//! How a tree grows.

use rand::RngExt;
use rand::seq::index;
use rand_distr::{Distribution, StandardNormal};

use super::{At, Direction, IsolationTree, Node, Split};
use crate::random::Random;

/// Draws rows without putting back, in ascending order.
pub(super) fn sample(random: &mut Random, rows: usize, samples: usize) -> Vec<u32> {
    let mut drawn: Vec<u32> = index::sample(random, rows, samples).into_iter().map(|row| row as u32).collect();
    drawn.sort_unstable();
    drawn
}

/// Grows a tree on rows of a table that lies row by row.
pub(super) fn tree(
    values: &[f64],
    features: usize,
    mut rows: Vec<u32>,
    extension: usize,
    random: &mut Random,
) -> IsolationTree {
    let limit = depth_limit(rows.len());
    // The rows lie all over a large table: side by side they are found again more quickly.
    let own: Vec<f64> = rows.iter().flat_map(|&row| &values[row as usize * features..][..features]).copied().collect();
    let table = Table { values: &own, features };
    rows.iter_mut().enumerate().for_each(|(place, row)| *row = place as u32);
    let mut nodes = vec![Node { rows: rows.len() as u32, split: None }];
    let mut open = vec![(0usize, 0usize, rows.len(), 0u32)];
    let mut order: Vec<u32> = (0..features as u32).collect();
    while let Some((node, from, to, depth)) = open.pop() {
        let here = rows.get_mut(from..to).unwrap_or_default();
        if here.len() < 2 || depth >= limit {
            continue;
        }
        let at = if extension == 0 {
            axis(table, here, &mut order, random)
        } else {
            slant(table, here, extension, &mut order, random)
        };
        let Some(at) = at else { continue };
        let middle = from + divide(table, here, &at, random);
        // A slanted split need not divide: a point of its box may lie beyond all rows. Another is drawn in the child, as in the
        // paper; the depth bounds that.
        let left = nodes.len();
        nodes.push(Node { rows: (middle - from) as u32, split: None });
        nodes.push(Node { rows: (to - middle) as u32, split: None });
        if let Some(node) = nodes.get_mut(node) {
            node.split = Some(Split { left: left as u32, at });
        }
        open.push((left + 1, middle, to, depth + 1));
        open.push((left, from, middle, depth + 1));
    }
    IsolationTree { nodes }
}

/// The depth of a balanced tree of so many rows.
fn depth_limit(rows: usize) -> u32 {
    rows.max(1).next_power_of_two().trailing_zeros()
}

#[derive(Clone, Copy)]
struct Table<'a> {
    values: &'a [f64],
    features: usize,
}

impl Table<'_> {
    fn value(self, row: u32, feature: u32) -> f64 {
        self.values.get(row as usize * self.features + feature as usize).copied().unwrap_or(f64::NAN)
    }

    /// The least and the largest value that is not missing; `None` where they are one or there is none.
    fn range(self, rows: &[u32], feature: u32) -> Option<(f64, f64)> {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for &row in rows {
            let value = self.value(row, feature);
            // Comparisons with a missing value are false.
            if value < least {
                least = value;
            }
            if value > most {
                most = value;
            }
        }
        (least < most).then_some((least, most))
    }
}

/// A place between two numbers: the first may come out, the last not.
fn between(random: &mut Random, least: f64, most: f64) -> f64 {
    let part: f64 = random.random();
    // The difference may be too large for a number; halves of it are not.
    let at = least + (most / 2.0 - least / 2.0) * part * 2.0;
    if at >= most || !at.is_finite() { least } else { at.max(least) }
}

/// A split of one feature drawn from those with more than one value; `None` where there is none.
fn axis(table: Table<'_>, rows: &[u32], order: &mut [u32], random: &mut Random) -> Option<At> {
    // Features are drawn until one has more than one value, none twice.
    for drawn in 0..order.len() {
        order.swap(drawn, random.random_range(drawn..order.len()));
        let feature = *order.get(drawn)?;
        if let Some((least, most)) = table.range(rows, feature) {
            return Some(At::Axis { feature, threshold: between(random, least, most) });
        }
    }
    None
}

/// A plane through a point of the box around the rows, with a normal of `extension + 1` features; `None` where all rows are equal.
fn slant(table: Table<'_>, rows: &[u32], extension: usize, order: &mut [u32], random: &mut Random) -> Option<At> {
    let mut normal = Vec::with_capacity(extension + 1);
    for drawn in 0..order.len() {
        order.swap(drawn, random.random_range(drawn..order.len()));
        let feature = *order.get(drawn)?;
        if let Some((least, most)) = table.range(rows, feature) {
            let weight: f64 = StandardNormal.sample(random);
            normal.push(Direction { feature, weight, origin: between(random, least, most) });
            if normal.len() > extension {
                break;
            }
        }
    }
    normal.sort_by_key(|direction| direction.feature);
    (!normal.is_empty()).then_some(At::Slant { normal })
}

/// Puts the rows that go to the left before the others; says how many they are.
fn divide(table: Table<'_>, rows: &mut [u32], at: &At, random: &mut Random) -> usize {
    let sides: Vec<Option<bool>> = rows.iter().map(|&row| right(at, |feature| table.value(row, feature))).collect();
    let known = sides.iter().flatten().count().max(1);
    let share = sides.iter().flatten().filter(|&&right| right).count() as f64 / known as f64;
    let mut left = Vec::with_capacity(rows.len());
    let mut others = Vec::with_capacity(rows.len());
    for (&row, side) in rows.iter().zip(sides) {
        let right = side.unwrap_or_else(|| random.random::<f64>() < share);
        if right { others.push(row) } else { left.push(row) }
    }
    let middle = left.len();
    for (slot, row) in rows.iter_mut().zip(left.into_iter().chain(others)) {
        *slot = row;
    }
    middle
}

/// Whether a row goes to the right of a split; `None` where its values there are missing.
pub(super) fn right(at: &At, value: impl Fn(u32) -> f64) -> Option<bool> {
    match at {
        At::Axis { feature, threshold } => {
            let value = value(*feature);
            (!value.is_nan()).then_some(value > *threshold)
        }
        At::Slant { normal } => {
            // What is missing lies on the plane.
            let part = |direction: &Direction| {
                let value = value(direction.feature);
                (!value.is_nan()).then_some(direction.weight * (value - direction.origin))
            };
            normal.iter().filter_map(part).reduce(|sum, part| sum + part).map(|sum| sum > 0.0)
        }
    }
}
