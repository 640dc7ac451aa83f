//! dm-verity hash trees: sha256, 4 KiB data and hash blocks, version 1 (the salt comes before the
//! block), without a superblock: where the tree is and what it hashes to travels on the kernel
//! command line, which is signed.
//!
//! A hash block holds the digests of 128 blocks below it, zeros after the last. Levels are stored
//! from the top down; the root hash is that of the one block of the top level, or of the data
//! itself if it is a single block (Linux `drivers/md/dm-verity-target.c`, `verity_ctr`;
//! <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>).

use crate::digest::{Hasher, Sha256};

/// Bytes of a data block and of a hash block.
pub const BLOCK: u64 = 4096;

const BLOCK_BYTES: usize = 4096;
const DIGEST_BYTES: usize = 32;
const DIGESTS_PER_BLOCK: u64 = 128;

/// The tree over some data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// What vouches for all of the data.
    pub root_hash: Sha256,
    /// All levels, the top one first: [`tree_size`] bytes.
    pub tree: Vec<u8>,
    /// How many blocks of data it covers.
    pub data_blocks: u64,
}

/// The data cannot have a hash tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerityError {
    /// There is no block to begin with.
    #[error("a hash tree needs at least one block of data")]
    NoData,
    /// The last block is not whole.
    #[error("a hash tree needs whole blocks of 4096 bytes, the last one has {0}")]
    PartialBlock(usize),
}

/// Hashes data that arrives in pieces of any size. Holds 32 bytes for each 4 KiB seen.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    /// Has seen the salt and nothing else.
    salted: Hasher,
    /// Has seen the salt and `filled` bytes of the block under way.
    current: Hasher,
    filled: usize,
    /// The digests of all blocks before it.
    leaves: Vec<u8>,
}

impl TreeHasher {
    /// Begins a tree whose every block is hashed after `salt`.
    pub fn new(salt: &[u8]) -> Self {
        let mut salted = Hasher::new();
        salted.update(salt);
        Self { current: salted.clone(), salted, filled: 0, leaves: Vec::new() }
    }

    /// Takes the next piece of the data.
    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(BLOCK_BYTES - self.filled));
            self.current.update(piece);
            self.filled += piece.len();
            if self.filled == BLOCK_BYTES {
                let block = std::mem::replace(&mut self.current, self.salted.clone());
                self.leaves.extend(block.finish().as_bytes());
                self.filled = 0;
            }
            data = rest;
        }
    }

    /// All data was seen: builds the levels above it.
    ///
    /// # Errors
    /// See [`VerityError`].
    pub fn finish(self) -> Result<Verity, VerityError> {
        if self.filled > 0 {
            return Err(VerityError::PartialBlock(self.filled));
        }
        let data_blocks = (self.leaves.len() / DIGEST_BYTES) as u64;
        let mut digests = self.leaves;
        let mut levels = Vec::new();
        while digests.len() > DIGEST_BYTES {
            digests.resize(digests.len().next_multiple_of(BLOCK_BYTES), 0);
            let hash = |block: &[u8]| {
                let mut hasher = self.salted.clone();
                hasher.update(block);
                *hasher.finish().as_bytes()
            };
            let above = digests.chunks(BLOCK_BYTES).flat_map(hash).collect();
            levels.push(std::mem::replace(&mut digests, above));
        }
        let root_hash = Sha256::from_bytes(digests.try_into().map_err(|_| VerityError::NoData)?);
        levels.reverse();
        Ok(Verity { root_hash, tree: levels.concat(), data_blocks })
    }
}

/// Bytes of the tree over so many blocks of data.
pub fn tree_size(data_blocks: u64) -> u64 {
    let mut size = 0;
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(DIGESTS_PER_BLOCK);
        size += blocks * BLOCK;
    }
    size
}

/// What the kernel must know to verify a device which holds data and tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Blocks of data, from the start of the device.
    pub data_blocks: u64,
    /// The block of the device at which the tree begins.
    pub hash_start_block: u64,
    /// What every block is hashed after.
    pub salt: Vec<u8>,
    /// What the top of the tree hashes to.
    pub root_hash: Sha256,
}

