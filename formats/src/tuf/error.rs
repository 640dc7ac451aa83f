//! Why a file is refused.

use std::fmt;

use super::json::JsonError;
use crate::moment::Moment;

/// Text of others in a message of ours: its beginning, without what a terminal would obey.
pub(super) fn shown(text: &str) -> impl fmt::Display {
    const LONGEST: usize = 200;
    let beginning = text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end]);
    let cut = if beginning.len() < text.len() { "..." } else { "" };
    let mut shown = String::new();
    for character in beginning.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown + cut
}

/// A file that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {reason}", shown(file))]
pub struct Refused {
    /// As the repository names it: `timestamp.json`, `a/target`.
    pub file: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its bytes are no JSON, or too much of it.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member is not there, or not what it should be.
    #[error("its `{}` is not {want}", shown(member))]
    Shape {
        /// The way to it, with dots.
        member: String,
        /// What it should be.
        want: &'static str,
    },
    /// It is metadata of another role.
    #[error("it is metadata of the type `{}`, not `{want}`", shown(found))]
    Type {
        /// What it says it is.
        found: String,
        /// What was asked for.
        want: &'static str,
    },
    /// It is of a specification that nobody has written yet.
    #[error("it follows version `{}` of the specification, and not 1", shown(.0))]
    Specification(String),
    /// A key id has two signatures.
    #[error("it has two signatures of the key `{}`", shown(.0))]
    SignedTwice(String),
    /// Not enough of the role's keys have signed it.
    #[error("{valid} of the keys of `{}` have signed it, and {threshold} must", shown(role))]
    Signatures {
        /// Whose keys were asked for.
        role: String,
        /// Different keys with a right signature.
        valid: usize,
        /// How many there must be.
        threshold: u64,
    },
    /// It is older than what is trusted.
    #[error("its version is {found}, and {trusted} is trusted: a rollback")]
    Rollback {
        /// What it says.
        found: u64,
        /// What was seen before.
        trusted: u64,
    },
    /// It names an older version of another file than the one that is trusted.
    #[error("it names version {found} of `{}`, and {trusted} is trusted: a rollback", shown(of))]
    RollbackOf {
        /// The other file.
        of: String,
        /// What it says.
        found: u64,
        /// What was seen before.
        trusted: u64,
    },
    /// It does not name a file any more that it must name.
    #[error("it does not name `{}`, which it did before", shown(.0))]
    Removed(String),
    /// It has another version than the file that names it says.
    #[error("its version is {found}, and not {want}")]
    Version {
        /// What it says.
        found: u64,
        /// What was asked for.
        want: u64,
    },
    /// Its time is over: it may be kept from being replaced.
    #[error("it expired at {}: nothing newer is to be had, or it is kept back", Moment::at(*.0))]
    Expired(i64),
    /// It is longer than is taken.
    #[error("it has more than the {0} bytes that are taken")]
    TooLong(u64),
    /// It has another length than the metadata says.
    #[error("it has {found} bytes, and not {want}")]
    Length {
        /// What came.
        found: u64,
        /// What was signed.
        want: u64,
    },
    /// It has another hash than the metadata says.
    #[error("its {0} is not the one that was signed")]
    Hash(&'static str),
    /// Nothing that the metadata says of it can be verified.
    #[error("it has no hash of a kind that is known, only {}", shown(.0))]
    UnknownHash(String),
    /// The repository does not have it.
    #[error("the repository does not have it")]
    Missing,
    /// There is no root to begin with.
    #[error("there is none to begin with")]
    NoRoot,
    /// The snapshot does not name the metadata of a role.
    #[error("the snapshot does not name it")]
    NotInSnapshot,
    /// There is no number after its version.
    #[error("its version is the last one that there is")]
    LastVersion,
    /// More roles are in the way of a target than are asked.
    #[error("more than {0} roles would have to be asked for it")]
    TooManyRoles(usize),
    /// Nobody who may has said anything about this target.
    #[error("there is no such target")]
    NoTarget,
}

impl Reason {
    /// The error that a file of this name is refused by.
    pub fn of(self, file: impl Into<String>) -> Refused {
        Refused { file: file.into(), reason: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_the_beginning_of_others_text_and_nothing_that_a_terminal_obeys() {
        for (text, want) in [
            ("a b\"\\'é", "a b\"\\'é"),
            ("\u{1b}[2J\n\0\u{202e}", "\\u{1b}[2J\\n\\0\\u{202e}"),
            (&"ä".repeat(200), &"ä".repeat(200)),
            (&"ä".repeat(201), &format!("{}...", "ä".repeat(200))),
        ] {
            assert_eq!(shown(text).to_string(), want);
        }
        let reason = Reason::Removed("x".repeat(1 << 20));
        assert!(reason.of("\n").to_string().len() < 300);
    }
}
