//! Names of roles, targets and files, and where they lie below an address.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

use super::error::shown;

/// What stands in an address as it is: RFC 3986 section 2.3.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same of a path with directories.
const QUOTED_PATH: &AsciiSet = &QUOTED.remove(b'/');

/// The longest name of a file that is made of a role's name: file systems take 255 bytes, and a number
/// and `.json` come to it.
const LONGEST: usize = 220;

/// The roles that every repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopLevel {
    /// Says whose keys the four roles have.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which versions of targets metadata belong together.
    Snapshot,
    /// Says which files there are, or who may say so.
    Targets,
}

impl TopLevel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    /// The file that it is kept in, and served as where versions have no name of their own.
    pub fn file(self) -> String {
        format!("{}.json", self.as_str())
    }
}

impl fmt::Display for TopLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a role that targets are delegated to: any text that is not the name of one of the four.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleName(String);

/// It cannot be the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a role that targets are delegated to", shown(.0))]
pub struct RoleNameError(String);

impl RoleNameError {
    /// That this is none.
    pub(super) fn of(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl RoleName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file that it is kept in: its name, quoted as in an address, so that it is one name.
    pub fn file(&self) -> String {
        format!("{}.json", quoted(&self.0))
    }

    /// How the snapshot names its metadata.
    pub fn meta(&self) -> String {
        format!("{}.json", self.0)
    }
}

impl FromStr for RoleName {
    type Err = RoleNameError;

    fn from_str(name: &str) -> Result<Self, RoleNameError> {
        let taken = TopLevel::ALL.iter().any(|role| role.as_str() == name) || name == "mirrors";
        if name.is_empty() || taken || quoted(name).len() > LONGEST {
            return Err(RoleNameError::of(name));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn quoted(name: &str) -> String {
    utf8_percent_encode(name, QUOTED).to_string()
}

/// Where metadata lies: one name below the address of a repository's metadata, or in its directory.
/// `version` is given if versions have names of their own: of roots always, of others in consistent
/// snapshots, of timestamps never.
pub fn metadata_path(role: &str, version: Option<u64>, form: Form) -> String {
    let role = match form {
        Form::Address => quoted(role),
        Form::File => role.to_owned(),
    };
    match version {
        Some(version) => format!("{version}.{role}.json"),
        None => format!("{role}.json"),
    }
}

/// The name of a target: names with `/` between them, 1024 bytes at most. None of them leads elsewhere:
/// no `.` or `..`, no empty one, no backslash, no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPath(String);

/// It cannot be the name of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a target", shown(.0))]
pub struct TargetPathError(String);

impl TargetPath {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory with a `/` behind it, or nothing; and the name in it.
    fn split(&self) -> (&str, &str) {
        self.0.split_at(self.0.rfind('/').map_or(0, |at| at + 1))
    }

    /// Where it lies in a repository, quoted for an address or as a file's path: in a consistent
    /// snapshot a hash stands before its name.
    pub fn path(&self, prefix: Option<&str>, form: Form) -> String {
        let (directory, name) = self.split();
        let path = match prefix {
            Some(hash) => format!("{directory}{hash}.{name}"),
            None => self.0.clone(),
        };
        match form {
            Form::File => path,
            Form::Address => percent_encode(path.as_bytes(), QUOTED_PATH).to_string(),
        }
    }
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// To a file of a directory.
    File,
    /// To a page of a server.
    Address,
}

impl FromStr for TargetPath {
    type Err = TargetPathError;

    fn from_str(path: &str) -> Result<Self, TargetPathError> {
        let leads_on = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 255;
        let odd = |character: char| character.is_control() || character == '\\';
        if path.len() > 1024 || !path.split('/').all(leads_on) || path.contains(odd) {
            return Err(TargetPathError(path.to_owned()));
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_name_of_a_role_is_one_name_below_an_address_and_in_a_directory() {
        for (name, want) in [
            ("a-b_c.d~1", "a-b_c.d~1.json"),
            ("?", "%3F.json"),
            ("#", "%23.json"),
            ("../a b", "..%2Fa%20b.json"),
            ("..", "...json"),
            ("ä%", "%C3%A4%25.json"),
        ] {
            let role: RoleName = name.parse().unwrap();
            assert_eq!(role.file(), want);
            assert_eq!(metadata_path(name, Some(7), Form::Address), format!("7.{want}"));
            assert_eq!(metadata_path(name, None, Form::Address), want);
        }
        for name in ["", "root", "timestamp", "snapshot", "targets", "mirrors", &"a".repeat(221)] {
            assert!(name.parse::<RoleName>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_name_of_a_target_stays_below_its_directory() {
        let path = |text: &str| text.parse::<TargetPath>();
        let target = path("1.0/a b?.efi").unwrap();
        assert_eq!(target.path(None, Form::Address), "1.0/a%20b%3F.efi");
        assert_eq!(target.path(Some("ab"), Form::Address), "1.0/ab.a%20b%3F.efi");
        assert_eq!(target.path(Some("ab"), Form::File), "1.0/ab.a b?.efi");
        assert_eq!(path("a").unwrap().path(Some("ab"), Form::File), "ab.a");
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a/./b",
            "a\\b",
            "..\\a",
            "a\0",
            "a\nb",
            "\u{7f}",
            &"a".repeat(256),
            &("a/".repeat(512) + "b"),
        ] {
            assert!(path(text).is_err(), "{text:?}");
        }
        for text in ["...", "a..b/..c", "%2e%2e/x", "~/x", "-x", "a:b", "é"] {
            assert!(path(text).is_ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_that_is_taken_leads_out(text in ".*") {
            if let Ok(path) = text.parse::<TargetPath>() {
                let joined = std::path::Path::new("/a").join(path.as_str());
                let normal = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(joined.components().skip(1).all(normal));
                prop_assert!(joined.starts_with("/a"));
            }
        }
    }
}
