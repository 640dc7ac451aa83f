//! apt's list of sources, in both of its forms: one line for each, and paragraphs (deb822).
//! Formats: sources.list(5). The judge in the tests is `apt-get indextargets`.

use formats::architecture::Architecture;
use formats::deb::{Paragraph, paragraphs};
use percent_encoding::percent_decode_str;

/// One entry that brings binary packages, enabled and for our architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uris: Vec<String>,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
    pub(crate) signed_by: SignedBy,
    /// The line at which it begins, counted from 1.
    pub(crate) line: usize,
}

/// Whose signature apt believes for a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum SignedBy {
    /// Any key of the host.
    #[default]
    Any,
    /// Keyring files and fingerprints.
    Named(Vec<String>),
    /// The key itself, in armor.
    Inline(String),
}

impl SignedBy {
    fn parse(value: &str) -> Self {
        if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            // deb822(5): an empty line is written as a dot.
            let line = |line: &str| match line.trim() {
                "." => "\n".to_owned(),
                line => format!("{line}\n"),
            };
            return Self::Inline(value.lines().map(line).collect());
        }
        let named = value.split(|c: char| c == ',' || c.is_whitespace());
        let named: Vec<_> = named.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if named.is_empty() { Self::Any } else { Self::Named(named) }
    }
}

/// `deb [option=value ...] uri suite component ...`, one a line. A line that makes no sense is
/// passed over: apt itself refuses to work then and says so.
pub(crate) fn one_line(text: &str, wanted: Architecture) -> Vec<Source> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| line_source(line, index + 1, wanted)).collect()
}

fn line_source(line: &str, number: usize, wanted: Architecture) -> Option<Source> {
    let line = without_comment(line).trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '\u{b}']))?;
    let mut words = Words { rest: rest.trim_start() };
    let mut source = Source { line: number, ..Source::default() };
    let mut architectures = Architectures::of(wanted);
    if let Some(options) = words.rest.strip_prefix('[') {
        let (options, rest) = options.split_once(']')?;
        words.rest = rest.trim_start();
        for option in (Words { rest: options.trim() }) {
            let (key, value) = option.split_once('=')?;
            match key {
                "signed-by" => source.signed_by = SignedBy::parse(value),
                "arch" | "arch+" | "arch-" => architectures.note(&key[4..], value.split(',')),
                _ => {}
            }
        }
    }
    source.uris = vec![substituted(&words.next()?, wanted)];
    source.suites = vec![words.next()?];
    source.components = words.collect();
    finish(source, &architectures)
}

/// Up to a `#` which is not in the options.
fn without_comment(line: &str) -> &str {
    let mut depth = 0_i32;
    let comment = line.char_indices().find(|(_, c)| {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        *c == '#' && depth <= 0
    });
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Words of apt: blanks part them but for those in quotes and brackets; `%20` is a blank.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (mut quoted, mut bracket) = (false, false);
        let end = self.rest.find(|c: char| {
            match c {
                '"' if !bracket => quoted = !quoted,
                '[' if !quoted => bracket = true,
                ']' if !quoted => bracket = false,
                _ => {}
            }
            c.is_ascii_whitespace() && !quoted && !bracket
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        let word = word.replace('"', "");
        (!word.is_empty()).then(|| percent_decode_str(&word).decode_utf8_lossy().into_owned())
    }
}

/// Paragraphs of `Types`, `URIs`, `Suites`, `Components` and options. What makes no sense is passed
/// over: apt itself refuses to work then and says so.
pub(crate) fn deb822(text: &str, wanted: Architecture) -> Vec<Source> {
    let text = text.replace("\r\n", "\n");
    let mut sources = Vec::new();
    let mut first = 1;
    // To apt a line of blanks parts nothing, whatever deb822(5) says.
    for part in text.split("\n\n") {
        let plain = last_of_each(part);
        let mut source = paragraphs(&plain).next().and_then(Result::ok);
        sources.extend(source.take().and_then(|one| paragraph_source(&one, first, wanted)));
        first += part.matches('\n').count() + 2;
    }
    sources
}

/// Without comments and lines of blanks, and of several fields of one name the last: that is the
/// one which apt sees.
fn last_of_each(paragraph: &str) -> String {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in paragraph.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match (line.starts_with([' ', '\t']), fields.last_mut()) {
            (true, Some((_, value))) => *value += &format!("{line}\n"),
            _ => {
                let name = line.split(':').next().unwrap_or_default().to_lowercase();
                fields.retain(|(other, _)| *other != name);
                fields.push((name, format!("{line}\n")));
            }
        }
    }
    fields.into_iter().map(|(_, value)| value).collect()
}

fn paragraph_source(
    paragraph: &Paragraph<'_>,
    line: usize,
    wanted: Architecture,
) -> Option<Source> {
    let words = |name| {
        let words = paragraph.field(name).map(|field| field.words().map(str::to_owned));
        words.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
    };
    if paragraph.get("Enabled").is_some_and(is_off)
        || !words("Types").iter().any(|one| one == "deb")
    {
        return None;
    }
    let mut architectures = Architectures::of(wanted);
    for (field, kind) in
        [("Architectures", ""), ("Architectures-Add", "+"), ("Architectures-Remove", "-")]
    {
        if paragraph.field(field).is_some() {
            architectures.note(kind, words(field).iter().map(String::as_str));
        }
    }
    let signed_by = paragraph.field("Signed-By");
    let source = Source {
        uris: words("URIs").iter().map(|uri| substituted(uri, wanted)).collect(),
        suites: words("Suites").iter().map(|suite| substituted(suite, wanted)).collect(),
        components: words("Components"),
        signed_by: signed_by.map(|field| SignedBy::parse(field.value)).unwrap_or_default(),
        line,
    };
    finish(source, &architectures)
}

/// `StringToBool` of apt: what it does not know is not off.
fn is_off(value: &str) -> bool {
    let off = ["0", "no", "false", "without", "off", "disable"];
    off.iter().any(|word| value.trim().eq_ignore_ascii_case(word))
}

fn substituted(text: &str, wanted: Architecture) -> String {
    text.replace("$(ARCH)", wanted.debian())
}

fn finish(source: Source, architectures: &Architectures) -> Option<Source> {
    let complete = !source.uris.is_empty() && !source.suites.is_empty();
    (complete && architectures.ours()).then_some(source)
}

/// For which architectures a source is: those named, or the host's own with some more or fewer.
struct Architectures {
    wanted: Architecture,
    only: Option<bool>,
    added: bool,
    removed: bool,
}

impl Architectures {
    fn of(wanted: Architecture) -> Self {
        Self { wanted, only: None, added: false, removed: false }
    }

    fn note<'a>(&mut self, kind: &str, mut names: impl Iterator<Item = &'a str>) {
        let ours = names.any(|name| name == self.wanted.debian());
        match kind {
            "+" => self.added = ours,
            "-" => self.removed = ours,
            _ => self.only = Some(ours),
        }
    }

    fn ours(&self) -> bool {
        (self.only.unwrap_or(true) || self.added) && !self.removed
    }
}
