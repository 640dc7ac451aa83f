//! What was written and not flushed: a disk may lose any of it when its power goes, in any order, and
//! of a write some of its sectors.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const SECTOR: usize = 512;

/// Writes since the last flush.
#[derive(Debug, Default)]
pub(super) struct Unflushed(Vec<Write>);

#[derive(Debug)]
struct Write {
    offset: u64,
    before: Vec<u8>,
    bytes: Vec<u8>,
}

impl Unflushed {
    /// One more, and what stood there before it.
    pub(super) fn add(&mut self, offset: u64, before: Vec<u8>, bytes: Vec<u8>) {
        self.0.push(Write { offset, before, bytes });
    }

    /// Takes all of them back, and does those that have come to the disk: `number` decides. How many there
    /// were, and how many have not come whole.
    pub(super) fn lose(
        self,
        image: &File,
        number: &mut dyn FnMut() -> u64,
    ) -> io::Result<(usize, usize)> {
        for Write { offset, before, .. } in self.0.iter().rev() {
            image.write_all_at(before, *offset)?;
        }
        let mut lost = 0;
        for Write { offset, bytes, .. } in &self.0 {
            let sectors = bytes.len() / SECTOR;
            let kept = match number() % 4 {
                0 => 0,
                1 => usize::try_from(number()).unwrap_or(usize::MAX) % sectors.max(1) * SECTOR,
                _ => bytes.len(),
            };
            lost += usize::from(kept < bytes.len());
            image.write_all_at(&bytes[..kept], *offset)?;
        }
        Ok((self.0.len(), lost))
    }
}
