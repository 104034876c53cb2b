//! Writers of the framings, after their writers' own descriptions.

use crate::sources::event_log::framing::Codec;
use std::io::Write;
use xxhash_rust::xxh32::xxh32;

pub(super) const COMPRESSED: [Codec; 5] = [Codec::Gzip, Codec::Zstd, Codec::Lz4Block, Codec::SnappyXerial, Codec::Lzf];

/// A whole stream of `codec`; `block` is the size of its blocks where it has any.
pub(super) fn encode(codec: Codec, text: &[u8], block: usize) -> Vec<u8> {
    match codec {
        Codec::Plain => text.to_vec(),
        Codec::Gzip => gzip(text),
        Codec::Zstd => zstd_frame(text, block),
        Codec::Lz4Block => lz4_stream(text, block),
        Codec::SnappyXerial => snappy_stream(text, block),
        Codec::Lzf => lzf_stream(text, block),
    }
}

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A frame with checksum, flushed after every `block` bytes.
pub(super) fn zstd_frame(text: &[u8], block: usize) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    for piece in text.chunks(block.max(1)) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// A frame as a running application leaves it: all of `text` flushed, and not ended.
pub(super) fn zstd_running(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(text).unwrap();
    encoder.flush().unwrap();
    encoder.get_ref().clone()
}

/// `LZ4BlockOutputStream`: blocks, raw where they do not shrink, and the end mark.
pub(super) fn lz4_stream(text: &[u8], block: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in text.chunks(block.max(1)) {
        out.extend(lz4_block(piece));
    }
    out.extend(b"LZ4Block");
    out.push(0x16);
    out.extend([0; 12]);
    out
}

pub(super) fn lz4_block(piece: &[u8]) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(piece);
    // Level 6 stands for blocks of up to 64 KiB.
    let (token, data) = if compressed.len() < piece.len() { (0x26, compressed.as_slice()) } else { (0x16, piece) };
    let mut out = b"LZ4Block".to_vec();
    out.push(token);
    out.extend((data.len() as u32).to_le_bytes());
    out.extend((piece.len() as u32).to_le_bytes());
    out.extend((xxh32(piece, 0x9747_b28c) & 0x0fff_ffff).to_le_bytes());
    out.extend(data);
    out
}

pub(super) const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

pub(super) fn snappy_stream(text: &[u8], block: usize) -> Vec<u8> {
    let mut out = SNAPPY_HEADER.to_vec();
    for piece in text.chunks(block.max(1)) {
        out.extend(snappy_chunk(piece));
    }
    out
}

pub(super) fn snappy_chunk(piece: &[u8]) -> Vec<u8> {
    let data = snap::raw::Encoder::new().compress_vec(piece).unwrap();
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend(data);
    out
}

pub(super) fn lzf_stream(text: &[u8], block: usize) -> Vec<u8> {
    text.chunks(block.clamp(1, 0xffff)).flat_map(lzf_chunk).collect()
}

pub(super) fn lzf_chunk(piece: &[u8]) -> Vec<u8> {
    let data = lzf_compress(piece);
    let mut out = b"ZV".to_vec();
    if data.len() < piece.len() {
        out.push(1);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend((piece.len() as u16).to_be_bytes());
        out.extend(data);
    } else {
        out.push(0);
        out.extend((piece.len() as u16).to_be_bytes());
        out.extend(piece);
    }
    out
}

/// liblzf's format by exhaustive lookup of the last place of each three bytes.
fn lzf_compress(text: &[u8]) -> Vec<u8> {
    let mut seen = std::collections::HashMap::new();
    let mut out = Vec::new();
    let mut literals: Vec<u8> = Vec::new();
    let flush = |literals: &mut Vec<u8>, out: &mut Vec<u8>| {
        for run in literals.chunks(32) {
            out.push(run.len() as u8 - 1);
            out.extend(run);
        }
        literals.clear();
    };
    let mut at = 0;
    while at < text.len() {
        let place = text.get(at..at + 3).and_then(|key| seen.insert(key.to_vec(), at));
        let Some(from) = place.filter(|from| at - from <= 8192) else {
            literals.push(text[at]);
            at += 1;
            continue;
        };
        flush(&mut literals, &mut out);
        let longest = (text.len() - at).min(264);
        let count = (0..longest).take_while(|i| text[from + i] == text[at + i]).count();
        let (back, length) = (at - from - 1, count - 2);
        if length < 7 {
            out.push((length << 5 | back >> 8) as u8);
        } else {
            out.push((7 << 5 | back >> 8) as u8);
            out.push((length - 7) as u8);
        }
        out.push(back as u8);
        at += count;
    }
    flush(&mut literals, &mut out);
    out
}
