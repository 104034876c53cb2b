//! What the decoder promises, checked against writers made here and by others.

mod damage;
mod encoders;
mod limits;
mod real;
mod round_trip;

use super::{Decoded, Decoder, FramingErrorKind, Limits, decode_all};
use std::io::Read;

/// Decodes with the default limits.
fn decode(stream: &[u8]) -> Decoded {
    decode_all(stream, &Limits::default())
}

/// Text as an event log has it: lines of JSON, alike but not equal.
fn lines(count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..count {
        let noise = line.wrapping_mul(2_654_435_761) % 1_000_003;
        text.extend(
            format!("{{\"Event\":\"SparkListenerTaskEnd\",\"Task ID\":{line},\"Run Time\":{noise}}}\n").bytes(),
        );
    }
    text
}

/// Reads with a buffer of `size` bytes; gives the text and the error at its end.
fn drain(decoder: &mut Decoder, size: usize) -> (Vec<u8>, Option<std::io::Error>) {
    let mut text = Vec::new();
    let mut buffer = vec![0; size];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return (text, None),
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) => return (text, Some(error)),
        }
    }
}

fn kind(decoded: &Decoded) -> Option<&FramingErrorKind> {
    decoded.error.as_ref().map(|error| &error.kind)
}
