//! Putting blobs in: one, or many at once.
//!
//! Content is on the disk before it has its name. For one blob that is an fsync(2). A package has
//! thousands, and waiting for the disk after each takes longer than all else that is done with
//! them: a [`Batch`] writes them, waits once for the whole file system, and names them then.
//!
//! What is being written is locked, for [`Store::open`] sweeps `tmp`: a single file by itself, the
//! files of a batch by their directory, so that none of them is kept open.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;

use formats::digest::{Hasher, Sha256};
use formats::tree::Blob;
use tempfile::{NamedTempFile, TempDir, TempPath};

use super::{BLOB_MODE, RESULT_MODE, Store};
use crate::durable::{self, Name};
use crate::error::{Context as _, Id, Result};
use crate::unfinished::{locked, locked_directory, sweep};

/// How many blobs of a batch wait for their names: what an interrupted build has written in vain,
/// and what is remembered of each meanwhile.
const WAITING: usize = 1024;

impl Store {
    /// Takes all of `content` into the store.
    ///
    /// # Errors
    /// [`Id::StoreWrite`], also if `content` cannot be read.
    pub fn put(&self, content: &mut impl Read) -> Result<Blob> {
        self.writer()?.all_of(content)
    }

    /// Takes these bytes into the store.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 };
        if !self.has(&blob) {
            self.writer()?.these(bytes, blob)?;
        }
        Ok(blob)
    }

    /// Begins a blob whose digest is not known yet.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        Ok(BlobWriter::new(Target::Store(self), self.temporary()?))
    }

    /// Begins to put in many blobs, which are in the store when [`Batch::finish`] has succeeded.
    pub fn batch(&self) -> Batch {
        Batch { store: self.clone(), waiting: RefCell::default(), place: RefCell::default() }
    }

    pub(super) fn temporary(&self) -> Result<NamedTempFile> {
        let create = || {
            loop {
                // Another user's next command may have to sweep it.
                let file = unfinished().tempfile_in(self.root.join("tmp"))?;
                if locked(file.as_file(), file.path())? {
                    return Ok::<_, io::Error>(file);
                }
            }
        };
        create().or_fail(Id::StoreWrite, || self.cannot_write())
    }

    /// Removes temporary files whose writer is gone. Best effort: another process may be faster.
    pub(super) fn sweep(&self) {
        sweep(&self.root.join("tmp"), |_| true);
    }
}

fn unfinished() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("blob-").permissions(fs::Permissions::from_mode(RESULT_MODE));
    builder
}

/// Many blobs on their way into the store. Dropped before it is finished, it leaves out those that
/// have no name yet.
#[derive(Debug)]
#[must_use = "its blobs are in the store when it is finished"]
pub struct Batch {
    store: Store,
    // Before the directory that they are in, so that they are dropped first.
    waiting: RefCell<BTreeMap<Sha256, TempPath>>,
    place: RefCell<Option<Place>>,
}

/// Where the files of a batch are written: locked for as long as it is there.
#[derive(Debug)]
struct Place {
    directory: TempDir,
    lock: File,
}

impl Batch {
    /// Takes all of `content`.
    ///
    /// # Errors
    /// [`Id::StoreWrite`], also if `content` cannot be read.
    pub fn put(&self, content: &mut impl Read) -> Result<Blob> {
        self.writer()?.all_of(content)
    }

    /// Takes these bytes.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 };
        if !self.has(&blob) {
            self.writer()?.these(bytes, blob)?;
        }
        Ok(blob)
    }

    /// Whether the store has the blob, or will have it when this is finished.
    pub fn has(&self, blob: &Blob) -> bool {
        self.waiting.borrow().contains_key(&blob.sha256) || self.store.has(blob)
    }

    /// Begins a blob whose digest is not known yet.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        let file = self.file().or_fail(Id::StoreWrite, || self.store.cannot_write())?;
        Ok(BlobWriter::new(Target::Batch(self), file))
    }

    /// The store that they go to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All blobs are in the store, under their names.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn finish(self) -> Result<()> {
        self.settle()
    }

    fn file(&self) -> io::Result<NamedTempFile> {
        let mut place = self.place.borrow_mut();
        let place = match &mut *place {
            Some(place) => place,
            none => none.insert(Place::new(&self.store)?),
        };
        unfinished().tempfile_in(place.directory.path())
    }

    fn add(&self, blob: Blob, file: NamedTempFile) -> Result<()> {
        self.waiting.borrow_mut().insert(blob.sha256, file.into_temp_path());
        if self.waiting.borrow().len() < WAITING {
            return Ok(());
        }
        self.settle()
    }

    /// Names those that wait.
    fn settle(&self) -> Result<()> {
        let waiting = self.waiting.take();
        let place = self.place.borrow();
        let Some(place) = &*place else { return Ok(()) };
        let name = || {
            let files = waiting.into_iter().map(|(sha256, file)| {
                let path = self.store.blob_path(&sha256);
                self.store.sharing.directory(durable::parent(&path))?;
                Ok((file, path))
            });
            let files = files.collect::<io::Result<Vec<_>>>()?;
            durable::persist_all(files, &place.lock, place.directory.path())
        };
        name().or_fail(Id::StoreWrite, || self.store.cannot_write())
    }
}

