//! The store: blobs by sha256, and what was derived from them by the digest of its inputs.
//!
//! ```text
//! STORE/blobs/ab/ab12...    content, read-only, named by its sha256
//! STORE/steps/KIND/ab12...  result of a step, named by the digest of all its inputs
//! STORE/derived/PURPOSE     digests of blobs and something beside them
//! STORE/partial/ab12...     a download under way, resumed by the next fetch
//! STORE/tmp/                files not yet complete; what a dead process left is swept on opening
//! ```
//! Every file appears whole or not at all (written in `tmp`, then renamed), so builds may share a
//! store and may be interrupted anywhere. After a power cut, too, a name stands for all of its
//! content or is not there ([`durable`]). So may people share it: what one of them makes is for all
//! who may use the directory.

mod derived;
mod lend;
mod read;
mod roots;
mod sharing;
mod verified;
mod write;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use formats::digest::Sha256;
use formats::tree::Blob;
use rustix::fs::Access;
use tempfile::NamedTempFile;

use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::in_use::{InUse, touch};
use sharing::Sharing;
use verified::Verified;

pub use derived::{Purpose, Question};
pub use read::{Damaged, StreamError};
pub use roots::{Looked, ROOTS, Root};
pub use write::{Batch, BlobWriter};

/// An open store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    sharing: Sharing,
    read_only: bool,
    // Kind and key of each result that was found or put in.
    used: Arc<Mutex<BTreeSet<(String, Sha256)>>>,
    // Blobs that need not be hashed again.
    verified: Arc<Verified>,
    // Nobody clears up while we live.
    in_use: Arc<Vec<InUse>>,
}

/// The directory of a store that has the blobs: what has none is not a store.
pub const BLOBS: &str = "blobs";
/// Blobs are never written again.
const BLOB_MODE: u32 = 0o444;
/// Results are replaced as a whole; who may see the directory may read them.
const RESULT_MODE: u32 = 0o644;

