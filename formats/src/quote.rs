//! Writing TOML: strings and keys, quoted where they must be (TOML 1.0, "String" and "Keys").

use std::fmt::Write as _;

/// A basic string, with quotes.
pub fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A string of several lines in three quotes, a string of one line as [`string`] writes it.
pub fn text(text: &str) -> String {
    if !text.contains('\n') {
        return string(text);
    }
    let mut quoted = String::from("\"\"\"\n");
    let mut chars = text.chars().peekable();
    let mut quotes = 0;
    while let Some(c) = chars.next() {
        quotes = if c == '"' { quotes + 1 } else { 0 };
        match c {
            // A third quote, or one before those at the end, would end the string.
            '"' if quotes == 3 || chars.peek().is_none() => {
                quotes = 0;
                quoted.push_str("\\\"");
            }
            '\\' => quoted.push_str("\\\\"),
            '\n' | '\t' => quoted.push(c),
            c if c.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => quoted.push(c),
        }
    }
    quoted.push_str("\"\"\"");
    quoted
}

/// A key: bare if it can be.
pub fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { string(text) }
}

/// A list of strings, on one line.
pub fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().map(string).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(name in ".*", text in ".*") {
            let line = format!("{} = {}\n", key(&name), string(&text));
            let table: toml::Table = toml::from_str(&line).unwrap();
            prop_assert_eq!(table[&name].as_str(), Some(text.as_str()));
        }

        #[test]
        fn a_text_of_several_lines_is_read_back(text in "(\\PC|[\"\\\\\\n\\t\\r\\x00\\x7f\\u{85}])*") {
            let table: toml::Table = toml::from_str(&format!("x = {}\n", super::text(&text))).unwrap();
            prop_assert_eq!(table["x"].as_str(), Some(text.as_str()));
        }
    }
}
