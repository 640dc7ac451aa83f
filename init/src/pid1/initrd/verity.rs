//! What dm-verity needs to know about a root image, and a first look before it is trusted.
//!
//! The command line holds the root hash and nothing else. The rest follows from one rule, which
//! the builder keeps (`docs/boot.md`): SHA-256, blocks of 4 KiB, hash type 1 (salt first); the
//! salt is the 16-byte UUID of the EROFS superblock, the data are as many blocks as the superblock
//! says, and the tree follows them on the same device without a header of its own.
//!
//! So two facts come from a superblock which nobody has verified yet. That is safe: another salt
//! or another length makes another root hash, and the hash decides.

use std::fmt;
use std::io;
use std::path::Path;

use formats::digest::Sha256;

use crate::sys::dm::Target;

/// Bytes of a block, of the data and of the tree.
pub(crate) const BLOCK: usize = 4096;
/// How many digests a block of the tree holds.
const FANOUT: u64 = 128;
/// Where the EROFS superblock is (fs/erofs/erofs_fs.h).
const SUPERBLOCK: usize = 1024;
const EROFS_MAGIC: u32 = 0xe0f5_e1e2;

/// What the superblock says about the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    /// How many blocks the file system has: the tree begins after them. Not 0.
    blocks: u64,
    /// The file system's UUID.
    salt: [u8; 16],
}

/// Why a device does not hold the image that the command line names.
#[derive(Debug)]
pub(crate) enum VerityError {
    Read {
        block: u64,
        source: io::Error,
    },
    NoErofs,
    BlockSize(u8),
    /// It has this one.
    RootHash(Sha256),
    Tree {
        level: u32,
    },
    FirstBlock,
}

impl Image {
    /// Reads what we need from the first block of an EROFS.
    pub(crate) fn parse(first_block: &[u8]) -> Result<Self, VerityError> {
        let superblock = first_block.get(SUPERBLOCK..).ok_or(VerityError::NoErofs)?;
        let word = |at: usize| {
            let bytes = superblock.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(VerityError::NoErofs)
        };
        let salt = superblock.get(48..64).and_then(|bytes| bytes.try_into().ok());
        let block_bits = *superblock.get(12).ok_or(VerityError::NoErofs)?;
        let blocks = u64::from(word(36)?);
        if word(0)? != EROFS_MAGIC || blocks == 0 {
            return Err(VerityError::NoErofs);
        }
        if block_bits != 12 {
            return Err(VerityError::BlockSize(block_bits));
        }
        Ok(Self { blocks, salt: salt.ok_or(VerityError::NoErofs)? })
    }

    /// Follows the tree from the root hash down to the first block, the one with the superblock.
    /// The kernel would find any damage too, but by a panic or by a mount that fails with an I/O
    /// error: only here can we say that the slot holds another image than the command line names.
    pub(crate) fn check(
        &self,
        root_hash: Sha256,
        mut read: impl FnMut(u64) -> io::Result<Vec<u8>>,
    ) -> Result<(), VerityError> {
        let mut expected = root_hash;
        let levels = self.level_starts();
        for (depth, block) in levels.iter().enumerate() {
            let bytes =
                read(*block).map_err(|source| VerityError::Read { block: *block, source })?;
            let digest = self.digest(&bytes);
            if digest != expected {
                // A root block that does not match is the usual case: another image.
                let level = u32::try_from(levels.len() - 1 - depth).unwrap_or(0);
                let root = depth == 0;
                let other = VerityError::RootHash(digest);
                return Err(if root { other } else { VerityError::Tree { level } });
            }
            let first = bytes.get(..32).and_then(|bytes| bytes.try_into().ok());
            expected = Sha256::from_bytes(first.ok_or(VerityError::RootHash(digest))?);
        }
        let first = read(0).map_err(|source| VerityError::Read { block: 0, source })?;
        let digest = self.digest(&first);
        if digest == expected {
            Ok(())
        } else if levels.is_empty() {
            Err(VerityError::RootHash(digest))
        } else {
            Err(VerityError::FirstBlock)
        }
    }

    /// The device-mapper target over `device`, which ends in a panic when a block does not match:
    /// the machine resets, and the boot counter decides what starts next.
    ///
    /// Parameters as in Documentation/admin-guide/device-mapper/verity.rst.
    pub(crate) fn target(&self, device: &Path, root_hash: Sha256) -> Target {
        let device = device.display();
        let Self { blocks, salt } = self;
        let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        Target {
            sectors: blocks * 8,
            kind: "verity",
            parameters: format!(
                "1 {device} {device} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {root_hash} {salt} \
                 1 panic_on_corruption"
            ),
        }
    }

    /// The first block of each level of the tree, the root's first. (verity_ctr in
    /// drivers/md/dm-verity-target.c: the levels are stored from the top down.)
    fn level_starts(&self) -> Vec<u64> {
        let mut sizes = Vec::new();
        let mut blocks = self.blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil(FANOUT);
            sizes.push(blocks);
        }
        let mut next = self.blocks;
        let start_of = |size: u64| {
            let start = next;
            next += size;
            start
        };
        sizes.into_iter().rev().map(start_of).collect()
    }

    fn digest(&self, block: &[u8]) -> Sha256 {
        let mut salted = self.salt.to_vec();
        salted.extend_from_slice(block);
        Sha256::of(salted)
    }
}

/// As much of a root hash as people compare.
pub(crate) fn short(hash: Sha256) -> String {
    let mut text = hash.to_string();
    text.truncate(16);
    text + "..."
}

