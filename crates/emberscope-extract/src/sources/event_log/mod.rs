//! Event logs: what Spark's `EventLoggingListener` writes, of every version, framing and layout.
//!
//! [`inputs`] finds the parts of a run, [`framing`] decodes them, [`blocks`](self) cuts them into blocks of whole lines, a pull
//! parser turns each line into an event, and a builder applies the events in order to a [`Run`](emberscope_run::Run). Only the
//! last step has state, so blocks are parsed on all cores.

mod block;
mod build;
mod events;
mod json;
mod limits;
mod read;

pub mod framing;
pub mod inputs;

pub use limits::Limits;
pub use read::{ReadOptions, SourceError, read_run};

/// What one line says, for tools that look at single lines (and for fuzzing): the event's name, or why it is lost.
///
/// # Errors
///
/// When the line is not a JSON object with an event that is understood.
pub fn read_line(line: &[u8]) -> Result<String, String> {
    events::parse_line(line).map(|event| event.name().to_owned()).map_err(|error| error.to_string())
}
