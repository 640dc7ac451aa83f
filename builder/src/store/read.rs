//! Reading blobs: what comes out is what the name says, or an error.
//!
//! That a blob is there with its size says nothing of its bytes: disks fail, and stores are copied.
//! So whoever is the first to read a blob hashes it ([`Verified`](super::verified) knows who was),
//! and nobody is given a byte of a damaged one as if it were right: a stream ends with an error,
//! and what needs the file itself gets it after it was read once as a whole.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use formats::digest::{Hasher, Sha256};
use formats::tree::Blob;

use super::Store;
use super::verified::Identity;
use crate::error::{Context as _, Error, Id, Result};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// A blob of the store is not what its name says. The cause of an [`Id::WrongDigest`], by which
/// whoever knows what the blob is for can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blob `{}` of the store is damaged: it has become `{found}`", blob.sha256)]
pub struct Damaged {
    /// What it should be.
    pub blob: Blob,
    /// What it hashes to.
    pub found: Sha256,
}

/// Why a stream broke off.
#[derive(Debug)]
pub enum StreamError {
    /// What takes the bytes failed.
    Sink(io::Error),
    /// The blob could not be read, or is damaged.
    Store(Error),
}

/// The file of a blob, which has its size.
struct Opened {
    file: File,
    identity: Identity,
    /// Whether it was read before, and was right.
    is_known: bool,
}

impl Store {
    /// Gives all bytes of a blob to `sink`, piece by piece. Only if this succeeds were they the
    /// blob's.
    ///
    /// # Errors
    /// See [`StreamError`]: [`Id::StoreMissing`], [`Id::Read`], [`Id::WrongDigest`].
    pub fn stream(
        &self,
        blob: &Blob,
        sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), StreamError> {
        let mut opened = self.opened(blob).map_err(StreamError::Store)?;
        self.pour(&mut opened, blob, sink)
    }

    /// Reads a whole blob: for small ones.
    ///
    /// # Errors
    /// [`Id::StoreMissing`], [`Id::Read`], [`Id::WrongDigest`].
    pub fn read_blob(&self, blob: &Blob) -> Result<Vec<u8>> {
        let mut opened = self.opened(blob)?;
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or_default());
        opened.file.read_to_end(&mut bytes).or_fail(Id::Read, || cannot_read(blob))?;
        self.judge(&opened, blob, || Sha256::of(&bytes))?;
        Ok(bytes)
    }

    /// Opens a blob for who must move about in it. Its digest has been compared then.
    ///
    /// # Errors
    /// [`Id::StoreMissing`], [`Id::Read`], [`Id::WrongDigest`].
    pub fn open_blob(&self, blob: &Blob) -> Result<File> {
        let mut opened = self.opened(blob)?;
        if opened.is_known {
            return Ok(opened.file);
        }
        self.pour(&mut opened, blob, |_| Ok(())).map_err(|error| match error {
            StreamError::Store(error) => error,
            StreamError::Sink(error) => Error::new(Id::Read, cannot_read(blob)).caused_by(error),
        })?;
        opened.file.rewind().or_fail(Id::Read, || cannot_read(blob))?;
        Ok(opened.file)
    }

    fn pour(
        &self,
        opened: &mut Opened,
        blob: &Blob,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), StreamError> {
        let mut hasher = (!opened.is_known).then(Hasher::new);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(blob.size).unwrap_or(CHUNK).max(1))];
        let mut left = blob.size;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match opened.file.read(&mut buffer[..wanted]) {
                // Cut off while it was read.
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = Error::new(Id::Read, cannot_read(blob)).caused_by(error);
                    return Err(StreamError::Store(error));
                }
            };
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..read]);
            }
            sink(&buffer[..read]).map_err(StreamError::Sink)?;
            left -= read as u64;
        }
        let found = || hasher.map_or(blob.sha256, Hasher::finish);
        self.judge(opened, blob, found).map_err(StreamError::Store)
    }

    /// Opens it if it has its size.
    fn opened(&self, blob: &Blob) -> Result<Opened> {
        let path = self.blob_path(&blob.sha256);
        let file = File::open(&path).map_err(|error| {
            let message =
                format!("blob `{}` is not in the store `{}`", blob.sha256, self.root.display());
            let missing = Error::new(Id::StoreMissing, message).hint("`orlop fetch` brings it");
            if error.kind() == io::ErrorKind::NotFound { missing } else { missing.caused_by(error) }
        })?;
        let meta = file.metadata().or_fail(Id::Read, || format!("`{}`", path.display()))?;
        if meta.len() == blob.size {
            let identity = Identity::of(&meta);
            let is_known = self.verified.is(&blob.sha256, identity);
            return Ok(Opened { file, identity, is_known });
        }
        let message =
            format!("`{}` has {} bytes and should have {}", path.display(), meta.len(), blob.size);
        Err(self.cure(Error::new(Id::WrongDigest, message), blob))
    }

    /// Whether what was read of a blob is the blob. Of a file that is known and was not changed
    /// while it was read, nothing needs to be `found`.
    fn judge(&self, opened: &Opened, blob: &Blob, found: impl FnOnce() -> Sha256) -> Result<()> {
        if !opened.is_known {
            self.compare(blob, found())?;
            self.verified.note(blob.sha256, opened.identity);
            return Ok(());
        }
        let now = opened.file.metadata().or_fail(Id::Read, || cannot_read(blob))?;
        if Identity::of(&now) == opened.identity {
            return Ok(());
        }
        let message = format!("blob `{}` was changed while it was read", blob.sha256);
        Err(self.cure(Error::new(Id::WrongDigest, message), blob))
    }

    fn compare(&self, blob: &Blob, found: Sha256) -> Result<()> {
        if found == blob.sha256 {
            return Ok(());
        }
        let damaged = Damaged { blob: *blob, found };
        let error = Error::new(Id::WrongDigest, "cannot use what the store holds");
        Err(self.cure(error.caused_by(damaged), blob))
    }

    fn cure(&self, error: Error, blob: &Blob) -> Error {
        let path = self.blob_path(&blob.sha256);
        error
            .hint(format!("remove `{}`: the next build fetches or makes it again", path.display()))
            .hint("`orlop store verify` looks for more; the disk may be failing")
    }
}

