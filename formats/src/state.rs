//! The file system of `STATE`: an empty ext4, small when it is made, grown by the kernel to the
//! whole partition when it is mounted.
//!
//! Growing is online (`EXT4_IOC_RESIZE_FS`). There is no `resize_inode` and so no reserved
//! descriptor blocks; the kernel turns `meta_bg` on instead (fs/ext4/resize.c,
//! `ext4_convert_meta_bg`; seen with 6.1, from 64 MiB to 400 GiB) and the limit is that of block
//! numbers of 32 bits: 16 TiB. What growing never changes is chosen here for a large disk: the size
//! of the journal, and the inodes of a block group.

pub use mkext4::RegionSink as Sink;
use mkext4::{FsBuilder, InodeCount, Options};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// A block group is what one block of bitmap describes: 128 MiB.
const GROUP: u64 = BLOCK * 8 * BLOCK;
/// As `mke2fs` does on a disk of some size: an inode for each 16 KiB.
const INODES_PER_GROUP: u32 = 8192;
/// 64 MiB, enough for many small writes; less if the file system is small, for at most a quarter of
/// it may be the journal.
const MOST_JOURNAL_BLOCKS: u64 = 16_384;
/// What the smallest journal of 4 MiB asks for.
pub const LEAST_SIZE: u64 = 16 << 20;

/// An empty file system, as arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Bytes: a multiple of 4096, at least [`LEAST_SIZE`].
    pub size: u64,
    /// The file system's UUID.
    pub uuid: [u8; 16],
    /// What the hashes of directory indexes begin with.
    pub hash_seed: [u8; 16],
    /// The time of everything in it, in seconds since 1970.
    pub epoch: u32,
}

/// Why it cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The size breaks the rules of [`State::size`].
    #[error("no file system can be made of {0} bytes")]
    Size(u64),
    /// It cannot be written.
    #[error("{0}")]
    Write(String),
}

impl State {
    /// Gives all its bytes to `sink`, each once.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn write(&self, sink: &mut impl Sink) -> Result<(), StateError> {
        let size = || StateError::Size(self.size);
        let write = |error: &dyn std::fmt::Display| StateError::Write(error.to_string());
        let mut options = Options::new(self.size, self.uuid, i64::from(self.epoch));
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.hash_seed;
        options.hash_seed =
            [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_le_bytes);
        options.label = Some("STATE".to_owned());
        let groups = u32::try_from(self.size.div_ceil(GROUP)).map_err(|_| size())?;
        options.inodes = InodeCount::Exact(INODES_PER_GROUP.saturating_mul(groups));
        // Only root writes there; kubelet evicts pods long before the last block.
        options.reserved_percent = 0;
        let journal = (self.size / BLOCK / 4).min(MOST_JOURNAL_BLOCKS);
        options.journal_blocks = Some(u32::try_from(journal).map_err(|_| size())?);
        let layout = FsBuilder::new(options).and_then(FsBuilder::seal).map_err(|_| size())?;
        let writer = layout.writer(sink).map_err(|error| write(&error))?;
        writer.finish().map_err(|error| write(&error))?;
        Ok(())
    }
}
