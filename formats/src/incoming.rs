//! A root image, or a UKI, that arrives, whichever way: its blocks go to its place strictly forward,
//! each once, and its hash tree behind them. It is the image that was wanted if the root hash of what
//! was written says so, and it is refused otherwise.

use std::fmt;
use std::io;

use crate::digest::Sha256;
use crate::verity::{BLOCK, HashBlock, TreeHasher};

/// Bytes of the salt of a hash tree: the UUID of the volume.
pub const SALT: usize = 16;

/// No image is larger than this: 64 GiB. Slots are a few GiB.
pub const LARGEST: u64 = 64 << 30;

/// An image as a release names it: the root image, or the padded UKI, which travels in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// dm-verity's root hash.
    pub hash: Sha256,
    /// What every block is hashed after.
    pub salt: [u8; SALT],
    /// Bytes of its data, without the tree: whole blocks.
    pub size: u64,
}

impl Root {
    /// Whether an image can have this size.
    pub fn has_a_size(&self) -> bool {
        (BLOCK..=LARGEST).contains(&self.size) && self.size.is_multiple_of(BLOCK)
    }

    /// How many blocks of data it has.
    pub fn blocks(&self) -> u64 {
        self.size / BLOCK
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.hash, self.size)
    }
}

/// An image that is there and can be read anywhere.
pub trait Image {
    /// Fills `buffer` with what stands at `offset`.
    ///
    /// # Errors
    /// The image cannot be read there.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Image for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let piece = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Where an image goes.
pub trait Slot {
    /// Takes the next bytes of the data.
    ///
    /// # Errors
    /// They cannot be written.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes a block of the hash tree, for its own place.
    ///
    /// # Errors
    /// It cannot be written.
    fn tree(&mut self, block: &HashBlock) -> io::Result<()>;
}

/// What arrived is not what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The slot takes no more.
    #[error("cannot write at byte {at} of the image")]
    Write {
        /// How much was written.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// More came than the image has.
    #[error("more came than the {0} bytes of the image")]
    TooLong(u64),
    /// Less came than the image has.
    #[error("{seen} of the {size} bytes of the image came")]
    TooShort {
        /// Bytes that came.
        seen: u64,
        /// Bytes of the image.
        size: u64,
    },
    /// It is another image.
    #[error("what was written has the root hash {seen}, not {wanted}")]
    RootHash {
        /// What was written.
        seen: Sha256,
        /// What the release names.
        wanted: Sha256,
    },
}

/// An image that has come so far.
#[derive(Debug)]
pub struct Incoming<'a, S> {
    slot: S,
    root: &'a Root,
    hasher: TreeHasher,
    // Invariant: at most the image's size.
    written: u64,
}

impl<'a, S: Slot> Incoming<'a, S> {
    /// Nothing has come yet of `root`, which goes to `slot`.
    pub fn new(root: &'a Root, slot: S) -> Self {
        let hasher = TreeHasher::new(&root.salt, root.blocks());
        Self { slot, root, hasher, written: 0 }
    }

    /// How many bytes have come.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many bytes are still to come.
    pub fn missing(&self) -> u64 {
        self.root.size - self.written
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`IncomingError::TooLong`] before anything is written of them; [`IncomingError::Write`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), IncomingError> {
        if bytes.len() as u64 > self.missing() {
            return Err(IncomingError::TooLong(self.root.size));
        }
        let failed = |at| move |source| IncomingError::Write { at, source };
        self.slot.data(bytes).map_err(failed(self.written))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        for block in self.hasher.take_complete() {
            self.slot.tree(&block).map_err(failed(self.written))?;
        }
        Ok(())
    }

    /// All has come: the slot, which now holds the image that was wanted.
    ///
    /// # Errors
    /// [`IncomingError::TooShort`], [`IncomingError::RootHash`], [`IncomingError::Write`].
    pub fn finish(self) -> Result<S, IncomingError> {
        let Self { mut slot, root, hasher, written } = self;
        let too_short = IncomingError::TooShort { seen: written, size: root.size };
        // The only way for a tree to be none is data that is not all there.
        let Ok((seen, blocks)) = hasher.finish() else { return Err(too_short) };
        for block in &blocks {
            slot.tree(block).map_err(|source| IncomingError::Write { at: written, source })?;
        }
        if seen != root.hash {
            return Err(IncomingError::RootHash { seen, wanted: root.hash });
        }
        Ok(slot)
    }
}

/// A slot in memory: for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::verity::Verity;

    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Memory {
        pub(crate) data: Vec<u8>,
        pub(crate) tree: Vec<HashBlock>,
    }

    impl Slot for Memory {
        fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.data.extend(bytes);
            Ok(())
        }

        fn tree(&mut self, block: &HashBlock) -> io::Result<()> {
            self.tree.push(block.clone());
            Ok(())
        }
    }

    /// What a release says of this image.
    pub(crate) fn root(salt: u8, data: &[u8]) -> Root {
        let salt = [salt; SALT];
        let hash = Verity::of(&salt, data).unwrap().root_hash;
        Root { hash, salt, size: data.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Memory, root};
    use super::*;
    use crate::verity::Verity;

    #[test]
    fn an_image_in_any_pieces_is_itself_and_has_its_tree() {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(300 * 4096).collect();
        let root = root(7, &data);
        let mut incoming = Incoming::new(&root, Memory::default());
        for piece in data.chunks(10_000) {
            incoming.data(piece).unwrap();
        }
        assert_eq!((incoming.written(), incoming.missing()), (root.size, 0));
        let mut slot = incoming.finish().unwrap();
        slot.tree.sort_by_key(|block| block.offset);
        let tree: Vec<u8> = slot.tree.into_iter().flat_map(|block| block.bytes).collect();
        assert_eq!((slot.data, tree), (data.clone(), Verity::of(&[7; 16], &data).unwrap().tree));
    }

    #[test]
    fn what_is_not_the_image_is_refused() {
        let data = vec![1; 2 * 4096];
        let root = root(0, &data);
        let came = |pieces: &[&[u8]]| {
            let mut incoming = Incoming::new(&root, Memory::default());
            for piece in pieces {
                incoming.data(piece)?;
            }
            incoming.finish().map(|_| ())
        };
        let refused = |pieces: &[&[u8]]| came(pieces).unwrap_err().to_string();
        came(&[&data]).unwrap();
        assert_eq!(refused(&[&data, &[1]]), "more came than the 8192 bytes of the image");
        assert_eq!(refused(&[&data[1..]]), "8191 of the 8192 bytes of the image came");
        assert_eq!(refused(&[]), "0 of the 8192 bytes of the image came");
        let mut other = data.clone();
        other[5000] = 2;
        let seen = Verity::of(&[0; 16], &other).unwrap().root_hash;
        let text = format!("what was written has the root hash {seen}, not {}", root.hash);
        assert_eq!(refused(&[&other]), text);
    }

    #[test]
    fn an_image_is_whole_blocks_and_not_larger_than_any_slot() {
        let hash = Sha256::of("x");
        let sized = |size| Root { hash, salt: [0; 16], size }.has_a_size();
        for (size, has) in [(0, false), (1, false), (4096, true), (4097, false), (LARGEST, true)] {
            assert_eq!(sized(size), has, "{size}");
        }
        assert!(!sized(LARGEST + BLOCK) && !sized(u64::MAX - 4095));
    }
}
