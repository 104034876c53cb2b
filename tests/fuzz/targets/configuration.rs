//! Any text as a size and as a time.

#![no_main]

use emberscope_run::{Configuration, parse_bytes, parse_time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for unit in [1, 1 << 10, 1 << 20, u64::MAX] {
        let _ = (parse_bytes(text, unit), parse_time(text, unit));
    }
    // A unit of bytes changes nothing about a number.
    if let Ok(number) = text.parse::<i32>() {
        assert_eq!(parse_bytes(&format!("{number}b"), 1), Some(i64::from(number)));
    }
    let mut configuration = Configuration::default();
    configuration.set("key", text);
    let _ = (configuration.integer("key"), configuration.number("key"), configuration.boolean("key"));
    let _ = (configuration.bytes("key", 1), configuration.time_ms("key", 1));
});
