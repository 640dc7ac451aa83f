//! What was found, as values: the output of `--json`. `show` has the text for people.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use formats::uki::Uki;
use serde::Serialize;

use super::file::Image;
use super::root::{RootSummary, is_erofs};
use crate::build::artifact::Artifact;
use crate::build::output::REPORT;
use crate::build::report::Report;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::Slot;
use crate::os_release;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Summary {
    /// A raw disk image.
    Disk(DiskSummary),
    /// A root image.
    Root(RootSummary),
    /// A unified kernel image.
    Uki(UkiSummary),
    /// A directory that `orlop build` made.
    Build(Box<BuildSummary>),
}

/// What a build reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildSummary {
    /// `build.json`.
    pub report: Report,
    /// The files that the report names, in order.
    pub files: Vec<BuiltFile>,
}

/// A file of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuiltFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes; nothing if it is gone.
    pub size: Option<u64>,
}

/// A disk. Sizes and offsets are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskSummary {
    /// Of the file.
    pub size: u64,
    /// The disk's GUID.
    pub guid: String,
    /// In order of their numbers.
    pub partitions: Vec<PartitionSummary>,
    /// The label of the EFI system partition's file system.
    pub esp_label: String,
    /// All files of the EFI system partition.
    pub esp_files: Vec<EspFile>,
    /// The boot entries by path; nothing where a file is no UKI, as during an update.
    pub entries: BTreeMap<String, Option<UkiSummary>>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionSummary {
    /// The label.
    pub name: String,
    /// `PARTUUID`.
    pub guid: String,
    /// From the start of the disk.
    pub offset: u64,
    /// How long it is.
    pub size: u64,
    /// What it begins with.
    pub content: FileSystem,
}

/// What a partition begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum FileSystem {
    /// Zeros, as far as it was looked.
    Zeros,
    /// FAT32.
    Fat32,
    /// EROFS.
    Erofs(RootSummary),
    /// EROFS with a superblock that cannot be used, as during an update.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// ext4.
    Ext4 {
        /// Its label.
        label: String,
        /// Its size, which is less than the partition's before it was grown.
        size: u64,
    },
    /// Something else.
    Data,
}

/// A file of the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EspFile {
    /// From the root of the file system.
    pub path: String,
    /// How long it is.
    pub size: u64,
    /// Whether it lies in one piece, so that an update can overwrite it.
    pub contiguous: bool,
}

/// A unified kernel image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UkiSummary {
    /// Of the file.
    pub size: u64,
    /// The slot that the name of its boot entry says; of a file there is none.
    pub slot: Option<Slot>,
    /// Whether it carries a signature, which is not checked.
    pub signed: bool,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// The fields of `.osrel`.
    pub os_release: BTreeMap<String, String>,
    /// All sections in order.
    pub sections: Vec<SectionSummary>,
}

/// A section of a PE file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SectionSummary {
    /// Such as `.linux`.
    pub name: String,
    /// How long its data is.
    pub size: u32,
}

impl BuildSummary {
    /// Of the build in `directory`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::DamagedImage`] if the report is none.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(REPORT);
        let cannot_read = |path: &Path| format!("cannot read `{}`", path.display());
        let text = fs::read(&path).or_fail(Id::Read, || cannot_read(&path))?;
        let report = Report::parse(&text).map_err(|error| {
            Error::new(Id::DamagedImage, format!("`{}` {error}", path.display()))
        })?;
        let file = |artifact: &Artifact| -> Result<BuiltFile> {
            let path = directory.join(&artifact.name);
            let size = match fs::metadata(&path) {
                Ok(metadata) => Some(metadata.len()),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error).or_fail(Id::Read, || cannot_read(&path)),
            };
            Ok(BuiltFile { name: artifact.name.clone(), size })
        };
        let files = report.artifacts.iter().map(file).collect::<Result<_>>()?;
        Ok(Self { report, files })
    }
}

impl FileSystem {
    /// What the partition of `size` bytes at `offset` begins with.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub(super) fn read(image: &Image, offset: u64, size: u64) -> io::Result<Self> {
        let start = image.read(offset, size.min(4096))?;
        if !is_erofs(&start) {
            return Ok(Self::of(&start));
        }
        let root = RootSummary::read(image, offset, size)?;
        Ok(root.map_or_else(|reason| Self::Damaged { reason }, Self::Erofs))
    }

    fn of(start: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if start.iter().all(|byte| *byte == 0) {
            Self::Zeros
        } else if start.get(82..90) == Some(b"FAT32   ") {
            Self::Fat32
        } else if number(1024 + 0x38) & 0xFFFF == 0xEF53 {
            // Blocks in two halves; their size as a power of two above 1 KiB.
            let blocks = u64::from(number(1024 + 0x4)) | u64::from(number(1024 + 0x150)) << 32;
            let block = 1024_u64 << (number(1024 + 0x18) & 7);
            let label = start.get(1024 + 0x78..1024 + 0x88).unwrap_or_default();
            let label = String::from_utf8_lossy(label).trim_end_matches('\0').to_owned();
            Self::Ext4 { label, size: blocks.saturating_mul(block) }
        } else {
            Self::Data
        }
    }
}

impl UkiSummary {
    /// Of a UKI of `size` bytes, which is that of `slot`.
    pub(super) fn new(uki: &Uki<'_>, size: u64, slot: Option<Slot>) -> Self {
        Self {
            size,
            slot,
            signed: uki.is_signed(),
            kernel: uki.text(".uname").map(|text| text.trim().to_owned()),
            command_line: uki.text(".cmdline").map(|text| text.trim().to_owned()),
            os_release: os_release::fields(uki.text(".osrel").unwrap_or_default()),
            sections: uki
                .sections()
                .iter()
                .map(|section| SectionSummary {
                    name: section.name.clone(),
                    size: section.virtual_size,
                })
                .collect(),
        }
    }
}
