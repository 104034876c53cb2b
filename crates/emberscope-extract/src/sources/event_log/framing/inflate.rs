//! Raw deflate data (RFC 1951), for gzip members and for the entries of zip archives.

use super::source::Source;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use std::io;

/// What a step of the inflater came to, besides the bytes it wrote.
pub(crate) enum Inflated {
    /// There may be more.
    More,
    /// The data ended.
    End,
    /// The input ended before the data did.
    Cut,
    /// The data is invalid from here on.
    Invalid,
}

/// An inflater that gives every byte in front of damage, and sums up what it gave.
pub(crate) struct Inflate {
    state: Decompress,
    crc: Crc,
    invalid: bool,
}

impl Inflate {
    pub(crate) fn new() -> Self {
        Self { state: Decompress::new(false), crc: Crc::new(), invalid: false }
    }

    /// Starts over with new data.
    pub(crate) fn reset(&mut self) {
        self.state.reset(false);
        self.crc = Crc::new();
        self.invalid = false;
    }

    /// CRC-32 of what was given.
    pub(crate) fn crc32(&self) -> u32 {
        self.crc.sum()
    }

    /// How many bytes were given, modulo 2^32.
    pub(crate) fn length(&self) -> u32 {
        self.crc.amount()
    }

    pub(crate) fn step(&mut self, source: &mut Source, out: &mut [u8]) -> io::Result<(usize, Inflated)> {
        if self.invalid {
            return Ok((0, Inflated::Invalid));
        }
        let there = source.fill(1)?;
        let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
        let answer = self.state.decompress(source.available(), out, FlushDecompress::None);
        let used = self.state.total_in().saturating_sub(before_in) as usize;
        let written = self.state.total_out().saturating_sub(before_out) as usize;
        source.consume(used);
        self.crc.update(out.get(..written).unwrap_or_default());
        let came_to = match answer {
            Ok(Status::StreamEnd) => Inflated::End,
            // Only an inflater that waits for input does nothing.
            Ok(_) if used == 0 && written == 0 && there == 0 => Inflated::Cut,
            Ok(_) if used == 0 && written == 0 => Inflated::Invalid,
            Ok(_) => Inflated::More,
            Err(_) => {
                self.invalid = true;
                if written > 0 { Inflated::More } else { Inflated::Invalid }
            }
        };
        Ok((written, came_to))
    }
}
