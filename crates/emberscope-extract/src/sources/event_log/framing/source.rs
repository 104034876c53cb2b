//! The compressed side: a buffer with lookahead and a position.

use memchr::memmem;
use std::io::{self, Read};

/// Bytes asked of the reader at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A buffered reader that knows its position and can look ahead any distance, growing only by what was really read.
pub(crate) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    eof: bool,
}

impl Source {
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, end: 0, offset: 0, eof: false }
    }

    /// Position of the next byte in the input.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is buffered and not consumed.
    pub(crate) fn available(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `count` buffered bytes, or all of them when they are fewer.
    pub(crate) fn peek(&self, count: usize) -> &[u8] {
        let all = self.available();
        all.get(..count).unwrap_or(all)
    }

    /// Reads until `want` bytes are buffered or the input ends; says how many are.
    pub(crate) fn fill(&mut self, want: usize) -> io::Result<usize> {
        while self.end - self.start < want && !self.eof {
            if self.buffer.len() - self.start < want || self.end == self.buffer.len() {
                self.make_room();
            }
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.reader.read(room) {
                Ok(0) => self.eof = true,
                Ok(count) => self.end = self.end.saturating_add(count).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - self.start)
    }

    /// As [`fill`](Self::fill), reading no more than `want` bytes: for looking at an input that may turn out to be plain.
    pub(crate) fn fill_exactly(&mut self, want: usize) -> io::Result<usize> {
        self.buffer.resize(want, 0);
        self.fill(want)
    }

    /// Whether the input is known to end behind what is buffered.
    pub(crate) fn at_eof(&self) -> bool {
        self.eof
    }

    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset = self.offset.saturating_add(count as u64);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives what is buffered, and then reads straight into `out`.
    pub(crate) fn read_through(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buffered = self.end - self.start;
        if buffered == 0 {
            let count = self.reader.read(out)?;
            self.offset = self.offset.saturating_add(count as u64);
            return Ok(count);
        }
        let count = buffered.min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), self.available().get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }

    /// Skips `skip` bytes and then to the next `needle` that `accept` takes for a start, given what follows it: at least
    /// `lookahead` bytes, fewer only at the end of the input. False when there is none; the input is consumed then.
    pub(crate) fn seek(
        &mut self,
        skip: usize,
        needle: &[u8],
        lookahead: usize,
        mut accept: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        self.fill(skip)?;
        self.consume(skip);
        let finder = memmem::Finder::new(needle);
        let lookahead = lookahead.max(needle.len());
        loop {
            if self.fill(lookahead)? == 0 {
                return Ok(false);
            }
            match finder.find(self.available()) {
                Some(at) => {
                    self.consume(at);
                    self.fill(lookahead)?;
                    if accept(self.available()) {
                        return Ok(true);
                    }
                    self.consume(1);
                }
                None if self.eof => {
                    self.consume(usize::MAX);
                    return Ok(false);
                }
                None => {
                    // The needle may begin in the last bytes.
                    let all = self.available().len();
                    self.consume((all + 1).saturating_sub(needle.len()));
                    self.fill(needle.len())?;
                }
            }
        }
    }

    /// Moves what is buffered to the front, and doubles the buffer when it is still full.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() || self.buffer.len() < CHUNK_BYTES {
            let size = self.buffer.len().saturating_mul(2).max(CHUNK_BYTES);
            self.buffer.resize(size, 0);
        }
    }
}
