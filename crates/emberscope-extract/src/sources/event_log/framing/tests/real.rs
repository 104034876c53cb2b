//! Logs that others wrote. Skipped where they are not.

use super::decode;
use crate::sources::event_log::framing::{Codec, FramingErrorKind};
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
    let Some(folder) = shared("eventlogs") else {
        return;
    };
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
    let Some(folder) = shared("eventlogs/spark-rapids-tools/spark-events-qualification") else {
        return;
    };
    let gzip = std::fs::read(folder.join("db_sim_eventlog/eventlog-2021-06-15--15-00.gz")).unwrap();
    let decoded = decode(&gzip);
    assert_eq!((decoded.codec, decoded.error), (Codec::Gzip, None));
    assert_eq!(decoded.bytes.len(), 10_480_446);
    let zstd = std::fs::read(folder.join("eventlog_v2_local-1623876083964/events_1_local-1623876083964.zstd")).unwrap();
    let other = decode(&zstd).bytes;
    // The first line differs: Databricks writes its own.
    let behind_first_line = |text: &[u8]| text.iter().position(|byte| *byte == b'\n').map(|at| text[at..].to_vec());
    assert!(behind_first_line(&decoded.bytes) == behind_first_line(&other));
}

/// The logs that Spark wrote for this project with each of its codecs.
fn own(version: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/framings").join(version);
    if folder.join("small").is_file() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "skipped: {} is not there", folder.display());
    None
}

#[test]
fn what_spark_wrote_with_each_codec_decodes_to_whole_lines_up_to_the_applications_end() {
    for version in ["spark-3.5", "spark-4.3"] {
        let Some(folder) = own(version) else { continue };
        for (name, codec) in [
            ("small", Codec::Plain),
            ("small.lz4", Codec::Lz4Block),
            ("small.lzf", Codec::Lzf),
            ("small.snappy", Codec::SnappyXerial),
            ("small.zstd", Codec::Zstd),
        ] {
            let decoded = decode(&std::fs::read(folder.join(name)).unwrap());
            assert_eq!((decoded.codec, &decoded.error), (codec, &None), "{version} {name}");
            let text = String::from_utf8(decoded.bytes).unwrap();
            assert!(text.ends_with("}\n"), "{version} {name}");
            let last = text.lines().last().unwrap();
            assert!(last.starts_with("{\"Event\":\"SparkListenerApplicationEnd\""), "{version} {name}: {last}");
            for line in text.lines() {
                assert!(line.starts_with("{\"Event\":\"") && line.ends_with('}'), "{version} {name}: {line}");
            }
        }
    }
}

#[test]
fn the_lz4_log_of_a_killed_application_gives_every_block_and_is_cut() {
    for version in ["spark-3.5", "spark-4.3"] {
        let Some(folder) = own(version) else { continue };
        let Ok(stream) = std::fs::read(folder.join("killed.lz4.inprogress")) else {
            continue;
        };
        let decoded = decode(&stream);
        // Spark's blocks have 32 KiB, and a kill comes between two of them: only the end mark is missing.
        assert_eq!(decoded.bytes.len() % (32 << 10), 0, "{version}");
        assert_eq!(decoded.bytes.len() / (32 << 10), memchr::memmem::find_iter(&stream, b"LZ4Block").count());
        assert_eq!(decoded.error.unwrap().kind, FramingErrorKind::Truncated, "{version}");
    }
}
