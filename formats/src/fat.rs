//! FAT32 volumes for the EFI system partition: a writer, which plans the whole volume before the
//! first byte, a bounded reader, and the replacement of one file. Microsoft's "FAT32 File System Specification" 1.03.
//!
//! Clusters are one sector of 512 bytes, so that a small directory is exactly one sector: the
//! updater promotes a slot by one write of the sector that is `EFI/Linux`. Files are contiguous,
//! so that an update overwrites a file in place and never touches the allocation table.

mod allocation;
mod directory;
mod plan;
mod volume;

pub use allocation::{Allocation, ReplaceError, Step, Write};
pub use directory::{Alias, AliasError, Attributes, Listing, Record, Timestamp, decode, encode};
pub use plan::{Content, FatError, File, Options, Piece, Plan, Segment};
pub use volume::{Entry, Kind, ReadError, Volume, VolumeError};

/// Bytes of a sector, and of a cluster in the volumes that we write.
pub const SECTOR: u64 = 512;

/// The least number of clusters that makes a volume FAT32: with fewer it is read as FAT16.
pub const LEAST_CLUSTERS: u64 = 65_525;

/// A run of bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the volume's start, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}
