//! The decoder: one codec's steps, limits, and what is done at damage.

use super::source::Source;
use super::{Codec, FramingError, FramingErrorKind, Limits, RATIO_FLOOR_BYTES, SNIFF_BYTES};
use super::{blocks::Blocks, foreign, gzip::Gzip, lz4_block::Lz4Block, lzf::Lzf, snappy::Snappy, zstd::Zstd};
use std::io::{self, Read};
use std::ops::Range;

/// What one step of a codec came to.
pub(super) enum Step {
    /// So many bytes were written; 0 means that another step is needed.
    Bytes(usize),
    /// The input ended where it may end.
    End,
    /// The next bytes cannot be decoded. They are not consumed as far as the codec can tell.
    Damage(FramingErrorKind),
}

/// One codec's state.
pub(super) trait Decode: Send {
    /// Decodes into `out`, which is not empty.
    fn step(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<Step>;
    /// After damage, moves to the next place where decoding can begin; false when there is none.
    fn resync(&mut self, source: &mut Source) -> io::Result<bool>;
}

/// A stretch of the input that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The bytes of the compressed input that gave nothing.
    pub compressed: Range<u64>,
    /// Where in the text they are missing: bytes given before.
    pub decompressed_offset: u64,
    /// Why.
    pub kind: FramingErrorKind,
}

/// Reads the text of a stream of any [`Codec`]. See the module's documentation for what happens at damage.
pub struct Decoder {
    codec: Codec,
    source: Source,
    state: Option<Box<dyn Decode>>,
    limits: Limits,
    given: u64,
    losses: Vec<Loss>,
    hole: bool,
    kept: Option<u8>,
    end: Option<Result<(), FramingError>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("codec", &self.codec)
            .field("compressed_offset", &self.compressed_offset())
            .field("decompressed_offset", &self.given)
            .field("losses", &self.losses)
            .finish_non_exhaustive()
    }
}

/// Tells the codec of `reader` by its first bytes and gives its decoder.
///
/// # Errors
/// What the reader says; a [`FramingError`] of kind `Unsupported` for an input that is known not to be an event log.
pub fn open(reader: impl Read + Send + 'static, limits: &Limits) -> io::Result<Decoder> {
    let mut source = Source::new(Box::new(reader));
    source.fill_exactly(SNIFF_BYTES)?;
    let first = source.available();
    let codec = Codec::sniff(first);
    if let Some(what) = foreign(first) {
        return Err(FramingError {
            codec,
            compressed_offset: 0,
            decompressed_offset: 0,
            kind: FramingErrorKind::Unsupported(what),
            reached_end: false,
        }
        .into());
    }
    let block_bytes = usize::try_from(limits.max_block_bytes).unwrap_or(usize::MAX);
    let state: Option<Box<dyn Decode>> = match codec {
        Codec::Plain => None,
        Codec::Gzip => Some(Box::new(Gzip::new())),
        Codec::Zstd => Some(Box::new(Zstd::new(limits.zstd_window_log_max)?)),
        Codec::Lz4Block => Some(Box::new(Blocks::new(Lz4Block::new(block_bytes)))),
        Codec::SnappyXerial => Some(Box::new(Blocks::new(Snappy::new(block_bytes)))),
        Codec::Lzf => Some(Box::new(Blocks::new(Lzf::default()))),
    };
    Ok(Decoder {
        codec,
        source,
        state,
        limits: *limits,
        given: 0,
        losses: Vec::new(),
        hole: false,
        kept: None,
        end: None,
    })
}

impl Decoder {
    /// How the input is wrapped.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Bytes of the compressed input that were used up to now (for a progress bar).
    pub fn compressed_offset(&self) -> u64 {
        self.source.offset()
    }

    /// Bytes of text that were given up to now; for a plain input the same as [`compressed_offset`](Self::compressed_offset).
    pub fn decompressed_offset(&self) -> u64 {
        if self.state.is_none() { self.source.offset() } else { self.given }
    }

