//! Bringing blobs into the store: from any address that has them, resumed, checked by digest.
//!
//! An address is never trusted. The digest that the lock or the recipe names decides; a server
//! that sends something else is named, and the next address is tried.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use formats::digest::Sha256;
use formats::tree::Blob;
use rustix::fs::FlockOperation;

use crate::credentials::{Written, shown};
use crate::error::{Context as _, Error, Id, Result};
use crate::figures::bytes;
use crate::http::{self, Client};
use crate::progress::{Progress, Task};
use crate::registry::Registry;
use crate::store::Store;

/// A blob that is wanted, and where it can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What people call it: a package, a component.
    pub name: String,
    /// Addresses, the best one first.
    pub urls: Vec<String>,
    /// What it is.
    pub blob: Blob,
}

/// Brings all these blobs into the store, each through its client, `connections` at a time. Those that are there already
/// cost no request. One that fails does not keep the others from coming.
///
/// # Errors
/// As [`blob`]; several failures are told together, under their common id or
/// [`Id::FetchFailed`].
pub fn all(
    store: &Store,
    wanted: &[(&Client, Wanted)],
    progress: &Progress,
    connections: usize,
) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|(_, wanted)| !store.has(&wanted.blob)).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..connections.clamp(1, missing.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((client, wanted)) = missing.get(index) else { return };
                    let task = progress.task(&wanted.name, Some(wanted.blob.size));
                    match blob(client, store, &wanted.urls, &wanted.blob, &wanted.name, &task) {
                        Ok(()) => task.done(bytes(wanted.blob.size)),
                        Err(error) => {
                            let mut failures =
                                failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            failures.insert(index, error);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let failures: Vec<_> = failures.into_values().collect();
    let what = format!("cannot fetch {} of {} files", failures.len(), missing.len());
    if failures.is_empty() { Ok(()) } else { Err(together(what, failures)) }
}

/// Brings one blob into the store unless it is there. A download that was cut is resumed, by this
/// call or by a later one; two processes that want the same blob take turns.
///
/// # Errors
/// If all addresses fail in the same way, that way: [`Id::WrongDigest`] with both digests,
/// [`Id::NotFound`] and what else [`Client::download`] returns. If they fail in different ways,
/// [`Id::FetchFailed`], which tells for each address why.
pub fn blob(
    client: &Client,
    store: &Store,
    urls: &[String],
    blob: &Blob,
    name: &str,
    task: &Task,
) -> Result<()> {
    bring(client, store, urls, (blob.sha256, Some(blob.size)), name, task).map(drop)
}

/// As [`blob`] for a file whose size is not known: it is counted.
///
/// # Errors
/// As [`blob`], and [`Id::TooLarge`].
pub fn pinned(
    client: &Client,
    store: &Store,
    url: &Written,
    sha256: Sha256,
    name: &str,
    task: &Task,
) -> Result<Blob> {
    bring(client, store, &[url.secret().to_owned()], (sha256, None), name, task)
}

/// Says of a file that cannot be had how else it comes into the store.
pub fn or_by_hand(error: Error, name: &str) -> Error {
    // What came and is another file would be another file by hand, and a full disk stays full.
    if matches!(error.id(), Id::WrongDigest | Id::StoreWrite | Id::TooLarge) {
        return error;
    }
    error.hint(format!(
        "if `{name}` is brought here by other means, `orlop store add FILE` puts it into the store"
    ))
}

/// As [`blob`] for one that a registry has.
///
/// # Errors
/// [`Id::WrongDigest`]; those of [`Registry::download`].
pub fn from_registry(registry: &Registry, store: &Store, blob: &Blob, task: &Task) -> Result<()> {
    let wanted = (blob.sha256, Some(blob.size));
    let partial = match Partial::lock(store, wanted)? {
        Ok(partial) => partial,
        Err(_) => return Ok(()),
    };
    let filled = partial.fill_from(registry, blob, task);
    if filled.is_err() {
        partial.leave();
    }
    filled?;
    store.adopt(&partial.path, blob)
}

fn bring(
    client: &Client,
    store: &Store,
    urls: &[String],
    wanted: (Sha256, Option<u64>),
    name: &str,
    task: &Task,
) -> Result<Blob> {
    if let Some(blob) = there(store, wanted) {
        return Ok(blob);
    }
    let partial = match Partial::lock(store, wanted)? {
        Ok(partial) => partial,
        Err(blob) => return Ok(blob),
    };
    let mut failures = Vec::new();
    for url in urls {
        match partial.fill(client, url, task) {
            Ok(blob) => {
                store.adopt(&partial.path, &blob)?;
                return Ok(blob);
            }
            // Another address would fill the same disk.
            Err(error) if error.id() == Id::StoreWrite => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    partial.leave();
    if failures.is_empty() {
        let error = Error::new(Id::FetchFailed, format!("no address is known for `{name}`"));
        return Err(or_by_hand(error, name));
    }
    let what = format!("cannot fetch `{name}` from any of {} addresses", failures.len());
    Err(together(what, failures))
}

/// The blob that is wanted, if the store has it.
fn there(store: &Store, (sha256, size): (Sha256, Option<u64>)) -> Option<Blob> {
    match size {
        Some(size) => Some(Blob { sha256, size }).filter(|blob| store.has(blob)),
        None => store.find(&sha256),
    }
}

/// The file that a download grows in, locked against other processes.
struct Partial {
    path: std::path::PathBuf,
    wanted: (Sha256, Option<u64>),
    // Held for its lock, which ends with it.
    _lock: File,
}

impl Partial {
    /// Waits for whoever downloads the same blob. Gives the blob if it is in the store by then.
    fn lock(
        store: &Store,
        wanted: (Sha256, Option<u64>),
    ) -> Result<std::result::Result<Self, Blob>> {
        let path = store.partial_path(&wanted.0);
        let cannot = || format!("cannot write `{}`", path.display());
        loop {
            let opened = store.open_partial(&wanted.0);
            // Somebody else's, and not for us to write: as soon as nobody is at it, we begin anew.
            let foreign =
                matches!(&opened, Err(error) if error.kind() == ErrorKind::PermissionDenied);
            let opened = if foreign { File::open(&path) } else { opened };
            let file = opened.or_fail(Id::StoreWrite, cannot).map_err(|error| {
                if !foreign {
                    return error;
                }
                error.hint("somebody else began it and lets nobody read it: remove the file")
            })?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)
                .or_fail(Id::StoreWrite, cannot)?;
            let held = file.metadata().or_fail(Id::StoreWrite, cannot)?;
            // Whoever had the lock may have moved the file into the store or thrown it away; what
            // we hold then is not what a download would grow in.
            let current = fs::metadata(&path)
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (held.dev(), held.ino()));
            match there(store, wanted) {
                None if current && !foreign => {
                    return Ok(Ok(Self { path, wanted, _lock: file }));
                }
                found => {
                    if current {
                        remove(&path)?;
                    }
                    if let Some(blob) = found {
                        return Ok(Err(blob));
                    }
                }
            }
        }
    }

    /// Downloads from one address and checks what came.
    fn fill(&self, client: &Client, url: &str, task: &Task) -> Result<Blob> {
        let length = || fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let (wanted, size) = self.wanted;
        let resumed = length() > 0;
        let packed = client.download(url, &self.path, size, task)?;
        let (sha256, page) = digest(&self.path)?;
        if sha256 == wanted {
            return Ok(Blob { sha256, size: length() });
        }
        self.empty()?;
        if resumed {
            // The beginning may have come from a server, or a disk, that is to blame instead.
            return self.fill(client, url, task);
        }
        let url = shown(url);
        if page {
            return Err(http::web_page(&url));
        }
        let message = format!("`{url}` has sha256 `{sha256}`, and `{wanted}` was asked for");
        let error = Error::new(Id::WrongDigest, message).hint(http::OTHER_FILE);
        Err(http::packed_unasked(error, packed.as_deref()))
    }

    /// The same from a registry, of a blob whose size is known.
    fn fill_from(&self, registry: &Registry, blob: &Blob, task: &Task) -> Result<()> {
        let resumed = fs::metadata(&self.path).is_ok_and(|meta| meta.len() > 0);
        let downloaded = registry.download(blob, &self.path, task);
        if let Err(error) = downloaded {
            if error.id() == Id::WrongDigest {
                self.empty()?;
            }
            return Err(error);
        }
        let (sha256, _) = digest(&self.path)?;
        if sha256 == blob.sha256 {
            return Ok(());
        }
        self.empty()?;
        if resumed {
            return self.fill_from(registry, blob, task);
        }
        let (location, wanted) = (registry.location(), blob.sha256);
        let message = format!(
            "the registry of `{location}` gives `{sha256}` for the part `{wanted}` of the image"
        );
        Err(Error::new(Id::WrongDigest, message).hint(
            "try again; if it happens again, something on the way or in the registry is damaged",
        ))
    }

    fn empty(&self) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path);
        file.and_then(|file| file.set_len(0))
            .or_fail(Id::StoreWrite, || format!("cannot write `{}`", self.path.display()))
    }

    /// Keeps what can be resumed. An empty file would only be litter; that it cannot be removed
    /// does no harm.
    fn leave(&self) {
        if fs::metadata(&self.path).is_ok_and(|meta| meta.len() == 0) {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).or_fail(Id::StoreWrite, || format!("cannot remove `{}`", path.display()))
}

/// The digest of a file, and whether it is a web page.
fn digest(path: &Path) -> Result<(Sha256, bool)> {
    let mut page = None;
    let sha256 = crate::digest::of_file(path, |piece| {
        page.get_or_insert_with(|| http::is_web_page(piece));
    })?;
    Ok((sha256, page.unwrap_or(false)))
}

/// One failure as it is; several below `what`, each with its id, and what cures them once.
/// `failures` must not be empty.
fn together(what: String, mut failures: Vec<Error>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let first = failures[0].id();
    let same = failures.iter().all(|error| error.id() == first);
    let id = if same { first } else { Id::FetchFailed };
    let mut message = what;
    let mut hints: Vec<String> = Vec::new();
    for error in &failures {
        message.push_str(&format!("\n  {}: {}", error.id().code(), error.chain()));
        let new = error.hints().iter().filter(|hint| !hints.contains(hint)).cloned();
        hints.extend(new.collect::<Vec<_>>());
    }
    hints.into_iter().fold(Error::new(id, message), Error::hint)
}

#[cfg(test)]
mod tests;
