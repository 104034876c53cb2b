//! Blocks of whole lines: the unit of work of the parsing threads.

use std::io::{self, Read};

use memchr::memrchr;

/// Bytes that are read before a block is cut: large enough that the cost of handing it over is nothing, small enough that
/// few of them in flight fit in any memory.
const BLOCK_BYTES: usize = 1 << 20;

/// Whole lines of one part.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The lines with their line feeds; only the last line of a part may lack one.
    pub(super) bytes: Vec<u8>,
    /// Lines before this block that were passed over because they are longer than the limit.
    pub(super) too_long: u64,
    /// Whether the part ends with this block.
    pub(super) last: bool,
}

/// Cuts a reader into blocks.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    reader: R,
    carry: Vec<u8>,
    max_line: usize,
    /// In the middle of a line that is too long.
    skipping: bool,
    done: bool,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(reader: R, max_line: usize) -> Self {
        Self { reader, carry: Vec::new(), max_line: max_line.max(1), skipping: false, done: false }
    }

    /// The reader, for what it says of itself at the end.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// The next block into `bytes` (a buffer to use again); `None` after the last. What was read before an error is given
    /// first, as the last block, and the error comes beside it.
    pub(super) fn next(&mut self, buffer: Vec<u8>) -> Option<(Block, Option<io::Error>)> {
        if self.done {
            return None;
        }
        let mut block = Block { bytes: buffer, ..Block::default() };
        block.bytes.clear();
        block.bytes.append(&mut self.carry);
        loop {
            let filled = block.bytes.len();
            block.bytes.resize(filled + BLOCK_BYTES, 0);
            let room = block.bytes.get_mut(filled..).unwrap_or_default();
            let read = read_some(&mut self.reader, room);
            let (count, error) = match read {
                Ok(count) => (count, None),
                Err((count, error)) => (count, Some(error)),
            };
            block.bytes.truncate(filled + count);
            if self.skipping {
                self.drop_rest_of_line(&mut block.bytes);
            }
            if count < BLOCK_BYTES || error.is_some() {
                self.done = true;
                block.last = true;
                return Some((block, error));
            }
            // What was carried over or read before has no line feed.
            let new = block.bytes.get(filled.min(block.bytes.len())..).unwrap_or_default();
            if let Some(end) = memrchr(b'\n', new).map(|end| end + filled) {
                self.carry.extend_from_slice(block.bytes.get(end + 1..).unwrap_or_default());
                block.bytes.truncate(end + 1);
                return Some((block, None));
            }
            if block.bytes.len() > self.max_line {
                block.bytes.clear();
                block.too_long += 1;
                self.skipping = true;
            }
        }
    }

    fn drop_rest_of_line(&mut self, bytes: &mut Vec<u8>) {
        match memchr::memchr(b'\n', bytes) {
            Some(end) => {
                bytes.drain(..=end);
                self.skipping = false;
            }
            None => bytes.clear(),
        }
    }
}

/// Fills `room` as far as the reader gives; on an error also says how much came before it.
fn read_some(reader: &mut impl Read, room: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((filled, error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], max_line: usize) -> (Vec<Vec<u8>>, u64) {
        let mut blocks = Blocks::new(text, max_line);
        let (mut lines, mut too_long) = (Vec::new(), 0);
        while let Some((block, error)) = blocks.next(Vec::new()) {
            assert!(error.is_none());
            too_long += block.too_long;
            lines.extend(block.bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        }
        (lines, too_long)
    }

    #[test]
    fn lines_longer_than_a_block_come_whole() {
        let long = vec![b'x'; 3 * BLOCK_BYTES + 17];
        let text = [b"first\n".as_slice(), &long, b"\nlast"].concat();
        let (got, too_long) = lines(&text, 64 << 20);
        assert_eq!((got.len(), too_long), (3, 0));
        assert_eq!(got[1], long);
        assert_eq!(got[2], b"last");
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_counted_and_the_next_one_comes() {
        let long = vec![b'x'; 5 * BLOCK_BYTES];
        let text = [b"first\n".as_slice(), &long, b"\nnext\n"].concat();
        let (got, too_long) = lines(&text, 2 * BLOCK_BYTES);
        assert_eq!((got, too_long), (vec![b"first".to_vec(), b"next".to_vec()], 1));
    }
}
