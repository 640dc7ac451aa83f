//! Extended attributes, stored behind the inode that has them (`struct erofs_xattr_ibody_header`
//! and `struct erofs_xattr_entry` of Linux `fs/erofs/erofs_fs.h`). Nothing is shared between
//! inodes: an image of ours has a handful of file capabilities.

use std::collections::BTreeMap;

/// `sizeof(struct erofs_xattr_ibody_header)`
pub(super) const HEADER_SIZE: usize = 12;

/// Entries begin at multiples of this, and `i_xattr_icount` counts in it.
const UNIT: usize = 4;

/// `EROFS_XATTR_INDEX_*`: what a name begins with is stored as a number.
const PREFIXES: [(&str, u8); 3] = [("user.", 1), ("trusted.", 4), ("security.", 6)];

/// Names which a number stands for altogether.
const WHOLE_NAMES: [(&str, u8); 2] =
    [("system.posix_acl_access", 2), ("system.posix_acl_default", 3)];

/// Why the attributes cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// EROFS has no number for what the name begins with, or nothing or too much follows it.
    #[error("EROFS cannot store an attribute of the name `{0}`")]
    Name(String),
    /// A value has a 16-bit length.
    #[error("the value of `{0}` is longer than 65535 bytes")]
    Value(String),
    /// All attributes of an inode together have a 16-bit number of 4-byte units.
    #[error("all attributes together are longer than 262 kB")]
    Total,
}

/// The attributes of one inode, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Body {
    /// What follows the inode; empty if there are no attributes.
    pub(super) bytes: Vec<u8>,
    /// `i_xattr_icount`: 0, or 1 for the header and the number of 4-byte units that follow it.
    pub(super) count: u16,
}

impl Body {
    pub(super) fn new(xattrs: &BTreeMap<String, Vec<u8>>) -> Result<Self, XattrError> {
        if xattrs.is_empty() {
            return Ok(Self::default());
        }
        // No name filter (that is a feature of its own), no shared attributes.
        let mut bytes = vec![0; HEADER_SIZE];
        for (name, value) in xattrs {
            let name_error = || XattrError::Name(name.clone());
            let (index, suffix) = split(name).ok_or_else(name_error)?;
            let name_length = u8::try_from(suffix.len()).map_err(|_| name_error())?;
            let value_length =
                u16::try_from(value.len()).map_err(|_| XattrError::Value(name.clone()))?;
            bytes.extend([name_length, index]);
            bytes.extend(value_length.to_le_bytes());
            bytes.extend(suffix.as_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(UNIT), 0);
        }
        let count = 1 + (bytes.len() - HEADER_SIZE) / UNIT;
        Ok(Self { count: u16::try_from(count).map_err(|_| XattrError::Total)?, bytes })
    }
}

/// What follows an inode, read back: names with their values.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, &'static str> {
    const DAMAGED: &str = "damaged attributes";
    // `h_shared_count`
    if bytes.get(4).is_none_or(|count| *count > 0) {
        return Err("it shares attributes, which no image of ours does");
    }
    let mut rest = bytes.get(HEADER_SIZE..).ok_or(DAMAGED)?;
    let mut found = BTreeMap::new();
    while let [name_length, index, low, high, ..] = *rest {
        let name_end = 4 + usize::from(name_length);
        let value_end = name_end + usize::from(u16::from_le_bytes([low, high]));
        let (name, value) =
            rest.get(4..name_end).zip(rest.get(name_end..value_end)).ok_or(DAMAGED)?;
        let name = std::str::from_utf8(name).map_err(|_| DAMAGED)?;
        let mut known = WHOLE_NAMES.iter().chain(&PREFIXES);
        let (before, _) = known.find(|(_, number)| *number == index).ok_or(DAMAGED)?;
        found.insert(format!("{before}{name}"), value.to_vec());
        rest = rest.get(value_end.next_multiple_of(UNIT)..).unwrap_or_default();
    }
    Ok(found)
}

/// The number of the prefix and the rest of the name.
fn split(name: &str) -> Option<(u8, &str)> {
    if let Some((_, index)) = WHOLE_NAMES.iter().find(|(whole, _)| *whole == name) {
        return Some((*index, ""));
    }
    PREFIXES
        .iter()
        .find_map(|(prefix, index)| Some((*index, name.strip_prefix(prefix)?)))
        .filter(|(_, suffix)| !suffix.is_empty() && !suffix.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(xattrs: &[(&str, &[u8])]) -> Result<Body, XattrError> {
        Body::new(&xattrs.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect())
    }

    #[test]
    fn an_inode_without_attributes_has_no_body() {
        assert_eq!(body(&[]), Ok(Body::default()));
    }

    #[test]
    fn entries_are_padded_to_four_bytes() {
        let body = body(&[("security.ab", b"xyz"), ("user.c", b"")]).unwrap();
        let mut want = vec![0; 12];
        want.extend(b"\x02\x06\x03\x00abxyz\0\0\0");
        want.extend(b"\x01\x01\x00\x00c\0\0\0");
        assert_eq!(body, Body { count: 1 + 5, bytes: want });
    }

    #[test]
    fn an_access_control_list_is_named_by_its_number_alone() {
        let body = body(&[("system.posix_acl_default", b"abcd")]).unwrap();
        assert_eq!(body.bytes[12..], *b"\0\x03\x04\0abcd");
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let long = format!("user.{}", "n".repeat(256));
        for name in ["system.other", "user.", "user", "", "user.a\0b", &long] {
            assert_eq!(body(&[(name, b"")]), Err(XattrError::Name(name.to_owned())));
        }
        let value = vec![0; 65536];
        assert_eq!(body(&[("user.a", &value)]), Err(XattrError::Value("user.a".to_owned())));
        let value = &value[1..];
        let four = [("user.a", value), ("user.b", value), ("user.c", value), ("user.d", value)];
        assert_eq!(body(&four), Err(XattrError::Total));
        assert_eq!(body(&four[..3]).unwrap().bytes.len(), 12 + 3 * (4 + 65536));
    }
}
