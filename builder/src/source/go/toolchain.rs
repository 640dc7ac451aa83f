//! The Go that builds a component: never the host's own, which distributions patch, but the one
//! that Go's module proxies have under its name and the checksum database vouches for
//! (<https://go.dev/doc/toolchain#download>).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::digest::Sha256;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::modules::Modules;
use super::{sum, tool};
use crate::durable;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::source::caches::{self, Caches};
use crate::store::Store;

/// The kind of record under which the store knows the files of a toolchain.
const KIND: &str = "go-toolchain";

/// The module whose versions are toolchains.
const MODULE: &str = "golang.org/toolchain";

/// A toolchain that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Such as `go1.26.11`.
    name: String,
    record: Record,
}

/// What the store keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Go's own digest of all its files.
    sum: String,
    files: Modules,
}

impl Toolchain {
    /// One that no store has, for tests of what depends on it.
    #[cfg(test)]
    pub(super) fn new(name: &str, sum: &str) -> Self {
        let record = Record { sum: sum.to_owned(), files: Modules::default() };
        Self { name: name.to_owned(), record }
    }

    /// The one of this name, if it was ever fetched into this store.
    pub(super) fn recall(name: &str, store: &Store) -> Option<Self> {
        let bytes = store.step(KIND, &key(name))?;
        let record = serde_json::from_slice(&bytes).ok()?;
        Some(Self { name: name.to_owned(), record })
    }

    /// The one of this name that was fetched: builds depend on its digest, not only on its name.
    ///
    /// # Errors
    /// [`Id::GoNotFetched`].
    pub fn find(name: &str, store: &Store) -> Result<Self> {
        Self::recall(name, store).ok_or_else(|| {
            Error::new(Id::GoNotFetched, format!("the toolchain `{name}` is not fetched"))
                .hint("run `orlop fetch`")
        })
    }

    /// Whether the store has all of it, so that a machine without network can unpack it.
    pub(super) fn complete(&self, store: &Store) -> bool {
        self.record.files.complete(store)
    }

    /// Gives all of it to another store.
    pub(super) fn lend(&self, store: &Store, to: &Store) -> Result<()> {
        self.record.files.lend(store, to)?;
        store.lend_result(KIND, &key(&self.name), to)
    }

    /// Such as `go1.26.11`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The module that it is, and its version.
    pub fn module(&self) -> (&'static str, String) {
        (MODULE, version(&self.name))
    }

    /// Go's own digest of all its files, as `go.sum` would have it.
    pub fn sum(&self) -> &str {
        &self.record.sum
    }

    /// What it is: name and digest.
    pub fn fact(&self) -> String {
        format!("{} {}", self.name, self.record.sum)
    }

    /// Fetches it into the cache and takes it into the store. The host's Go is but the downloader:
    /// any from 1.21 on checks the checksum database whatever else it is told.
    pub(super) fn fetch(
        name: &str,
        environment: &Environment,
        caches: &Caches,
        store: &Store,
    ) -> Result<Self> {
        let place = nowhere(caches)?;
        let go = tool::for_fetch(Path::new("go"), place.path(), environment, caches);
        let version = version(name);
        go.args(["mod", "download", &format!("{MODULE}@{version}")])
            .run()
            .map_err(tool::fetch_hints)?;
        let zip = sum::file(MODULE, &version, "zip");
        let files =
            Modules::keep(caches, [zip.clone(), sum::file(MODULE, &version, "mod")], store)?;
        let sum = cached_sum(caches, &version).filter(|_| files.has(&zip));
        let sum = sum.ok_or_else(|| {
            let message = format!("`go mod download` has not left `{zip}` in its cache");
            Error::new(Id::ToolFailed, message).hint("any Go from 1.21 on will do")
        })?;
        let toolchain = Self { name: name.to_owned(), record: Record { sum, files } };
        let bytes = serde_json::to_vec(&toolchain.record);
        let bytes = bytes.or_fail(Id::Bug, || "a toolchain's record")?;
        store.put_step(KIND, &key(name), &bytes)?;
        Ok(toolchain)
    }

