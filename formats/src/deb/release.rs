//! A suite's release file: what it is called, how long it is good for, and the digest of every
//! index. Format: the repository format of the Debian wiki. Read only what a signature covers.

use std::collections::BTreeMap;

use super::control::{ControlError, Field, paragraphs};
use super::date::{self, DateError};
use crate::tree::Blob;

/// What we need of a release file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Such as `stable`; moves from release to release.
    pub suite: String,
    /// Such as `trixie`; never moves.
    pub codename: String,
    /// Such as `13.7`; empty if there is none.
    pub version: String,
    /// When it was made, as written.
    pub date: String,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Until when it may be believed, in seconds since 1970; suites that hardly change, such as
    /// stable itself, carry no such date.
    pub valid_until: Option<u64>,
    /// Whether indices can be had under the name of their digest.
    pub by_hash: bool,
    /// Whether nothing of it is taken by itself: `NotAutomatic`, experimental and backports.
    pub not_automatic: bool,
    /// Whether what was taken of it once is kept up to date: `ButAutomaticUpgrades`, backports.
    pub but_automatic_upgrades: bool,
    /// Such as `amd64`.
    pub architectures: Vec<String>,
    /// Such as `main`; in a security suite `updates/main`.
    pub components: Vec<String>,
    /// Every index by its path below the suite's directory.
    pub files: BTreeMap<String, Blob>,
}

/// The text is not a release file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not even control data.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is nothing, or more than one paragraph.
    #[error("expected one paragraph")]
    NotOneParagraph,
    /// A field that must be there is not.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A date cannot be understood.
    #[error(transparent)]
    Date(#[from] DateError),
    /// A line of `SHA256` is not digest, size and path.
    #[error("`{0}` is not `digest size path`")]
    BadFile(String),
}

impl Release {
    /// Reads the text of a `Release` file, or what the signature of an `InRelease` file covers.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let mut all = paragraphs(text);
        let paragraph = all.next().ok_or(ReleaseError::NotOneParagraph)??;
        if all.next().transpose()?.is_some() {
            return Err(ReleaseError::NotOneParagraph);
        }
        let text = |name| paragraph.get(name).unwrap_or_default().to_owned();
        let words = |name| {
            let words = paragraph.field(name).map(|field| field.words().map(str::to_owned));
            words.map(Iterator::collect).unwrap_or_default()
        };
        let date = paragraph.get("Date").ok_or(ReleaseError::Missing("Date"))?;
        let files = paragraph.field("SHA256").ok_or(ReleaseError::Missing("SHA256"))?;
        Ok(Self {
            suite: text("Suite"),
            codename: text("Codename"),
            version: text("Version"),
            date: date.to_owned(),
            made: date::parse(date)?,
            valid_until: paragraph.get("Valid-Until").map(date::parse).transpose()?,
            by_hash: paragraph.get("Acquire-By-Hash").is_some_and(is_yes),
            not_automatic: paragraph.get("NotAutomatic").is_some_and(is_yes),
            but_automatic_upgrades: paragraph.get("ButAutomaticUpgrades").is_some_and(is_yes),
            architectures: words("Architectures"),
            components: words("Components"),
            files: parse_files(files)?,
        })
    }
}

/// As `StringToBool` of apt: what it does not know is no.
fn is_yes(value: &str) -> bool {
    let yes = ["1", "yes", "true", "with", "on", "enable"];
    yes.iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn parse_files(field: &Field<'_>) -> Result<BTreeMap<String, Blob>, ReleaseError> {
    field.lines().map(|line| parse_file(line).ok_or(ReleaseError::BadFile(line.into()))).collect()
}

fn parse_file(line: &str) -> Option<(String, Blob)> {
    let mut words = line.split_whitespace();
    let (sha256, size, path) = (words.next()?, words.next()?, words.next()?);
    let good = words.next().is_none() && size.bytes().all(|byte| byte.is_ascii_digit());
    let blob = Blob { sha256: sha256.parse().ok()?, size: size.parse().ok()? };
    good.then(|| (path.to_owned(), blob))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Sha256;

    const TEXT: &str = "\
Origin: Debian
Suite: stable-security
Version: 13
Codename: trixie-security
Date: Wed, 18 Nov 2026 22:17:43 UTC
Valid-Until: Wed, 25 Nov 2026 22:17:43 UTC
Acquire-By-Hash: yes
Architectures: amd64 arm64
Components: updates/main
SHA256:
 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad        3 main/binary-amd64/Packages
";

    #[test]
    fn a_release_file_is_read() {
        let release = Release::parse(TEXT).unwrap();
        let blob = Blob { sha256: Sha256::of("abc"), size: 3 };
        assert_eq!(
            release,
            Release {
                suite: "stable-security".into(),
                codename: "trixie-security".into(),
                version: "13".into(),
                date: "Wed, 18 Nov 2026 22:17:43 UTC".into(),
                made: 1_795_040_263,
                valid_until: Some(1_795_645_063),
                by_hash: true,
                not_automatic: false,
                but_automatic_upgrades: false,
                architectures: vec!["amd64".into(), "arm64".into()],
                components: vec!["updates/main".into()],
                files: BTreeMap::from([("main/binary-amd64/Packages".into(), blob)]),
            }
        );
    }

    #[test]
    fn flags_are_read_as_apt_does() {
        for (value, yes) in
            [("yes", true), ("Yes", true), ("1", true), ("true", true), ("no", false), ("x", false)]
        {
            let flag = |name: &str| TEXT.replace("Version: 13", &format!("{name}: {value}"));
            let release = |name: &str| Release::parse(&flag(name)).unwrap();
            assert_eq!(release("NotAutomatic").not_automatic, yes, "{value}");
            assert_eq!(release("ButAutomaticUpgrades").but_automatic_upgrades, yes, "{value}");
        }
    }

    #[test]
    fn what_is_not_a_release_file_is_refused() {
        for (from, to, error) in [
            ("Date:", "Day:", "field `Date` is missing"),
            ("SHA256:", "MD5Sum:", "field `SHA256` is missing"),
            ("Acquire-By-Hash", "Suite", "line 7: field `Suite` stands twice in one paragraph"),
            ("SHA256:\n", "SHA256:\n x\n", "`x` is not `digest size path`"),
            ("Suite:", "\nSuite:", "expected one paragraph"),
            (
                "25 Nov",
                "26 Nov",
                "`Wed, 26 Nov 2026 22:17:43 UTC` is not a date such as `Sat, 12 Sep 2026 07:55:41 UTC`",
            ),
        ] {
            let text = TEXT.replace(from, to);
            assert_eq!(Release::parse(&text).unwrap_err().to_string(), error);
        }
        assert_eq!(Release::parse(""), Err(ReleaseError::NotOneParagraph));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(at in 0..TEXT.len(), text in "(?s).{0,8}") {
            let mut changed = TEXT.to_owned();
            changed.insert_str(at, &text);
            drop(Release::parse(&changed));
        }
    }
}
