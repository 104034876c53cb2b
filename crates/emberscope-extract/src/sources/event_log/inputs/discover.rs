//! Looking through a path for runs.

use super::archive;
use super::error::{InputError, InputIssue, InputIssueKind, said};
use super::layout::{Folder, Member};
use super::names::{NameHint, is_ignored, is_in_progress, natural_order};
use super::others;
use super::{InputKind, Part, RunInput};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverLimits {
    /// Directories below the one that was given. Default 16.
    pub max_depth: usize,
    /// Files looked at in all. Default 1,000,000.
    pub max_files: usize,
    /// Entries of one archive. Default 100,000.
    pub max_archive_entries: usize,
}

impl Default for DiscoverLimits {
    fn default() -> Self {
        Self { max_depth: 16, max_files: 1_000_000, max_archive_entries: 100_000 }
    }
}

/// Files passed over that are named; the rest is counted.
const OTHERS_NAMED: usize = 5;

/// The runs of an input.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The runs, in the natural order of their paths; never empty.
    pub runs: Vec<RunInput>,
    /// What could not be used, or is missing, in the natural order of the paths.
    pub issues: Vec<InputIssue>,
}

/// Finds the runs at `path`: a file, a zip archive, or a directory of any layout that the module's documentation names.
///
/// Files below a directory are told from archives by their first bytes, and passed over when their names and first bytes say
/// plainly that they are something else (scripts, notes, tables); whether the others are logs shows when they are read.
///
/// # Errors
/// [`InputError`] when there is no run at all.
pub fn discover(path: &Path, limits: &DiscoverLimits) -> Result<Discovery, InputError> {
    let metadata = fs::metadata(path).map_err(|error| InputError::from_io(path, error))?;
    let mut search =
        Search { limits, runs: Vec::new(), issues: Vec::new(), others: Vec::new(), files: 0, seen: BTreeSet::new() };
    if metadata.is_dir() {
        let entries = fs::read_dir(path).map_err(|error| InputError::from_io(path, error))?;
        search.directory(path, entries, 0);
    } else if metadata.is_file() {
        let first = first_bytes(path).map_err(|error| InputError::from_io(path, error))?;
        if first.is_empty() {
            return Err(InputError::EmptyFile { path: path.to_path_buf() });
        }
        if archive::is_zip(&first) {
            search.runs = archive::runs(path, limits, &mut search.issues)
                .map_err(|reason| InputError::Archive { path: path.to_path_buf(), reason })?;
        } else {
            search.runs.push(single(path, Some(metadata.len())));
        }
    } else {
        // A pipe or a device: looking at its first bytes would take them away.
        search.runs.push(single(path, None));
    }
    let Search { mut runs, mut issues, mut others, .. } = search;
    if !others.is_empty() {
        others.sort_by(|a, b| natural_order(a, b));
        let count = others.len();
        others.truncate(OTHERS_NAMED);
        let kind = InputIssueKind::NotLogs { names: others, count };
        issues.push(InputIssue { path: path.display().to_string(), kind });
    }
    issues.sort_by(|a, b| natural_order(&a.path, &b.path));
    if runs.is_empty() {
        return Err(InputError::NoEventLog { path: path.to_path_buf(), issues });
    }
    runs.sort_by(|a, b| natural_order(&a.path, &b.path));
    Ok(Discovery { runs, issues })
}

fn single(path: &Path, framed_bytes: Option<u64>) -> RunInput {
    let name = own_name(path);
    RunInput {
        kind: InputKind::SingleFile,
        path: path.display().to_string(),
        archived: false,
        in_progress: is_in_progress(&name),
        hint: NameHint::from_name(&name),
        parts: vec![Part::from_file(path, framed_bytes)],
        issues: Vec::new(),
    }
}

fn own_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// As many bytes as tell an archive.
fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut first)?;
    Ok(first)
}

struct Search<'a> {
    limits: &'a DiscoverLimits,
    runs: Vec<RunInput>,
    issues: Vec<InputIssue>,
    /// Names of files that are plainly no logs.
    others: Vec<String>,
    files: usize,
    seen: BTreeSet<PathBuf>,
}

impl Search<'_> {
    fn issue(&mut self, path: &Path, kind: InputIssueKind) {
        self.issues.push(InputIssue { path: path.display().to_string(), kind });
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.issue(path, InputIssueKind::Unreadable { reason: said(error) });
    }

    fn directory(&mut self, path: &Path, entries: fs::ReadDir, depth: usize) {
        // Links may lead back up, or here twice.
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return self.unreadable(path, &error),
        };
        // The name given may be `.`.
        let name = own_name(&real);
        if !self.seen.insert(real) {
            return self.issue(path, InputIssueKind::SeenBefore);
        }
        let mut members = Vec::new();
        let mut directories = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    self.unreadable(path, &error);
                    continue;
                }
            };
            let name = own_name(&entry);
            if is_ignored(&name) {
                continue;
            }
            match fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => directories.push(entry),
                Ok(metadata) if metadata.is_file() => {
                    if self.files == self.limits.max_files {
                        self.issue(path, InputIssueKind::TooManyFiles { limit: self.limits.max_files });
                        break;
                    }
                    self.files += 1;
                    let unreadable = match first_bytes(&entry) {
                        Ok(first) if archive::is_zip(&first) => {
                            self.archive(&entry);
                            continue;
                        }
                        Ok(_) => None,
                        Err(error) => Some(said(&error)),
                    };
                    if unreadable.is_none() && metadata.len() > 0 && others::is_no_log(&entry, &name) {
                        self.others.push(name);
                        continue;
                    }
                    members.push(Member { name, part: Part::from_file(&entry, Some(metadata.len())), unreadable });
                }
                Ok(_) => self.issue(&entry, InputIssueKind::NotAFile),
                Err(error) => self.unreadable(&entry, &error),
            }
        }
        let folder = Folder { name, path: path.display().to_string(), archived: false, members };
        self.runs.extend(folder.runs(&mut self.issues));
        directories.sort();
        for directory in directories {
            if depth == self.limits.max_depth {
                self.issue(&directory, InputIssueKind::TooDeep { limit: self.limits.max_depth });
                continue;
            }
            match fs::read_dir(&directory) {
                Ok(entries) => self.directory(&directory, entries, depth + 1),
                Err(error) => self.unreadable(&directory, &error),
            }
        }
    }

    fn archive(&mut self, path: &Path) {
        match archive::runs(path, self.limits, &mut self.issues) {
            Ok(runs) => self.runs.extend(runs),
            Err(reason) => self.issue(path, InputIssueKind::Archive { reason }),
        }
    }
}
