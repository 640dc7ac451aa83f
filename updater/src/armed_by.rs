//! Who has armed the trial that is armed: the policy may take its own back, and whoever names a release
//! takes the place of what the policy or an earlier request at the Node object has armed. What a person
//! has armed stays a person's.
//!
//! It is in a file in memory, as long as the machine runs, with the root hash of what was armed: one that
//! an earlier process has left says nothing of another release. It is written before the trial is armed,
//! so whoever is killed in between has not made it a person's.

use std::fs;
use std::io;
use std::path::Path;

use formats::digest::Sha256;

use crate::files::{below, read};
use crate::plan::Asked;

const PATH: &str = "/run/orlop/updater-armed-by";
/// Bytes of it.
const LONGEST: u64 = 256;

/// Who it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Policy,
    /// Who asked at the Node object.
    Fleet,
    /// Or somebody who is not known any more.
    Person,
}

impl By {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Policy => Some("policy"),
            Self::Fleet => Some("fleet"),
            Self::Person => None,
        }
    }
}

impl From<Asked> for By {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Policy => Self::Policy,
            Asked::Fleet => Self::Fleet,
            Asked::Person | Asked::PersonAnyway => Self::Person,
        }
    }
}

/// Remembers who arms this release.
///
/// # Errors
/// It does not: then it is somebody, whom the policy leaves alone.
pub(crate) fn remember(root: &Path, by: By, root_hash: &Sha256) -> io::Result<()> {
    let path = below(root, PATH);
    match by.word() {
        Some(word) => {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, format!("{word} {root_hash}\n"))
        }
        None => forget(root),
    }
}

/// Nothing is armed any more.
///
/// # Errors
/// What the file system says.
pub(crate) fn forget(root: &Path) -> io::Result<()> {
    match fs::remove_file(below(root, PATH)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Who has armed this release.
pub(crate) fn whoever(root: &Path, root_hash: &Sha256) -> By {
    let text = read(&below(root, PATH), LONGEST).ok().flatten().unwrap_or_default();
    let is = |by: &By| by.word().is_some_and(|word| text == format!("{word} {root_hash}\n"));
    [By::Policy, By::Fleet].into_iter().find(is).unwrap_or(By::Person)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_armed_is_known_of_this_release_only_and_else_it_is_a_person() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (one, other) = (Sha256::of("1"), Sha256::of("2"));
        assert_eq!(whoever(root, &one), By::Person);
        for by in [By::Policy, By::Fleet, By::Person, By::Policy] {
            remember(root, by, &one).unwrap();
            assert_eq!((whoever(root, &one), whoever(root, &other)), (by, By::Person));
        }
        forget(root).unwrap();
        forget(root).unwrap();
        assert_eq!(whoever(root, &one), By::Person);
    }
}
