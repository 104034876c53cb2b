//! Tokens of TSDL, CTF 1.8's language for metadata (CTF 1.8, appendix C).

use super::MAX_TOKENS;
use crate::error::Fault;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Integer(i128),
    Text(String),
    /// A sign: `{`, `:=`, `...`
    Sign(&'static str),
    End,
}

/// Longest first, so that `:=` is not `:`.
const SIGNS: [&str; 20] =
    ["...", ":=", "->", "::", "{", "}", "[", "]", "(", ")", "<", ">", ";", ":", ",", "=", ".", "-", "+", "*"];

/// The tokens of a text with the offset of each; the last is `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Fault> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if found.len() > MAX_TOKENS {
            return Err(Fault::new(at, format!("more than {MAX_TOKENS} words and signs")));
        }
        let rest = &bytes[at..];
        if byte.is_ascii_whitespace() || byte == 0x0b {
            at += 1;
        } else if rest.starts_with(b"//") {
            at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let end = rest.windows(2).skip(2).position(|two| two == b"*/");
            at += end.ok_or_else(|| Fault::new(at, "a comment that does not end"))? + 4;
        } else if byte == b'"' || rest.starts_with(b"L\"") {
            let start = at + if byte == b'"' { 1 } else { 2 };
            let (text, end) = quoted(bytes, start, b'"')?;
            found.push((Token::Text(text), at));
            at = end;
        } else if byte == b'\'' {
            let (text, end) = quoted(bytes, at + 1, b'\'')?;
            let value = text.chars().next().ok_or_else(|| Fault::new(at, "an empty character"))?;
            found.push((Token::Integer(i128::from(u32::from(value))), at));
            at = end;
        } else if byte.is_ascii_digit() {
            let end = at + rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
            found.push((Token::Integer(integer(&text[at..end]).ok_or_else(|| Fault::new(at, "not an integer"))?), at));
            at = end;
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let end = at + rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len());
            found.push((Token::Name(text[at..end].to_owned()), at));
            at = end;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(sign.as_bytes())) {
            found.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            return Err(Fault::new(at, format!("a character that TSDL does not have: byte 0x{byte:02x}")));
        }
    }
    found.push((Token::End, bytes.len()));
    Ok(found)
}

/// C's integers: decimal, `0x`, `0b` and octal, with suffixes.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim_end_matches(['u', 'U', 'l', 'L']);
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    u64::from_str_radix(digits, base).ok().map(i128::from)
}

/// A text up to its closing quote, and the offset behind it.
fn quoted(bytes: &[u8], start: usize, quote: u8) -> Result<(String, usize), Fault> {
    let mut text = Vec::new();
    let mut at = start;
    loop {
        match bytes.get(at) {
            None | Some(b'\n') => return Err(Fault::new(start, "a text that does not end")),
            Some(&byte) if byte == quote => return Ok((String::from_utf8_lossy(&text).into_owned(), at + 1)),
            Some(b'\\') => {
                let escaped = *bytes.get(at + 1).ok_or_else(|| Fault::new(at, "a text that does not end"))?;
                at += 2;
                match escaped {
                    b'n' => text.push(b'\n'),
                    b't' => text.push(b'\t'),
                    b'r' => text.push(b'\r'),
                    b'a' => text.push(7),
                    b'b' => text.push(8),
                    b'f' => text.push(12),
                    b'v' => text.push(11),
                    b'x' => at += number(&bytes[at..], 16, usize::MAX, &mut text),
                    b'0'..=b'7' => at = at - 1 + number(&bytes[at - 1..], 8, 3, &mut text),
                    other => text.push(other),
                }
            }
            Some(&byte) => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

/// Appends the byte that digits stand for, and says how many there were.
fn number(bytes: &[u8], base: u32, most: usize, text: &mut Vec<u8>) -> usize {
    let mut value = 0_u32;
    let mut count = 0;
    while let Some(digit) = bytes.get(count).filter(|_| count < most).and_then(|&byte| char::from(byte).to_digit(base))
    {
        value = (value.wrapping_mul(base).wrapping_add(digit)) & 0xff;
        count += 1;
    }
    text.push(value as u8);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_c() {
        let found: Vec<Token> = tokens("a_1 := 0x1F; // x\n/* y */ 'a' 017 \"q\\\"\\x41\\101\" ...")
            .unwrap()
            .into_iter()
            .map(|t| t.0)
            .collect();
        let expected = [
            Token::Name("a_1".to_owned()),
            Token::Sign(":="),
            Token::Integer(31),
            Token::Sign(";"),
            Token::Integer(97),
            Token::Integer(15),
            Token::Text("q\"AA".to_owned()),
            Token::Sign("..."),
            Token::End,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_end_is_told_with_its_place() {
        assert_eq!(tokens("ab \"c").unwrap_err().offset, 4);
        assert_eq!(tokens("/* c").unwrap_err().offset, 0);
        assert_eq!(tokens("a \u{1}").unwrap_err().offset, 2);
    }
}
