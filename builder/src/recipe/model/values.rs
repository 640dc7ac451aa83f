//! The recipe's values: text that is parsed once into a type which cannot be wrong.

use std::fmt;

use formats::deb::Stamp;
use formats::digest::Sha256;
use formats::oci::{Location, Reference};
use formats::tree::TreePath;
use serde::{Deserialize, Serialize};

/// The only schema so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Schema;

impl TryFrom<u64> for Schema {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if number == 1 { Ok(Self) } else { Err(format!("schema {number} is not known: use 1")) }
    }
}

impl From<Schema> for u64 {
    fn from(Schema: Schema) -> Self {
        1
    }
}

/// 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter: it becomes a file name, a directory
/// and part of a release's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that stands in our own code.
    pub(super) fn known(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= 32 && text.chars().all(good) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is not a name: use 1 to 32 of a-z, 0-9 and `-`, a letter first"))
    }
}

/// An absolute path in the image, such as `/usr/bin`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePath(pub TreePath);

impl TryFrom<String> for ImagePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` must begin with `/`: it is a path in the image"));
        }
        TreePath::new(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// Mebibytes, written `"768 MiB"` or `"2 GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mib(pub u32);

impl Mib {
    /// The same in bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }
}

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

impl TryFrom<String> for Mib {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let error =
            || format!("`{text}` is not a size: write for example \"768 MiB\" or \"2 GiB\"");
        let (number, unit) = text.split_once(' ').ok_or_else(error)?;
        let factor = match unit {
            "MiB" => 1,
            "GiB" => 1024,
            _ => return Err(error()),
        };
        let mib = number.parse::<u32>().ok().and_then(|n| n.checked_mul(factor));
        mib.filter(|&mib| mib > 0).map(Self).ok_or_else(error)
    }
}

/// A time of the past, as dated archives write it: `"20261128T000000Z"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Snapshot(pub Stamp);

impl TryFrom<String> for Snapshot {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: formats::deb::StampError| error.to_string())
    }
}

/// A sha256 in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub Sha256);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: formats::digest::ParseSha256Error| error.to_string())
    }
}

/// Permission bits, written as octal text: `"0755"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(pub u16);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o644)
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mode = u16::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("`{text}` is not a mode: write for example \"0755\""))
    }
}

/// Which paths of a `local` component are meant: a glob over paths in it, without a leading `/`.
/// With a `/` at the end it means directories, without one everything else; `.` is the file, or
/// the directory, that the component itself is. Of several that fit, the longest counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(pub String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('/') || text.starts_with("./") {
            return Err(format!("`{text}` must be a path in the component, such as `etc/*.key`"));
        }
        match globset::Glob::new(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("`{text}` is not a glob: {}", error.kind())),
        }
    }
}

/// User and group, by number: `"65534:65534"`, or `"65534"` for a group of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((&text, &text));
        // (uid_t) -1 means "do not change" to chown(2).
        let id = |word: &str| {
            let digits = word.bytes().all(|byte| byte.is_ascii_digit());
            word.parse().ok().filter(|id| digits && *id != u32::MAX)
        };
        match (id(user), id(group)) {
            (Some(uid), Some(gid)) => Ok(Self { uid, gid }),
            _ => Err(format!(
                "`{text}` is not an owner: write numbers, for example \"65534\" or \"0:1000\""
            )),
        }
    }
}

/// The whole name of a container image, such as `registry.example/path:1`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference(pub Reference);

impl TryFrom<String> for ImageReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Reference::new(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// Where a container image is in a registry: `registry.example/path:1`, or with `@sha256:` and a digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageLocation(pub Location);

impl TryFrom<String> for ImageLocation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Location::new(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// How a type of one string is written again: what `try_from` reads.
macro_rules! written {
    ($($name:ident: |$value:ident| $text:expr;)*) => {$(
        impl From<$name> for String {
            fn from($value: $name) -> Self {
                $text
            }
        }
    )*};
}

written! {
    Snapshot: |snapshot| snapshot.0.to_string();
    Name: |name| name.0;
    ImagePath: |path| path.0.to_string();
    Mib: |size| size.to_string();
    Digest: |digest| digest.0.to_string();
    FileMode: |mode| format!("{:04o}", mode.0);
    Pattern: |pattern| pattern.0;
    Owner: |owner| format!("{}:{}", owner.uid, owner.gid);
    ImageReference: |reference| reference.0.to_string();
    ImageLocation: |location| location.0.to_string();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_their_unit() {
        for (text, mib) in [("1 MiB", 1), ("768 MiB", 768), ("2 GiB", 2048)] {
            assert_eq!(Mib::try_from(text.to_owned()), Ok(Mib(mib)));
        }
        for text in ["768", "0 MiB", "1 KiB", "MiB", "-1 MiB", "9999999 GiB"] {
            assert!(Mib::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn names_can_become_file_names() {
        for text in ["a", "worker", "base-2"] {
            assert!(Name::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "2a", "Bad", "a_b", "a/b", &"a".repeat(33)] {
            assert!(Name::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_octal_text_without_set_id_bits() {
        assert_eq!(FileMode::try_from("0755".to_owned()), Ok(FileMode(0o755)));
        for text in ["4755", "rwx", "-1", ""] {
            assert!(FileMode::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
