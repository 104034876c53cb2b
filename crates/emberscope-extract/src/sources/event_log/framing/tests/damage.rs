//! Cut, flipped and garbled streams.

use super::encoders::{
    COMPRESSED, SNAPPY_HEADER, encode, gzip, lz4_block, lz4_stream, lzf_chunk, snappy_chunk, zstd_frame, zstd_running,
};
use super::{decode, drain, kind, lines};
use crate::sources::event_log::framing::{Codec, FramingError, FramingErrorKind, Limits, Loss, decode_all, open};
use proptest::prelude::*;
use std::io::{self, Read};

/// Three blocks, frames or members of `codec`, and what is around them. The middle one has the text that damage will hit.
fn three(codec: Codec, texts: [&[u8]; 3]) -> [Vec<u8>; 3] {
    match codec {
        Codec::Gzip => texts.map(gzip),
        Codec::Zstd => texts.map(|text| zstd_frame(text, usize::MAX)),
        Codec::Lz4Block => {
            let [a, b, c] = texts.map(lz4_block);
            [a, b, [c, lz4_stream(b"", 1)].concat()]
        }
        Codec::SnappyXerial => {
            let [a, b, c] = texts.map(snappy_chunk);
            [[SNAPPY_HEADER.to_vec(), a].concat(), b, c]
        }
        Codec::Lzf => texts.map(lzf_chunk),
        Codec::Plain => unreachable!(),
    }
}

#[test]
fn a_stream_cut_at_any_byte_gives_a_prefix_and_says_that_it_is_cut() {
    let text = lines(60);
    for codec in COMPRESSED {
        let stream = encode(codec, &text, 700);
        let boundaries: Vec<usize> =
            (1..text.len().div_ceil(700)).map(|blocks| encode(codec, &text[..blocks * 700], 700).len()).collect();
        let mut most = 0;
        for cut in 1..stream.len() {
            let decoded = decode(&stream[..cut]);
            let name = codec.name();
            assert!(text.starts_with(&decoded.bytes), "{name} at {cut}");
            assert!(decoded.bytes.len() >= most, "{name} at {cut} gives less than at {}", cut - 1);
            most = decoded.bytes.len();
            let markless = matches!(codec, Codec::SnappyXerial | Codec::Lzf);
            if markless && (boundaries.contains(&cut) || (codec == Codec::SnappyXerial && cut == 16)) {
                assert_eq!(decoded.error, None, "{name} at {cut}");
                continue;
            }
            let error = decoded.error.unwrap();
            assert_eq!(error.kind, FramingErrorKind::Truncated, "{name} at {cut}");
            assert_eq!(error.compressed_offset, cut as u64, "{name} at {cut}");
            assert_eq!(error.decompressed_offset, decoded.bytes.len() as u64);
            assert!(!error.reached_end);
            assert_eq!(decoded.losses.len(), 1);
        }
        assert!(most + 700 >= text.len(), "{} gives {most} of {}", codec.name(), text.len());
    }
}

#[test]
fn a_running_applications_zstd_log_gives_all_that_was_flushed() {
    let text = lines(20_000);
    let stream = zstd_running(&text);
    let decoded = decode(&stream);
    assert!(decoded.bytes == text);
    assert_eq!(kind(&decoded), Some(&FramingErrorKind::Truncated));
    // Small reads, which leave text behind in the decompressor, do not change that.
    let mut decoder = open(io::Cursor::new(stream), &Limits::default()).unwrap();
    assert!(drain(&mut decoder, 77).0 == text);
}

