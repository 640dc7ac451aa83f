//! What a build made: `build.json`, the same bytes for the same inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stored::Hex;

/// The content of `build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
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
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dropped {
    /// Number of paths.
    pub paths: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// The root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
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
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CommandLines {
    /// Slot A, which a new disk boots.
    pub a: String,
    /// Slot B.
    pub b: String,
}

impl Report {
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
