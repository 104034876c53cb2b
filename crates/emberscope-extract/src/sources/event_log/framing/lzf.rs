//! LZF streams, as `com.ning.compress.lzf` writes them: chunks of `ZV`, a type, big-endian lengths of 16 bits, and the data,
//! raw or compressed with liblzf's algorithm. There is no checksum and no end mark.

use super::blocks::{Block, BlockFormat, Text};
use super::source::Source;
use super::{LZF_MAGIC, begins};
use std::io;

const TYPE_RAW: u8 = 0;
const TYPE_COMPRESSED: u8 = 1;
/// The longest chunk: seven bytes of header and 65,535 of data.
const MAX_CHUNK_BYTES: usize = 7 + 0xffff;

/// Chunks that are decoded for nothing in search of a place to go on, in a whole stream: an input made of false headers, each
/// of them 64 KiB of work, must come to an end.
const MAX_FALSE_CHUNKS: u32 = 4_096;

/// A chunk's place in the input and its text's length.
struct Chunk {
    header: usize,
    data: usize,
    text: usize,
    compressed: bool,
}

/// The chunk whose header stands at the front of `bytes`. `Err(true)` when the header is cut, `Err(false)` when it is none.
fn chunk(bytes: &[u8]) -> Result<Chunk, bool> {
    if !begins(bytes, &LZF_MAGIC) {
        return Err(false);
    }
    let length = |low: u8, high: u8| usize::from(u16::from_be_bytes([low, high]));
    match *bytes {
        [_, _, TYPE_RAW, a, b, ..] => {
            Ok(Chunk { header: 5, data: length(a, b), text: length(a, b), compressed: false })
        }
        [_, _, TYPE_COMPRESSED, a, b, c, d, ..] => {
            Ok(Chunk { header: 7, data: length(a, b), text: length(c, d), compressed: true })
        }
        [_, _, kind, ..] => Err(kind <= TYPE_COMPRESSED),
        _ => Err(true),
    }
}

#[derive(Default)]
pub(super) struct Lzf {
    scratch: Text,
    false_chunks: u32,
}

impl BlockFormat for Lzf {
    fn next(&mut self, source: &mut Source, text: &mut Text) -> io::Result<Block> {
        if source.fill(MAX_CHUNK_BYTES)? == 0 {
            return Ok(Block::End);
        }
        let chunk = match chunk(source.available()) {
            Ok(chunk) => chunk,
            Err(true) => return Ok(Block::TRUNCATED),
            Err(false) => return Ok(Block::corrupt("no chunk header where one should be")),
        };
        let end = chunk.header + chunk.data;
        let Some(data) = source.available().get(chunk.header..end) else {
            return Ok(Block::TRUNCATED);
        };
        if !decode(&chunk, data, text.room(chunk.text)) {
            return Ok(Block::corrupt("invalid lzf chunk"));
        }
        source.consume(end);
        Ok(if chunk.text == 0 { Block::Passed } else { Block::Text(chunk.text) })
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        let Self { scratch, false_chunks } = self;
        // Two letters are soon met by chance: the chunk has to decode, and another one or the end has to follow it.
        source.seek(1, &LZF_MAGIC, MAX_CHUNK_BYTES + 3, |bytes| {
            let Ok(found) = chunk(bytes) else {
                return false;
            };
            let end = found.header + found.data;
            let (Some(data), Some(next)) = (bytes.get(found.header..end), bytes.get(end..)) else {
                return false;
            };
            let followed = next.is_empty() || !matches!(chunk(next), Err(false));
            if !followed || found.text == 0 || *false_chunks == MAX_FALSE_CHUNKS {
                return false;
            }
            let fits = decode(&found, data, scratch.room(found.text));
            *false_chunks += u32::from(!fits);
            fits
        })
    }
}

/// Decodes a chunk; false when its data does not give exactly its text.
fn decode(chunk: &Chunk, data: &[u8], text: &mut [u8]) -> bool {
    if !chunk.compressed {
        text.copy_from_slice(data);
        return true;
    }
    decode_compressed(data, text) == Some(())
}

/// liblzf's algorithm: runs of up to 32 bytes, and copies of what was given up to 8 KiB before. `None` when `data` does not
/// fill `text` exactly.
fn decode_compressed(data: &[u8], text: &mut [u8]) -> Option<()> {
    let mut input = data;
    let mut at = 0_usize;
    while let Some((control, rest)) = input.split_first() {
        input = rest;
        if *control < 32 {
            let count = usize::from(*control) + 1;
            let (run, rest) = input.split_at_checked(count)?;
            text.get_mut(at..at + count)?.copy_from_slice(run);
            input = rest;
            at += count;
        } else {
            let mut count = usize::from(control >> 5);
            if count == 7 {
                let (more, rest) = input.split_first()?;
                count += usize::from(*more);
                input = rest;
            }
            count += 2;
            let (low, rest) = input.split_first()?;
            input = rest;
            let back = (usize::from(control & 0x1f) << 8 | usize::from(*low)) + 1;
            let from = at.checked_sub(back)?;
            let end = at + count;
            if end > text.len() {
                return None;
            }
            if back >= count {
                text.copy_within(from..from + count, at);
            } else {
                // The copy reads what it writes.
                for to in at..end {
                    let byte = *text.get(to - back)?;
                    *text.get_mut(to)? = byte;
                }
            }
            at = end;
        }
    }
    (at == text.len()).then_some(())
}
