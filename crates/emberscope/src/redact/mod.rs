//! `--redact`: application names, users, hosts, paths, tables, columns, SQL text, and what the user's program is called by
//! (source files, classes, functions, exceptions' messages) become stable tokens (`host-1a2b3c4d`).
//!
//! A token is a hash without a key of what it stands for, so that one name has one token in every output, of every run, and two
//! outputs can still be compared. It hides names from readers, not from somebody who can guess a name and hash it.
//!
//! What stays: ids of applications, jobs, stages, tasks and executors, times and numbers, settings that name none of the above,
//! Spark's operators and call sites (`count at ...`), frames and exception classes of Spark, Java, Scala and Python.
//!
//! What was in the log is known from the run: every occurrence of it is replaced in every text. What has the form of a path,
//! an IPv4 address or a column of a plan (`name#12`) is replaced even where the run does not name it, as in exceptions.

mod code;
mod forms;
mod secrets;
mod visit;

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use emberscope_run::Run;
use xxhash_rust::xxh3::xxh3_64;

use crate::diagnosis::Diagnosis;

/// Bytes of a secret that are searched for; what follows is compared. Texts may quote the beginning of a long secret only.
const NEEDLE_BYTES: usize = 24;

/// What a secret is: the word before the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Application,
    User,
    Host,
    Path,
    Sql,
    Table,
    Column,
    Query,
    Source,
    Function,
    Code,
    Message,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::User => "user",
            Self::Host => "host",
            Self::Path => "path",
            Self::Sql => "sql",
            Self::Table => "table",
            Self::Column => "column",
            Self::Query => "query",
            Self::Source => "source",
            Self::Function => "function",
            Self::Code => "code",
            Self::Message => "message",
        }
    }

    /// Names that are also common words stay where they are part of a name that everybody knows (`spark.sql.adaptive.enabled`
    /// of a user `spark`).
    fn may_be_a_word(self) -> bool {
        !matches!(self, Self::Host | Self::Path | Self::Sql | Self::Message)
    }

    fn token(self, value: &str) -> String {
        format!("{}-{:08x}", self.word(), xxh3_64(value.as_bytes()) >> 32)
    }
}

/// A part of a text that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: usize,
    end: usize,
    kind: Kind,
}

/// Replaces what a run's log says of people, places and data.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<(String, Kind)>,
    /// The secrets that begin with each needle.
    by_needle: Vec<Vec<usize>>,
    needles: Option<AhoCorasick>,
    /// Columns that are common words.
    words: BTreeSet<String>,
}

impl Redactor {
    /// A redactor of everything that the run names.
    pub fn of_run(run: &Run) -> Self {
        let secrets::Secrets { values, words } = secrets::of_run(run);
        Self { words, ..Self::new(values) }
    }

    /// A redactor of a path, for messages about an input that could not be read.
    pub fn of_path(path: &str) -> Self {
        Self::new(BTreeMap::from([(path.to_owned(), Kind::Path)]))
    }

    fn new(secrets: BTreeMap<String, Kind>) -> Self {
        let secrets: Vec<(String, Kind)> = secrets.into_iter().filter(|(value, _)| !value.trim().is_empty()).collect();
        let mut by_needle: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, (value, _)) in secrets.iter().enumerate() {
            let needle = value.get(..value.floor_char_boundary(NEEDLE_BYTES)).unwrap_or(value);
            by_needle.entry(needle).or_default().push(index);
        }
        // Too many secrets for an automaton are beyond any log: then forms alone are replaced, and names by their fields.
        let needles = AhoCorasick::new(by_needle.keys()).ok();
        let by_needle = by_needle.into_values().collect();
        Self { secrets, by_needle, needles, words: BTreeSet::new() }
    }

    /// Replaces everything in a diagnosis of the run.
    pub fn redact(&self, diagnosis: &mut Diagnosis) {
        visit::diagnosis(self, diagnosis);
    }

    /// The text with every secret replaced.
    pub fn text(&self, text: &str) -> String {
        let mut spans = self.known(text);
        forms::find(text, &mut spans);
        forms::join_keys(text, &self.words, &mut spans);
        // The one that begins first wins, the longest of those; one that begins inside it is taken in.
        spans.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)).then(a.kind.cmp(&b.kind)));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        let mut spans = spans.into_iter().peekable();
        while let Some(mut span) = spans.next() {
            while let Some(inner) = spans.next_if(|next| next.start < span.end) {
                span.end = span.end.max(inner.end);
            }
            out.push_str(text.get(at..span.start).unwrap_or_default());
            out.push_str(&span.kind.token(text.get(span.start..span.end).unwrap_or_default()));
            at = span.end;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        out
    }

    fn known(&self, text: &str) -> Vec<Span> {
        let mut spans = Vec::new();
        for found in self.needles.iter().flat_map(|needles| needles.find_overlapping_iter(text)) {
            let rest = text.get(found.start()..).unwrap_or_default();
            for &secret in self.by_needle.get(found.pattern().as_usize()).into_iter().flatten() {
                let Some((value, kind)) = self.secrets.get(secret) else { continue };
                let common = common_prefix(value, rest);
                let span = Span { start: found.start(), end: found.start() + common, kind: *kind };
                let whole = common == value.len();
                let long = value.len() > NEEDLE_BYTES;
                if long
                    || (whole && stands_alone(text, span) && !(kind.may_be_a_word() && forms::is_public(text, span)))
                {
                    spans.push(span);
                }
            }
        }
        spans
    }
}

/// Bytes that both begin with, at a boundary of characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.floor_char_boundary(common)
}

/// Whether no letter, digit or underscore touches a span: `web-1` is not in `web-12`.
fn stands_alone(text: &str, span: Span) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..span.start).and_then(|text| text.chars().next_back());
    let after = text.get(span.end..).and_then(|text| text.chars().next());
    !before.is_some_and(word) && !after.is_some_and(word)
}

#[cfg(test)]
mod tests;
