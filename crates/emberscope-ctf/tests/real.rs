//! Real traces, read as babeltrace2 reads them. They lie in the shared inputs and are not a part of this project.

#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::Path;

use common::{compact, details, folders, open_all, shared};
use emberscope_ctf::{Error, Events, LostInterval, Selection, Trace};

/// Number of events, and the errors on the way.
fn count(traces: &[Trace]) -> (u64, Vec<Error>) {
    let mut events = Events::open(traces, &Selection::all());
    let (mut number, mut errors) = (0, Vec::new());
    loop {
        match events.next() {
            Ok(Some(event)) => {
                number += 1;
                event.record().unwrap_or_else(|error| panic!("{error}"));
            }
            Ok(None) => return (number, errors),
            Err(error) => errors.push(error),
        }
    }
}

fn texts(root: &Path, text: fn(&emberscope_ctf::Event<'_>) -> String) -> Vec<String> {
    let traces = open_all(root).unwrap_or_else(|error| panic!("{error}"));
    let mut events = Events::open(&traces, &Selection::all());
    let mut all = Vec::new();
    while let Some(event) = events.next().unwrap_or_else(|error| panic!("{error}")) {
        all.push(text(&event));
    }
    all
}

/// The blocks of events in a text of `sink.text.details`, without the line of ids.
fn blocks(expected: &str) -> Vec<String> {
    let of_event = expected.split("\n\n").filter(|block| block.contains("Event `") && block.contains("(Class ID"));
    let block = |block: &str| {
        let lines: Vec<&str> = block.trim_end().lines().filter(|line| !line.starts_with("{Trace")).collect();
        lines.join("\n")
    };
    let is_event = |block: &String| block.lines().take(2).any(|line| line.starts_with("Event `"));
    of_event.map(block).filter(is_event).collect()
}

/// The lines of events in a compact text of `sink.text.details`, without ids.
fn lines(expected: &str) -> Vec<String> {
    let of_event = expected.lines().filter(|line| line.contains("} Event `"));
    let line = |line: &str| {
        let (before, after) = line.split_once(" {").unwrap();
        format!("{before} {}", after.split_once("} ").unwrap().1)
    };
    of_event.map(line).collect()
}

#[test]
fn every_event_is_as_babeltrace2_decodes_it() {
    let (Some(traces), Some(expected)) = (shared("ctf/succeed"), shared("expected/ctf/succeed")) else { return };
    let mut compared = 0;
    for trace in folders(&traces) {
        let name = trace.file_name().unwrap().to_str().unwrap();
        let Ok(text) = std::fs::read_to_string(expected.join(format!("trace-{name}.expect"))) else { continue };
        let (blocks, lines) = (blocks(&text), lines(&text));
        if !blocks.is_empty() {
            let ours = texts(&trace, details);
            for (index, (ours, theirs)) in ours.iter().zip(&blocks).enumerate() {
                assert_eq!(ours, theirs, "{name}, event {index}");
            }
            assert_eq!(ours.len(), blocks.len(), "{name}");
        } else if !lines.is_empty() {
            assert_eq!(texts(&trace, compact), lines, "{name}");
        }
        compared += blocks.len().max(lines.len());
    }
    assert!(compared > 12_500, "only {compared} events were compared");
}

/// `babeltrace2 DIR --component sink.utils.counter` (2.0.4), events. babeltrace2 stops at an assertion in meta-ctx-sequence; its
/// stream has no byte.
const COUNTS: [(&str, u64); 35] = [
    ("succeed/2packets", 2),
    ("succeed/array-align-elem", 1),
    ("succeed/barectf-event-before-packet", 2),
    ("succeed/crlf-metadata", 5),
    ("succeed/debug-info", 4),
    ("succeed/env-warning", 7809),
    ("succeed/ev-disc-no-ts-begin-end", 3),
    ("succeed/lf-metadata", 5),
    ("succeed/lttng-crash", 400),
    ("succeed/lttng-event-after-packet", 2),
    ("succeed/lttng-tracefile-rotation", 12305),
    ("succeed/meta-ctx-sequence", 0),
    ("succeed/meta-variant-no-underscore", 1),
    ("succeed/meta-variant-one-underscore", 1),
    ("succeed/meta-variant-reserved-keywords", 1),
    ("succeed/meta-variant-same-with-underscore", 1),
    ("succeed/meta-variant-two-underscores", 1),
    ("succeed/multi-domains", 4272),
    ("succeed/no-packet-context", 3),
    ("succeed/sequence", 10),
    ("succeed/session-rotation", 266),
    ("succeed/smalltrace", 2),
    ("succeed/struct-array-align-elem", 1),
    ("succeed/succeed1", 7809),
    ("succeed/succeed2", 7809),
    ("succeed/succeed3", 7809),
    ("succeed/succeed4", 0),
    ("succeed/trace-with-index", 4000),
    ("succeed/warnings", 7809),
    ("succeed/wk-heartbeat-u", 20),
    ("intersection/3eventsintersect", 8),
    ("intersection/3eventsintersectreverse", 8),
    ("intersection/nointersect", 6),
    ("intersection/nostream", 0),
    ("intersection/onestream", 3),
];

#[test]
fn there_are_as_many_events_as_babeltrace2_counts() {
    let Some(root) = shared("ctf") else { return };
    for (name, expected) in COUNTS {
        let traces = open_all(&root.join(name)).unwrap_or_else(|error| panic!("{error}"));
        assert!(!traces.is_empty(), "{name}");
        let (number, errors) = count(&traces);
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert_eq!(number, expected, "{name}");
    }
    for group in ["succeed", "intersection"] {
        for folder in folders(&root.join(group)) {
            let name = format!("{group}/{}", folder.file_name().unwrap().to_str().unwrap());
            assert!(COUNTS.iter().any(|(known, _)| *known == name), "{name} has no count");
        }
    }
}

#[test]
fn what_must_fail_ends_in_an_error_with_its_file_and_place() {
    let Some(root) = shared("ctf/fail") else { return };
    for folder in folders(&root) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let (events, errors) = match open_all(&folder) {
            Err(error) => (0, vec![error]),
            Ok(traces) => count(&traces),
        };
        let expected = if name == "valid-events-then-invalid-events" { 2 } else { 0 };
        assert_eq!((events, errors.len()), (expected, 1), "{name}: {errors:?}");
        for error in &errors {
            let path = match error {
                Error::Metadata { path, offset, .. } => {
                    assert!(*offset as u64 <= std::fs::metadata(path).unwrap().len(), "{name}");
                    path
                }
                Error::Stream { path, offset, .. } => {
                    assert!(*offset <= std::fs::metadata(path).unwrap().len(), "{name}");
                    path
                }
                Error::Io { .. } => panic!("{name}: {error}"),
            };
            assert!(path.starts_with(&folder), "{name}: {error}");
            assert!(error.to_string().contains("byte "), "{name}: {error}");
        }
    }
}

