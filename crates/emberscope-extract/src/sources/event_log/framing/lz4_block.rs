//! LZ4Block streams, as `net.jpountz.lz4.LZ4BlockOutputStream` of lz4-java writes them.
//!
//! A block is the magic, a token (method and block size), compressed and original length, a checksum of the text (xxHash32,
//! 28 bits of it), all little endian, and the data. A block of length 0 ends a stream; Spark joins streams, so that what
//! follows the end mark is read on.

use super::blocks::{Block, BlockFormat, Text};
use super::source::Source;
use super::{FramingErrorKind, LZ4_BLOCK_MAGIC, begins};
use std::io;
use xxhash_rust::xxh32::xxh32;

const HEADER_BYTES: usize = 21;
const METHOD_RAW: u8 = 0x10;
const METHOD_LZ4: u8 = 0x20;
/// Block size of level 0, as a base-2 logarithm (`COMPRESSION_LEVEL_BASE`).
const LEVEL_BASE: u32 = 10;
const CHECKSUM_SEED: u32 = 0x9747_b28c;
/// `StreamingXXHash32.asChecksum` keeps 28 bits.
const CHECKSUM_MASK: u32 = 0x0fff_ffff;

struct Header {
    raw: bool,
    compressed: usize,
    original: usize,
    checksum: u32,
}

/// The header at the front of `bytes`; `None` when there is none that a writer would make.
fn header(bytes: &[u8]) -> Option<Header> {
    let rest = bytes.get(..HEADER_BYTES)?.strip_prefix(&LZ4_BLOCK_MAGIC)?;
    let (token, rest) = rest.split_first()?;
    let number = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
    let (compressed, original, checksum) = (number(0)? as usize, number(4)? as usize, number(8)?);
    let raw = match token & 0xf0 {
        METHOD_RAW => true,
        METHOD_LZ4 => false,
        _ => return None,
    };
    let block_bytes = 1_usize << (LEVEL_BASE + u32::from(token & 0x0f));
    let lengths_agree = if raw {
        compressed == original
    } else {
        // LZ4 expands 255 times at most, and grows what it cannot compress by a 255th and 16 bytes.
        compressed <= original + original / 255 + 16 && original <= compressed.saturating_mul(255)
    };
    let both_or_none = (compressed == 0) == (original == 0) && (original > 0 || checksum == 0);
    (original <= block_bytes && lengths_agree && both_or_none).then_some(Header { raw, compressed, original, checksum })
}

pub(super) struct Lz4Block {
    max_block_bytes: usize,
    /// No block since the last end mark: the input may end here.
    between_streams: bool,
}

impl Lz4Block {
    pub(super) fn new(max_block_bytes: usize) -> Self {
        Self { max_block_bytes, between_streams: false }
    }
}

impl BlockFormat for Lz4Block {
    fn next(&mut self, source: &mut Source, text: &mut Text) -> io::Result<Block> {
        let there = source.fill(HEADER_BYTES)?;
        if there == 0 && self.between_streams {
            return Ok(Block::End);
        }
        if there < HEADER_BYTES {
            let cut = there == 0 || begins(source.available(), &LZ4_BLOCK_MAGIC);
            return Ok(if cut { Block::TRUNCATED } else { Block::corrupt("no block header after a block") });
        }
        let Some(header) = header(source.available()) else {
            return Ok(Block::corrupt("no block header where one should be"));
        };
        if header.original > self.max_block_bytes {
            return Ok(Block::Damage(FramingErrorKind::Limit {
                name: "max_block_bytes",
                limit: self.max_block_bytes as u64,
            }));
        }
        let length = HEADER_BYTES + header.compressed;
        if source.fill(length)? < length {
            return Ok(Block::TRUNCATED);
        }
        self.between_streams = header.original == 0;
        if header.original == 0 {
            source.consume(length);
            return Ok(Block::Passed);
        }
        let data = source.peek(length).get(HEADER_BYTES..).unwrap_or_default();
        let room = text.room(header.original);
        if header.raw {
            room.copy_from_slice(data);
        } else {
            match lz4_flex::block::decompress_into(data, room) {
                Ok(written) if written == room.len() => {}
                Ok(_) => return Ok(Block::corrupt("a block shorter than its header says")),
                Err(error) => return Ok(Block::corrupt(format!("invalid lz4 block: {error}"))),
            }
        }
        if xxh32(room, CHECKSUM_SEED) & CHECKSUM_MASK != header.checksum {
            return Ok(Block::corrupt("checksum of a block does not match its text"));
        }
        source.consume(length);
        Ok(Block::Text(header.original))
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        self.between_streams = false;
        // Stack traces in a log hold "LZ4BlockInputStream": the whole header has to fit.
        source.seek(1, &LZ4_BLOCK_MAGIC, HEADER_BYTES, |bytes| header(bytes).is_some())
    }
}