#[test]
fn a_damaged_block_loses_itself_and_nothing_else() {
    let (first, second, third) = (lines(40), lines(50), lines(60));
    for codec in COMPRESSED {
        let [before, mut hit, after] = three(codec, [&first, &second, &third]);
        // Bytes in the middle, and not lengths; 0xff is an invalid literal run, copy or checksum for all of them.
        let middle = hit.len() / 2;
        hit[middle..middle + 12].fill(0xff);
        let decoded = decode(&[before.clone(), hit.clone(), after].concat());
        let name = codec.name();
        let error = decoded.error.clone().unwrap();
        assert!(matches!(error.kind, FramingErrorKind::Corrupt(_)), "{name}: {error}");
        assert!(error.reached_end, "{name}");
        assert!(decoded.bytes.starts_with(&first), "{name}");
        assert!(decoded.bytes.ends_with(&third), "{name}");
        let middle = &decoded.bytes[first.len()..decoded.bytes.len() - third.len()];
        if matches!(codec, Codec::Gzip | Codec::Zstd) {
            // These give what they can of the damaged frame; gzip notices only where no code fits, or at its checksum.
            assert!(codec == Codec::Gzip || middle.len() <= second.len() + 1, "{name} {}", middle.len());
            assert_eq!(middle.last(), Some(&b'\n'), "{name}");
        } else {
            assert_eq!(middle, b"\n", "{name}");
            let start = before.len() as u64;
            let range = start..start + hit.len() as u64;
            let Loss { compressed, decompressed_offset, .. } = decoded.losses[0].clone();
            assert_eq!((compressed, decompressed_offset), (range, first.len() as u64), "{name}");
        }
        assert_eq!(decoded.losses.len(), 1, "{name}");
    }
}

#[test]
fn a_damaged_length_does_not_hide_the_blocks_behind_it() {
    let (first, second, third) = (lines(40), lines(50), lines(60));
    for (codec, at) in [(Codec::Lz4Block, 11), (Codec::Lzf, 3)] {
        let [before, mut hit, after] = three(codec, [&first, &second, &third]);
        hit[at] ^= 0x10;
        let decoded = decode(&[before, hit, after].concat());
        assert!(decoded.bytes.ends_with(&third), "{}", codec.name());
        assert!(decoded.error.unwrap().reached_end, "{}", codec.name());
    }
    // Snappy has no mark but the header of the next joined stream.
    let [before, mut hit, after] = three(Codec::SnappyXerial, [&first, &second, &third]);
    hit[0] = 0x7f;
    let decoded = decode(&[before, hit, after, encode(Codec::SnappyXerial, b"joined\n", 99)].concat());
    assert_eq!(decoded.bytes, [&first[..], b"\njoined\n"].concat());
}

#[test]
fn the_name_of_lz4_block_streams_inside_a_log_is_no_place_to_go_on() {
    let text = b"at net.jpountz.lz4.LZ4BlockInputStream.read LZ4BlockOutputStream LZ4Block\x16".to_vec();
    let mut hit = lz4_block(&text);
    hit[17] ^= 1;
    let stream = [lz4_block(b"first\n"), hit, lz4_stream(b"last\n", 10)].concat();
    let decoded = decode(&stream);
    assert_eq!(decoded.bytes, b"first\n\nlast\n");
    assert_eq!(decoded.losses.len(), 1);
}

#[test]
fn garbage_behind_the_end_is_reported_after_the_whole_text() {
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4Block] {
        let stream = encode(codec, b"text\n", 99);
        let decoded = decode(&[stream.clone(), b"garbage that is no frame".to_vec()].concat());
        assert_eq!(decoded.bytes, b"text\n", "{}", codec.name());
        let error = decoded.error.unwrap();
        assert!(matches!(error.kind, FramingErrorKind::Corrupt(_)), "{error}");
        assert_eq!(error.compressed_offset, stream.len() as u64);
        assert_eq!(decoded.losses[0].compressed, stream.len() as u64..stream.len() as u64 + 24);
    }
}

#[test]
fn a_wrong_checksum_is_an_error_and_the_next_member_is_read() {
    let mut hit = gzip(b"first\n");
    let at = hit.len() - 6;
    hit[at] ^= 1;
    let decoded = decode(&[hit, gzip(b"second\n")].concat());
    assert_eq!(decoded.bytes, b"first\n\nsecond\n");
    let error = decoded.error.unwrap();
    assert!(error.to_string().contains("checksum"), "{error}");
    assert!(error.reached_end);
}

