//! Sources: they read bytes and give runs. Reading never computes a feature.

pub mod event_log;
pub mod trace;

pub use event_log::inputs::{self, DiscoverLimits, Discovery, InputError, InputIssue, RunInput, discover};
pub use event_log::{Limits, ReadOptions, SourceError, read_run};
pub use trace::{TraceError, TraceOptions, read_traces};
