//! The ext4 superblock: just enough to know the size and the health of STATE before it is mounted,
//! and to put one of its copies in the place of one that is damaged.
//! Layout: Documentation/filesystems/ext4/super.rst and fs/ext4/ext4.h.
//!
//! The kernel keeps copies in the groups whose numbers are 1 and powers of 3, 5 and 7
//! (`sparse_super`), and writes them when the file system is made or grown. What has changed since
//! is counts, which the kernel counts again at each mount, and whether the journal is to be
//! replayed.

use std::fmt;

/// Where the superblock is, in bytes from the start of the partition.
pub const OFFSET: u64 = 1024;
/// How long it is.
pub const SIZE: usize = 1024;

/// Bytes of a group of ours, whose blocks have 4096: a copy begins with its group.
const GROUP: u64 = 128 << 20;

const MAGIC: u16 = 0xef53;
const STATE_ERRORS: u16 = 0x2;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// What we want to know of a superblock whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
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
    pub fn parse(bytes: &[u8; SIZE]) -> Result<Self, SuperblockError> {
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
        if crc32c(&bytes[..CHECKSUM]) != word(CHECKSUM) {
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
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u64 {
        1 << self.block_bits
    }

    /// Bytes of the file system.
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size())
    }

    /// Whether the journal holds something that the next mount will replay.
    pub fn needs_recovery(&self) -> bool {
        self.incompatible & INCOMPAT_RECOVER != 0
    }

    /// Whether the kernel has noted damage.
    pub fn has_errors(&self) -> bool {
        self.state & STATE_ERRORS != 0
    }
}

/// Where copies may be in a partition of so many bytes: the number of the group, and bytes from the
/// start of the partition.
pub fn copies(size: u64) -> Vec<(u16, u64)> {
    let powers = |base: u16| std::iter::successors(Some(base), move |n| n.checked_mul(base));
    let mut groups: Vec<u16> =
        std::iter::once(1).chain([3, 5, 7].into_iter().flat_map(powers)).collect();
    groups.sort_unstable();
    let places = groups.into_iter().map(|group| (group, u64::from(group) * GROUP));
    places.take_while(|(_, at)| at.saturating_add(SIZE as u64) <= size).collect()
}

/// What to put at [`OFFSET`], made of the copy in this group; nothing if it is none, or one of a
/// file system of another shape.
pub fn restored(copy: &[u8; SIZE], group: u16) -> Option<[u8; SIZE]> {
    let parsed = Superblock::parse(copy).ok()?;
    let word = |at: usize| crate::le::u32_at(copy, at);
    let is_ours = parsed.block_size() == 4096
        && u64::from(word(0x20)?) * 4096 == GROUP
        && crate::le::u16_at(copy, GROUP_NUMBER)? == group;
    is_ours.then_some(())?;
    let mut primary = *copy;
    primary[GROUP_NUMBER..GROUP_NUMBER + 2].fill(0);
    // Without this the kernel throws away what is in the journal; an empty one is replayed at once.
    if word(0x5c)? & COMPAT_HAS_JOURNAL != 0 {
        let features = word(0x60)? | INCOMPAT_RECOVER;
        primary[0x60..0x64].copy_from_slice(&features.to_le_bytes());
    }
    let checksum = crc32c(&primary[..CHECKSUM]);
    primary[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    Some(primary)
}

/// `s_block_group_nr`: which group a copy is in.
const GROUP_NUMBER: usize = 0x5a;
/// `s_checksum`, the last field.
const CHECKSUM: usize = 0x3fc;

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
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn judge(program: &str, arguments: &[&str], file: &tempfile::NamedTempFile) -> String {
        let output = std::process::Command::new(program)
            .args(arguments)
            .arg(file.path())
            .output()
            .unwrap_or_else(|_| panic!("`{program}` must be installed: package e2fsprogs"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // 1 says that `e2fsck -p` has replayed the journal.
        let good = output.status.code().is_some_and(|code| code <= i32::from(arguments == ["-p"]));
        assert!(good, "{program}: {text}");
        text
    }

    /// What `mke2fs` makes of so many MiB.
    fn file_system(arguments: &[&str], mib: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(mib << 20).unwrap();
        judge("mke2fs", &[&["-q", "-t", "ext4", "-F"], arguments].concat(), &file);
        file
    }

    fn read(file: &tempfile::NamedTempFile, at: u64) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        file.as_file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// A superblock as `mke2fs` writes it.
    fn made(arguments: &[&str]) -> [u8; SIZE] {
        read(&file_system(arguments, 64), OFFSET)
    }

    fn signed(mut bytes: [u8; SIZE]) -> [u8; SIZE] {
        let checksum = crc32c(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
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

    #[test]
    fn a_copy_stands_in_for_a_superblock_that_is_lost() {
        let shape = ["-b", "4096", "-O", "^resize_inode"];
        let file = file_system(&shape, 1000);
        let copies = copies(1000 << 20);
        assert_eq!(copies, [(1, GROUP), (3, 3 * GROUP), (5, 5 * GROUP), (7, 7 * GROUP)]);
        for (group, at) in copies {
            file.as_file().write_all_at(&[0; SIZE], OFFSET).unwrap();
            let restored = restored(&read(&file, at), group).unwrap();
            file.as_file().write_all_at(&restored, OFFSET).unwrap();
            // It replays the journal, as the kernel would.
            judge("e2fsck", &["-p"], &file);
            judge("e2fsck", &["-fn"], &file);
        }
    }

    #[test]
    fn only_a_copy_of_this_place_and_of_our_shape_is_taken() {
        let file = file_system(&["-b", "4096"], 300);
        let copy = read(&file, GROUP);
        assert!(restored(&copy, 1).is_some());
        assert_eq!(restored(&copy, 3), None, "it is of another file system");
        assert_eq!(restored(&[0; SIZE], 1), None);
        let mut damaged = copy;
        damaged[0x4] ^= 1;
        assert_eq!(restored(&damaged, 1), None);
        let small = file_system(&["-b", "1024"], 64);
        assert_eq!(restored(&read(&small, 8193 * 1024), 1), None, "its groups are smaller");
        assert_eq!(copies(64 << 20), []);
    }

    proptest! {
        #[test]
        fn no_superblock_makes_us_panic(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
            let mut bytes: [u8; SIZE] = bytes.try_into().unwrap();
            let _ = restored(&bytes, 1);
            let _ = Superblock::parse(&bytes);
            bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[0x65] |= 4;
            let _ = restored(&signed(bytes), 1);
            if let Ok(superblock) = Superblock::parse(&signed(bytes)) {
                let _ = superblock.size();
            }
        }
    }
}
