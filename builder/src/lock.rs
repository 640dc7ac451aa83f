//! The lock: every blob that a build takes from outside, by sha256 and size.
//!
//! It is written by `orlop lock`, sorted, as TOML; `build` reads it and the store and nothing
//! else. `inputs` repeats what the resolver was asked, line by line, so that a stale lock is found
//! offline and the error names the lines that changed. See `docs/lock.md`.

mod inputs;
pub mod model;
mod place;
mod text;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

pub use inputs::inputs;
pub use model::Lock;
pub(crate) use place::NOT_A_PROFILE;
pub use place::path;

use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::Recipe;
use crate::unfinished::{self, Kind};

impl Lock {
    /// Reads the lock at `path`.
    ///
    /// # Errors
    /// [`Id::LockMissing`], [`Id::LockFormat`], [`Id::Read`].
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::new(Id::LockMissing, format!("there is no lock `{}`", path.display()))
                    .hint("`orlop lock` makes it"))
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let message =
                    format!("`{}` is not a lock: it is not text in UTF-8", path.display());
                Err(Error::new(Id::LockFormat, message).hint("`orlop lock` makes it anew"))
            }
            Err(error) => {
                Err(Error::new(Id::Read, format!("cannot read the lock `{}`", path.display()))
                    .caused_by(error))
            }
        }
    }

    /// Writes the lock to `path`, whole or not at all; where `path` is a link, to what it leads to.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = || {
            let path = &durable::through_links(path)?;
            let mut file = unfinished::file(durable::parent(path), Kind::Lock, 0o666)?;
            file.write_all(self.to_toml().as_bytes())?;
            durable::persist(file, path, Name::Now)
        };
        write().or_fail(Id::Write, || format!("cannot write the lock `{}`", path.display()))
    }

    /// Checks that the recipe asks the resolver for what this lock answers; `path` is for the
    /// message.
    ///
    /// # Errors
    /// [`Id::LockStale`] with the lines that came (`+`) and went (`-`).
    pub fn check_fresh(&self, recipe: &Recipe, path: &Path) -> Result<()> {
        let wanted = inputs(recipe);
        let gone = self.inputs.iter().filter(|line| !wanted.contains(line));
        let new = wanted.iter().filter(|line| !self.inputs.contains(line));
        let mut changes: Vec<_> =
            gone.map(|line| (line, '-')).chain(new.map(|l| (l, '+'))).collect();
        if changes.is_empty() {
            return Ok(());
        }
        changes.sort();
        let mut message =
            format!("the lock `{}` is stale: the recipe has changed since", path.display());
        for (line, sign) in changes {
            message.push_str(&format!("\n  {sign} {line}"));
        }
        Err(Error::new(Id::LockStale, message).hint("`orlop lock` brings it up to date"))
    }
}

#[cfg(test)]
mod tests;
