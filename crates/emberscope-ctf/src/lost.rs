//! What a tracer could not keep, and what could not be read.

use std::path::PathBuf;

/// The most intervals that are kept for a stream; later ones are added to the last.
const MAX_INTERVALS: usize = 4096;

/// A stretch of time in which something of a stream was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostInterval {
    /// From this time on, as of events; `None` when not known.
    pub from_ns: Option<i64>,
    /// To this time.
    pub to_ns: Option<i64>,
    /// How many events; `None` where whole packets were lost, whose events nobody counted.
    pub events: Option<u64>,
    /// How many packets.
    pub packets: u64,
}

/// What was lost of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostStream {
    /// Its first file.
    pub path: PathBuf,
    /// Events that the tracer discarded, with those before the first packet.
    pub discarded_events: u64,
    /// Packets whose numbers are missing.
    pub lost_packets: u64,
    /// When.
    pub intervals: Vec<LostInterval>,
    /// Why the rest of the stream could not be read.
    pub broken: Option<String>,
}

impl LostStream {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, discarded_events: 0, lost_packets: 0, intervals: Vec::new(), broken: None }
    }

    pub(crate) fn add(&mut self, lost: LostInterval) {
        self.discarded_events = self.discarded_events.saturating_add(lost.events.unwrap_or(0));
        self.lost_packets = self.lost_packets.saturating_add(lost.packets);
        let full = self.intervals.len() >= MAX_INTERVALS;
        match self.intervals.last_mut().filter(|_| full) {
            Some(last) => {
                last.to_ns = lost.to_ns.or(last.to_ns);
                last.packets = last.packets.saturating_add(lost.packets);
                last.events = last.events.zip(lost.events).map(|(a, b)| a.saturating_add(b));
            }
            None => self.intervals.push(lost),
        }
    }
}
