//! What a node has of the image that is wanted: the digests of the blocks of its two slots, each hashed
//! after the salt of the new image.

use std::io;

use formats::digest::Sha256;
use formats::verity::{BLOCK, TreeHasher, leaves, tree_size};

use super::progress::{Meter, Phase};
use super::slot::write_changed;
use super::{Running, TransportError, Wanted};
use crate::cancel::Cancelled;
use crate::device::Device;

/// Of a larger image (1 GiB) nobody looks at the blocks: their digests would take more memory than there
/// is.
pub(super) const MOST_BLOCKS: u64 = 1 << 18;

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// What was found so far.
#[derive(Debug)]
pub(super) struct Look<'a> {
    wanted: &'a Wanted,
    running: Option<Running<'a>>,
    of_spare: Option<Vec<Sha256>>,
    of_running: Option<Vec<Sha256>>,
    /// Of the image that is wanted, once its tree has come.
    pub(super) leaves: Option<Vec<Sha256>>,
}

/// Why a device was not read to its end.
enum Stopped {
    Io(io::Error),
    Cancelled(Cancelled),
}

impl<'a> Look<'a> {
    pub(super) fn new(wanted: &'a Wanted, running: Option<Running<'a>>) -> Self {
        Self { wanted, running, of_spare: None, of_running: None, leaves: None }
    }

    /// Whether the slot holds the image already. Where it does, its hash tree does too when this returns.
    pub(super) fn spare<D: Device + ?Sized>(
        &mut self,
        spare: &mut D,
        meter: &Meter<'_>,
    ) -> Result<bool, TransportError> {
        let root = &self.wanted.root;
        if root.blocks() > MOST_BLOCKS {
            return Ok(false);
        }
        let (hash, tree) = match tree(spare, root.size, &root.salt, (meter, Phase::LookAtSpare)) {
            Ok(tree) => tree,
            Err(Stopped::Cancelled(cancelled)) => return Err(cancelled.into()),
            // Nothing of it can be used, but writing may mend it.
            Err(Stopped::Io(_)) => {
                self.of_spare = Some(Vec::new());
                return Ok(false);
            }
        };
        if hash == root.hash {
            let failed = |why| TransportError::Spare { at: root.size, why };
            write_changed(spare, meter, root.size, &tree).map_err(failed)?;
            return Ok(true);
        }
        self.of_spare = Some(leaves(&root.salt, &hash, root.blocks(), &tree)?);
        Ok(false)
    }

    /// The slot has been written since.
    pub(super) fn forget_spare(&mut self) {
        self.of_spare = None;
    }

    /// Digests of the slot's blocks.
    pub(super) fn blocks_of_spare<D: Device + ?Sized>(
        &mut self,
        spare: &mut D,
        meter: &Meter<'_>,
    ) -> Result<&[Sha256], TransportError> {
        if self.of_spare.is_none() {
            self.spare(spare, meter)?;
        }
        Ok(self.of_spare.as_deref().unwrap_or_default())
    }

    /// Digests of the blocks of the image that runs.
    pub(super) fn blocks_of_running(
        &mut self,
        meter: &Meter<'_>,
    ) -> Result<&[Sha256], TransportError> {
        if self.of_running.is_none()
            && let Some(Running { device, size, .. }) = self.running
        {
            let size = size.min(device.size()).min(MOST_BLOCKS * BLOCK) / BLOCK * BLOCK;
            let salt = &self.wanted.root.salt;
            let (hash, tree) = match tree(device, size, salt, (meter, Phase::LookAtRunning)) {
                Ok(tree) => tree,
                Err(Stopped::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(Stopped::Io(error)) => return Err(TransportError::Running(error)),
            };
            self.of_running = Some(leaves(salt, &hash, size / BLOCK, &tree)?);
        }
        Ok(self.of_running.as_deref().unwrap_or_default())
    }

    /// Both, and the leaves.
    pub(super) fn all(&self) -> (&[Sha256], &[Sha256], &[Sha256]) {
        let [running, spare, leaves] =
            [&self.of_running, &self.of_spare, &self.leaves].map(|it| it.as_deref().unwrap_or(&[]));
        (running, spare, leaves)
    }
}

/// The hash tree over the first bytes of a device.
fn tree<D: Device + ?Sized>(
    device: &D,
    size: u64,
    salt: &[u8],
    (meter, phase): (&Meter<'_>, Phase),
) -> Result<(Sha256, Vec<u8>), Stopped> {
    let blocks = size / BLOCK;
    let too_large = |_| Stopped::Io(io::ErrorKind::FileTooLarge.into());
    let mut tree = vec![0; usize::try_from(tree_size(blocks)).map_err(too_large)?];
    let mut put = |blocks: Vec<formats::verity::HashBlock>| {
        for block in blocks {
            let at = usize::try_from(block.offset).unwrap_or(usize::MAX);
            if let Some(place) = tree.get_mut(at..at.saturating_add(block.bytes.len())) {
                place.copy_from_slice(&block.bytes);
            }
        }
    };
    let mut hasher = TreeHasher::new(salt, blocks);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(PIECE, |left| left.min(PIECE));
        device.read_at(at, &mut piece[..length]).map_err(Stopped::Io)?;
        hasher.update(&piece[..length]);
        put(hasher.take_complete());
        at += length as u64;
        meter.tell(phase, at, size).map_err(Stopped::Cancelled)?;
    }
    let ended = |_| Stopped::Io(io::ErrorKind::InvalidData.into());
    let (root, rest) = hasher.finish().map_err(ended)?;
    put(rest);
    Ok((root, tree))
}
