//! Any bytes behind the magic of xerial-framed snappy.

#![no_main]

use emberscope_extract::sources::event_log::framing::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| emberscope_fuzz::decode(Codec::SnappyXerial, b"\x82SNAPPY\0", bytes));
