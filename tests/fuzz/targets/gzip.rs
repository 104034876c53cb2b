//! Any bytes behind the magic of gzip.

#![no_main]

use emberscope_extract::sources::event_log::framing::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| emberscope_fuzz::decode(Codec::Gzip, &[0x1f, 0x8b], bytes));
