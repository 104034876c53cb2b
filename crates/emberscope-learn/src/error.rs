//! What can be wrong with what a model is fitted to or asked.

use thiserror::Error;

/// Why a model was not fitted, or did not answer.
#[derive(Debug, Error)]
pub enum LearnError {
    /// The table has no rows or no columns.
    #[error("the table has {rows} rows and {columns} columns: there is nothing to learn from")]
    Empty {
        /// Rows of the table.
        rows: usize,
        /// Columns of the table.
        columns: usize,
    },
    /// A value is infinite; a missing one is `NaN`.
    #[error("row {row} has an infinite value in column {column}")]
    Infinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
    },
    /// There are not as many targets or weights as rows.
    #[error("{what}: {found} for {rows} rows")]
    Length {
        /// What there are too many or too few of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// A weight is negative, infinite or not a number, or all are 0.
    #[error("weights must be finite, none below 0 and not all 0")]
    Weights,
    /// The table has other columns than the model was fitted to.
    #[error("the model was fitted to {expected} features and the table has {found}")]
    Features {
        /// Features that the model was fitted to.
        expected: usize,
        /// Columns of the table.
        found: usize,
    },
    /// A parameter is out of its range.
    #[error("{name} is {value} and must be {range}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// What each feature adds cannot be said of slanted splits.
    #[error("what each feature adds is not known of a forest with slanted splits (extension above 0)")]
    Slanted,
    /// A learner of another crate gave up.
    #[error("{learner}: {message}")]
    Other {
        /// The crate.
        learner: &'static str,
        /// What it says.
        message: String,
    },
    /// An error of linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}
