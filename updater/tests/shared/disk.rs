//! A disk in memory that can fail, and that loses what was not flushed when the power goes.

use std::io;
use std::ops::Range;

use updater::device::Device;

const SECTOR: usize = 512;

#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub bytes: Vec<u8>,
    /// Bytes that were written, since the beginning.
    pub written: u64,
    /// How many writes still succeed; no limit if none.
    pub writes_left: Option<u64>,
    /// What cannot be read.
    pub unreadable: Option<Range<u64>>,
    /// What stood where something was written, since the last flush.
    pub unflushed: Vec<(usize, Vec<u8>)>,
}

impl Disk {
    pub fn of(bytes: &[u8], size: usize) -> Self {
        let mut bytes = bytes.to_vec();
        bytes.resize(size, 0xee);
        Self { bytes, ..Self::default() }
    }

    /// The power goes: of what was not flushed each sector may be lost.
    pub fn power_cut(&mut self, mut seed: u64) {
        for (at, before) in std::mem::take(&mut self.unflushed).into_iter().rev() {
            for (sector, old) in before.chunks(SECTOR).enumerate() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if seed >> 63 == 1 {
                    let at = at + sector * SECTOR;
                    self.bytes[at..at + old.len()].copy_from_slice(old);
                }
            }
        }
        self.writes_left = None;
    }
}

impl Device for Disk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if self.unreadable.as_ref().is_some_and(|bad| bad.start < end && offset < bad.end) {
            return Err(io::Error::other("this sector is bad"));
        }
        let start = usize::try_from(offset).unwrap();
        let there = self.bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => return Err(io::Error::other("this disk takes no more")),
            Some(left) => *left -= 1,
            None => {}
        }
        let start = usize::try_from(offset).unwrap();
        let place = self.bytes.get_mut(start..start + bytes.len());
        let place = place.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.unflushed.push((start, place.to_vec()));
        place.copy_from_slice(bytes);
        self.written += bytes.len() as u64;
        if let Some(bad) = &self.unreadable
            && bad.start >= offset
            && bad.end <= offset + bytes.len() as u64
        {
            self.unreadable = None;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.writes_left == Some(0) {
            return Err(io::Error::other("this disk takes no more"));
        }
        self.unflushed.clear();
        Ok(())
    }
}
