//! Any bytes as one line of an event log.

#![no_main]

use emberscope_extract::sources::event_log::read_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // White space around it changes no name. It may lose the line: what is skipped is not checked in full, and with white
    // space in front the name is sought as a field.
    let padded = [b" ".as_slice(), bytes, b" \t"].concat();
    if let (Ok(name), Ok(again)) = (read_line(bytes), read_line(&padded)) {
        assert_eq!(name, again);
    }
});
