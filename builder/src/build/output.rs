//! The output directory: it appears whole or not at all, and a build that is already there is
//! recognised without reading it.

mod occupant;
mod replace;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags};
use serde::{Deserialize, Serialize};

use self::occupant::{InTheWay, Names, look};
use self::replace::{discard, recover, replace};
use crate::build::report::Report;
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::step::Step;
use crate::store::Store;

/// The file in an output directory that says what the others are.
pub const REPORT: &str = "build.json";

/// As much of an output's name as goes into the names of what is made beside it, of which a file
/// system takes 255 bytes.
const LONGEST_NAME: usize = 50;

/// So many characters that nobody else has chosen end the names of what is made beside an output.
const RANDOM: usize = 6;

/// The kind under which the store remembers what was published where.
const STAMP: &str = "output";

/// Where a build goes.
#[derive(Debug)]
pub struct Output<'a> {
    store: &'a Store,
    /// As the user named it.
    shown: &'a Path,
    /// What that leads to.
    place: PathBuf,
    beside: Beside,
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

/// Where a build makes its directories before and after they are in its place, and their names.
#[derive(Debug)]
struct Beside {
    directory: PathBuf,
    name: String,
}

/// What a file looked like when it was published.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    name: String,
    size: u64,
    modified: (i64, i64),
    // Which nobody can put back, as `touch` and `cp -p` do with the time before.
    changed: (i64, i64),
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
    let (place, beside) = find(path)?;
    look(&place, &beside).map(drop).map_err(|what| in_the_way(path, what))
}

/// What `path` leads to, and where builds of it are made.
fn find(path: &Path) -> Result<(PathBuf, Beside)> {
    let refused = |what: &str, cause| in_the_way(path, InTheWay { what: what.to_owned(), cause });
    let place = durable::through_links(path);
    let place = place.map_err(|error| refused("its link leads nowhere", Some(error)))?;
    if path.file_name().is_none() || place.file_name().is_none() {
        return Err(refused("it has no name of its own", None));
    }
    let beside = Beside::of(&place);
    Ok((place, beside))
}

