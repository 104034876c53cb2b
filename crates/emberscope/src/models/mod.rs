//! Models: decision trees for the problems of the vocabulary, and isolation forests for what is unlike healthy runs.
//!
//! [`train`] makes them from labelled runs, [`Models`] reads and writes them, and a diagnosis uses them beside the rules.

mod artefact;
mod choice;
mod examples;
mod fit;
mod folds;
#[cfg(feature = "tables")]
mod from_tables;
mod inputs;
mod join;
mod judging;
mod level;
mod observe;
mod train;
mod usual;

pub use artefact::{
    AnomalyModel, FORMAT, Flagged, Manifest, ModelError, ModelInput, Models, ProblemModel, Unusual, UsualInput,
};
pub use choice::ModelChoice;
pub use examples::ObservedRun;
pub use fit::{Alone, Fitted, Learner};
#[cfg(feature = "tables")]
pub use from_tables::observe_tables;
pub use inputs::{Input, Scale, inputs, left_out};
pub use join::Said;
pub(crate) use join::join;
pub use judging::{Added, Validated};
pub use level::{Level, RowKey};
pub use observe::{Observations, Whole};
pub use train::{PAYS, TrainError, TrainOptions, observe, train};
pub use usual::usual;
