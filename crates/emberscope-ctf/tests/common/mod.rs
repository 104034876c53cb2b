//! What the tests of this crate share: where the real traces lie, traces made by hand, and events as text.

#![allow(dead_code, unreachable_pub, reason = "every test uses a part of this")]
#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::path::{Path, PathBuf};

use emberscope_ctf::{Class, Error, Event, Events, Field, IntegerKind, Selection, Structure, Trace, discover};

/// A folder below the shared real inputs; `None`, and a word about it, where it is not.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("EMBERSCOPE_SHARED") {
        Some(named) => PathBuf::from(named),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let found = [root.join("real").join(folder), root.join(folder)].into_iter().find(|place| place.is_dir());
    if found.is_none() {
        eprintln!("skipped: the shared inputs {folder} are not there");
    }
    found
}

/// All traces at or below a folder.
pub fn open_all(root: &Path) -> Result<Vec<Trace>, Error> {
    discover(root)?.iter().map(|folder| Trace::open(folder)).collect()
}

/// The folders of a folder, by name.
pub fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// A trace in a folder of its own.
pub struct Made {
    pub folder: tempfile::TempDir,
}

impl Made {
    pub fn new(metadata: impl AsRef<[u8]>, streams: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metadata"), metadata).unwrap();
        for (name, bytes) in streams {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self { folder }
    }

    pub fn open(&self) -> Trace {
        Trace::open(self.folder.path()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Time and payload of all events, or the error that ends them.
    pub fn payloads(&self) -> Result<Vec<(i64, String)>, Error> {
        let traces = [Trace::open(self.folder.path())?];
        let mut events = Events::open(&traces, &Selection::all());
        let mut all = Vec::new();
        while let Some(event) = events.next()? {
            let record = event.record()?;
            all.push((event.time_ns(), short(&record.payload)));
        }
        Ok(all)
    }

    /// Payloads without their times.
    pub fn texts(&self) -> Vec<String> {
        self.payloads().unwrap_or_else(|error| panic!("{error}")).into_iter().map(|event| event.1).collect()
    }
}

/// A field in few words: `{a: 1, b: [2, 3], c: "x"}`; labels of enumerations behind `=`.
pub fn short(field: &Field) -> String {
    let labels =
        |labels: &Option<Vec<String>>| labels.as_ref().map_or(String::new(), |all| format!("={}", all.join("|")));
    match field {
        Field::Unsigned(value, names) => format!("{value}{}", labels(names)),
        Field::Signed(value, names) => format!("{value}{}", labels(names)),
        Field::Float(value) => format!("{value:?}"),
        Field::Text(text) => format!("{text:?}"),
        Field::Bytes(bytes) => format!("{bytes:02x?}"),
        Field::Structure(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, field)| format!("{name}: {}", short(field))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Field::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(short).collect();
            format!("[{}]", elements.join(", "))
        }
        Field::Variant(inner) => short(inner),
        Field::Optional(inner) => inner.as_ref().map_or("-".to_owned(), |inner| short(inner)),
    }
}

/// Digits in groups, as babeltrace2 shows them: of 3 from 10,000 on; of 4 where hexadecimal.
fn number(value: u64, base: u32) -> String {
    let (prefix, digits, size, separator) = match base {
        16 | 2 => ("0x", format!("{value:x}"), 4, ':'),
        8 => ("0", format!("{value:o}"), 3, ':'),
        _ if value <= 9999 => return value.to_string(),
        _ => ("", value.to_string(), 3, ','),
    };
    let mut text = prefix.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(size) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

fn signed(value: i64, base: u32) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, number(value.unsigned_abs(), base))
}

/// Appends a field as `sink.text.details` has it behind the field's name and colon.
fn field(text: &mut String, value: &Field, class: &Class, indent: usize) {
    match (value, class) {
        (Field::Unsigned(value, _), Class::Integer(integer)) => match integer.kind {
            IntegerKind::Boolean => text.push_str(if *value == 0 { " No" } else { " Yes" }),
            IntegerKind::Number | IntegerKind::Bits => text.push_str(&format!(" {}", number(*value, integer.base))),
        },
        (Field::Signed(value, _), Class::Integer(integer)) => {
            text.push_str(&format!(" {}", signed(*value, integer.base)));
        }
        (Field::Float(value), _) => text.push_str(&format!(" {value:.6}")),
        (Field::Text(found), _) => {
            text.push_str(&if found.is_empty() { " Empty".to_owned() } else { format!(" {found}") })
        }
        (Field::Structure(_), Class::Structure(class)) => structure(text, value, class, indent),
        (Field::Array(elements), Class::Array(_)) if elements.is_empty() => text.push_str(" Empty"),
        (Field::Array(elements), Class::Array(array)) => {
            text.push_str(&format!(" Length {}:", number(elements.len() as u64, 10)));
            for (index, element) in elements.iter().enumerate() {
                text.push_str(&format!("\n{:indent$}[{}]:", "", number(index as u64, 10), indent = indent + 2));
                field(text, element, &array.element, indent + 2);
            }
        }
        (Field::Variant(inner), Class::Variant(variant)) => {
            // The option is not told; those of the real traces are of one kind.
            let fits = |class: &Class| {
                matches!(
                    (&**inner, class),
                    (Field::Text(_), Class::String(_))
                        | (Field::Structure(_), Class::Structure(_))
                        | (Field::Unsigned(..) | Field::Signed(..), Class::Integer(_))
                )
            };
            let choice = variant.choices.iter().find(|choice| fits(&choice.member.class)).unwrap();
            field(text, inner, &choice.member.class, indent);
        }
        other => panic!("no words for {other:?}"),
    }
}

fn structure(text: &mut String, value: &Field, class: &Structure, indent: usize) {
    let Field::Structure(members) = value else { panic!("{value:?} is not a structure") };
    if members.is_empty() {
        text.push_str(" Empty");
    }
    for ((name, value), member) in members.iter().zip(&class.members) {
        assert_eq!(name, &member.name);
        text.push_str(&format!("\n{:indent$}{name}:", "", indent = indent + 2));
        field(text, value, &member.class, indent + 2);
    }
}

/// The time line and the event's block as babeltrace2's `sink.text.details` writes them, without the line of its ids.
pub fn details(event: &Event<'_>) -> String {
    let mut text = time_line(event);
    let class = event.class().unwrap();
    text.push_str(&format!("Event `{}` (Class ID {}):", class.name, class.id));
    let record = event.record().unwrap_or_else(|error| panic!("{error}"));
    let empty = Structure::default();
    let roots = [
        ("Common context", &record.common_context, event.common_context().unwrap_or(&empty)),
        ("Specific context", &record.specific_context, class.context()),
        ("Payload", &record.payload, class.payload()),
    ];
    for (name, value, class) in roots {
        if !class.members.is_empty() || name == "Payload" {
            text.push_str(&format!("\n  {name}:"));
            structure(&mut text, value, class, 2);
        }
    }
    text
}

/// `[41 cycles, 41 ns from origin]` and a line feed; nothing without a clock.
pub fn time_line(event: &Event<'_>) -> String {
    if !event.has_clock() {
        return String::new();
    }
    let (cycles, ns) = (number(event.clock_value(), 10), signed(event.time_ns(), 10));
    format!("[{cycles} cycles, {ns} ns from origin]\n")
}

/// The same in one line: `[41 41] Event `name` (0)`.
pub fn compact(event: &Event<'_>) -> String {
    let class = event.class().unwrap();
    let (cycles, ns) = (number(event.clock_value(), 10), signed(event.time_ns(), 10));
    format!("[{cycles} {ns}] Event `{}` ({})", class.name, class.id)
}
