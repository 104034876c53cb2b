//! What the targets share: small limits, and the promises that hold for any bytes.

use std::io::{Cursor, Read};

use emberscope_extract::sources::event_log::framing::{self, Codec};
use emberscope_extract::sources::{Limits, ReadOptions, RunInput, SourceError, read_run};
use emberscope_run::Run;

/// Limits that a few kilobytes can reach.
pub fn limits() -> Limits {
    Limits {
        framing: framing::Limits {
            max_decompressed_bytes: 4 << 20,
            max_block_bytes: 1 << 20,
            zstd_window_log_max: 20,
            ..framing::Limits::default()
        },
        max_line_bytes: 64 << 10,
        max_ids: 500,
        max_accumulators: 500,
        max_tasks: 1_000,
        max_failures: 20,
        max_batches: 20,
    }
}

/// Reads a log on so many threads.
pub fn read(bytes: &[u8], threads: usize) -> Result<Run, SourceError> {
    let options = ReadOptions { threads, limits: limits(), ..ReadOptions::default() };
    read_run(&RunInput::from_reader("log", Cursor::new(bytes.to_vec())), &options)
}

/// Decodes any bytes as a codec, whose magic is put in front where it is missing.
pub fn decode(codec: Codec, magic: &[u8], bytes: &[u8]) {
    let magic = if Codec::sniff(bytes) == codec { &[] } else { magic };
    let input = [magic, bytes].concat();
    assert_eq!(Codec::sniff(&input), codec);
    check(&input);
}

/// Decodes any bytes as what they look like; reading in one piece and in many gives the same.
pub fn check(input: &[u8]) {
    let limits = limits().framing;
    let whole = framing::decode_all(input, &limits);
    assert!(whole.codec == Codec::Plain || whole.bytes.len() as u64 <= limits.max_decompressed_bytes);
    assert!(whole.error.is_some() || whole.losses.is_empty(), "a stream with losses looks whole");
    for loss in &whole.losses {
        assert!(loss.compressed.start <= loss.compressed.end && loss.compressed.end <= input.len() as u64);
    }
    let Ok(mut decoder) = framing::open(Cursor::new(input.to_vec()), &limits) else { return };
    let mut pieces = Vec::new();
    let mut room = [0; 61];
    while let Ok(count @ 1..) = decoder.read(&mut room) {
        pieces.extend_from_slice(&room[..count]);
        if pieces.len() > 256 << 10 {
            break;
        }
    }
    assert!(whole.bytes.starts_with(&pieces), "reading in pieces gives other bytes");
}
