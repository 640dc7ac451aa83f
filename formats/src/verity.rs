//! dm-verity hash trees: sha256, 4 KiB data and hash blocks, version 1 (the salt comes before the
//! block), without a superblock: where the tree is and what it hashes to travels on the kernel
//! command line, which is signed.
//!
//! A hash block holds the digests of 128 blocks below it, zeros after the last. Levels are stored
//! from the top down; the root hash is that of the one block of the top level, or of the data
//! itself if it is a single block (Linux `drivers/md/dm-verity-target.c`, `verity_ctr`;
//! <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>).

mod leaves;

use crate::digest::{Hasher, Sha256};

pub use leaves::{LeavesError, block_digest, leaves};

/// Bytes of a data block and of a hash block.
pub const BLOCK: u64 = 4096;

const BLOCK_BYTES: usize = 4096;
const DIGESTS_PER_BLOCK: u64 = 128;

/// The tree over some data, as a whole: for small ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// What vouches for all of the data.
    pub root_hash: Sha256,
    /// All levels, the top one first: [`tree_size`] bytes.
    pub tree: Vec<u8>,
    /// How many blocks of data it covers.
    pub data_blocks: u64,
}

impl Verity {
    /// The tree over `data`, whose every block is hashed after `salt`.
    ///
    /// # Errors
    /// See [`VerityError`].
    pub fn of(salt: &[u8], data: &[u8]) -> Result<Self, VerityError> {
        let data_blocks = (data.len() / BLOCK_BYTES) as u64;
        let mut hasher = TreeHasher::new(salt, data_blocks);
        hasher.update(data);
        let (root_hash, blocks) = hasher.finish()?;
        let mut tree: Vec<_> =
            blocks.into_iter().map(|block| (block.offset, block.bytes)).collect();
        tree.sort_unstable_by_key(|(offset, _)| *offset);
        Ok(Self {
            root_hash,
            tree: tree.into_iter().flat_map(|(_, bytes)| bytes).collect(),
            data_blocks,
        })
    }
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
    /// Where each level stands follows from how much data there is.
    #[error("a hash tree was begun for {expected} blocks of data, and {seen} came")]
    OtherLength {
        /// How many were announced.
        expected: u64,
        /// How many came.
        seen: u64,
    },
}

/// A block of the tree that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashBlock {
    /// Where it goes, in bytes from the beginning of the tree.
    pub offset: u64,
    /// 128 digests: 4096 bytes.
    pub bytes: Vec<u8>,
}

/// Hashes data that arrives in pieces of any size. Holds one block of each level, whatever the
/// size of the data: blocks that are complete are handed out on the way.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    /// Has seen the salt and nothing else.
    salted: Hasher,
    /// Has seen the salt and `filled` bytes of the block under way.
    current: Hasher,
    filled: usize,
    seen: u64,
    data_blocks: u64,
    // Invariant: from the level above the data to the top; no block is full.
    levels: Vec<Level>,
    root_hash: Option<Sha256>,
    complete: Vec<HashBlock>,
}

/// The block of a level that is being filled.
#[derive(Debug, Clone)]
struct Level {
    offset: u64,
    digests: Vec<u8>,
}

impl TreeHasher {
    /// Begins a tree over so many blocks of data, each of which is hashed after `salt`.
    pub fn new(salt: &[u8], data_blocks: u64) -> Self {
        let mut salted = Hasher::new();
        salted.update(salt);
        let sizes = level_sizes(data_blocks);
        // The top stands first.
        let offset = |level: usize| sizes[level + 1..].iter().sum::<u64>() * BLOCK;
        let level = |level| Level { offset: offset(level), digests: Vec::new() };
        Self {
            current: salted.clone(),
            salted,
            filled: 0,
            seen: 0,
            data_blocks,
            levels: (0..sizes.len()).map(level).collect(),
            root_hash: None,
            complete: Vec::new(),
        }
    }