fn in_the_way(path: &Path, InTheWay { what, cause }: InTheWay) -> Error {
    let message = format!("cannot put the images into `{}`: {what}", path.display());
    let error = Error::new(Id::OutputInTheWay, message).hint(
        "name a directory that does not exist, that is empty, or that holds an older build and \
         nothing else",
    );
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

impl<'a> Output<'a> {
    /// `path` need not exist.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`].
    pub fn new(store: &'a Store, path: &'a Path) -> Result<Self> {
        let (place, beside) = find(path)?;
        Ok(Self { store, shown: path, place, beside })
    }

    /// The report of the build that is there, if it is this one and nobody touched its files. What
    /// one that was killed left beside it goes: it may have been this one, at its last step.
    pub fn holds(&self, step: &Step) -> Option<Report> {
        let stamp: Stamp =
            serde_json::from_slice(&self.store.step(STAMP, &self.stamp_key()?)?).ok()?;
        let same =
            stamp.build == step.key().to_string() && self.seen(&stamp.report) == Some(stamp.files);
        if same {
            self.beside.sweep(&self.place);
        }
        same.then_some(stamp.report)
    }

    /// Makes an empty directory beside the place of the output.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`], [`Id::Write`].
    pub fn begin(&self) -> Result<Directory> {
        let cannot = || format!("cannot make the output directory `{}`", self.shown.display());
        vacant(self.shown)?;
        fs::create_dir_all(&self.beside.directory).or_fail(Id::Write, cannot)?;
        self.beside.sweep(&self.place);
        let (path, lock) = self.beside.new_directory("partial").or_fail(Id::Write, cannot)?;
        Ok(Directory { path, _lock: lock, published: false })
    }

    /// Puts the finished directory in its place, and removes the build that was there before.
    /// Returns what the user should know: files that somebody put there meanwhile are kept.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`], [`Id::Write`]; what was there before is still there then.
    pub fn publish(
        &self,
        mut directory: Directory,
        step: &Step,
        report: &Report,
    ) -> Result<Option<String>> {
        let cannot = || format!("cannot put the images into `{}`", self.shown.display());
        let text = serde_json::to_string_pretty(report).or_fail(Id::Bug, || "the report")? + "\n";
        fs::write(directory.path.join(REPORT), text).or_fail(Id::Write, cannot)?;
        durable::contents(&directory.path).or_fail(Id::Write, cannot)?;
        vacant(self.shown)?;
        let old = replace(&directory.path, &self.place, &self.beside).or_fail(Id::Write, cannot)?;
        directory.published = true;
        if let (Some(key), Some(files)) = (self.stamp_key(), self.seen(report)) {
            let stamp = Stamp { build: step.key().to_string(), files, report: report.clone() };
            let bytes = serde_json::to_vec(&stamp).or_fail(Id::Bug, || "a stamp")?;
            self.store.put_step(STAMP, &key, &bytes)?;
        }
        let Some(old) = old else { return Ok(None) };
        let kept = discard(&old, &self.beside).or_fail(Id::Write, || {
            format!("cannot remove the older build, now in `{}`", old.display())
        })?;
        Ok(kept.map(|kept| {
            let (shown, kept) = (self.shown.display(), kept.display());
            format!("somebody put files into `{shown}` while it was built: they are in `{kept}`")
        }))
    }

    fn seen(&self, report: &Report) -> Option<Vec<Seen>> {
        let names = report.artifacts.iter().map(|artifact| artifact.name.as_str()).chain([REPORT]);
        let files = names.map(|name| {
            let meta = fs::metadata(self.place.join(name)).ok()?;
            Some(Seen {
                name: name.to_owned(),
                size: meta.len(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
                inode: meta.ino(),
            })
        });
        files.collect()
    }

    fn stamp_key(&self) -> Option<Sha256> {
        let path = fs::canonicalize(&self.place).ok()?;
        Some(Sha256::of(path.display().to_string()))
    }
}

impl Beside {
    /// Beside `place`, so that a directory can be renamed to it; in it, if something is mounted
    /// there, for that keeps its place and nothing can be renamed into it from outside, or if only
    /// `place` itself may be written.
    fn of(place: &Path) -> Self {
        let may_write =
            |path: &Path| rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        let parent = durable::parent(place);
        let only_place =
            parent.is_dir() && !may_write(parent) && place.is_dir() && may_write(place);
        Self::choose(place, is_mount_point(place) || only_place)
    }

    fn choose(place: &Path, inside: bool) -> Self {
        let directory = if inside { place } else { durable::parent(place) };
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        // There must be room for what is put around it.
        let name = name.chars().take(LONGEST_NAME).collect();
        Self { directory: directory.to_owned(), name }
    }

    fn prefix(&self, what: &str) -> String {
        format!(".{}.{what}-", self.name)
    }

    /// An empty directory, and the lock that keeps other builds from sweeping it away.
    fn new_directory(&self, what: &str) -> io::Result<(PathBuf, File)> {
        let prefix = self.prefix(what);
        let mut named = tempfile::Builder::new();
        named.prefix(&prefix).rand_bytes(RANDOM);
        loop {
            let path = named.tempdir_in(&self.directory)?.keep();
            // Until we hold the lock, another build may do so.
            match lock(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Ok(lock) if path.exists() => return Ok((path, lock)),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An empty directory for an older build.
    fn old(&self) -> io::Result<(PathBuf, File)> {
        self.new_directory("old")
    }

    /// An empty directory for what is not ours to remove, under a name that is not hidden.
    fn kept(&self) -> io::Result<PathBuf> {
        let prefix = format!("{}.kept-", self.name);
        Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.directory)?.keep())
    }

    /// Whether a directory of this name is one of ours.
    fn made(&self, name: &OsStr) -> bool {
        self.made_as("partial", name) || self.made_as("old", name)
    }

    fn made_as(&self, what: &str, name: &OsStr) -> bool {
        let random = name.as_bytes().strip_prefix(self.prefix(what).as_bytes());
        random.is_some_and(|random| {
            random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
        })
    }

    /// Removes what interrupted builds left, as far as it is what a build writes, and puts back a
    /// build that was moved away from `place`. Best effort.
    fn sweep(&self, place: &Path) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if self.made_as("old", &name) {
                drop(recover(&path, place, self));
            }
            if self.made_as("partial", &name)
                && let Ok(_lock) = lock_if_free(&path)
            {
                drop(Names::written_by_us().remove(&path));
            }
        }
    }
}

/// Waits until no other build has the directory `path`.
fn lock(path: &Path) -> io::Result<File> {
    let lock = File::open(path)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// The lock of the directory `path`, unless another build has it.
fn lock_if_free(path: &Path) -> io::Result<File> {
    let lock = File::open(path)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// Kernels before 5.8 do not say; there a mount point is found when it refuses to be renamed.
fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
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
            drop(Names::written_by_us().remove(&self.path));
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

#[cfg(test)]
mod tests;
