//! What must stay: what locks name, and what compilers have fetched for their recipes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use crate::error::{Context as _, Error, Id, Result};
use crate::lock::Lock;
use crate::store::{ROOTS, Store};

/// What every lock of ours has in its first line, and no `Cargo.lock`.
const HEADER: &str = "`orlop lock`";

/// What must stay, and because of which locks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// The locks.
    pub locks: BTreeSet<PathBuf>,
    /// Blobs that they name.
    pub blobs: BTreeSet<Sha256>,
    /// Results of steps that their recipes' last build or fetch has used.
    pub steps: BTreeSet<(String, Sha256)>,
}

impl Needed {
    /// Of the locks that are named, of those in `directory`, and of those that were used with
    /// this store and are still there.
    ///
    /// # Errors
    /// A lock that cannot be read or understood: nobody knows what it needs.
    pub fn find(store: &Store, directory: &Path, named: &[PathBuf]) -> Result<Self> {
        let mut needed = Self::default();
        for path in named.iter().chain(&locks_in(directory)?) {
            needed.add(path)?;
        }
        for root in store.roots()? {
            if root.lock.exists() {
                needed.add(&root.lock)?;
                needed.steps.extend(root.steps);
                needed.steps.insert((ROOTS.to_owned(), root.key));
            }
        }
        Ok(needed)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let lock = Lock::read(path)
            .map_err(|error| error.hint("nothing was removed: it is not known what it needs"))?;
        self.blobs.extend(lock.all_packages().map(|package| package.blob.sha256));
        self.blobs.extend(lock.urls.iter().map(|file| file.blob.sha256));
        let images = lock.images.iter().flat_map(|image| &image.parts);
        self.blobs.extend(images.map(|part| part.blob.sha256));
        self.blobs.extend(lock.suites.iter().map(|suite| suite.release.0));
        self.locks.insert(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(())
    }
}

/// The locks of a directory that `orlop lock` has made.
fn locks_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |path: &Path| format!("cannot read `{}`", path.display());
    let mut locks = Vec::new();
    for entry in fs::read_dir(directory).or_fail(Id::Read, || cannot(directory))? {
        let path = entry.or_fail(Id::Read, || cannot(directory))?.path();
        if path.extension().is_none_or(|extension| extension != "lock") || !path.is_file() {
            continue;
        }
        let content = fs::read(&path)
            .map_err(|error| Error::new(Id::Read, cannot(&path)).caused_by(error))?;
        let first = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if String::from_utf8_lossy(first).contains(HEADER) {
            locks.push(path);
        }
    }
    Ok(locks)
}