impl Store {
    /// Opens the store at `root`, making it if it is not there.
    ///
    /// # Errors
    /// [`Id::StoreWrite`] if the directories cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let make = || {
            fs::create_dir_all(&root)?;
            let sharing = Sharing::of(&root)?;
            for directory in [BLOBS, "steps", "partial", "tmp"] {
                sharing.directory(&root.join(directory))?;
            }
            Ok::<_, io::Error>(sharing)
        };
        let sharing = make()
            .or_fail(Id::StoreWrite, || format!("cannot make the store at `{}`", root.display()))?;
        let read_only = rustix::fs::access(root.join("tmp"), Access::WRITE_OK).is_err();
        let (used, verified, in_use) = Default::default();
        let store = Self { root, sharing, read_only, used, verified, in_use };
        store.sweep();
        Ok(store)
    }

    /// The same store, of which these directories are in use for as long as it lives.
    #[must_use]
    pub fn using(mut self, directories: impl IntoIterator<Item = InUse>) -> Self {
        self.in_use = Arc::new(directories.into_iter().collect());
        self
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether nothing can be put into it, as into a cache of CI that is mounted read-only. What
    /// is in it can be used; results of steps are not remembered.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Every blob: its file and its name, in order.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn blobs(&self) -> Result<Vec<(PathBuf, Sha256)>> {
        let list = |directory: &Path| -> io::Result<Vec<PathBuf>> {
            fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
        };
        let all = || -> io::Result<Vec<PathBuf>> {
            let directories = list(&self.root.join(BLOBS))?;
            Ok(directories
                .iter()
                .map(|directory| list(directory))
                .collect::<Result<Vec<_>, _>>()?
                .concat())
        };
        let paths = all().or_fail(Id::Read, || format!("cannot read `{}`", self.root.display()))?;
        let named = paths.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.parse().ok()?;
            Some((path, name))
        });
        let mut blobs: Vec<_> = named.collect();
        blobs.sort_unstable_by_key(|(_, name)| *name);
        Ok(blobs)
    }

    /// Where a download of `sha256` is kept until it is complete.
    pub fn partial_path(&self, sha256: &Sha256) -> PathBuf {
        self.root.join("partial").join(sha256.to_string())
    }

    /// Opens, or begins, the file of [`Store::partial_path`]: also one that somebody else began.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open_partial(&self, sha256: &Sha256) -> io::Result<File> {
        let path = self.partial_path(sha256);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(path)?;
        // Refused for a file of somebody else, who has done it.
        drop(self.sharing.partial(&file));
        Ok(file)
    }

    /// Where the blob's file is or would be.
    pub fn blob_path(&self, sha256: &Sha256) -> PathBuf {
        let name = sha256.to_string();
        self.root.join(BLOBS).join(&name[..2]).join(name)
    }

    /// Whether the blob is there with this size. Its digest is compared by whoever reads it.
    pub fn has(&self, blob: &Blob) -> bool {
        fs::metadata(self.blob_path(&blob.sha256)).is_ok_and(|meta| meta.len() == blob.size)
    }

    /// The blob of this digest, if it is there. Nobody has said its size, so it is read.
    pub fn find(&self, sha256: &Sha256) -> Option<Blob> {
        let size = fs::metadata(self.blob_path(sha256)).ok()?.len();
        let blob = Blob { sha256: *sha256, size };
        self.open_blob(&blob).is_ok().then_some(blob)
    }

    /// Moves a complete file, whose digest the caller has just computed, into the store.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn adopt(&self, file: &Path, blob: &Blob) -> Result<()> {
        let cannot = || self.cannot_write();
        let path = self.blob_path(&blob.sha256);
        match fs::set_permissions(file, fs::Permissions::from_mode(BLOB_MODE)) {
            Ok(()) => self.place(&path, || durable::place(file, &path, Name::Later)),
            // Somebody else began it: the blob is a file of ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.put(&mut File::open(file).or_fail(Id::StoreWrite, cannot)?)?;
                fs::remove_file(file).or_fail(Id::StoreWrite, cannot)
            }
            Err(error) => Err(Error::new(Id::StoreWrite, cannot()).caused_by(error)),
        }
    }

    /// The result that a step of this kind with this key left, if any.
    pub fn step(&self, kind: &str, key: &Sha256) -> Option<Vec<u8>> {
        let path = self.step_path(kind, key);
        let result = self.result(&path)?;
        touch(&path);
        self.note_use(kind, key);
        Some(result)
    }

    fn note_use(&self, kind: &str, key: &Sha256) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert((kind.to_owned(), *key));
    }

    /// Kind and key of each result that was found or put in since the store was opened.
    fn used(&self) -> BTreeSet<(String, Sha256)> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the result of the step of this kind with this key, unless the store is read-only:
    /// to remember saves time and nothing else.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn put_step(&self, kind: &str, key: &Sha256, result: &[u8]) -> Result<()> {
        self.note_use(kind, key);
        if self.read_only {
            return Ok(());
        }
        let mut file = self.temporary()?;
        file.write_all(&sealed(result)).or_fail(Id::StoreWrite, || self.cannot_write())?;
        self.put_result(file, &self.step_path(kind, key))
    }

    /// The result in a file, if it is as it was written.
    fn result(&self, path: &Path) -> Option<Vec<u8>> {
        unsealed(fs::read(path).ok()?)
    }

    /// Gives a complete file the name of a result.
    fn put_result(&self, file: NamedTempFile, path: &Path) -> Result<()> {
        self.place(path, || {
            file.as_file().set_permissions(fs::Permissions::from_mode(RESULT_MODE))?;
            durable::persist(file, path, Name::Later)
        })
    }

    fn step_path(&self, kind: &str, key: &Sha256) -> PathBuf {
        self.root.join("steps").join(kind).join(key.to_string())
    }

    fn place(&self, path: &Path, rename: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let make_and_rename = || {
            if let Some(directory) = path.parent() {
                self.sharing.directory(directory)?;
            }
            rename()
        };
        make_and_rename().or_fail(Id::StoreWrite, || self.cannot_write())
    }

    fn cannot_write(&self) -> String {
        format!("cannot write to the store `{}`", self.root.display())
    }
}

/// A result with its own digest behind it. A result says which blobs make an image and with which
/// modes; its name tells nothing of it, so one that a disk or a copy has damaged would be believed.
fn sealed(result: &[u8]) -> Vec<u8> {
    [result, format!("\n{}\n", Sha256::of(result)).as_bytes()].concat()
}

