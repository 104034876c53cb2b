//! Framings that are a row of blocks, each decoded whole.

use super::FramingErrorKind;
use super::decoder::{Decode, Step};
use super::source::Source;
use std::io;

/// What stands next in a row of blocks.
pub(super) enum Block {
    /// A block was decoded into the buffer; so many bytes.
    Text(usize),
    /// A header or an end mark was passed.
    Passed,
    /// The input ended where it may end.
    End,
    /// The block that begins here cannot be decoded; nothing of it was consumed.
    Damage(FramingErrorKind),
}

impl Block {
    pub(super) fn corrupt(text: impl Into<String>) -> Self {
        Self::Damage(FramingErrorKind::Corrupt(text.into()))
    }

    pub(super) const TRUNCATED: Self = Self::Damage(FramingErrorKind::Truncated);
}

/// One framing.
pub(super) trait BlockFormat: Send {
    /// Decodes the next block to the front of `text`.
    fn next(&mut self, source: &mut Source, text: &mut Text) -> io::Result<Block>;
    /// After damage, moves to the next block behind the one that begins here; false when there is none.
    fn resync(&mut self, source: &mut Source) -> io::Result<bool>;
}

/// The text of one block. It keeps its memory, so that no block costs more than its own bytes.
#[derive(Default)]
pub(super) struct Text(Vec<u8>);

impl Text {
    /// Room for `length` bytes.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        if self.0.len() < length {
            self.0.resize(length, 0);
        }
        self.0.get_mut(..length).unwrap_or_default()
    }
}

/// Gives the blocks of a framing as one stream.
pub(super) struct Blocks<F> {
    format: F,
    text: Text,
    position: usize,
    end: usize,
}

impl<F: BlockFormat> Blocks<F> {
    pub(super) fn new(format: F) -> Self {
        Self { format, text: Text::default(), position: 0, end: 0 }
    }
}

impl<F: BlockFormat> Decode for Blocks<F> {
    fn step(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<Step> {
        if self.position == self.end {
            self.position = 0;
            self.end = 0;
            match self.format.next(source, &mut self.text)? {
                Block::Text(length) => self.end = length,
                Block::Passed => return Ok(Step::Bytes(0)),
                Block::End => return Ok(Step::End),
                Block::Damage(kind) => return Ok(Step::Damage(kind)),
            }
        }
        let count = out.len().min(self.end - self.position);
        let text = self.text.0.get(self.position..self.position + count);
        if let (Some(to), Some(from)) = (out.get_mut(..count), text) {
            to.copy_from_slice(from);
        }
        self.position += count;
        Ok(Step::Bytes(count))
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        self.format.resync(source)
    }
}
