//! Under which licences a package is: the machine-readable form of `debian/copyright`, and its
//! short names as an SPDX expression.
//! <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>,
//! <https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>
//!
//! A package has all licences of all its files; which of them a built file has, nobody says. A short
//! name becomes that of SPDX only if both say that it is the same text. `MIT`, for which Debian's
//! format says that there are many of that name, is none of them. All others become
//! `LicenseRef-Debian-NAME`, told apart by their texts: many packages have a licence called
//! `public-domain`.

use std::collections::{BTreeMap, BTreeSet};

use super::paragraphs;
use crate::digest::Sha256;

/// What begins the name of a licence that SPDX has no identifier for.
pub const REFERENCE: &str = "LicenseRef-Debian-";

/// A file of more bytes is not looked at. The largest in Debian has some hundred kB.
const MOST: usize = 4 << 20;

/// As much of a name goes into a reference.
const LONGEST: usize = 64;

/// Licences by Debian's short name and by SPDX's, both without a version's `+`.
const NAMES: &[(&str, &str)] = &[
    ("0BSD", "0BSD"),
    ("Apache-1.0", "Apache-1.0"),
    ("Apache-1.1", "Apache-1.1"),
    ("Apache-2", "Apache-2.0"),
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic-2", "Artistic-2.0"),
    ("Artistic-2.0", "Artistic-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("BSL-1.0", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("CC-BY-3.0", "CC-BY-3.0"),
    ("CC-BY-4.0", "CC-BY-4.0"),
    ("CC-BY-SA-3.0", "CC-BY-SA-3.0"),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
    ("CDDL-1.0", "CDDL-1.0"),
    ("Expat", "MIT"),
    ("FSFAP", "FSFAP"),
    ("FSFUL", "FSFUL"),
    ("FSFULLR", "FSFULLR"),
    ("ISC", "ISC"),
    ("LPPL-1.3c", "LPPL-1.3c"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2", "MPL-2.0"),
    ("MPL-2.0", "MPL-2.0"),
    ("OpenSSL", "OpenSSL"),
    ("Unicode-DFS-2016", "Unicode-DFS-2016"),
    ("Zlib", "Zlib"),
];

/// GNU's licences, which are for one version or for later ones as well. Without a version any will
/// do. Of AGPL the first version was somebody else's, so without a version it may be either.
const FAMILIES: &[(&str, &[&str], bool)] = &[
    ("AGPL", &["3"], false),
    ("GFDL", &["1.1", "1.2", "1.3"], true),
    ("GPL", &["1", "2", "3"], true),
    ("LGPL", &["2", "2.1", "3"], true),
];

/// What a licence of GNU may be `with`, where there is one text of that name.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Font exception", "Font-exception-2.0"),
    ("Libtool exception", "Libtool-exception"),
    ("Linux-syscall-note exception", "Linux-syscall-note"),
    ("Texinfo exception", "Texinfo-exception"),
];

/// Under which licences a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// An SPDX expression.
    pub expression: String,
    /// The texts of what SPDX has no name for, by its name in the expression, where they are known.
    pub texts: BTreeMap<String, String>,
}

/// The licences of a package whose file `copyright` this is: `None` if it is for people to read, or
/// does not name one for each of its files.
pub fn licence(text: &str) -> Option<Licence> {
    if text.len() > MOST {
        return None;
    }
    let mut all = paragraphs(text);
    let header = all.next()?.ok()?;
    header.get("Format").filter(|format| format.contains("copyright-format/1."))?;
    let (mut of_files, mut texts) = (Vec::new(), BTreeMap::new());
    for paragraph in all {
        // Some go on in a way that no reader of control data takes; then nobody knows what else.
        let paragraph = paragraph.ok()?;
        let licence = paragraph.get("License").map(split);
        if paragraph.field("Files").is_some() {
            of_files.push(licence?);
        } else if let Some((name, text)) = licence {
            texts.entry(name).or_insert(text);
        }
    }
    if of_files.is_empty() {
        of_files.extend(header.get("License").map(split));
    }
    let mut found = Found { texts, named: BTreeMap::new(), used: BTreeMap::new() };
    let mut parts = BTreeSet::new();
    for (name, own) in of_files {
        if name.is_empty() {
            return None;
        }
        match found.expression(&name, &own) {
            Expression::All(all) => parts.extend(all.iter().map(Expression::within)),
            other => drop(parts.insert(other.within())),
        }
    }
    let expression = match parts.len() {
        0 => return None,
        // A choice alone needs no brackets.
        1 => parts.into_iter().map(|only| bare(&only).to_owned()).collect(),
        _ => parts.into_iter().collect::<Vec<_>>().join(" AND "),
    };
    Some(Licence { expression, texts: found.used })
}

