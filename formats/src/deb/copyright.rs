//! Under which licences a package is: the machine-readable form of `debian/copyright`, and its
//! short names as an SPDX expression.
//! <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>,
//! <https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>
//!
//! A package has all licences of all its files; which of them a built file has, nobody says. Names
//! that SPDX does not know become `LicenseRef-Debian-NAME`.

use std::collections::BTreeSet;

use super::paragraphs;

/// What begins the name of a licence that SPDX has no identifier for.
pub const REFERENCE: &str = "LicenseRef-Debian-";

/// Licences by Debian's short name and by SPDX's, both without a version's `+`.
const NAMES: &[(&str, &str)] = &[
    ("0BSD", "0BSD"),
    ("Apache-1.0", "Apache-1.0"),
    ("Apache-1.1", "Apache-1.1"),
    ("Apache-2", "Apache-2.0"),
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic-1.0", "Artistic-1.0"),
    ("Artistic-2", "Artistic-2.0"),
    ("Artistic-2.0", "Artistic-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("BSL-1.0", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("FSFAP", "FSFAP"),
    ("FSFUL", "FSFUL"),
    ("FSFULLR", "FSFULLR"),
    ("ISC", "ISC"),
    ("MIT", "MIT"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2", "MPL-2.0"),
    ("MPL-2.0", "MPL-2.0"),
    ("OpenSSL", "OpenSSL"),
    ("Python", "Python-2.0"),
    ("Unicode-DFS-2016", "Unicode-DFS-2016"),
    ("W3C", "W3C"),
    ("Zlib", "Zlib"),
    ("zlib", "Zlib"),
];

/// GNU's licences, which are for one version or for later ones as well. Without a version any will
/// do.
const FAMILIES: &[(&str, &[&str])] = &[
    ("AGPL", &["1", "3"]),
    ("GFDL", &["1.1", "1.2", "1.3"]),
    ("GPL", &["1", "2", "3"]),
    ("LGPL", &["2", "2.1", "3"]),
];

/// What a licence may be `with`.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("GPL-2", "Autoconf exception", "Autoconf-exception-2.0"),
    ("GPL-2", "Libtool exception", "Libtool-exception"),
    ("GPL-2", "Linux-syscall-note exception", "Linux-syscall-note"),
    ("GPL-2", "Texinfo exception", "Texinfo-exception"),
    ("GPL-3", "Autoconf exception", "Autoconf-exception-3.0"),
    ("GPL-3", "GCC exception", "GCC-exception-3.1"),
];

/// The SPDX expression of a package whose file `copyright` this is: `None` if it is for people to
/// read.
pub fn licence(text: &str) -> Option<String> {
    let mut all = paragraphs(text);
    let header = all.next()?.ok()?;
    header.get("Format").filter(|format| format.contains("copyright-format"))?;
    // The first line is the name, the others are the licence's text.
    let named = |text: &str| {
        let name = text.lines().next().unwrap_or_default().trim();
        (!name.is_empty()).then(|| expression(name))
    };
    let mut found = BTreeSet::new();
    for paragraph in all {
        // Some go on in a way that no reader of control data takes; then nobody knows what else.
        let paragraph = paragraph.ok()?;
        if paragraph.field("Files").is_some() {
            found.extend(paragraph.get("License").and_then(named));
        }
    }
    if found.is_empty() {
        found.extend(header.get("License").and_then(named));
    }
    all_of(found)
}

/// The names in an expression that stand for no licence of SPDX.
pub fn references(expression: &str) -> impl Iterator<Item = &str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
    expression.split(move |c| !plain(c)).filter(|word| word.starts_with(REFERENCE))
}

/// Debian's short names, joined by `and`, `or` and commas, as SPDX has them.
fn expression(text: &str) -> String {
    // A comma parts more than any word does: `A or B, and C`.
    let parts: Vec<_> = text.split(',').map(|part| part.trim()).filter(|p| !p.is_empty()).collect();
    if parts.len() > 1 {
        let either = parts[1..].iter().any(|part| part.starts_with("or "));
        let bare = |part: &&str| {
            let bare = part.strip_prefix("and ").or_else(|| part.strip_prefix("or "));
            expression(bare.unwrap_or(part))
        };
        let parts: Vec<_> = parts.iter().map(bare).collect();
        return if either { parts.join(" OR ") } else { all_of(parts).unwrap_or_default() };
    }
    let either: Vec<_> = text
        .split(" or ")
        .map(|part| {
            let both: Vec<_> = part.split(" and ").map(|name| one(name.trim())).collect();
            both.join(" AND ")
        })
        .collect();
    either.join(" OR ")
}