impl Place {
    fn new(store: &Store) -> io::Result<Self> {
        loop {
            let mut builder = tempfile::Builder::new();
            let directory = builder.prefix("batch-").tempdir_in(store.root.join("tmp"))?;
            if let Some(lock) = locked_directory(directory.path())? {
                // Another user's next command may have to sweep it.
                store.sharing.made(directory.path());
                return Ok(Self { directory, lock });
            }
        }
    }
}

/// A blob being written; its name is known when it is finished. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    target: Target<'a>,
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

/// Who names a blob when it is complete.
#[derive(Debug)]
enum Target<'a> {
    Store(&'a Store),
    Batch(&'a Batch),
}

impl<'a> Target<'a> {
    fn store(&self) -> &'a Store {
        match self {
            Self::Store(store) => store,
            Self::Batch(batch) => &batch.store,
        }
    }
}

impl<'a> BlobWriter<'a> {
    fn new(target: Target<'a>, file: NamedTempFile) -> Self {
        Self { target, file, hasher: Hasher::new(), size: 0 }
    }

    fn all_of(mut self, content: &mut impl Read) -> Result<Blob> {
        let store = self.target.store();
        io::copy(content, &mut self).or_fail(Id::StoreWrite, || store.cannot_write())?;
        self.finish()
    }

    /// Takes the bytes of a blob that was made of them.
    fn these(mut self, bytes: &[u8], blob: Blob) -> Result<()> {
        self.file
            .write_all(bytes)
            .or_fail(Id::StoreWrite, || self.target.store().cannot_write())?;
        self.name(blob)
    }

