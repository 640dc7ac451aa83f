//! Where compilers keep what they can make again. Nothing in these directories shapes an output:
//! they may be removed at any time.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Context as _, Id, Result};

/// Directories for other programs' caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caches {
    /// The directory of all of them.
    pub root: PathBuf,
    /// Go's modules, toolchains and checksum database: its `GOPATH`.
    pub go_mod: PathBuf,
    /// Go's compiled packages.
    pub go_build: PathBuf,
    /// Cargo's target directory.
    pub cargo_target: PathBuf,
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
            programs: directory.join("programs"),
        }
    }
}

/// A fresh directory in `cache`, which is made if it is not there.
pub(super) fn scratch(cache: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(cache)
        .and_then(|()| tempfile::Builder::new().prefix("out-").tempdir_in(cache))
        .or_fail(Id::Write, || format!("cannot write to the cache `{}`", cache.display()))
}
