//! Writes tar archives in the form `ustar` of POSIX.1-1988 (IEEE Std 1003.1, "pax", "ustar
//! Interchange Format"), which every reader knows.
//!
//! Every entry is a header of one block, then the content padded to whole blocks; two empty blocks
//! end the archive. The root itself has no entry: it belongs to whoever unpacks. What the form
//! cannot hold (long names, large numbers, extended attributes) is an error, not an extension.
//!
//! [`read`] reads what other programs wrote, in every form that is in use.

pub mod read;

use crate::segment::{Segment, gather};
use crate::tree::{Blob, Kind, Node, Tree, TreePath};

const BLOCK: usize = 512;
/// Bytes of a name or of a link's target.
const NAME: usize = 100;
/// Bytes of what may stand before a name, without the `/` between them.
const PREFIX: usize = 155;
/// Modes, owners: seven octal digits and a NUL.
const SMALL_NUMBER: u64 = 0o7_777_777;
/// Sizes, times: eleven octal digits and a NUL.
const LARGE_NUMBER: u64 = 0o77_777_777_777;

/// The tree cannot become an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// Times have 33 bits.
    #[error("the epoch {0} does not fit into a tar archive")]
    Epoch(u64),
    /// Sizes have 33 bits.
    #[error("{0} is larger than a tar archive can hold, 8 GiB")]
    Size(TreePath),
    /// Owners have 21 bits.
    #[error("{0} has an owner or a group above 2097151, which a tar archive cannot hold")]
    Owner(TreePath),
    /// More than permission, set-id and sticky bits.
    #[error("the mode of {path} is 0o{mode:o}, more than 0o7777")]
    Mode {
        /// Whose mode.
        path: TreePath,
        /// The mode.
        mode: u16,
    },
    /// They would be lost.
    #[error("{0} has extended attributes, which a tar archive cannot hold")]
    Xattrs(TreePath),
    /// The path does not split into at most 155 and 100 bytes at a `/`.
    #[error("the path {0} is too long for a tar archive")]
    Name(TreePath),
    /// The target is longer than 100 bytes, empty, or has a NUL.
    #[error("the target of {0} is not 1 to 100 bytes without NUL")]
    Target(TreePath),
}

/// A whole archive, decided and not yet written. Made only by [`Archive::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    // Invariant: in the order of paths, so that directories come before what they hold.
    entries: Vec<(Vec<u8>, Option<Blob>)>,
}

impl Archive {
    /// Plans the archive of `tree`; `epoch` is the time of all entries, in seconds since 1970.
    ///
    /// # Errors
    /// See [`TarError`].
    pub fn new(tree: &Tree, epoch: u64) -> Result<Self, TarError> {
        if epoch > LARGE_NUMBER {
            return Err(TarError::Epoch(epoch));
        }
        let entries = tree.iter().filter(|(path, _)| **path != TreePath::ROOT);
        let entries = entries.map(|(path, node)| entry(path, node, epoch));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Bytes of the archive: a multiple of 512.
    pub fn size(&self) -> u64 {
        self.segments().map(|segment| segment.size()).sum()
    }

    /// The archive from its first byte to its last.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let entries = self.entries.iter().flat_map(|(header, content)| {
            let content = content.map(|blob| {
                let padding = blob.size.next_multiple_of(BLOCK as u64) - blob.size;
                Segment::Blob { blob, padding }
            });
            [Some(Segment::Bytes(header.clone())), content]
        });
        gather(entries.flatten().chain([Segment::Bytes(vec![0; 2 * BLOCK])]))
    }
}

/// The header of one entry, and its content if it has one.
fn entry(path: &TreePath, node: &Node, epoch: u64) -> Result<(Vec<u8>, Option<Blob>), TarError> {
    let Node { kind, mode, uid, gid, xattrs } = node;
    if *mode > 0o7777 {
        return Err(TarError::Mode { path: path.clone(), mode: *mode });
    }
    if !xattrs.is_empty() {
        return Err(TarError::Xattrs(path.clone()));
    }
    if u64::from(*uid.max(gid)) > SMALL_NUMBER {
        return Err(TarError::Owner(path.clone()));
    }
    let (kind, content, target) = match kind {
        Kind::Directory => (b'5', None, ""),
        Kind::File(blob) if blob.size > LARGE_NUMBER => return Err(TarError::Size(path.clone())),
        // An empty content is no content, so that a writer need not look for it.
        Kind::File(blob) => (b'0', (blob.size > 0).then_some(*blob), ""),
        Kind::Symlink(target) => {
            if target.is_empty() || target.len() > NAME || target.contains('\0') {
                return Err(TarError::Target(path.clone()));
            }
            (b'2', None, target.as_str())
        }
    };
    let slash = if kind == b'5' { "/" } else { "" };
    let full = format!("{}{slash}", path.as_str());
    let (prefix, name) = split(&full).ok_or_else(|| TarError::Name(path.clone()))?;

    let mut header = Vec::with_capacity(BLOCK);
    text(&mut header, name, NAME);
    octal(&mut header, u64::from(*mode), 7);
    octal(&mut header, u64::from(*uid), 7);
    octal(&mut header, u64::from(*gid), 7);
    octal(&mut header, content.map_or(0, |blob| blob.size), 11);
    octal(&mut header, epoch, 11);
    let checksum_at = header.len();
    // Counts as eight spaces in its own sum.
    header.extend(b"        ");
    header.push(kind);
    text(&mut header, target, NAME);
    header.extend(b"ustar\x0000");
    // The names of user and group, which do not have to be known; major and minor of a device.
    header.resize(header.len() + 2 * 32, 0);
    octal(&mut header, 0, 7);
    octal(&mut header, 0, 7);
    text(&mut header, prefix, PREFIX);
    header.resize(BLOCK, 0);
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header.splice(checksum_at..checksum_at + 8, format!("{sum:06o}\0 ").into_bytes());
    Ok((header, content))
}

