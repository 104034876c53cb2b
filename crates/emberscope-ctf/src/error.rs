//! What goes wrong in reading a trace, and where.

use std::path::{Path, PathBuf};

/// A trace, or a part of one, that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The metadata say something that they must not.
    #[error("{}: line {line}, column {column} (byte {offset}): {what}", path.display())]
    Metadata {
        /// The metadata file.
        path: PathBuf,
        /// Line in the text of the metadata, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// Offset in the text of the metadata, in bytes; of packetised metadata, in the text without the packets' headers.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A data stream is not what the metadata say.
    #[error("{}: byte {offset}: {what}", path.display())]
    Stream {
        /// The stream's file.
        path: PathBuf,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn stream(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Stream { path: path.to_owned(), offset, what: what.into() }
    }
}

/// A fault at a place of the metadata's text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(offset: usize, what: impl Into<String>) -> Self {
        Self { offset, what: what.into() }
    }

    pub(crate) fn at(self, path: &Path, text: &str) -> Error {
        let mut offset = self.offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error::Metadata { path: path.to_owned(), line, column, offset, what: self.what }
    }
}
