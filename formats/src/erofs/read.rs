//! Reads EROFS images: what is at every path, and where its content lies. All that a [`super::Plan`]
//! writes is understood; what it never writes (compressed files, attributes that inodes share) is an
//! error that says so. The format is Linux `fs/erofs/erofs_fs.h`; names in the code are its.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{FLAT_INLINE, FLAT_PLAIN, S_IFDIR, S_IFLNK, S_IFREG, SLOT};
use super::superblock::Superblock;
use super::{memory_size, xattr};
use crate::le::{u16_at, u32_at, u64_at};
use crate::tree::TreePath;

/// `S_IFMT` of `include/uapi/linux/stat.h`.
const S_IFMT: u16 = 0o170_000;
/// Where the superblock says at which block the inodes begin: `meta_blkaddr`.
const META_BLOCK: u64 = 1024 + 40;
/// `sizeof(struct erofs_dirent)`
const DIRENT: usize = 12;
/// Linux `PATH_MAX`.
const LONGEST_TARGET: u64 = 4096;
/// A directory of more bytes, and a tree of more paths, is none of a node's.
const LARGEST_DIRECTORY: u64 = 16 << 20;
const MOST_PATHS: usize = 1 << 20;
/// Linux itself goes no deeper by one path.
const DEEPEST: usize = 2048;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// Permission bits, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What it is.
    pub kind: Kind,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// A regular file.
    File(Content),
    /// A device, a socket or a pipe: nothing that an image of ours has.
    Other,
}

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    // Invariant: both parts lie inside the image.
    first: Extent,
    last: Extent,
}

/// So many bytes from an offset of the image on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the start of the image, in bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Content {
    /// The parts of the content in order.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        [self.first, self.last].into_iter().filter(|extent| extent.length > 0)
    }
}

/// An image cannot be walked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError<E> {
    /// It cannot be read.
    #[error("cannot read the image")]
    Read(#[source] E),
    /// What stands there cannot be.
    #[error("{path}: {what}")]
    Wrong {
        /// Of what.
        path: TreePath,
        /// What is wrong.
        what: &'static str,
    },
}

