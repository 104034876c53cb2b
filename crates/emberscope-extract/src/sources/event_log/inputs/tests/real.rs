//! Layouts that others made. Skipped where they are not.

use super::{find, only, own_name};
use crate::sources::event_log::inputs::{InputError, InputKind};
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
    let parts: Vec<&str> = found.runs.iter().flat_map(|run| &run.parts).map(|part| part.name()).collect();
    // All but the empty log and the appstatus file.
    assert_eq!(parts.len(), files.len() - 2);
    assert!(files.iter().filter(|file| !parts.contains(&file.as_str())).all(|file| {
        file.ends_with("appstatus_local-1623876083964") || file.ends_with("file_event_log_empty_test")
    }));
    assert_eq!(found.issues.len(), 1);
    let alone = find(&folder.join("sparklint/file_event_log_empty_test"));
    assert!(matches!(alone, Err(InputError::EmptyFile { .. })), "{alone:?}");
}
