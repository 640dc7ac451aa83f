//! Bytes in memory as a device: what is too small to need a place of its own until it is checked.

use std::io;

use super::Device;

/// Memory that begins as zeros. What stays zero takes no room: the kernel gives pages as they are written.
#[derive(Debug, Clone)]
pub struct MemoryDevice(Vec<u8>);

impl MemoryDevice {
    /// Of so many bytes.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(size: u64) -> io::Result<Self> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // One that asks for zeros is given untouched pages.
        Ok(Self(vec![0; size]))
    }

    /// All that stands there.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn range(&self, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let beyond =
            || io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the memory");
        let start = usize::try_from(offset).map_err(|_| beyond())?;
        let end = start.checked_add(length).filter(|end| *end <= self.0.len());
        end.map(|end| start..end).ok_or_else(beyond)
    }
}

impl From<Vec<u8>> for MemoryDevice {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Device for MemoryDevice {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = self.range(offset, buffer.len())?;
        buffer.copy_from_slice(&self.0[range]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = self.range(offset, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_an_end() {
        let mut memory = MemoryDevice::new(8).unwrap();
        memory.write_at(6, &[1, 2]).unwrap();
        let mut buffer = [9; 3];
        memory.read_at(5, &mut buffer).unwrap();
        assert_eq!(buffer, [0, 1, 2]);
        assert!(memory.write_at(7, &[0; 2]).is_err());
        assert!(memory.read_at(u64::MAX, &mut buffer).is_err());
    }
}
