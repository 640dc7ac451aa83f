//! ostree's repositories: <https://ostreedev.github.io/ostree/repo/>, and for what that leaves out
//! `ostree-core.c` of libostree 2025.2.
//!
//! A repository is a set of objects, each named by the SHA-256 of what it says, and refs, which are
//! names for commits. A commit names a tree, a tree its files and directories, so one digest says
//! all. In `archive` repositories a file's content is deflated; its digest is over what comes out,
//! so another program may deflate better and the name stays.
//!
//! Nothing here deflates, reads or writes files: what holds a repository does.

mod commit;
mod config;
mod directory;
mod file;
mod gvariant;
mod plan;
mod reference;
mod summary;

use std::fmt;

use crate::digest::Sha256;

pub use commit::Commit;
pub use config::{Config, ConfigError, Mode};
pub use directory::{Attributes, Directory};
pub use file::{ArchiveHeader, FileHeader};
pub use gvariant::{NotNormal, Number, Type, Value};
pub use plan::{Object, Plan};
pub use reference::{Reference, ReferenceError, parse_target, target};
pub use summary::{Entry, Summary};

/// What an object is; its name ends so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file or a symbolic link, with owner, mode and extended attributes.
    File,
    /// Names of files and directories with their objects.
    Directory,
    /// Owner, mode and extended attributes of directories.
    DirectoryMeta,
    /// A version.
    Commit,
}

impl Kind {
    /// How names of such objects end.
    pub const fn extension(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Self::File, Mode::Archive) => "filez",
            (Self::File, _) => "file",
            (Self::Directory, _) => "dirtree",
            (Self::DirectoryMeta, _) => "dirmeta",
            (Self::Commit, _) => "commit",
        }
    }
}

/// The name of an object: its digest and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// What it hashes to.
    pub digest: Sha256,
    /// What it is.
    pub kind: Kind,
}

impl Name {
    /// Where it is in a repository of this mode, without a `/` before it.
    pub fn path(&self, mode: Mode) -> String {
        let digits = self.digest.to_string();
        format!("objects/{}/{}.{}", &digits[..2], &digits[2..], self.kind.extension(mode))
    }

    /// The name of the object in this file of this directory of `objects`.
    pub fn parse(directory: &str, file: &str, mode: Mode) -> Option<Self> {
        let (digits, extension) = file.split_once('.')?;
        let kinds = [Kind::File, Kind::Directory, Kind::DirectoryMeta, Kind::Commit];
        let kind = kinds.into_iter().find(|kind| kind.extension(mode) == extension)?;
        let name = Self { digest: format!("{directory}{digits}").parse().ok()?, kind };
        // One object has one name: no capital letters.
        (name.path(mode) == format!("objects/{directory}/{file}")).then_some(name)
    }
}

impl fmt::Display for Name {
    /// As `ostree fsck` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.digest, self.kind.extension(Mode::Bare))
    }
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OstreeError {
    /// They are no such value at all.
    #[error("it is not a serialised {0}")]
    Shape(&'static str),
    /// A directory would hold what no file system can.
    #[error("`{}` cannot be the name of a file", .0.escape_debug())]
    FileName(String),
    /// Names of a directory stand in another order, or twice.
    #[error("the names of a directory are not in order")]
    Order,
    /// A mode has other bits than those of a file type and permissions.
    #[error("the mode 0o{0:o} is not one that it can have")]
    FileMode(u32),
    /// An extended attribute's name is not one, or they are not in order.
    #[error("the extended attributes are not in order")]
    Xattrs,
    /// A field that is a digest has another length.
    #[error("a digest has {0} bytes")]
    Digest(usize),
    /// A symbolic link leads nowhere, or something else has a target.
    #[error("a symbolic link, and nothing else, has a target")]
    Target,
}

type Result<T> = std::result::Result<T, OstreeError>;

/// A digest as a field of an object has it.
fn digest_value(digest: &Sha256) -> Value {
    Value::Bytes(digest.as_bytes().to_vec())
}

fn parse_digest(bytes: &[u8]) -> Result<Sha256> {
    let bytes = bytes.try_into().map_err(|_| OstreeError::Digest(bytes.len()))?;
    Ok(Sha256::from_bytes(bytes))
}

fn big_endian_u32(bits: u64) -> u32 {
    u32::try_from(bits).unwrap_or_default().swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_name_and_one_path() {
        let name = Name { digest: Sha256::of("abc"), kind: Kind::File };
        let path = name.path(Mode::Archive);
        assert!(path.starts_with("objects/ba/7816bf") && path.ends_with("15ad.filez"), "{path}");
        assert!(name.path(Mode::BareUser).ends_with("15ad.file"));
        let parts: Vec<_> = path.split('/').collect();
        assert_eq!(Name::parse(parts[1], parts[2], Mode::Archive), Some(name));
        for (directory, file) in [
            (parts[1], parts[2].replace("filez", "file")),
            (parts[1], parts[2].replace("filez", "commitmeta")),
            ("BA", parts[2].to_owned()),
            (parts[1], parts[2].to_uppercase()),
            ("b", format!("a{}", parts[2])),
            (parts[1], "filez".to_owned()),
        ] {
            assert_eq!(Name::parse(directory, &file, Mode::Archive), None, "{directory}/{file}");
        }
    }
}
