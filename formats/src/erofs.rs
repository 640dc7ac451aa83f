//! Writes and reads EROFS images: uncompressed, 4 KiB blocks, no incompatible features, so that any Linux
//! since 5.4 mounts them. The format is Linux `fs/erofs/erofs_fs.h`; names in the code are its.
//!
//! ```text
//! block 0      superblock (at byte 1024)
//! block 1 ...  inodes, root first, in the order of paths, each with its attributes and small content
//! ...          blocks of large directories
//! ...          zeros up to a multiple of 256 KiB
//! ...          contents of files, in the order of paths, each on its own blocks
//! ```
//! [`Plan::new`] decides everything from metadata; [`Plan::segments`] then yields the image from
//! its first byte to its last, contents only by name.
//!
//! The layout is made to stay: metadata may grow into the zeros before the first file, and a large
//! file into those behind it, without moving any other file's blocks.

mod crc32c;
mod directory;
mod disk;
mod layout;
mod locate;
pub mod read;
mod superblock;
mod xattr;

use crate::segment::{Segment, gather};
use crate::tree::{Blob, Tree, TreePath};
use layout::{Content, Inode, Layout};

pub use locate::Located;
pub use superblock::{Superblock, SuperblockError};
pub use xattr::XattrError;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// What shapes an image beside its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The time of all inodes: seconds since 1970.
    pub epoch: u64,
    /// Names the volume.
    pub uuid: [u8; 16],
    /// At most 15 bytes, without NUL.
    pub volume_name: String,
}

/// The tree cannot become an EROFS image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It would not fit into the superblock. (Older Linux wants a NUL behind it.)
    #[error("the volume name `{0}` is not 0 to 15 bytes without NUL")]
    VolumeName(String),
    /// More than permission, set-id and sticky bits.
    #[error("the mode of {path} is 0o{mode:o}, more than 0o7777")]
    Mode {
        /// Whose mode.
        path: TreePath,
        /// The mode.
        mode: u16,
    },
    /// Linux takes no such symbolic link.
    #[error("the target of the symbolic link {path} is not 1 to 4095 bytes without NUL")]
    Target {
        /// Whose target.
        path: TreePath,
    },
    /// The format cannot hold the extended attributes.
    #[error("cannot store the extended attributes of {path}")]
    Xattr {
        /// Whose attributes.
        path: TreePath,
        /// Which and why.
        source: XattrError,
    },
    /// Block addresses have 32 bits.
    #[error("the image would have more than 2^32 blocks of 4096 bytes")]
    TooLarge,
}

/// A whole image, decided and not yet written. Made only by [`Plan::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    superblock: Superblock,
    // Invariant: in the order of paths, which is also the order of nids; the root is the first.
    inodes: Vec<Inode>,
    // Invariant: offsets ascend, and a piece ends before the next one begins.
    pieces: Vec<(u64, Piece)>,
}

/// Something that stands at a known place in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Superblock,
    /// The inode of this index, its attributes, and its inline content unless that is a file's.
    Inode(usize),
    /// What the inode of this index has in blocks of its own: a directory or a link's target.
    Blocks(usize),
    /// A file's content.
    Content(Blob),
}

impl Plan {
    /// Lays out the whole image without looking at any content.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(tree: &Tree, options: &Options) -> Result<Self, PlanError> {
        if options.volume_name.len() > 15 || options.volume_name.contains('\0') {
            return Err(PlanError::VolumeName(options.volume_name.clone()));
        }
        layout::plan(tree, options)
    }

    /// Bytes of the image: a multiple of 4096.
    pub fn image_size(&self) -> u64 {
        self.superblock.image_size()
    }

    /// What the image says about itself.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The image from its first byte to its last.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let ends = self.pieces.iter().skip(1).map(|(offset, _)| *offset).chain([self.image_size()]);
        gather(self.pieces.iter().zip(ends).map(|((start, piece), end)| {
            let room = end - start;
            let mut bytes = match piece {
                Piece::Superblock => self.superblock.encode(),
                Piece::Inode(index) => self.encode_inode(*index),
                Piece::Blocks(index) => self.encode_blocks(*index),
                Piece::Content(blob) => {
                    return Segment::Blob { blob: *blob, padding: room - blob.size };
                }
            };
            bytes.resize(memory_size(room), 0);
            Segment::Bytes(bytes)
        }))
    }

    /// One line for the image and one for each path: what stands where. For people and tests.
    pub fn dump(&self) -> String {
        let Superblock { blocks, inodes, build_time, volume_name, .. } = &self.superblock;
        let mut text =
            format!("erofs `{volume_name}`: {blocks} blocks, {inodes} inodes, time {build_time}\n");
        for inode in &self.inodes {
            text += &self.dump_inode(inode);
            text.push('\n');
        }
        text
    }

    fn dump_inode(&self, inode: &Inode) -> String {
        let Inode { path, nid, mode, uid, gid, nlink, size, .. } = inode;
        let form = if inode.is_compact() { "compact" } else { "extended" };
        let mut line = format!("{path} nid {nid} {form} {mode:06o} {uid}:{gid} links {nlink}");
        let xattrs = inode.xattrs.bytes.len();
        if xattrs > 0 {
            line += &format!(" xattrs {xattrs}");
        }
        line += &format!(" size {size}");
        let blocks = inode.blocks();
        if blocks > 0 {
            line += &format!(" blocks {}+{blocks}", inode.block);
        }
        if inode.layout == Layout::Inline {
            line += &format!(" inline {}", inode.inline_size());
        }
        line
    }

    fn encode_inode(&self, index: usize) -> Vec<u8> {
        let inode = &self.inodes[index];
        let mut bytes = inode.encode(index, self.superblock.build_time);
        bytes.extend(&inode.xattrs.bytes);
        if inode.layout == Layout::Inline {
            match &inode.content {
                Content::Directory { .. } => {
                    let content = self.encode_directory(index);
                    let in_blocks = memory_size(inode.blocks() * BLOCK);
                    bytes.extend(&content[in_blocks..]);
                }
                Content::Symlink(target) => bytes.extend(target.as_bytes()),
                Content::File(_) => {}
            }
        }
        bytes
    }

    fn encode_blocks(&self, index: usize) -> Vec<u8> {
        let inode = &self.inodes[index];
        let mut bytes = match &inode.content {
            Content::Directory { .. } => self.encode_directory(index),
            Content::Symlink(target) => target.clone().into_bytes(),
            Content::File(_) => Vec::new(),
        };
        bytes.truncate(memory_size(inode.blocks() * BLOCK));
        bytes
    }

    fn encode_directory(&self, index: usize) -> Vec<u8> {
        directory::encode(&layout::entries(&self.inodes, index))
    }
}

/// The size of metadata that is about to be held in memory.
#[expect(clippy::cast_possible_truncation, reason = "images are built on 64-bit hosts")]
fn memory_size(bytes: u64) -> usize {
    bytes as usize
}
