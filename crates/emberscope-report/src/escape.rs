//! Makes names from logs harmless where they are shown.

use std::fmt::Write;

/// Text for a terminal: white space of any kind becomes one space, whatever else a terminal would obey or hide (escape
/// sequences, other control characters, direction overrides, characters without width) becomes visible as `\u{1b}`.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if obeyed(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text for an HTML page, attributes included.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in for_terminal(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Text for a Markdown document, table cells included: nothing in it is taken as markup, HTML, a link or a mention.
pub(crate) fn for_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in for_terminal(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // GitHub turns these into mentions, issue links and links.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    // A bare URL becomes a link by itself; an entity inside it keeps it text.
    out.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")
}

/// Text inside an HTML element of a Markdown document, where Markdown itself is not read.
pub(crate) fn for_html(text: &str) -> String {
    let text = for_terminal(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('@', "&#64;").replace("://", ":&#47;&#47;")
}

/// Text for a fenced block: one line, and no fence of its own.
pub(crate) fn for_fence(text: &str) -> String {
    for_terminal(text).replace("```", "'''")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(for_terminal("a\u{1b}[31mred\u{7}"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(for_terminal("one\r\ntwo\tthree "), "one two three");
        assert_eq!(for_terminal("abc\u{202e}def\u{9b}1m"), "abc\\u{202e}def\\u{9b}1m");
        assert_eq!(for_terminal("naïve 表"), "naïve 表");
    }

    #[test]
    fn what_markdown_takes_as_markup_is_escaped() {
        assert_eq!(
            for_markdown("<script>alert(`1`)</script> | *x* [a](http://b)\n@me #12"),
            "&lt;script&gt;alert(\\`1\\`)&lt;/script&gt; \\| \\*x\\* \\[a\\](http:&#47;&#47;b) &#64;me &#35;12"
        );
        assert_eq!(for_markdown("snake_case_name"), "snake\\_case\\_name");
    }

    #[test]
    fn a_value_cannot_end_its_fence() {
        assert_eq!(for_fence("a\n```\n# title"), "a ''' # title");
    }
}
