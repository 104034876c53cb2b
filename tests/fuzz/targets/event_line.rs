//! Any bytes as one line of an event log.

#![no_main]

use emberscope_extract::sources::event_log::read_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A line that is understood is understood with white space around it too.
    if let Ok(name) = read_line(bytes) {
        let padded = [b" ".as_slice(), bytes, b" \t"].concat();
        assert_eq!(read_line(&padded), Ok(name));
    }
});
