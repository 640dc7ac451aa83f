//! The few fields of a package that we need, read paragraph by paragraph.

use std::io::{BufRead, Read as _};
use std::rc::Rc;

use formats::architecture::Architecture;
use formats::deb::Version;
use formats::deb::control::{Paragraph, paragraphs_from};
use formats::tree::{Blob, TreePath};

use crate::error::{Context as _, Error, Id, Result};

/// No paragraph is larger, in bytes.
const MAX_PARAGRAPH: u64 = 1024 * 1024;

/// What is taken over of a package.
#[derive(Debug, Clone)]
pub struct Record {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: Version,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The name in `Source`, or the package's own.
    pub source: String,
    /// The suite in whose index it stands.
    pub suite: Rc<str>,
    /// `Filename`: below the mirror's base address.
    pub path: String,
    /// `SHA256` and `Size`.
    pub blob: Blob,
    /// `Pre-Depends` and `Depends`, not yet parsed: most packages are never asked for theirs.
    pub depends: String,
    /// `Provides`.
    pub provides: String,
    /// `Conflicts`.
    pub conflicts: String,
    /// `Breaks`.
    pub breaks: String,
}

/// One paragraph of the unpacked index: the whole of it is never in memory.
pub(super) struct Text {
    // The number of the paragraph's first line.
    line: usize,
    bytes: u64,
    paragraph: Vec<u8>,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { line: 1, bytes: 0, paragraph: Vec::new() }
    }

    /// How much of the index was read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes on to the next paragraph, if there is one.
    pub(super) fn next_paragraph(&mut self, reader: &mut impl BufRead, url: &str) -> Result<bool> {
        self.line += self.paragraph.iter().filter(|byte| **byte == b'\n').count();
        self.paragraph.clear();
        loop {
            let start = self.paragraph.len();
            let room = MAX_PARAGRAPH.saturating_sub(start as u64);
            let read = (&mut *reader)
                .take(room)
                .read_until(b'\n', &mut self.paragraph)
                .or_fail(Id::WrongIndex, || format!("cannot unpack `{url}`"))?;
            self.bytes += read as u64;
            let line = &self.paragraph[start..];
            if read as u64 == room && !line.ends_with(b"\n") {
                let message = format!("`{url}`, line {}: the paragraph has no end", self.line);
                return Err(Error::new(Id::BadArchiveData, message));
            }
            if line.trim_ascii().is_empty() && (read == 0 || start > 0) {
                return Ok(!self.paragraph.is_empty());
            }
        }
    }

    /// What is needed of the paragraph, unless it is a package for another machine.
    pub(super) fn record(
        &self,
        url: &str,
        suite: &Rc<str>,
        meant: Architecture,
    ) -> Result<Option<Record>> {
        let understand = || format!("cannot understand `{url}`");
        let text = std::str::from_utf8(&self.paragraph).or_fail(Id::BadArchiveData, understand)?;
        let Some(paragraph) = paragraphs_from(text, self.line).next() else { return Ok(None) };
        let paragraph = paragraph.or_fail(Id::BadArchiveData, understand)?;
        let architecture = paragraph.get("Architecture").unwrap_or_default();
        if ![meant.debian(), "all"].contains(&architecture) {
            return Ok(None);
        }
        let record = record(&paragraph, architecture, suite);
        record.map(Some).map_err(|field| {
            let name = paragraph.get("Package").unwrap_or_default();
            let line = paragraph.field(field).map_or(self.line, |field| field.line);
            let message =
                format!("`{url}`, line {line}: field `{field}` of package `{name}` is not valid");
            Error::new(Id::BadArchiveData, message)
        })
    }
}

/// The error is the name of the field that is missing or wrong.
fn record(
    paragraph: &Paragraph<'_>,
    architecture: &str,
    suite: &Rc<str>,
) -> std::result::Result<Record, &'static str> {
    let get = |name| paragraph.get(name).unwrap_or_default();
    let must = |name: &'static str| paragraph.get(name).filter(|text| !text.is_empty()).ok_or(name);
    let name = must("Package")?;
    let path = must("Filename")?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#%\\".contains(c);
    if path.starts_with('/') || path.contains(odd) || TreePath::new(path).is_err() {
        return Err("Filename");
    }
    let source = get("Source").split([' ', '(']).next().filter(|source| !source.is_empty());
    let depends = [get("Pre-Depends"), get("Depends")].map(str::trim).join(", ");
    Ok(Record {
        name: name.to_owned(),
        version: must("Version")?.parse().map_err(|_| "Version")?,
        architecture: architecture.to_owned(),
        source: source.unwrap_or(name).to_owned(),
        suite: Rc::clone(suite),
        path: path.to_owned(),
        blob: Blob {
            sha256: must("SHA256")?.parse().map_err(|_| "SHA256")?,
            size: must("Size")?.parse().map_err(|_| "Size")?,
        },
        depends,
        provides: get("Provides").to_owned(),
        conflicts: get("Conflicts").to_owned(),
        breaks: get("Breaks").to_owned(),
    })
}
