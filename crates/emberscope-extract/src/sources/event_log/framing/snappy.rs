//! Snappy streams, as `org.xerial.snappy.SnappyOutputStream` writes them: a header of 16 bytes (magic, version, compatible
//! version), then chunks of a big-endian length and raw snappy data. Joined streams repeat the header. There is no checksum and
//! no end mark.

use super::blocks::{Block, BlockFormat, Text};
use super::source::Source;
use super::{SNAPPY_MAGIC, begins};
use std::io;

const HEADER_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
/// A snappy copy gives at most 64 bytes for 3.
const MAX_EXPANSION: usize = 22;

pub(super) struct Snappy {
    max_block_bytes: usize,
    decoder: snap::raw::Decoder,
}

impl Snappy {
    pub(super) fn new(max_block_bytes: usize) -> Self {
        Self { max_block_bytes, decoder: snap::raw::Decoder::new() }
    }

    /// Length of the text of a chunk, or why it is none.
    fn text_length(&self, data: &[u8]) -> Result<usize, String> {
        let length = snap::raw::decompress_len(data).map_err(|error| format!("invalid snappy chunk: {error}"))?;
        if length > self.max_block_bytes || length > data.len().saturating_mul(MAX_EXPANSION) {
            return Err(format!("a chunk of {} bytes that claims {length} bytes of text", data.len()));
        }
        Ok(length)
    }

    /// Whether a whole chunk that decodes begins `at` bytes ahead, or a header, or the input ends there.
    fn is_start(&mut self, source: &mut Source, at: usize) -> io::Result<bool> {
        let there = source.fill(at.saturating_add(HEADER_BYTES))?;
        if there == at {
            return Ok(true);
        }
        let ahead = source.available().get(at..).unwrap_or_default();
        if ahead.starts_with(&SNAPPY_MAGIC) {
            return Ok(true);
        }
        let Some(length) = ahead.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(false);
        };
        if length == 0 || length > self.max_block_bytes {
            return Ok(false);
        }
        let start = at.saturating_add(LENGTH_BYTES);
        let end = start.saturating_add(length);
        source.fill(end)?;
        let Some(data) = source.available().get(start..end) else {
            return Ok(false);
        };
        let Ok(size) = self.text_length(data) else {
            return Ok(false);
        };
        Ok(self.decoder.decompress(data, &mut vec![0; size]).is_ok())
    }
}

impl BlockFormat for Snappy {
    fn next(&mut self, source: &mut Source, text: &mut Text) -> io::Result<Block> {
        let there = source.fill(HEADER_BYTES)?;
        if there == 0 {
            return Ok(Block::End);
        }
        if begins(source.available(), &SNAPPY_MAGIC) {
            if there < HEADER_BYTES {
                return Ok(Block::TRUNCATED);
            }
            source.consume(HEADER_BYTES);
            return Ok(Block::Passed);
        }
        let Some(length) = source.available().first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(Block::TRUNCATED);
        };
        if length == 0 || length > self.max_block_bytes {
            return Ok(Block::corrupt(format!(
                "a chunk of {length} bytes (the limit max_block_bytes is {})",
                self.max_block_bytes
            )));
        }
        let end = LENGTH_BYTES + length;
        if source.fill(end)? < end {
            return Ok(Block::TRUNCATED);
        }
        let data = source.peek(end).get(LENGTH_BYTES..).unwrap_or_default();
        let size = match self.text_length(data) {
            Ok(size) => size,
            Err(text) => return Ok(Block::corrupt(text)),
        };
        if let Err(error) = self.decoder.decompress(data, text.room(size)) {
            return Ok(Block::corrupt(format!("invalid snappy chunk: {error}")));
        }
        source.consume(end);
        Ok(if size == 0 { Block::Passed } else { Block::Text(size) })
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        // Chunks carry no magic: the next one is found by the length of the damaged one, if that leads to a chunk.
        if let Some(bytes) = source.available().first_chunk() {
            let length = u32::from_be_bytes(*bytes) as usize;
            if length > 0 && length <= self.max_block_bytes {
                let end = LENGTH_BYTES + length;
                if source.fill(end)? >= end && self.is_start(source, end)? {
                    source.consume(end);
                    return Ok(true);
                }
            }
        }
        source.seek(1, &SNAPPY_MAGIC, SNAPPY_MAGIC.len(), |_| true)
    }
}