/// What the kernel does when a block is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCorruption {
    /// The read fails.
    Fail,
    /// The kernel panics, so that a node reboots and a bad slot is left.
    Panic,
}

impl Params {
    /// The length of the verified device in sectors of 512 bytes, as device-mapper counts.
    pub fn sectors(&self) -> u64 {
        self.data_blocks * (BLOCK / 512)
    }

    /// The arguments of a `verity` target whose data and tree are both on `device` (Linux
    /// `Documentation/admin-guide/device-mapper/verity.rst`).
    pub fn table_line(&self, device: &str, on_corruption: OnCorruption) -> String {
        let Self { data_blocks, hash_start_block, salt, root_hash } = self;
        let mut line = format!(
            "1 {device} {device} {BLOCK} {BLOCK} {data_blocks} {hash_start_block} sha256 \
             {root_hash} "
        );
        if salt.is_empty() {
            line.push('-');
        }
        for byte in salt {
            line += &format!("{byte:02x}");
        }
        match on_corruption {
            OnCorruption::Fail => line,
            OnCorruption::Panic => line + " 1 panic_on_corruption",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(salt: &[u8], data: &[u8]) -> Result<Verity, VerityError> {
        let mut hasher = TreeHasher::new(salt);
        hasher.update(data);
        hasher.finish()
    }

    #[test]
    fn one_block_is_its_own_tree() {
        let data = [7; BLOCK_BYTES];
        let root_hash = Sha256::of([b"salt".as_slice(), &data].concat());
        let want = Verity { root_hash, tree: Vec::new(), data_blocks: 1 };
        assert_eq!(tree(b"salt", &data), Ok(want));
    }

    #[test]
    fn two_blocks_have_one_hash_block_above_them() {
        let [one, two] = [[1; BLOCK_BYTES], [2; BLOCK_BYTES]];
        let mut block = [one, two].map(|data| *Sha256::of(data).as_bytes()).as_flattened().to_vec();
        block.resize(BLOCK_BYTES, 0);
        let verity = tree(b"", [one, two].as_flattened()).unwrap();
        assert_eq!(verity, Verity { root_hash: Sha256::of(&block), tree: block, data_blocks: 2 });
    }

    #[test]
    fn data_must_be_whole_blocks() {
        assert_eq!(tree(b"", b""), Err(VerityError::NoData));
        assert_eq!(tree(b"", &[0; 5000]), Err(VerityError::PartialBlock(904)));
    }

    #[test]
    fn the_size_of_the_tree_is_known_before() {
        // (data blocks, hash blocks)
        for (data, hashes) in
            [(0, 0), (1, 0), (2, 1), (128, 1), (129, 3), (16384, 129), (16385, 132)]
        {
            assert_eq!(tree_size(data), hashes * BLOCK, "{data}");
        }
    }

    #[test]
    fn the_table_line_is_what_the_kernel_documents() {
        let mut params = Params {
            data_blocks: 100,
            hash_start_block: 128,
            salt: vec![0x0A, 0xFF],
            root_hash: Sha256::of("abc"),
        };
        let root = Sha256::of("abc");
        assert_eq!(
            params.table_line("253:2", OnCorruption::Panic),
            format!("1 253:2 253:2 4096 4096 100 128 sha256 {root} 0aff 1 panic_on_corruption")
        );
        params.salt.clear();
        assert_eq!(
            params.table_line("/dev/vda3", OnCorruption::Fail),
            format!("1 /dev/vda3 /dev/vda3 4096 4096 100 128 sha256 {root} -")
        );
        assert_eq!(params.sectors(), 800);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn how_the_data_is_cut_does_not_matter(
            blocks in 1_usize..6,
            pieces in prop::collection::vec(1_usize..9000, 1..8),
        ) {
            let data: Vec<u8> = (0..=u8::MAX).cycle().take(blocks * BLOCK_BYTES).collect();
            let mut hasher = TreeHasher::new(b"salt");
            let mut rest = data.as_slice();
            for size in pieces.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*size));
                hasher.update(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(hasher.finish(), tree(b"salt", &data));
        }
    }
}
