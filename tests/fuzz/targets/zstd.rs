//! Any bytes behind the magic of Zstandard.

#![no_main]

use emberscope_extract::sources::event_log::framing::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| emberscope_fuzz::decode(Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd], bytes));
