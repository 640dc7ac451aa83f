//! A partition of a whole disk as a device of its own.

use std::io;

use super::Device;

/// A part of a device.
#[derive(Debug, Clone)]
pub struct Part<D> {
    device: D,
    offset: u64,
    size: u64,
}

impl<D: Device> Part<D> {
    /// What stands from `offset` on, in bytes, as far as the device goes.
    pub fn new(device: D, offset: u64, size: u64) -> Self {
        let rest = device.size().saturating_sub(offset);
        Self { device, offset, size: size.min(rest) }
    }

    fn place(&self, offset: u64, length: usize) -> io::Result<u64> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.size => Ok(self.offset + offset),
            _ => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the partition"))
            }
        }
    }
}

impl<D: Device> Device for Part<D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(self.place(offset, buffer.len())?, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(offset, bytes.len())?;
        self.device.write_at(place, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::FileDevice;

    #[test]
    fn a_part_reaches_nothing_around_it() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(2048).expect("room");
        let disk = FileDevice::new(file).expect("a device");
        let mut part = Part::new(disk, 512, 1024);
        part.write_at(0, &[7; 1024]).expect("within");
        part.flush().expect("flushed");
        assert!(part.write_at(1, &[7; 1024]).is_err());
        assert!(part.read_at(1024, &mut [0]).is_err());
        let mut disk = [0; 2048];
        part.device.read_at(0, &mut disk).expect("within");
        assert!(
            disk[..512] == [0; 512] && disk[512..1536] == [7; 1024] && disk[1536..] == [0; 512]
        );
        assert_eq!(Part::new(part.device, 1536, 1024).size(), 512);
    }
}