fn cannot_read(blob: &Blob) -> String {
    format!("cannot read blob `{}`", blob.sha256)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    /// Every way to read a blob.
    fn readings(store: &Store, blob: &Blob) -> Vec<Result<Vec<u8>>> {
        let mut streamed = Vec::new();
        let stream = store.stream(blob, |piece| {
            streamed.extend_from_slice(piece);
            Ok(())
        });
        let stream = stream.map_err(|error| match error {
            StreamError::Store(error) => error,
            StreamError::Sink(error) => panic!("{error}"),
        });
        let opened = store.open_blob(blob).map(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        });
        vec![stream.map(|()| streamed), store.read_blob(blob), opened]
    }

    #[test]
    fn a_blob_of_any_size_is_read_whole() {
        let (_directory, store) = store();
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1] {
            let content = vec![7; size];
            let blob = store.put_bytes(&content).unwrap();
            for reading in readings(&store, &blob) {
                assert!(reading.unwrap() == content, "{size}");
            }
        }
    }

    #[test]
    fn a_damaged_blob_of_the_right_size_is_believed_by_nobody() {
        let (_directory, store) = store();
        let content = vec![7; 3 * CHUNK];
        let blob = store.put_bytes(&content).unwrap();
        let path = store.blob_path(&blob.sha256);
        for at in [0, CHUNK, content.len() - 1] {
            let mut damaged = content.clone();
            damaged[at] ^= 1;
            fs::remove_file(&path).unwrap();
            fs::write(&path, &damaged).unwrap();
            for reading in readings(&store, &blob) {
                let error = reading.unwrap_err();
                assert_eq!(error.id(), Id::WrongDigest);
                let found = Sha256::of(&damaged);
                assert_eq!(
                    error.chain(),
                    format!(
                        "cannot use what the store holds: blob `{}` of the store is damaged: it \
                         has become `{found}`",
                        blob.sha256
                    )
                );
                assert!(error.hints()[0].starts_with(&format!("remove `{}`", path.display())));
            }
        }
    }

    #[test]
    fn a_missing_blob_and_one_of_another_size_are_named() {
        let (_directory, store) = store();
        let blob = Blob { sha256: Sha256::of("abc"), size: 3 };
        for reading in readings(&store, &blob) {
            assert_eq!(reading.unwrap_err().id(), Id::StoreMissing);
        }
        store.put_bytes(b"abc").unwrap();
        let path = store.blob_path(&blob.sha256);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "ab").unwrap();
        for reading in readings(&store, &blob) {
            assert_eq!(reading.unwrap_err().id(), Id::WrongDigest);
        }
    }

    /// Changes a byte of a file in its place and puts the time of its last change back, as far as
    /// anybody can: waits until the clock of the file system has gone on.
    fn damage_unseen(path: &std::path::Path) {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let before = fs::metadata(path).unwrap();
        let changed = |meta: &fs::Metadata| (meta.ctime(), meta.ctime_nsec());
        while changed(&fs::metadata(path).unwrap()) == changed(&before) {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut content = fs::read(path).unwrap();
        content[0] ^= 1;
        fs::write(path, content).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        assert_eq!(fs::metadata(path).unwrap().ino(), before.ino());
    }

    fn is_known(store: &Store, blob: &Blob) -> bool {
        store.opened(blob).unwrap().is_known
    }

    #[test]
    fn a_blob_is_hashed_once_for_as_long_as_its_file_stays_as_it_is() {
        let (_directory, store) = store();
        for (number, read) in (0_u8..).zip([
            |store: &Store, blob: &Blob| store.read_blob(blob).map(drop),
            |store: &Store, blob: &Blob| store.open_blob(blob).map(drop),
            |store: &Store, blob: &Blob| {
                store
                    .find(&blob.sha256)
                    .map(drop)
                    .ok_or_else(|| Error::new(Id::WrongDigest, "as if it were not there"))
            },
        ]) {
            let content = vec![number; 2 * CHUNK];
            let blob = store.put_bytes(&content).unwrap();
            assert!(!is_known(&store, &blob), "it was written, and never read");
            read(&store, &blob).unwrap();
            assert!(is_known(&store.clone(), &blob));
            for reading in readings(&store, &blob) {
                assert!(reading.unwrap() == content);
            }
            assert!(!is_known(&Store::open(store.root()).unwrap(), &blob), "in this process");

            damage_unseen(&store.blob_path(&blob.sha256));
            assert_eq!(read(&store, &blob).unwrap_err().id(), Id::WrongDigest);
            for reading in readings(&store, &blob) {
                assert_eq!(reading.unwrap_err().id(), Id::WrongDigest);
            }
        }
    }

    #[test]
    fn a_blob_that_changes_while_it_is_read_is_not_believed_because_it_was_right_before() {
        let (_directory, store) = store();
        let blob = store.put_bytes(&vec![7; 2 * CHUNK]).unwrap();
        store.read_blob(&blob).unwrap();
        let path = store.blob_path(&blob.sha256);
        let mut pieces = 0;
        let stream = store.stream(&blob, |_| {
            pieces += 1;
            if pieces == 1 {
                damage_unseen(&path);
            }
            Ok(())
        });
        assert!(matches!(stream, Err(StreamError::Store(error)) if error.id() == Id::WrongDigest));
    }
}
