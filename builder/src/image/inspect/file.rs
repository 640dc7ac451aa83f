//! An image as a file that is read in parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// As much of the start as it takes to recognise anything: an ISO image has its mark at 32 KiB,
/// and the largest block of an EROFS has 64 KiB.
const HEAD: u64 = 64 << 10;

/// An open image.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    /// In bytes.
    pub(super) size: u64,
}

impl Image {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// The first 64 KiB, or all of a smaller file.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        self.read(0, self.size.min(HEAD))
    }

    /// So many bytes from `offset` on.
    ///
    /// # Errors
    /// Also if the file ends before.
    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if offset.saturating_add(length) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
