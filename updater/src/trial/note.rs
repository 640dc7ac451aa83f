//! The note and the outcome of a trial, on STATE.

use std::io;
use std::path::Path;

use formats::system::{LONGEST_TRIAL_NOTE, TRIAL_NOTE, TRIAL_OUTCOME};
use formats::trial::{Note, Outcome};

use crate::files::{below, read, remove, replace};

/// Bytes of an outcome.
const LONGEST_OUTCOME: u64 = 16 * 1024;

/// Notes that a release is about to be tried, and forgets how an earlier one went. On the disk when
/// this returns.
///
/// # Errors
/// What the file system says: then it must not be tried.
pub fn write(root: &Path, note: &Note) -> io::Result<()> {
    let text = note.text();
    // PID 1 reads no more, and half a note could be one of another meaning.
    if text.len() as u64 > LONGEST_TRIAL_NOTE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the note is too long"));
    }
    remove(&below(root, TRIAL_OUTCOME))?;
    replace(&below(root, TRIAL_NOTE), &text)
}

/// The note, if there is one that says something.
///
/// # Errors
/// It is there and cannot be read.
pub fn noted(root: &Path) -> io::Result<Option<Note>> {
    let text = read(&below(root, TRIAL_NOTE), LONGEST_TRIAL_NOTE)?;
    Ok(text.and_then(|text| Note::parse(&text)))
}

/// Keeps how the trial went. On the disk when this returns.
///
/// # Errors
/// What the file system says.
pub fn write_outcome(root: &Path, outcome: &Outcome) -> io::Result<()> {
    replace(&below(root, TRIAL_OUTCOME), &outcome.text())
}

/// How it went, if that was kept.
///
/// # Errors
/// It is there and cannot be read.
pub fn outcome(root: &Path) -> io::Result<Option<Outcome>> {
    let text = read(&below(root, TRIAL_OUTCOME), LONGEST_OUTCOME)?;
    Ok(text.and_then(|text| Outcome::parse(&text)))
}

/// Forgets the trial, when it was promoted, or when what became of it is in META.
///
/// # Errors
/// What the file system says; the note is the last to go.
pub fn forget(root: &Path) -> io::Result<()> {
    remove(&below(root, TRIAL_OUTCOME))?;
    remove(&below(root, TRIAL_NOTE))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use formats::digest::Sha256;
    use formats::trial::Verdict;

    use super::*;

    pub(crate) fn note_of(new: &str) -> Note {
        Note {
            root_hash: Sha256::of(new),
            from: Sha256::of("old"),
            version: "1.2".to_owned(),
            kubelet: true,
            failed_before: ["cri".to_owned()].into(),
        }
    }

    #[test]
    fn a_trial_is_noted_decided_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!((noted(root).unwrap(), outcome(root).unwrap()), (None, None));
        forget(root).unwrap();
        let note = note_of("new");
        write(root, &note).unwrap();
        let went = Outcome {
            root_hash: note.root_hash,
            verdict: Verdict::Unhealthy,
            reason: "kubelet: refused".to_owned(),
        };
        write_outcome(root, &went).unwrap();
        assert_eq!((noted(root).unwrap(), outcome(root).unwrap()), (Some(note), Some(went)));
        // Another one is tried.
        write(root, &note_of("newer")).unwrap();
        assert_eq!(outcome(root).unwrap(), None);
        forget(root).unwrap();
        assert_eq!(noted(root).unwrap(), None);
    }

    #[test]
    fn a_note_that_is_too_long_is_none() {
        let root = tempfile::tempdir().unwrap();
        let long = Note { version: "x".repeat(20_000), ..note_of("new") };
        assert!(write(root.path(), &long).is_err());
        assert_eq!(noted(root.path()).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, &note_of("new")).unwrap();
        fs::write(below(root, TRIAL_NOTE), "\0\0").unwrap();
        fs::write(below(root, TRIAL_OUTCOME), [0xff; 9]).unwrap();
        assert_eq!((noted(root).unwrap(), outcome(root).unwrap()), (None, None));
    }
}
