//! Where a recipe's text came from, and how what is wrong with it is shown: file, line, column,
//! the source line and carets under the words that are meant.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Id};

/// Part of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which file, by its number in [`Sources`].
    pub(super) file: usize,
    /// Bytes of its text; none if the file as a whole is meant.
    pub(super) span: Option<Range<usize>>,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// As the user would name it.
    pub(super) path: PathBuf,
    /// The directory that relative paths in it start from: absolute, without links.
    pub(super) directory: PathBuf,
    /// What it says.
    pub(super) text: String,
}

/// All files that one recipe was read from.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(pub(super) Vec<File>);

impl Sources {
    /// The file that holds this place.
    pub(super) fn file(&self, place: &Place) -> &File {
        &self.0[place.file]
    }

    /// Line of a place, from 1; none for a whole file.
    pub(super) fn line(&self, place: &Place) -> Option<usize> {
        let span = place.span.as_ref()?;
        Some(position(&self.file(place).text, span.start).line)
    }

    /// `recipes/base.toml:12`, on one line whatever the path holds.
    pub(super) fn short(&self, place: &Place) -> String {
        let path = self.file(place).path.display().to_string().replace(char::is_control, "?");
        self.line(place).map_or(path.clone(), |line| format!("{path}:{line}"))
    }

    fn excerpt(&self, place: &Place) -> String {
        let file = self.file(place);
        match &place.span {
            Some(span) => excerpt(&file.path, &file.text, span.clone()),
            None => format!("  {}", file.path.display()),
        }
    }
}

/// One thing that is wrong with a recipe.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) id: Id,
    pub(super) message: String,
    pub(super) place: Option<Place>,
    pub(super) hint: Option<String>,
}

impl Problem {
    /// A problem whose message is in lower case with names in backticks.
    pub(super) fn new(id: Id, message: impl Into<String>) -> Self {
        Self { id, message: message.into(), place: None, hint: None }
    }

    /// Says where it is.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Says where it is, unless something deeper already has.
    pub(super) fn or_at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Says what cures it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message and excerpt, without the hint.
    fn text(&self, sources: &Sources) -> String {
        match &self.place {
            Some(place) => format!("{}\n{}", self.message, sources.excerpt(place)),
            None => self.message.clone(),
        }
    }

    /// Message, excerpt and hint: how a warning is shown.
    pub(super) fn full_text(&self, sources: &Sources) -> String {
        let mut text = self.text(sources);
        if let Some(hint) = &self.hint {
            write!(text, "\n  hint: {hint}").expect("writing to a string cannot fail");
        }
        text
    }
}

/// One error for all problems, of the first one's kind. `problems` must not be empty.
pub(super) fn report(problems: &[Problem], sources: &Sources) -> Error {
    let first = &problems[0];
    if let [only] = problems {
        let error = Error::new(only.id, only.text(sources));
        return match &only.hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    let mut text = format!("{} problems in the recipe", problems.len());
    for problem in problems {
        text.push('\n');
        for line in problem.full_text(sources).lines() {
            write!(text, "\n  {line}").expect("writing to a string cannot fail");
        }
    }
    Error::new(first.id, text)
}

/// The name among `known` that was probably meant.
pub(crate) fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(word, name);
    let allowed = 1 + (word.chars().count() / 4).min(3);
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// A line and column, both from 1; columns count characters.
struct Position {
    line: usize,
    column: usize,
    /// Where the line begins and ends, in bytes, without its line feed.
    range: Range<usize>,
}

fn position(text: &str, offset: usize) -> Position {
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
pub(crate) fn excerpt(path: &Path, text: &str, span: Range<usize>) -> String {
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

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let keys = ["modules", "initrd-modules", "command-line", "package"];
        for (word, want) in [
            ("modles", Some("modules")),
            ("initrd_modules", Some("initrd-modules")),
            ("command_line", Some("command-line")),
            ("pakcage", Some("package")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(near(word, keys), want, "{word}");
        }
    }
}