/// The names in an expression that stand for no licence of SPDX.
pub fn references(expression: &str) -> impl Iterator<Item = &str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
    expression.split(move |c| !plain(c)).filter(|word| word.starts_with(REFERENCE))
}

/// The name in the first line of a field, with one blank between words, and the text in the others.
fn split(field: &str) -> (String, String) {
    let (name, text) = field.split_once('\n').unwrap_or((field, ""));
    let line = |line: &str| {
        let line = line.strip_prefix([' ', '\t']).unwrap_or(line).trim_end();
        if line == "." { String::new() } else { line.to_owned() }
    };
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(line);
    let text = lines.collect::<Vec<_>>().join("\n");
    (name.split_whitespace().collect::<Vec<_>>().join(" "), text.trim().to_owned())
}

/// What a choice is without its brackets.
fn bare(text: &str) -> &str {
    text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text)
}

/// Licences joined by words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    /// An identifier of SPDX, or a reference.
    One(String),
    /// All of these, each of which is a name or a choice.
    All(Vec<Expression>),
    /// Any of these, each of which is a name or all of some.
    Any(Vec<Expression>),
}

impl Expression {
    /// Joined by `word`, where parts that are joined by the same word are no parts of their own.
    fn joined(word: Word, parts: Vec<Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match (part, word) {
                (Self::All(parts), Word::And) | (Self::Any(parts), Word::Or) => flat.extend(parts),
                (other, _) => flat.push(other),
            }
        }
        match (flat.len(), word) {
            (1, _) => flat.remove(0),
            (_, Word::And) => Self::All(flat),
            (_, Word::Or) => Self::Any(flat),
        }
    }

    /// As a part of several that are all meant: a choice is in brackets.
    fn within(&self) -> String {
        match self {
            Self::One(name) => name.clone(),
            Self::All(parts) => parts.iter().map(Self::within).collect::<Vec<_>>().join(" AND "),
            Self::Any(parts) => {
                let parts = parts.iter().map(Self::within).collect::<Vec<_>>();
                format!("({})", parts.join(" OR "))
            }
        }
    }
}

/// What joins two licences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    And,
    Or,
}

impl Word {
    fn of(text: &str) -> Option<Self> {
        match text {
            "and" => Some(Self::And),
            "or" => Some(Self::Or),
            _ => None,
        }
    }
}

/// What was found so far.
struct Found {
    /// Texts by Debian's names.
    texts: BTreeMap<String, String>,
    /// References by Debian's names: a text is digested once, however often it is named.
    named: BTreeMap<String, String>,
    /// Texts by the names that they have in the expression.
    used: BTreeMap<String, String>,
}

impl Found {
    /// Debian's short names, joined by `and`, `or` and commas, as SPDX has them. What is joined in
    /// no way that the format knows is one name. `own` is the text that stands with them.
    fn expression(&mut self, text: &str, own: &str) -> Expression {
        match self.parts(text, own) {
            Some(expression) => expression,
            None => Expression::One(self.one(text, own)),
        }
    }

