//! Zip archives.

use super::{content, find, only, own_name, summary, tree, write, zip};
use crate::sources::event_log::framing::{Limits, open};
use crate::sources::event_log::inputs::InputKind;
use std::io::Read;

#[test]
fn an_archive_of_the_history_server_holds_every_attempt() {
    let root = tree(&[]);
    let events: &[u8] = b"{\"Event\":\"SparkListenerLogStart\"}\n";
    let archive = zip(&[
        ("application_7_0001_1.lz4", events),
        ("eventlog_v2_application_7_0001_2/", b""),
        ("eventlog_v2_application_7_0001_2/events_2_application_7_0001_2.zstd", b"two"),
        ("eventlog_v2_application_7_0001_2/appstatus_application_7_0001_2.inprogress", b""),
        ("eventlog_v2_application_7_0001_2/events_1_application_7_0001_2.zstd", b"one"),
    ]);
    write(root.path(), "eventLogs-application_7_0001.zip", &archive);
    let path = root.path().join("eventLogs-application_7_0001.zip");
    assert_eq!(
        summary(root.path(), &path),
        [
            "single-file eventLogs-application_7_0001.zip!application_7_0001_1.lz4: application_7_0001_1.lz4",
            "running rolling eventLogs-application_7_0001.zip!eventlog_v2_application_7_0001_2: \
            events_1_application_7_0001_2.zstd events_2_application_7_0001_2.zstd",
        ]
    );
    let found = find(&path).unwrap();
    assert!(found.runs.iter().all(|run| run.archived));
    assert_eq!(found.runs[1].hint.attempt_id.as_deref(), Some("2"));
    assert_eq!(found.runs[0].framed_bytes(), Some(events.len() as u64));
    assert_eq!(content(&found.runs[0].parts[0]), events);
    assert_eq!(content(&found.runs[1].parts[0]), b"one");
    assert_eq!(content(&found.runs[1].parts[1]), b"two");
}

#[test]
fn an_archive_is_told_by_content_and_may_hold_a_databricks_directory() {
    let root = tree(&["other"]);
    let archive = zip(&[
        ("0615/eventlog/9/eventlog", b"last"),
        ("0615/eventlog/9/eventlog-2021-06-15--15-00.gz", b"second"),
        ("0615/eventlog/9/eventlog-2021-06-15--09-00.gz", b"first"),
        ("__MACOSX/0615/eventlog/9/._eventlog", b"junk"),
    ]);
    write(root.path(), "download", &archive);
    let run = only(find(&root.path().join("download")).unwrap());
    assert_eq!(run.kind, InputKind::DatabricksRollOver);
    let texts: Vec<Vec<u8>> = run.parts.iter().map(content).collect();
    assert_eq!(texts, [b"first".to_vec(), b"second".to_vec(), b"last".to_vec()]);
    // Among other inputs it is looked into as well.
    let all = summary(root.path(), root.path());
    assert_eq!(all.len(), 2);
    assert!(all[0].starts_with("databricks-roll-over download!0615/eventlog/9:"), "{all:?}");
    assert_eq!(all[1], "single-file other: other");
}

#[test]
fn stored_entries_and_framed_entries_stream_through_the_decoder() {
    let root = tree(&[]);
    let text = b"{\"Event\":\"SparkListenerTaskEnd\"}\n".repeat(40_000);
    let framed = zstd::bulk::compress(&text, 1).unwrap();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in [("plain", &text), ("framed.zstd", &framed)] {
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
    }
    write(root.path(), "stored.zip", &writer.finish().unwrap().into_inner());
    let deflated = zip(&[("plain", &text), ("framed.zstd", &framed)]);
    write(root.path(), "deflated.zip", &deflated);
    let found = find(root.path()).unwrap();
    assert_eq!(found.runs.len(), 4);
    for run in &found.runs {
        let mut decoded = Vec::new();
        let mut decoder = open(run.parts[0].open().unwrap(), &Limits::default()).unwrap();
        decoder.read_to_end(&mut decoded).unwrap();
        assert!(decoded == text, "{}", run.path);
    }
}

#[test]
fn archives_inside_archives_and_odd_entries_are_noted_and_the_rest_read() {
    let root = tree(&[]);
    let inner = zip(&[("log", b"log")]);
    let archive = zip(&[("inner.zip", &inner), ("empty", b""), ("log", b"log")]);
    write(root.path(), "outer.zip", &archive);
    assert_eq!(
        summary(root.path(), root.path()),
        [
            "single-file outer.zip!log: log",
            "issue outer.zip!empty: the file is empty",
            "issue outer.zip!inner.zip: is an archive inside an archive, which is not opened",
        ]
    );
}

#[test]
fn names_inside_an_archive_are_only_names() {
    let root = tree(&["secret"]);
    let archive = zip(&[("../secret", b"from the archive"), ("/etc/passwd", b"root"), ("a\\b\\log", b"windows")]);
    write(root.path(), "in/evil.zip", &archive);
    let found = find(&root.path().join("in/evil.zip")).unwrap();
    let mut seen: Vec<(String, Vec<u8>)> =
        found.runs.iter().map(|run| (own_name(&run.parts[0]).to_owned(), content(&run.parts[0]))).collect();
    seen.sort();
    let expected = [("log", &b"windows"[..]), ("passwd", b"root"), ("secret", b"from the archive")]
        .map(|(name, text)| (name.to_owned(), text.to_vec()));
    assert_eq!(seen, expected);
    assert_eq!(std::fs::read(root.path().join("secret")).unwrap(), b"secret");
}