    /// What could not be decoded up to now, in the order of the input; the cut end of a stream is among it.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    fn error(&self, compressed_offset: u64, kind: FramingErrorKind) -> FramingError {
        FramingError { codec: self.codec, compressed_offset, decompressed_offset: self.given, kind, reached_end: false }
    }

    /// Counts `count` bytes about to be given; fewer when a limit cuts them off, with the error kept for the next read.
    fn give(&mut self, count: usize) -> usize {
        let allowed = self.limits.max_decompressed_bytes.saturating_sub(self.given);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let kept = count.min(allowed);
        self.given = self.given.saturating_add(kept);
        let limit = if kept < count {
            Some(("max_decompressed_bytes", self.limits.max_decompressed_bytes))
        } else if self.given > RATIO_FLOOR_BYTES && self.given / self.source.offset().max(1) > self.limits.max_ratio {
            Some(("max_ratio", self.limits.max_ratio))
        } else {
            None
        };
        if let Some((name, limit)) = limit {
            let kind = FramingErrorKind::Limit { name, limit };
            self.end = Some(Err(self.error(self.source.offset(), kind)));
        }
        kept as usize
    }

    /// At damage: goes on behind it when that is possible, and settles the end otherwise.
    fn mend(&mut self, kind: FramingErrorKind) -> io::Result<()> {
        let start = self.source.offset();
        // The window of one zstd frame says nothing of the next frame's; a stream's blocks are all of one size.
        if matches!(kind, FramingErrorKind::Limit { .. }) && self.codec != Codec::Zstd {
            self.end = Some(Err(self.error(start, kind)));
            return Ok(());
        }
        let found = match &mut self.state {
            Some(state) => state.resync(&mut self.source)?,
            None => false,
        };
        let stop = self.source.offset();
        let loss = Loss { compressed: start..stop, decompressed_offset: self.given, kind: kind.clone() };
        self.losses.push(loss);
        if !found {
            let at = if kind == FramingErrorKind::Truncated { stop } else { start };
            self.end = Some(Err(self.error(at, kind)));
        } else if self.losses.len() as u64 > self.limits.max_losses {
            let kind = FramingErrorKind::Limit { name: "max_losses", limit: self.limits.max_losses };
            self.end = Some(Err(self.error(stop, kind)));
        } else {
            self.hole = self.given > 0;
        }
        Ok(())
    }

    /// How a stream ends that was read to the end of its input.
    fn complete(&self) -> Result<(), FramingError> {
        match self.losses.first() {
            None => Ok(()),
            Some(loss) => Err(FramingError {
                codec: self.codec,
                compressed_offset: loss.compressed.start,
                decompressed_offset: loss.decompressed_offset,
                kind: loss.kind.clone(),
                reached_end: true,
            }),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.state.is_none() {
            return self.source.read_through(out);
        }
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match &self.end {
                None => {}
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(error.clone().into()),
            }
            if let Some(byte) = self.kept.take() {
                out.iter_mut().take(1).for_each(|first| *first = byte);
                match self.give(1) {
                    0 => continue,
                    count => return Ok(count),
                }
            }
            let Some(state) = &mut self.state else {
                return Ok(0);
            };
            let room = if self.hole { out.get_mut(..1).unwrap_or_default() } else { &mut *out };
            match state.step(&mut self.source, room)? {
                Step::Bytes(0) => {}
                Step::Bytes(count) => {
                    // A hole is marked by a line feed, once there is something behind it: that waits for the next read.
                    if self.hole {
                        self.hole = false;
                        self.kept = out.first().copied();
                        out.iter_mut().take(1).for_each(|first| *first = b'\n');
                    }
                    match self.give(count) {
                        0 => {}
                        count => return Ok(count),
                    }
                }
                Step::End => self.end = Some(self.complete()),
                Step::Damage(kind) => self.mend(kind)?,
            }
        }
    }
}

/// A whole stream, decoded in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// How the input is wrapped.
    pub codec: Codec,
    /// The text, as far as it could be decoded.
    pub bytes: Vec<u8>,
    /// Why it is not the whole text; `None` when it is.
    pub error: Option<FramingError>,
    /// What is missing of it.
    pub losses: Vec<Loss>,
}

/// Decodes `input` in memory: for tests, fuzzing and small inputs.
pub fn decode_all(input: &[u8], limits: &Limits) -> Decoded {
    let codec = Codec::sniff(input);
    let mut decoded = Decoded { codec, bytes: Vec::new(), error: None, losses: Vec::new() };
    let failed = match open(io::Cursor::new(input.to_vec()), limits) {
        Ok(mut decoder) => {
            let failed = decoder.read_to_end(&mut decoded.bytes).err();
            decoded.losses = decoder.losses;
            failed
        }
        Err(error) => Some(error),
    };
    decoded.error = failed.map(|error| match FramingError::from_io(&error) {
        Some(error) => error.clone(),
        None => FramingError {
            codec,
            compressed_offset: 0,
            decompressed_offset: decoded.bytes.len() as u64,
            kind: FramingErrorKind::Corrupt(error.to_string()),
            reached_end: false,
        },
    });
    decoded
}
