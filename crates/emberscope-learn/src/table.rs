//! Checks of tables, and their rows as slices.

use std::borrow::Cow;

use ndarray::{ArrayBase, ArrayView2, Data, Ix2};

use crate::LearnError;

/// Refuses empty tables and infinite values.
pub(crate) fn check(table: ArrayView2<'_, f64>) -> Result<(), LearnError> {
    let (rows, columns) = table.dim();
    if rows == 0 || columns == 0 {
        return Err(LearnError::Empty { rows, columns });
    }
    // In parts without a way out of them, which the compiler makes into vectors.
    let is_finite = |part: &[f64]| !part.iter().fold(false, |found, value| found | (value.abs() == f64::INFINITY));
    if table.as_slice().is_some_and(|values| values.chunks(1024).all(is_finite)) {
        return Ok(());
    }
    match table.indexed_iter().find(|(_, value)| value.is_infinite()) {
        Some(((row, column), _)) => Err(LearnError::Infinite { row, column }),
        None => Ok(()),
    }
}

/// Refuses tables that are not of a model's features, and infinite values.
pub(crate) fn check_for(table: ArrayView2<'_, f64>, features: usize) -> Result<(), LearnError> {
    check_columns(table, features)?;
    if table.nrows() == 0 { Ok(()) } else { check(table) }
}

/// Refuses tables that are not of a model's features.
pub(crate) fn check_columns(table: ArrayView2<'_, f64>, features: usize) -> Result<(), LearnError> {
    if table.ncols() == features {
        Ok(())
    } else {
        Err(LearnError::Features { expected: features, found: table.ncols() })
    }
}

/// All values, row by row: borrowed where they lie like that.
pub(crate) fn row_major<D: Data<Elem = f64>>(table: &ArrayBase<D, Ix2>) -> Cow<'_, [f64]> {
    match table.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(table.iter().copied().collect()),
    }
}

/// Refuses what there is not one of for each row.
pub(crate) fn check_lengths(rows: usize, columns: &[(&'static str, usize)]) -> Result<(), LearnError> {
    match columns.iter().find(|(_, found)| *found != rows) {
        Some(&(what, found)) => Err(LearnError::Length { what, found, rows }),
        None => Ok(()),
    }
}

/// Refuses weights that are negative or no finite numbers, or whose sum is 0 or none.
pub(crate) fn check_weights(weights: &[f64]) -> Result<(), LearnError> {
    let whole: f64 = weights.iter().sum();
    let each = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
    if each && whole > 0.0 && whole.is_finite() { Ok(()) } else { Err(LearnError::Weights) }
}
