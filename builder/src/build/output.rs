//! The output directory: it appears whole or not at all, and a build that is already there is
//! recognised without reading it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::build::report::Report;
use crate::error::{Context as _, Error, Id, Result};
use crate::step::Step;
use crate::store::Store;

/// The file in an output directory that says what the others are.
pub const REPORT: &str = "build.json";

/// The kind under which the store remembers what was published where.
const STAMP: &str = "output";

/// Where a build goes.
#[derive(Debug)]
pub struct Output<'a> {
    store: &'a Store,
    path: &'a Path,
}

/// An output directory that is not yet in its place. Dropped before [`Output::publish`], it is
/// removed.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    // Held until the end: tells other builds that this directory is in use.
    _lock: File,
    published: bool,
}

/// What a file looked like when it was published.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    name: String,
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    build: String,
    files: Vec<Seen>,
    report: Report,
}

/// Checks that a build may have this place: nothing is there, or an empty directory, or an
/// earlier build. Whatever else is there is somebody's, and is not replaced.
///
/// # Errors
/// [`Id::OutputInTheWay`].
pub fn vacant(path: &Path) -> Result<()> {
    let in_the_way = |what: &str| {
        let message = format!("cannot put the images into `{}`: {what}", path.display());
        Error::new(Id::OutputInTheWay, message)
            .hint("name a directory that does not exist, that is empty, or that has an older build")
    };
    if path.file_name().is_none() {
        return Err(in_the_way("it has no name of its own"));
    }
    match fs::read_dir(path) {
        Ok(_) if path.join(REPORT).is_file() => Ok(()),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(in_the_way("there are files that no build made")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(in_the_way("it is not a directory"))
        }
        Err(error) => Err(in_the_way("it cannot be read").caused_by(error)),
    }
}

impl<'a> Output<'a> {
    /// `path` need not exist.
    pub fn new(store: &'a Store, path: &'a Path) -> Self {
        Self { store, path }
    }

    /// The report of the build that is there, if it is this one and nobody touched its files.
    pub fn holds(&self, step: &Step) -> Option<Report> {
        let stamp: Stamp =
            serde_json::from_slice(&self.store.step(STAMP, &self.stamp_key()?)?).ok()?;
        let same =
            stamp.build == step.key().to_string() && self.seen(&stamp.report) == Some(stamp.files);
        same.then_some(stamp.report)
    }

    /// Makes an empty directory beside the place of the output.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`], [`Id::Write`].
    pub fn begin(&self) -> Result<Directory> {
        let cannot = || format!("cannot make the output directory `{}`", self.path.display());
        vacant(self.path)?;
        let parent = self.parent();
        fs::create_dir_all(parent).or_fail(Id::Write, cannot)?;
        self.sweep(parent);
        let prefix = self.partial_prefix();
        loop {
            let path = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
            let path = path.or_fail(Id::Write, cannot)?.keep();
            // Another build may sweep it away until we hold the lock.
            let lock = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.or_fail(Id::Write, cannot)?,
            };
            rustix::fs::flock(&lock, FlockOperation::LockExclusive).or_fail(Id::Write, cannot)?;
            if path.exists() {
                return Ok(Directory { path, _lock: lock, published: false });
            }
        }
    }

    /// Puts the finished directory in its place, in one step; what was there before is removed
    /// afterwards.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`], [`Id::Write`]; what was there before is still there then.
    pub fn publish(&self, mut directory: Directory, step: &Step, report: &Report) -> Result<()> {
        let cannot = || format!("cannot put the images into `{}`", self.path.display());
        let text = serde_json::to_string_pretty(report).or_fail(Id::Bug, || "the report")? + "\n";
        fs::write(directory.path.join(REPORT), text).or_fail(Id::Write, cannot)?;
        vacant(self.path)?;
        loop {
            let from = &directory.path;
            match rustix::fs::renameat_with(CWD, from, CWD, self.path, RenameFlags::EXCHANGE) {
                // What is dropped now is what was there before.
                Ok(()) => break,
                Err(Errno::NOENT) => {}
                // A file system without exchange.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    fs::remove_dir_all(self.path).or_fail(Id::Write, cannot)?;
                }
                Err(error) => return Err(Error::new(Id::Write, cannot()).caused_by(error)),
            }
            match fs::rename(from, self.path) {
                Ok(()) => {
                    directory.published = true;
                    break;
                }
                // Another build was faster, and its directory is replaced.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(Error::new(Id::Write, cannot()).caused_by(error)),
            }
        }
        drop(directory);
        if let (Some(key), Some(files)) = (self.stamp_key(), self.seen(report)) {
            let stamp = Stamp { build: step.key().to_string(), files, report: report.clone() };
            let bytes = serde_json::to_vec(&stamp).or_fail(Id::Bug, || "a stamp")?;
            self.store.put_step(STAMP, &key, &bytes)?;
        }
        Ok(())
    }

    fn seen(&self, report: &Report) -> Option<Vec<Seen>> {
        let names = report.files.iter().map(String::as_str).chain([REPORT]);
        let files = names.map(|name| {
            let meta = fs::metadata(self.path.join(name)).ok()?;
            let modified = (meta.mtime(), meta.mtime_nsec());
            Some(Seen { name: name.to_owned(), size: meta.len(), modified, inode: meta.ino() })
        });
        files.collect()
    }

    fn stamp_key(&self) -> Option<Sha256> {
        let path = fs::canonicalize(self.path).ok()?;
        Some(Sha256::of(path.display().to_string()))
    }

    fn parent(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn partial_prefix(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!(".{name}.partial-")
    }

    /// Removes what interrupted builds left. Best effort.
    fn sweep(&self, parent: &Path) {
        let prefix = self.partial_prefix();
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let Ok(lock) = File::open(entry.path()) else { continue };
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
    }
}

impl Directory {
    /// Where the files go.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.published {
            // After an exchange this is what was in the place before.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// Which `orlop` this is: another one may write other bytes. Only ever part of a cache's key.
pub fn own_identity() -> String {
    let meta = std::env::current_exe().and_then(fs::metadata);
    meta.map_or_else(
        |_| env!("CARGO_PKG_VERSION").to_owned(),
        |meta| {
            format!(
                "{} {} {}.{}",
                env!("CARGO_PKG_VERSION"),
                meta.len(),
                meta.mtime(),
                meta.mtime_nsec()
            )
        },
    )
}
