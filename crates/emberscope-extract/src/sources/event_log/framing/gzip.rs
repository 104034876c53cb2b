//! gzip members (RFC 1952).

use super::decoder::{Decode, Step};
use super::inflate::{Inflate, Inflated};
use super::source::Source;
use super::{FramingErrorKind, GZIP_MAGIC};
use std::io;

/// A member's header holds a file name and a comment at most; a longer one is no header.
const MAX_HEADER_BYTES: usize = 1 << 20;
const FIXED_HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

enum Place {
    /// Before a member's header; true when a member was read before.
    Header {
        later: bool,
    },
    Body,
    Trailer,
}

pub(super) struct Gzip {
    inflate: Inflate,
    place: Place,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { inflate: Inflate::new(), place: Place::Header { later: false } }
    }

    fn header(&mut self, source: &mut Source, later: bool) -> io::Result<Step> {
        if source.fill(FIXED_HEADER_BYTES)? == 0 {
            return Ok(Step::End);
        }
        // Tapes and block devices pad with zeros, and gzip itself ignores them.
        if later && source.peek(1) == [0] {
            while source.fill(1)? > 0 {
                let zeros = source.available().iter().take_while(|byte| **byte == 0).count();
                if zeros == 0 {
                    return Ok(corrupt("no member begins where the last one ended"));
                }
                source.consume(zeros);
            }
            return Ok(Step::End);
        }
        let mut want = FIXED_HEADER_BYTES;
        loop {
            let there = source.fill(want)?;
            match header_length(source.available()) {
                Err(text) => return Ok(corrupt(text)),
                Ok(Some(length)) => {
                    source.consume(length);
                    self.inflate.reset();
                    self.place = Place::Body;
                    return Ok(Step::Bytes(0));
                }
                Ok(None) if source.at_eof() => {
                    return Ok(Step::Damage(FramingErrorKind::Truncated));
                }
                Ok(None) if there > MAX_HEADER_BYTES => {
                    return Ok(corrupt("a header of more than 1 MiB"));
                }
                Ok(None) => want = there.saturating_mul(2),
            }
        }
    }

    fn body(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<Step> {
        let (written, state) = self.inflate.step(source, out)?;
        match state {
            Inflated::More => {}
            Inflated::End => self.place = Place::Trailer,
            Inflated::Cut => return Ok(Step::Damage(FramingErrorKind::Truncated)),
            Inflated::Invalid => return Ok(corrupt("invalid deflate data")),
        }
        Ok(Step::Bytes(written))
    }

    fn trailer(&mut self, source: &mut Source) -> io::Result<Step> {
        if source.fill(TRAILER_BYTES)? < TRAILER_BYTES {
            return Ok(Step::Damage(FramingErrorKind::Truncated));
        }
        let mut expected = [0; TRAILER_BYTES];
        expected.copy_from_slice(source.peek(TRAILER_BYTES));
        let mut found = [0; TRAILER_BYTES];
        let (sum, length) = found.split_at_mut(4);
        sum.copy_from_slice(&self.inflate.crc32().to_le_bytes());
        length.copy_from_slice(&self.inflate.length().to_le_bytes());
        source.consume(TRAILER_BYTES);
        self.place = Place::Header { later: true };
        if expected == found {
            Ok(Step::Bytes(0))
        } else {
            Ok(corrupt("checksum or length of a member does not match its text"))
        }
    }
}

impl Decode for Gzip {
    fn step(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<Step> {
        match self.place {
            Place::Header { later } => self.header(source, later),
            Place::Body => self.body(source, out),
            Place::Trailer => self.trailer(source),
        }
    }

    fn resync(&mut self, source: &mut Source) -> io::Result<bool> {
        let refused = match self.place {
            // A header that was just refused, and not one that follows a wrong checksum.
            Place::Header { .. } => !matches!(header_length(source.available()), Ok(Some(_))),
            Place::Body | Place::Trailer => false,
        };
        self.place = Place::Header { later: false };
        source.seek(usize::from(refused), &GZIP_MAGIC, FIXED_HEADER_BYTES, is_likely_header)
    }
}

/// Three bytes of magic are soon met by chance in compressed data: the flags and the two bytes that say who wrote the
/// member have to be such as writers give.
fn is_likely_header(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, 8, flags, _, _, _, _, extra, system, ..]
        if flags & !0x08 == 0 && matches!(extra, 0 | 2 | 4) && matches!(system, 0..=13 | 255))
}

/// Length of the member header at the front of `bytes`; `None` when it needs more bytes.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    if !super::begins(bytes, &GZIP_MAGIC) {
        return Err("no member begins where the last one ended");
    }
    let Some([_, _, method, flags, ..]) = bytes.get(..FIXED_HEADER_BYTES) else {
        return Ok(None);
    };
    if *method != 8 || flags & 0xe0 != 0 {
        return Err("a member header with unknown method or flags");
    }
    let mut length = FIXED_HEADER_BYTES;
    if flags & 0x04 != 0 {
        let Some([low, high]) = bytes.get(length..length + 2) else {
            return Ok(None);
        };
        length += 2 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    for flag in [0x08, 0x10] {
        if flags & flag != 0 {
            let rest = bytes.get(length..).unwrap_or_default();
            let Some(text) = memchr::memchr(0, rest) else {
                return Ok(None);
            };
            length += text + 1;
        }
    }
    if flags & 0x02 != 0 {
        length += 2;
    }
    Ok(Some(length).filter(|length| *length <= bytes.len()))
}

fn corrupt(text: &str) -> Step {
    Step::Damage(FramingErrorKind::Corrupt(text.into()))
}
