//! A pull parser for JSON lines: it reads what it is asked for and skips the rest without building anything.
//!
//! Task ends are nine tenths of a log and hold some seventy numbers each; a general deserializer spends its time on
//! what is thrown away. Skipped parts are checked for balanced brackets and closed strings only.

mod text;
mod words;

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use memchr::memchr2;

pub(super) use text::cut;
use text::unescape;
use words::{POWERS_OF_TEN, begins, leading_digits, quotes_and_escapes};

/// Nesting that is entered; skipping is not recursive and needs no bound.
const MAX_DEPTH: u32 = 700;

/// Fields that an object may leave out without its being searched for among all.
const AHEAD: usize = 3;

/// Bytes of a string that are looked at one by one before the search by vectors begins.
const SHORT: usize = 32;

/// Why a line is no JSON that can be read, and at which byte of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonError {
    /// The byte of the line.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) what: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

pub(super) type Result<T> = std::result::Result<T, JsonError>;

/// A cursor over one line.
#[derive(Debug, Clone)]
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Json<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// The bytes from the cursor on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves the cursor forward without looking.
    pub(super) fn advance(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.bytes.len());
    }

    fn error<T>(&self, what: &'static str) -> Result<T> {
        Err(JsonError { at: self.at, what })
    }

    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if byte > b' ' {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<()> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            self.error(what)
        }
    }

    /// Whether nothing but white space is left.
    pub(super) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads an object: `field` is given each key as it stands and must read or skip its value. Anything else than an
    /// object (`null`, a string) is skipped and has no fields.
    #[inline]
    pub(super) fn object(&mut self, mut field: impl FnMut(&'a [u8], &mut Self) -> Result<()>) -> Result<()> {
        if !self.open(b'{', b'}')? {
            return Ok(());
        }
        loop {
            let key = self.raw_string()?;
            self.expect(b':', "a colon is missing")?;
            field(key, self)?;
            if !self.more(b'}', "an object is not closed")? {
                return Ok(());
            }
        }
    }

    /// Reads an object whose fields mostly come in one order, as Spark writes them: each is first compared with the one that is due.
    /// `fields` are `"Name":` as Spark writes them; `known` is given `state` and the index of a field and must read or skip its
    /// value. Fields that are not listed are skipped.
    #[inline]
    pub(super) fn ordered<S>(
        &mut self,
        fields: &[&[u8]],
        state: &mut S,
        mut known: impl FnMut(&mut S, usize, &mut Self) -> Result<()>,
    ) -> Result<()> {
        if !self.open(b'{', b'}')? {
            return Ok(());
        }
        let mut due = 0;
        loop {
            let found = match fields.get(due) {
                Some(field) if begins(self.rest(), field) => {
                    self.at += field.len();
                    Some(due)
                }
                _ => self.find_field(fields, due)?,
            };
            match found {
                Some(index) => {
                    due = index + 1;
                    known(state, index, self)?;
                }
                None => self.skip()?,
            }
            if self.bytes.get(self.at) == Some(&b',') {
                self.at += 1;
            } else if !self.more(b'}', "an object is not closed")? {
                return Ok(());
            }
        }
    }

    /// Goes behind the colon of a field that is not the one due and gives its index; `None` when it is none of them.
    #[inline(never)]
    fn find_field(&mut self, fields: &[&[u8]], due: usize) -> Result<Option<usize>> {
        // White space behind the comma is not what Spark writes; it must not hide the field that is due.
        self.peek();
        let rest = self.rest();
        let ahead = fields.iter().enumerate().skip(due).take(AHEAD).find(|(_, field)| begins(rest, field));
        if let Some((index, field)) = ahead {
            self.at += field.len();
            return Ok(Some(index));
        }
        let key = self.raw_string()?;
        self.expect(b':', "a colon is missing")?;
        let is_key = |field: &&[u8]| field.get(1..field.len().saturating_sub(2)) == Some(key);
        Ok(fields.iter().position(is_key))
    }

    /// Reads an array: `item` must read or skip one value. Anything else than an array is skipped and has no items.
    pub(super) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if !self.open(b'[', b']')? {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.more(b']', "an array is not closed")? {
                return Ok(());
            }
        }
    }

    /// Enters an object or array; false when it has no items, or is another value, which is skipped.
    #[inline]
    fn open(&mut self, bracket: u8, closing: u8) -> Result<bool> {
        if self.peek() != Some(bracket) {
            return self.skip().map(|()| false);
        }
        self.enter()?;
        self.at += 1;
        if self.peek() == Some(closing) {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    /// Goes on to the next item behind a comma; false when the object or array ends here.
    #[inline]
    fn more(&mut self, closing: u8, not_closed: &'static str) -> Result<bool> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == closing => {
                self.leave();
                Ok(false)
            }
            _ => self.error(not_closed),
        }
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.error("the nesting is deeper than the limit of 700") } else { Ok(()) }
    }

    /// The bytes between the quotes, escapes as they stand.
    #[inline]
    fn raw_string(&mut self) -> Result<&'a [u8]> {
        self.string().map(|(raw, _)| raw)
    }

    /// The bytes between the quotes, escapes as they stand, and whether there are any.
    #[inline]
    fn string(&mut self) -> Result<(&'a [u8], bool)> {
        self.expect(b'"', "a string is missing")?;
        let start = self.at;
        // Keys and ids are short: words of eight bytes end before a search by vectors has begun.
        for _ in 0..SHORT / 8 {
            let Some(word) = self.rest().first_chunk() else { break };
            let found = quotes_and_escapes(u64::from_le_bytes(*word));
            if found == 0 {
                self.at += 8;
                continue;
            }
            self.at += found.trailing_zeros() as usize / 8;
            if self.bytes.get(self.at) == Some(&b'"') {
                let raw = self.bytes.get(start..self.at).unwrap_or_default();
                self.at += 1;
                return Ok((raw, false));
            }
            break;
        }
        let mut escaped = false;
        loop {
            let Some(offset) = memchr2(b'"', b'\\', self.rest()) else {
                return self.error("a string is not closed");
            };
            self.at += offset;
            if self.bytes.get(self.at) == Some(&b'"') {
                let raw = self.bytes.get(start..self.at).unwrap_or_default();
                self.at += 1;
                return Ok((raw, escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// A string; a number, `true` or `false` is given as it stands, `null` and anything nested as `None`.
    pub(super) fn text(&mut self) -> Result<Option<Cow<'a, str>>> {
        match self.peek() {
            Some(b'"') => {
                let (raw, escaped) = self.string()?;
                Ok(Some(if escaped {
                    Cow::Owned(unescape(raw))
                } else {
                    std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed)
                }))
            }
            Some(b'{' | b'[' | b'n') => self.skip().map(|()| None),
            _ => {
                let start = self.at;
                self.skip()?;
                Ok(Some(String::from_utf8_lossy(self.bytes.get(start..self.at).unwrap_or_default())))
            }
        }
    }

    /// A string of at most `max` bytes, cut at a character; `None` for `null` and anything nested.
    pub(super) fn text_cut(&mut self, max: usize) -> Result<Option<String>> {
        Ok(self.text()?.map(|text| cut(&text, max)))
    }

    /// The same for short texts of which a log has many.
    pub(super) fn compact_cut(&mut self, max: usize) -> Result<Option<CompactString>> {
        Ok(self.text()?.map(|text| CompactString::from(text.get(..text.floor_char_boundary(max)).unwrap_or_default())))
    }

    /// A whole number, also inside a string or with a fraction of zeros; `None` for `null` and anything else.
    #[inline]
    pub(super) fn signed(&mut self) -> Result<Option<i64>> {
        let mut quoted = false;
        match self.peek() {
            Some(b'0'..=b'9' | b'-') => {}
            Some(b'"') => quoted = true,
            _ => return self.skip().map(|()| None),
        }
        let start = self.at;
        let mut at = self.at + usize::from(quoted);
        let negative = self.bytes.get(at) == Some(&b'-');
        at += usize::from(negative);
        let mut value = 0_i64;
        let digits_at = at;
        let mut overflow = false;
        while let Some(digit) = self.bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            match value.checked_mul(10).and_then(|value| value.checked_add(i64::from(digit))) {
                Some(next) => value = next,
                None => overflow = true,
            }
            at += 1;
        }
        if at == digits_at || overflow {
            self.at = start;
            return self.skip().map(|()| None);
        }
        match self.bytes.get(at) {
            Some(b'"') if quoted => at += 1,
            Some(b'.' | b'e' | b'E') => {
                self.at = start;
                let number = self.number()?;
                return Ok(number.filter(|number| number.abs() < 9e18).map(|number| number as i64));
            }
            _ if quoted => {
                self.at = start;
                return self.skip().map(|()| None);
            }
            _ => {}
        }
        self.at = at;
        Ok(Some(if negative { -value } else { value }))
    }

    /// A number that is not negative; Spark's `-1` for "not known" is `None`.
    #[inline]
    pub(super) fn unsigned(&mut self) -> Result<Option<u64>> {
        // Most numbers of a log are a single digit, and most of those 0.
        if let Some(&[digit @ b'0'..=b'9', b',' | b'}' | b']', ..]) = self.bytes.get(self.at..) {
            self.at += 1;
            return Ok(Some(u64::from(digit - b'0')));
        }
        // Up to 16 digits are read by words of eight; everything else goes the long way.
        let (mut value, mut at) = (0_u64, self.at);
        for _ in 0..2 {
            let Some(word) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            let (number, digits) = leading_digits(u64::from_le_bytes(*word));
            value = value.wrapping_mul(POWERS_OF_TEN[digits]).wrapping_add(number);
            at += digits;
            if digits < 8 {
                break;
            }
        }
        if at > self.at && matches!(self.bytes.get(at), Some(b',' | b'}' | b']')) {
            self.at = at;
            return Ok(Some(value));
        }
        Ok(self.signed()?.and_then(|value| u64::try_from(value).ok()))
    }

    /// A finite number, also inside a string; `None` for `null`, `NaN` and anything else.
    pub(super) fn number(&mut self) -> Result<Option<f64>> {
        Ok(self.text()?.and_then(|text| text.parse().ok()).filter(|number: &f64| number.is_finite()))
    }

    /// `true` or `false`, also inside a string; `None` for anything else.
    pub(super) fn boolean(&mut self) -> Result<Option<bool>> {
        for (word, value) in [(&b"false"[..], false), (b"true", true)] {
            let rest = self.rest();
            if rest.starts_with(word) && matches!(rest.get(word.len()), Some(b',' | b'}' | b']')) {
                self.at += word.len();
                return Ok(Some(value));
            }
        }
        Ok(match self.text()?.as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        })
    }

    /// Skips one value.
    pub(super) fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.raw_string().map(|_| ()),
            Some(b'{' | b'[') => self.skip_nested(),
            Some(b',' | b'}' | b']' | b':') | None => self.error("a value is missing"),
            Some(_) => {
                let rest = self.rest();
                let len =
                    rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n'));
                let len = len.unwrap_or(rest.len());
                let word = rest.get(..len).unwrap_or_default();
                let plain = matches!(word, b"null" | b"true" | b"false")
                    || word.iter().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
                    || matches!(word, b"NaN" | b"Infinity" | b"-Infinity");
                if !plain {
                    return self.error("a value is neither string, number, true, false nor null");
                }
                self.at += len;
                Ok(())
            }
        }
    }

    fn skip_nested(&mut self) -> Result<()> {
        let start = self.at;
        let mut open = 0_u64;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.raw_string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open -= 1;
                    if open == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = start;
        self.error("an object or array is not closed")
    }
}

#[cfg(test)]
mod tests;