/// Splits at a `/`, as late as possible, into what fits `prefix` and `name` of a header.
fn split(full: &str) -> Option<(&str, &str)> {
    if full.len() <= NAME {
        return Some(("", full));
    }
    // The last slash of a directory's name ends the name and does not split it.
    let slashes = full.trim_end_matches('/').rmatch_indices('/');
    let mut splits = slashes.map(|(at, _)| (&full[..at], &full[at + 1..]));
    splits.find(|(prefix, _)| prefix.len() <= PREFIX).filter(|(_, name)| name.len() <= NAME)
}

/// A text in a field of `size` bytes; one that fills it has no NUL after it.
fn text(header: &mut Vec<u8>, text: &str, size: usize) {
    let end = header.len() + size;
    header.extend(text.as_bytes());
    header.resize(end, 0);
}

fn octal(header: &mut Vec<u8>, number: u64, digits: usize) {
    header.extend(format!("{number:0digits$o}\0").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn plan(path: &str, node: Node) -> Result<Archive, TarError> {
        let mut tree = Tree::new();
        tree.insert(TreePath::new(path).unwrap(), node).unwrap();
        Archive::new(&tree, 0)
    }

    #[test]
    fn long_paths_are_split_at_a_slash() {
        let (name, longer) = ("n".repeat(100), "n".repeat(101));
        let directory = format!("{}/", "n".repeat(99));
        let prefix = format!("{}/{}", "p".repeat(77), "q".repeat(77));
        for (path, want) in [
            (name.clone(), Some(("", name.as_str()))),
            (format!("{prefix}/{name}"), Some((prefix.as_str(), name.as_str()))),
            (format!("a/{directory}"), Some(("a", directory.as_str()))),
            (format!("a/b/{}", "n".repeat(97)), Some(("a/b", &name[..97]))),
            (longer.clone(), None),
            (format!("{}/", "n".repeat(100)), None),
            (format!("a/{longer}"), None),
            (format!("{prefix}r/{name}"), None),
        ] {
            assert_eq!(split(&path), want, "{path}");
        }
    }

    #[test]
    fn what_the_form_cannot_hold_is_refused() {
        let path = TreePath::new("a").unwrap();
        let file = |size| Node::file(Blob { sha256: Sha256::of("x"), size }, 0o644);
        for (node, want) in [
            (file(LARGE_NUMBER + 1), TarError::Size(path.clone())),
            (Node { uid: 1 << 21, ..file(1) }, TarError::Owner(path.clone())),
            (Node { gid: 1 << 21, ..file(1) }, TarError::Owner(path.clone())),
            (Node::directory(0o10000), TarError::Mode { path: path.clone(), mode: 0o10000 }),
            (
                Node { xattrs: [("user.a".to_owned(), vec![])].into(), ..file(1) },
                TarError::Xattrs(path.clone()),
            ),
            (Node::symlink(""), TarError::Target(path.clone())),
            (Node::symlink("t".repeat(101)), TarError::Target(path.clone())),
            (Node::symlink("a\0b"), TarError::Target(path.clone())),
        ] {
            assert_eq!(plan("a", node), Err(want));
        }
        let long = "n".repeat(101);
        let want = TarError::Name(TreePath::new(&long).unwrap());
        assert_eq!(plan(&long, file(1)), Err(want));
        assert_eq!(Archive::new(&Tree::new(), 1 << 33), Err(TarError::Epoch(1 << 33)));
        assert!(plan("a", file(LARGE_NUMBER)).is_ok());
    }

    #[test]
    fn an_empty_tree_is_the_end_alone() {
        let archive = Archive::new(&Tree::new(), 0).unwrap();
        assert_eq!(archive.size(), 1024);
        assert_eq!(archive.segments().collect::<Vec<_>>(), [Segment::Bytes(vec![0; 1024])]);
    }
}
