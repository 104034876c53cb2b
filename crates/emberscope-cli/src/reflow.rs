//! Wraps a page of Markdown to a terminal: paragraphs and list items are set anew; headings, tables and code stay.

use emberscope_report::wrap;

/// The page in lines of at most `width` columns; only a table or code that cannot be broken may take more.
pub(crate) fn reflow(page: &str, width: usize) -> String {
    let mut out = String::new();
    let mut block = Block::default();
    let mut fenced = false;
    for line in page.lines() {
        let text = line.trim_start();
        let fence = text.starts_with("```");
        if fenced
            || fence
            || text.is_empty()
            || text.starts_with(['|', '#'])
            || line.starts_with("    ") && block.is_empty()
        {
            block.flush(width, &mut out);
            fenced ^= fence;
            if text.starts_with('#') && !fenced && !fence {
                text.clone_into(&mut block.text);
                block.flush(width, &mut out);
            } else {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        }
        let indent = line.len() - text.len();
        if let Some(marker) = marker(text) {
            block.flush(width, &mut out);
            block.indent = indent;
            text.get(..marker).unwrap_or_default().clone_into(&mut block.marker);
            text.get(marker..).unwrap_or_default().trim().clone_into(&mut block.text);
        } else if block.is_empty() {
            block.indent = indent;
            text.trim_end().clone_into(&mut block.text);
        } else {
            block.text.push(' ');
            block.text.push_str(text.trim_end());
        }
    }
    block.flush(width, &mut out);
    out
}

/// A paragraph, or an item of a list with its marker.
#[derive(Default)]
struct Block {
    indent: usize,
    marker: String,
    text: String,
}

impl Block {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.marker.is_empty()
    }

    fn flush(&mut self, width: usize, out: &mut String) {
        if self.is_empty() {
            return;
        }
        let hang = self.indent + self.marker.chars().count();
        for (index, line) in wrap(&self.text, width.saturating_sub(hang)).iter().enumerate() {
            let marker = if index == 0 { self.marker.as_str() } else { "" };
            let line = format!("{:indent$}{marker:hang$}{line}", "", indent = self.indent, hang = hang - self.indent);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        *self = Self::default();
    }
}

/// The length of `- `, `* ` or `12. ` at the front of a line.
fn marker(text: &str) -> Option<usize> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.len() - rest.len();
    let mark = match rest.chars().next()? {
        '-' | '*' if digits == 0 => 1,
        '.' if digits > 0 => digits + 1,
        _ => return None,
    };
    text.get(mark..).filter(|rest| rest.starts_with(' ')).map(|_| mark + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_items_are_set_anew_and_tables_and_code_stay() {
        let page = "# Title\n\nOne two three\nfour five.\n\n- first item that is long\n  and goes on\n- second\n10. tenth item is long too\n\n\
                    | a | b | c | d | e | f |\n\n```toml\nkey   =   \"a long value that stays\"\n```\n";
        assert_eq!(
            reflow(page, 20),
            "# Title\n\nOne two three four\nfive.\n\n- first item that is\n  long and goes on\n- second\n10. tenth item is\n    long too\n\n\
             | a | b | c | d | e | f |\n\n```toml\nkey   =   \"a long value that stays\"\n```\n"
        );
    }
}
