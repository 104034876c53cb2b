//! Any bytes behind the magic of LZ4Block.

#![no_main]

use emberscope_extract::sources::event_log::framing::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| emberscope_fuzz::decode(Codec::Lz4Block, b"LZ4Block", bytes));
