//! The spare slot: taken, filled by whoever fetches, read back and staged.

use std::io::{self, Read};

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::incoming::Root;
use formats::meta;
use formats::verity::{HashBlock, TreeHasher};

use super::uki::{self, Wrong};
use super::{Disks, Machine, Place, StepError};
use crate::device::Device;
use crate::firmware::Firmware;
use crate::plan::{Asked, Offer, Taken};

/// Bytes that are read at once: whole blocks.
const PIECE: usize = 1 << 20;

/// The slot that does not run, for a release that was checked. Nothing in it can be booted: it is the
/// only one that may be written. If it is dropped it stays so, and taking it again goes on.
#[derive(Debug)]
pub struct Spare<'m, D, F> {
    machine: &'m mut Machine<D, F>,
    slot: Slot,
    offer: Box<Offer>,
}

/// The release lies in the spare slot, was read back from the medium and found to be what was signed.
#[derive(Debug)]
pub struct Staged<'m, D, F> {
    pub(super) machine: &'m mut Machine<D, F>,
}

/// What becomes of an offer.
#[derive(Debug)]
pub enum Take<'m, D, F> {
    /// It must be brought into the spare slot.
    Spare(Spare<'m, D, F>),
    /// It is there already.
    Staged(Staged<'m, D, F>),
}

/// What was brought into the spare slot is not what was signed, or did not get there.
#[derive(Debug, thiserror::Error)]
pub enum SpareError {
    /// The slot's partition fails.
    #[error("cannot {what} root slot {slot}")]
    Root {
        /// Flush or read.
        what: &'static str,
        /// Which slot.
        slot: Slot,
        /// Why.
        source: io::Error,
    },
    /// The image is another one.
    #[error("root slot {slot} holds an image with root hash {seen}, and the release has {wanted}")]
    RootHash {
        /// Which slot.
        slot: Slot,
        /// What is there.
        seen: Sha256,
        /// What was signed.
        wanted: Sha256,
    },
    /// The hash tree behind the image is not its own.
    #[error("the hash tree in root slot {0} is not that of the image before it")]
    Tree(Slot),
    /// The UKI cannot be read where it comes from.
    #[error("cannot read the UKI of the release")]
    UkiSource(#[source] io::Error),
    /// The UKI is another one.
    #[error("the UKI is not the one of the release: its digest is wrong")]
    UkiDigest,
    /// The ESP fails.
    #[error("cannot write or read the UKI of slot {0}")]
    Uki(Slot, #[source] io::Error),
    /// What was written is not what is there.
    #[error("the UKI of slot {0} is not on the disk as it was written")]
    UkiLost(Slot),
    /// A step of the machine.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl<D: Disks, F: Firmware> Machine<D, F> {
    /// Takes the spare slot for a release whose metadata was verified (steps 0 and 1): from now on the
    /// loader does not list its UKI.
    ///
    /// # Errors
    /// [`StepError::Refused`], and what fails.
    pub fn take(&mut self, offer: Offer, asked: Asked) -> Result<Take<'_, D, F>, StepError> {
        let (size, uki_size) = (self.disks.spare_root().size(), self.esp.uki_size());
        let plan = self.state(&Slot::BOTH)?.take(&offer, asked, size, uki_size)?;
        Ok(match self.perform(plan)? {
            Taken::Spare(slot) => {
                Take::Spare(Spare { machine: self, slot, offer: Box::new(offer) })
            }
            Taken::Staged(_) => Take::Staged(Staged { machine: self }),
        })
    }

    /// What was staged before, also before this boot.
    ///
    /// # Errors
    /// What fails.
    pub fn staged(&mut self) -> Result<Option<Staged<'_, D, F>>, StepError> {
        let staged = self.state(&[])?.meta.staged.is_some();
        Ok(staged.then_some(Staged { machine: self }))
    }
}

impl<'m, D: Disks, F: Firmware> Spare<'m, D, F> {
    /// Which slot it is.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// What it is taken for.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Its partition, for the image and the hash tree behind it (step 2). May be written in any order,
    /// and again.
    pub fn root(&mut self) -> &mut D::Root {
        self.machine.disks.spare_root()
    }

    /// Whether the medium holds the image already, with its hash tree (step 3). Flushes first.
    ///
    /// # Errors
    /// See [`SpareError`].
    pub fn verify_root(&mut self) -> Result<(), SpareError> {
        let slot = self.slot;
        let fails = |what| move |source| SpareError::Root { what, slot, source };
        self.root().flush().map_err(fails("flush"))?;
        let device = self.machine.disks.uncached(Place::Root(slot)).map_err(fails("open"))?;
        verify_root(&device, slot, &self.offer.root)
    }

    /// The root was filled: reads it back, brings the UKI of the release to the disk in place, and
    /// remembers it (steps 3 and 4).
    ///
    /// # Errors
    /// See [`SpareError`]. Nothing in the slot can be booted then.
    pub fn stage(mut self, source: &mut dyn Read) -> Result<Staged<'m, D, F>, SpareError> {
        self.verify_root()?;
        let Self { machine, slot, offer } = self;
        let extent = machine.esp.uki(slot);
        let wrong = |wrong| match wrong {
            Wrong::Source(error) => SpareError::UkiSource(error),
            Wrong::Digest => SpareError::UkiDigest,
            Wrong::Device(error) => SpareError::Uki(slot, error),
            Wrong::Lost => SpareError::UkiLost(slot),
        };
        let fails = |error| SpareError::Uki(slot, error);
        let disks = &mut machine.disks;
        let head = uki::write_body(disks.esp(), extent, source, offer.uki).map_err(wrong)?;
        let device = disks.uncached(Place::Esp).map_err(fails)?;
        uki::verify(&device, extent, Some(&head), offer.uki).map_err(wrong)?;
        drop(device);
        uki::list(disks.esp(), extent, &head).map_err(fails)?;
        let device = disks.uncached(Place::Esp).map_err(fails)?;
        uki::verify(&device, extent, None, offer.uki).map_err(wrong)?;
        drop(device);
        let plan = machine.state(&[])?.filled(offer.release());
        machine.perform(plan)?;
        Ok(Staged { machine })
    }
}

