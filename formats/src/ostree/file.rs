//! The objects of files: what stands before the content, hashed with it, and how an archive keeps
//! it. In an archive a file is a header with the content's size and then the content, deflated
//! without a header of its own (RFC 1951); a link is the header alone.

use super::directory::{REGULAR, SYMLINK, TYPE, check_mode, parse_xattrs, xattrs_value};
use super::{Attributes, OstreeError, Result, Type, Value, big_endian_u32};
use crate::digest::{Hasher, Sha256};
use crate::tree::{Kind, Node};

/// Bytes before a header: its size, and zeros up to where its numbers are aligned.
const PREFIX: usize = 8;

/// What is hashed before the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Owner, mode with file type, extended attributes.
    pub attributes: Attributes,
    /// Where a symbolic link leads; empty for a file.
    pub target: String,
}

/// What stands before the deflated content in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// What is hashed.
    pub header: FileHeader,
    /// Bytes of the content.
    pub size: u64,
}

impl FileHeader {
    /// The header of a node of a tree; nothing for a directory, which is another object.
    pub fn of(node: &Node) -> Option<Self> {
        let (kind, target) = match &node.kind {
            Kind::Directory => return None,
            Kind::File(_) => (REGULAR, String::new()),
            Kind::Symlink(target) => (SYMLINK, target.clone()),
        };
        let Node { mode, uid, gid, xattrs, .. } = node;
        let mode = kind | u32::from(*mode);
        let attributes = Attributes { uid: *uid, gid: *gid, mode, xattrs: xattrs.clone() };
        Some(Self { attributes, target })
    }

    /// Whether it is a link, which has no content.
    pub fn is_link(&self) -> bool {
        self.attributes.mode & TYPE == SYMLINK
    }

    /// A hasher that has seen the header. Given the content, it has the object's name.
    pub fn hasher(&self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(self.encode());
        hasher
    }

    /// The name of a link's object.
    pub fn digest_alone(&self) -> Sha256 {
        self.hasher().finish()
    }

    /// What is hashed.
    pub fn encode(&self) -> Vec<u8> {
        with_size(&Value::Tuple(self.fields()).encode())
    }

    fn fields(&self) -> Vec<Value> {
        let Attributes { uid, gid, mode, xattrs } = &self.attributes;
        let [uid, gid, mode, device] = [*uid, *gid, *mode, 0].map(Value::u32_be);
        vec![uid, gid, mode, device, Value::text(&self.target), xattrs_value(xattrs)]
    }
}

impl ArchiveHeader {
    /// What an archive has before the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.header.fields();
        fields.insert(0, Value::u64_be(self.size));
        with_size(&Value::Tuple(fields).encode())
    }

    /// How long the header is that begins so: as much must be read for [`ArchiveHeader::parse`].
    /// A header holds names and a few extended attributes.
    ///
    /// # Errors
    /// [`OstreeError::Shape`].
    pub fn length(begin: &[u8; PREFIX]) -> Result<usize> {
        const MOST: usize = 1 << 20;
        let [a, b, c, d, 0, 0, 0, 0] = *begin else { return Err(OstreeError::Shape("file")) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok();
        let length = length.filter(|length| *length <= MOST).ok_or(OstreeError::Shape("file"))?;
        Ok(PREFIX + length)
    }

    /// Reads a header and nothing else.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SHAPE: OstreeError = OstreeError::Shape("file");
        let begin = bytes.first_chunk().ok_or(SHAPE)?;
        if Self::length(begin)? != bytes.len() {
            return Err(SHAPE);
        }
        let of = Type::parse("(tuuuusa(ayay))").ok_or(SHAPE)?;
        let value = Value::decode(&of, &bytes[PREFIX..]).map_err(|_| SHAPE)?;
        let Value::Tuple(fields) = value else { return Err(SHAPE) };
        let [
            Value::Number(_, size),
            Value::Number(_, uid),
            Value::Number(_, gid),
            Value::Number(_, mode),
            // The number of a device: there are none.
            Value::Number(_, 0),
            Value::Text(target),
            xattrs,
        ] = fields.as_slice()
        else {
            return Err(SHAPE);
        };
        let [uid, gid, mode] = [*uid, *gid, *mode].map(big_endian_u32);
        check_mode(mode)?;
        let attributes = Attributes { uid, gid, mode, xattrs: parse_xattrs(xattrs)? };
        let header = FileHeader { attributes, target: target.clone() };
        let size = size.swap_bytes();
        let kind = mode & TYPE;
        if kind != REGULAR && kind != SYMLINK {
            return Err(OstreeError::FileMode(mode));
        }
        if header.is_link() == target.is_empty() || header.is_link() && size > 0 {
            return Err(OstreeError::Target);
        }
        Ok(Self { header, size })
    }
}

fn with_size(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&size[..], &[0; PREFIX - 4], bytes].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::Blob;

    #[test]
    fn the_digest_is_over_owner_mode_and_content() {
        let node = Node::file(Blob { sha256: Sha256::of("x"), size: 1 }, 0o644);
        let mut hasher = FileHeader::of(&node).unwrap().hasher();
        hasher.update("hello\n");
        // `ostree commit` of such a file of root, libostree 2022.7.
        assert_eq!(
            hasher.finish().to_string(),
            "44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b"
        );
        assert_eq!(FileHeader::of(&Node::directory(0o755)), None);
    }

    #[test]
    fn a_header_that_contradicts_itself_is_refused() {
        let header = |mode, target: &str, size| {
            let attributes = Attributes { uid: 0, gid: 0, mode, xattrs: [].into() };
            let header = FileHeader { attributes, target: target.to_owned() };
            ArchiveHeader { header, size }
        };
        for (mode, target, size, want) in [
            (0o100_644, "a", 0, OstreeError::Target),
            (0o120_777, "", 0, OstreeError::Target),
            (0o120_777, "a", 1, OstreeError::Target),
            (0o040_755, "", 0, OstreeError::FileMode(0o040_755)),
            (0o060_644, "", 0, OstreeError::FileMode(0o060_644)),
        ] {
            assert_eq!(ArchiveHeader::parse(&header(mode, target, size).encode()), Err(want));
        }
        let good = header(0o100_644, "", 7).encode();
        for at in 0..good.len() {
            assert!(ArchiveHeader::parse(&good[..at]).is_err(), "{at}");
        }
        assert!(ArchiveHeader::parse(&[&good[..], &[0]].concat()).is_err());
        assert!(ArchiveHeader::length(&[0xff, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn a_header_comes_back_from_its_bytes(
            uid: u32, gid: u32, mode in 0_u32..0o10000, link: bool, size: u64,
            target in "[a-z/é]{1,300}",
            xattrs in prop::collection::btree_map("[a-z.]{1,9}", any::<Vec<u8>>(), 0..4),
        ) {
            let kind = if link { SYMLINK } else { REGULAR };
            let attributes = Attributes { uid, gid, mode: kind | mode, xattrs };
            let target = if link { target } else { String::new() };
            let header = FileHeader { attributes, target };
            let header = ArchiveHeader { header, size: if link { 0 } else { size } };
            let bytes = header.encode();
            prop_assert_eq!(ArchiveHeader::length(bytes.first_chunk().unwrap()), Ok(bytes.len()));
            prop_assert_eq!(ArchiveHeader::parse(&bytes), Ok(header));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(header) = ArchiveHeader::parse(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
