//! Whether this boot is the trial of a new release: what was noted on STATE before it says of which.
//!
//! Units know by files in memory: one that is only wanted in a trial, and for which the machine is
//! restarted if it is not ready in time, holds even if the program that judges the trial never runs.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use formats::digest::Sha256;
use formats::system::{LONGEST_TRIAL_NOTE, THIS_IS_A_TRIAL, TRIAL_NOTE, TRIAL_WAS_NOTED};

use crate::sys::replace;

/// What was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Nothing.
    Nothing,
    /// This boot is the trial.
    Trial,
    /// A trial of another root, which this boot comes after.
    OfAnother,
}

/// Gives the note on STATE, if there is one, to units as [`TRIAL_WAS_NOTED`], and as
/// [`THIS_IS_A_TRIAL`] too if it is of the root that runs. To be called before units run.
///
/// # Errors
/// What the file systems say.
pub fn note(root: &Path, root_hash: Sha256) -> io::Result<Noted> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let file = match File::open(below(TRIAL_NOTE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Noted::Nothing),
        file => file?,
    };
    let mut note = Vec::new();
    file.take(LONGEST_TRIAL_NOTE).read_to_end(&mut note)?;
    let of = note.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let ours = of == root_hash.to_string().as_bytes();
    if ours {
        replace(&below(THIS_IS_A_TRIAL), &note)?;
    }
    replace(&below(TRIAL_WAS_NOTED), &note)?;
    Ok(if ours { Noted::Trial } else { Noted::OfAnother })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_note_counts_for_the_root_that_it_is_of_and_units_see_it_in_any_case() {
        let ours = Sha256::of(b"root");
        let hash = ours.to_string();
        for (text, of_us) in [
            (format!("{hash}\n"), true),
            (format!("{hash}\nsince = 1\n"), true),
            (hash.clone(), true),
            (format!("{}\n", Sha256::of(b"other")), false),
            (format!("{hash}x\n"), false),
            (format!("\n{hash}\n"), false),
            (String::new(), false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            for directory in ["run/orlop", "var/lib/orlop"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            assert_eq!(note(root, ours).unwrap(), Noted::Nothing);
            assert!(!root.join(&TRIAL_WAS_NOTED[1..]).exists(), "nothing was noted");
            fs::write(root.join(&TRIAL_NOTE[1..]), &text).unwrap();
            let want = if of_us { Noted::Trial } else { Noted::OfAnother };
            assert_eq!(note(root, ours).unwrap(), want, "{text:?}");
            assert_eq!(root.join(&THIS_IS_A_TRIAL[1..]).exists(), of_us, "{text:?}");
            assert_eq!(fs::read_to_string(root.join(&TRIAL_WAS_NOTED[1..])).unwrap(), text);
        }
    }
}
