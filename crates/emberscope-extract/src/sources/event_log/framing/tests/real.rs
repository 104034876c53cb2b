//! Logs that others wrote. Skipped where they are not.

use super::decode;
use crate::sources::event_log::framing::Codec;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of shared inputs; `None`, and a word about it, where it is not.
fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EMBERSCOPE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real"), PathBuf::from);
    let folder = root.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "skipped: {} is not there", folder.display());
    None
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_zstd_log_decodes_to_what_the_reference_decoder_gives() {
    let Some(folder) = shared("eventlogs") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "zstd"));
    assert!(files.len() >= 30, "{} files", files.len());
    for path in files {
        let stream = std::fs::read(&path).unwrap();
        let decoded = decode(&stream);
        assert_eq!((decoded.codec, decoded.error), (Codec::Zstd, None), "{}", path.display());
        let expected = zstd::stream::decode_all(stream.as_slice()).unwrap();
        assert!(decoded.bytes == expected, "{}", path.display());
    }
}

#[test]
fn the_gzip_part_of_databricks_has_the_text_of_the_same_runs_zstd_part() {
    let Some(folder) = shared("eventlogs/spark-rapids-tools/spark-events-qualification") else { return };
    let gzip = std::fs::read(folder.join("db_sim_eventlog/eventlog-2021-06-15--15-00.gz")).unwrap();
    let decoded = decode(&gzip);
    assert_eq!((decoded.codec, decoded.error), (Codec::Gzip, None));
    assert_eq!(decoded.bytes.len(), 10_480_446);
    let zstd = std::fs::read(
        folder.join("eventlog_v2_local-1623876083964/events_1_local-1623876083964.zstd"),
    )
    .unwrap();
    let other = decode(&zstd).bytes;
    // The first line differs: Databricks writes its own.
    let behind_first_line = |text: &[u8]| text.iter().position(|byte| *byte == b'\n').map(|at| text[at..].to_vec());
    assert!(behind_first_line(&decoded.bytes) == behind_first_line(&other));
}
