//! `recording.json`: what was recorded, how, and what was not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::clocks::ClockPair;
use crate::plan::Lack;

/// The manifest's version: fields are added to it, never changed in meaning.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// What a recording is of. Written last: without it, a recording is not finished.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// 1.
    pub schema_version: u32,
    /// The version of Emberscope that recorded.
    pub emberscope_version: &'static str,
    /// The user's command.
    pub command: Vec<String>,
    /// The command that ran, with what was added.
    pub ran: Vec<String>,
    /// Variables that it got besides.
    pub environment: BTreeMap<String, String>,
    /// How much the kernel told: `light` or `full`.
    pub profile: &'static str,
    /// One task in so many emitted tracepoints.
    pub sample: u64,
    /// Whether traces stayed in memory until something went wrong.
    pub ring_buffer: bool,
    /// The machine's name.
    pub host: String,
    /// Its boot, which the monotonic clock counts from; null where it cannot be read.
    pub boot_id: Option<String>,
    /// The kernel's release.
    pub kernel_release: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// Bytes of a page.
    pub page_size_bytes: usize,
    /// Milliseconds since 1970 when tracing had begun and the job was started.
    pub started_at_ms: i64,
    /// Milliseconds since 1970 when the job had ended.
    pub ended_at_ms: i64,
    /// What the job exited with; null when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended the job.
    pub signal: Option<i32>,
    /// Whether Emberscope was told to stop while the job ran.
    pub interrupted: bool,
    /// Whether all that was planned is here: no trace is missing, was cut short or lost events.
    pub complete: bool,
    /// Clocks read together, when the job started and when it had ended.
    pub clocks: Vec<ClockPair>,
    /// The traces, in the order that they were taken in. None with a ring buffer when nothing went wrong.
    pub tracers: Vec<Trace>,
    /// Why ring buffers were written: `failed`, `slow` or `asked`, one for each time.
    pub snapshots: Vec<&'static str>,
    /// The event logs of the run.
    pub event_logs: Vec<RecordedLog>,
    /// What was asked for and not possible on this machine.
    pub not_possible: Vec<Lack>,
    /// What went wrong in recording.
    pub issues: Vec<String>,
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Who recorded it.
    pub kind: Tracer,
    /// Its folder (CTF), relative to the manifest.
    pub folder: PathBuf,
    /// Events in it; null where the tracer does not count them.
    pub events: Option<u64>,
    /// Events that came and found no room; null where it is not known.
    pub discarded_events: Option<u64>,
    /// Packets that were overwritten before they were written; null where there is no such thing.
    pub lost_packets: Option<u64>,
    /// Bytes of the folder.
    pub bytes: u64,
    /// Milliseconds since 1970 when it was stopped before the job ended; null when it was not.
    pub stopped_early_at_ms: Option<i64>,
}

/// Tracers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracer {
    /// LTTng in user space: the plugin's tracepoints.
    LttngUst,
    /// LTTng in the kernel.
    LttngKernel,
    /// perf.
    Perf,
}

/// An event log of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedLog {
    /// A path relative to the manifest where it is in the recording; else a path, or the URI of the folder that it is in.
    pub path: String,
    /// Whether it is in the recording.
    pub recorded: bool,
}
