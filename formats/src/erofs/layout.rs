//! Decides where everything goes: first what each inode is, then where the inodes stand (their
//! nids), then blocks of directories, then blocks of files.

use std::collections::{BTreeMap, HashMap};

use super::directory::{self, Entry};
use super::disk::{self, Compact, Extended, SLOT};
use super::superblock::Superblock;
use super::xattr::Body;
use super::{BLOCK, Options, Piece, Plan, PlanError};
use crate::tree::{Blob, Kind, Node, Tree, TreePath};

/// Contents up to this size stand behind their inode instead of in blocks of their own. Small, for
/// a file that keeps whole blocks can be found by them in the next image, wherever they are.
const INLINE_BYTES: u64 = 2048;
/// Files begin at a multiple of this after the metadata: 256 KiB of room for it to grow.
const METADATA_STEP: u32 = 64;
/// A file of at least this size ...
const LARGE_BYTES: u64 = 1 << 20;
/// ... is followed by room up to a multiple of this: 64 KiB.
const LARGE_STEP: u32 = 16;
/// Linux `PATH_MAX` without its NUL.
const TARGET_BYTES: usize = 4095;

/// One inode, decided. Whether it is compact follows from its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) path: TreePath,
    /// With the type bits.
    pub(super) mode: u16,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) xattrs: Body,
    pub(super) content: Content,
    pub(super) layout: Layout,
    /// Its byte offset in the image in units of 32.
    pub(super) nid: u64,
    /// The first of its [`Inode::blocks`], 0 if there are none.
    pub(super) block: u32,
}

/// What an inode holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    File(Blob),
    Symlink(String),
    /// Indices of inodes; the children in the order of their names.
    Directory {
        parent: usize,
        children: Vec<usize>,
    },
}

/// Where the content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All of it in blocks.
    Plain,
    /// Whole blocks in blocks, the rest (never nothing) behind the inode.
    Inline,
}

impl Inode {
    /// How many blocks of its own it has.
    pub(super) fn blocks(&self) -> u64 {
        match self.layout {
            Layout::Plain => self.size.div_ceil(BLOCK),
            Layout::Inline => self.size / BLOCK,
        }
    }

    /// Bytes of content behind the inode.
    pub(super) fn inline_size(&self) -> u64 {
        match self.layout {
            Layout::Plain => 0,
            Layout::Inline => self.size % BLOCK,
        }
    }

    pub(super) fn is_compact(&self) -> bool {
        self.compact(0).is_some()
    }

    /// The inode as it stands on disk, without attributes and content.
    pub(super) fn encode(&self, index: usize, epoch: u64) -> Vec<u8> {
        // Only what 32-bit programs see as the inode number: root is 1.
        let i_ino = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let extended = || Extended {
            i_format: self.format(),
            i_xattr_icount: self.xattrs.count,
            i_mode: self.mode,
            i_size: self.size,
            raw_blkaddr: self.block,
            i_ino,
            i_uid: self.uid,
            i_gid: self.gid,
            i_mtime: epoch,
            i_nlink: self.nlink,
        };
        self.compact(i_ino).map_or_else(|| extended().encode(), |compact| compact.encode())
    }

    /// The compact form if everything fits.
    fn compact(&self, i_ino: u32) -> Option<Compact> {
        Some(Compact {
            i_format: self.format(),
            i_xattr_icount: self.xattrs.count,
            i_mode: self.mode,
            i_nlink: self.nlink.try_into().ok()?,
            i_size: self.size.try_into().ok()?,
            raw_blkaddr: self.block,
            i_ino,
            i_uid: self.uid.try_into().ok()?,
            i_gid: self.gid.try_into().ok()?,
        })
    }

    fn format(&self) -> u16 {
        match self.layout {
            Layout::Plain => disk::FLAT_PLAIN,
            Layout::Inline => disk::FLAT_INLINE,
        }
    }

    fn header_size(&self) -> u64 {
        if self.is_compact() { Compact::SIZE } else { Extended::SIZE }
    }

    /// Where its inline content begins, counted from the start of the inode.
    pub(super) fn inline_offset(&self) -> u64 {
        self.header_size() + self.xattrs.bytes.len() as u64
    }

