//! Writing objects: only those that are not there, many at once, each on the disk before it has its
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use formats::ostree::{ArchiveHeader, FileHeader, Name, Object};
use formats::tree::{Kind, Node};
use tempfile::{NamedTempFile, TempPath};

use super::Repository;
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::store::{Store, StreamError};
use crate::unfinished;

/// How many objects wait for their names: what an interrupted commit has written in vain.
const WAITING: usize = 1024;

/// A node gets 2 % larger than by the level that `ostree` has, 6, in three quarters of the time.
const LEVEL: u32 = 4;

/// How much is gathered before it is written.
const CHUNK: usize = 64 * 1024;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Objects.
    pub(super) objects: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
}

impl Repository {
    /// Writes those objects that are not there, by up to `jobs` threads. Their names are on the disk
    /// when this returns.
    pub(super) fn put_all(
        &self,
        objects: &BTreeMap<Name, Object<'_>>,
        store: &Store,
        jobs: usize,
        advance: &(impl Fn(u64) + Sync),
    ) -> Result<Written> {
        let missing: Vec<_> = objects.iter().filter(|(name, _)| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(Written::default());
        }
        let cannot = || self.cannot_write();
        let place = self.begin().or_fail(Id::RepositoryWrite, cannot)?;
        let lock = File::open(place.path()).or_fail(Id::RepositoryWrite, cannot)?;
        let mut directories = BTreeSet::new();
        let mut written = Written::default();
        for waiting in missing.chunks(WAITING) {
            let files = self.write(waiting, &place, store, jobs, advance)?;
            let name = || {
                for (_, to) in &files {
                    directories.insert(make_room(to)?);
                }
                for (file, _) in &files {
                    written.bytes += fs::metadata(file)?.len();
                    written.objects += 1;
                }
                durable::persist_all(files, &lock, place.path())
            };
            name().or_fail(Id::RepositoryWrite, cannot)?;
        }
        directories.insert(self.root.join("objects"));
        let directories: Vec<_> = directories.into_iter().collect();
        durable::settle_names(&directories, &lock, place.path())
            .or_fail(Id::RepositoryWrite, cannot)?;
        Ok(written)
    }

    /// Writes one small object, after all that it names. It is on the disk when this returns.
    pub(super) fn put_last(&self, name: &Name, bytes: &[u8]) -> Result<()> {
        let put = || {
            let place = self.begin()?;
            let mut file = temporary(&place)?;
            file.write_all(bytes)?;
            let path = self.object_path(name);
            make_room(&path)?;
            durable::settle_names(
                &[self.root.join("objects")],
                &File::open(place.path())?,
                place.path(),
            )?;
            durable::persist(file, &path, durable::Name::Now)
        };
        put().or_fail(Id::RepositoryWrite, || self.cannot_write())
    }

    /// A directory for what has no name yet. What dead processes left goes.
    fn begin(&self) -> io::Result<unfinished::Directory> {
        let tmp = self.root.join("tmp");
        match fs::create_dir(&tmp) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        unfinished::directory(&tmp, unfinished::Kind::Objects, 0o755)
    }

    fn write(
        &self,
        objects: &[(&Name, &Object<'_>)],
        place: &unfinished::Directory,
        store: &Store,
        jobs: usize,
        advance: &(impl Fn(u64) + Sync),
    ) -> Result<Vec<(TempPath, PathBuf)>> {
        let next = AtomicUsize::new(0);
        let made = Mutex::new(Vec::new());
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, objects.len()) {
                scope.spawn(|| {
                    while let Some((name, object)) =
                        objects.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match self.write_one(object, place, store, advance) {
                            Ok(file) => {
                                let file = (file.into_temp_path(), self.object_path(name));
                                made.lock().unwrap_or_else(|e| e.into_inner()).push(file);
                            }
                            Err(error) => {
                                next.store(objects.len(), Ordering::Relaxed);
                                *failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(made.into_inner().unwrap_or_else(|e| e.into_inner())),
        }
    }

    fn write_one(
        &self,
        object: &Object<'_>,
        place: &unfinished::Directory,
        store: &Store,
        advance: &impl Fn(u64),
    ) -> Result<NamedTempFile> {
        let cannot = || self.cannot_write();
        let mut file = temporary(place).or_fail(Id::RepositoryWrite, cannot)?;
        match object {
            Object::Bytes(bytes) => file.write_all(bytes).or_fail(Id::RepositoryWrite, cannot)?,
            Object::Node(node) => match deflate(node, store, &mut file, advance) {
                Err(StreamError::Store(error)) => return Err(error),
                Err(StreamError::Sink(error)) => {
                    return Err(Error::new(Id::RepositoryWrite, cannot()).caused_by(error));
                }
                Ok(()) => {}
            },
        }
        Ok(file)
    }
}

/// Makes the directory of an object, and says which it is.
fn make_room(path: &Path) -> io::Result<PathBuf> {
    let directory = durable::parent(path);
    match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    Ok(directory.to_owned())
}

fn temporary(place: &unfinished::Directory) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o644)).tempfile_in(place.path())
}

/// A file or link as an archive has it.
fn deflate(
    node: &Node,
    store: &Store,
    file: &mut impl Write,
    advance: &impl Fn(u64),
) -> Result<(), StreamError> {
    let Some(header) = FileHeader::of(node) else { return Ok(()) };
    let size = if let Kind::File(blob) = &node.kind { blob.size } else { 0 };
    let mut file =
        BufWriter::with_capacity(CHUNK.min(usize::try_from(size).unwrap_or(CHUNK) + 512), file);
    file.write_all(&ArchiveHeader { header, size }.encode()).map_err(StreamError::Sink)?;
    if let Kind::File(blob) = &node.kind {
        let mut encoder = DeflateEncoder::new(&mut file, Compression::new(LEVEL));
        store.stream(blob, |bytes| {
            advance(bytes.len() as u64);
            encoder.write_all(bytes)
        })?;
        encoder.finish().map_err(StreamError::Sink)?;
    }
    file.flush().map_err(StreamError::Sink)
}