/// All paths of an image, each directory before what is in it. `read` fills a buffer from an offset
/// of the image on; it is never asked for more than the image has.
///
/// # Errors
/// See [`WalkError`].
pub fn walk<E>(
    superblock: &Superblock,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<Entry>, WalkError<E>> {
    let mut image = Image { superblock, read, meta: 0 };
    let block = image.bytes(&TreePath::ROOT, META_BLOCK, 4)?;
    image.meta =
        u64::from(u32_at(&block, 0).unwrap_or_default()) * u64::from(superblock.block_size);
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![(TreePath::ROOT, u64::from(superblock.root_nid))];
    while let Some((path, nid)) = waiting.pop() {
        let wrong = |what| WalkError::Wrong { path: path.clone(), what };
        let inode = image.inode(&path, nid)?;
        let kind = match inode.mode & S_IFMT {
            S_IFREG => Kind::File(image.content(&path, &inode)?),
            S_IFLNK => {
                let target = image.small(&path, &inode, LONGEST_TARGET)?;
                Kind::Symlink(String::from_utf8(target).map_err(|_| wrong("no text"))?)
            }
            S_IFDIR => {
                // A directory has one name: what would come again would never end.
                if !seen.insert(nid) {
                    return Err(wrong("a directory that holds itself"));
                }
                if path.as_str().bytes().filter(|byte| *byte == b'/').count() > DEEPEST {
                    return Err(wrong("too deep"));
                }
                let names = image.directory(&path, &inode)?;
                waiting.extend(names.into_iter().rev());
                Kind::Directory
            }
            _ => Kind::Other,
        };
        let xattrs = image.xattrs(&path, &inode)?;
        let Inode { mode, uid, gid, .. } = inode;
        if entries.len() + waiting.len() >= MOST_PATHS {
            return Err(wrong("too many paths"));
        }
        entries.push(Entry { path, mode: mode & !S_IFMT, uid, gid, xattrs, kind });
    }
    Ok(entries)
}

struct Inode {
    format: u16,
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    block: u64,
    /// Where its attributes begin, and bytes of them.
    xattrs: Extent,
}

struct Image<'a, R> {
    superblock: &'a Superblock,
    read: R,
    meta: u64,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Image<'_, R> {
    fn bytes(
        &mut self,
        path: &TreePath,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, WalkError<E>> {
        self.inside(path, Extent { offset, length })?;
        let mut bytes = vec![0; memory_size(length)];
        (self.read)(offset, &mut bytes).map_err(WalkError::Read)?;
        Ok(bytes)
    }

    fn inside(&self, path: &TreePath, extent: Extent) -> Result<(), WalkError<E>> {
        let end = extent.offset.checked_add(extent.length);
        if end.is_some_and(|end| end <= self.superblock.image_size()) {
            return Ok(());
        }
        Err(WalkError::Wrong { path: path.clone(), what: "it lies outside of the image" })
    }

    fn inode(&mut self, path: &TreePath, nid: u64) -> Result<Inode, WalkError<E>> {
        let wrong = |what| WalkError::Wrong { path: path.clone(), what };
        let offset = nid.checked_mul(SLOT).and_then(|offset| offset.checked_add(self.meta));
        let offset = offset.ok_or_else(|| wrong("it lies outside of the image"))?;
        let head = self.bytes(path, offset, 2)?;
        let extended = u16_at(&head, 0).unwrap_or_default() & 1 == 1;
        let length = if extended { 64 } else { 32 };
        let bytes = self.bytes(path, offset, length)?;
        let u16 = |at| u16_at(&bytes, at).unwrap_or_default();
        let u32 = |at| u32_at(&bytes, at).unwrap_or_default();
        let count = u64::from(u16(2));
        let xattrs = if count == 0 { 0 } else { xattr::HEADER_SIZE as u64 + 4 * (count - 1) };
        let (size, uid, gid) = if extended {
            (u64_at(&bytes, 8).unwrap_or_default(), u32(24), u32(28))
        } else {
            (u32(8).into(), u16(24).into(), u16(26).into())
        };
        Ok(Inode {
            format: u16(0) & !1,
            mode: u16(4),
            uid,
            gid,
            size,
            block: u32(16).into(),
            xattrs: Extent { offset: offset + length, length: xattrs },
        })
    }

    /// Where the content is. Both parts are in the image.
    fn content(&self, path: &TreePath, inode: &Inode) -> Result<Content, WalkError<E>> {
        let block_size = u64::from(self.superblock.block_size);
        let tail = match inode.format {
            FLAT_PLAIN => 0,
            FLAT_INLINE => inode.size % block_size,
            _ => {
                let what = "it is compressed or laid out in another way than ours";
                return Err(WalkError::Wrong { path: path.clone(), what });
            }
        };
        let first = Extent { offset: inode.block * block_size, length: inode.size - tail };
        let behind = inode.xattrs.offset + inode.xattrs.length;
        let last = Extent { offset: behind, length: tail };
        for extent in [first, last] {
            if extent.length > 0 {
                self.inside(path, extent)?;
            }
        }
        Ok(Content { size: inode.size, first, last })
    }

    fn small(
        &mut self,
        path: &TreePath,
        inode: &Inode,
        most: u64,
    ) -> Result<Vec<u8>, WalkError<E>> {
        let content = self.content(path, inode)?;
        if content.size > most {
            return Err(WalkError::Wrong { path: path.clone(), what: "it is too large" });
        }
        let mut bytes = Vec::new();
        for Extent { offset, length } in content.extents() {
            bytes.extend(self.bytes(path, offset, length)?);
        }
        Ok(bytes)
    }

    /// What is in a directory, in its order.
    fn directory(
        &mut self,
        path: &TreePath,
        inode: &Inode,
    ) -> Result<Vec<(TreePath, u64)>, WalkError<E>> {
        let wrong = || WalkError::Wrong { path: path.clone(), what: "a damaged directory" };
        let bytes = self.small(path, inode, LARGEST_DIRECTORY)?;
        let mut found = Vec::new();
        for block in bytes.chunks(memory_size(self.superblock.block_size.into())) {
            let name_at = |index: usize| u16_at(block, index * DIRENT + 8).map(usize::from);
            let count = name_at(0).ok_or_else(wrong)? / DIRENT;
            for index in 0..count {
                let nid = u64_at(block, index * DIRENT).ok_or_else(wrong)?;
                let start = name_at(index).ok_or_else(wrong)?;
                let end = if index + 1 < count { name_at(index + 1) } else { Some(block.len()) };
                let name = block.get(start..end.ok_or_else(wrong)?).ok_or_else(wrong)?;
                // The last name of a block ends at a NUL, or with the block.
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name == b"." || name == b".." {
                    continue;
                }
                let name = std::str::from_utf8(name).map_err(|_| wrong())?;
                let single = !name.is_empty() && !name.contains('/');
                let child = path.join(name).ok().filter(|_| single).ok_or_else(wrong)?;
                found.push((child, nid));
            }
        }
        Ok(found)
    }

    fn xattrs(
        &mut self,
        path: &TreePath,
        inode: &Inode,
    ) -> Result<BTreeMap<String, Vec<u8>>, WalkError<E>> {
        let Extent { offset, length } = inode.xattrs;
        if length == 0 {
            return Ok(BTreeMap::new());
        }
        let bytes = self.bytes(path, offset, length)?;
        xattr::parse(&bytes).map_err(|what| WalkError::Wrong { path: path.clone(), what })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::digest::Sha256;
    use crate::erofs::{Options, Plan};
    use crate::segment::Segment;
    use crate::tree::{Blob, Kind as NodeKind, Node, Tree};

    const SMALL: &[u8] = b"small";

    fn large() -> Vec<u8> {
        (0..10_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect()
    }

    /// A tree with one of everything that the writer lays out in its own way.
    fn tree() -> Tree {
        let blob = |bytes: &[u8]| Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 };
        let mut tree = Tree::new();
        let mut add = |path: &str, node: Node| {
            tree.insert(TreePath::new(path).unwrap(), node).unwrap();
        };
        add("etc/small", Node { uid: 70_000, gid: 7, ..Node::file(blob(SMALL), 0o640) });
        add("etc/large", Node::file(blob(&large()), 0o4755));
        add("etc/empty", Node::file(blob(b""), 0o644));
        add("etc/link", Node::symlink("../usr/bin"));
        let capability = ("security.capability".to_owned(), vec![1, 2, 3, 4, 5]);
        let list = ("system.posix_acl_access".to_owned(), vec![9]);
        let xattrs = [capability, list].into();
        add("usr/bin/ping", Node { xattrs, ..Node::file(blob(SMALL), 0o755) });
        // More names than one block holds.
        for number in 0..400 {
            add(&format!("many/a-rather-long-name-{number}"), Node::directory(0o1777));
        }
        tree
    }

    fn image(tree: &Tree) -> Vec<u8> {
        let options = Options { epoch: 1, uuid: [7; 16], volume_name: "sample".to_owned() };
        let mut image = Vec::new();
        for segment in Plan::new(tree, &options).unwrap().segments() {
            let end = image.len() + usize::try_from(segment.size()).unwrap();
            match segment {
                Segment::Bytes(bytes) => image.extend(bytes),
                Segment::Blob { blob, .. } => {
                    let all = [SMALL.to_vec(), large(), Vec::new()];
                    image.extend(all.iter().find(|one| Sha256::of(one) == blob.sha256).unwrap());
                }
            }
            image.resize(end, 0);
        }
        image
    }

    fn walked(image: &[u8]) -> Result<Vec<Entry>, WalkError<Infallible>> {
        let superblock = Superblock::parse(image).unwrap();
        walk(&superblock, |offset, buffer| {
            let offset = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&image[offset..offset + buffer.len()]);
            Ok(())
        })
    }

    fn content(image: &[u8], content: &Content) -> Vec<u8> {
        let part = |extent: Extent| {
            let offset = usize::try_from(extent.offset).unwrap();
            &image[offset..offset + usize::try_from(extent.length).unwrap()]
        };
        content.extents().flat_map(|extent| part(extent).to_vec()).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let tree = tree();
        let image = image(&tree);
        let entries = walked(&image).unwrap();
        assert_eq!(entries.len(), tree.len());
        for Entry { path, mode, uid, gid, xattrs, kind } in entries {
            let node = tree.get(&path).unwrap();
            assert_eq!((mode, uid, gid), (node.mode, node.uid, node.gid), "{path}");
            assert_eq!(xattrs, node.xattrs, "{path}");
            match (&node.kind, kind) {
                (NodeKind::Directory, Kind::Directory) => {}
                (NodeKind::Symlink(target), Kind::Symlink(found)) => assert_eq!(*target, found),
                (NodeKind::File(blob), Kind::File(found)) => {
                    assert_eq!(Sha256::of(content(&image, &found)), blob.sha256, "{path}");
                }
                (_, found) => panic!("{path} is {found:?}"),
            }
        }
    }

    #[test]
    fn a_directory_that_holds_itself_is_an_error() {
        let mut tree = Tree::new();
        tree.insert(TreePath::new("a/b").unwrap(), Node::directory(0o755)).unwrap();
        let mut image = image(&tree);
        let superblock = Superblock::parse(&image).unwrap();
        // The root's names follow its inode; the third is `a`, which now is the root.
        let at = usize::from(superblock.root_nid) * 32 + 32 + 2 * DIRENT;
        image[at..at + 8].copy_from_slice(&u64::from(superblock.root_nid).to_le_bytes());
        let error = walked(&image).unwrap_err();
        assert_eq!(error.to_string(), "/a: a directory that holds itself");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_run_for_ever(
            changes in prop::collection::vec((4096_usize..20_000, any::<u8>()), 1..40),
        ) {
            static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| image(&tree()));
            let mut image = GOOD.clone();
            for (at, byte) in changes {
                image[at] = byte;
            }
            drop(walked(&image));
        }
    }
}
