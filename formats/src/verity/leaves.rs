//! The digests of an image's data blocks: out of its tree, or of blocks that somebody has. Two
//! blocks with one digest under one salt are the same bytes.

use super::{BLOCK_BYTES, DIGESTS_PER_BLOCK, level_sizes, tree_size};
use crate::digest::{Hasher, Sha256};

/// An image has no more blocks than this: EROFS has addresses of 32 bits.
const MOST_BLOCKS: u64 = 1 << 32;

/// A tree cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeavesError {
    /// There is no image of this size.
    #[error("an image of {0} blocks has no hash tree")]
    Blocks(u64),
    /// It is not the tree of so much data.
    #[error("the hash tree over {blocks} blocks has {expected} bytes, and {seen} came")]
    Size {
        /// Blocks of data.
        blocks: u64,
        /// Bytes that the tree has.
        expected: u64,
        /// Bytes that came.
        seen: u64,
    },
    /// A block of it does not have the digest that the level above it says.
    #[error("block {0} of the hash tree is not the one that the root hash vouches for")]
    Block(u64),
}

/// The digest of one block of data, hashed after `salt` as the tree has it.
pub fn block_digest(salt: &[u8], block: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(block);
    hasher.finish()
}

/// The digests of all data blocks, in order, out of a whole tree whose every block was checked on
/// the way down from the root hash.
///
/// # Errors
/// See [`LeavesError`].
pub fn leaves(
    salt: &[u8],
    root_hash: &Sha256,
    data_blocks: u64,
    tree: &[u8],
) -> Result<Vec<Sha256>, LeavesError> {
    if !(1..=MOST_BLOCKS).contains(&data_blocks) {
        return Err(LeavesError::Blocks(data_blocks));
    }
    let (expected, seen) = (tree_size(data_blocks), tree.len() as u64);
    if expected != seen {
        return Err(LeavesError::Size { blocks: data_blocks, expected, seen });
    }
    // How many digests each level holds, from the top: as many as the level below it has blocks.
    let mut counts = level_sizes(data_blocks);
    counts.reverse();
    counts.push(data_blocks);
    let mut digests = vec![*root_hash];
    let mut blocks = (0..).zip(tree.chunks_exact(BLOCK_BYTES));
    for count in counts.into_iter().skip(1) {
        let mut below = Vec::new();
        for (digest, (number, block)) in digests.iter().zip(&mut blocks) {
            if block_digest(salt, block) != *digest {
                return Err(LeavesError::Block(number));
            }
            let missing = count - below.len() as u64;
            let held = block.as_chunks().0.iter().copied().map(Sha256::from_bytes);
            below.extend(held.zip(0..missing.min(DIGESTS_PER_BLOCK)).map(|(digest, _)| digest));
        }
        digests = below;
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::Verity;

    const SALT: &[u8] = b"salt";

    /// An image of so many blocks, no two alike.
    fn image(blocks: u32) -> Vec<u8> {
        let block = |number: u32| {
            let mut block = number.to_le_bytes().to_vec();
            block.resize(BLOCK_BYTES, 0);
            block
        };
        (0..blocks).flat_map(block).collect()
    }

    #[test]
    fn the_leaves_of_a_tree_are_the_digests_of_the_blocks() {
        for blocks in [1, 2, 127, 128, 129, 300] {
            let image = image(blocks);
            let Verity { root_hash, tree, data_blocks } = Verity::of(SALT, &image).unwrap();
            let want: Vec<_> =
                image.chunks(BLOCK_BYTES).map(|block| block_digest(SALT, block)).collect();
            assert_eq!(leaves(SALT, &root_hash, data_blocks, &tree), Ok(want), "{blocks}");
        }
    }

    #[test]
    fn a_level_above_a_level_above_the_blocks_is_gone_down_too() {
        // A tree of three levels, whose leaves are zeros: nobody makes an image for that.
        let blocks = 128 * 128 + 1;
        let Verity { root_hash, tree, .. } =
            Verity::of(SALT, &vec![0; blocks * BLOCK_BYTES]).unwrap();
        let found = leaves(SALT, &root_hash, blocks as u64, &tree).unwrap();
        let zeros = block_digest(SALT, &[0; BLOCK_BYTES]);
        assert!(found.len() == blocks && found.iter().all(|digest| *digest == zeros));
    }

    #[test]
    fn a_tree_that_was_changed_anywhere_is_refused() {
        let Verity { root_hash, tree, data_blocks } = Verity::of(SALT, &image(300)).unwrap();
        let of = |salt: &[u8], blocks, tree: &[u8]| leaves(salt, &root_hash, blocks, tree);
        for (at, block) in [(0, 0), (200, 0), (4096, 1), (3 * 4096 + 9, 3)] {
            let mut tree = tree.clone();
            tree[at] ^= 1;
            assert_eq!(of(SALT, data_blocks, &tree), Err(LeavesError::Block(block)), "{at}");
        }
        assert_eq!(of(b"pepper", data_blocks, &tree), Err(LeavesError::Block(0)));
        let size = |blocks, expected, seen| Err(LeavesError::Size { blocks, expected, seen });
        assert_eq!(of(SALT, 300, &tree[1..]), size(300, 16384, 16383));
        assert_eq!(of(SALT, 128, &tree), size(128, 4096, 16384));
        assert_eq!(of(SALT, 1, &tree), size(1, 0, 16384));
        for blocks in [0, MOST_BLOCKS + 1, u64::MAX] {
            assert_eq!(of(SALT, blocks, &tree), Err(LeavesError::Blocks(blocks)));
        }
    }
}
