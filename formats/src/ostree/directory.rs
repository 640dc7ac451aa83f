//! The objects of directories: `dirtree`, the names in one, and `dirmeta`, its owner and mode. A
//! `dirmeta` is a file of its own because most directories share a few of them.

use std::collections::BTreeMap;

use super::{OstreeError, Result, Type, Value, digest_value, parse_digest};
use crate::digest::Sha256;

/// File types of `st_mode`.
pub(super) const TYPE: u32 = 0o170_000;
pub(super) const DIRECTORY: u32 = 0o040_000;
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const SYMLINK: u32 = 0o120_000;

/// Owner, mode and extended attributes: a `dirmeta`, and what a `bare-user` repository says of a
/// file beside it, in `user.ostreemeta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode`: file type and permissions.
    pub mode: u32,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What is in a directory: a `dirtree`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Files and links by name.
    pub files: BTreeMap<String, Sha256>,
    /// Directories by name: what is in them, and their attributes.
    pub directories: BTreeMap<String, (Sha256, Sha256)>,
}

impl Attributes {
    /// Those of a directory, from its permissions.
    pub fn of_directory(mode: u16, uid: u32, gid: u32, xattrs: BTreeMap<String, Vec<u8>>) -> Self {
        Self { uid, gid, mode: DIRECTORY | u32::from(mode), xattrs }
    }

    /// Permissions, set-id and sticky bits.
    pub fn permissions(&self) -> u16 {
        u16::try_from(self.mode & 0o7777).unwrap_or_default()
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let [uid, gid, mode] = [self.uid, self.gid, self.mode].map(Value::u32_be);
        Value::Tuple(vec![uid, gid, mode, xattrs_value(&self.xattrs)]).encode()
    }

    /// Reads a `dirmeta`.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse_directory(bytes: &[u8]) -> Result<Self> {
        let this = Self::parse(bytes)?;
        if this.mode & TYPE == DIRECTORY { Ok(this) } else { Err(OstreeError::FileMode(this.mode)) }
    }

    /// Reads the attributes of anything that an object can be.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SHAPE: OstreeError = OstreeError::Shape("dirmeta");
        let of = Type::parse("(uuua(ayay))").ok_or(SHAPE)?;
        let value = Value::decode(&of, bytes).map_err(|_| SHAPE)?;
        let Value::Tuple(fields) = value else { return Err(SHAPE) };
        let [Value::Number(_, uid), Value::Number(_, gid), Value::Number(_, mode), xattrs] =
            fields.as_slice()
        else {
            return Err(SHAPE);
        };
        let [uid, gid, mode] = [*uid, *gid, *mode].map(super::big_endian_u32);
        check_mode(mode)?;
        Ok(Self { uid, gid, mode, xattrs: parse_xattrs(xattrs)? })
    }
}

/// A file type that an object can have, and permissions.
pub(super) fn check_mode(mode: u32) -> Result<()> {
    let kind = [DIRECTORY, REGULAR, SYMLINK].contains(&(mode & TYPE));
    if kind && mode & !(TYPE | 0o7777) == 0 { Ok(()) } else { Err(OstreeError::FileMode(mode)) }
}

impl Directory {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let file = |(name, digest): (&String, &Sha256)| {
            Value::Tuple(vec![Value::text(name), digest_value(digest)])
        };
        let directory = |(name, (tree, meta)): (&String, &(Sha256, Sha256))| {
            Value::Tuple(vec![Value::text(name), digest_value(tree), digest_value(meta)])
        };
        let bytes = || Type::Array(Box::new(Type::Number(super::Number::Byte)));
        let of_file = Type::Tuple(vec![Type::Text, bytes()]);
        let of_directory = Type::Tuple(vec![Type::Text, bytes(), bytes()]);
        Value::Tuple(vec![
            Value::Array(of_file, self.files.iter().map(file).collect()),
            Value::Array(of_directory, self.directories.iter().map(directory).collect()),
        ])
        .encode()
    }

    /// Reads a `dirtree`. Its names are those that a file system can have.
    ///
    /// # Errors
    /// See [`OstreeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SHAPE: OstreeError = OstreeError::Shape("dirtree");
        let of = Type::parse("(a(say)a(sayay))").ok_or(SHAPE)?;
        let value = Value::decode(&of, bytes).map_err(|_| SHAPE)?;
        let Value::Tuple(lists) = value else { return Err(SHAPE) };
        let [Value::Array(_, files), Value::Array(_, directories)] = lists.as_slice() else {
            return Err(SHAPE);
        };
        let mut this = Self::default();
        for file in files {
            let Value::Tuple(fields) = file else { return Err(SHAPE) };
            let [Value::Text(name), Value::Bytes(digest)] = fields.as_slice() else {
                return Err(SHAPE);
            };
            in_order(this.files.last_key_value().map(|(last, _)| last), name)?;
            this.files.insert(name.clone(), parse_digest(digest)?);
        }
        for directory in directories {
            let Value::Tuple(fields) = directory else { return Err(SHAPE) };
            let [Value::Text(name), Value::Bytes(tree), Value::Bytes(meta)] = fields.as_slice()
            else {
                return Err(SHAPE);
            };
            in_order(this.directories.last_key_value().map(|(last, _)| last), name)?;
            if this.files.contains_key(name) {
                return Err(OstreeError::Order);
            }
            this.directories.insert(name.clone(), (parse_digest(tree)?, parse_digest(meta)?));
        }
        Ok(this)
    }
}

fn in_order(last: Option<&String>, name: &str) -> Result<()> {
    if ["", ".", ".."].contains(&name) || name.contains('/') || name.len() > 255 {
        return Err(OstreeError::FileName(name.to_owned()));
    }
    if last.is_none_or(|last| last.as_str() < name) { Ok(()) } else { Err(OstreeError::Order) }
}

