//! The root image: EROFS and its hash tree in one file, written once, in order.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use formats::digest::{Hasher, Sha256};
use formats::erofs;
use formats::segment::Segment;
use formats::verity::TreeHasher;

use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Task;
use crate::store::Store;

/// All times in all images: the epoch itself. What is in an image has no age of its own.
pub const EPOCH: u64 = 0;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// A root image that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// dm-verity's root hash.
    pub hash: Sha256,
    /// Bytes of EROFS.
    pub data_size: u64,
    /// Bytes of EROFS and hash tree.
    pub size: u64,
    /// Of the whole file.
    pub sha256: Sha256,
}

/// Writes `plan` and the hash tree over it to `path`.
///
/// # Errors
/// [`Id::Write`], and those of the store.
pub fn write(
    plan: &erofs::Plan,
    salt: [u8; 16],
    store: &Store,
    path: &Path,
    task: &Task,
) -> Result<RootImage> {
    let cannot = || format!("cannot write `{}`", path.display());
    let file = File::create(path).or_fail(Id::Write, cannot)?;
    let mut sink = Hashed {
        file: BufWriter::with_capacity(CHUNK, file),
        hasher: TreeHasher::new(&salt),
        whole: Hasher::new(),
        size: 0,
    };
    let shown = |bytes: &[u8]| {
        task.advance(bytes.len() as u64);
        sink.write(bytes)
    };
    segments(plan.segments(), store, shown).map_err(|error| match error {
        SinkError::Sink(error) => Error::new(Id::Write, cannot()).caused_by(error),
        SinkError::Store(error) => error,
    })?;
    let Hashed { mut file, hasher, mut whole, size: data_size } = sink;
    let verity = hasher.finish().map_err(|error| Error::new(Id::Bug, error.to_string()))?;
    let finish = |file: &mut BufWriter<File>| {
        file.write_all(&verity.tree)?;
        file.flush()
    };
    finish(&mut file).or_fail(Id::Write, cannot)?;
    let size = data_size + verity.tree.len() as u64;
    whole.update(&verity.tree);
    Ok(RootImage { hash: verity.root_hash, data_size, size, sha256: whole.finish() })
}

/// Why a stream of segments broke off.
#[derive(Debug)]
pub enum SinkError {
    /// The sink failed.
    Sink(std::io::Error),
    /// A blob could not be read.
    Store(Error),
}

/// Streams segments, blobs from the store included, into `sink`.
///
/// # Errors
/// See [`SinkError`].
pub fn segments(
    segments: impl Iterator<Item = Segment>,
    store: &Store,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), SinkError> {
    let zeros = [0; 4096];
    let mut buffer = vec![0; CHUNK];
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => {
                sink(&bytes).map_err(SinkError::Sink)?;
            }
            Segment::Blob { blob, padding } => {
                let mut file = store.open_blob(&blob).map_err(SinkError::Store)?;
                let mut left = blob.size;
                while left > 0 {
                    let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let read = file.read(&mut buffer[..wanted]);
                    let read =
                        read.or_fail(Id::Read, || format!("cannot read blob `{}`", blob.sha256));
                    let read = read.map_err(SinkError::Store)?;
                    if read == 0 {
                        let message = format!("blob `{}` is shorter than it was", blob.sha256);
                        return Err(SinkError::Store(Error::new(Id::WrongDigest, message)));
                    }
                    sink(&buffer[..read]).map_err(SinkError::Sink)?;
                    left -= read as u64;
                }
                let mut padding = padding;
                while padding > 0 {
                    let piece = zeros.len().min(usize::try_from(padding).unwrap_or(usize::MAX));
                    sink(&zeros[..piece]).map_err(SinkError::Sink)?;
                    padding -= piece as u64;
                }
            }
        }
    }
    Ok(())
}

struct Hashed {
    file: BufWriter<File>,
    hasher: TreeHasher,
    whole: Hasher,
    size: u64,
}

impl Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.whole.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
