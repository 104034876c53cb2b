//! Framing: how the bytes of an event log are wrapped, told by content and never by name.
//!
//! [`open`] looks at the first bytes and gives a [`Decoder`], a [`Read`] that decodes in streaming with bounded memory.
//!
//! **Damage.** Everything that can be decoded is given first. Where the framing lets one find a later place to go on (the next
//! zstd frame, LZ4 block, snappy chunk, LZF chunk, gzip member), the decoder goes on there: it marks the hole with one line feed, so that
//! the halves of two lines are not read as one, and notes a [`Loss`]. A stream that lost anything never ends in `Ok(0)`: its
//! last answer is a [`FramingError`] inside the [`io::Error`] (see [`FramingError::from_io`]), and it is repeated on every later read.
//! [`Decoder::losses`] has the whole list. Errors of the reader underneath pass through as they are.
//!
//! Two framings have no mark of their end (snappy, LZF): a stream cut exactly between two chunks looks complete.

mod blocks;
mod decoder;
mod error;
mod gzip;
pub(crate) mod inflate;
mod limits;
mod lz4_block;
mod lzf;
mod snappy;
pub(crate) mod source;
mod zstd;

#[cfg(test)]
mod tests;

pub use decoder::{Decoded, Decoder, Loss, decode_all, open};
pub use error::{FramingError, FramingErrorKind};
pub use limits::{Limits, RATIO_FLOOR_BYTES};

/// How many bytes [`Codec::sniff`] needs to see (fewer only when the input is shorter).
pub const SNIFF_BYTES: usize = 8;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const LZ4_BLOCK_MAGIC: [u8; 8] = *b"LZ4Block";
const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const LZF_MAGIC: [u8; 2] = *b"ZV";

/// A way in which event logs are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Not wrapped.
    Plain,
    /// gzip (RFC 1952), one or several members.
    Gzip,
    /// Zstandard (RFC 8878), one or several frames, skippable ones too.
    Zstd,
    /// `net.jpountz.lz4.LZ4BlockOutputStream`, Spark's `lz4`.
    Lz4Block,
    /// `org.xerial.snappy.SnappyOutputStream`, Spark's `snappy`.
    SnappyXerial,
    /// `com.ning.compress.lzf`, Spark's `lzf`.
    Lzf,
}

impl Codec {
    /// Every codec, in the order of their names.
    pub const ALL: [Self; 6] = [Self::Gzip, Self::Lz4Block, Self::Lzf, Self::Plain, Self::SnappyXerial, Self::Zstd];

    /// The name that reports show: Spark's short name where Spark has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4Block => "lz4",
            Self::SnappyXerial => "snappy",
            Self::Lzf => "lzf",
        }
    }

    /// Tells the codec by the first [`SNIFF_BYTES`] bytes of an input.
    ///
    /// An input shorter than a codec's magic that is the beginning of it is taken for that codec, cut.
    pub fn sniff(first: &[u8]) -> Self {
        if zstd::is_frame_start(first) {
            Self::Zstd
        } else if begins(first, &GZIP_MAGIC) {
            Self::Gzip
        } else if begins(first, &LZ4_BLOCK_MAGIC) {
            Self::Lz4Block
        } else if begins(first, &SNAPPY_MAGIC) {
            Self::SnappyXerial
        } else if begins(first, &LZF_MAGIC) && first.get(2).is_none_or(|kind| *kind <= 1) {
            Self::Lzf
        } else {
            Self::Plain
        }
    }
}

/// What an input is that no codec here reads and that no event log starts with. `None` when it may be a log.
fn foreign(first: &[u8]) -> Option<&'static str> {
    const FOREIGN: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a zip archive inside a stream (give it as a file)"),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"\x04\x22\x4d\x18", "an lz4 frame (Spark writes LZ4Block streams; decompress it with lz4 first)"),
        (b"\xfd7zXZ\0", "xz (decompress it first)"),
        (b"BZh", "bzip2 (decompress it first)"),
        (b"PAR1", "a Parquet file, which is no event log"),
    ];
    FOREIGN.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| *what)
}

/// Whether `first` starts with `magic` or, being shorter and not empty, is the beginning of it.
fn begins(first: &[u8], magic: &[u8]) -> bool {
    !first.is_empty() && first.iter().zip(magic).all(|(a, b)| a == b)
}
