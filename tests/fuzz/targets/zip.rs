//! Any bytes as a zip archive of event logs.

#![no_main]

use std::io::{Read, Write};

use emberscope_extract::sources::{DiscoverLimits, discover};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let magic: &[u8] = if bytes.starts_with(b"PK") { b"" } else { b"PK\x03\x04" };
    file.write_all(magic).and_then(|()| file.write_all(bytes)).expect("room for it");
    let limits = DiscoverLimits { max_archive_entries: 50, ..DiscoverLimits::default() };
    let Ok(found) = discover(file.path(), &limits) else { return };
    for part in found.runs.iter().flat_map(|run| &run.parts) {
        if let Ok(reader) = part.open() {
            let mut text = Vec::new();
            let _ = reader.take(1 << 20).read_to_end(&mut text);
        }
    }
});