pub(super) fn xattrs_value(xattrs: &BTreeMap<String, Vec<u8>>) -> Value {
    let bytes = || Type::Array(Box::new(Type::Number(super::Number::Byte)));
    let pair = |(name, value): (&String, &Vec<u8>)| {
        // Names end with a NUL, as the kernel gives them.
        let name = [name.as_bytes(), &[0]].concat();
        Value::Tuple(vec![Value::Bytes(name), Value::Bytes(value.clone())])
    };
    Value::Array(Type::Tuple(vec![bytes(), bytes()]), xattrs.iter().map(pair).collect())
}

pub(super) fn parse_xattrs(value: &Value) -> Result<BTreeMap<String, Vec<u8>>> {
    let Value::Array(_, pairs) = value else { return Err(OstreeError::Xattrs) };
    let mut xattrs = BTreeMap::new();
    for pair in pairs {
        let Value::Tuple(fields) = pair else { return Err(OstreeError::Xattrs) };
        let [Value::Bytes(name), Value::Bytes(value)] = fields.as_slice() else {
            return Err(OstreeError::Xattrs);
        };
        let name = name.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| !name.is_empty() && !name.contains('\0'));
        let name = name.ok_or(OstreeError::Xattrs)?;
        if xattrs.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(OstreeError::Xattrs);
        }
        xattrs.insert(name.to_owned(), value.clone());
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_directory_of_root_is_the_object_that_every_repository_has() {
        let meta = Attributes::of_directory(0o755, 0, 0, BTreeMap::new());
        // `ostree commit` of a directory of root with mode 0755, libostree 2022.7.
        assert_eq!(
            Sha256::of(meta.encode()).to_string(),
            "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
        );
        assert_eq!(meta.encode(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xed]);
        assert_eq!(Attributes::parse_directory(&meta.encode()), Ok(meta));
    }

    #[test]
    fn an_empty_directory_is_the_object_that_every_repository_has() {
        assert_eq!(
            Sha256::of(Directory::default().encode()).to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn what_no_directory_can_be_is_refused() {
        let digest = Sha256::of("x");
        let directory = |name: &str| Directory {
            directories: [(name.to_owned(), (digest, digest))].into(),
            files: [("a".to_owned(), digest)].into(),
        };
        for name in ["", ".", "..", "a/b", "../a"] {
            let error = Directory::parse(&directory(name).encode());
            assert_eq!(error, Err(OstreeError::FileName(name.to_owned())), "{name}");
        }
        assert_eq!(Directory::parse(&directory("a").encode()), Err(OstreeError::Order));
        assert_eq!(Directory::parse(&directory("b").encode()), Ok(directory("b")));
        let short = Value::Tuple(vec![Value::text("a"), Value::Bytes(vec![7; 31])]);
        let none = Value::Array(Type::parse("(sayay)").unwrap(), vec![]);
        for (files, want) in [
            (vec![short.clone()], OstreeError::Digest(31)),
            (
                ["b", "a"]
                    .map(|name| Value::Tuple(vec![Value::text(name), digest_value(&digest)]))
                    .to_vec(),
                OstreeError::Order,
            ),
        ] {
            let files = Value::Array(Type::parse("(say)").unwrap(), files);
            let value = Value::Tuple(vec![files, none.clone()]);
            assert_eq!(Directory::parse(&value.encode()), Err(want));
        }
    }

    #[test]
    fn a_file_is_no_directory_and_a_device_is_nothing() {
        let meta = |mode| Attributes { uid: 1, gid: 2, mode, xattrs: BTreeMap::new() };
        for (mode, directory) in [(0o100_644, false), (0o120_777, false), (0o040_755, true)] {
            let bytes = meta(mode).encode();
            assert_eq!(Attributes::parse(&bytes), Ok(meta(mode)));
            assert_eq!(Attributes::parse_directory(&bytes).is_ok(), directory, "{mode:o}");
        }
        for mode in [0o020_644, 0o644, 0o1_100_644] {
            let error = Attributes::parse(&meta(mode).encode());
            assert_eq!(error, Err(OstreeError::FileMode(mode)));
        }
    }

    proptest! {
        #[test]
        fn attributes_come_back_from_their_bytes(
            uid: u32, gid: u32, mode in 0_u16..0o10000,
            xattrs in prop::collection::btree_map("[a-z.]{1,9}", any::<Vec<u8>>(), 0..4),
        ) {
            let meta = Attributes::of_directory(mode, uid, gid, xattrs);
            prop_assert_eq!(Attributes::parse_directory(&meta.encode()), Ok(meta.clone()));
            prop_assert_eq!(meta.permissions(), mode);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(directory) = Directory::parse(&bytes) {
                prop_assert_eq!(directory.encode(), bytes.clone());
            }
            if let Ok(attributes) = Attributes::parse(&bytes) {
                prop_assert_eq!(attributes.encode(), bytes);
            }
        }

        #[test]
        fn a_directory_comes_back_from_its_bytes(
            names in prop::collection::btree_set("[a-zé.]{3,40}", 0..40), many: u8,
        ) {
            let mut directory = Directory::default();
            for (at, name) in names.into_iter().enumerate() {
                let digest = Sha256::of([u8::try_from(at).unwrap(), many]);
                if at % 3 == 0 {
                    directory.directories.insert(name, (digest, Sha256::of("meta")));
                } else {
                    directory.files.insert(name, digest);
                }
            }
            prop_assert_eq!(Directory::parse(&directory.encode()), Ok(directory));
        }
    }
}
