//! Why a trial ended in a fall-back, as far as the release before it can know: by what the new one has
//! left on STATE, by what its kernel said at its end, if the machine keeps that, and by what the
//! machine's watchdog says of the reset.

use std::fs;
use std::io;
use std::path::Path;

use formats::digest::Sha256;
use formats::system::TRIAL_NOTE;
use formats::trial::{Note, Outcome, Verdict};

use crate::files::{below, read};
use crate::trial::note;

/// Where the kernel shows what an earlier one has left in memory that lasts. PID 1 mounts it.
pub const PSTORE: &str = "/sys/fs/pstore";
/// The kernel's watchdogs.
const WATCHDOGS: &str = "/sys/class/watchdog";
/// The watchdog has reset the machine before this boot: `WDIOF_CARDRESET` (`linux/watchdog.h`) in its
/// `bootstatus` (`Documentation/ABI/testing/sysfs-class-watchdog` of the kernel).
const CARD_RESET: u32 = 0x20;
/// Bytes of one record.
const LONGEST_RECORD: u64 = 256 * 1024;
/// Bytes of a watchdog's status.
const LONGEST_STATUS: u64 = 64;
/// Records that are looked at.
const MOST_RECORDS: usize = 64;

/// A release that was tried and does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallBack {
    /// Of what.
    pub note: Note,
    /// What came of it.
    pub kind: Kind,
    /// Why, a line for people.
    pub reason: String,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was judged and found bad, its kernel panicked, or it hung: it is not tried again by itself.
    Failed,
    /// It was found good, and the power went before it was promoted.
    NotPromoted,
    /// Somebody had the machine go down before it was judged.
    Interrupted,
    /// It ended without a word: a power cut, a reset by a person or by a watchdog that does not say so,
    /// or it was never started.
    WithoutAWord,
}

/// What came of the trial that is noted, if it is of another root than `own`, which runs.
///
/// # Errors
/// The note is there and cannot be read. That an outcome or a record cannot be read is as if it were
/// not there.
pub fn fall_back(root: &Path, own: Sha256) -> io::Result<Option<FallBack>> {
    let Some(note) = note::noted(root)?.filter(|note| note.root_hash != own) else {
        return Ok(None);
    };
    let outcome = note::outcome(root).ok().flatten();
    let panic = panic_of(&below(root, PSTORE)).ok().flatten();
    let reset = reset_of(&below(root, WATCHDOGS));
    let (kind, reason) = judge(&note, outcome.as_ref(), panic.as_deref(), reset);
    Ok(Some(FallBack { note, kind, reason }))
}

/// Whether what is on STATE says that this root is on trial although PID 1 could not say so to units.
pub fn is_noted(root: &Path) -> bool {
    below(root, TRIAL_NOTE).exists()
}

/// What has reset the machine before this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// Its watchdog: nobody had fed it.
    ByWatchdog,
    /// Anything else, or the watchdog does not say.
    Unknown,
}

fn judge(
    note: &Note,
    outcome: Option<&Outcome>,
    panic: Option<&str>,
    reset: Reset,
) -> (Kind, String) {
    // One of an earlier trial says nothing of this one.
    let outcome = outcome.filter(|outcome| outcome.root_hash == note.root_hash);
    match (outcome, panic, reset) {
        (Some(Outcome { verdict: Verdict::Unhealthy, reason, .. }), ..) => {
            (Kind::Failed, format!("it was not healthy: {reason}"))
        }
        (Some(Outcome { verdict: Verdict::Healthy, .. }), ..) => {
            (Kind::NotPromoted, "it was healthy and could not be kept".to_owned())
        }
        (_, Some(panic), _) => (Kind::Failed, format!("its kernel panicked: {panic}")),
        (Some(Outcome { verdict: Verdict::Interrupted, reason, .. }), None, _) => {
            (Kind::Interrupted, format!("it was interrupted: {reason}"))
        }
        (None, None, Reset::ByWatchdog) => {
            (Kind::Failed, "it hung, and the watchdog has reset the machine".to_owned())
        }
        (None, None, Reset::Unknown) => (
            Kind::WithoutAWord,
            "it ended without a word: a panic, a hang, a power cut, or it was never started"
                .to_owned(),
        ),
    }
}

/// What the kernel said when it panicked, of the newest record that has that
/// (`Documentation/ABI/testing/pstore` of the kernel: `dmesg-BACKEND-NUMBER`).
///
/// # Errors
/// The directory cannot be read.
fn panic_of(directory: &Path) -> io::Result<Option<String>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory)?.take(MOST_RECORDS) {
        let entry = entry?;
        let is_log = entry.file_name().to_string_lossy().starts_with("dmesg-");
        if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified())
            && is_log
        {
            records.push((modified, entry.path()));
        }
    }
    records.sort();
    let text = |path| read(path, LONGEST_RECORD).ok().flatten();
    Ok(records.iter().rev().find_map(|(_, path)| panic_line(&text(path)?)))
}

/// `Kernel panic - not syncing: ...`, of a log whose lines begin with a level and a time.
fn panic_line(log: &str) -> Option<String> {
    const MARK: &str = "Kernel panic - not syncing: ";
    let line = log.lines().rev().find_map(|line| Some(line.split_once(MARK)?.1))?;
    Some(line.chars().filter(|character| !character.is_control()).take(200).collect())
}

