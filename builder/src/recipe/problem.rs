//! Where a recipe's text came from, and how what is wrong with it is shown: file, line, column,
//! the source line and carets under the words that are meant.

use std::ops::Range;
use std::path::PathBuf;

use formats::excerpt::{excerpt, position};

use crate::credentials::masked;
use crate::error::{Error, Id, Shown, several};

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
            Some(span) => excerpt(&file.path, &masked(&file.text), span.clone()),
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
        Shown { text: self.text(sources), hint: self.hint.clone() }.to_string()
    }
}

/// One error for all problems, of the first one's kind. `problems` must not be empty.
pub(super) fn report(problems: &[Problem], sources: &Sources) -> Error {
    let shown = problems
        .iter()
        .map(|problem| Shown { text: problem.text(sources), hint: problem.hint.clone() });
    several(problems[0].id, "the recipe", shown.collect())
}
