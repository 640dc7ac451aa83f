//! `os-release(5)`: what an image says that it is.

use std::collections::BTreeMap;

/// Where it lies in a root.
pub const PATH: &str = "/usr/lib/os-release";

/// The recipe's name.
pub const IMAGE: &str = "ORLOP_IMAGE";

/// The image's version. It stands under a key of our own: `VERSION*`, `IMAGE_VERSION` and
/// `BUILD_ID` in a UKI's `.osrel` overrule the file names by which the boot loader orders slots.
pub const VERSION: &str = "ORLOP_VERSION";

/// The value of each key, without quotes. Lines that are none are passed over.
pub fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let fields = lines.filter_map(|line| line.split_once('='));
    fields.map(|(key, value)| (key.to_owned(), unquoted(value))).collect()
}

/// A word of a shell's, of which a backslash in double quotes protects what follows.
fn unquoted(value: &str) -> String {
    let within = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(literal) = within('\'') {
        return literal.to_owned();
    }
    let mut letters = within('"').unwrap_or(value).chars();
    let mut word = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(letters.next()),
            letter => word.push(letter),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_read() {
        let text = "# A=0\nA=1\n\n B='a \\ b' \nC\nD=\"\nE=\"\\\"\"\n";
        let said: Vec<_> = fields(text).into_iter().collect();
        let expected = [("A", "1"), ("B", "a \\ b"), ("D", "\""), ("E", "\"")];
        assert_eq!(said, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
