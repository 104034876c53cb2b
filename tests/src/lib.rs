//! What the tests across crates share: where inputs lie, how runs are read, and the facts of a run as text.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

mod facts;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use emberscope_extract::sources::inputs::Part;
use emberscope_extract::sources::{DiscoverLimits, ReadOptions, RunInput, SourceError, discover, read_run};
use emberscope_run::{IssueCode, Run, StageId, StageKey};

pub use facts::facts;

/// The root of the project.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A folder of the shared inputs that others made; `None`, and a word about it, where it is not.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("EMBERSCOPE_SHARED");
    let places = match shared.map(PathBuf::from) {
        Some(named) => vec![named.join(folder), named.join("real").join(folder)],
        None => vec![root().join("../shared/real").join(folder)],
    };
    if let Some(found) = places.iter().find(|place| place.is_dir()) {
        return Some(found.clone());
    }
    let _ = writeln!(std::io::stderr(), "skipped: the shared inputs {folder} are not there");
    None
}

/// The runs that a path holds.
///
/// # Panics
///
/// When it holds none.
pub fn inputs(path: &Path) -> Vec<RunInput> {
    match discover(path, &DiscoverLimits::default()) {
        Ok(found) => found.runs,
        Err(error) => panic!("{error}"),
    }
}

/// Reads a run on so many threads.
///
/// # Errors
///
/// As [`read_run`].
pub fn read(input: &RunInput, threads: usize) -> Result<Run, SourceError> {
    read_run(input, &ReadOptions { threads, ..ReadOptions::default() })
}

/// The one run of a path, read on the calling thread.
///
/// # Panics
///
/// When there is not exactly one run, or it cannot be read.
pub fn only_run(path: &Path) -> Run {
    let inputs = inputs(path);
    assert_eq!(inputs.len(), 1, "{}", path.display());
    inputs.iter().find_map(|input| read(input, 1).map_err(|error| panic!("{error}")).ok()).unwrap_or_default()
}

/// A run from the text of a log.
///
/// # Errors
///
/// As [`read_run`].
pub fn read_text(text: impl Into<Vec<u8>>, options: &ReadOptions<'_>) -> Result<Run, SourceError> {
    read_run(&RunInput::from_reader("log", std::io::Cursor::new(text.into())), options)
}

/// Everything in a run, for comparing two of them: tasks with all columns, counts, issues with positions.
pub fn dump(run: &Run) -> String {
    format!("{run:?}")
}

/// The key of a stage attempt.
pub fn stage(id: u64, attempt: u32) -> StageKey {
    StageKey { stage_id: StageId(id), attempt }
}

/// Where an import issue came first, and its meaning; `None` when it did not come.
pub fn issue(run: &Run, code: IssueCode) -> Option<(u64, String, String)> {
    let issue = run.issues.iter().find(|issue| issue.code == code)?;
    Some((issue.count, issue.first_at.clone().unwrap_or_default(), issue.meaning.clone()))
}

/// The raw bytes of a part.
///
/// # Panics
///
/// When it cannot be read.
pub fn bytes(part: &Part) -> Vec<u8> {
    let mut bytes = Vec::new();
    match part.open().and_then(|mut reader| reader.read_to_end(&mut bytes)) {
        Ok(_) => bytes,
        Err(error) => panic!("{}: {error}", part.name()),
    }
}
