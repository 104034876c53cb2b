//! Damaged and hostile traces: nothing panics, everything ends, and little memory is used.

#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Made, folders, shared};
use emberscope_ctf::{Events, Selection, Trace, discover};

/// Numbers that are the same in every run (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One file of a trace, changed a little; which may be its metadata.
fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    match chance.below(8) {
        0 => bytes.truncate(chance.below(bytes.len() + 1)),
        1 => {
            let more = chance.below(64);
            bytes.extend((0..more).map(|index| index as u8));
        }
        2 if !bytes.is_empty() => {
            let from = chance.below(bytes.len());
            let to = (from + chance.below(16)).min(bytes.len());
            bytes.drain(from..to);
        }
        3 if !bytes.is_empty() => {
            let at = chance.below(bytes.len());
            let value = [0, 0xff, 0x7f, 0x80][chance.below(4)];
            let to = (at + 1 + chance.below(8)).min(bytes.len());
            bytes[at..to].fill(value);
        }
        _ if !bytes.is_empty() => {
            for _ in 0..=chance.below(3) {
                // Headers are where most can go wrong.
                let end = if chance.below(2) == 0 { bytes.len().min(128) } else { bytes.len() };
                let at = chance.below(end);
                bytes[at] ^= 1 << chance.below(8);
            }
        }
        _ => bytes.push(0),
    }
}

