//! A part of a run: raw bytes that can be opened.

use super::archive::ZipEntry;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Reader = Box<dyn Read + Send>;

/// One file, archive entry or stream of a run.
#[derive(Clone)]
pub struct Part {
    name: String,
    framed_bytes: Option<u64>,
    from: From,
}

#[derive(Clone)]
enum From {
    File(PathBuf),
    Zip(ZipEntry),
    Reader(Arc<Mutex<Option<Reader>>>),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("name", &self.name)
            .field("framed_bytes", &self.framed_bytes)
            .finish_non_exhaustive()
    }
}

impl Part {
    /// What to show for it: the path of the file; inside an archive `<archive>!<entry>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes [`open`](Self::open) gives, before decoding; `None` when that is not known. A file that is still written
    /// may have grown, and an archive may lie.
    pub fn framed_bytes(&self) -> Option<u64> {
        self.framed_bytes
    }

    /// The file it is, for readers that map or split files; `None` for archive entries and streams.
    pub fn file(&self) -> Option<&Path> {
        match &self.from {
            From::File(path) => Some(path),
            From::Zip(_) | From::Reader(_) => None,
        }
    }

    /// Opens the raw bytes. Files and entries can be opened many times, at the same time; a stream once.
    ///
    /// # Errors
    /// What the operating system says; for a stream that was opened before, an error of kind `Other`. Damage of an archive entry
    /// shows while reading.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match &self.from {
            From::File(path) => Ok(Box::new(File::open(path)?)),
            From::Zip(entry) => entry.open(),
            From::Reader(reader) => reader
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| io::Error::other("a stream can be read only once")),
        }
    }

    pub(super) fn from_file(path: &Path, framed_bytes: Option<u64>) -> Self {
        Self { name: path.display().to_string(), framed_bytes, from: From::File(path.to_path_buf()) }
    }

    pub(super) fn from_zip(name: String, framed_bytes: u64, entry: ZipEntry) -> Self {
        Self { name, framed_bytes: Some(framed_bytes), from: From::Zip(entry) }
    }

    pub(super) fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Self {
        let reader: Reader = Box::new(reader);
        Self { name: name.to_owned(), framed_bytes: None, from: From::Reader(Arc::new(Mutex::new(Some(reader)))) }
    }
}
