//! Reading TOML tables: each key is asked for once, with the type it must have. What is not right
//! is noted with its place and reading goes on, so that one pass finds everything; what was never
//! asked for is unknown.

use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::problem::Problem;
use crate::near::near;

/// All that was found wrong in one text.
#[derive(Debug)]
pub(super) struct Notes<'t> {
    text: &'t str,
    /// In the order in which it was found.
    pub(super) problems: Vec<Found>,
    /// Whether missing keys are noted: not if their lines could not be read.
    pub(super) missing: Missing,
}

/// What is done about a key that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Noted,
    Forgiven,
}

impl<'t> Notes<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new(), missing: Missing::Noted }
    }

    /// Notes a problem; its hint can be set.
    pub(super) fn note(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Found {
        let message = one_line(&message.into());
        self.problems.push(Found { span, message, hint: None });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// The problems in the order of the text, each with its line, up to [`MOST`].
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|found| (found.span.start, found.span.end));
        let rest = self.problems.len().saturating_sub(MOST);
        if rest > 0
            && let Some(next) = self.problems.get_mut(MOST)
        {
            next.message = format!("here and below are {rest} more");
            next.hint = None;
        }
        self.problems.truncate(MOST + 1);
        let located = self.problems.into_iter().map(|Found { span, message, hint }| Problem {
            hint,
            ..Problem::at(self.text, span, message)
        });
        located.collect()
    }
}

/// So many problems are told one by one: nobody reads more, and a console is short.
const MOST: usize = 100;

/// Something wrong, not yet located.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table about to be read.
#[derive(Debug)]
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'a>,
    /// Where the table is opened.
    span: Range<usize>,
    /// Dotted keys from the top; empty at the top.
    path: String,
    /// The keys that were asked for: those that there are.
    asked: Vec<&'static str>,
    /// Those of them that had to be there and are not.
    lacking: Vec<&'static str>,
    pub(super) notes: &'a mut Notes<'t>,
}

impl<'a, 't> Section<'a, 't> {
    /// Reads `table`, which stands at `path`, by `read`, and notes its unknown and missing keys.
    pub(super) fn read<T>(
        table: &'a DeTable<'a>,
        span: Range<usize>,
        path: String,
        notes: &'a mut Notes<'t>,
        read: impl FnOnce(&mut Section<'a, 't>) -> T,
    ) -> T {
        let (asked, lacking) = (Vec::new(), Vec::new());
        let mut section = Self { table, span, path, asked, lacking, notes };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Where the table is opened.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The full name of one of its keys.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem with the table as a whole.
    pub(super) fn wrong(&mut self, message: impl Into<String>) -> &mut Found {
        let span = self.span.clone();
        self.notes.note(span, message)
    }

    /// The value of a key.
    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Where a key's value stands, if it is there.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// Notes it if the key is missing.
    pub(super) fn require(&mut self, key: &'static str) {
        if !self.table.contains_key(key) {
            self.lacking.push(key);
        }
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.mismatch(key, value, "true or false");
        }
        boolean
    }

