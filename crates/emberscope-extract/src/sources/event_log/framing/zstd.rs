//! Zstandard frames (RFC 8878).
//!
//! When a call of `ZSTD_decompressStream` fails it does not say how much it had written in that call. So a call may either give
//! text or fail: the decompressor is fed one block at a time, and the header of the next block apart, though it asks for both.

use super::decoder::{Decode, Step};
use super::source::Source;
use super::{FramingErrorKind, ZSTD_MAGIC, begins};
use std::io;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// Bytes the decompressor wants to see of a new frame (`ZSTD_FRAMEHEADERSIZE_MIN`).
const FRAME_START_BYTES: usize = 5;
/// Bytes of a block's header (`ZSTD_blockHeaderSize`).
const BLOCK_HEADER_BYTES: usize = 3;
/// zstd's text for error 16, `ZSTD_error_frameParameter_windowTooLarge`.
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";
/// The magics of skippable frames end in these bytes; the first is 0x50 to 0x5f.
const SKIPPABLE_REST: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Whether a frame, skippable or not, begins here (or the input ends inside its magic).
pub(super) fn is_frame_start(first: &[u8]) -> bool {
    match first {
        [kind, rest @ ..] if kind & 0xf0 == 0x50 && !rest.is_empty() => begins(rest, &SKIPPABLE_REST),
        _ => begins(first, &ZSTD_MAGIC),
    }
}

pub(super) struct Zstd {
    context: DCtx<'static>,
    window_log_max: u32,
    /// Bytes the decompressor asks for; `None` between frames.
    wants: Option<usize>,
    /// The last output was filled: there may be more in the decompressor.
    flush: bool,
}

impl Zstd {
    pub(super) fn new(window_log_max: u32) -> io::Result<Self> {
        let failed = |code| io::Error::other(format!("zstd: {}", get_error_name(code)));
        let mut context = DCtx::try_create().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let window_log_max = window_log_max.clamp(10, 31);
        context.init().map_err(failed)?;
        context.set_parameter(DParameter::WindowLogMax(window_log_max)).map_err(failed)?;
        Ok(Self { context, window_log_max, wants: None, flush: false })
    }
}

impl Decode for Zstd {
    fn step(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<Step> {
        // With a block it asks for the header of the next; with other things it takes what it gets, and asks for the rest.
        let wanted = match self.wants {
            None => FRAME_START_BYTES,
            Some(wants) if wants > BLOCK_HEADER_BYTES => wants - BLOCK_HEADER_BYTES,
            Some(wants) => wants,
        };
        let input = if self.flush {
            &[]
        } else {
            let there = source.fill(wanted)?;
            let input = source.peek(wanted);
            if self.wants.is_none() {
                if there == 0 {
                    return Ok(Step::End);
                }
                if !is_frame_start(input) {
                    let text = "no frame begins where the last one ended";
                    return Ok(Step::Damage(FramingErrorKind::Corrupt(text.into())));
                }
            }
            if there == 0 {
                return Ok(Step::Damage(FramingErrorKind::Truncated));
            }
            input
        };
        let last = !self.flush && input.len() < wanted;
        let room = out.len();
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(out);
        match self.context.decompress_stream(&mut output, &mut input) {
            Ok(wants) => {
                let (used, written) = (input.pos, output.pos());
                // The input ended before the block did.
                if last && written == 0 && wants > 0 {
                    return Ok(Step::Damage(FramingErrorKind::Truncated));
                }
                source.consume(used);
                self.wants = Some(wants).filter(|wants| *wants > 0);
                self.flush = self.wants.is_some() && written == room;
                Ok(Step::Bytes(written))
            }
            Err(code) => match get_error_name(code) {
                WINDOW_TOO_LARGE => Ok(Step::Damage(FramingErrorKind::Limit {
                    name: "zstd_window_log_max",
                    limit: u64::from(self.window_log_max),
                })),
                text => Ok(Step::Damage(FramingErrorKind::Corrupt(text.to_lowercase()))),
            },
        }
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        // A frame whose first bytes are refused must not be found again.
        let skip = usize::from(self.wants.is_none());
        self.wants = None;
        self.flush = false;
        self.context
            .reset(ResetDirective::SessionOnly)
            .map_err(|code| io::Error::other(format!("zstd: {}", get_error_name(code))))?;
        source.seek(skip, &ZSTD_MAGIC, ZSTD_MAGIC.len(), |_| true)
    }
}
