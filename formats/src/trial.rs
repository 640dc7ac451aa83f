//! What two releases tell each other about a trial, over a restart, by files on STATE: the note, which
//! the old one writes and both read, and the outcome, which the new one writes and the old one reads.
//!
//! Who writes and who reads may be of different versions. So keys that the reader does not know are
//! passed over, and what is absent has its default.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use crate::digest::Sha256;

/// Which release is about to be tried, and how the node was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The root hash of the release that is tried. It is the first line of the note, so that PID 1 can
    /// tell without reading the rest whether it runs.
    pub root_hash: Sha256,
    /// The root hash of the release that notes this, and that the machine falls back to.
    pub from: Sha256,
    /// What people call the release that is tried.
    pub version: String,
    /// Whether the node ran kubelet: then it has to in the trial too.
    pub kubelet: bool,
    /// What failed before: it does not count. As [`crate::health`] names conditions.
    pub failed_before: BTreeSet<String>,
}

/// How a trial went, as far as the release that was tried could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The root hash of the release that was tried.
    pub root_hash: Sha256,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one line for people.
    pub reason: String,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is to stay.
    Healthy,
    /// It is not.
    Unhealthy,
    /// Somebody had the machine go down before it was decided.
    Interrupted,
}

impl Verdict {
    const NAMES: [(&'static str, Self); 3] = [
        ("healthy", Self::Healthy),
        ("unhealthy", Self::Unhealthy),
        ("interrupted", Self::Interrupted),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, verdict)| *verdict == self).map_or("", |(name, _)| name)
    }
}

impl Note {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = format!("{}\nfrom = \"{}\"\n", self.root_hash, self.from);
        // Writing into a string does not fail.
        let _ = writeln!(text, "version = {}", quoted(&self.version));
        let _ = writeln!(text, "kubelet = {}", self.kubelet);
        let failed: Vec<_> = self.failed_before.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(text, "failed-before = [{}]", failed.join(", "));
        text
    }

    /// Out of the text of the file. `None` if it does not say of which release it is, or what for.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('\n')?;
        let table = DeTable::parse(rest).ok()?;
        let table = table.get_ref();
        let failed = table.get("failed-before").and_then(|list| list.get_ref().as_array());
        let failed = failed.into_iter().flatten().filter_map(|name| name.get_ref().as_str());
        Some(Self {
            root_hash: first.parse().ok()?,
            from: word(table, "from")?.parse().ok()?,
            version: word(table, "version").unwrap_or_default().to_owned(),
            kubelet: table.get("kubelet").is_some_and(|is| is.get_ref().as_bool() == Some(true)),
            failed_before: failed.map(str::to_owned).collect(),
        })
    }
}

impl Outcome {
    /// The text of the file.
    pub fn text(&self) -> String {
        let (verdict, reason) = (self.verdict.name(), quoted(&self.reason));
        format!("root-hash = \"{}\"\nverdict = \"{verdict}\"\nreason = {reason}\n", self.root_hash)
    }

    /// Out of the text of the file. `None` if it does not say which verdict on what.
    pub fn parse(text: &str) -> Option<Self> {
        let table = DeTable::parse(text).ok()?;
        let table = table.get_ref();
        let verdict = word(table, "verdict")?;
        let known = Verdict::NAMES.iter().find(|(name, _)| *name == verdict);
        Some(Self {
            root_hash: word(table, "root-hash")?.parse().ok()?,
            verdict: known?.1,
            reason: word(table, "reason").unwrap_or_default().to_owned(),
        })
    }
}

fn word<'t>(table: &'t DeTable<'_>, key: &str) -> Option<&'t str> {
    table.get(key).map(toml::Spanned::get_ref).and_then(DeValue::as_str)
}

/// As a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                // Writing into a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn note() -> Note {
        Note {
            root_hash: Sha256::of("new"),
            from: Sha256::of("old"),
            version: "1.2".to_owned(),
            kubelet: true,
            failed_before: ["check:dns", "cri"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn the_note_begins_with_the_release_that_is_tried() {
        expect![[r#"
            11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437
            from = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
            version = "1.2"
            kubelet = true
            failed-before = ["check:dns", "cri"]
        "#]]
        .assert_eq(&note().text());
    }

    #[test]
    fn a_note_of_another_version_is_read_as_far_as_it_is_known() {
        let (new, old) = (Sha256::of("new"), Sha256::of("old"));
        let known = format!("{new}\nlater = {{ a = 1 }}\nfrom = \"{old}\"\nkubelet = 1\n");
        let want = Note {
            version: String::new(),
            kubelet: false,
            failed_before: BTreeSet::new(),
            ..note()
        };
        assert_eq!(Note::parse(&known), Some(want));
        for bad in [
            String::new(),
            new.to_string(),
            format!("{new}\n"),
            format!("{new}\nfrom = \"x\"\n"),
            format!("x\nfrom = \"{old}\"\n"),
            format!("{new}\nfrom = \"{old}\"\nversion"),
        ] {
            assert_eq!(Note::parse(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_outcome_needs_a_verdict_that_is_known() {
        for (_, verdict) in Verdict::NAMES {
            let outcome = Outcome { root_hash: Sha256::of("new"), verdict, reason: "so".into() };
            assert_eq!(Outcome::parse(&outcome.text()), Some(outcome));
        }
        let hash = Sha256::of("new");
        for bad in [
            "",
            &format!("root-hash = \"{hash}\"\n"),
            "verdict = \"healthy\"\n",
            &format!("root-hash = \"{hash}\"\nverdict = \"splendid\"\n"),
        ] {
            assert_eq!(Outcome::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            version in any::<String>(), reason in any::<String>(), kubelet: bool,
            failed_before in prop::collection::btree_set(any::<String>(), 0..4),
        ) {
            let note = Note { version, kubelet, failed_before, ..note() };
            prop_assert_eq!(Note::parse(&note.text()), Some(note.clone()));
            let verdict = Verdict::Unhealthy;
            let outcome = Outcome { root_hash: note.from, verdict, reason };
            prop_assert_eq!(Outcome::parse(&outcome.text()), Some(outcome));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC*") {
            let _ = (Note::parse(&text), Outcome::parse(&text));
        }
    }
}
