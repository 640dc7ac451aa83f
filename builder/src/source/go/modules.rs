//! Modules in the store: the files of a module proxy as blobs, and laid out again as a proxy that
//! Go reads without network (<https://go.dev/ref/mod#goproxy-protocol>).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::error::{Context as _, Id, Result};
use crate::source::caches::{self, Caches};
use crate::store::Store;
use crate::stored::StoredBlob;

/// Files of a module proxy, by their name below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Modules(BTreeMap<String, StoredBlob>);

impl Modules {
    /// Takes those of the named files into the store that Go's cache has. What it has not is not
    /// needed: `go.sum` also knows modules that no program comes to.
    pub(super) fn keep(
        caches: &Caches,
        names: impl IntoIterator<Item = String>,
        store: &Store,
    ) -> Result<Self> {
        let download = caches.go_download();
        let mut files = BTreeMap::new();
        let batch = store.batch();
        for name in names {
            let path = download.join(&name);
            let mut file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?,
            };
            files.insert(name, StoredBlob(batch.put(&mut file)?));
        }
        batch.finish()?;
        Ok(Self(files))
    }

    /// Whether the store still has all of them.
    pub(super) fn complete(&self, store: &Store) -> bool {
        self.0.values().all(|blob| store.has(&blob.0))
    }

    /// Gives all of them to another store.
    pub(super) fn lend(&self, store: &Store, to: &Store) -> Result<()> {
        self.0.values().try_for_each(|blob| store.lend(&blob.0, to))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Lays them out as a proxy of links into the store, which lasts as long as what is returned.
    pub(super) fn proxy(&self, caches: &Caches, store: &Store) -> Result<Proxy> {
        let proxy = Proxy { directory: caches::scratch(&caches.go_build)? };
        let root = store.root().canonicalize();
        let root =
            root.or_fail(Id::Read, || format!("cannot read `{}`", store.root().display()))?;
        for (name, blob) in &self.0 {
            let inner = store.blob_path(&blob.0.sha256);
            let target = inner.strip_prefix(store.root()).map_or(inner.clone(), |p| root.join(p));
            proxy.add(name, |path| symlink(&target, path))?;
        }
        Ok(proxy)
    }
}

/// A directory that Go takes for a module proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    directory: TempDir,
}

impl Proxy {
    /// Adds a file by its name.
    pub(super) fn add(&self, name: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let path = self.directory.path().join(name);
        let parent = path.parent().unwrap_or(self.directory.path());
        fs::create_dir_all(parent)
            .and_then(|()| make(&path))
            .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// What `GOPROXY` must be: nothing in it may look like a list of proxies.
    pub(super) fn url(&self) -> String {
        let mut url = "file://".to_owned();
        for byte in self.directory.path().as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    url.push(char::from(*byte));
                }
                byte => url.push_str(&format!("%{byte:02x}")),
            }
        }
        url
    }
}
