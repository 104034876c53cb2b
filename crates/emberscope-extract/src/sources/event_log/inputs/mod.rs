//! Inputs: which runs a path holds, and which files (parts) each run is made of, in the order to read them.
//!
//! [`discover`] looks at names and at the first bytes of files, and reads nothing else. It knows a single file, Spark's rolling
//! `eventlog_v2_*` directories with compacted parts, Databricks' roll-over directories, zip archives of any of these (as the
//! Spark History Server serves them), and directories of many runs. A [`Part`] gives raw bytes; [`framing`](super::framing)
//! decodes them.
//!
//! One bad thing does not hide the rest: what could not be used is an [`InputIssue`] beside the runs. Entries of archives are
//! streamed; their names are never used as paths of the file system.

mod archive;
mod discover;
mod error;
mod layout;
mod names;
mod others;
mod part;

#[cfg(test)]
mod tests;

pub use discover::{DiscoverLimits, Discovery, discover};
pub use error::{InputError, InputIssue, InputIssueKind, said};
pub use names::{NameHint, natural_order};
pub use part::Part;

use std::io::Read;

/// How the parts of a run are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// One file is the whole log.
    SingleFile,
    /// Spark's rolling log: `eventlog_v2_<application>` with `events_<n>_<application>` parts.
    Rolling,
    /// Databricks' roll-over directory: `eventlog-<date>--<time>` parts and the undated `eventlog` last.
    DatabricksRollOver,
    /// A reader that was given, such as standard input.
    Stream,
}

impl InputKind {
    /// The name that reports show.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleFile => "single-file",
            Self::Rolling => "rolling",
            Self::DatabricksRollOver => "databricks-roll-over",
            Self::Stream => "stream",
        }
    }
}

/// One run (one attempt of an application), as far as names tell.
#[derive(Debug, Clone)]
pub struct RunInput {
    /// How the parts are laid out.
    pub kind: InputKind,
    /// What to show for it: the path of the file or directory; inside an archive `<archive>!<entry>`.
    pub path: String,
    /// True when it lies inside a zip archive.
    pub archived: bool,
    /// The parts in reading order; never empty.
    pub parts: Vec<Part>,
    /// True when the names say that the application was still running (`.inprogress`).
    pub in_progress: bool,
    /// Ids that the name suggests; the events decide.
    pub hint: NameHint,
    /// What is wrong with its parts: missing and doubled numbers. They are among [`Discovery::issues`] too.
    pub issues: Vec<InputIssue>,
}

impl RunInput {
    /// A run that is read from `reader`, once; `name` is shown for it (`-` for standard input).
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Self {
        Self {
            kind: InputKind::Stream,
            path: name.to_owned(),
            archived: false,
            parts: vec![Part::from_reader(name, reader)],
            in_progress: false,
            hint: NameHint::default(),
            issues: Vec::new(),
        }
    }

    /// Bytes of all parts before decoding; `None` when a part's length is unknown.
    pub fn framed_bytes(&self) -> Option<u64> {
        self.parts.iter().try_fold(0_u64, |sum, part| Some(sum.saturating_add(part.framed_bytes()?)))
    }
}
