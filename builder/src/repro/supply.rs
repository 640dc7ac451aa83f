//! A store for one build: it has all sources, and none of the results that builds before have left,
//! so that every step is done.

use std::fs;
use std::path::Path;

use crate::error::{Error, Id, Result};
use crate::lock::Lock;
use crate::recipe::Recipe;
use crate::source::cargo::{self, Seen};
use crate::source::go;
use crate::step;
use crate::store::Store;

/// The kinds of steps that compile programs.
const COMPILE: [step::Kind; 2] = [step::Kind::Go, step::Kind::Cargo];

/// What of the results of steps a store gets beside sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// None: they are compiled.
    Compiled,
    /// Those of programs: what the user's store has is taken as it is.
    Taken,
}

/// Makes a store at `place` of what `store` has for this recipe.
///
/// # Errors
/// [`Id::StoreMissing`], [`Id::StoreWrite`], and those of reading components.
pub(super) fn store(
    store: &Store,
    recipe: &Recipe,
    lock: &Lock,
    lock_path: &Path,
    programs: Programs,
    place: &Path,
) -> Result<()> {
    let fresh = Store::open(place)?;
    for package in lock.all_packages() {
        store.lend(&package.blob, &fresh)?;
    }
    for file in &lock.urls {
        store.lend(&file.blob, &fresh)?;
    }
    for part in lock.images.iter().flat_map(|image| &image.parts) {
        store.lend(&part.blob, &fresh)?;
    }
    for (_, component) in recipe.all_go() {
        go::Component::load(component, recipe.arch)?.lend(store, &fresh)?;
    }
    let seen = Seen::new();
    for (_, component) in recipe.all_cargo() {
        cargo::Component::load(component, recipe.arch, &seen)?.lend(store, &fresh)?;
    }
    if programs == Programs::Taken {
        let lock = std::path::absolute(lock_path).unwrap_or_else(|_| lock_path.to_owned());
        let used = store.roots()?.into_iter().filter(|root| root.lock == lock);
        for (kind, key) in used.flat_map(|root| root.steps) {
            if COMPILE.iter().any(|compile| compile.name() == kind) {
                store.lend_result(&kind, &key, &fresh)?;
            }
        }
    }
    Ok(())
}

/// Gives all directories of a tree to a user, and the files that nobody else has a link to: a blob
/// that is shared with another store stays its owner's.
///
/// # Errors
/// [`Id::Write`].
pub(super) fn give(directory: &Path, user: u32) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, lchown};
    let give = || {
        let mut waiting = vec![directory.to_owned()];
        while let Some(path) = waiting.pop() {
            let meta = path.symlink_metadata()?;
            if meta.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            }
            if meta.is_dir() || meta.nlink() == 1 {
                lchown(&path, Some(user), Some(user))?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    give().map_err(|error| {
        let message = format!("cannot give `{}` to the user {user}", directory.display());
        Error::new(Id::Write, message).caused_by(error)
    })
}
