//! What a power cut, or a disk, has done to containerd's part of STATE, and how it is made good.
//!
//! containerd brings content and databases to the disk itself, and layers by `sync_fs` of its
//! configuration, before they count. So after a power cut nothing should be damaged; this is for
//! disks that lose what they have promised to keep. [`database`] looks before containerd starts;
//! [`images`] looks, once containerd answers and only after a boot that did not end in order, at
//! what had been made in its last minutes.

pub mod database;
mod images;
mod layer;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use crate::root::{Keep, PUBLIC, Root};

pub(crate) use images::make_good;

/// Says that the last boot did not end in order: seconds since 1970 from when on it is looked at.
pub const NOTE: &str = "/run/orlop/after-crash";
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
    let since = times.max().map_or(0, |end| end.saturating_sub(LAST));
    root.write(NOTE, format!("{since}\n").as_bytes(), PUBLIC, Keep::ThisBoot)
}

/// From when on things are looked at; nothing if the last boot ended in order.
pub(crate) fn since(root: &Root) -> Option<i64> {
    let bytes = root.read(NOTE, 100).ok()??;
    Some(String::from_utf8(bytes).ok()?.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_end_of_the_last_boot_is_the_time_of_its_newest_log() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(since(&root), None);
        note(&root).unwrap();
        assert_eq!(since(&root), Some(0), "nothing is known");
        for (name, age) in [("init.log", 5000), ("kubelet.log", 1000)] {
            let path = format!("{LOGS}/{name}");
            root.write(&path, b"", PUBLIC, Keep::ThisBoot).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(1_795_000_000 - age);
            let file = fs::File::options().write(true).open(root.path(&path)).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
        }
        note(&root).unwrap();
        assert_eq!(since(&root), Some(1_795_000_000 - 1000 - LAST));
    }
}
