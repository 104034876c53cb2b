//! What a decoder says about damage.

use super::Codec;
use std::io;
use thiserror::Error;

/// Why a stream could not be decoded to its end, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} stream {kind}, at compressed byte {compressed_offset}, after {decompressed_offset} bytes of text{}",
    .codec.name(), if *.reached_end { " (what followed the damage was read)" } else { "" })]
pub struct FramingError {
    /// The codec of the stream.
    pub codec: Codec,
    /// Bytes from the start of the compressed input to the damage; to the end of the input when it is cut.
    pub compressed_offset: u64,
    /// Bytes that were given before the damage.
    pub decompressed_offset: u64,
    /// What is wrong.
    pub kind: FramingErrorKind,
    /// True when the decoder went on behind the damage and came to the end of the input: only the ranges of
    /// [`Decoder::losses`](super::Decoder::losses) are missing. False when nothing behind this place was read.
    pub reached_end: bool,
}

/// What is wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FramingErrorKind {
    /// The input ends inside a frame or block: a log that is still written, or a cut copy.
    #[error("is cut")]
    Truncated,
    /// The bytes are not what the codec allows, or a checksum does not match. The text says which.
    #[error("is corrupt: {0}")]
    Corrupt(String),
    /// Decoding would go over a limit of [`Limits`](super::Limits).
    #[error("goes over the limit {name} = {limit}")]
    Limit {
        /// The field of [`Limits`](super::Limits).
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The input is of a known format that is not read here. The text says which.
    #[error("is {0}")]
    Unsupported(&'static str),
}

impl FramingError {
    /// The framing error inside an I/O error that a [`Decoder`](super::Decoder) gave; `None` when the error came from the
    /// reader underneath.
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<FramingError> for io::Error {
    fn from(error: FramingError) -> Self {
        let kind = match error.kind {
            FramingErrorKind::Truncated => io::ErrorKind::UnexpectedEof,
            FramingErrorKind::Unsupported(_) => io::ErrorKind::Unsupported,
            FramingErrorKind::Corrupt(_) | FramingErrorKind::Limit { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
