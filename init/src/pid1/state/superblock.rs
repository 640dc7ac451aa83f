//! The ext4 superblock: just enough to know the size and the health of STATE before it is mounted.
//! Layout: Documentation/filesystems/ext4/super.rst and fs/ext4/ext4.h.

use std::fmt;

/// Where the superblock is, in bytes from the start of the partition.
pub(crate) const OFFSET: u64 = 1024;
/// How long it is.
pub(crate) const SIZE: usize = 1024;

const MAGIC: u16 = 0xef53;
const STATE_ERRORS: u16 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// What we want to know of a superblock whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    blocks: u64,
    // Invariant: 10 to 16, so that `block_size` does not overflow.
    block_bits: u32,
    state: u16,
    incompatible: u32,
}

/// Why this is not a file system that we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockError {
    /// No ext4 at all.
    NoExt4,
    /// An ext4 without checksums over its metadata: not made by us.
    NoChecksums,
    /// The checksum does not match.
    Checksum,
    /// A block size that no kernel knows.
    BlockSize,
}

impl Superblock {
    /// Reads a superblock.
    pub(crate) fn parse(bytes: &[u8; SIZE]) -> Result<Self, SuperblockError> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if half(0x38) != MAGIC {
            return Err(SuperblockError::NoExt4);
        }
        if word(0x64) & RO_COMPAT_METADATA_CSUM == 0 {
            return Err(SuperblockError::NoChecksums);
        }
        if crc32c(&bytes[..0x3fc]) != word(0x3fc) {
            return Err(SuperblockError::Checksum);
        }
        let incompatible = word(0x60);
        let high = if incompatible & INCOMPAT_64BIT == 0 { 0 } else { word(0x150) };
        let block_bits = word(0x18).checked_add(10).filter(|bits| *bits <= 16);
        Ok(Self {
            blocks: u64::from(high) << 32 | u64::from(word(0x4)),
            block_bits: block_bits.ok_or(SuperblockError::BlockSize)?,
            state: half(0x3a),
            incompatible,
        })
    }

    /// How many blocks the file system has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of a block.
    pub(crate) fn block_size(&self) -> u64 {
        1 << self.block_bits
    }

    /// Bytes of the file system.
    pub(crate) fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size())
    }

    /// Whether the journal holds something that the next mount will replay.
    pub(crate) fn needs_recovery(&self) -> bool {
        self.incompatible & INCOMPAT_RECOVER != 0
    }

    /// Whether the kernel has noted damage.
    pub(crate) fn has_errors(&self) -> bool {
        self.state & STATE_ERRORS != 0
    }
}

/// CRC-32C as ext4 uses it: begun with all ones, not inverted at the end. Bit by bit: it is asked
/// for one kilobyte, twice in a boot.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| step(c)))
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoExt4 => "it holds no ext4 file system",
            Self::NoChecksums => "its ext4 has no metadata checksums, so it was not made by Orlop",
            Self::Checksum => "the checksum of its ext4 superblock is wrong",
            Self::BlockSize => "its ext4 has an impossible block size",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom};

    use proptest::prelude::*;

    use super::*;

    /// A superblock as `mke2fs` writes it.
    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn made(arguments: &[&str]) -> [u8; SIZE] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let status = std::process::Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-F"])
            .args(arguments)
            .arg(file.path())
            .status()
            .expect("`mke2fs` must be installed: package e2fsprogs");
        assert!(status.success());
        let mut bytes = [0; SIZE];
        file.seek(SeekFrom::Start(OFFSET)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn signed(mut bytes: [u8; SIZE]) -> [u8; SIZE] {
        let checksum = crc32c(&bytes[..0x3fc]);
        bytes[0x3fc..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_file_system_of_mke2fs_is_read_with_its_size() {
        for (arguments, block_size) in [(["-b", "4096"], 4096), (["-b", "1024"], 1024)] {
            let superblock = Superblock::parse(&made(&arguments)).unwrap();
            assert_eq!((superblock.block_size(), superblock.size()), (block_size, 64 << 20));
            assert!(!superblock.needs_recovery() && !superblock.has_errors());
        }
    }

    #[test]
    fn flags_of_a_crash_and_of_damage_are_seen() {
        let mut bytes = made(&[]);
        bytes[0x60] |= 0x4;
        assert!(Superblock::parse(&signed(bytes)).unwrap().needs_recovery());
        bytes[0x3a] |= 0x2;
        assert!(Superblock::parse(&signed(bytes)).unwrap().has_errors());
    }

    #[test]
    fn what_is_not_ours_or_damaged_is_refused() {
        let good = made(&[]);
        let parse = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Superblock::parse(&bytes)
        };
        assert_eq!(parse(0x38, 0), Err(SuperblockError::NoExt4));
        assert_eq!(parse(0x4, !good[0x4]), Err(SuperblockError::Checksum));
        let plain = made(&["-O", "^metadata_csum"]);
        assert_eq!(Superblock::parse(&plain), Err(SuperblockError::NoChecksums));
        let mut large = good;
        large[0x18] = 7;
        assert_eq!(Superblock::parse(&signed(large)), Err(SuperblockError::BlockSize));
    }

    proptest! {
        #[test]
        fn no_superblock_makes_us_panic(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
            let mut bytes: [u8; SIZE] = bytes.try_into().unwrap();
            let _ = Superblock::parse(&bytes);
            bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[0x65] |= 4;
            if let Ok(superblock) = Superblock::parse(&signed(bytes)) {
                let _ = superblock.size();
            }
        }
    }
}
