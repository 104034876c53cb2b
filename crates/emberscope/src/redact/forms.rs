//! What is a secret by its form: paths, IPv4 addresses, columns of a plan. And what is public by its form.

use std::collections::BTreeSet;

use super::{Kind, Span};

/// Names that begin so are known to everybody.
const PUBLIC: [&str; 9] =
    ["spark.", "org.apache.", "java.", "javax.", "scala.", "sun.", "jdk.", "com.databricks.", "emberscope."];

/// Adds every part of a text that has the form of a secret.
pub(super) fn find(text: &str, spans: &mut Vec<Span>) {
    paths(text, spans);
    addresses(text, spans);
    columns(text, spans);
}

/// Whether a span is a part, and not the whole, of a dotted name that begins as public names do.
pub(super) fn is_public(text: &str, span: Span) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$');
    let before = text.get(..span.start).unwrap_or_default();
    let start = before.trim_end_matches(part).len();
    let after = text.get(span.end..).unwrap_or_default();
    let end = text.len() - after.trim_start_matches(part).len();
    let name = text.get(start..end).unwrap_or_default();
    name.trim_end_matches('.').len() > span.end - span.start && PUBLIC.iter().any(|public| name.starts_with(public))
}

/// Absolute paths and URLs: from a `/` that begins a word, or from the scheme before `:/`, to white space or a closing mark.
fn paths(text: &str, spans: &mut Vec<Span>) {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find('/')).map(|at| at + from) {
        from = at + 1;
        let before = text.get(..at).unwrap_or_default();
        let Some(start) = path_start(before) else { continue };
        let body = text.get(at..).unwrap_or_default();
        let end = body.find(|c: char| c.is_whitespace() || "\"'`<>|,;)]}".contains(c)).unwrap_or(body.len());
        let body = body.get(..end).unwrap_or_default();
        let body = without_line_number(body.trim_end_matches(['.', ':']));
        if body.trim_start_matches('/').starts_with(|c: char| c.is_alphanumeric() || "_.~$-{".contains(c)) {
            spans.push(Span { start, end: at + body.len(), kind: Kind::Path });
            from = at + body.len().max(1);
        }
    }
}

/// Where a path with a `/` behind `before` begins; `None` when that `/` is within a word, as in `and/or`.
fn path_start(before: &str) -> Option<usize> {
    if let Some(scheme) = before.strip_suffix(':') {
        let start = scheme.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+.-:".contains(c)).len();
        return Some(start);
    }
    let begins = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`([{=<,;|!".contains(c));
    begins.then_some(before.len())
}

fn without_line_number(path: &str) -> &str {
    match path.rsplit_once(':') {
        Some((file, line))
            if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) && !file.is_empty() =>
        {
            file
        }
        _ => path,
    }
}

fn addresses(text: &str, spans: &mut Vec<Span>) {
    let mut at = 0;
    for word in text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')) {
        let name = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let mut numbers = 0;
        if name.split('.').all(|part| {
            numbers += 1;
            part.parse::<u8>().is_ok()
        }) && numbers == 4
        {
            spans.push(Span { start: at, end: at + name.len(), kind: Kind::Host });
        }
        at += word.len();
    }
}

/// Attributes of a plan: `name#12` and `name#12L`; the number stays.
pub(super) fn columns(text: &str, spans: &mut Vec<Span>) {
    for (at, _) in text.match_indices('#') {
        let before = text.get(..at).unwrap_or_default();
        let start = before.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')).len();
        let numbered = text.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if numbered && start < at {
            spans.push(Span { start, end: at, kind: Kind::Column });
        }
    }
}

/// Columns that are common words, where a text speaks of a join's keys: behind `Join on` up to the end of the keys, and on both
/// sides of ` = `.
pub(super) fn join_keys(text: &str, words: &BTreeSet<String>, spans: &mut Vec<Span>) {
    const ENDS: [&str; 8] = [" in SQL ", " in stage ", " took ", " shuffled ", " put ", "; ", ". ", ": "];
    for (at, on) in text.match_indices("oin on ") {
        let start = at + on.len();
        let keys = text.get(start..).unwrap_or_default();
        let end = ENDS.iter().filter_map(|end| keys.find(end)).min().unwrap_or(keys.len());
        identifiers(text, start, start + end, words, spans);
    }
    for (at, equals) in text.match_indices(" = ") {
        let before = text.get(..at).unwrap_or_default();
        let start = before.rfind([' ', ',', ';']).map_or(0, |space| space + 1);
        identifiers(text, start, at, words, spans);
        let from = at + equals.len();
        let after = text.get(from..).unwrap_or_default();
        let end = after.find([' ', ',', ';']).unwrap_or(after.len());
        identifiers(text, from, from + end, words, spans);
    }
}

/// Adds the identifiers of a part of a text that are among `words`; a part of a dotted name is none.
fn identifiers(text: &str, start: usize, end: usize, words: &BTreeSet<String>, spans: &mut Vec<Span>) {
    let part = text.get(start..end).unwrap_or_default();
    let mut at = start;
    for piece in part.split_inclusive(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        let word = piece.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
        let name = word.rsplit('.').next().unwrap_or(word);
        // `count(1)` is a function, though a column may be called `count`.
        let called = piece.get(word.len()..).is_some_and(|rest| rest.starts_with('('));
        if words.contains(name) && !called && (name == word || !word.starts_with("spark.")) {
            spans.push(Span { start: at, end: at + word.len(), kind: Kind::Column });
        }
        at += piece.len();
    }
}