    /// A whole number in `range`.
    pub(super) fn number(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        let value = self.value(key)?;
        let (first, last) = (range.start, range.end - 1);
        let number = value.get_ref().as_integer().and_then(whole_number);
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.mismatch(key, value, &format!("a whole number from {first} to {last}"));
        }
        number
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Placed<&'a str>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.mismatch(key, value, "a string");
        }
        Some(Placed { value: text?, span: value.span() })
    }

    /// A string of a kind.
    pub(super) fn parsed<T: FromStr<Err = String>>(
        &mut self,
        key: &'static str,
    ) -> Option<Placed<T>> {
        let Placed { value, span } = self.string(key)?;
        self.understood(value.parse(), span)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let Placed { value, span } = self.string(key)?;
        let found = choices.iter().find(|(word, _)| *word == value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let message = format!("`{value}` is not a value of `{}`", self.name(key));
            self.notes.note(span, message).hint = Some(suggestion(value, &words, "its values are"));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A list of strings of a kind, without repeats.
    pub(super) fn list<T: FromStr<Err = String> + PartialEq>(
        &mut self,
        key: &'static str,
    ) -> Vec<Placed<T>> {
        let mut items: Vec<Placed<T>> = Vec::new();
        for Placed { value, span } in self.strings(key) {
            let Some(item) = self.understood(value.parse::<T>(), span) else { continue };
            if items.iter().any(|earlier| earlier.value == item.value) {
                self.repeated(key, value, item.span);
            } else {
                items.push(item);
            }
        }
        items
    }

    /// The strings of a list.
    fn strings(&mut self, key: &'static str) -> Vec<Placed<&'a str>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.mismatch(key, value, "a list of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(value) => strings.push(Placed { value, span: item.span() }),
                None => self.mismatch(key, item, "a list of strings"),
            }
        }
        strings
    }

    /// One string, in which commas separate the items, or a list of strings.
    pub(super) fn one_or_list<T: FromStr<Err = String> + PartialEq>(
        &mut self,
        key: &'static str,
    ) -> Vec<Placed<T>> {
        if self.table.get(key).is_none_or(|value| value.get_ref().as_str().is_none()) {
            return self.list(key);
        }
        let Some(Placed { value, span }) = self.string(key) else { return Vec::new() };
        let mut items: Vec<Placed<T>> = Vec::new();
        for text in value.split(',') {
            let Some(item) = self.understood(text.trim().parse::<T>(), span.clone()) else {
                continue;
            };
            if items.iter().any(|earlier| earlier.value == item.value) {
                self.repeated(key, text, span.clone());
            } else {
                items.push(item);
            }
        }
        items
    }

    fn repeated(&mut self, key: &str, item: &str, span: Range<usize>) {
        let message = format!("`{}` has `{item}` twice", self.name(key));
        self.notes.note(span, message);
    }

    /// The value, or a problem noted.
    pub(super) fn understood<T>(
        &mut self,
        result: Result<T, String>,
        span: Range<usize>,
    ) -> Option<Placed<T>> {
        match result {
            Ok(value) => Some(Placed { value, span }),
            Err(message) => {
                self.notes.note(span, message);
                None
            }
        }
    }

    /// A table within.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Option<T> {
        let (table, span) = self.table(key)?;
        let path = self.name(key);
        Some(Section::read(table, span, path, &mut *self.notes, read))
    }

    /// The tables of a table whose keys its author chooses, each read by `read`.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Placed<&str>, &mut Section<'_, 't>),
    ) {
        let path = self.name(key);
        for (name, value) in self.entries(key) {
            let Some(table) = value.get_ref().as_table() else {
                self.mismatch(&format!("{key}.{}", name.value), value, "a table");
                continue;
            };
            let path = format!("{path}.{}", crate::quote::key(name.value));
            let span = name.span.clone();
            Section::read(table, span, path, &mut *self.notes, |section| read(name, section));
        }
    }

    /// The tables of a list, each read by `read`.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 't>)) {
        let Some(value) = self.value(key) else { return };
        let Some(items) = value.get_ref().as_array() else {
            return self.mismatch(key, value, "a list of tables");
        };
        let path = self.name(key);
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => {
                    Section::read(table, item.span(), path.clone(), &mut *self.notes, &mut read);
                }
                None => self.mismatch(key, item, "a list of tables"),
            }
        }
    }

    /// The strings of a table whose keys its author chooses.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(Placed<&'a str>, Placed<&'a str>)> {
        let mut texts = Vec::new();
        for (name, value) in self.entries(key) {
            match value.get_ref().as_str() {
                Some(text) => texts.push((name, Placed { value: text, span: value.span() })),
                None => self.mismatch(&format!("{key}.{}", name.value), value, "a string"),
            }
        }
        texts
    }

    /// The whole numbers of a table whose keys its author chooses.
    pub(super) fn numbers(&mut self, key: &'static str) -> Vec<(Placed<&'a str>, u32)> {
        let mut numbers = Vec::new();
        for (name, value) in self.entries(key) {
            match value.get_ref().as_integer().and_then(whole_number) {
                Some(number) => numbers.push((name, number)),
                None => {
                    let key = format!("{key}.{}", crate::quote::key(name.value));
                    self.mismatch(&key, value, &format!("a whole number from 0 to {}", u32::MAX));
                }
            }
        }
        numbers
    }

    /// What stands in a table whose keys its author chooses, in order of the keys.
    pub(super) fn entries(
        &mut self,
        key: &'static str,
    ) -> Vec<(Placed<&'a str>, &'a Spanned<DeValue<'a>>)> {
        let Some((table, _)) = self.table(key) else { return Vec::new() };
        table
            .iter()
            .map(|(name, value)| {
                (Placed { value: name.get_ref().as_ref(), span: name.span() }, value)
            })
            .collect()
    }

    fn table(&mut self, key: &'static str) -> Option<(&'a DeTable<'a>, Range<usize>)> {
        let value = self.value(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mismatch(key, value, "a table");
        }
        Some((table?, value.span()))
    }

    /// Notes that the value of `key` is of another type than `wanted`.
    pub(super) fn mismatch(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Integer(_) => "this number".to_owned(),
            DeValue::Float(_) => "a fraction".to_owned(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("`{}` must be {wanted}, not {found}", self.name(key));
        self.notes.note(value.span(), message);
    }

    fn finish(self) {
        let Self { table, span, path, asked, mut lacking, notes } = self;
        let owner =
            if path.is_empty() { "a node configuration".to_owned() } else { format!("`{path}`") };
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if asked.contains(&word) {
                continue;
            }
            // `sever` explains why `server` is missing.
            let absent = asked.iter().copied().filter(|known| !table.contains_key(*known));
            if let Some(meant) = near(word, absent) {
                lacking.retain(|missing| *missing != meant);
            }
            let message = format!("`{word}` is not a key of {owner}");
            notes.note(key.span(), message).hint = Some(suggestion(word, &asked, "its keys are"));
        }
        if notes.missing == Missing::Noted {
            for key in lacking {
                notes.note(span.clone(), format!("{owner} lacks the key `{key}`"));
            }
        }
    }
}

fn whole_number(number: &DeInteger<'_>) -> Option<u32> {
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The word that was probably meant, or all that there are.
pub(super) fn suggestion(word: &str, known: &[&str], otherwise: &str) -> String {
    match near(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("{otherwise} {}", known.join(", "))
        }
    }
}

/// Messages go to consoles: on one line whatever a value holds, and not for ever.
fn one_line(message: &str) -> String {
    const LONGEST: usize = 300;
    let mut line: String =
        message.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if message.chars().nth(LONGEST).is_some() {
        line.push_str("...");
    }
    line
}
