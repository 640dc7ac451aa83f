//! What is in the making beside its place, in a directory that is not ours. A process that is
//! killed leaves it there; the next one that makes the like removes it. The kernel's lock on it,
//! which ends with its process, tells the dead from the living.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile, TempDir};

/// Begins a file in `directory`. The umask has its say on `mode`.
///
/// # Errors
/// Those of the file system.
pub fn file(directory: &Path, what: Kind, mode: u32) -> io::Result<NamedTempFile> {
    clear(directory, what);
    loop {
        let mut builder = Builder::new();
        builder.prefix(what.prefix()).permissions(Permissions::from_mode(mode));
        let file = builder.tempfile_in(directory)?;
        if locked(file.as_file(), file.path())? {
            return Ok(file);
        }
    }
}

/// Begins a directory in `parent`, which is removed when it is dropped unless it was kept.
///
/// # Errors
/// Those of the file system.
pub fn directory(parent: &Path, what: Kind, mode: u32) -> io::Result<Directory> {
    clear(parent, what);
    loop {
        let mut builder = Builder::new();
        builder.prefix(what.prefix()).permissions(Permissions::from_mode(mode));
        let directory = builder.tempdir_in(parent)?;
        if let Some(lock) = locked_directory(directory.path())? {
            return Ok(Directory { directory, _lock: lock });
        }
    }
}

/// Removes what was begun and nobody is making any more. Best effort.
pub fn clear(directory: &Path, what: Kind) {
    sweep(directory, |name| what.made(name));
}

/// What it will be. Its hidden name says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Builds that are compared.
    Builds,
    /// A build that is only compared.
    Compared,
    /// A private key.
    Key,
    /// Keys, and who signs with them for what.
    Keys,
    /// A lock.
    Lock,
    /// Metadata of a release.
    Metadata,
    /// Objects of a repository.
    Objects,
    /// A project.
    Project,
    /// The record of a kept disk.
    Record,
    /// What packages hold.
    Unpacked,
    /// A copy of a firmware's variables.
    Variables,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Builds => ".orlop-repro-",
            Self::Compared => ".orlop-diff-",
            Self::Key => ".orlop-key-",
            Self::Keys => ".orlop-keys-",
            Self::Metadata => ".orlop-metadata-",
            Self::Lock => ".orlop-lock-",
            Self::Objects => ".orlop-objects-",
            Self::Project => ".orlop-init-",
            Self::Record => ".orlop-record-",
            Self::Unpacked => ".orlop-unpack-",
            Self::Variables => ".orlop-vars-",
        }
    }

    /// Whether it is a name that [`file`] and [`directory`] give.
    pub fn made(self, name: &str) -> bool {
        let random = name.strip_prefix(self.prefix());
        random.is_some_and(|r| r.len() == 6 && r.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }
}

/// A directory in the making.
#[derive(Debug)]
pub struct Directory {
    directory: TempDir,
    // Held for as long as the directory is in the making.
    _lock: File,
}

impl Directory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// It has its name, or all that was in it: there is nothing to remove any more.
    pub fn keep(self) {
        drop(self.directory.keep());
    }
}

/// Removes what nobody is making any more, of what `ours` says by its name. Best effort: another
/// process may be faster.
pub fn sweep(directory: &Path, ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // A link leads to what is not ours.
        let Ok(kind) = entry.file_type() else { continue };
        if !(kind.is_dir() || kind.is_file()) || !entry.file_name().to_str().is_some_and(&ours) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let remove = if kind.is_dir() { fs::remove_dir_all } else { fs::remove_file };
            drop(remove(entry.path()));
        }
    }
}

/// Locks what was just made, which tells [`sweep`] that somebody is at it. A sweep in another
/// process may have been faster: it removes the file before it lets go of it.
///
/// # Errors
/// Those of flock(2) and stat(2).
pub fn locked(file: &File, path: &Path) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::LockShared) {
        // Where there are no locks, nobody sweeps either.
        Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let ours = file.metadata()?;
    let there = fs::symlink_metadata(path);
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

/// The same for a directory, which is opened for it: `None` if a sweep was faster, before or after
/// that.
///
/// # Errors
/// Those of open(2), flock(2) and stat(2).
pub fn locked_directory(path: &Path) -> io::Result<Option<File>> {
    let lock = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Ok(locked(&lock, path)?.then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_a_sweep_took_is_not_ours_and_no_failure() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new");
        assert!(locked_directory(&path).unwrap().is_none());
        fs::create_dir(&path).unwrap();
        let lock = locked_directory(&path).unwrap();
        sweep(place.path(), |_| true);
        assert!(lock.is_some() && path.exists(), "what is locked was taken");
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_make_or_a_user_named_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let living = [
            file(place.path(), Kind::Lock, 0o666).unwrap().path().to_owned(),
            directory(place.path(), Kind::Unpacked, 0o755).unwrap().path().to_owned(),
        ];
        assert!(names(place.path()).is_empty(), "{living:?} are dropped");
        let lock = file(place.path(), Kind::Lock, 0o666).unwrap();
        let unpacked = directory(place.path(), Kind::Unpacked, 0o755).unwrap();
        let before = names(place.path());
        fs::write(path(".orlop-lock-Dead00"), "half").unwrap();
        fs::create_dir_all(path(".orlop-unpack-Dead00/usr/bin")).unwrap();
        let theirs =
            [".orlop-lock-", ".orlop-lock-mine", ".orlop-lock-of-me1", "orlop-lock-Dead00"];
        theirs.iter().for_each(|name| fs::write(path(name), "mine").unwrap());
        std::os::unix::fs::symlink("nowhere", path(".orlop-lock-Link00")).unwrap();

        file(place.path(), Kind::Lock, 0o666).unwrap();
        directory(place.path(), Kind::Unpacked, 0o755).unwrap();
        let mut want: Vec<_> = before.into_iter().chain(theirs.map(str::to_owned)).collect();
        want.push(".orlop-lock-Link00".to_owned());
        want.sort();
        assert_eq!(names(place.path()), want);
        drop(lock);
        crate::durable::rename(unpacked.path(), &path("root")).unwrap();
        unpacked.keep();
        assert!(path("root").is_dir());
    }
}