#[test]
fn errors_name_the_byte_and_the_reason() {
    let Some(root) = shared("ctf/fail") else { return };
    let first = |name: &str| match open_all(&root.join(name)) {
        Err(error) => error.to_string(),
        Ok(traces) => count(&traces).1[0].to_string(),
    };
    let cases = [
        (
            "valid-events-then-invalid-events",
            "dummystream: byte 2: an event of class 255, which the metadata do not have",
        ),
        ("invalid-packet-size", "channel0_3: byte 0: a packet of 32768 bits, of which the file has 20264"),
        ("integer-range", "line 7, column 10 (byte 205): not an integer"),
        ("fail1", "CTF 0.1 is not supported: 1.8 and 2 are"),
        ("metadata-syntax-error", "line 3, column 58 (byte 72): a name expected"),
        ("packet-based-metadata", "metadata of CTF 116.121 in packets are not supported"),
        ("lttng-modules-2.0-pre1", "metadata of CTF 116.121 in packets are not supported"),
        ("invalid-sequence-length-field-class", "what a length or a selector refers to is not an integer"),
    ];
    for (name, expected) in cases {
        let found = first(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
}

/// From, to, packets: as babeltrace2 prints them in `Discarded packets (N packets)`.
type Lost = (i64, i64, u64);
/// Trace, events, and what is lost of which streams.
type Case = (&'static str, u64, &'static [(&'static str, &'static [Lost])]);

#[test]
fn lost_packets_are_those_that_babeltrace2_prints() {
    let Some(root) = shared("ctf/packet-seq-num") else { return };
    const S: i64 = 13_515_309_000_000_000;
    let cases: [Case; 6] = [
        ("2-lost-before-last", 3, &[("test_stream_0", &[(S + 40, S + 41, 2)])]),
        ("2-streams-lost-in-1", 8, &[("test_stream_0", &[(S + 80, S + 81, 2)])]),
        (
            "2-streams-lost-in-2",
            8,
            &[
                ("test_stream_0", &[(S + 80, S + 81, 2)]),
                ("test_stream_1", &[(S + 90, S + 91, 3), (S + 110, S + 111, 1)]),
            ],
        ),
        ("7-lost-between-2-with-index", 2, &[("stream_0", &[(20, 121, 7)])]),
        ("no-lost", 3, &[]),
        ("no-lost-not-starting-at-0", 3, &[]),
    ];
    assert_eq!(folders(&root).len(), cases.len());
    for (name, number, expected) in cases {
        let traces = open_all(&root.join(name)).unwrap();
        let mut events = Events::open(&traces, &Selection::all());
        let mut found = 0;
        while events.next().unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, number, "{name}");
        let lost = events.lost();
        assert_eq!(lost.len(), expected.len(), "{name}");
        for (lost, (file, intervals)) in lost.iter().zip(expected) {
            assert_eq!(lost.path.file_name().unwrap().to_str().unwrap(), *file, "{name}");
            let as_interval = |&(from, to, packets): &Lost| LostInterval {
                from_ns: Some(from),
                to_ns: Some(to),
                events: None,
                packets,
            };
            assert_eq!(lost.intervals, intervals.iter().map(as_interval).collect::<Vec<_>>(), "{name}");
            assert_eq!(lost.lost_packets, intervals.iter().map(|lost| lost.2).sum::<u64>(), "{name}");
            assert_eq!((lost.discarded_events, &lost.broken), (0, &None), "{name}");
        }
    }
}

#[test]
fn a_corrupted_stream_does_not_keep_the_others_from_being_read() {
    let Some(root) = shared("ctf/deterministic-ordering") else { return };
    // b-c.expect: the three events of b, which is read whole; c ends in an error.
    let expected = std::fs::read_to_string(root.join("b-c.expect")).unwrap();
    let expected = lines(&expected.replace("[0 0] {", "[0 0] {0 0 0} {").replace("{0 0 0} {0 0 0}", "{0 0 0}"));
    let alone = texts(&root.join("b-not-corrupted"), compact);
    assert_eq!(alone, expected);
    let traces = open_all(&root).unwrap();
    let mut events = Events::open(&traces, &Selection::all());
    let (mut order, mut errors) = (Vec::new(), Vec::new());
    loop {
        match events.next() {
            Ok(Some(event)) => order.push(event.trace()),
            Ok(None) => break,
            Err(error) => errors.push(error.to_string()),
        }
    }
    // At equal times in the order of the traces, each up to its damage.
    assert_eq!(order, [0, 0, 1, 1, 1, 2, 2]);
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("a-corrupted/dummystream: byte 5"), "{errors:?}");
    assert!(errors[1].contains("c-corrupted/dummystream: byte 5"), "{errors:?}");
    let broken: Vec<bool> = events.lost().iter().map(|lost| lost.broken.is_some()).collect();
    assert_eq!(broken, [true, true]);
}

/// Events discarded, as babeltrace2's `Discarded events (N events)` sum up to.
#[test]
fn discarded_events_are_those_that_babeltrace2_counts() {
    let Some(root) = shared("ctf/succeed") else { return };
    for folder in folders(&root) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let traces = open_all(&folder).unwrap();
        let mut events = Events::open(&traces, &Selection::all());
        while events.next().unwrap().is_some() {}
        let found: u64 = events.lost().iter().map(|lost| lost.discarded_events).sum();
        let expected = match name.as_str() {
            "ev-disc-no-ts-begin-end" => 17,
            "multi-domains" => 728,
            _ => 0,
        };
        assert_eq!(found, expected, "{name}");
    }
}