    /// Takes the next piece of the data.
    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(BLOCK_BYTES - self.filled));
            self.current.update(piece);
            self.filled += piece.len();
            if self.filled == BLOCK_BYTES {
                let block = std::mem::replace(&mut self.current, self.salted.clone());
                self.filled = 0;
                self.seen += 1;
                // More than was announced has no place in the tree: `finish` refuses it.
                if self.seen <= self.data_blocks {
                    self.add(0, block.finish());
                }
            }
            data = rest;
        }
    }

    /// The blocks that have become complete since the last call.
    pub fn take_complete(&mut self) -> Vec<HashBlock> {
        std::mem::take(&mut self.complete)
    }

    /// All data was seen: completes the levels above it. The root hash, and the blocks that were
    /// not taken yet.
    ///
    /// # Errors
    /// See [`VerityError`].
    pub fn finish(mut self) -> Result<(Sha256, Vec<HashBlock>), VerityError> {
        if self.filled > 0 {
            return Err(VerityError::PartialBlock(self.filled));
        }
        if self.seen != self.data_blocks {
            return Err(VerityError::OtherLength { expected: self.data_blocks, seen: self.seen });
        }
        for level in 0..self.levels.len() {
            if !self.levels[level].digests.is_empty() {
                self.complete_block(level);
            }
        }
        Ok((self.root_hash.ok_or(VerityError::NoData)?, self.complete))
    }

    fn add(&mut self, level: usize, digest: Sha256) {
        let Some(Level { digests, .. }) = self.levels.get_mut(level) else {
            self.root_hash = Some(digest);
            return;
        };
        digests.extend(digest.as_bytes());
        if digests.len() == BLOCK_BYTES {
            self.complete_block(level);
        }
    }

    fn complete_block(&mut self, level: usize) {
        let Level { offset, digests } = &mut self.levels[level];
        let mut bytes = std::mem::take(digests);
        bytes.resize(BLOCK_BYTES, 0);
        let mut hasher = self.salted.clone();
        hasher.update(&bytes);
        self.complete.push(HashBlock { offset: *offset, bytes });
        *offset += BLOCK;
        self.add(level + 1, hasher.finish());
    }
}

/// How many blocks each level has, the one above the data first.
fn level_sizes(data_blocks: u64) -> Vec<u64> {
    let above = |blocks: &u64| Some(blocks.div_ceil(DIGESTS_PER_BLOCK));
    let levels = std::iter::successors(above(&data_blocks), above);
    let mut sizes: Vec<_> = levels.take_while(|blocks| *blocks > 1).collect();
    if data_blocks > 1 {
        sizes.push(1);
    }
    sizes
}

/// Bytes of the tree over so many blocks of data.
pub fn tree_size(data_blocks: u64) -> u64 {
    level_sizes(data_blocks).iter().sum::<u64>() * BLOCK
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

    #[test]
    fn one_block_is_its_own_tree() {
        let data = [7; BLOCK_BYTES];
        let root_hash = Sha256::of([b"salt".as_slice(), &data].concat());
        let want = Verity { root_hash, tree: Vec::new(), data_blocks: 1 };
        assert_eq!(Verity::of(b"salt", &data), Ok(want));
    }

    #[test]
    fn two_blocks_have_one_hash_block_above_them() {
        let [one, two] = [[1; BLOCK_BYTES], [2; BLOCK_BYTES]];
        let mut block = [one, two].map(|data| *Sha256::of(data).as_bytes()).as_flattened().to_vec();
        block.resize(BLOCK_BYTES, 0);
        let verity = Verity::of(b"", [one, two].as_flattened()).unwrap();
        assert_eq!(verity, Verity { root_hash: Sha256::of(&block), tree: block, data_blocks: 2 });
    }

    #[test]
    fn data_must_be_whole_blocks() {
        let of = |announced, data: &[u8]| {
            let mut hasher = TreeHasher::new(b"", announced);
            hasher.update(data);
            hasher.finish()
        };
        assert_eq!(of(0, b""), Err(VerityError::NoData));
        assert_eq!(of(1, &[0; 5000]), Err(VerityError::PartialBlock(904)));
        for announced in [0, 1, 3, 129] {
            let error = VerityError::OtherLength { expected: announced, seen: 2 };
            assert_eq!(of(announced, &[0; 8192]), Err(error));
        }
    }

    #[test]
    fn what_is_held_does_not_grow_with_the_data() {
        let blocks = 3 * 128 * 128;
        let mut hasher = TreeHasher::new(b"", blocks);
        let (mut written, mut most) = (0, 0);
        for _ in 0..blocks {
            hasher.update(&[7; BLOCK_BYTES]);
            let held = |levels: &[Level]| levels.iter().map(|level| level.digests.len()).sum();
            most = most.max(held(&hasher.levels));
            written += hasher.take_complete().len() as u64;
        }
        assert!(most <= 3 * BLOCK_BYTES, "{most}");
        let (_, rest) = hasher.finish().unwrap();
        assert_eq!((written + rest.len() as u64) * BLOCK, tree_size(blocks));
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
            blocks in prop_oneof![1_usize..6, 127_usize..131],
            pieces in prop::collection::vec(1_usize..9000, 1..8),
        ) {
            let data: Vec<u8> = (0..=u8::MAX).cycle().take(blocks * BLOCK_BYTES).collect();
            let mut hasher = TreeHasher::new(b"salt", blocks as u64);
            let mut rest = data.as_slice();
            let mut taken = Vec::new();
            for size in pieces.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*size));
                hasher.update(piece);
                taken.extend(hasher.take_complete());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let (root_hash, last) = hasher.finish().unwrap();
            taken.extend(last);
            taken.sort_by_key(|block| block.offset);
            let tree = taken.into_iter().flat_map(|block| block.bytes).collect();
            let whole = Verity { root_hash, tree, data_blocks: blocks as u64 };
            prop_assert_eq!(Ok(whole), Verity::of(b"salt", &data));
        }
    }
}
