//! Who uses a directory: all who build share it, and who clears it up has it alone. The kernel
//! forgets a process that dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The file in the directory that is locked. It is empty and stays.
pub const FILE: &str = "in-use";

/// A directory is in use for as long as this lives.
#[derive(Debug)]
pub struct InUse {
    _file: File,
}

impl InUse {
    /// Uses a directory together with others; waits while somebody clears it up. Nothing where no
    /// file can be made: there nothing can be removed either.
    pub fn shared(directory: &Path) -> Option<Self> {
        let file = open(directory).ok()?;
        rustix::fs::flock(&file, FlockOperation::LockShared).ok()?;
        Some(Self { _file: file })
    }

    /// Has a directory alone; nothing if somebody uses it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn alone(directory: &Path) -> io::Result<Option<Self>> {
        let file = open(directory)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    let path = directory.join(FILE);
    if let Ok(file) = File::open(&path) {
        return Ok(file);
    }
    std::fs::create_dir_all(directory)?;
    // Others who share the directory need only read it to lock it.
    let file = OpenOptions::new().create(true).append(true).mode(0o644).open(&path)?;
    drop(file.set_permissions(std::fs::Permissions::from_mode(0o644)));
    Ok(file)
}

/// Notes that a file or directory was used, at most once an hour, for [`crate::clean`] goes by that
/// time. Best effort: it may be somebody else's.
pub fn touch(path: &Path) {
    const HOUR: i64 = 3600;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let now = i64::try_from(crate::settings::now()).unwrap_or(i64::MAX);
    if now.saturating_sub(metadata.mtime()) > HOUR {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        let (at, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::empty());
        let _ = rustix::fs::utimensat(at, path, &times, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_use_a_directory_and_one_has_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let users = [InUse::shared(&path), InUse::shared(&path)];
        assert!(users.iter().all(Option::is_some));
        assert!(InUse::alone(&path).unwrap().is_none());
        drop(users);
        let alone = InUse::alone(&path).unwrap();
        assert!(alone.is_some() && InUse::alone(&path).unwrap().is_none());
        drop(alone);
        assert!(InUse::shared(&path).is_some());
    }

    #[test]
    fn a_directory_in_which_nothing_can_be_made_is_used_all_the_same() {
        assert!(InUse::shared(Path::new("/proc/orlop")).is_none());
        assert!(InUse::alone(Path::new("/proc/orlop")).is_err());
    }
}