/// What the machine's watchdogs say of the reset before this boot. One that cannot say counts for nothing.
fn reset_of(watchdogs: &Path) -> Reset {
    let Ok(entries) = fs::read_dir(watchdogs) else { return Reset::Unknown };
    let says_so = |device: &Path| {
        let status = read(&device.join("bootstatus"), LONGEST_STATUS).ok().flatten();
        let status = status.and_then(|text| text.trim().parse::<u32>().ok());
        status.is_some_and(|status| status & CARD_RESET != 0)
    };
    match entries.flatten().any(|entry| says_so(&entry.path())) {
        true => Reset::ByWatchdog,
        false => Reset::Unknown,
    }
}

/// Removes what kernels have left: of an end that is known now, or, before a trial, of what was before it.
/// There is little room, and what is there after a trial is to be of that trial.
///
/// # Errors
/// What the kernel says of the first that cannot be removed.
pub fn forget_records(root: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(below(root, PSTORE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("dmesg-") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trial::note::tests::note_of;

    fn outcome(of: &str, verdict: Verdict) -> Outcome {
        Outcome { root_hash: Sha256::of(of), verdict, reason: "so".to_owned() }
    }

    #[test]
    fn what_was_left_says_why() {
        let note = note_of("new");
        let own = |verdict| Some(outcome("new", verdict));
        let silent =
            "it ended without a word: a panic, a hang, a power cut, or it was never started";
        let hung = "it hung, and the watchdog has reset the machine";
        for (outcome, panic, reset, kind, reason) in [
            (own(Verdict::Unhealthy), None, Reset::Unknown, Kind::Failed, "it was not healthy: so"),
            // What became of it on the way down is not why it went.
            (
                own(Verdict::Unhealthy),
                Some("x"),
                Reset::ByWatchdog,
                Kind::Failed,
                "it was not healthy: so",
            ),
            (
                own(Verdict::Healthy),
                None,
                Reset::Unknown,
                Kind::NotPromoted,
                "it was healthy and could not be kept",
            ),
            (
                own(Verdict::Interrupted),
                None,
                Reset::ByWatchdog,
                Kind::Interrupted,
                "it was interrupted: so",
            ),
            (
                own(Verdict::Interrupted),
                Some("x"),
                Reset::Unknown,
                Kind::Failed,
                "its kernel panicked: x",
            ),
            (None, Some("VFS"), Reset::ByWatchdog, Kind::Failed, "its kernel panicked: VFS"),
            (None, None, Reset::ByWatchdog, Kind::Failed, hung),
            (None, None, Reset::Unknown, Kind::WithoutAWord, silent),
            (
                Some(super::tests::outcome("other", Verdict::Unhealthy)),
                None,
                Reset::Unknown,
                Kind::WithoutAWord,
                silent,
            ),
        ] {
            let want = (kind, reason.to_owned());
            assert_eq!(judge(&note, outcome.as_ref(), panic, reset), want, "{outcome:?} {panic:?}");
        }
    }

    #[test]
    fn only_a_release_that_does_not_run_has_fallen_back() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (new, old) = (Sha256::of("new"), Sha256::of("old"));
        assert_eq!(fall_back(root, old).unwrap(), None);
        note::write(root, &note_of("new")).unwrap();
        assert!(is_noted(root));
        assert_eq!(fall_back(root, new).unwrap(), None, "it runs");
        let fell = fall_back(root, old).unwrap().unwrap();
        assert_eq!((fell.kind, fell.note.version.as_str()), (Kind::WithoutAWord, "1.2"));

        let pstore = below(root, PSTORE);
        fs::create_dir_all(&pstore).unwrap();
        for (name, text) in [
            (
                "dmesg-efi-1",
                "<0>[   12.5] Kernel panic - not syncing: VFS: no root\u{1b}[0m\n<0>end\n",
            ),
            ("console-efi-1", "<0>[   12.5] Kernel panic - not syncing: of a console\n"),
            ("dmesg-efi-2", "<6>[   12.6] Oops only\n"),
        ] {
            fs::write(pstore.join(name), text).unwrap();
        }
        let fell = fall_back(root, old).unwrap().unwrap();
        assert_eq!(fell.kind, Kind::Failed);
        assert_eq!(fell.reason, "its kernel panicked: VFS: no root[0m");
        forget_records(root).unwrap();
        assert_eq!(fs::read_dir(&pstore).unwrap().count(), 1, "only those of logs");

        // A watchdog without a status, one that has not reset the machine, and one that has.
        for (number, status, kind) in [
            (0, "", Kind::WithoutAWord),
            (1, "256\n", Kind::WithoutAWord),
            (2, "33024\n", Kind::WithoutAWord),
            (3, "288\n", Kind::Failed),
        ] {
            let device = below(root, WATCHDOGS).join(format!("watchdog{number}"));
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("bootstatus"), status).unwrap();
            assert_eq!(fall_back(root, old).unwrap().unwrap().kind, kind, "{status:?}");
        }
        note::forget(root).unwrap();
        assert_eq!(fall_back(root, old).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_log_makes_the_reader_panic(log in "(Kernel panic - not syncing: |\n|.){0,20}") {
            let _ = panic_line(&log);
        }
    }
}
