//! Blocks of whole lines: the unit of work of the parsing threads.

use std::io::{self, Read};

use memchr::memrchr;

/// Bytes that are read before a block is cut: large enough that the cost of handing it over is nothing, small enough that
/// a block stays in the second-level cache from the read to the last parsed line.
const BLOCK_BYTES: usize = 256 << 10;

/// Whole lines of one part.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The buffer; what is behind `len` is left over from before.
    pub(super) bytes: Vec<u8>,
    len: usize,
    /// Lines before this block that were passed over because they are longer than the limit.
    pub(super) too_long: u64,
    /// Whether the part ends with this block.
    pub(super) last: bool,
}

impl Block {
    /// The lines with their line feeds; only the last line of a part may lack one.
    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
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
        // The buffer keeps its length from the last time, so that only what is new to it is set to zero.
        let mut filled = self.carry.len();
        if block.bytes.len() < filled {
            block.bytes.resize(filled, 0);
        }
        if let Some(start) = block.bytes.get_mut(..filled) {
            start.copy_from_slice(&self.carry);
        }
        self.carry.clear();
        loop {
            if block.bytes.len() < filled + BLOCK_BYTES {
                block.bytes.resize(filled + BLOCK_BYTES, 0);
            }
            let room = block.bytes.get_mut(filled..filled + BLOCK_BYTES).unwrap_or_default();
            let read = read_some(&mut self.reader, room);
            let (count, error) = match read {
                Ok(count) => (count, None),
                Err((count, error)) => (count, Some(error)),
            };
            // What was carried over or read before has no line feed.
            let searched = filled;
            filled += count;
            if self.skipping {
                filled = self.drop_rest_of_line(&mut block.bytes, filled);
            }
            if count < BLOCK_BYTES || error.is_some() {
                self.done = true;
                block.last = true;
                block.len = filled;
                return Some((block, error));
            }
            let text = block.bytes.get(..filled).unwrap_or_default();
            let new = text.get(searched..).unwrap_or_default();
            if let Some(end) = memrchr(b'\n', new).map(|end| end + searched) {
                self.carry.extend_from_slice(text.get(end + 1..).unwrap_or_default());
                block.len = end + 1;
                return Some((block, None));
            }
            if filled > self.max_line {
                filled = 0;
                block.too_long += 1;
                self.skipping = true;
            }
        }
    }

    /// Drops a line that is too long up to its end; gives how many bytes are left.
    fn drop_rest_of_line(&mut self, bytes: &mut [u8], filled: usize) -> usize {
        match memchr::memchr(b'\n', bytes.get(..filled).unwrap_or_default()) {
            Some(end) => {
                bytes.copy_within(end + 1..filled, 0);
                self.skipping = false;
                filled - end - 1
            }
            None => 0,
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
            lines.extend(block.text().split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
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
