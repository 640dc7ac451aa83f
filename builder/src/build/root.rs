//! The root image: EROFS and its hash tree in one file, each byte written once. What is held does
//! not grow with the image.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use formats::digest::{Hasher, Sha256};
use formats::erofs;
use formats::segment::Segment;
use formats::verity::{BLOCK, HashBlock, TreeHasher, tree_size};

use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Task;
use crate::store::Store;

pub use crate::store::StreamError as SinkError;

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
    let mut options = File::options();
    let file = options.create(true).truncate(true).read(true).write(true).open(path);
    let file = file.or_fail(Id::Write, cannot)?;
    let data_size = plan.image_size();
    let mut sink = Hashed {
        tree: Place { file: &file, start: data_size },
        data: BufWriter::with_capacity(CHUNK, &file),
        hasher: TreeHasher::new(&salt, data_size / BLOCK),
        whole: Hasher::new(),
    };
    let shown = |bytes: &[u8]| {
        task.advance(bytes.len() as u64);
        sink.write(bytes)
    };
    segments(plan.segments(), store, shown).map_err(|error| match error {
        SinkError::Sink(error) => Error::new(Id::Write, cannot()).caused_by(error),
        SinkError::Store(error) => error,
    })?;
    let Hashed { tree, mut data, hasher, mut whole } = sink;
    let (hash, rest) = hasher.finish().map_err(|error| Error::new(Id::Bug, error.to_string()))?;
    data.flush().and_then(|()| tree.write(&rest)).or_fail(Id::Write, cannot)?;
    drop(data);
    let tree_size = tree_size(data_size / BLOCK);
    tree.read(tree_size, |piece| whole.update(piece)).or_fail(Id::Read, cannot)?;
    let size = data_size + tree_size;
    Ok(RootImage { hash, data_size, size, sha256: whole.finish() })
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
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => sink(&bytes).map_err(SinkError::Sink)?,
            Segment::Blob { blob, mut padding } => {
                store.stream(&blob, &mut sink)?;
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

/// Where the hash tree goes while the data in front of it is still being written.
struct Place<'a> {
    file: &'a File,
    start: u64,
}

impl Place<'_> {
    fn write(&self, blocks: &[HashBlock]) -> std::io::Result<()> {
        let put =
            |block: &HashBlock| self.file.write_all_at(&block.bytes, self.start + block.offset);
        blocks.iter().try_for_each(put)
    }

    /// Gives back what was written, in order: so small that nobody has to keep it until then.
    fn read(&self, size: u64, mut shown: impl FnMut(&[u8])) -> std::io::Result<()> {
        let mut block = [0; 4096];
        for offset in (0..size).step_by(block.len()) {
            self.file.read_exact_at(&mut block, self.start + offset)?;
            shown(&block);
        }
        Ok(())
    }
}

struct Hashed<'a> {
    data: BufWriter<&'a File>,
    tree: Place<'a>,
    hasher: TreeHasher,
    whole: Hasher,
}

impl Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.whole.update(bytes);
        self.tree.write(&self.hasher.take_complete())?;
        self.data.write_all(bytes)
    }
}