    /// `and` binds closer than `or`, and a comma parts more than both: `A or B, and C`.
    fn parts(&mut self, text: &str, own: &str) -> Option<Expression> {
        let mut groups = Vec::new();
        for (index, group) in text.split(',').enumerate() {
            let words: Vec<_> = group.split_whitespace().collect();
            let word = words.first().and_then(|word| Word::of(word));
            // Only what follows a comma begins with a word, and each does: of `A, B or C` nobody
            // knows what the comma means.
            if (index == 0) == word.is_some() {
                return None;
            }
            let names = if word.is_some() { &words[1..] } else { &words[..] };
            let mut parts = vec![(Word::And, Vec::new())];
            for name in names {
                match (Word::of(name), parts.last_mut()) {
                    (Some(word), _) => parts.push((word, Vec::new())),
                    (None, Some((_, part))) => part.push(*name),
                    (None, None) => return None,
                }
            }
            if parts.iter().any(|(_, part)| part.is_empty()) {
                return None;
            }
            groups.push((word.unwrap_or(Word::And), parts));
        }
        // Nothing is noted of a text that turns out to be one name.
        let alone = groups.len() == 1 && groups[0].1.len() == 1;
        let own = if alone { own } else { "" };
        let mut whole = Vec::new();
        for (word, parts) in groups {
            let parts = parts
                .into_iter()
                .map(|(word, part)| (word, Expression::One(self.one(&part.join(" "), own))));
            whole.push((word, by_precedence(parts.collect())));
        }
        Some(by_precedence(whole))
    }

    /// One short name, and the text that stands with it if there is one.
    fn one(&mut self, name: &str, own: &str) -> String {
        if let Some(known) = known(name) {
            return known;
        }
        if !own.is_empty() {
            return self.refer(name, own.to_owned());
        }
        if let Some(known) = self.named.get(name) {
            return known.clone();
        }
        let text = self.texts.get(name).cloned().unwrap_or_default();
        let reference = self.refer(name, text);
        self.named.insert(name.to_owned(), reference.clone());
        reference
    }

    /// A reference that no other licence has.
    fn refer(&mut self, name: &str, text: String) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let mut reference: String = name.chars().take(LONGEST).map(plain).collect();
        if reference != name || !text.is_empty() {
            let digest = Sha256::of(format!("{name}\n{text}")).to_string();
            reference = format!("{reference}-{}", &digest[..8]);
        }
        let reference = format!("{REFERENCE}{reference}");
        if !text.is_empty() {
            self.used.insert(reference.clone(), text);
        }
        reference
    }
}

/// Parts, each with the word before it, of which that of the first says nothing: what `and` joins
/// comes first.
fn by_precedence(parts: Vec<(Word, Expression)>) -> Expression {
    let mut choices: Vec<Vec<Expression>> = vec![Vec::new()];
    for (index, (word, part)) in parts.into_iter().enumerate() {
        if index > 0 && word == Word::Or {
            choices.push(Vec::new());
        }
        if let Some(all) = choices.last_mut() {
            all.push(part);
        }
    }
    let choices = choices.into_iter().map(|all| Expression::joined(Word::And, all));
    Expression::joined(Word::Or, choices.collect())
}

/// The identifier of SPDX for a short name, if both mean the same text.
fn known(name: &str) -> Option<String> {
    let found = NAMES.iter().find(|(debian, _)| debian.eq_ignore_ascii_case(name));
    found.map(|(_, spdx)| (*spdx).to_owned()).or_else(|| gnu(name)).or_else(|| {
        let (licence, exception) = name.split_once(" with ")?;
        let (_, exception) =
            EXCEPTIONS.iter().find(|(debian, _)| debian.eq_ignore_ascii_case(exception))?;
        Some(format!("{} WITH {exception}", gnu(licence)?))
    })
}

