//! How a place in a text is shown: file, line, column, the source line and carets under the words
//! that are meant.

use std::ops::Range;
use std::path::Path;

/// A line and column, both from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// Where the line begins and ends, in bytes, without its line feed.
    pub range: Range<usize>,
}

/// Where the byte at `offset` stands; an offset behind the text is its end.
pub fn position(text: &str, offset: usize) -> Position {
    let offset = floor(text, offset);
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
    Position {
        line: text[..start].matches('\n').count() + 1,
        column: text[start..offset].chars().count() + 1,
        range: start..end,
    }
}

/// The last character boundary that is not behind `offset`.
fn floor(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Path, line and column of `span`, its first line, and carets under it.
pub fn excerpt(path: &Path, text: &str, span: Range<usize>) -> String {
    let Position { line, column, range } = position(text, span.start);
    let source = text[range.clone()].trim_end_matches('\r').replace(char::is_control, " ");
    let end = floor(text, span.end.clamp(span.start, range.end.max(span.start)));
    let carets = text[floor(text, span.start)..end].chars().count().max(1);
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(column - 1);
    let marks = "^".repeat(carets);
    let path = path.display();
    let quoted = format!("   {number} | {source}");
    let quoted = quoted.trim_end();
    format!("  {path}:{line}:{column}\n{quoted}\n   {gutter} | {indent}{marks}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_what_is_meant() {
        let text = "a = 1\n\tkey = \"ä\" # x\n";
        let start = text.find("\"ä\"").unwrap();
        let shown = excerpt(Path::new("r.toml"), text, start..start + "\"ä\"".len());
        assert_eq!(shown, "  r.toml:2:8\n   2 |  key = \"ä\" # x\n     |        ^^^");
    }

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        for text in ["", "\n", "ä", "a\nb", "a\r\nb"] {
            for start in 0..=text.len() + 2 {
                for end in 0..=text.len() + 2 {
                    let shown = excerpt(Path::new("r"), text, start..end);
                    assert!(shown.ends_with('^'), "{text:?} {start}..{end}");
                }
            }
        }
    }
}
