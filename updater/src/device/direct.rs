//! A block device past the page cache: what is read comes from the medium, and what is written is
//! there, in the order in which it was written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::Device;

/// Buffers, offsets and lengths are multiples of this; a logical sector may be smaller.
const ALIGNMENT: usize = 4096;
/// A sector: the least that is written.
const SECTOR: u64 = 512;
/// Bytes that are read or written at once at most.
const PIECE: usize = 1 << 20;

/// A device that was opened with `O_DIRECT` and `O_DSYNC`.
#[derive(Debug)]
pub struct DirectDevice {
    file: File,
    size: u64,
}

/// Whether a device is only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is.
    Read,
    /// It is written too.
    Write,
}

impl DirectDevice {
    /// Opens a block device.
    ///
    /// # Errors
    /// There is none, it may not be opened so, or its size cannot be told.
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        let flags = OFlags::DIRECT | OFlags::DSYNC;
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let mut file = options.custom_flags(flags).open(path)?;
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self { file, size })
    }

    fn within(&self, offset: u64, bytes: usize) -> io::Result<()> {
        match offset.checked_add(bytes as u64) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the device")),
        }
    }
}

/// Memory that begins on a page.
struct Pages {
    memory: Vec<u8>,
    start: usize,
}

impl Pages {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start }
    }

    fn bytes(&mut self, length: usize) -> &mut [u8] {
        &mut self.memory[self.start..self.start + length]
    }
}

impl Device for DirectDevice {
    fn size(&self) -> u64 {
        self.size
    }

    /// Reads whole sectors around what is wanted.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.within(offset, buffer.len())?;
        let mut pages = Pages::new(PIECE.min(buffer.len() + 2 * ALIGNMENT));
        let most = pages.memory.len() - 2 * ALIGNMENT;
        let (mut at, mut left) = (offset, buffer);
        while !left.is_empty() {
            let skipped = at % SECTOR;
            let begin = at - skipped;
            // Below a sector.
            let skip = usize::try_from(skipped).unwrap_or(0);
            let take = left.len().min(most.max(ALIGNMENT) - skip);
            let length = (skip + take).next_multiple_of(512);
            let sectors = pages.bytes(length);
            self.file.read_exact_at(sectors, begin)?;
            let (now, later) = left.split_at_mut(take);
            now.copy_from_slice(&sectors[skip..skip + take]);
            left = later;
            at += take as u64;
        }
        Ok(())
    }

    /// Whole sectors only: nothing that stands around them is read and written again.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.within(offset, bytes.len())?;
        if !offset.is_multiple_of(SECTOR) || !(bytes.len() as u64).is_multiple_of(SECTOR) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole sectors"));
        }
        let mut at = offset;
        let mut pages = Pages::new(PIECE.min(bytes.len()));
        for piece in bytes.chunks(PIECE) {
            let aligned = pages.bytes(piece.len());
            aligned.copy_from_slice(piece);
            self.file.write_all_at(aligned, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_past_the_cache_is_read_back_at_any_place() {
        // Not where temporary files are: a file system in memory has no other way but its pages.
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
        std::fs::create_dir_all(target).expect("a directory");
        let directory = tempfile::tempdir_in(target).expect("a directory");
        let path = directory.path().join("disk");
        let pattern: Vec<u8> = (0..3_u32 << 20).map(|at| (at % 251).to_le_bytes()[0]).collect();
        std::fs::write(&path, vec![0; pattern.len()]).expect("a file");
        let mut device = DirectDevice::open(&path, Access::Write).expect("a device");
        assert_eq!(device.size(), pattern.len() as u64);
        device.write_at(0, &pattern).expect("written");
        device.write_at(1024, &[9; 512]).expect("written");
        device.flush().expect("flushed");
        let mut want = pattern;
        want[1024..1536].fill(9);
        for (offset, length) in [(0, 3 << 20), (1, 1), (511, 2), (1000, 1 << 20), (5, 2_500_000)] {
            let mut buffer = vec![0; length];
            device.read_at(offset as u64, &mut buffer).expect("within");
            assert!(buffer == want[offset..offset + length], "{offset} {length}");
        }
        assert!(device.write_at(1, &[0; 512]).is_err());
        assert!(device.write_at(0, &[0; 100]).is_err());
        assert!(device.write_at(3 << 20, &[0; 512]).is_err());
        assert!(device.read_at(3 << 20, &mut [0]).is_err());
        let mut device = DirectDevice::open(&path, Access::Read).expect("a device");
        assert!(device.write_at(0, &[0; 512]).is_err());
    }
}
