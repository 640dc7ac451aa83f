//! What a power cut, or a disk, has done to containerd's part of STATE, and how it is made good.
//!
//! containerd brings content and databases to the disk itself, and layers by `sync_fs` of its
//! configuration, before they count. So after a power cut nothing should be damaged; this is for
//! disks that lose what they have promised to keep. [`database`] looks before containerd starts;
//! [`images`] looks, once containerd answers and only after a boot that did not end in order, at
//! what had been made in its last minutes. A look that was not at its end when the next boot came
//! is not forgotten: from when on it looks is on STATE until nothing is left to be done.

pub mod database;
mod images;
mod layer;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use crate::root::{Keep, PUBLIC, Root};

pub(crate) use images::Repair;
use images::Runtime;

/// Seconds since 1970 from when on it is to be looked at, because a boot did not end in order.
pub const NOTE: &str = "/var/lib/orlop/after-crash";
/// The same, for a STATE that takes nothing any more.
const OF_THIS_BOOT: &str = "/run/orlop/after-crash";
/// Written until the end of each boot.
const LOGS: &str = "/var/log/orlop";
/// What is older than this at the end is on the disk, whatever the disk promised and the kernel
/// has put off: it writes after 30 s at most, and flushes with each commit of the journal.
const LAST: i64 = 10 * 60;

/// Leaves word that the last boot did not end in order. Must be called before this one logs.
///
/// # Errors
/// What the file system says.
pub fn note(root: &Root) -> io::Result<()> {
    let logs = fs::read_dir(root.path(LOGS)).into_iter().flatten().flatten();
    let times = logs.filter_map(|log| Some(log.metadata().ok()?.mtime()));
    // Without a log nothing is known of its end.
    let last = times.max().map_or(0, |end| end.saturating_sub(LAST));
    // One before it may have ended so as well, and not be made good yet.
    let since = since(root).map_or(last, |earlier| earlier.min(last));
    let text = format!("{since}\n");
    root.write(OF_THIS_BOOT, text.as_bytes(), PUBLIC, Keep::ThisBoot)?;
    root.write(NOTE, text.as_bytes(), PUBLIC, Keep::Forever)
}

/// From when on things are to be looked at; nothing if all boots ended in order, or what they left
/// was looked at to its end.
fn since(root: &Root) -> Option<i64> {
    let noted = |path| match root.read(path, 100) {
        Ok(None) => None,
        Ok(Some(bytes)) => Some(String::from_utf8(bytes).ok().and_then(|t| t.trim().parse().ok())),
        Err(_) => Some(None),
    };
    // One that cannot be read says that there is something to look at.
    let noted = [NOTE, OF_THIS_BOOT].into_iter().filter_map(noted);
    noted.map(|since| since.unwrap_or(0)).min()
}

/// Looks at what boots that did not end in order had made last, and makes it good; nothing if there
/// is none to look at. It is forgotten when nothing is left to be done.
pub(crate) fn make_good(runtime: &mut impl Runtime, root: &Root) -> Option<Repair> {
    let mut repair = images::make_good(runtime, root, since(root)?);
    if repair.left.is_empty() {
        let forgotten = root.remove(OF_THIS_BOOT).and_then(|()| root.remove(NOTE));
        repair.left.extend(forgotten.err().map(|error| format!("cannot remove {NOTE}: {error}")));
    }
    Some(repair)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Of a boot.
    const END: i64 = 1_795_000_000;

    fn log(root: &Root, name: &str, time: i64) {
        let path = format!("{LOGS}/{name}");
        root.write(&path, b"", PUBLIC, Keep::ThisBoot).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(time.unsigned_abs());
        let file = fs::File::options().write(true).open(root.path(&path)).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    }

    fn forget(root: &Root) {
        root.remove(NOTE).unwrap();
        root.remove(OF_THIS_BOOT).unwrap();
    }

    #[test]
    fn the_end_of_the_last_boot_is_the_time_of_its_newest_log() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(since(&root), None);
        note(&root).unwrap();
        assert_eq!(since(&root), Some(0), "nothing is known");
        forget(&root);
        log(&root, "init.log", END - 4000);
        log(&root, "kubelet.log", END);
        note(&root).unwrap();
        assert_eq!(since(&root), Some(END - LAST));
        assert_eq!(root.read(NOTE, 100).unwrap().unwrap(), format!("{}\n", END - LAST).as_bytes());
    }

    #[test]
    fn what_was_not_looked_at_to_its_end_is_looked_at_after_the_next_boot_however_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        log(&root, "init.log", END);
        note(&root).unwrap();
        // The next boot ends in order: what was of this one is gone, and there is no new note.
        root.remove(OF_THIS_BOOT).unwrap();
        assert_eq!(since(&root), Some(END - LAST));
        // One is cut off a minute later.
        log(&root, "init.log", END + 60);
        note(&root).unwrap();
        assert_eq!(since(&root), Some(END - LAST));
        // A clock that went back must not hide what is older.
        log(&root, "init.log", END - 5000);
        note(&root).unwrap();
        assert_eq!(since(&root), Some(END - 5000 - LAST));
    }

    #[test]
    fn a_note_that_says_nothing_says_that_all_is_to_be_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for bytes in [&b""[..], b"soon", &[0xff; 3], &[b'1'; 200]] {
            root.write(NOTE, bytes, PUBLIC, Keep::ThisBoot).unwrap();
            assert_eq!(since(&root), Some(0), "{bytes:?}");
        }
    }

    #[test]
    fn a_full_state_does_not_keep_this_boot_from_looking() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        log(&root, "init.log", END);
        root.write("/var/lib", b"no directory", PUBLIC, Keep::ThisBoot).unwrap();
        note(&root).unwrap_err();
        assert_eq!(since(&root), Some(END - LAST));
    }
}
