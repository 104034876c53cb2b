//! Counts what a `perf.data` holds and what perf says that it lost.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Type of a record that says how many events of a buffer were overrun.
const LOST: u32 = 2;
/// Type of a record that is an event.
const SAMPLE: u32 = 9;
/// Type of a record that says how many samples of an event the kernel dropped (Linux 6.0 and newer).
const LOST_SAMPLES: u32 = 13;
const MAGIC: &[u8; 8] = b"PERFILE2";

/// What was recorded and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerfCounts {
    /// Events that are there.
    pub events: u64,
    /// Events that came when the buffer was full. Two kinds of records tell of the same events, and may differ by a percent:
    /// the larger sum.
    pub lost: u64,
}

/// Counts the records of a `perf.data`, which is not compressed. What a recorder that was killed had not yet written is missing.
///
/// # Errors
///
/// When the file cannot be read or is none of perf's.
pub fn count(path: &Path) -> io::Result<PerfCounts> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut header = [0; 104];
    file.read_exact(&mut header)?;
    if &header[..8] != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no perf.data of this machine's byte order"));
    }
    let (start, size) = (number(&header, 40), number(&header, 48));
    // A recorder that was killed leaves 0.
    let end = if size == 0 { file.get_ref().metadata()?.len() } else { start.saturating_add(size) };
    file.seek(SeekFrom::Start(start))?;
    records(&mut file, end.saturating_sub(start))
}

fn records(reader: &mut (impl Read + SeekRelative), mut left: u64) -> io::Result<PerfCounts> {
    let mut counts = PerfCounts::default();
    let (mut in_band, mut at_end) = (0_u64, 0_u64);
    while left >= 8 {
        let mut header = [0; 8];
        if !filled(reader, &mut header)? {
            break;
        }
        // The type, 16 bits that say how it came about, and the size with this header.
        let (kind, size) = match header {
            [k0, k1, k2, k3, _, _, s0, s1] => {
                (u32::from_ne_bytes([k0, k1, k2, k3]), u64::from(u16::from_ne_bytes([s0, s1])))
            }
        };
        if size < 8 || size > left {
            break;
        }
        left -= size;
        let mut rest = size - 8;
        let skipped = match kind {
            LOST => 8,
            LOST_SAMPLES => 0,
            _ => rest,
        };
        counts.events += u64::from(kind == SAMPLE);
        if rest >= skipped + 8 {
            reader.skip(skipped)?;
            let mut value = [0; 8];
            if !filled(reader, &mut value)? {
                break;
            }
            let sum = if kind == LOST { &mut in_band } else { &mut at_end };
            *sum = sum.saturating_add(u64::from_ne_bytes(value));
            rest -= skipped + 8;
        }
        reader.skip(rest)?;
    }
    counts.lost = in_band.max(at_end);
    Ok(counts)
}

/// Skips within what was read already where it can.
trait SeekRelative {
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

impl SeekRelative for BufReader<File> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.seek_relative(i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

/// Reads all of the buffer; false where the file ends before.
fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn record(kind: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend((8 + 8 * words.len() as u16).to_ne_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    fn counted(magic: &[u8], records: &[Vec<u8>], size: Option<u64>) -> io::Result<PerfCounts> {
        let body = records.concat();
        let mut bytes = magic.to_vec();
        bytes.extend([0; 32]);
        bytes.extend(104_u64.to_ne_bytes());
        bytes.extend(size.unwrap_or(body.len() as u64).to_ne_bytes());
        bytes.resize(104, 0);
        bytes.extend(body);
        // Features follow the records.
        bytes.extend([9; 64]);
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&bytes)?;
        count(file.path())
    }

    #[test]
    fn events_are_counted_and_losses_summed() {
        let records = [record(SAMPLE, &[1, 2]), record(LOST, &[7, 30, 5]), record(3, &[1]), record(SAMPLE, &[])];
        assert_eq!(counted(MAGIC, &records, None).ok(), Some(PerfCounts { events: 2, lost: 30 }));
        let records = [record(LOST, &[7, 30]), record(LOST_SAMPLES, &[20, 5]), record(LOST_SAMPLES, &[25])];
        assert_eq!(counted(MAGIC, &records, None).ok(), Some(PerfCounts { events: 0, lost: 45 }));
    }

    #[test]
    fn a_cut_file_counts_what_is_there_and_another_file_is_an_error() {
        let mut records = vec![record(SAMPLE, &[1]), record(SAMPLE, &[1; 4])];
        if let Some(last) = records.last_mut() {
            last.truncate(12);
        }
        assert_eq!(counted(MAGIC, &records[..1], None).map(|counts| counts.events).ok(), Some(1));
        assert_eq!(counted(MAGIC, &records, Some(28)).map(|counts| counts.events).ok(), Some(1));
        assert!(counted(b"PERFFILE", &records, None).is_err());
        assert!(count(Path::new("/nowhere")).is_err());
    }
}
