//! A trace: a folder with metadata and files of streams.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::metadata::{Clock, EnvironmentValue, EventClass, Metadata};

/// The deepest folder in which traces are looked for.
const MAX_DEPTH: usize = 32;

/// The folders at or below `root` that hold a file `metadata`, in the order of their paths. Links to folders are not followed.
///
/// # Errors
///
/// When a folder cannot be listed.
pub fn discover(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|source| Error::io(&folder, source))? {
            let entry = entry.map_err(|source| Error::io(&folder, source))?;
            let kind = entry.file_type().map_err(|source| Error::io(&entry.path(), source))?;
            if kind.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name() == "metadata" {
                found.insert(folder.clone());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// A trace whose metadata are understood.
#[derive(Debug, Clone)]
pub struct Trace {
    path: PathBuf,
    pub(crate) metadata: Metadata,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) offset_ns: Option<i64>,
}

impl Trace {
    /// Opens the trace of a folder: reads its metadata and lists its streams.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or the metadata are not what they must be.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let metadata = Metadata::read(&dir.join("metadata"))?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|source| Error::io(dir, source))? {
            let entry = entry.map_err(|source| Error::io(dir, source))?;
            let path = entry.path();
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.');
            let facts = std::fs::metadata(&path).map_err(|source| Error::io(&path, source))?;
            if facts.is_file() && facts.len() > 0 && name != "metadata" && !hidden {
                files.push(path);
            }
        }
        files.sort();
        Ok(Self { path: dir.to_owned(), metadata, files, offset_ns: None })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the tracer says of its surroundings, in the order of the metadata.
    pub fn environment(&self) -> &[(String, EnvironmentValue)] {
        &self.metadata.environment
    }

    /// A text of the environment.
    pub fn environment_text(&self, name: &str) -> Option<&str> {
        self.metadata.environment.iter().find_map(|(found, value)| match value {
            EnvironmentValue::Text(text) if found == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// Its clocks.
    pub fn clocks(&self) -> &[Clock] {
        &self.metadata.clocks
    }

    /// Its UUID.
    pub fn uuid(&self) -> Option<&[u8; 16]> {
        self.metadata.uuid.as_ref()
    }

    /// Its kinds of events, by stream class and id.
    pub fn event_classes(&self) -> impl Iterator<Item = &EventClass> {
        self.metadata.streams.iter().flat_map(|stream| &stream.events)
    }

    /// Whether it has events of this name.
    pub fn has_event(&self, name: &str) -> bool {
        self.event_classes().any(|event| event.name == name)
    }

    /// The size of its streams in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|facts| facts.len()).sum()
    }

    /// Sets what is added to this trace's clocks, in ns, instead of what its metadata say: for tracers, as perf, that do not
    /// say when their clock began.
    pub fn set_clock_offset_ns(&mut self, offset: i64) {
        self.offset_ns = Some(offset);
    }
}
