//! What a kernel says when it panics, over the restart: it writes the end of its log into variables of the
//! firmware, or wherever else the machine keeps such a thing, and the next kernel shows them as files of
//! pstore (`Documentation/ABI/testing/pstore` of the kernel), which is mounted in every boot.
//!
//! The variables only around the trial of a release. Their module is loaded then, for they are few and wear
//! out; and when it comes all of them are read, which takes the firmware's time.

use std::fs;
use std::io;
use std::path::Path;

use crate::pid1::trial::Noted;

/// The module that Debian's kernel has for variables of EFI. A machine that keeps it elsewhere, as by the
/// ERST of ACPI, needs none, and its kernel refuses this one.
const MODULE: &str = "efi_pstore";
/// Where what was kept is shown.
const SHOWN: &str = "/sys/fs/pstore";

/// Around a trial: has a panic of this kernel kept, and shows what an earlier one has left. What is there
/// when a trial begins is not of the trial, and is removed. `load` loads a module of the image.
///
/// # Errors
/// In words: this image or this machine cannot, or does not let it be removed.
pub fn keep(
    root: &Path,
    noted: Noted,
    load: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    if noted == Noted::Nothing {
        return Ok(());
    }
    let loaded = load(MODULE).map_err(|error| format!("no variable is kept of a panic: {error}"));
    if noted == Noted::Trial {
        let forgotten = forget(&root.join(SHOWN.trim_start_matches('/')));
        forgotten.map_err(|error| format!("an earlier panic is not forgotten: {error}"))?;
    }
    loaded
}

/// Removes the ends of logs.
fn forget(shown: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shown)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("dmesg-") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_logs_are_removed_and_only_when_a_trial_begins() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let shown = root.join(&SHOWN[1..]);
        let told = keep(root, Noted::Trial, |_| Ok(())).unwrap_err();
        assert!(told.starts_with("an earlier panic is not forgotten: "), "{told}");
        fs::create_dir_all(&shown).unwrap();
        for name in ["dmesg-efi_pstore-1", "dmesg-erst-2", "console-ramoops-0"] {
            fs::write(shown.join(name), "Panic#1 Part1").unwrap();
        }
        keep(root, Noted::Nothing, |_| panic!("nothing is noted")).unwrap();
        let asked = |name: &str| Err(format!("no {name}"));
        let told = keep(root, Noted::OfAnother, asked).unwrap_err();
        assert_eq!(told, "no variable is kept of a panic: no efi_pstore");
        assert_eq!(fs::read_dir(&shown).unwrap().count(), 3);
        assert_eq!(
            keep(root, Noted::Trial, asked).unwrap_err(),
            told,
            "and it is swept all the same"
        );
        let left: Vec<_> =
            fs::read_dir(&shown).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["console-ramoops-0"]);
    }
}
