//! Versions: a repository of ostree with a commit for each build, in the archive mode that stock
//! clients pull over HTTP. `docs/versions.md` is the page.
//!
//! ```text
//! REPO/config         says what it is; written last, so a repository is whole or is none
//! REPO/objects/ab/..  files, directories and commits, each named by what it says
//! REPO/refs/heads/..  names for commits, such as orlop/MACHINE/IMAGE/CHANNEL
//! REPO/summary        all refs in one file, for clients
//! REPO/tmp/           what is in the making; what a dead process left goes with the next one
//! ```
//! A commit comes after all that it names, a ref after its commit, the summary last: whoever looks
//! at any moment, or after a power cut, finds whole versions or none. Writers wait for each other,
//! by a lock on the directory and by the one that the stock program knows.

mod bounds;
mod checkout;
mod locks;
mod log;
mod object;
mod prune;
mod refs;
mod sizes;
mod summary;
mod version;
mod write;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use formats::ostree::{Config, Mode};
use rustix::fs::Access;

use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::{regular, unfinished};

pub use bounds::Bounds;
pub use log::History;
pub use prune::Pruned;
pub use refs::{Damaged, Refs};
pub use version::{Committed, Version};

/// The name of a repository that nobody named: beside the images.
pub const DIRECTORY: &str = "repo";

/// Directories of a repository, as `ostree init` makes them.
const DIRECTORIES: [&str; 8] =
    ["extensions", "objects", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp"];

/// A `config` is not larger.
const LARGEST_CONFIG: u64 = 1 << 20;

/// A repository that is there.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    mode: Mode,
    // Nobody removes what we read, or, if we write, nobody else writes.
    _locks: Vec<File>,
}

/// What somebody does with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Add,
    Remove,
}

impl Repository {
    /// Opens the repository at `root` for reading. Any mode will do. This and the like wait for
    /// whoever has it locked, and tell `progress` so.
    ///
    /// # Errors
    /// [`Id::NotARepository`], [`Id::Read`].
    pub fn open(root: &Path, progress: &Progress) -> Result<Self> {
        Self::open_for(root, Use::Read, progress)
    }

    /// Opens the archive at `root` for commits, and makes it if there is none.
    ///
    /// # Errors
    /// [`Id::NotARepository`], [`Id::RepositoryWrite`].
    pub fn open_or_make(root: &Path, progress: &Progress) -> Result<Self> {
        if is_vacant(root)? {
            make(root).or_fail(Id::RepositoryWrite, || {
                format!("cannot make the repository `{}`", root.display())
            })?;
        }
        Self::open_for(root, Use::Add, progress)?.archive()
    }

    /// Opens the archive at `root` to remove something.
    ///
    /// # Errors
    /// [`Id::NotARepository`], [`Id::RepositoryWrite`].
    pub fn open_to_prune(root: &Path, progress: &Progress) -> Result<Self> {
        Self::open_for(root, Use::Remove, progress)?.archive()
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn open_for(root: &Path, purpose: Use, progress: &Progress) -> Result<Self> {
        let mode = config(root)?.mode;
        let locks = locks::take(root, purpose, progress)
            .or_fail(if purpose == Use::Read { Id::Read } else { Id::RepositoryWrite }, || {
                format!("cannot lock the repository `{}`", root.display())
            })?;
        Ok(Self { root: root.to_owned(), mode, _locks: locks })
    }

    fn archive(self) -> Result<Self> {
        if self.mode == Mode::Archive {
            return Ok(self);
        }
        let message = format!("`{}` is a repository of another mode", self.root.display());
        Err(Error::new(Id::NotARepository, message).hint(
            "versions are kept in an archive: name another directory, or make one with \
             `ostree init --mode=archive`",
        ))
    }

    fn cannot_write(&self) -> String {
        format!("cannot write to the repository `{}`", self.root.display())
    }
}

/// Checks that a repository is, or can be, at `root`: what somebody else has there stays.
///
/// # Errors
/// [`Id::NotARepository`].
pub fn check_place(root: &Path) -> Result<()> {
    if is_vacant(root)? { Ok(()) } else { config(root).map(drop) }
}

/// Whether a repository could not be written at `root`, whoever owns what is there.
pub fn is_out_of_reach(root: &Path) -> bool {
    let there = root.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err()
}

fn config(root: &Path) -> Result<Config> {
    let not = || format!("`{}` is not a repository of ostree", root.display());
    let text = regular::read(&root.join("config"), LARGEST_CONFIG)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(|error| match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::FileTooLarge
        | ErrorKind::Other => {
            let hint = "`orlop build` and `orlop commit` make one; `--repo DIR` names it";
            Error::new(Id::NotARepository, not()).caused_by(error).hint(hint)
        }
        _ => Error::new(Id::Read, format!("cannot read the repository `{}`", root.display()))
            .caused_by(error),
    })?;
    let config = Config::parse(&text).or_fail(Id::NotARepository, not)?;
    if root.join("objects").is_dir() {
        return Ok(config);
    }
    Err(Error::new(Id::NotARepository, format!("{}: it has no `objects`", not())))
}

/// Whether there is nothing, or what is left of a repository that was never finished.
fn is_vacant(root: &Path) -> Result<bool> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        // Reading its config says what is wrong.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(false),
        entries => entries.or_fail(Id::Read, || format!("cannot read `{}`", root.display()))?,
    };
    let ours = |name: &str| DIRECTORIES.contains(&name) || unfinished::Kind::Objects.made(name);
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.all(|name| name.to_str().is_some_and(ours)))
}

fn make(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for name in DIRECTORIES {
        match fs::create_dir(root.join(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    let mut file = unfinished::file(root, unfinished::Kind::Objects, 0o644)?;
    file.write_all(Config::ARCHIVE.as_bytes())?;
    durable::persist(file, &root.join("config"), Name::Now)?;
    durable::settle(&root.join("config"))
}

#[cfg(test)]
mod tests;
