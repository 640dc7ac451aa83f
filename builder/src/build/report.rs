//! What a build made: `build.json`, the same bytes for the same inputs.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::stored::Hex;

/// The version of the report's shape. Fields may come without a new one, and readers pass over
/// what they do not know; a field that goes or changes its meaning makes a new one.
pub const SCHEMA: u32 = 1;

/// The files beside the report, in order.
pub const FILES: [&str; 7] =
    ["cmdline", "disk.raw", "initrd", "manifest.txt", "root.img", "uki.efi", "vmlinuz"];

/// Why what is called a report cannot be read. The text goes on after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is something else.
    #[error("is not the report of a build")]
    NotAReport(#[source] Option<serde_json::Error>),
    /// It has another shape than we know.
    #[error("is of a newer `orlop`: it has schema {0}, and this one knows {SCHEMA}")]
    Newer(u32),
}

/// The content of `build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// The recipe's name.
    pub image: String,
    /// The recipe's version.
    pub version: String,
    /// `uname -r` of the kernel.
    pub kernel: String,
    /// The root image.
    pub root: Root,
    /// Command line of each slot.
    pub command_lines: CommandLines,
    /// Bytes of file content in the root by component.
    pub components: BTreeMap<String, u64>,
    /// What each glob of `[debian] drop` left out.
    pub dropped: BTreeMap<String, Dropped>,
    /// Version of each Debian package in the root.
    pub packages: BTreeMap<String, String>,
    /// Size in bytes of the UKI before padding.
    pub uki_size: u64,
    /// Size in bytes of the initrd.
    pub initrd_size: u64,
    /// Size in bytes of the disk.
    pub disk_size: u64,
    /// Names of the files beside this one.
    pub files: Vec<String>,
}

/// What a glob left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dropped {
    /// Number of paths.
    pub paths: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// The root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Root {
    /// The dm-verity root hash.
    pub hash: Hex,
    /// The salt: the volume's UUID, as 32 hexadecimal digits.
    pub salt: String,
    /// Bytes of the EROFS image; the hash tree begins here.
    pub data_size: u64,
    /// Bytes of data and hash tree.
    pub size: u64,
    /// Number of paths.
    pub paths: u64,
}

/// Command line of each slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandLines {
    /// Slot A, which a new disk boots.
    pub a: String,
    /// Slot B.
    pub b: String,
}

/// What every schema has and says which files belong to a build.
#[derive(Deserialize)]
struct Outline {
    #[expect(dead_code, reason = "a report has one")]
    image: String,
    #[expect(dead_code, reason = "a report has one")]
    root: Root,
    files: Vec<String>,
}

/// The names of the files that belong to the build whose report this is.
///
/// # Errors
/// See [`ReportError`].
pub fn names(text: &[u8]) -> Result<Vec<String>, ReportError> {
    let outline: Outline = parse(text)?;
    let plain = |name: &String| !["", ".", ".."].contains(&name.as_str()) && !name.contains('/');
    if outline.files.iter().all(plain) {
        Ok(outline.files)
    } else {
        Err(ReportError::NotAReport(None))
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ReportError> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    let not_a_report = |error| ReportError::NotAReport(Some(error));
    match serde_json::from_slice(text).map_err(not_a_report)? {
        Head { schema: SCHEMA } => serde_json::from_slice(text).map_err(not_a_report),
        Head { schema } if schema > SCHEMA => Err(ReportError::Newer(schema)),
        Head { .. } => Err(ReportError::NotAReport(None)),
    }
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        parse(text)
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        format!(
            "root {:.1} MiB in {} files, UKI {:.1} MiB, kernel {}",
            mib(self.root.size),
            self.root.paths,
            mib(self.uki_size),
            self.kernel
        )
    }
}