#[test]
fn a_flipped_bit_is_noticed_wherever_there_is_a_checksum() {
    let text = lines(30);
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4Block] {
        let stream = encode(codec, &text, 900);
        for bit in 0..stream.len() * 8 {
            let mut hit = stream.clone();
            hit[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode(&hit);
            let harmless = decoded.bytes == text;
            let noticed = decoded.error.is_some() || decoded.codec == Codec::Plain;
            assert!(harmless || noticed, "{} bit {bit}", codec.name());
        }
    }
}

#[test]
fn errors_are_repeated_and_can_be_taken_out() {
    let stream = zstd_running(b"text\n");
    let mut decoder = open(io::Cursor::new(stream), &Limits::default()).unwrap();
    let (text, first) = drain(&mut decoder, 100);
    assert_eq!(text, b"text\n");
    let first = first.unwrap();
    assert_eq!(first.kind(), io::ErrorKind::UnexpectedEof);
    let second = decoder.read(&mut [0; 10]).unwrap_err();
    let first = FramingError::from_io(&first).unwrap();
    assert_eq!(Some(first), FramingError::from_io(&second));
    assert_eq!((first.codec, first.decompressed_offset), (Codec::Zstd, 5));
    assert!(first.to_string().starts_with("zstd stream is cut, at compressed byte"), "{first}");
}

#[test]
fn the_readers_own_errors_pass_through() {
    struct Failing(io::Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone")),
                count => Ok(count),
            }
        }
    }
    for codec in Codec::ALL {
        let stream = encode(codec, &lines(100), 500);
        let half = stream[..stream.len() / 2].to_vec();
        let mut decoder = open(Failing(io::Cursor::new(half)), &Limits::default()).unwrap();
        let error = drain(&mut decoder, 1_000).1.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{}", codec.name());
        assert!(FramingError::from_io(&error).is_none());
    }
}

#[test]
fn formats_that_are_no_log_are_named() {
    for (bytes, says) in [
        (&b"PK\x03\x04rest of it"[..], "zip"),
        (b"\x04\x22\x4d\x18rest", "lz4 frame"),
        (b"BZh91AY&SY", "bzip2"),
        (b"PAR1rest of", "Parquet"),
    ] {
        let error = decode(bytes).error.unwrap();
        assert!(matches!(error.kind, FramingErrorKind::Unsupported(_)));
        assert!(error.to_string().contains(says), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_behind_any_magic_end_without_panic(
        codec in prop::sample::select(Codec::ALL.to_vec()),
        head in 0_usize..40,
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let valid = encode(codec, b"some text, some text\n", 7);
        let stream = [&valid[..head.min(valid.len())], &bytes].concat();
        let limits = Limits { max_decompressed_bytes: 10_000_000, ..Limits::default() };
        let decoded = decode_all(&stream, &limits);
        prop_assert!(decoded.bytes.len() <= 10_000_000);
    }

    #[test]
    fn several_hits_never_panic_and_give_the_same_whatever_the_reads(
        codec in prop::sample::select(COMPRESSED.to_vec()),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        read in 1_usize..400,
    ) {
        let mut stream = encode(codec, &lines(100), 300);
        for (at, byte) in hits {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let decoded = decode(&stream);
        // The answer does not depend on how it is asked for.
        let mut decoder = open(io::Cursor::new(stream.clone()), &Limits::default()).unwrap();
        let (text, error) = drain(&mut decoder, read);
        prop_assert!(text == decoded.bytes);
        prop_assert_eq!(error.as_ref().and_then(FramingError::from_io), decoded.error.as_ref());
        prop_assert_eq!(decoder.losses(), decoded.losses.as_slice());
        let mut position = 0;
        for loss in &decoded.losses {
            prop_assert!(loss.compressed.start >= position && loss.compressed.end >= loss.compressed.start);
            position = loss.compressed.end;
        }
        prop_assert!(position <= stream.len() as u64);
        prop_assert!(decoded.losses.is_empty() || decoded.error.is_some());
    }
}