/// Metadata with another digit, or with one word in the place of another: what may still be understood.
fn reword(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
    if chance.below(3) > 0 && !digits.is_empty() {
        bytes[digits[chance.below(digits.len())]] = b'0' + chance.below(10) as u8;
        return;
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts: Vec<usize> = (1..bytes.len()).filter(|&at| is_word(bytes[at]) && !is_word(bytes[at - 1])).collect();
    if starts.is_empty() {
        return;
    }
    let word = |at: usize| at..at + bytes[at..].iter().position(|&byte| !is_word(byte)).unwrap_or(bytes.len() - at);
    let (one, other) = (word(starts[chance.below(starts.len())]), word(starts[chance.below(starts.len())]));
    let text = bytes[other].to_vec();
    bytes.splice(one, text);
}

/// Reads all that can be read, in both ways; gives the number of events.
fn read(folder: &Path) -> u64 {
    let Ok(trace) = Trace::open(folder) else { return 0 };
    let mut some = Selection::new();
    for class in trace.event_classes() {
        let fields: Vec<&str> = class.payload().members.iter().map(|member| member.name.as_str()).collect();
        some.event(&class.name, &fields);
    }
    let bits = 8 * trace.bytes();
    let traces = [trace];
    let mut number = 0;
    for selection in [Selection::all(), some, Selection::new()] {
        let mut events = Events::open(&traces, &selection);
        loop {
            match events.next() {
                Ok(Some(event)) => {
                    number += 1;
                    let _ = event.record();
                    for index in 0..8 {
                        let _ = event.value(index);
                    }
                }
                Ok(None) => break,
                Err(_) => {}
            }
        }
        events.lost();
    }
    assert!(number <= 3 * bits, "more events than bits");
    number
}

/// A trace's folder, and its files by name.
type Small = (PathBuf, Vec<(String, Vec<u8>)>);

/// The small traces that must be read, each as its files.
fn small() -> Vec<Small> {
    let Some(root) = shared("ctf/succeed") else { return Vec::new() };
    let mut all = Vec::new();
    for folder in folders(&root).iter().flat_map(|folder| discover(folder).unwrap()) {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
        files.sort();
        if files.iter().map(|file| file.1.len()).sum::<usize>() < 40_000 {
            all.push((folder, files));
        }
    }
    assert!(all.len() > 20);
    all
}

fn mutations(metadata: bool, rounds: usize, seed: u64) {
    let traces = small();
    let mut chance = Chance(seed);
    let (mut unharmed, mut read_some) = (0, 0);
    for round in 0..rounds {
        let Some((_, files)) = traces.get(round % traces.len().max(1)) else { return };
        let mut files = files.clone();
        let of_kind: Vec<usize> =
            (0..files.len()).filter(|&index| (files[index].0 == "metadata") == metadata).collect();
        let Some(&index) = of_kind.get(chance.below(of_kind.len())) else { continue };
        for _ in 0..=chance.below(2) {
            if metadata && chance.below(4) > 0 {
                reword(&mut files[index].1, &mut chance);
            } else {
                mutate(&mut files[index].1, &mut chance);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        unharmed += usize::from(Trace::open(folder.path()).is_ok());
        read_some += usize::from(read(folder.path()) > 0);
    }
    // Changes that nothing can be read after would test little.
    assert!(unharmed * 10 > rounds && read_some * 10 > rounds, "{unharmed} and {read_some} of {rounds}");
}

#[test]
fn damaged_streams_never_panic() {
    mutations(false, 4000, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn damaged_metadata_never_panic() {
    mutations(true, 3000, 0xdead_beef_cafe_f00d);
}

const HEAD: &str = "/* CTF 1.8 */\ntrace { major = 1; minor = 8; byte_order = le; };\ntypealias integer { size = 8; align = 8; signed = false; } := u8;\n";

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

/// What reading ends with: an error's text, or how many events there are. Must not take long.
fn hostile(name: &str, metadata: &str, stream: &[u8]) -> String {
    let made = Made::new(metadata, &[("stream", stream.to_vec())]);
    let start = Instant::now();
    let result = match made.payloads() {
        Ok(events) => format!("{} events", events.len()),
        Err(error) => error.to_string(),
    };
    assert!(start.elapsed() < Duration::from_secs(5), "{name} took {:?}", start.elapsed());
    result
}

fn event(fields: &str) -> String {
    format!("{HEAD}event {{ name = \"e\"; fields := struct {{ {fields} }}; }};")
}

#[test]
fn hostile_metadata_end_in_an_error_soon() {
    let doubling = |first: &str| {
        let mut text = format!("{HEAD}typealias {first} := t0;\n");
        for level in 1..60 {
            text += &format!("typealias struct {{ t{0} a; t{0} b; }} := t{level};\n", level - 1);
        }
        text + "event { name = e; fields := struct { t59 x; }; };"
    };
    let chain = |levels: usize| {
        let mut text = format!("{HEAD}typealias u8 := t0;\n");
        for level in 1..levels {
            text += &format!("typealias struct {{ t{} a; }} := t{level};\n", level - 1);
        }
        text + &format!("event {{ name = e; fields := struct {{ t{} x; }}; }};", levels - 1)
    };
    let wide = |count: usize| (0..count).map(|index| format!("u8 f{index};")).collect::<String>();
    let long = "n".repeat(100_000);
    let mut names = format!("{HEAD}typealias struct {{ u8 {long}; }} := t0;\n");
    names += &format!(
        "event {{ name = e; fields := struct {{ {} }}; }};",
        (0..20_000).map(|index| format!("t0 f{index};")).collect::<String>()
    );
    let typedefs = format!(
        "{HEAD}typealias struct {{ {} }} := t0;\ntypedef t0 {};",
        wide(100_000),
        (0..10_000).map(|index| format!("a{index}")).collect::<Vec<_>>().join(", ")
    );
    let contexts = format!(
        "{HEAD}stream {{ event.context := struct {{ {} }}; }};\n{}",
        wide(200_000),
        (0..20_000).map(|id| format!("event {{ name = e; id = {id}; }};")).collect::<String>()
    );
    let sequences = event(&(0..60_000).map(|index| format!("u8 n{index}; u8 s{index}[n{index}];")).collect::<String>());
    let labels: String = (0..50_000).map(|index| format!("a = {index},")).collect();
    let variants = format!(
        "{HEAD}stream {{ event.header := struct {{ enum : u8 {{ {labels} }} tag; }}; }};\n{}",
        (0..20_000).map(|id| format!("event {{ name = e; id = {id}; fields := struct {{ variant <stream.event.header.tag> {{ u8 a; }} v; }}; }};")).collect::<String>()
    );
    let cases: [(&str, String, &str); 19] = [
        ("blocks in blocks", format!("{HEAD}{}", "struct a { ".repeat(100_000)), "nested more than"),
        ("variants in variants", event(&"variant { ".repeat(100_000)), "nested more than"),
        ("bases of bases", event(&"enum : ".repeat(1_000_000)), "nested more than"),
        ("dimensions", event(&format!("u8 x{};", "[1]".repeat(1_000_000))), "dimensions"),
        ("unknown blocks in blocks", format!("{HEAD}callsite {{ {}", "struct { ".repeat(100_000)), "nested more than"),
        ("doubling", doubling("u8"), "more than 1000000 field classes"),
        ("doubling nothing", doubling("struct {}"), "more than 1000000 field classes"),
        ("a chain of structures", chain(5000), "nested more than"),
        ("long names", names, "more than 1000000 field classes"),
        ("many typedefs of a large structure", typedefs, "more than 1000000 field classes"),
        ("too many fields", event(&wide(1_100_000)), "more than 1000000 field classes"),
        ("a large context of many events", contexts, "events"),
        ("many sequences", sequences, ""),
        ("variants of many labels", variants, "too many"),
        ("signs", format!("{HEAD}{}", ";".repeat(9 << 20)), "words and signs"),
        (
            "clocks",
            format!("{HEAD}{}", (0..100_000).map(|n| format!("clock {{ name = c{n}; }};")).collect::<String>()),
            "clocks",
        ),
        ("a length of itself", event("u8 x[event.fields.x];"), "comes behind"),
        ("a length behind", event("u8 x[event.fields.y]; u8 y;"), "comes behind"),
        (
            "streams",
            format!("{HEAD}{}", (0..100_000).map(|n| format!("stream {{ id = {n}; }};")).collect::<String>()),
            "events",
        ),
    ];
    for (name, metadata, expected) in cases {
        let found = hostile(name, &metadata, &[]);
        assert!(found.contains(expected), "{name}: {found}");
    }
    let peak = peak_bytes();
    assert!(peak < 800 << 20, "{} MiB at most", peak >> 20);
}

#[test]
fn hostile_lengths_end_in_an_error_soon() {
    let long = "typealias integer { size = 64; align = 8; signed = false; } := u64;\n";
    let with = |fields: &str| event(fields).replace("typealias integer", &format!("{long}typealias integer"));
    let most = [0xff; 8];
    let cases = [
        ("arrays of nothing", event("struct {} x[18446744073709551615]; u8 y;"), &[7][..], "1 events"),
        (
            "arrays of arrays of nothing",
            event("struct {} x[4294967295][4294967295][4294967295]; u8 y;"),
            &[7],
            "1 events",
        ),
        (
            "sequences of nothing",
            with("u64 n; struct { u8 z[0]; } x[n]; u8 y;"),
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7],
            "1 events",
        ),
        ("2^64 bytes", with("u64 n; u8 x[n];"), &most, "goes beyond its packet"),
        ("2^64 words", with("u64 n; u64 x[n];"), &most, "goes beyond its packet"),
        ("2^64 texts", with("u64 n; string x[n];"), &most, "goes beyond its packet"),
        (
            "2^64 texts of something",
            with("u64 n; struct { u64 m; string y[m]; } x[n];"),
            &[0xff; 64],
            "goes beyond its packet",
        ),
        (
            "2^64 of 2^64",
            with("u64 n; struct { u64 m; u8 y[18446744073709551615]; } x[n];"),
            &[0xff; 64],
            "goes beyond its packet",
        ),
        ("an array of 2^64 - 1", event("u8 x[18446744073709551615];"), &most, "goes beyond its packet"),
        (
            "arrays whose size overflows",
            with("u64 x[4294967295][4294967295][4294967295];"),
            &most,
            "goes beyond its packet",
        ),
        (
            "an array of aligned bits",
            event("struct { integer { size = 1; align = 1048576; } b; } x[4294967295];"),
            &most,
            "goes beyond its packet",
        ),
        ("events without a bit", event(""), &most, "an event without a bit"),
    ];
    for (name, metadata, stream, expected) in cases {
        let found = hostile(name, &metadata, stream);
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[test]
fn an_event_of_too_many_fields_is_not_shown_but_read() {
    let metadata = event("integer { size = 32; } n; integer { size = 1; } x[n];");
    let mut stream = 40_000_000_u32.to_le_bytes().to_vec();
    stream.resize(4 + 5_000_000, 0x55);
    let made = Made::new(&metadata, &[("stream", stream)]);
    let traces = [made.open()];
    let mut selection = Selection::new();
    selection.event("e", &["n"]);
    let mut events = Events::open(&traces, &selection);
    let event = events.next().unwrap().unwrap();
    assert_eq!(event.value(0).as_u64(), Some(40_000_000));
    let error = event.record().unwrap_err().to_string();
    assert!(error.contains("more than 4,000,000 fields"), "{error}");
    assert!(events.next().unwrap().is_none());
}

#[test]
fn hostile_json_ends_in_an_error_soon() {
    let preamble = "\u{1e}{\"type\":\"preamble\",\"version\":2}";
    let of = |fields: String| {
        format!(
            "{preamble}\u{1e}{{\"type\":\"data-stream-class\"}}\u{1e}{{\"type\":\"event-record-class\",\"payload-field-class\":{fields}}}"
        )
    };
    let nested = |levels: usize| {
        let open = "{\"type\":\"static-length-array\",\"length\":1,\"element-field-class\":".repeat(levels);
        format!("{open}{{\"type\":\"null-terminated-string\"}}{}", "}".repeat(levels))
    };
    let mut aliases = String::from(preamble);
    aliases +=
        "\u{1e}{\"type\":\"field-class-alias\",\"name\":\"t0\",\"field-class\":{\"type\":\"null-terminated-string\"}}";
    for level in 1..60 {
        let before = level - 1;
        aliases += &format!(
            "\u{1e}{{\"type\":\"field-class-alias\",\"name\":\"t{level}\",\"field-class\":{{\"type\":\"structure\",\"member-classes\":[{{\"name\":\"a\",\"field-class\":\"t{before}\"}},{{\"name\":\"b\",\"field-class\":\"t{before}\"}}]}}}}"
        );
    }
    let member =
        |index: usize| format!("{{\"name\":\"m{index}\",\"field-class\":{{\"type\":\"null-terminated-string\"}}}}");
    let members = (0..200_000).map(member).collect::<Vec<_>>().join(",");
    let cases = [
        ("arrays in arrays", of(nested(100)), "nested more than"),
        ("arrays in arrays beyond the parser", of(nested(5000)), "recursion limit"),
        ("doubling", aliases, "more than 1000000 field classes"),
        ("brackets", format!("{preamble}\u{1e}{}", "[".repeat(1_000_000)), "recursion limit"),
        ("many members", of(format!("{{\"type\":\"structure\",\"member-classes\":[{members}]}}")), "events"),
        ("nothing", "\u{1e}\u{1e}\u{1e}".to_owned(), "no preamble"),
        ("cut", "\u{1e}{\"type\":\"preamble\",\"version\":2".to_owned(), "EOF"),
    ];
    for (name, metadata, expected) in cases {
        let found = hostile(name, &metadata, &[]);
        assert!(found.contains(expected), "{name}: {found}");
    }
}
