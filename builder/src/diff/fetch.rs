//! What a node that has the first side would have to fetch to get the second: an estimate, until
//! there are releases and deltas.

use std::collections::BTreeSet;

use serde::Serialize;

/// Bytes of a block: those of EROFS and of dm-verity.
pub const BLOCK: usize = 4096;

/// The estimate. All sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fetch {
    /// What it is an estimate of.
    pub by: By,
    /// All of it.
    pub bytes: u64,
    /// What the second side has altogether.
    pub of: u64,
    /// Of the root: blocks or objects that the first side does not have.
    pub root: u64,
    /// Of the hash tree, by which a node finds what it has already.
    pub tree: Option<u64>,
    /// Of the UKI without its padding, which is fetched whole; nothing if a side has none.
    pub uki: Option<u64>,
}

/// How it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// 4 KiB blocks of the second root image that are nowhere in the first, not compressed.
    Blocks,
    /// Objects of the second commit that the first does not name, as a repository has them:
    /// deflated.
    Objects,
}

impl By {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Blocks => {
                "4 KiB blocks of the root image that are nowhere in the first one, its hash tree, \
                 and the UKI without its padding, none of it compressed"
            }
            Self::Objects => "objects that the first commit does not have, deflated",
        }
    }
}

/// What is known of a root image, to estimate by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// A number for each block of data that is the same for equal blocks.
    pub numbers: Vec<u64>,
    /// Bytes of the hash tree.
    pub tree: u64,
    /// Bytes of the UKI and a number for it.
    pub uki: Option<(u64, u64)>,
}

/// The estimate by blocks. A block that is there several times is fetched once.
pub fn by_blocks(before: &Blocks, after: &Blocks) -> Fetch {
    let bytes = |blocks: usize| (blocks * BLOCK) as u64;
    let known: BTreeSet<_> = before.numbers.iter().collect();
    let wanted: BTreeSet<_> = after.numbers.iter().collect();
    let root = bytes(wanted.difference(&known).count());
    let tree = if root == 0 { 0 } else { after.tree };
    let uki = before.uki.zip(after.uki);
    let uki = uki.map(|(before, after)| if before.1 == after.1 { 0 } else { after.0 });
    let whole = after.uki.filter(|_| uki.is_some()).map_or(0, |(size, _)| size);
    Fetch {
        by: By::Blocks,
        bytes: root + tree + uki.unwrap_or_default(),
        of: bytes(after.numbers.len()) + after.tree + whole,
        root,
        tree: Some(tree),
        uki,
    }
}