impl VerityError {
    /// Whether it may be what a slot holds that an update has filled or will fill, and no damage.
    pub(crate) fn is_another_image(&self) -> bool {
        matches!(self, Self::NoErofs | Self::RootHash(_))
    }
}

impl fmt::Display for VerityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { block, source } => write!(f, "block {block} cannot be read: {source}"),
            Self::NoErofs => f.write_str("it holds no root image (no EROFS superblock)"),
            Self::BlockSize(bits) => {
                write!(f, "the root image has blocks of 2^{bits} bytes, expected 4096 bytes")
            }
            Self::RootHash(seen) => {
                write!(f, "the root hash does not match, it is {}", short(*seen))
            }
            Self::Tree { level } => {
                write!(f, "the hash tree is damaged in level {level}")
            }
            Self::FirstBlock => f.write_str("the first block of the root image is damaged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use proptest::prelude::*;

    use super::*;

    /// An image whose only true part is the superblock; the other blocks hold their number.
    fn data(blocks: u32) -> Vec<u8> {
        let mut bytes = vec![0; blocks as usize * BLOCK];
        for (number, block) in (0..blocks).zip(bytes.chunks_exact_mut(BLOCK)) {
            block[..4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[1024..1028].copy_from_slice(&EROFS_MAGIC.to_le_bytes());
        bytes[1024 + 12] = 12;
        bytes[1024 + 36..1024 + 40].copy_from_slice(&blocks.to_le_bytes());
        bytes[1024 + 48..1024 + 64].copy_from_slice(&[0x5a; 16]);
        bytes
    }

    /// Data and tree as `veritysetup` makes them, and the root hash that it prints.
    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn formatted(blocks: u32) -> (Vec<u8>, Sha256) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), data(blocks)).unwrap();
        let output = std::process::Command::new("veritysetup")
            .args(["format", "--no-superblock", "--hash=sha256", "--format=1"])
            .args(["--data-block-size=4096", "--hash-block-size=4096"])
            .arg(format!("--data-blocks={blocks}"))
            .arg(format!("--hash-offset={}", u64::from(blocks) * 4096))
            .arg(format!("--salt={}", "5a".repeat(16)))
            .args([file.path(), file.path()])
            .stderr(Stdio::inherit())
            .output()
            .expect("`veritysetup` must be installed: package cryptsetup-bin");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let hash = text.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap();
        (std::fs::read(file.path()).unwrap(), hash.trim().parse().unwrap())
    }

    fn check(bytes: &[u8], root_hash: Sha256) -> Result<(), String> {
        let image = Image::parse(bytes.get(..BLOCK).unwrap()).map_err(|e| e.to_string())?;
        let read = |block: u64| {
            let at = usize::try_from(block).unwrap() * BLOCK;
            let end = io::Error::from(io::ErrorKind::UnexpectedEof);
            bytes.get(at..at + BLOCK).map(<[u8]>::to_vec).ok_or(end)
        };
        image.check(root_hash, read).map_err(|error| error.to_string())
    }

    #[test]
    fn what_veritysetup_has_made_is_accepted_whatever_the_depth_of_the_tree() {
        // One block has no tree; 128 fill one level, 16384 two.
        for blocks in [1, 2, 128, 129, 300, 16_385] {
            let (bytes, root_hash) = formatted(blocks);
            assert_eq!(check(&bytes, root_hash), Ok(()), "{blocks} blocks");
        }
    }

    #[test]
    fn each_kind_of_damage_on_the_way_to_the_first_block_is_named() {
        let (bytes, root_hash) = formatted(300);
        let damaged = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            check(&bytes, root_hash).unwrap_err()
        };
        assert_eq!(damaged(7), "the first block of the root image is damaged");
        assert!(damaged(300 * BLOCK + 100).starts_with("the root hash does not match, it is "));
        assert_eq!(damaged(301 * BLOCK), "the hash tree is damaged in level 0");
        assert_eq!(damaged(1024), "it holds no root image (no EROFS superblock)");
        assert_eq!(
            damaged(1024 + 12),
            "the root image has blocks of 2^13 bytes, expected 4096 bytes"
        );
        // The two fields that are believed before they are verified.
        assert!(damaged(1024 + 36).starts_with("the root hash does not match"));
        assert!(damaged(1024 + 48).starts_with("the root hash does not match"));
        assert_eq!(
            check(&bytes, Sha256::of("other")).unwrap_err(),
            format!("the root hash does not match, it is {}", short(root_hash))
        );
    }

    #[test]
    fn the_target_is_written_as_the_kernel_documents_it() {
        let image = Image { blocks: 100, salt: [0xab; 16] };
        let target = image.target(Path::new("/dev/vda3"), Sha256::from_bytes([0x11; 32]));
        assert_eq!(target.sectors, 800);
        assert_eq!(
            target.parameters,
            format!(
                "1 /dev/vda3 /dev/vda3 4096 4096 100 100 sha256 {} {} 1 panic_on_corruption",
                "11".repeat(32),
                "ab".repeat(16)
            )
        );
    }

    proptest! {
        #[test]
        fn no_superblock_makes_us_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            let _ = Image::parse(&bytes);
            if bytes.len() >= 1100 {
                bytes[1024..1028].copy_from_slice(&EROFS_MAGIC.to_le_bytes());
                bytes[1036] = 12;
                if let Ok(image) = Image::parse(&bytes) {
                    let _ = image.check(Sha256::of(""), |_| Ok(vec![0; BLOCK]));
                }
            }
        }
    }
}
