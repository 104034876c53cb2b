//! What can be wrong with an input before any event is read.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an input gives no run at all.
#[derive(Debug, Error)]
pub enum InputError {
    /// There is nothing at the path.
    #[error("{}: no such file or directory", .path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file or directory may not be read.
    #[error("{}: permission denied", .path.display())]
    PermissionDenied {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system failed to read it.
    #[error("{}: {}", .path.display(), said(.source))]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("{}: the file is empty", .path.display())]
    EmptyFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The directory or archive holds no file that could be an event log.
    #[error("{}: no event log in it{}", .path.display(), listed(.issues))]
    NoEventLog {
        /// The path as it was given.
        path: PathBuf,
        /// What was found there instead; empty when it is empty.
        issues: Vec<InputIssue>,
    },
    /// The zip archive cannot be read.
    #[error("{}: cannot read the zip archive: {reason}", .path.display())]
    Archive {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl InputError {
    /// The error for what the operating system said about `path`.
    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// What the operating system says, in the words that all messages use for it.
pub fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The first issues, for the end of a message.
fn listed(issues: &[InputIssue]) -> String {
    const SHOWN: usize = 3;
    let mut text = String::new();
    for issue in issues.iter().take(SHOWN) {
        text.push_str("; ");
        text.push_str(&issue.to_string());
    }
    if issues.len() > SHOWN {
        text.push_str("; and ");
        text.push_str(&(issues.len() - SHOWN).to_string());
        text.push_str(" more");
    }
    text
}

/// Something that could not be used, beside runs that could.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {kind}")]
pub struct InputIssue {
    /// The file, directory or archive entry.
    pub path: String,
    /// What is wrong with it.
    pub kind: InputIssueKind,
}

/// What is wrong with a file, directory or archive entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InputIssueKind {
    /// Parts of a rolling log are not there; the numbers are inclusive.
    #[error("{}", missing(*.first, *.last))]
    MissingParts {
        /// The first missing number.
        first: u64,
        /// The last missing number of this gap.
        last: u64,
    },
    /// Two parts have one number; the longest was taken.
    #[error("several files are part {index}; the longest is read")]
    DuplicatePart {
        /// The number.
        index: u64,
    },
    /// A rolling log has no `appstatus` file: whether the application had ended is not known from the names.
    #[error("the appstatus file is missing")]
    MissingAppStatus,
    /// There is the `appstatus` file of a rolling log, and no part of it.
    #[error("a rolling log without any part")]
    NoParts,
    /// The file has no bytes.
    #[error("the file is empty")]
    EmptyFile,
    /// Files in a directory are plainly something else by their names and first lines: they were passed over.
    #[error("passed over {}", passed_over(.names, *.count))]
    NotLogs {
        /// The first of their names.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// The operating system refused to read it.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What it said.
        reason: String,
    },
    /// It is neither a file nor a directory.
    #[error("is neither a file nor a directory")]
    NotAFile,
    /// Directories are nested deeper than the limit; what is below was not looked at.
    #[error("lies deeper than {limit} directories and was not looked at")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// There are more files than the limit; the rest was not looked at.
    #[error("holds more than {limit} files; the rest was not looked at")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
    /// A link leads to a directory that was looked at already.
    #[error("leads to a directory that was read already")]
    SeenBefore,
    /// An archive inside an archive, which is not opened.
    #[error("is an archive inside an archive, which is not opened")]
    NestedArchive,
    /// An archive among other inputs that cannot be read.
    #[error("cannot read the zip archive: {reason}")]
    Archive {
        /// What is wrong with it.
        reason: String,
    },
    /// An archive entry that is encrypted or compressed in a way that is not read here.
    #[error("is {what}, which is not supported")]
    UnsupportedEntry {
        /// In which way.
        what: String,
    },
}

fn passed_over(names: &[String], count: usize) -> String {
    let more = if count > names.len() { format!(" and {} more", count - names.len()) } else { String::new() };
    let files =
        if count == 1 { "1 file that is no event log" } else { &format!("{count} files that are no event logs") };
    format!("{files}: {}{more}", names.join(", "))
}

fn missing(first: u64, last: u64) -> String {
    if first == last { format!("part {first} is missing") } else { format!("parts {first} to {last} are missing") }
}