/// `GPL-2+` is `GPL-2.0-or-later`, and `GFDL-NIV-1.3` is `GFDL-1.3-no-invariants-only`.
fn gnu(name: &str) -> Option<String> {
    let (family, rest) = name.split_once('-').unwrap_or((name, ""));
    let (_, versions, any) = FAMILIES.iter().find(|(of, ..)| *of == family)?;
    let (kind, version) = match rest.strip_prefix("NIV") {
        Some(version) if family == "GFDL" => {
            ("no-invariants-", version.strip_prefix('-').unwrap_or(version))
        }
        _ => ("", rest),
    };
    let later = version.is_empty() || version.ends_with('+');
    let version = version.strip_suffix('+').unwrap_or(version);
    let version = version.strip_suffix(".0").unwrap_or(version);
    let version = if version.is_empty() { versions.first().filter(|_| *any)? } else { version };
    versions.contains(&version).then(|| {
        let minor = if version.contains('.') { "" } else { ".0" };
        format!("{family}-{version}{minor}-{kind}{}", if later { "or-later" } else { "only" })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMAT: &str =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n";

    fn expression(name: &str) -> String {
        licence(&format!("{FORMAT}\nFiles: *\nLicense: {name}\n")).unwrap().expression
    }

    #[test]
    fn short_names_are_those_of_spdx_where_both_mean_the_same() {
        for (debian, spdx) in [
            ("Expat", "MIT"),
            ("zlib", "Zlib"),
            ("GPL-2", "GPL-2.0-only"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("GPL", "GPL-1.0-or-later"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("LGPL-3.0", "LGPL-3.0-only"),
            ("GFDL-1.3", "GFDL-1.3-only"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("AGPL-3", "AGPL-3.0-only"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("GPL-2+ with Libtool exception", "GPL-2.0-or-later WITH Libtool-exception"),
            ("GPL-3+ with Font exception", "GPL-3.0-or-later WITH Font-exception-2.0"),
            ("GPL-4", "LicenseRef-Debian-GPL-4"),
            ("GPL-2++", "LicenseRef-Debian-GPL-2---be054d58"),
            ("AGPL", "LicenseRef-Debian-AGPL"),
            ("public-domain", "LicenseRef-Debian-public-domain"),
            // Of these there are several.
            ("MIT", "LicenseRef-Debian-MIT"),
            ("Artistic", "LicenseRef-Debian-Artistic"),
            ("Python", "LicenseRef-Debian-Python"),
        ] {
            assert_eq!(expression(debian), spdx, "{debian}");
        }
        for name in
            ["GPL-2 with odd exception", "GPL-3+ with GCC exception", "ISC with Font exception"]
        {
            assert!(expression(name).starts_with(REFERENCE), "{name}");
        }
    }

    #[test]
    fn what_joins_names_is_what_the_format_says_or_a_part_of_one_name() {
        for (debian, spdx) in [
            ("GPL-2 or BSD-2-clause and ISC", "GPL-2.0-only OR BSD-2-Clause AND ISC"),
            ("GPL-2 and BSD-2-clause or ISC", "GPL-2.0-only AND BSD-2-Clause OR ISC"),
            ("GPL-2 or ISC, and Expat", "(GPL-2.0-only OR ISC) AND MIT"),
            ("Expat, and GPL-2  or\tISC", "MIT AND (GPL-2.0-only OR ISC)"),
            ("GPL-2, or ISC", "GPL-2.0-only OR ISC"),
            ("GPL-2, or ISC, and Expat", "GPL-2.0-only OR ISC AND MIT"),
            ("GPL-2 and ISC, or Expat or Zlib", "GPL-2.0-only AND ISC OR MIT OR Zlib"),
        ] {
            let bare = expression(debian);
            let parts: BTreeSet<_> = bare.split(' ').collect();
            assert_eq!(parts, spdx.split(' ').collect(), "{debian}");
            assert_eq!(bare.len(), spdx.len(), "{debian}: {bare}");
        }
        for odd in [
            "GPL-2, ISC",
            "GPL-2, ISC or Expat",
            "or ISC",
            "ISC and",
            "ISC,",
            "ISC or and Expat",
            ",",
        ] {
            let one = expression(odd);
            assert!(one.starts_with(REFERENCE) && !one.contains(' '), "{odd}: {one}");
        }
    }

    #[test]
    fn a_package_has_the_licences_of_all_its_files_and_each_once() {
        let text = format!(
            "{FORMAT}Upstream-Name: a\n\n\
             Files: *\nCopyright: x\nLicense: GPL-2+\n The text.\n\n\
             Files: b\nCopyright: x\nLicense: Expat or odd\n\n\
             Files: c\nCopyright: x\nLicense: GPL-2+ and ISC\n\n\
             License: odd\n Do as you like.\n .\n Or do not.\n"
        );
        let Licence { expression, texts } = licence(&text).unwrap();
        let odd = references(&expression).collect::<Vec<_>>();
        assert_eq!(odd.len(), 1);
        assert_eq!(expression, format!("(MIT OR {}) AND GPL-2.0-or-later AND ISC", odd[0]));
        let want = "Do as you like.\n\nOr do not.".to_owned();
        assert_eq!(texts, BTreeMap::from([(odd[0].to_owned(), want)]));
        // A file that nobody names a licence for is under one that nobody knows.
        for (line, other) in
            [("License: GPL-2+ and ISC\n", ""), ("License: GPL-2+ and ISC", "License:")]
        {
            assert_eq!(licence(&text.replace(line, other)), None, "{other:?}");
        }
    }

    #[test]
    fn one_name_for_two_texts_is_two_licences() {
        let with = |text: &str| {
            let text = format!("{FORMAT}\nFiles: *\nLicense: odd\n {text}\n");
            licence(&text).unwrap().expression
        };
        assert_eq!(with("One."), with("One."));
        assert_ne!(with("One."), with("Two."));
        assert_ne!(expression("a b"), expression("a-b"));
        let long = "x".repeat(LONGEST);
        assert_ne!(expression(&format!("{long}1")), expression(&format!("{long}2")));
        let both =
            format!("{FORMAT}\nFiles: a\nLicense: odd\n One.\n\nFiles: b\nLicense: odd\n Two.\n");
        assert_eq!(licence(&both).unwrap().texts.len(), 2);
    }

    #[test]
    fn a_licence_of_the_whole_stands_in_the_header() {
        let header = format!("{FORMAT}License: ISC or Expat\n");
        assert_eq!(licence(&header).unwrap().expression, "ISC OR MIT");
        assert_eq!(licence(FORMAT), None);
    }

    #[test]
    fn words_for_people_are_no_licence() {
        let large = format!("{FORMAT}License: ISC\n{}", " word\n".repeat(MOST / 6));
        for text in ["", "This package was debianized by me.\n", "License: GPL-2\n", &large] {
            assert_eq!(licence(text), None, "{}", text.len());
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_licence_or_none(text in any::<String>(), name in "[A-Z+,()a-z0-9. -]{0,40}") {
            let _ = licence(&text);
            let Some(Licence { expression, .. }) =
                licence(&format!("{FORMAT}\nFiles: *\nLicense: {name}\n"))
            else {
                return Ok(());
            };
            // What comes out has nothing in it that SPDX's grammar does not know.
            for word in expression.split([' ', '(', ')']) {
                prop_assert!(
                    word.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)),
                    "{word:?}"
                );
            }
        }

        #[test]
        fn names_and_words_in_any_order_are_an_expression(
            words in proptest::collection::vec("and|or|,|ISC|GPL-2\\+|odd", 1..12),
        ) {
            let expression = expression(&words.join(" "));
            let (mut open, mut wants_name) = (0, true);
            for word in expression.replace('(', "( ").replace(')', " )").split(' ') {
                match word {
                    "(" => open += 1,
                    ")" => open -= 1,
                    "AND" | "OR" => {
                        prop_assert!(!wants_name, "{expression}");
                        wants_name = true;
                    }
                    _ => {
                        prop_assert!(wants_name, "{expression}");
                        wants_name = false;
                    }
                }
                prop_assert!(open >= 0, "{expression}");
            }
            prop_assert!(open == 0 && !wants_name, "{expression}");
        }
    }
}
