//! Layouts that others made. Skipped where they are not.

use super::{content, find, only, own_name};
use crate::sources::event_log::inputs::{InputError, InputKind, Part};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of shared event logs; `None`, and a word about it, where it is not.
fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("EMBERSCOPE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real"), PathBuf::from);
    let folder = root.join("eventlogs");
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "skipped: {} is not there", folder.display());
    None
}

#[test]
fn the_real_rolling_and_databricks_directories_are_one_run_each() {
    let Some(folder) = shared() else { return };
    let folder = folder.join("spark-rapids-tools/spark-events-qualification");
    for (name, kind, parts) in [
        (
            "eventlog_v2_local-1623876083964",
            InputKind::Rolling,
            ["events_1_local-1623876083964.zstd", "events_2_local-1623876083964.zstd"],
        ),
        ("db_sim_eventlog", InputKind::DatabricksRollOver, ["eventlog-2021-06-15--15-00.gz", "eventlog"]),
    ] {
        let found = find(&folder.join(name)).unwrap();
        assert_eq!(found.issues, []);
        let run = only(found);
        let names: Vec<&str> = run.parts.iter().map(own_name).collect();
        assert_eq!((run.kind, names.as_slice(), run.in_progress), (kind, &parts[..], false));
    }
}

#[test]
fn every_real_log_is_found_once_and_the_empty_one_is_reported() {
    let Some(folder) = shared() else { return };
    let found = find(&folder).unwrap();
    let mut files = Vec::new();
    let mut directories = vec![folder.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path.display().to_string()) }
        }
    }
    let parts: Vec<&str> = found.runs.iter().flat_map(|run| &run.parts).map(Part::name).collect();
    // All but the empty log and the appstatus file.
    assert_eq!(parts.len(), files.len() - 2);
    assert!(files.iter().filter(|file| !parts.contains(&file.as_str())).all(|file| {
        file.ends_with("appstatus_local-1623876083964") || file.ends_with("file_event_log_empty_test")
    }));
    assert_eq!(found.issues.len(), 1);
    let alone = find(&folder.join("sparklint/file_event_log_empty_test"));
    assert!(matches!(alone, Err(InputError::EmptyFile { .. })), "{alone:?}");
}

#[test]
fn the_history_servers_zip_gives_the_bytes_of_the_directory_that_it_zipped() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/framings/spark-4.3");
    let archive = folder.join("history-server/rolling.zip");
    if !archive.is_file() {
        let _ = writeln!(std::io::stderr(), "skipped: {} is not there", archive.display());
        return;
    }
    let zipped = only(find(&archive).unwrap());
    let directory = only(find(&folder.join("rolling")).unwrap());
    assert_eq!((zipped.kind, zipped.archived), (InputKind::Rolling, true));
    assert_eq!((&zipped.hint, zipped.in_progress), (&directory.hint, directory.in_progress));
    assert!(directory.parts.len() >= 2);
    assert_eq!(zipped.parts.len(), directory.parts.len());
    for (inside, outside) in zipped.parts.iter().zip(&directory.parts) {
        assert_eq!(own_name(inside), own_name(outside));
        assert!(content(inside) == content(outside), "{}", inside.name());
    }
}

#[test]
fn a_log_that_spark_compacted_is_read_from_the_compacted_part_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/framings/spark-4.3/compacted");
    if !folder.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: {} is not there", folder.display());
        return;
    }
    let found = find(&folder).unwrap();
    assert_eq!(found.issues, []);
    let run = only(found);
    assert!(own_name(&run.parts[0]).ends_with(".zstd.compact"), "{run:?}");
    assert!(!run.parts[1..].iter().any(|part| own_name(part).contains(".compact")), "{run:?}");
}
