//! Bombs, and claims that are not true.

use super::encoders::{SNAPPY_HEADER, encode, gzip, lz4_block, lzf_chunk};
use super::{decode, kind, lines};
use crate::sources::event_log::framing::{Codec, FramingErrorKind, Limits, RATIO_FLOOR_BYTES, decode_all, open};
use std::io::{self, Read};

fn limit(name: &'static str, limit: u64) -> FramingErrorKind {
    FramingErrorKind::Limit { name, limit }
}

/// Reads to the end without keeping the text; its length, and the error.
fn measure(stream: Vec<u8>, limits: &Limits) -> (u64, FramingErrorKind) {
    let mut decoder = open(io::Cursor::new(stream), limits).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => panic!("ended after {length} bytes"),
            Ok(count) => length += count as u64,
            Err(error) => {
                let error = crate::sources::event_log::framing::FramingError::from_io(&error).unwrap();
                assert_eq!(error.decompressed_offset, length);
                return (length, error.kind.clone());
            }
        }
    }
}

#[test]
fn a_zstd_or_gzip_bomb_ends_soon_and_names_the_limit() {
    // 256 MiB of zeros: 8 KiB as zstd, 255 KiB as gzip.
    let zeros = vec![0; 256 << 20];
    for stream in [zstd::bulk::compress(&zeros, 1).unwrap(), gzip(&zeros)] {
        let (length, kind) = measure(stream, &Limits::default());
        assert_eq!(kind, limit("max_ratio", 1_000));
        assert!(length > RATIO_FLOOR_BYTES && length < RATIO_FLOOR_BYTES + (2 << 20), "{length}");
    }
}

#[test]
fn the_ratio_of_a_short_log_does_not_matter() {
    let text = vec![b' '; 60 << 20];
    let decoded = decode(&zstd::bulk::compress(&text, 1).unwrap());
    assert_eq!((decoded.bytes.len(), decoded.error), (60 << 20, None));
}

#[test]
fn text_is_given_up_to_the_limit_exactly() {
    let text = lines(1_000);
    let limits = Limits { max_decompressed_bytes: 10_001, ..Limits::default() };
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4Block, Codec::SnappyXerial, Codec::Lzf] {
        let decoded = decode_all(&encode(codec, &text, 900), &limits);
        assert_eq!(decoded.bytes, &text[..10_001], "{}", codec.name());
        assert_eq!(kind(&decoded), Some(&limit("max_decompressed_bytes", 10_001)));
    }
    let enough = Limits { max_decompressed_bytes: text.len() as u64, ..limits };
    assert_eq!(decode_all(&encode(Codec::Zstd, &text, 900), &enough).error, None);
    // A plain input is not expanded: no limit.
    assert_eq!(decode_all(&text, &limits).bytes, text);
}

#[test]
fn a_zstd_window_over_the_limit_is_refused_by_name() {
    // Magic, a header without content size, a window of 2^28, and an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00];
    assert_eq!(kind(&decode(&frame)), Some(&limit("zstd_window_log_max", 27)));
    let wide = Limits { zstd_window_log_max: 28, ..Limits::default() };
    assert_eq!(decode_all(&frame, &wide).error, None);
}

#[test]
fn a_block_over_the_limit_is_refused_by_name() {
    let limits = Limits { max_block_bytes: 1_000, ..Limits::default() };
    let text = lines(30);
    assert_eq!(kind(&decode_all(&lz4_block(&text), &limits)), Some(&limit("max_block_bytes", 1_000)));
    let decoded = decode_all(&encode(Codec::SnappyXerial, &text, 4_000), &limits);
    let Some(FramingErrorKind::Corrupt(says)) = kind(&decoded) else { panic!("{decoded:?}") };
    // 30 lines of 63 to 68 bytes.
    assert!(says.ends_with(&format!("claims {} bytes of text", text.len())), "{says}");
}

#[test]
fn a_chunk_that_claims_gigabytes_costs_only_what_is_there() {
    let claims = [SNAPPY_HEADER.to_vec(), vec![0x03, 0xff, 0xff, 0xff, 1, 2, 3]].concat();
    let decoded = decode(&claims);
    assert_eq!(kind(&decoded), Some(&FramingErrorKind::Truncated));
    // 40 bytes of snappy that claim 64 MiB of text.
    let mut chunk = vec![0, 0, 0, 40, 0x80, 0x80, 0x80, 0x20];
    chunk.resize(44, 0);
    let decoded = decode(&[SNAPPY_HEADER.to_vec(), chunk].concat());
    assert!(matches!(kind(&decoded), Some(FramingErrorKind::Corrupt(says)) if says.contains("claims 67108864")));
}

#[test]
fn a_stream_of_nothing_but_damage_stops_at_the_limit() {
    let mut hit = lzf_chunk(&lines(4));
    let at = hit.len() - 20;
    hit[at..].fill(0xff);
    let stream = [hit, lzf_chunk(b"fine fine fine fine\n")].concat().repeat(5);
    let limits = Limits { max_losses: 3, ..Limits::default() };
    let decoded = decode_all(&stream, &limits);
    assert_eq!(kind(&decoded), Some(&limit("max_losses", 3)));
    assert_eq!(decoded.losses.len(), 4);
    assert_eq!(decode(&stream).losses.len(), 5);
}

#[test]
fn the_search_behind_false_lzf_headers_is_bounded() {
    // Each header claims a chunk that ends where another header stands, and whose data are runs of 32 literals that hold the
    // other headers: it decodes to fewer bytes than it claims, which shows only at its end.
    let header = b"ZV\x01\xff\xfb\xff\xff";
    let unit = [&[0x1f_u8][..], &[b'.'; 25], header].concat();
    let after = |count: usize| {
        let stream = [&header[..], &unit.repeat(count), &lzf_chunk(b"text\n"), &lzf_chunk(b"text\n")].concat();
        decode(&stream)
    };
    let soon = after(3_000);
    assert_eq!((soon.bytes.as_slice(), soon.losses.len()), (&b"text\ntext\n"[..], 1));
    assert!(soon.error.unwrap().reached_end);
    let late = after(10_000);
    assert_eq!(late.bytes, b"");
    assert!(!late.error.unwrap().reached_end);
}

#[test]
fn a_zstd_frame_behind_one_that_asks_for_too_much_is_read() {
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00];
    let decoded = decode(&[&greedy[..], &encode(Codec::Zstd, b"text\n", 9)].concat());
    assert_eq!(decoded.bytes, b"text\n");
    assert_eq!(kind(&decoded), Some(&limit("zstd_window_log_max", 27)));
}