    /// The blob is complete: names it and makes it visible, or leaves that to the batch.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn finish(mut self) -> Result<Blob> {
        let sha256 = std::mem::take(&mut self.hasher).finish();
        let blob = Blob { sha256, size: self.size };
        self.name(blob)?;
        Ok(blob)
    }

    fn name(self, blob: Blob) -> Result<()> {
        let file = self.file;
        let seal = |file: &File| file.set_permissions(fs::Permissions::from_mode(BLOB_MODE));
        match self.target {
            Target::Store(store) if !store.has(&blob) => {
                let path = store.blob_path(&blob.sha256);
                store.place(&path, || {
                    seal(file.as_file())?;
                    durable::persist(file, &path, Name::Later)
                })?;
            }
            Target::Batch(batch) if !batch.has(&blob) => {
                seal(file.as_file()).or_fail(Id::StoreWrite, || batch.store.cannot_write())?;
                batch.add(blob, file)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::io::Errno;

    use super::*;
    use crate::durable::testing::{asked, refusing};

    fn store() -> (TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    fn in_tmp(store: &Store) -> usize {
        fs::read_dir(store.root().join("tmp")).unwrap().count()
    }

    fn in_blobs(store: &Store) -> usize {
        store.blobs().unwrap().len()
    }

    /// Puts in so many blobs, and says in which order what was asked of the file system.
    fn many(store: &Store, count: usize) -> Vec<String> {
        let put = || {
            let batch = store.batch();
            for number in 0..count {
                batch.put_bytes(&number.to_le_bytes()).unwrap();
            }
            batch.finish().unwrap();
        };
        let words = asked(put).1;
        words.iter().map(|deed| deed.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_store_may_be_opened_while_another_writes_to_it() {
        let (_directory, store) = store();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    Store::open(store.root()).unwrap();
                }
            });
            let put = |number: u32| store.put_bytes(&number.to_le_bytes()).map(drop);
            let outcome: Result<()> = (0..300).try_for_each(put);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            outcome.unwrap();
        });
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let (_directory, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn opening_sweeps_what_a_dead_writer_left_and_nothing_else() {
        let (_directory, store) = store();
        let living = store.writer().unwrap();
        fs::write(store.root().join("tmp/blob-dead"), b"half").unwrap();
        Store::open(store.root()).unwrap();
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 1);
        living.finish().unwrap();
    }

    #[test]
    fn the_blobs_of_a_batch_are_on_the_disk_before_the_first_has_its_name() {
        for count in [100, WAITING] {
            let (_directory, store) = store();
            let deeds = many(&store, count);
            assert_eq!(deeds[0], "syncfs batch");
            assert_eq!(deeds[1..], vec!["rename blob"; count], "{count}");
            assert_eq!((in_blobs(&store), in_tmp(&store)), (count, 0));
            assert!(many(&store, count).is_empty(), "all of them are there already");
        }
    }

    #[test]
    fn a_few_blobs_do_not_wait_for_the_whole_file_system() {
        let (_directory, store) = store();
        assert_eq!(many(&store, 2), ["sync blob", "sync blob", "rename blob", "rename blob"]);
        assert!(many(&store, 0).is_empty());
    }

    #[test]
    fn the_disk_is_not_waited_for_more_often_the_more_blobs_there_are() {
        let (_directory, store) = store();
        let deeds = many(&store, 2 * WAITING + 100);
        let syncs = deeds.iter().filter(|deed| deed.contains("sync")).count();
        assert_eq!((syncs, in_blobs(&store)), (3, 2 * WAITING + 100));
    }

    #[test]
    fn where_a_file_system_cannot_be_synced_as_a_whole_each_file_is() {
        for errno in [Errno::NOSYS, Errno::INVAL, Errno::OPNOTSUPP] {
            let (_directory, store) = store();
            let refuse = move |deed: &str| deed.starts_with("syncfs").then_some(errno);
            let deeds = refusing(refuse, || many(&store, 100));
            assert_eq!(deeds[0], "syncfs batch");
            assert_eq!(deeds[1..101], vec!["sync blob"; 100]);
            assert_eq!(deeds[101..], vec!["rename blob"; 100]);
        }
    }

    #[test]
    fn a_batch_that_cannot_be_brought_to_the_disk_gives_nothing_a_name() {
        let (_directory, store) = store();
        let batch = store.batch();
        for number in 0..100_u32 {
            batch.put_bytes(&number.to_le_bytes()).unwrap();
        }
        let full = |deed: &str| deed.starts_with("syncfs").then_some(Errno::NOSPC);
        let error = refusing(full, || batch.finish()).unwrap_err();
        assert_eq!(error.id(), Id::StoreWrite);
        assert_eq!((in_blobs(&store), in_tmp(&store)), (0, 0));
    }

    #[test]
    fn a_batch_that_is_dropped_leaves_nothing() {
        let (_directory, store) = store();
        let batch = store.batch();
        let blob = batch.put_bytes(b"abc").unwrap();
        let mut writer = batch.writer().unwrap();
        writer.write_all(b"half").unwrap();
        assert!(batch.has(&blob) && !store.has(&blob), "it has no name yet");
        drop(writer);
        drop(batch);
        assert_eq!((in_blobs(&store), in_tmp(&store)), (0, 0));
    }

    #[test]
    fn a_batch_keeps_no_file_open_and_writes_none_twice() {
        let (_directory, store) = store();
        let batch = store.batch();
        let mut first = batch.writer().unwrap();
        let mut second = batch.writer().unwrap();
        first.write_all(b"abc").unwrap();
        second.write_all(b"abc").unwrap();
        let blob = first.finish().unwrap();
        assert_eq!(second.finish().unwrap(), blob);
        assert_eq!(batch.put(&mut &b"abc"[..]).unwrap(), blob);
        for number in 0..100_u32 {
            batch.put_bytes(&number.to_le_bytes()).unwrap();
        }
        let directory = batch.place.borrow().as_ref().unwrap().directory.path().to_owned();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 101);
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        assert_eq!(open.filter(|path| path.starts_with(&directory)).count(), 1, "its lock");
        batch.finish().unwrap();
        assert_eq!(store.read_blob(&blob).unwrap(), b"abc");
        assert_eq!(fs::metadata(store.blob_path(&blob.sha256)).unwrap().mode() & 0o777, 0o444);
    }

    #[test]
    fn opening_sweeps_the_batch_of_a_dead_writer_and_not_that_of_a_living_one() {
        let (_directory, store) = store();
        let batch = store.batch();
        let blob = batch.put_bytes(b"abc").unwrap();
        let dead = store.root().join("tmp/batch-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("blob-dead"), b"half").unwrap();
        Store::open(store.root()).unwrap();
        assert_eq!(in_tmp(&store), 1);
        batch.finish().unwrap();
        assert!(store.has(&blob));
        assert_eq!(in_tmp(&store), 0);
    }
}
