//! Wraps text to a width.

use unicode_width::UnicodeWidthStr;

/// Columns that a text takes on a terminal.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// Wraps at spaces to lines of at most `width` columns; a word that is longer is broken. Empty text gives one empty line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let gap = usize::from(!line.is_empty());
        if columns(&line) + gap + columns(word) <= width {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if columns(&line) + columns(c.encode_utf8(&mut [0; 4])) > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// At most `width` columns of a text, with `…` where the rest was.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if columns(&out) + columns(c.encode_utf8(&mut [0; 4])) + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// At most `width` columns of a text, with `…` where its middle was: names of runs differ at both ends.
pub(crate) fn shorten_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let tail_width = width.saturating_sub(1) / 2;
    let mut tail: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        let wide = tail.iter().rev().chain([&c]).collect::<String>();
        if columns(&wide) > tail_width {
            break;
        }
        tail.push(c);
    }
    let tail: String = tail.into_iter().rev().collect();
    format!("{}{tail}", shorten(text, width.saturating_sub(columns(&tail))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_the_width_and_long_words_are_broken() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a/very/long/path/name x", 10), ["a/very/lon", "g/path/nam", "e x"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("表表表表表 x", 8), ["表表表表", "表 x"]);
    }

    #[test]
    fn a_text_is_shortened_with_an_ellipsis() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten_middle("abcdefghij", 7), "abc…hij");
        assert_eq!(shorten_middle("表表表表表表", 7), "表表…表");
        assert_eq!(shorten_middle("abc", 7), "abc");
    }
}
