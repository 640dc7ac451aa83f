//! Reads `newc` archives, in order to say what is in them and where two differ. The kernel takes
//! more than this does: no checksums (`070702`), and one archive, not several behind each other.

use super::{ALIGNMENT, HEADER_SIZE};

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As it stands there: `.` is the root.
    pub name: &'a str,
    /// The numbers before the name, in the order of [`FIELDS`].
    pub numbers: [u32; FIELDS.len()],
    /// The content, or the target of a link.
    pub body: &'a [u8],
}

/// What the numbers of an entry are called (`init/initramfs.c` of Linux, `parse_header`).
pub const FIELDS: [&str; 13] = [
    "inode number",
    "mode",
    "owner",
    "group",
    "number of links",
    "time",
    "size",
    "major number of the device",
    "minor number of the device",
    "major number",
    "minor number",
    "length of the name",
    "checksum",
];

/// Where the sizes stand in [`FIELDS`].
const SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// The bytes are no archive that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no entry of a cpio archive at byte {0}")]
pub struct ReadError(pub usize);

/// All entries in their order, without the one that ends the archive. What is behind it is not
/// looked at.
///
/// # Errors
/// [`ReadError`] says where something else stands.
pub fn entries(archive: &[u8]) -> Result<Vec<Entry<'_>>, ReadError> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some((entry, next)) = entry(archive, at) {
        if entry.name == "TRAILER!!!" {
            return Ok(entries);
        }
        entries.push(entry);
        at = next;
    }
    Err(ReadError(at))
}

fn entry(archive: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let header = archive.get(at..at.checked_add(HEADER_SIZE)?)?;
    let digits = header.strip_prefix(b"070701")?;
    let mut numbers = [0; FIELDS.len()];
    for (number, digits) in numbers.iter_mut().zip(digits.chunks(8)) {
        let plain = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| plain)?;
        *number = u32::from_str_radix(digits, 16).ok()?;
    }
    let start = at + HEADER_SIZE;
    let end = start.checked_add(usize::try_from(numbers[NAME_SIZE]).ok()?)?;
    let name = archive.get(start..end)?.strip_suffix(b"\0")?;
    let name = std::str::from_utf8(name).ok()?;
    let start = end.checked_next_multiple_of(ALIGNMENT)?;
    let end = start.checked_add(usize::try_from(numbers[SIZE]).ok()?)?;
    let body = archive.get(start..end)?;
    Some((Entry { name, numbers, body }, end.checked_next_multiple_of(ALIGNMENT)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpio::{Archive, Device};
    use crate::digest::Sha256;
    use crate::segment::Segment;
    use crate::tree::{Blob, Node, Tree, TreePath};

    #[test]
    fn what_was_written_is_read_with_every_number() {
        let path = |text: &str| TreePath::new(text).unwrap();
        let mut tree = Tree::new();
        tree.insert(path("dev"), Node::directory(0o755)).unwrap();
        let blob = Blob { sha256: Sha256::of("PID 1"), size: 5 };
        tree.insert(path("init"), Node { uid: 7, gid: 8, ..Node::file(blob, 0o755) }).unwrap();
        tree.insert(path("link"), Node::symlink("init")).unwrap();
        let console = Device { path: path("dev/console"), mode: 0o600, major: 5, minor: 1 };
        let archive = Archive::new(&tree, &[console], 9).unwrap();
        let mut bytes = Vec::new();
        for segment in archive.segments() {
            match segment {
                Segment::Bytes(piece) => bytes.extend(piece),
                Segment::Blob { padding, .. } => {
                    bytes.extend(b"PID 1");
                    bytes.resize(bytes.len() + usize::try_from(padding).unwrap(), 0);
                }
            }
        }
        let entries = entries(&bytes).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names, [".", "dev", "dev/console", "init", "link"]);
        assert_eq!(entries[2].numbers[9..11], [5, 1]);
        assert_eq!(
            (&entries[3].numbers[1..6], entries[3].body),
            (&[0o100_755, 7, 8, 1, 9][..], &b"PID 1"[..])
        );
        assert_eq!(entries[4].body, b"init");
        assert_eq!(super::entries(&bytes[..200]).unwrap_err(), ReadError(112));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = entries(&bytes);
            let _ = entries(&[b"070701".as_slice(), &bytes].concat());
            let digit = |byte: &u8| b"0123456789abcdef"[usize::from(byte & 15)];
            let digits: Vec<u8> = bytes.iter().map(digit).collect();
            let _ = entries(&[b"070701".as_slice(), &digits].concat());
        }
    }
}