    fn choose_layout(&mut self) {
        let tail = self.size % BLOCK;
        let wanted = match self.content {
            Content::File(_) => (1..=INLINE_BYTES).contains(&self.size),
            Content::Directory { .. } => (1..=INLINE_BYTES).contains(&tail),
            // Linux reads links of this kind together with their inode.
            Content::Symlink(_) => true,
        };
        if wanted && self.inline_offset() + tail <= BLOCK {
            self.layout = Layout::Inline;
        }
    }
}

/// Lays out the whole image.
pub(super) fn plan(tree: &Tree, options: &Options) -> Result<Plan, PlanError> {
    let mut inodes = inodes(tree)?;
    let mut pieces = vec![(0, Piece::Superblock)];
    let metadata_end = place_inodes(&mut inodes, &mut pieces);
    let blocks = place_blocks(&mut inodes, metadata_end, &mut pieces)?;
    let superblock = Superblock {
        block_size: 1 << 12,
        blocks,
        inodes: inodes.len() as u64,
        root_nid: ROOT_NID,
        build_time: options.epoch,
        uuid: options.uuid,
        volume_name: options.volume_name.clone(),
        feature_compat: Superblock::FEATURE_COMPAT,
        feature_incompat: 0,
    };
    Ok(Plan { superblock, inodes, pieces })
}

/// The root is the first inode, at the start of block 1.
const ROOT_NID: u16 = 4096 / 32;

/// What each path becomes, all but its place.
fn inodes(tree: &Tree) -> Result<Vec<Inode>, PlanError> {
    let indices: BTreeMap<_, _> = tree.iter().map(|(path, _)| path).zip(0..).collect();
    let mut inodes = Vec::with_capacity(tree.len());
    let mut parents = Vec::with_capacity(tree.len());
    for (path, node) in tree.iter() {
        // The root is its own parent, as `..` says.
        parents.push(path.parent().map_or(0, |parent| indices[&parent]));
        inodes.push(inode(path, node)?);
    }
    for index in 0..inodes.len() {
        let above = parents[index];
        let is_directory = matches!(inodes[index].content, Content::Directory { .. });
        if let Content::Directory { parent, .. } = &mut inodes[index].content {
            *parent = above;
        }
        if let Content::Directory { children, .. } = &mut inodes[above].content
            && index > 0
        {
            children.push(index);
            inodes[above].nlink += u32::from(is_directory);
        }
    }
    for index in 0..inodes.len() {
        if let Content::Directory { .. } = inodes[index].content {
            inodes[index].size = directory::size(&entries(&inodes, index));
        }
        inodes[index].choose_layout();
    }
    Ok(inodes)
}

fn inode(path: &TreePath, node: &Node) -> Result<Inode, PlanError> {
    let Node { kind, mode, uid, gid, xattrs } = node;
    if *mode > 0o7777 {
        return Err(PlanError::Mode { path: path.clone(), mode: *mode });
    }
    let xattrs =
        Body::new(xattrs).map_err(|source| PlanError::Xattr { path: path.clone(), source })?;
    let (file_type, nlink, size, content) = match kind {
        Kind::File(blob) => (disk::S_IFREG, 1, blob.size, Content::File(*blob)),
        Kind::Symlink(target) => {
            if !(1..=TARGET_BYTES).contains(&target.len()) || target.contains('\0') {
                return Err(PlanError::Target { path: path.clone() });
            }
            (disk::S_IFLNK, 1, target.len() as u64, Content::Symlink(target.clone()))
        }
        Kind::Directory => {
            let content = Content::Directory { parent: 0, children: Vec::new() };
            (disk::S_IFDIR, 2, 0, content)
        }
    };
    Ok(Inode {
        path: path.clone(),
        mode: file_type | mode,
        nlink,
        uid: *uid,
        gid: *gid,
        size,
        xattrs,
        content,
        layout: Layout::Plain,
        nid: 0,
        block: 0,
    })
}