    /// Its directory in the cache, unpacked from the store if it is not there.
    ///
    /// # Errors
    /// [`Id::GoNotFetched`] if the store lacks it too; [`Id::WrongDigest`] if what is there is not
    /// what was fetched; [`Id::MissingTool`] if there is no Go to unpack it with.
    pub(super) fn unpacked(
        &self,
        environment: &Environment,
        caches: &Caches,
        store: &Store,
    ) -> Result<PathBuf> {
        let version = version(&self.name);
        let directory = caches.go_modules().join(format!("{MODULE}@{version}"));
        let known = cached_sum(caches, &version);
        if known.is_none() || !is_ready(&directory) {
            self.unpack(environment, caches, store, &version)?;
            ready(&directory).or_fail(Id::Write, || {
                format!("cannot make the toolchain `{}` ready", directory.display())
            })?;
        }
        match cached_sum(caches, &version) {
            Some(sum) if sum == self.record.sum => Ok(directory),
            _ => {
                let message = format!(
                    "the toolchain `{}` in the cache is not the `{}` that was fetched",
                    directory.display(),
                    self.name
                );
                let cache = caches.go_mod.display();
                Err(Error::new(Id::WrongDigest, message)
                    .hint(format!("remove `{cache}`; it is made again from the store")))
            }
        }
    }

    fn unpack(
        &self,
        environment: &Environment,
        caches: &Caches,
        store: &Store,
        version: &str,
    ) -> Result<()> {
        let proxy = self.record.files.proxy(caches, store)?;
        let info = format!("{{\"Version\":\"{version}\"}}");
        proxy.add(&sum::file(MODULE, version, "info"), |path| fs::write(path, info))?;
        let place = nowhere(caches)?;
        let go = tool::offline(Path::new("go"), place.path(), caches, &proxy);
        let go = go.env("PATH", environment.path()).args([
            "mod",
            "download",
            &format!("{MODULE}@{version}"),
        ]);
        go.run().map(drop).map_err(|error| {
            if self.complete(store) {
                return error;
            }
            let message = format!("the toolchain `{}` is not fetched", self.name);
            Error::new(Id::GoNotFetched, message).caused_by(error).hint("run `orlop fetch`")
        })
    }
}

/// The version of the module that is this toolchain for this host.
fn version(name: &str) -> String {
    let machine = std::env::consts::ARCH;
    let architecture = Architecture::of_machine(machine).map_or(machine, |known| known.go()[0].1);
    format!("v0.0.1-{name}.linux-{architecture}")
}

fn key(name: &str) -> Sha256 {
    Sha256::of(format!("{MODULE}@{}", version(name)))
}

/// The digest that Go noted when it took the module into its cache.
fn cached_sum(caches: &Caches, version: &str) -> Option<String> {
    let path = caches.go_download().join(sum::file(MODULE, version, "ziphash"));
    fs::read_to_string(path).ok().map(|sum| sum.trim().to_owned()).filter(|sum| !sum.is_empty())
}

/// A directory that is a module of its own, so that none above it is looked at.
fn nowhere(caches: &Caches) -> Result<TempDir> {
    let directory = caches::scratch(&caches.go_build)?;
    let path = directory.path().join("go.mod");
    fs::write(&path, "module orlop.dev/nowhere\n")
        .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    Ok(directory)
}

/// Whether [`ready`] has come to its end here; Go itself leaves the same when it changes to
/// another toolchain.
fn is_ready(directory: &Path) -> bool {
    let executable = |meta: fs::Metadata| meta.permissions().mode() & 0o111 != 0;
    fs::metadata(directory.join("bin/go")).is_ok_and(executable)
        && directory.join("src/go.mod").is_file()
}

/// Does what a module cannot carry: files of a module are not executable, and none below its top
/// may be a `go.mod`, which is why they are called `_go.mod`. What [`is_ready`] asks for is last.
fn ready(directory: &Path) -> io::Result<()> {
    let mut directories = vec![directory.join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name() == "_go.mod" {
                writable(&directory)?;
                let mut file = tempfile::NamedTempFile::new_in(&directory)?;
                io::copy(&mut fs::File::open(entry.path())?, &mut file)?;
                file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
                durable::persist(file, &directory.join("go.mod"), durable::Name::Later)?;
            }
        }
    }
    for place in ["pkg/tool", "bin"] {
        executable(&directory.join(place))?;
    }
    Ok(())
}

/// Older caches hold directories that not even their owner may write to.
fn writable(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.permissions().mode();
    if mode & 0o200 == 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode | 0o200))?;
    }
    Ok(())
}

/// Makes all files below a directory executable; `go` comes after what it starts.
fn executable(directory: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name() == "go");
    for entry in entries {
        if entry.file_type()?.is_dir() {
            executable(&entry.path())?;
        } else {
            let mode = entry.metadata()?.permissions().mode();
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode | 0o111))?;
        }
    }
    Ok(())
}
