//! Cpio archives in the form that Linux unpacks as an initramfs, `newc`: written, and read where two
//! are compared. See `Documentation/driver-api/early-userspace/buffer-format.rst` and `init/initramfs.c`.
//!
//! Every entry is a header of hexadecimal numbers, a name, padding to 4 bytes, a body and padding
//! to 4 bytes. The archive ends with an entry named `TRAILER!!!` and is padded to 512 bytes.

mod read;

use crate::segment::{Segment, gather};
use crate::tree::{Blob, Kind, Node, Tree, TreePath};

pub use read::{Entry as Read, FIELDS, ReadError, entries};

/// Bodies and headers begin at multiples of this.
const ALIGNMENT: usize = 4;
/// The whole archive is a multiple of this, as archivers make it.
const RECORD: u64 = 512;
/// Bytes of a header: a magic number of 6 digits and 13 numbers of 8.
const HEADER_SIZE: usize = 6 + 13 * 8;
/// Linux `PATH_MAX` without its NUL: the kernel silently skips what is longer.
const PATH_BYTES: usize = 4095;

const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFREG: u16 = 0o100_000;
const S_IFLNK: u16 = 0o120_000;

/// A character device, which a [`Tree`] does not have. The kernel opens `/dev/console` for the
/// first process before anything is mounted, so an initramfs brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it is; its directory must be in the tree.
    pub path: TreePath,
    /// Permission bits. The owner is root.
    pub mode: u16,
    /// Which driver.
    pub major: u32,
    /// Which device of it.
    pub minor: u32,
}

/// The tree cannot become an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Times have 32 bits.
    #[error("the epoch {0} does not fit into a cpio archive")]
    Epoch(u64),
    /// Sizes have 32 bits.
    #[error("{0} is larger than a cpio archive can hold, 4 GiB")]
    Size(TreePath),
    /// More than permission, set-id and sticky bits.
    #[error("the mode of {path} is 0o{mode:o}, more than 0o7777")]
    Mode {
        /// Whose mode.
        path: TreePath,
        /// The mode.
        mode: u16,
    },
    /// They would be lost.
    #[error("{0} has extended attributes, which a cpio archive cannot hold")]
    Xattrs(TreePath),
    /// The path or the target is longer than Linux allows, or the target is empty or has a NUL.
    #[error("the path or the target of {0} is not 1 to 4095 bytes without NUL")]
    Name(TreePath),
    /// There would be two entries of one name, or one that cannot be made.
    #[error("the device {0} is in the tree already, or its directory is not")]
    Device(TreePath),
}

/// A whole archive, decided and not yet written. Made only by [`Archive::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    // Invariant: in the order of paths, so that directories come before what they hold.
    entries: Vec<Entry>,
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Header, name, and the padding after them.
    head: Vec<u8>,
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Empty,
    Target(String),
    Content(Blob),
}

impl Archive {
    /// Plans the archive of `tree` and `devices`; `epoch` is the time of all entries, in seconds
    /// since 1970.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn new(tree: &Tree, devices: &[Device], epoch: u64) -> Result<Self, ArchiveError> {
        let mtime = u32::try_from(epoch).map_err(|_| ArchiveError::Epoch(epoch))?;
        let mut headers = Vec::new();
        for (path, node) in tree.iter() {
            headers.push((path, node_header(tree, path, node)?));
        }
        for device in devices {
            headers.push((&device.path, device_header(tree, device)?));
        }
        headers.sort_by_key(|(path, _)| *path);
        if let Some(twice) = headers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ArchiveError::Device(twice[0].0.clone()));
        }
        let mut entries = Vec::new();
        for (ino, (path, (header, body))) in (1..).zip(headers) {
            // The kernel takes an absolute or a relative name; archivers write relative ones.
            let name = if *path == TreePath::ROOT { "." } else { path.as_str() };
            if name.len() > PATH_BYTES {
                return Err(ArchiveError::Name(path.clone()));
            }
            let header = Header { ino, mtime, ..header };
            entries.push(Entry { head: header.encode(name), body });
        }
        // The trailer is padded with the archive.
        let trailer = Header { nlink: 1, ..Header::default() };
        let trailer = Entry { head: trailer.encode("TRAILER!!!"), body: Body::Empty };
        let used = entries.iter().chain([&trailer]).map(Entry::size).sum::<u64>();
        let size = used.next_multiple_of(RECORD);
        let mut head = trailer.head;
        head.extend((used..size).map(|_| 0));
        entries.push(Entry { head, body: Body::Empty });
        Ok(Self { entries, size })
    }

    /// Bytes of the archive: a multiple of 512.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The archive from its first byte to its last.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        gather(self.entries.iter().flat_map(Entry::segments))
    }
}

