//! Damaged archives, limits, things that are not files.

use super::{find, only, summary, tree, write, zip};
use crate::sources::event_log::inputs::{DiscoverLimits, InputError, discover};
use proptest::prelude::*;
use std::io::Read;

#[test]
fn a_cut_archive_is_an_error_alone_and_an_issue_among_others() {
    let root = tree(&["log"]);
    let archive = zip(&[("run", &b"some events\n".repeat(100))]);
    write(root.path(), "cut.zip", &archive[..archive.len() - 30]);
    let alone = summary(root.path(), &root.path().join("cut.zip"));
    assert!(alone[0].starts_with("cut.zip: cannot read the zip archive: "), "{alone:?}");
    let among = summary(root.path(), root.path());
    assert_eq!(among[0], "single-file log: log");
    assert!(among[1].starts_with("issue cut.zip: cannot read the zip archive: "), "{among:?}");
}

#[test]
fn a_damaged_entry_gives_its_bytes_up_to_the_damage_and_then_an_error() {
    let root = tree(&[]);
    let text: Vec<u8> =
        (0..60_000_u32).flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let mut archive = zip(&[("run", &text)]);
    let middle = archive.len() / 2;
    archive[middle..middle + 40].fill(0xff);
    write(root.path(), "hit.zip", &archive);
    let run = only(find(&root.path().join("hit.zip")).unwrap());
    let mut bytes = Vec::new();
    let error = run.parts[0].open().unwrap().read_to_end(&mut bytes).unwrap_err();
    assert!(error.to_string().starts_with("damaged zip entry"), "{error}");
    assert!(bytes.len() > text.len() / 3, "{} of {}", bytes.len(), text.len());
    assert_eq!(bytes[..text.len() / 3], text[..text.len() / 3]);
}

#[test]
fn a_wrong_checksum_in_the_archives_directory_is_noticed() {
    let root = tree(&[]);
    let mut archive = zip(&[("run", b"events\n")]);
    let directory = memchr::memmem::rfind(&archive, b"PK\x01\x02").unwrap();
    archive[directory + 16] ^= 1;
    write(root.path(), "hit.zip", &archive);
    let run = only(find(&root.path().join("hit.zip")).unwrap());
    let mut bytes = Vec::new();
    let error = run.parts[0].open().unwrap().read_to_end(&mut bytes).unwrap_err();
    assert_eq!(bytes, b"events\n");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn entries_that_share_their_bytes_are_refused() {
    let root = tree(&[]);
    // Two directory records that both point at the first entry, whose data is most of the file.
    let noise: Vec<u8> = (0..4_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let mut archive = zip(&[("aa", &noise), ("bb", b"x")]);
    let first = memchr::memmem::find(&archive, b"PK\x01\x02").unwrap();
    let second = memchr::memmem::rfind(&archive, b"PK\x01\x02").unwrap();
    for field in [16..28, 42..46] {
        let bytes = archive[first + field.start..first + field.end].to_vec();
        archive[second + field.start..second + field.end].copy_from_slice(&bytes);
    }
    write(root.path(), "shared.zip", &archive);
    let says = summary(root.path(), &root.path().join("shared.zip"));
    assert!(says[0].starts_with("shared.zip: cannot read the zip archive"), "{says:?}");
}

#[test]
fn limits_are_named_where_they_are_hit() {
    let root = tree(&["a", "b", "c", "1/2/3/deep"]);
    write(root.path(), "d.zip", &zip(&[("x", b"x"), ("y", b"y"), ("z", b"z")]));
    let limits = DiscoverLimits { max_depth: 2, max_files: 100, max_archive_entries: 2 };
    let found = discover(root.path(), &limits).unwrap();
    assert_eq!(found.runs.len(), 3);
    let issues: Vec<String> = found.issues.iter().map(|issue| issue.kind.to_string()).collect();
    assert_eq!(
        issues,
        [
            "lies deeper than 2 directories and was not looked at",
            "cannot read the zip archive: it has 3 entries, over the limit max_archive_entries = 2",
        ]
    );
    let found = discover(root.path(), &DiscoverLimits { max_files: 2, ..limits }).unwrap();
    assert!(found.issues.iter().any(|issue| issue.kind.to_string().contains("more than 2 files")));
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_or_is_no_file_does_not_hide_the_rest() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    let root = tree(&["log", "closed/run", "locked"]);
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    let close = |name: &str, mode| {
        std::fs::set_permissions(root.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    close("closed", 0o000);
    close("locked", 0o000);
    let seen = summary(root.path(), root.path());
    let refused = find(&root.path().join("locked"));
    close("closed", 0o755);
    assert!(seen.contains(&"single-file log: log".to_owned()), "{seen:?}");
    assert!(seen.contains(&"issue socket: is neither a file nor a directory".to_owned()), "{seen:?}");
    // The superuser may read everything.
    if refused.is_err() {
        assert!(matches!(refused, Err(InputError::PermissionDenied { .. })), "{refused:?}");
        let denied = "cannot be read: Permission denied (os error 13)";
        assert!(seen.contains(&format!("issue locked: {denied}")), "{seen:?}");
        assert!(seen.contains(&format!("issue closed: {denied}")), "{seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_archive_hit_anywhere_never_panics(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let root = tree(&[]);
        let mut archive = zip(&[
            ("eventlog_v2_a/events_1_a", &b"events of the run\n".repeat(30)[..]),
            ("eventlog_v2_a/appstatus_a", b""),
            ("other", b"x"),
        ]);
        for (at, byte) in hits {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        write(root.path(), "hit.zip", &archive);
        if let Ok(found) = find(&root.path().join("hit.zip")) {
            for part in found.runs.iter().flat_map(|run| &run.parts) {
                let mut bytes = Vec::new();
                if let Ok(mut reader) = part.open() {
                    let _ = reader.read_to_end(&mut bytes);
                }
            }
        }
    }
}
