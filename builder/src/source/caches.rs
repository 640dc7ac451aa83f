//! Where compilers keep what they can make again. Nothing in these directories shapes an output:
//! they may be removed at any time, and cost time but never the network, for what `fetch` brought
//! is in the store.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Error, Id, Result};

const ELSEWHERE: &str = "`XDG_CACHE_HOME` names another directory for caches";

/// Directories for other programs' caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caches {
    /// The directory of all of them.
    pub root: PathBuf,
    /// Go's modules, toolchains and checksum database: its `GOPATH`. Unpacked from the store, so
    /// all of it may go at once; parts of it may not, for Go knows what it has unpacked.
    pub go_mod: PathBuf,
    /// Go's compiled packages (its `GOCACHE`, of which it throws away itself what was not used for
    /// five days), and `out-*` while a build runs.
    pub go_build: PathBuf,
    /// Cargo's target directory.
    pub cargo_target: PathBuf,
    /// Compilers of locks, by the digest of their packages: unpacked, and ready to be started.
    pub compilers: PathBuf,
    /// Programs for this host, by digest, copied out of the store, where nothing is executable.
    pub programs: PathBuf,
}

impl Caches {
    /// All of them below one directory.
    pub fn below(directory: &Path) -> Self {
        Self {
            root: directory.to_owned(),
            go_mod: directory.join("go"),
            go_build: directory.join("go-build"),
            cargo_target: directory.join("cargo-target"),
            compilers: directory.join("compilers"),
            programs: directory.join("programs"),
        }
    }

    /// Go's module cache.
    pub(super) fn go_modules(&self) -> PathBuf {
        self.go_mod.join("pkg/mod")
    }

    /// The files of Go's module cache that came from a proxy, laid out as there.
    pub(super) fn go_download(&self) -> PathBuf {
        self.go_modules().join("cache/download")
    }

    /// Checks that Go can use its caches, before much is fetched for it in vain.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub fn check_go(&self) -> Result<()> {
        // `GOPATH` is a list.
        if self.go_mod.as_os_str().as_encoded_bytes().contains(&b':') {
            let message = format!("Go takes `{}` for a list, for the `:`", self.go_mod.display());
            return Err(Error::new(Id::Write, message).hint(ELSEWHERE));
        }
        [&self.go_mod, &self.go_build].into_iter().try_for_each(|cache| scratch(cache).map(drop))
    }
}

/// A fresh directory in `cache`, which is made if it is not there.
pub(super) fn scratch(cache: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(cache)
        .and_then(|()| tempfile::Builder::new().prefix("out-").tempdir_in(cache))
        .map_err(|error| cannot_write(cache).caused_by(error))
}

/// A cache in which nothing can be made, and what helps a user without a home.
pub(super) fn cannot_write(cache: &Path) -> Error {
    Error::new(Id::Write, format!("cannot write to the cache `{}`", cache.display()))
        .hint(ELSEWHERE)
}
