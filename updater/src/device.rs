//! What an update is written to: a disk, a partition of it, or in tests a model of one.

mod direct;
mod memory;
mod part;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

pub use direct::{Access, DirectDevice};
pub use memory::MemoryDevice;
pub use part::Part;

/// A block device. What was written may be lost, or come out of order, until it is flushed; a sector
/// of 512 bytes is written whole or not at all.
pub trait Device {
    /// Bytes that it holds.
    fn size(&self) -> u64;

    /// Fills `buffer` with what stands at `offset`, in bytes.
    ///
    /// # Errors
    /// It cannot be read there, or ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`, in bytes.
    ///
    /// # Errors
    /// It cannot be written there, or ends before.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// All that was written is on the disk when this returns.
    ///
    /// # Errors
    /// It may not be.
    fn flush(&mut self) -> io::Result<()>;
}

/// A block device of the kernel or, in tests, a file of a fixed size.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    size: u64,
}

impl FileDevice {
    /// Of an open file. Its size is where seeking to its end comes to, for the kernel says no other for
    /// a device.
    ///
    /// # Errors
    /// Its size cannot be told.
    pub fn new(mut file: File) -> io::Result<Self> {
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

impl Device for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.within(offset, buffer.len())?;
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.within(offset, bytes.len())?;
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_an_end_and_does_not_grow() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1024).expect("room");
        let mut device = FileDevice::new(file).expect("a device");
        assert_eq!(device.size(), 1024);
        device.write_at(512, &[7; 512]).expect("within");
        device.flush().expect("flushed");
        let mut buffer = [0; 2];
        device.read_at(511, &mut buffer).expect("within");
        assert_eq!(buffer, [0, 7]);
        assert!(device.write_at(1023, &[1, 2]).is_err());
        assert!(device.read_at(u64::MAX, &mut buffer).is_err());
    }
}