fn unsealed(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    const SEAL: usize = 2 + 64;
    let length = bytes.len().checked_sub(SEAL)?;
    let whole = sealed(&bytes[..length]) == bytes;
    bytes.truncate(length);
    whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    #[test]
    fn what_was_put_in_comes_out_by_its_digest() {
        let (_directory, store) = store();
        let blob = store.put_bytes(b"abc").unwrap();
        assert_eq!(blob, Blob { sha256: Sha256::of("abc"), size: 3 });
        assert_eq!(store.read_blob(&blob).unwrap(), b"abc");
        assert_eq!(store.put(&mut &b"abc"[..]).unwrap(), blob);
    }

    #[test]
    fn what_is_put_in_is_on_the_disk_before_it_has_its_name() {
        use crate::durable::testing::asked;
        let (directory, store) = store();
        let blob = Blob { sha256: Sha256::of("abc"), size: 3 };
        let name = blob.sha256.to_string();
        let put = asked(|| store.put_bytes(b"abc").unwrap()).1;
        assert_eq!(put, ["sync blob".to_owned(), format!("rename blob {name}")]);

        fs::remove_file(store.blob_path(&blob.sha256)).unwrap();
        let file = directory.path().join("download");
        fs::write(&file, "abc").unwrap();
        let adopted = asked(|| store.adopt(&file, &blob).unwrap()).1;
        assert_eq!(adopted, ["sync download".to_owned(), format!("rename download {name}")]);

        let step = asked(|| store.put_step("unpack", &blob.sha256, b"{}").unwrap()).1;
        assert_eq!(step, ["sync blob".to_owned(), format!("rename blob {name}")]);
    }

    #[test]
    fn a_step_is_found_by_its_key() {
        let (_directory, store) = store();
        let key = Sha256::of("inputs");
        assert_eq!(store.step("unpack", &key), None);
        store.put_step("unpack", &key, b"{}").unwrap();
        assert_eq!(store.step("unpack", &key), Some(b"{}".to_vec()));
    }

    #[test]
    fn a_damaged_result_is_forgotten() {
        let (_directory, store) = store();
        let key = Sha256::of("inputs");
        for result in [&b"{\"mode\":420}"[..], b""] {
            store.put_step("unpack", &key, result).unwrap();
            let path = store.step_path("unpack", &key);
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                for bytes in [&damaged[..], &whole[..at]] {
                    fs::write(&path, bytes).unwrap();
                    assert_eq!(store.step("unpack", &key), None, "{at}");
                }
            }
            fs::write(&path, &whole).unwrap();
            assert_eq!(store.step("unpack", &key).as_deref(), Some(result));
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// A store in a directory of this mode, as a team makes one.
    fn shared(mode: u32) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let store = Store::open(root).unwrap();
        (directory, store)
    }

    #[test]
    fn what_one_user_makes_is_for_all_who_may_use_the_directory() {
        for (root, directory, partial) in [
            (0o2775, 0o2775, 0o664),
            (0o3777, 0o2777, 0o666),
            (0o755, 0o755, 0o644),
            (0o700, 0o700, 0o644),
        ] {
            let (_directory, store) = shared(root);
            let blob = store.put_bytes(b"abc").unwrap();
            let key = Sha256::of("inputs");
            store.put_step("unpack", &key, b"{}").unwrap();
            store.open_partial(&key).unwrap();
            let blob = store.blob_path(&blob.sha256);
            let result = store.step_path("unpack", &key);
            let modes = [blob.parent(), result.parent(), Some(&store.root.join("tmp"))]
                .map(|path| mode(path.unwrap()));
            assert_eq!(modes, [directory; 3], "{root:o}");
            assert_eq!((mode(&blob), mode(&result)), (0o444, 0o644), "{root:o}");
            assert_eq!(mode(&store.partial_path(&key)), partial, "{root:o}");
        }
    }

    /// Nothing can be mounted here, and whoever runs the tests may be root.
    #[test]
    fn a_store_that_cannot_be_written_gives_what_it_has_and_remembers_nothing() {
        let (_directory, store) = store();
        let blob = store.put_bytes(b"abc").unwrap();
        let key = Sha256::of("inputs");
        store.put_step("unpack", &key, b"{}").unwrap();
        let store = Store { read_only: true, ..store };
        store.put_step("unpack", &key, b"[]").unwrap();
        assert_eq!(store.step("unpack", &key), Some(b"{}".to_vec()));
        assert_eq!(store.put_bytes(b"abc").unwrap(), blob);
    }
}
