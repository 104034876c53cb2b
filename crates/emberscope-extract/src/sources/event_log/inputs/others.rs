//! Files beside logs that are plainly none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::names::{NameHint, databricks_part, rolling_part};

/// Endings of files that people keep beside logs. A log may have one of them too: then its first lines tell.
const ENDINGS: [&str; 40] = [
    "avro",
    "bat",
    "c",
    "cfg",
    "conf",
    "cpp",
    "css",
    "csv",
    "h",
    "html",
    "ini",
    "ipynb",
    "jar",
    "java",
    "js",
    "json",
    "kt",
    "log",
    "md",
    "orc",
    "parquet",
    "pdf",
    "png",
    "properties",
    "py",
    "r",
    "rs",
    "rst",
    "scala",
    "sh",
    "sql",
    "svg",
    "toml",
    "tsv",
    "txt",
    "whl",
    "xml",
    "yaml",
    "yml",
    "crc32",
];
/// Names without an ending of the same kind.
const NAMES: [&str; 6] = ["Dockerfile", "LICENSE", "Makefile", "NOTICE", "README", "SHA256SUMS"];
/// Bytes that are looked at for a line of an event log: its first lines are short.
const LOOKED_AT: u64 = 16 << 10;

/// Whether a file with this name is no event log as far as its name and its first bytes tell.
pub(super) fn is_no_log(path: &Path, name: &str) -> bool {
    let known = NAMES.contains(&name)
        || Path::new(name)
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| ENDINGS.iter().any(|other| ending.eq_ignore_ascii_case(other)));
    let of_a_log = NameHint::from_name(name).application_id.is_some()
        || rolling_part(name).is_some()
        || databricks_part(name).is_some();
    let mut first = Vec::new();
    known
        && !of_a_log
        && File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut first)).is_ok()
        && !is_framed(&first)
        && !first.split(|&byte| byte == b'\n').any(begins_an_event)
}

/// Whether the bytes begin as compressed logs do (gzip, zstd, snappy, LZ4, LZF).
fn is_framed(first: &[u8]) -> bool {
    const MAGICS: [&[u8]; 6] =
        [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x82SNAPPY", b"LZ4Block", b"\x04\x22\x4d\x18", b"ZV"];
    MAGICS.iter().any(|magic| first.starts_with(magic))
}

/// A line that holds the object of an event, whole or cut.
fn begins_an_event(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii_start();
    line.starts_with(b"{") && memchr::memmem::find(line, b"\"Event\"").is_some()
}
