//! The superblock: `struct erofs_super_block` of Linux `fs/erofs/erofs_fs.h`, 128 bytes at byte
//! 1024 of the image.

use std::str;

use super::crc32c::crc32c;
use super::{BLOCK, memory_size};

/// `EROFS_SUPER_OFFSET`: bytes before the superblock, left to boot sectors.
const OFFSET: usize = 1024;
/// `EROFS_SUPER_MAGIC_V1`
const MAGIC: u32 = 0xE0F5_E1E2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`: `checksum` is valid.
const COMPAT_CHECKSUM: u32 = 0x1;
/// `EROFS_FEATURE_COMPAT_MTIME`: the time of extended inodes is a modification time.
const COMPAT_MTIME: u32 = 0x2;
/// What Linux 6.12 knows: `EROFS_ALL_FEATURE_INCOMPAT`.
const INCOMPAT_KNOWN: u32 = 0x7F;

/// What the superblock says about the whole image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of a block: a power of two from 512 to 65536.
    pub block_size: u32,
    /// Blocks of the image.
    pub blocks: u32,
    /// How many inodes there are.
    pub inodes: u64,
    /// Where the root directory's inode is, in 32-byte slots of the metadata area.
    pub root_nid: u16,
    /// The time of all compact inodes: seconds since 1970.
    pub build_time: u64,
    /// Names the volume.
    pub uuid: [u8; 16],
    /// At most 16 bytes.
    pub volume_name: String,
    /// `EROFS_FEATURE_COMPAT_*`: what a reader may ignore.
    pub feature_compat: u32,
    /// `EROFS_FEATURE_INCOMPAT_*`: what a reader must know.
    pub feature_incompat: u32,
}

/// The bytes are not the start of an EROFS image that we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// The checksum covers the whole first block, so that much is needed.
    #[error("an EROFS image begins with at least {needed} bytes, there are {found}")]
    TooShort {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// Something else is stored there.
    #[error("not an EROFS image: the magic number is 0x{0:08x}")]
    Magic(u32),
    /// Not a power of two from 512 to 65536.
    #[error("an EROFS block cannot have 2^{0} bytes")]
    BlockSize(u8),
    /// Features that came after Linux 6.12 and change the meaning of what follows.
    #[error("the EROFS image has unknown incompatible features: 0x{0:x}")]
    Features(u32),
    /// The first block was damaged.
    #[error("the EROFS superblock is damaged: its checksum is {stored:08x}, not {computed:08x}")]
    Checksum {
        /// What stands in the superblock.
        stored: u32,
        /// What its bytes amount to.
        computed: u32,
    },
    /// The name is not text.
    #[error("the EROFS volume name is not UTF-8")]
    VolumeName,
}

impl Superblock {
    /// Reads the superblock from the first bytes of an image: 4096 are enough for images of ours,
    /// 65536 for any. The checksum is verified if the image has one, as ours have.
    ///
    /// # Errors
    /// See [`SuperblockError`].
    pub fn parse(image: &[u8]) -> Result<Self, SuperblockError> {
        let start = |needed: usize| {
            let too_short = SuperblockError::TooShort { needed, found: image.len() };
            image.get(..needed).ok_or(too_short)
        };
        let fields = Fields(&start(OFFSET + 128)?[OFFSET..]);
        let magic = fields.u32(0);
        if magic != MAGIC {
            return Err(SuperblockError::Magic(magic));
        }
        let [block_bits] = fields.array(12);
        if !(9..=16).contains(&block_bits) {
            return Err(SuperblockError::BlockSize(block_bits));
        }
        let superblock = Self {
            block_size: 1 << block_bits,
            blocks: fields.u32(36),
            inodes: u64::from_le_bytes(fields.array(16)),
            root_nid: u16::from_le_bytes(fields.array(14)),
            build_time: u64::from_le_bytes(fields.array(24)),
            uuid: fields.array(48),
            volume_name: volume_name(fields.array(64))?,
            feature_compat: fields.u32(8),
            feature_incompat: fields.u32(80),
        };
        if superblock.feature_incompat & !INCOMPAT_KNOWN != 0 {
            return Err(SuperblockError::Features(superblock.feature_incompat & !INCOMPAT_KNOWN));
        }
        if superblock.feature_compat & COMPAT_CHECKSUM != 0 {
            // `erofs_superblock_csum_verify` of fs/erofs/super.c: a block of at most 1024 bytes
            // does not reach the superblock, and as many bytes from it are summed instead.
            let block = 1_usize << block_bits;
            let end = if block > OFFSET { block } else { OFFSET + block };
            let (stored, computed) = (fields.u32(4), checksum(&start(end)?[OFFSET..]));
            if stored != computed {
                return Err(SuperblockError::Checksum { stored, computed });
            }
        }
        Ok(superblock)
    }

    /// Bytes of the whole image.
    pub fn image_size(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_size)
    }

    /// The first block of an image of ours: 4096 bytes, metadata counted from block 0, checksummed.
    /// The caller has checked that the volume name fits.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; OFFSET];
        block.extend(MAGIC.to_le_bytes());
        block.extend([0; 4]); // checksum, see below
        block.extend(self.feature_compat.to_le_bytes());
        block.push(12); // blkszbits
        block.push(0); // sb_extslots
        block.extend(self.root_nid.to_le_bytes());
        block.extend(self.inodes.to_le_bytes());
        block.extend(self.build_time.to_le_bytes());
        block.extend([0; 4]); // build_time_nsec
        block.extend(self.blocks.to_le_bytes());
        block.extend([0; 4]); // meta_blkaddr: nid = byte offset / 32
        block.extend([0; 4]); // xattr_blkaddr: none are shared
        block.extend(self.uuid);
        block.extend(self.volume_name.as_bytes());
        block.resize(OFFSET + 80, 0);
        block.extend(self.feature_incompat.to_le_bytes());
        // The rest of the superblock serves features which we do not use.
        block.resize(memory_size(BLOCK), 0);
        let checksum = checksum(&block[OFFSET..]);
        block[OFFSET + 4..OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// What our images have: a checksum, and modification times in extended inodes.
    pub(super) const FEATURE_COMPAT: u32 = COMPAT_CHECKSUM | COMPAT_MTIME;
}

/// The checksum of a block from the superblock on, its own field taken as zero.
fn checksum(bytes: &[u8]) -> u32 {
    let state = crc32c(crc32c(!0, &bytes[..4]), &[0; 4]);
    crc32c(state, &bytes[8..])
}

fn volume_name(field: [u8; 16]) -> Result<String, SuperblockError> {
    let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let name = str::from_utf8(&field[..length]).map_err(|_| SuperblockError::VolumeName)?;
    Ok(name.to_owned())
}

/// The superblock's bytes. Offsets are ours, and inside.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[offset..offset + N]);
        field
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn superblock() -> Superblock {
        Superblock {
            block_size: 4096,
            blocks: 77,
            inodes: 5,
            root_nid: 128,
            build_time: 1_700_000_000,
            uuid: *b"0123456789abcdef",
            volume_name: "orlop".to_owned(),
            feature_compat: Superblock::FEATURE_COMPAT,
            feature_incompat: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let block = superblock().encode();
        assert_eq!(block.len(), 4096);
        assert_eq!(Superblock::parse(&block), Ok(superblock()));
        assert_eq!(superblock().image_size(), 77 * 4096);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = superblock().encode();
        let rest_of_block = [8 * (OFFSET + 128), 8 * 4096 - 1];
        for bit in (8 * OFFSET..8 * (OFFSET + 128)).chain(rest_of_block) {
            let mut block = good.clone();
            block[bit / 8] ^= 1 << (bit % 8);
            let parsed = Superblock::parse(&block);
            // Without its feature bit the checksum says nothing; all else is an error.
            let checksum_off = bit == 8 * (OFFSET + 8);
            assert_eq!(parsed.is_ok(), checksum_off, "bit {bit}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_not_an_image_is_named() {
        let with = |offset: usize, byte: u8| {
            let mut block = superblock().encode();
            block[OFFSET + offset] = byte;
            Superblock::parse(&block).unwrap_err()
        };
        assert_eq!(with(0, 0), SuperblockError::Magic(0xE0F5_E100));
        assert_eq!(with(12, 8), SuperblockError::BlockSize(8));
        assert_eq!(with(12, 16), SuperblockError::TooShort { needed: 65536, found: 4096 });
        assert_eq!(with(80, 0x80), SuperblockError::Features(0x80));
        assert_eq!(with(64, 0xFF), SuperblockError::VolumeName);
        let short = SuperblockError::TooShort { needed: 1152, found: 1151 };
        assert_eq!(Superblock::parse(&superblock().encode()[..1151]), Err(short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..=4096,
        ) {
            let mut image = superblock().encode();
            let end = 4096.min(OFFSET + 4 + bytes.len());
            image[OFFSET + 4..end].copy_from_slice(&bytes[..end - OFFSET - 4]);
            drop(Superblock::parse(&image));
            drop(Superblock::parse(&image[..cut]));
            drop(Superblock::parse(&bytes));
        }
    }
}
