//! Isolation forests and decision trees: fitting, scores and probabilities, and what they come from.
//!
//! Tables are `ndarray` views of `f64` with one row for each thing judged (a task, a stage attempt, a run) and one column
//! for each feature. A missing value is `NaN`; infinite values are refused. Everything is deterministic: equal input and
//! seed give equal models and scores, bit by bit, with any number of threads.
//!
//! Models and their parameters implement linfa's [`Fit`](linfa::traits::Fit) and
//! [`PredictInplace`](linfa::traits::PredictInplace), and can be used without.

#![expect(
    clippy::float_cmp,
    reason = "values that are the same number are one threshold; nothing is compared that was rounded on two ways"
)]

pub mod calibration;
pub mod decision_tree;
mod error;
pub mod isolation_forest;
mod linfa_traits;
pub mod metrics;
mod nodes;
mod onnx;
pub mod others;
mod random;
pub mod random_forest;
mod shap;
mod table;

pub use decision_tree::{DecisionTree, DecisionTreeParams};
pub use error::LearnError;
pub use isolation_forest::{IsolationForest, IsolationForestParams};
pub use random_forest::{RandomForest, RandomForestParams};
