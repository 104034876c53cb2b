//! What was read, and how much of it was understood.

use serde::Serialize;

/// One source of a run and the account of its events: every event is read, unknown or lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// `event-log` for now.
    pub kind: String,
    /// Where it was read from, as the user named it.
    pub path: String,
    /// The compressions of its parts by Spark's names (`plain`, `zstd`, ...), each once.
    pub codecs: Vec<String>,
    /// How many parts (files or archive members) it has.
    pub parts: u64,
    /// Events read and understood.
    pub events_read: u64,
    /// Events of a kind that is not known.
    pub events_unknown: u64,
    /// Lines that held no readable event.
    pub events_lost: u64,
    /// Bytes as stored; `None` for a stream whose length is not known.
    pub bytes: Option<u64>,
    /// Bytes after decompression.
    pub bytes_decompressed: u64,
    /// Whether it ends in the middle of a line, frame or part.
    pub truncated: bool,
}