impl<D: Disks, F: Firmware> Staged<'_, D, F> {
    /// What is staged.
    ///
    /// # Errors
    /// META cannot be read.
    pub fn release(&mut self) -> Result<Option<meta::Release>, StepError> {
        let staged = self.machine.record()?.staged.as_ref();
        Ok(staged.map(|staged| staged.release.clone()))
    }
}

/// Reads an image and its hash tree, and holds both against the root hash.
fn verify_root(device: &impl Device, slot: Slot, root: &Root) -> Result<(), SpareError> {
    let fails = |source| SpareError::Root { what: "read", slot, source };
    let mut hasher = TreeHasher::new(&root.salt, root.blocks());
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    let mut whole = true;
    let mut compare = |blocks: Vec<HashBlock>| -> Result<(), SpareError> {
        for HashBlock { offset, bytes } in blocks {
            let mut there = vec![0; bytes.len()];
            device.read_at(root.size + offset, &mut there).map_err(fails)?;
            whole &= there == bytes;
        }
        Ok(())
    };
    while at < root.size {
        let size = usize::try_from(root.size - at).unwrap_or(PIECE).min(PIECE);
        let piece = &mut piece[..size];
        device.read_at(at, piece).map_err(fails)?;
        hasher.update(piece);
        compare(hasher.take_complete())?;
        at += size as u64;
    }
    let length = |_| SpareError::Tree(slot);
    let (seen, rest) = hasher.finish().map_err(length)?;
    compare(rest)?;
    let wanted = root.hash;
    if seen != wanted {
        return Err(SpareError::RootHash { slot, seen, wanted });
    }
    if whole { Ok(()) } else { Err(SpareError::Tree(slot)) }
}
