//! Where a workspace is compiled: a directory of the cache that one build at a time has for itself.
//!
//! ```text
//! crates/      crates of registries, unpacked
//! home/        Cargo's home: empty, so that no configuration of the user is read
//! target/      what Cargo compiles
//! config.toml  where Cargo finds the crates
//! built.json   digests of the packages that `target` was compiled from
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use formats::digest::{Hasher, Sha256};
use rustix::fs::FlockOperation;

use crate::cargo_workspace::Package;
use crate::error::Result;
use crate::source::caches::cannot_write;

/// What all crates that a workspace brings itself are noted as: no package is called so. Cargo knows
/// them by the checksum of the archive that they once were, so if one of them was changed, nothing
/// that was compiled can be kept.
const VENDORED: &str = "vendored crates";

/// An open directory: it is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Waits until nobody else compiles this workspace.
    ///
    /// # Errors
    /// [`Id::Write`](crate::error::Id::Write).
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || {
            fs::create_dir_all(path.join("home"))?;
            let lock = File::create(path.join("lock"))?;
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
            Ok::<_, std::io::Error>(Self { path: path.canonicalize()?, _lock: lock })
        };
        open().map_err(|error| cannot_write(path).caused_by(error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of this directory and gives its path.
    ///
    /// # Errors
    /// [`Id::Write`](crate::error::Id::Write).
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::write(&path, text).map_err(|error| cannot_write(&path).caused_by(error))?;
        Ok(path)
    }

    /// Has `clean` throw away what was compiled of packages whose files are others now. Cargo goes
    /// by the times of files, and a file that was moved there, or unpacked with its old time, is
    /// not newer than what was compiled (cargo#6529).
    ///
    /// # Errors
    /// [`Id::Write`](crate::error::Id::Write).
    pub(super) fn forget_changed(
        &self,
        packages: &BTreeMap<&str, Sha256>,
        clean: impl FnOnce(&[&str]) -> Result<()>,
    ) -> Result<()> {
        let target = self.join("target");
        let mut noted = self.noted();
        let same = |name: &str, digest: &Sha256| noted.get(name) == Some(&digest.to_string());
        let changed = packages.iter().filter(|(name, digest)| !same(name, digest));
        let changed: Vec<_> = changed.map(|(name, _)| *name).collect();
        if changed.is_empty() {
            return Ok(());
        }
        // Nothing is known of them until a build has ended well.
        noted.retain(|name, _| !changed.contains(&name.as_str()));
        self.write("built.json", &serde_json::json!(noted).to_string())?;
        if target.exists() && (changed.contains(&VENDORED) || clean(&changed).is_err()) {
            fs::remove_dir_all(&target).map_err(|error| cannot_write(&target).caused_by(error))?;
        }
        Ok(())
    }

    /// Notes what was compiled; what is noted of other packages of the workspace stays.
    ///
    /// # Errors
    /// [`Id::Write`](crate::error::Id::Write).
    pub(super) fn note(&self, packages: &BTreeMap<&str, Sha256>) -> Result<()> {
        let mut noted = self.noted();
        noted
            .extend(packages.iter().map(|(name, digest)| ((*name).to_owned(), digest.to_string())));
        self.write("built.json", &serde_json::json!(noted).to_string()).map(drop)
    }

    fn noted(&self) -> BTreeMap<String, String> {
        let bytes = fs::read(self.join("built.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}

/// The digest of the files of each package, by its name, and of all that are in `vendored`.
pub(super) fn digests<'a>(
    package: &'a Package,
    vendored: &[PathBuf],
    sources: &BTreeMap<String, Sha256>,
) -> BTreeMap<&'a str, Sha256> {
    let of = |directory: &Path| {
        let mut hasher = Hasher::new();
        for (path, digest) in
            sources.iter().filter(|(path, _)| Path::new(path).starts_with(directory))
        {
            hasher.update(format!("{path}\0{digest}\n"));
        }
        hasher.finish()
    };
    let packages = package.directories.iter();
    let mut digests: BTreeMap<_, _> =
        packages.map(|(directory, name)| (name.as_str(), of(directory))).collect();
    if !vendored.is_empty() {
        let mut hasher = Hasher::new();
        vendored.iter().for_each(|directory| hasher.update(of(directory).as_bytes()));
        digests.insert(VENDORED, hasher.finish());
    }
    digests
}
