//! What a root image says about itself: its superblock, and the root hash of its hash tree.

use std::io;

use formats::digest::Hasher;
use formats::erofs::Superblock;
use formats::verity;
use serde::Serialize;
use uuid::Uuid;

use super::file::Image;
use crate::stored::Hex;

/// `EROFS_SUPER_MAGIC_V1` as it stands at byte 1024.
const MAGIC: [u8; 4] = [0xE2, 0xE1, 0xF5, 0xE0];
/// The largest block, all of which the checksum of the superblock may cover.
const MOST_BLOCK: u64 = 64 << 10;

/// A root image: EROFS, and its hash tree behind it. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RootSummary {
    /// The volume's name: that of the image's recipe.
    pub volume: String,
    /// The volume's UUID, which is the salt of the hash tree.
    pub uuid: String,
    /// Of the EROFS; the hash tree begins here.
    pub data_size: u64,
    /// Of the hash tree; 0 if there is none.
    pub tree_size: u64,
    /// Seconds since 1970.
    pub build_time: u64,
    /// How many files, directories and links there are.
    pub inodes: u64,
    /// The root hash that the top of the tree amounts to; nothing without a tree. Neither the rest
    /// of the tree nor the data is read for it.
    pub root_hash: Option<Hex>,
}

/// Whether an image that begins with `head` is EROFS.
pub(crate) fn is_erofs(head: &[u8]) -> bool {
    head.get(1024..1028) == Some(MAGIC.as_slice())
}

impl RootSummary {
    /// Of the EROFS at `offset` of `image`, in a place of `room` bytes. What is wrong with it
    /// comes as text.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub(super) fn read(image: &Image, offset: u64, room: u64) -> io::Result<Result<Self, String>> {
        Self::read_with(room, |at, length| image.read(offset + at, length))
    }

    /// As [`RootSummary::read`]; `read` reads so many bytes from an offset of the place on, both
    /// multiples of a sector if the place has whole ones.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read_with(
        room: u64,
        read: impl Fn(u64, u64) -> io::Result<Vec<u8>>,
    ) -> io::Result<Result<Self, String>> {
        let head = read(0, room.min(MOST_BLOCK))?;
        let superblock = match Superblock::parse(&head) {
            Ok(superblock) => superblock,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let data_size = superblock.image_size();
        if data_size > room {
            let message = format!("it has {data_size} bytes and only {room} are there");
            return Ok(Err(message));
        }
        let blocks = u64::from(superblock.blocks);
        let tree_size = verity::tree_size(blocks);
        let has_tree = u64::from(superblock.block_size) == verity::BLOCK
            && blocks > 0
            && data_size + tree_size <= room;
        let root_hash = if has_tree {
            // The top level is one block and comes first; of a single block of data it is that.
            let top = if tree_size == 0 { 0 } else { data_size };
            let mut hasher = Hasher::new();
            hasher.update(superblock.uuid);
            hasher.update(read(top, verity::BLOCK)?);
            Some(Hex(hasher.finish()))
        } else {
            None
        };
        Ok(Ok(Self {
            volume: superblock.volume_name,
            uuid: Uuid::from_bytes(superblock.uuid).to_string(),
            data_size,
            tree_size: if has_tree { tree_size } else { 0 },
            build_time: superblock.build_time,
            inodes: superblock.inodes,
            root_hash,
        }))
    }
}
