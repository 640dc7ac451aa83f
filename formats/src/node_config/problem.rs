//! What is wrong with a node configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::excerpt;

/// One thing that is wrong with a node configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong: lower case, names in backticks, no full stop, one line.
    pub message: String,
    /// What cures it, if we know.
    pub hint: Option<String>,
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
}

impl Problem {
    /// A problem at `span` of `text`.
    pub(super) fn at(text: &str, span: Range<usize>, message: String) -> Self {
        let position = excerpt::position(text, span.start);
        Self { line: position.line, column: position.column, message, hint: None, span }
    }

    /// `file:line:column`, the line that is meant and carets under the words, for people.
    ///
    /// `text` is what was parsed. What might be a secret shows as `*`: such excerpts
    /// end in logs.
    pub fn excerpt(&self, path: &Path, text: &str) -> String {
        excerpt::excerpt(path, &veiled(text, self.span.start), self.span.clone())
    }
}

/// `3:7: message; hint`: the problem on one line, the text not quoted.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The text with stars in the line of `offset` where a secret may stand, each for one byte, so that
/// all stays where it is: what has about the form of a token, all that is quoted in a line that
/// speaks of a token or a password, what stands before the `@` of an address, and the value of a
/// variable in the manifest of a pod.
fn veiled(text: &str, offset: usize) -> String {
    let range = excerpt::position(text, offset).range;
    let line = &text[range.clone()];
    let lower = line.to_ascii_lowercase();
    let speaks = ["tok", "pass"].iter().any(|word| lower.contains(word));
    let quotes = if speaks { line.find(['"', '\'']) } else { None };
    let quotes = quotes.or(lower.find("value").map(|at| at + "value".len()));
    let user = line.rfind('@').and_then(|at| Some(line[..at].find("://")? + 3..at));
    let mut veiled = text[..range.start].to_owned();
    for (at, c) in line.char_indices() {
        let before = &line[..at];
        let word = |c: char| c.is_ascii_alphanumeric();
        let start = before.trim_end_matches(word);
        let length = line[start.len()..].chars().take_while(|c| word(*c)).count();
        let id =
            start.strip_suffix('.').map(|id| id.chars().rev().take_while(|c| word(*c)).count());
        let secret = id == Some(6) && (12..=20).contains(&length);
        let quoted = quotes.is_some_and(|quote| at > quote);
        let before_at = user.as_ref().is_some_and(|user| user.contains(&at));
        veiled.push(if word(c) && (secret || quoted || before_at) { '*' } else { c });
    }
    veiled.push_str(&text[range.end..]);
    veiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_whatever_is_wrong_with_its_line() {
        for (line, want) in [
            ("token = \"abcdef.0123456789abcdef\"", "token = \"******.****************\""),
            ("tokne = 'abcdef.0123456789ABCDE' # x", "tokne = '******.***************' # *"),
            ("x = \"abcdef.0123456789abcdef\"", "x = \"abcdef.****************\""),
            ("password = 'hunter2'", "password = '*******'"),
            ("https = 'http://me:se@cret@proxy:3128'", "https = 'http://**:**@****@proxy:3128'"),
            ("  - { name: A, value: 1234 }", "  - { name: A, value: **** }"),
            ("server = \"https://api.example.internal:6443\"", ""),
            ("\"node-role.kubernetes.io/x\" = \"worker\"", ""),
        ] {
            let want = if want.is_empty() { line } else { want };
            let text = format!("schema = 1\n{line}\n# more");
            assert_eq!(veiled(&text, 12), format!("schema = 1\n{want}\n# more"), "{line}");
        }
    }
}
