//! The root image that a `root.zst` holds: unpacked frame by frame, and held against the root hash that
//! was signed, as on a node. Never more than a frame of it is in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use formats::incoming::{Incoming, IncomingError, Root, Slot};
use formats::seekable::{FOOTER, FrameError, SeekTable, TableError, unpack};
use formats::verity::HashBlock;

/// A file is not the image that was wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// The file ends before its table.
    #[error("it is too short")]
    TooShort,
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// Its table makes no sense, or is of another image.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A frame of it is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is another image.
    #[error(transparent)]
    Image(#[from] IncomingError),
}

/// Nothing is kept of an image that is only looked at.
#[derive(Debug)]
pub(super) struct Nowhere;

impl Slot for Nowhere {
    fn data(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn tree(&mut self, _: &HashBlock) -> io::Result<()> {
        Ok(())
    }
}

/// The data of an image in memory, without its tree: what deltas are made of.
#[derive(Debug, Default)]
pub(super) struct InMemory(pub(super) Vec<u8>);

impl Slot for InMemory {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn tree(&mut self, _: &HashBlock) -> io::Result<()> {
        Ok(())
    }
}

/// That data are the image that a release names.
pub(super) fn is_image(data: &[u8], root: &Root) -> Result<(), IncomingError> {
    let mut incoming = Incoming::new(root, Nowhere);
    incoming.data(data)?;
    incoming.finish().map(drop)
}

/// Unpacks a file of `length` bytes into a slot, which then has the image that was wanted.
pub(super) fn unpack_into<S: Slot>(
    file: &File,
    length: u64,
    root: &Root,
    slot: S,
) -> Result<S, ImageError> {
    let end = |size: usize| {
        let at = length.checked_sub(size as u64).ok_or(ImageError::TooShort)?;
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at)?;
        Ok::<_, ImageError>(bytes)
    };
    let table = end(SeekTable::length(&end(FOOTER)?)?)?;
    let table = SeekTable::parse(&table, length, root.size)?;
    let mut incoming = Incoming::new(root, slot);
    let mut packed = Vec::new();
    for frame in 0..table.frames() {
        let (place, size) = (table.in_file(frame..frame + 1), table.in_image(frame));
        // Both are those of a frame: the table was checked.
        let length = |range: std::ops::Range<u64>| u32::try_from(range.end - range.start);
        let [length, size] = [length(place.clone()), length(size)].map(|n| n.unwrap_or(u32::MAX));
        packed.resize(length as usize, 0);
        file.read_exact_at(&mut packed, place.start)?;
        incoming.data(&unpack(&packed, size)?)?;
    }
    Ok(incoming.finish()?)
}
