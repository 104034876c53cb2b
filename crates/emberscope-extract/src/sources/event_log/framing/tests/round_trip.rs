//! What was written comes back.

use super::encoders::{COMPRESSED, encode, gzip, lzf_stream, zstd_frame};
use super::{decode, drain, lines};
use crate::sources::event_log::framing::{Codec, Limits, open};
use proptest::prelude::*;
use std::io::{self, Read};

/// Gives one byte a call, and is interrupted before each.
struct Dribble {
    bytes: io::Cursor<Vec<u8>>,
    interrupt: bool,
}

impl Read for Dribble {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = out.len().min(1);
        self.bytes.read(&mut out[..count])
    }
}

#[test]
fn every_codec_is_told_by_content_and_gives_back_its_text() {
    let text = lines(3_000);
    for codec in Codec::ALL {
        let decoded = decode(&encode(codec, &text, 32 << 10));
        assert_eq!(decoded.codec, codec);
        assert_eq!(decoded.error, None, "{}", codec.name());
        assert!(decoded.bytes == text, "{}", codec.name());
        assert!(decoded.losses.is_empty());
    }
}

#[test]
fn joined_streams_give_both_texts() {
    let (first, second) = (lines(500), lines(700));
    for codec in COMPRESSED {
        let mut stream = encode(codec, &first, 4_096);
        stream.extend(encode(codec, &second, 1_000));
        let decoded = decode(&stream);
        assert_eq!(decoded.error, None, "{}", codec.name());
        assert!(decoded.bytes == [first.clone(), second.clone()].concat(), "{}", codec.name());
    }
}

#[test]
fn tiny_reads_on_either_side_change_nothing() {
    let text = lines(200);
    for codec in Codec::ALL {
        let bytes = io::Cursor::new(encode(codec, &text, 3_000));
        let mut decoder = open(Dribble { bytes, interrupt: false }, &Limits::default()).unwrap();
        // A plain input is read straight through, interruptions and all.
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).unwrap();
        assert!(out == text, "{}", codec.name());
        let bytes = io::Cursor::new(encode(codec, &text, 3_000));
        let (out, error) = drain(&mut open(bytes, &Limits::default()).unwrap(), 1);
        assert!(error.is_none() && out == text, "{}", codec.name());
    }
}

#[test]
fn offsets_end_at_the_lengths_of_both_sides() {
    let text = lines(1_000);
    for codec in Codec::ALL {
        let stream = encode(codec, &text, 8_192);
        let length = stream.len() as u64;
        let mut decoder = open(io::Cursor::new(stream), &Limits::default()).unwrap();
        drain(&mut decoder, 10_000);
        assert_eq!(decoder.codec(), codec);
        assert_eq!(decoder.compressed_offset(), length, "{}", codec.name());
        assert_eq!(decoder.decompressed_offset(), text.len() as u64, "{}", codec.name());
    }
}

#[test]
fn an_lzf_chunk_worked_out_by_hand_decodes() {
    // A literal run of one byte, `a`, and a copy of 9 bytes from 1 back: length field 7, extended by 0, offset 0.
    let chunk = [0x5a, 0x56, 1, 0, 5, 0, 10, 0x00, 0x61, 0xe0, 0x00, 0x00];
    assert_eq!(decode(&chunk).bytes, b"aaaaaaaaaa");
    // The same with the short form: `ab`, then 4 bytes from 2 back (length field 2, offset 1).
    let chunk = [0x5a, 0x56, 1, 0, 5, 0, 6, 0x01, 0x61, 0x62, 0x40, 0x01];
    let decoded = decode(&chunk);
    assert_eq!((decoded.bytes.as_slice(), decoded.error), (b"ababab".as_slice(), None));
}

#[test]
fn an_lz4_stream_that_holds_raw_blocks_decodes() {
    // Raw, as bytes that do not compress are: token 0x16, both lengths 3, xxHash32 of "abc" with the seed, 28 bits of it.
    let stream = encode(Codec::Lz4Block, b"abc", 64);
    assert_eq!(&stream[..17], b"LZ4Block\x16\x03\0\0\0\x03\0\0\0");
    assert_eq!(decode(&stream).bytes, b"abc");
}

#[test]
fn skippable_zstd_frames_are_skipped_in_front_and_between() {
    let skippable = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
    let stream = [&skippable[..], &zstd_frame(b"one\n", 10), &skippable, &zstd_frame(b"two\n", 10)].concat();
    let decoded = decode(&stream);
    assert_eq!((decoded.codec, decoded.bytes.as_slice()), (Codec::Zstd, b"one\ntwo\n".as_slice()));
    assert_eq!(decoded.error, None);
}

#[test]
fn a_gzip_header_may_have_every_field() {
    let text = lines(10);
    let mut encoder = flate2::GzBuilder::new()
        .filename("events")
        .comment("made by hand")
        .extra(vec![1; 300])
        .read(text.as_slice(), flate2::Compression::best());
    let mut stream = Vec::new();
    encoder.read_to_end(&mut stream).unwrap();
    let decoded = decode(&stream);
    assert_eq!((decoded.bytes, decoded.error), (text, None));
}

#[test]
fn zeros_behind_a_gzip_member_are_padding() {
    let stream = [gzip(b"text\n"), vec![0; 1_000]].concat();
    let decoded = decode(&stream);
    assert_eq!((decoded.bytes.as_slice(), decoded.error), (b"text\n".as_slice(), None));
}

#[test]
fn an_empty_input_is_plain_and_empty_text_of_any_codec_is_empty() {
    let decoded = decode(b"");
    assert_eq!((decoded.codec, decoded.bytes.len(), decoded.error), (Codec::Plain, 0, None));
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4Block, Codec::SnappyXerial] {
        let decoded = decode(&encode(codec, b"", 100));
        assert_eq!((decoded.codec, decoded.bytes.len(), decoded.error), (codec, 0, None));
    }
}

#[test]
fn a_plain_log_that_only_speaks_of_codecs_is_plain() {
    for text in ["ZVezda", "LZ4BlokInputStream", "SNAPPY", "{\"Event\":\"LZ4Block\"}\n"] {
        let decoded = decode(text.as_bytes());
        assert_eq!((decoded.codec, decoded.bytes.as_slice()), (Codec::Plain, text.as_bytes()));
    }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_comes_back_whatever_its_blocks_and_reads(
        codec in codec(),
        seed in prop::collection::vec(any::<u8>(), 0..300),
        repeat in 1_usize..40,
        block in 1_usize..5_000,
        read in 1_usize..9_000,
    ) {
        let text = [b"{".to_vec(), seed.repeat(repeat)].concat();
        let stream = encode(codec, &text, block);
        let mut decoder = open(io::Cursor::new(stream), &Limits::default()).unwrap();
        let (out, error) = drain(&mut decoder, read);
        prop_assert!(error.is_none(), "{} {error:?}", codec.name());
        prop_assert!(out == text, "{}", codec.name());
    }

    #[test]
    fn the_lzf_writer_of_these_tests_and_the_decoder_agree_on_repetitive_text(
        words in prop::collection::vec(prop::sample::select(vec!["aa", "aaa", "abc", "{}", "\n", "Task"]), 1..3_000),
    ) {
        let text = words.concat().into_bytes();
        prop_assert_eq!(decode(&lzf_stream(&text, 0xffff)).bytes, text);
    }
}