/// All of these, of which some may leave a choice.
fn all_of(expressions: impl IntoIterator<Item = String>) -> Option<String> {
    let mut expressions: Vec<_> = expressions.into_iter().collect();
    if expressions.len() < 2 {
        return expressions.pop();
    }
    let choice = |text: String| if text.contains(" OR ") { format!("({text})") } else { text };
    // `A` and `A AND B` are `A AND B`.
    let mut parts: Vec<String> = Vec::new();
    for expression in expressions {
        match choice(expression) {
            choice if choice.starts_with('(') => parts.push(choice),
            plain => parts.extend(plain.split(" AND ").map(str::to_owned)),
        }
    }
    let mut seen = BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
    Some(parts.join(" AND "))
}

fn one(name: &str) -> String {
    let known = |name: &str| {
        let found = NAMES.iter().find(|(debian, _)| debian.eq_ignore_ascii_case(name));
        found.map(|(_, spdx)| (*spdx).to_owned()).or_else(|| gnu(name))
    };
    let with = || {
        let (licence, exception) = name.split_once(" with ")?;
        let found = EXCEPTIONS.iter().find(|(of, debian, _)| {
            *of == licence.trim_end_matches('+') && debian.eq_ignore_ascii_case(exception)
        });
        Some(format!("{} WITH {}", known(licence)?, found?.2))
    };
    known(name).or_else(with).unwrap_or_else(|| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        // Of a `+` an SPDX reference has nothing; it is what tells two names apart.
        let name = name.replace('+', "-or-later").chars().map(plain).collect::<String>();
        format!("{REFERENCE}{name}")
    })
}

/// `GPL-2+` is `GPL-2.0-or-later`.
fn gnu(name: &str) -> Option<String> {
    let (family, version) = name.split_once('-').unwrap_or((name, ""));
    let (family, versions) = FAMILIES.iter().find(|(of, _)| *of == family)?;
    let later = version.is_empty() || version.ends_with('+');
    let version = version.trim_end_matches('+');
    let version = version.strip_suffix(".0").unwrap_or(version);
    let version = if version.is_empty() { versions.first()? } else { version };
    versions.contains(&version).then(|| {
        let minor = if version.contains('.') { "" } else { ".0" };
        format!("{family}-{version}{minor}-{}", if later { "or-later" } else { "only" })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_are_those_of_spdx_where_it_has_one() {
        for (debian, spdx) in [
            ("Expat", "MIT"),
            ("GPL-2", "GPL-2.0-only"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL", "GPL-1.0-or-later"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("LGPL-3.0", "LGPL-3.0-only"),
            ("GFDL-1.3", "GFDL-1.3-only"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("GPL-4", "LicenseRef-Debian-GPL-4"),
            ("public-domain", "LicenseRef-Debian-public-domain"),
            ("my words+", "LicenseRef-Debian-my-words-or-later"),
            ("GPL-2+ with Libtool exception", "GPL-2.0-or-later WITH Libtool-exception"),
            ("GPL-2 with odd exception", "LicenseRef-Debian-GPL-2-with-odd-exception"),
            ("GPL-2 or BSD-2-clause and ISC", "GPL-2.0-only OR BSD-2-Clause AND ISC"),
            ("GPL-2 or ISC, and Expat", "(GPL-2.0-only OR ISC) AND MIT"),
            ("GPL-2, ISC", "GPL-2.0-only AND ISC"),
            ("GPL-2, or ISC", "GPL-2.0-only OR ISC"),
        ] {
            assert_eq!(expression(debian), spdx, "{debian}");
        }
    }

    #[test]
    fn a_package_has_the_licences_of_all_its_files_and_each_once() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
            Upstream-Name: a\n\n\
            Files: *\nCopyright: x\nLicense: GPL-2+\n The text.\n\n\
            Files: b\nCopyright: x\nLicense: Expat or odd\n\n\
            Files: c\nCopyright: x\nLicense: GPL-2+ and ISC\n\n\
            License: odd\n Do as you like.\n";
        let licence = licence(text).unwrap();
        assert_eq!(licence, "GPL-2.0-or-later AND ISC AND (MIT OR LicenseRef-Debian-odd)");
        assert_eq!(references(&licence).collect::<Vec<_>>(), ["LicenseRef-Debian-odd"]);
    }

    #[test]
    fn a_licence_of_the_whole_stands_in_the_header() {
        let header = "Format: http://www.debian.org/doc/copyright-format/1.0/\nLicense: ISC\n";
        assert_eq!(licence(header).as_deref(), Some("ISC"));
        assert_eq!(licence(&header.replace("License: ISC\n", "")), None);
    }

    #[test]
    fn words_for_people_are_no_licence() {
        for text in ["", "This package was debianized by me.\n", "License: GPL-2\n"] {
            assert_eq!(licence(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_licence_or_none(text in any::<String>(), name in "[A-Z+,()a-z0-9. -]{0,40}") {
            let _ = licence(&text);
            let text = format!("Format: copyright-format\n\nFiles: *\nLicense: {name}\n");
            // What comes out has nothing in it that SPDX's grammar does not know.
            for word in licence(&text).unwrap_or_default().split([' ', '(', ')']) {
                prop_assert!(
                    word.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)),
                    "{word:?}"
                );
            }
        }
    }
}