impl Entry {
    fn size(&self) -> u64 {
        self.segments().iter().map(Segment::size).sum()
    }

    fn segments(&self) -> Vec<Segment> {
        let mut head = self.head.clone();
        match &self.body {
            Body::Empty => {}
            Body::Target(target) => {
                head.extend(target.as_bytes());
                pad(&mut head);
            }
            Body::Content(blob) => {
                let padding = blob.size.next_multiple_of(ALIGNMENT as u64) - blob.size;
                return vec![Segment::Bytes(head), Segment::Blob { blob: *blob, padding }];
            }
        }
        vec![Segment::Bytes(head)]
    }
}

/// The numbers of an entry, in the order of the format; those of a device which holds the file
/// and the checksum are always zero.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    ino: u32,
    /// With the type bits.
    mode: u16,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    filesize: u32,
    rdevmajor: u32,
    rdevminor: u32,
}

impl Header {
    /// Header, name, and the padding after them.
    fn encode(&self, name: &str) -> Vec<u8> {
        let Self { ino, mode, uid, gid, nlink, mtime, filesize, rdevmajor, rdevminor } = self;
        let (devmajor, devminor, check) = (0, 0, 0);
        let namesize = name.len() + 1;
        let mut out = format!(
            "070701{ino:08X}{mode:08X}{uid:08X}{gid:08X}{nlink:08X}{mtime:08X}{filesize:08X}\
             {devmajor:08X}{devminor:08X}{rdevmajor:08X}{rdevminor:08X}{namesize:08X}{check:08X}"
        )
        .into_bytes();
        debug_assert_eq!(out.len(), HEADER_SIZE);
        out.extend(name.as_bytes());
        out.push(0);
        pad(&mut out);
        out
    }
}

fn node_header(tree: &Tree, path: &TreePath, node: &Node) -> Result<(Header, Body), ArchiveError> {
    let Node { kind, mode, uid, gid, xattrs } = node;
    check_mode(path, *mode)?;
    if !xattrs.is_empty() {
        return Err(ArchiveError::Xattrs(path.clone()));
    }
    // Only one link: the kernel would look for other entries of the same inode.
    let header = Header { uid: *uid, gid: *gid, nlink: 1, ..Header::default() };
    Ok(match kind {
        Kind::Directory => {
            let directories = tree.children(path).filter(|(_, node)| node.kind == Kind::Directory);
            let nlink = (2..).zip(directories).last().map_or(2, |(count, _)| count + 1);
            (Header { mode: S_IFDIR | mode, nlink, ..header }, Body::Empty)
        }
        Kind::File(blob) => {
            let filesize = blob.size.try_into().map_err(|_| ArchiveError::Size(path.clone()))?;
            (Header { mode: S_IFREG | mode, filesize, ..header }, Body::Content(*blob))
        }
        Kind::Symlink(target) => {
            let filesize = u32::try_from(target.len())
                .ok()
                .filter(|size| (1..=4095).contains(size) && !target.contains('\0'))
                .ok_or_else(|| ArchiveError::Name(path.clone()))?;
            (Header { mode: S_IFLNK | mode, filesize, ..header }, Body::Target(target.clone()))
        }
    })
}

fn device_header(tree: &Tree, device: &Device) -> Result<(Header, Body), ArchiveError> {
    let Device { path, mode, major, minor } = device;
    check_mode(path, *mode)?;
    let parent = path.parent().and_then(|parent| tree.get(&parent));
    if !parent.is_some_and(|parent| parent.kind == Kind::Directory) {
        return Err(ArchiveError::Device(path.clone()));
    }
    let header = Header { mode: S_IFCHR | mode, nlink: 1, ..Header::default() };
    Ok((Header { rdevmajor: *major, rdevminor: *minor, ..header }, Body::Empty))
}

fn check_mode(path: &TreePath, mode: u16) -> Result<(), ArchiveError> {
    if mode > 0o7777 {
        return Err(ArchiveError::Mode { path: path.clone(), mode });
    }
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
