//! What was found, for people (`Display`) and for programs (`--json`).

use std::collections::BTreeMap;
use std::fmt;

use formats::gpt;
use formats::uki::Uki;
use serde::Serialize;

use crate::image::disk::{Slot, mib, slot_of};

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Summary {
    /// A raw disk image.
    Disk(DiskSummary),
    /// A unified kernel image.
    Uki(UkiSummary),
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
    Erofs,
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
    /// The slot that its command line names.
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

impl PartitionSummary {
    /// Of a partition that begins with `start`.
    pub(super) fn new(partition: &gpt::Partition, start: &[u8]) -> Self {
        Self {
            name: partition.name.clone(),
            guid: partition.guid.to_string(),
            offset: partition.offset(),
            size: partition.size(),
            content: FileSystem::of(start),
        }
    }
}

impl FileSystem {
    fn of(start: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if start.iter().all(|byte| *byte == 0) {
            Self::Zeros
        } else if start.get(82..90) == Some(b"FAT32   ") {
            Self::Fat32
        } else if number(1024) == 0xE0F5_E1E2 {
            Self::Erofs
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
    /// Of a UKI of `size` bytes.
    pub(super) fn new(uki: &Uki<'_>, size: u64) -> Self {
        let unquoted = |value: &str| value.trim().trim_matches('"').to_owned();
        let lines = uki.text(".osrel").unwrap_or_default().lines();
        let fields = lines.filter_map(|line| line.split_once('='));
        Self {
            size,
            slot: slot_of(uki),
            signed: uki.is_signed(),
            kernel: uki.text(".uname").map(|text| text.trim().to_owned()),
            command_line: uki.text(".cmdline").map(|text| text.trim().to_owned()),
            os_release: fields.map(|(key, value)| (key.to_owned(), unquoted(value))).collect(),
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

    fn show(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        let unknown = "unknown";
        let signed = if self.signed { "signed" } else { "not signed" };
        writeln!(f, "{indent}kernel       {}", self.kernel.as_deref().unwrap_or(unknown))?;
        writeln!(f, "{indent}command line {}", self.command_line.as_deref().unwrap_or(unknown))?;
        writeln!(f, "{indent}signature    {signed}")?;
        for (key, value) in &self.os_release {
            writeln!(f, "{indent}os-release   {key}={value}")?;
        }
        for SectionSummary { name, size } in &self.sections {
            writeln!(f, "{indent}section      {name:<8} {size:>10} bytes")?;
        }
        Ok(())
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Fat32 => f.write_str("FAT32"),
            Self::Erofs => f.write_str("EROFS"),
            Self::Ext4 { label, size } => write!(f, "ext4 `{label}`, {}", mib(*size)),
            Self::Data => f.write_str("other data"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uki(uki) => {
                writeln!(f, "unified kernel image, {}", mib(uki.size))?;
                uki.show(f, "  ")
            }
            Self::Disk(disk) => disk.fmt(f),
        }
    }
}

impl fmt::Display for DiskSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk {}, {}", self.guid, mib(self.size))?;
        for part in &self.partitions {
            let (offset, size) = (mib(part.offset), mib(part.size));
            let (name, guid, content) = (&part.name, &part.guid, &part.content);
            writeln!(f, "  {name:<7} {offset:>10} {size:>10}  {guid}  {content}")?;
        }
        writeln!(f, "files of the EFI system partition `{}`", self.esp_label)?;
        for file in &self.esp_files {
            let pieces = if file.contiguous { "" } else { "  in several pieces" };
            writeln!(f, "  {:<24} {:>10} bytes{pieces}", file.path, file.size)?;
        }
        for (path, uki) in &self.entries {
            writeln!(f, "boot entry {path}")?;
            match uki {
                Some(uki) => uki.show(f, "  ")?,
                None => writeln!(f, "  no UKI: an update is under way, or it is damaged")?,
            }
        }
        Ok(())
    }
}
