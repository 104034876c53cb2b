//! Zip archives: the directory is read once, entries are streamed from the file.

use super::error::{InputIssue, InputIssueKind};
use super::layout::{Folder, Member};
use super::names::is_ignored;
use super::{DiscoverLimits, Part, RunInput};
use crate::sources::event_log::framing::inflate::{Inflate, Inflated};
use crate::sources::event_log::framing::source::Source;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

const LOCAL_HEADER_BYTES: usize = 30;
const LOCAL_HEADER_MAGIC: [u8; 4] = *b"PK\x03\x04";
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
/// The end record, its comment, and the zip64 records in front of it.
const END_BYTES: u64 = 22 + 0xffff + 20 + 56;

/// Whether a file that begins so is a zip archive.
pub(super) fn is_zip(first: &[u8]) -> bool {
    first.starts_with(&LOCAL_HEADER_MAGIC) || first.starts_with(&END_MAGIC)
}

/// Where an entry lies.
#[derive(Clone)]
pub(super) struct ZipEntry {
    archive: Arc<PathBuf>,
    header: u64,
    compressed: u64,
    length: u64,
    crc32: u32,
    stored: bool,
}

/// The runs of an archive. `Err` says why it cannot be read.
pub(super) fn runs(
    path: &Path,
    limits: &DiscoverLimits,
    issues: &mut Vec<InputIssue>,
) -> Result<Vec<RunInput>, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let count = declared_entries(&mut file).map_err(|error| error.to_string())?;
    if count > limits.max_archive_entries as u64 {
        return Err(format!(
            "it has {count} entries, over the limit max_archive_entries = {}",
            limits.max_archive_entries
        ));
    }
    let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| match error {
        ZipError::Io(error) => error.to_string(),
        // The library's words for it are of the format's inside.
        _ => "its directory of entries is not there or not whole: the file is cut or damaged".to_owned(),
    })?;
    let shown = path.display().to_string();
    let path = Arc::new(path.to_path_buf());
    let mut folders: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    let mut compressed_bytes = 0_u64;
    for index in 0..archive.len() {
        let entry = match archive.by_index_data(index) {
            Ok(entry) => entry,
            Err(error) => {
                let kind = InputIssueKind::Archive { reason: error.to_string() };
                issues.push(InputIssue { path: format!("{shown}!#{index}"), kind });
                continue;
            }
        };
        compressed_bytes = compressed_bytes.saturating_add(entry.compressed_size());
        let name = String::from_utf8_lossy(entry.name_raw()).replace('\\', "/");
        if name.ends_with('/') || name.split('/').any(|piece| is_ignored(piece) && !matches!(piece, "" | "." | "..")) {
            continue;
        }
        let (folder, own) = name.rsplit_once('/').unwrap_or(("", &name));
        let part_name = format!("{shown}!{name}");
        let stored = entry.compression() == CompressionMethod::Stored;
        let problem = if own.to_ascii_lowercase().ends_with(".zip") {
            Some(InputIssueKind::NestedArchive)
        } else if entry.encrypted() {
            Some(InputIssueKind::UnsupportedEntry { what: "encrypted".into() })
        } else if !stored && entry.compression() != CompressionMethod::Deflated {
            Some(InputIssueKind::UnsupportedEntry { what: format!("compressed with {:?}", entry.compression()) })
        } else {
            None
        };
        if let Some(kind) = problem {
            issues.push(InputIssue { path: part_name, kind });
            continue;
        }
        let place = ZipEntry {
            archive: Arc::clone(&path),
            header: entry.header_start(),
            compressed: entry.compressed_size(),
            length: entry.size(),
            crc32: entry.crc32(),
            stored,
        };
        let part = Part::from_zip(part_name, entry.size(), place);
        folders.entry(folder.to_owned()).or_default().push(Member { name: own.to_owned(), part, unreadable: None });
    }
    if compressed_bytes > file_bytes {
        return Err("its entries overlap".into());
    }
    let mut runs = Vec::new();
    for (name, members) in folders {
        let own = name.rsplit('/').next().unwrap_or_default().to_owned();
        let folder = Folder { name: own, path: format!("{shown}!{name}"), archived: true, members };
        runs.extend(folder.runs(issues));
    }
    Ok(runs)
}

/// How many entries the archive says it has: the largest number that any of its possible end records states, so that memory is
/// known to be bounded before the directory is read.
fn declared_entries(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut tail = Vec::new();
    (&mut *file).take(END_BYTES).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let short = memchr::memmem::find_iter(&tail, &END_MAGIC).filter_map(|at| {
        let count = tail.get(at.checked_add(10)?..)?.first_chunk()?;
        // The largest number stands for "see the zip64 record".
        Some(u64::from(u16::from_le_bytes(*count))).filter(|count| *count < 0xffff)
    });
    let long = memchr::memmem::find_iter(&tail, &END64_MAGIC)
        .filter_map(|at| Some(u64::from_le_bytes(*tail.get(at.checked_add(32)?..)?.first_chunk()?)));
    Ok(short.chain(long).max().unwrap_or(0))
}

impl ZipEntry {
    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&*self.archive)?;
        file.seek(SeekFrom::Start(self.header))?;
        let mut header = [0; LOCAL_HEADER_BYTES];
        file.read_exact(&mut header)?;
        if !header.starts_with(&LOCAL_HEADER_MAGIC) {
            return Err(damaged("no header where the archive's directory says"));
        }
        let [.., a, b, c, d] = header;
        let skip = i64::from(u16::from_le_bytes([a, b])) + i64::from(u16::from_le_bytes([c, d]));
        file.seek(SeekFrom::Current(skip))?;
        Ok(Box::new(EntryReader {
            source: Source::new(Box::new(file.take(self.compressed))),
            inflate: Inflate::new(),
            stored: flate2::Crc::new(),
            given: 0,
            entry: self.clone(),
            ended: false,
        }))
    }
}

/// Gives an entry's bytes, every one in front of damage, and checks length and checksum at the end.
struct EntryReader {
    source: Source,
    inflate: Inflate,
    stored: flate2::Crc,
    given: u64,
    entry: ZipEntry,
    ended: bool,
}

impl EntryReader {
    fn finish(&mut self) -> io::Result<usize> {
        let crc32 = if self.entry.stored { self.stored.sum() } else { self.inflate.crc32() };
        if self.given < self.entry.length && self.entry.stored {
            return Err(cut());
        }
        if self.given != self.entry.length || crc32 != self.entry.crc32 {
            return Err(damaged("checksum or length does not match its content"));
        }
        self.ended = true;
        Ok(0)
    }
}

impl Read for EntryReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        let count = if self.entry.stored {
            let count = self.source.read_through(out)?;
            self.stored.update(out.get(..count).unwrap_or_default());
            if count == 0 {
                return self.finish();
            }
            count
        } else {
            loop {
                let (count, state) = self.inflate.step(&mut self.source, out)?;
                match state {
                    _ if count > 0 => break count,
                    Inflated::More => {}
                    Inflated::End => return self.finish(),
                    Inflated::Cut => return Err(cut()),
                    Inflated::Invalid => return Err(damaged("invalid deflate data")),
                }
            }
        };
        self.given = self.given.saturating_add(count as u64);
        if self.given > self.entry.length {
            return Err(damaged("longer than the archive's directory says"));
        }
        Ok(count)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged zip entry: {what}"))
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "cut zip entry")
}