/// What a directory lists, in the order of names; empty for anything else.
pub(super) fn entries(inodes: &[Inode], index: usize) -> Vec<Entry<'_>> {
    let Content::Directory { parent, children } = &inodes[index].content else {
        return Vec::new();
    };
    let entry = |name, inode: &Inode| {
        let file_type = match inode.content {
            Content::File(_) => disk::FT_REG_FILE,
            Content::Symlink(_) => disk::FT_SYMLINK,
            Content::Directory { .. } => disk::FT_DIR,
        };
        Entry { name, nid: inode.nid, file_type }
    };
    let mut entries = vec![entry(".", &inodes[index]), entry("..", &inodes[*parent])];
    entries.extend(children.iter().map(|child| entry(inodes[*child].path.name(), &inodes[*child])));
    entries.sort_by_key(|entry| entry.name);
    entries
}

/// Gives each inode its nid, and returns where the last one ends.
///
/// Inline content must not cross a block (`erofs_map_blocks` of Linux `fs/erofs/data.c`), and
/// older readers want the link's whole inode in one. Attributes alone may cross.
fn place_inodes(inodes: &mut [Inode], pieces: &mut Vec<(u64, Piece)>) -> u64 {
    let mut end = BLOCK;
    for (index, inode) in inodes.iter_mut().enumerate() {
        let inline_offset = inode.inline_offset();
        let together = match inode.layout {
            Layout::Plain => inode.header_size(),
            Layout::Inline => inline_offset + inode.inline_size(),
        };
        let mut offset = end.next_multiple_of(SLOT);
        if offset % BLOCK + together > BLOCK {
            offset = offset.next_multiple_of(BLOCK);
        }
        inode.nid = offset / SLOT;
        end = offset + inline_offset + inode.inline_size();
        pieces.push((offset, Piece::Inode(index)));
        if let (Content::File(blob), Layout::Inline) = (&inode.content, inode.layout) {
            pieces.push((offset + inline_offset, Piece::Content(*blob)));
        }
    }
    end
}

/// Gives blocks to all who need some, metadata first, and returns how many the image has.
fn place_blocks(
    inodes: &mut [Inode],
    metadata_end: u64,
    pieces: &mut Vec<(u64, Piece)>,
) -> Result<u32, PlanError> {
    let mut free = FreeBlocks::from_byte(metadata_end)?;
    let mut files = Vec::new();
    for (index, inode) in inodes.iter_mut().enumerate() {
        match inode.content {
            _ if inode.blocks() == 0 => {}
            Content::File(blob) => files.push((inode, blob)),
            Content::Directory { .. } | Content::Symlink(_) => {
                inode.block = free.take(inode.blocks())?;
                pieces.push((u64::from(inode.block) * BLOCK, Piece::Blocks(index)));
            }
        }
    }
    let mut known = HashMap::new();
    let mut step = METADATA_STEP;
    for (inode, blob) in files {
        if let Some(block) = known.get(&blob) {
            inode.block = *block;
            continue;
        }
        free.skip_to_multiple_of(step)?;
        inode.block = free.take(inode.blocks())?;
        known.insert(blob, inode.block);
        pieces.push((u64::from(inode.block) * BLOCK, Piece::Content(blob)));
        step = if blob.size >= LARGE_BYTES { LARGE_STEP } else { 1 };
    }
    Ok(free.next)
}

/// The blocks after the last one in use.
struct FreeBlocks {
    next: u32,
}

impl FreeBlocks {
    fn from_byte(offset: u64) -> Result<Self, PlanError> {
        let next = offset.div_ceil(BLOCK).try_into().map_err(|_| PlanError::TooLarge)?;
        Ok(Self { next })
    }

    fn take(&mut self, blocks: u64) -> Result<u32, PlanError> {
        let first = self.next;
        let count = u32::try_from(blocks).map_err(|_| PlanError::TooLarge)?;
        self.next = first.checked_add(count).ok_or(PlanError::TooLarge)?;
        Ok(first)
    }

    fn skip_to_multiple_of(&mut self, step: u32) -> Result<(), PlanError> {
        self.next = self.next.checked_next_multiple_of(step).ok_or(PlanError::TooLarge)?;
        Ok(())
    }
}
