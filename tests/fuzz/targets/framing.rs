//! Any bytes, decoded as what they look like.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| emberscope_fuzz::check(bytes));
