//! A device as what arrives is written to, and as what is read from. Only blocks that differ are written.

use std::io;

use formats::incoming::{Image, Slot};
use formats::verity::{BLOCK, HashBlock};

use super::progress::{Meter, Phase};
use crate::device::Device;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES as u64 == BLOCK);

/// A slot that is filled from its beginning. What stands there already is left as it is.
pub(super) struct Writer<'a, 'm, D: ?Sized> {
    device: &'a mut D,
    meter: &'a Meter<'m>,
    /// Bytes of the image's data: its tree begins there.
    data: u64,
    /// Where `pending` begins. Invariant: whole blocks.
    at: u64,
    /// Less than a block, until the rest of it comes.
    pending: Vec<u8>,
    /// Whether what comes was read of this slot.
    keeps: bool,
}

impl<'a, 'm, D: Device + ?Sized> Writer<'a, 'm, D> {
    pub(super) fn new(device: &'a mut D, meter: &'a Meter<'m>, data: u64) -> Self {
        Self { device, meter, data, at: 0, pending: Vec::new(), keeps: false }
    }

    /// Reads of the slot itself what is still to be written.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, buffer)
    }

    /// Says whether what comes next was read of this slot, at its place: then it stands there.
    pub(super) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    fn blocks(&mut self, blocks: &[u8]) -> io::Result<()> {
        if !self.keeps {
            write_changed(self.device, self.meter, self.at, blocks)?;
        }
        self.at += blocks.len() as u64;
        self.meter.report(Phase::Fill, self.at, self.data)?;
        Ok(())
    }
}

/// Writes those of some blocks that differ from what stands at `offset`, in runs.
pub(super) fn write_changed<D: Device + ?Sized>(
    device: &mut D,
    meter: &Meter<'_>,
    offset: u64,
    blocks: &[u8],
) -> io::Result<()> {
    let mut there = vec![0; blocks.len()];
    // A place that cannot be read may still be written: many disks mend it by that.
    let readable = device.read_at(offset, &mut there).is_ok();
    let same = |block: usize| {
        let bytes = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
        readable && blocks.get(bytes.clone()) == there.get(bytes)
    };
    let count = blocks.len() / BLOCK_BYTES;
    let mut block = 0;
    while block < count {
        let end = (block..count).find(|block| same(*block)).unwrap_or(count);
        if end > block {
            let run = &blocks[block * BLOCK_BYTES..end * BLOCK_BYTES];
            device.write_at(offset + (block * BLOCK_BYTES) as u64, run)?;
            meter.wrote((end - block) as u64);
        }
        block = (end..count).find(|block| !same(*block)).unwrap_or(count);
    }
    Ok(())
}

impl<D: Device + ?Sized> Slot for &mut Writer<'_, '_, D> {
    fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.pending.len()));
            self.pending.extend(first);
            bytes = rest;
            if self.pending.len() < BLOCK_BYTES {
                return Ok(());
            }
            let block = std::mem::take(&mut self.pending);
            self.blocks(&block)?;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % BLOCK_BYTES);
        self.pending.extend(rest);
        if whole.is_empty() { Ok(()) } else { self.blocks(whole) }
    }

    fn tree(&mut self, block: &HashBlock) -> io::Result<()> {
        write_changed(self.device, self.meter, self.data + block.offset, &block.bytes)
    }
}

/// The image that runs.
pub(super) struct Source<'a>(pub(super) &'a dyn Device);

impl Image for Source<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
}
