//! The directory that releases are published to. Readers see one state or the next: every file but
//! `timestamp.json` has a name of its own for each content or version, and that one comes last.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished::{self, Kind};

/// What is locked while somebody publishes. It is empty and stays: were it removed, two could hold locks
/// of different files of this name. Its name is one that no server of files shows.
pub(super) const LOCK: &str = ".publishing";

/// What leads to a state.
const TIMESTAMP: &str = "metadata/timestamp.json";

/// A directory that nobody else publishes to meanwhile.
#[derive(Debug)]
pub(super) struct Place<'a> {
    directory: &'a Path,
    /// The timestamp that was there at the beginning.
    before: Option<Vec<u8>>,
    // Held to the end.
    _lock: File,
}

/// Holds publishers back while a state is read from end to end. Where no lock is to be had, whoever
/// reads may find a file gone.
#[derive(Debug)]
pub(super) struct Reading {
    _lock: Option<File>,
}

impl Reading {
    /// Waits for a publisher that is at it.
    pub(super) fn of(directory: &Path) -> Self {
        let lock = File::open(directory.join(LOCK)).ok();
        let locks = |file: &File| rustix::fs::flock(file, FlockOperation::LockShared).is_ok();
        Self { _lock: lock.filter(locks) }
    }
}

impl<'a> Place<'a> {
    /// Makes it if it is not there.
    pub(super) fn open(directory: &'a Path) -> Result<Self> {
        let cannot = || format!("cannot publish to `{}`", directory.display());
        fs::create_dir_all(directory).or_fail(Id::Write, cannot)?;
        // NFS locks for one alone only what is open for writing, and then for all its hosts.
        let lock = File::options().create(true).append(true).open(directory.join(LOCK));
        let lock = lock.or_fail(Id::Write, cannot)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // Where there are no locks, `lead` looks once more.
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(Errno::WOULDBLOCK) => {
                let message = format!("another `orlop` publishes to `{}`", directory.display());
                return Err(
                    Error::new(Id::Publishing, message).hint("wait for its end, and try again")
                );
            }
            Err(error) => return Err(io::Error::from(error)).or_fail(Id::Write, cannot),
        }
        let before = timestamp(directory)?;
        Ok(Self { directory, before, _lock: lock })
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &'a Path {
        self.directory
    }

    /// Puts a file into its place, on the disk and whole, in place of what is there.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.copy(name, &mut &*bytes)
    }

    /// As [`Self::put`], of what can be read.
    pub(super) fn copy(&self, name: &str, bytes: &mut impl Read) -> Result<()> {
        let path = self.directory.join(name);
        let mut write = || -> io::Result<()> {
            let parent = durable::parent(&path);
            self.make(parent)?;
            let mut file = unfinished::file(parent, Kind::Metadata, 0o666)?;
            io::copy(bytes, &mut file)?;
            durable::persist(file, &path, Name::Now)
        };
        write().or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// As [`Self::put`], of what is never another under its name: it may be there already.
    pub(super) fn put_once(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match fs::read(self.directory.join(name)) {
            Ok(there) if there == bytes => Ok(()),
            _ => self.put(name, bytes),
        }
    }

    /// Leads readers to the new state.
    ///
    /// # Errors
    /// [`Id::Publishing`] if somebody has published since the beginning, where locks hold nobody back.
    pub(super) fn lead(&self, timestamp_bytes: &[u8]) -> Result<()> {
        if timestamp(self.directory)? != self.before {
            let directory = self.directory.display();
            let message = format!("another `orlop` has published to `{directory}` meanwhile");
            return Err(Error::new(Id::Publishing, message)
                .hint("begin again: what was made here was led to by nobody"));
        }
        self.put(TIMESTAMP, timestamp_bytes)
    }

    /// Moves a file that lies beside it on the same file system into its place, on the disk.
    pub(super) fn take(&self, name: &str, file: &Path) -> Result<()> {
        let path = self.directory.join(name);
        let cannot = || format!("cannot write `{}`", path.display());
        self.make(durable::parent(&path)).or_fail(Id::Write, cannot)?;
        durable::place(file, &path, Name::Now).or_fail(Id::Write, cannot)
    }

    /// Makes a directory below, and its name is on the disk.
    fn make(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        let parent = durable::parent(directory);
        self.make(parent)?;
        fs::create_dir(directory)?;
        durable::settle_name(parent)
    }

    /// Removes all files of targets but these, and directories that are empty then. Best effort: what
    /// stays is removed the next time.
    pub(super) fn sweep(&self, wanted: &BTreeSet<String>) {
        let targets = self.directory.join("targets");
        let wanted: BTreeSet<_> = wanted.iter().map(|name| targets.join(name)).collect();
        sweep(&targets, &wanted);
    }
}

/// The timestamp that is there.
fn timestamp(directory: &Path) -> Result<Option<Vec<u8>>> {
    let path = directory.join(TIMESTAMP);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some).or_fail(Id::Read, || format!("cannot read `{}`", path.display())),
    }
}

fn sweep(directory: &Path, wanted: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() {
            sweep(&path, wanted);
            // It stays if something is in it.
            drop(fs::remove_dir(&path));
        } else if !wanted.contains(&path) {
            drop(fs::remove_file(&path));
        }
    }
}
