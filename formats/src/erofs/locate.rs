//! What stands where in an image, for those who find a byte that is not what it was.

use super::disk::SLOT;
use super::layout::{Content, Inode, Layout};
use super::{BLOCK, Piece, Plan};
use crate::tree::TreePath;

/// What a byte of an image belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located<'a> {
    /// The first block, with the superblock.
    Superblock,
    /// Mode, owner, size, time and attributes of a path.
    Inode(&'a TreePath),
    /// The names in a directory.
    Names(&'a TreePath),
    /// Where a symbolic link leads.
    Target(&'a TreePath),
    /// A file's content, and at which byte of it.
    Content(&'a TreePath, u64),
    /// Zeros between two others.
    Padding,
}

impl Plan {
    /// What the byte at `offset` belongs to, and the bytes behind it up to which nothing else
    /// begins.
    pub fn at(&self, offset: u64) -> (Located<'_>, u64) {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset);
        let end = self.pieces.get(index).map_or(self.image_size(), |(start, _)| *start);
        let Some((start, piece)) = index.checked_sub(1).and_then(|index| self.pieces.get(index))
        else {
            return (Located::Padding, end);
        };
        let inner = offset - start;
        // Zeros behind it up to the next one are nobody's.
        let within = |size: u64, located| {
            if inner < size { (located, start + size) } else { (Located::Padding, end) }
        };
        match piece {
            Piece::Superblock => within(BLOCK, Located::Superblock),
            Piece::Content(blob) => {
                let inode = self.inodes.iter().find(|inode| inode.content_at() == Some(*start));
                inode.map_or((Located::Padding, end), |inode| {
                    within(blob.size, Located::Content(&inode.path, inner))
                })
            }
            Piece::Blocks(index) => {
                let inode = &self.inodes[*index];
                within(inode.blocks() * BLOCK, inode_content(inode))
            }
            Piece::Inode(index) => {
                let inode = &self.inodes[*index];
                let head = inode.inline_offset();
                if inner < head {
                    return (Located::Inode(&inode.path), start + head);
                }
                // A file's content is a piece of its own.
                within(head + inode.inline_size(), inode_content(inode))
            }
        }
    }

    /// Where the content of the file at `path` begins; nowhere if it is empty or no file.
    pub fn content(&self, path: &TreePath) -> Option<u64> {
        self.inodes.iter().find(|inode| inode.path == *path)?.content_at()
    }
}

impl Inode {
    /// Where the content of a file begins.
    fn content_at(&self) -> Option<u64> {
        match (&self.content, self.layout) {
            (Content::File(_), Layout::Inline) => Some(self.nid * SLOT + self.inline_offset()),
            (Content::File(_), Layout::Plain) if self.blocks() > 0 => {
                Some(u64::from(self.block) * BLOCK)
            }
            _ => None,
        }
    }
}

/// What stands in the blocks of a directory or a link, or behind its inode.
fn inode_content(inode: &Inode) -> Located<'_> {
    match inode.content {
        Content::Directory { .. } => Located::Names(&inode.path),
        Content::Symlink(_) => Located::Target(&inode.path),
        Content::File(_) => Located::Padding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::erofs::Options;
    use crate::segment::Segment;
    use crate::tree::{Blob, Node, Tree};

    #[test]
    fn every_byte_of_a_content_is_found_and_what_is_beside_it_is_told_apart() {
        let path = |text: &str| TreePath::new(text).unwrap();
        let blob = |text: &str, size| Blob { sha256: Sha256::of(text), size };
        let (small, large) = (blob("small", 100), blob("large", 9000));
        let mut tree = Tree::new();
        tree.insert(path("dir"), Node::directory(0o755)).unwrap();
        for (name, blob) in [("dir/large", large), ("dir/same", large), ("small", small)] {
            tree.insert(path(name), Node::file(blob, 0o644)).unwrap();
        }
        tree.insert(path("link"), Node::symlink("small")).unwrap();
        let options = Options { epoch: 0, uuid: [1; 16], volume_name: "x".into() };
        let plan = Plan::new(&tree, &options).unwrap();
        // What is written says where contents are.
        let mut offset = 0;
        let mut contents = Vec::new();
        for segment in plan.segments() {
            match segment {
                Segment::Bytes(bytes) => offset += bytes.len() as u64,
                Segment::Blob { blob, padding } => {
                    contents.push((blob, offset));
                    offset += blob.size + padding;
                }
            }
        }
        assert_eq!(contents.len(), 2);
        for (blob, start) in contents {
            let want = path(if blob == small { "small" } else { "dir/large" });
            assert_eq!(plan.content(&want), Some(start));
            for at in [0, blob.size - 1] {
                let (located, end) = plan.at(start + at);
                assert_eq!((located, end), (Located::Content(&want, at), start + blob.size));
            }
            assert!(!matches!(plan.at(start + blob.size).0, Located::Content(..)));
        }
        assert_eq!(plan.content(&path("dir/same")), plan.content(&path("dir/large")));
        assert_eq!(plan.at(1024).0, Located::Superblock);
        let root = plan.inodes[0].nid * SLOT;
        assert_eq!(plan.at(root).0, Located::Inode(&TreePath::ROOT));
        assert_eq!(plan.at(root + 32).0, Located::Names(&TreePath::ROOT));
        let link = plan.inodes.iter().find(|inode| inode.path == path("link")).unwrap();
        let target = link.nid * SLOT + link.inline_offset();
        assert_eq!(plan.at(target), (Located::Target(&path("link")), target + 5));
        assert_eq!(plan.at(plan.image_size() + 9).0, Located::Padding);
    }
}
