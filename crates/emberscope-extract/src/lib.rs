//! From event logs (and REST, and traces) to runs, and from runs to feature tables.
//!
//! Two halves that do not know each other: [`sources`] read bytes and give an [`emberscope_run::Run`]; [`features`]
//! take a run and give numbers. Only the tables (feature `tables`) use Polars.

pub mod features;
pub mod sources;
#[cfg(feature = "tables")]
pub mod tables;
