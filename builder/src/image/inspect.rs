//! `orlop inspect`: what an image holds, found out from its bytes alone, and what a build reports.

mod file;
mod root;
mod show;
mod summary;

use std::io;
use std::path::Path;

use formats::fat::{Kind, ReadError, Volume};
use formats::gpt::Table;
use formats::uki::Uki;

pub use root::RootSummary;
pub(crate) use root::is_erofs;
pub use summary::{
    BuildSummary, BuiltFile, DiskSummary, EspFile, FileSystem, PartitionSummary, SectionSummary,
    Summary, UkiSummary,
};

use super::disk::{Role, esp};
use super::ours::{self, not_ours};
use crate::build::output::REPORT;
use crate::error::{Context as _, Error, Id, Result};
use file::Image;

/// A UKI is read whole: more than this is none of ours.
const MOST_UKI_BYTES: u64 = 1 << 30;

/// Looks into the disk image, root image or UKI at `path`, or, if it is a directory that `orlop
/// build` made, into the report there. A directory without a report but with `disk.raw` is that
/// disk.
///
/// # Errors
/// [`Id::Read`]; [`Id::NotOurImage`] if it is something else; [`Id::DamagedImage`] if it is an
/// image of ours that cannot be read.
pub fn inspect(path: &Path) -> Result<Summary> {
    if path.join(REPORT).is_file() {
        return BuildSummary::read(path).map(|build| Summary::Build(Box::new(build)));
    }
    let disk = path.join("disk.raw");
    let path = if path.is_dir() && disk.is_file() { &disk } else { path };
    let cannot_read = || format!("cannot read `{}`", path.display());
    let not_ours = |what: &str| not_ours(path, what);
    if path.is_dir() {
        return Err(not_ours("a directory without `disk.raw`"));
    }
    let image = Image::open(path).or_fail(Id::Read, cannot_read)?;
    let head = image.head().or_fail(Id::Read, cannot_read)?;
    if head.starts_with(b"MZ") {
        if image.size > MOST_UKI_BYTES {
            return Err(not_ours("an EFI program that is too large"));
        }
        let bytes = image.read(0, image.size).or_fail(Id::Read, cannot_read)?;
        return match Uki::parse(&bytes) {
            Ok(uki) if uki.section(".linux").is_some() => {
                Ok(Summary::Uki(UkiSummary::new(&uki, image.size, None)))
            }
            Ok(_) => Err(not_ours("an EFI program without a `.linux` section")),
            Err(error) => Err(not_ours("an unusable EFI program").caused_by(error)),
        };
    }
    if root::is_erofs(&head) {
        let root = RootSummary::read(&image, 0, image.size).or_fail(Id::Read, cannot_read)?;
        return root.map(Summary::Root).map_err(|reason| {
            let message = format!("the root image `{}` is damaged: {reason}", path.display());
            Error::new(Id::DamagedImage, message)
        });
    }
    let table = ours::table(path, &head, image.size)?;
    disk_summary(&image, &table, path).map(Summary::Disk)
}

fn disk_summary(image: &Image, table: &Table, path: &Path) -> Result<DiskSummary> {
    let cannot_read = || format!("cannot read `{}`", path.display());
    let mut partitions = Vec::new();
    for partition in table.partitions() {
        let content = FileSystem::read(image, partition.offset(), partition.size());
        partitions.push(PartitionSummary {
            name: partition.name.clone(),
            guid: partition.guid.to_string(),
            offset: partition.offset(),
            size: partition.size(),
            content: content.or_fail(Id::Read, cannot_read)?,
        });
    }
    let esp = table
        .partition(Role::Esp.name())
        .ok_or_else(|| Error::new(Id::Bug, "the ESP was there a moment ago"))?;
    let damaged = |what: &str| {
        Error::new(Id::DamagedImage, format!("the ESP of `{}` {what}", path.display()))
    };
    let volume = Volume::parse(|offset, buffer| {
        if offset.saturating_add(buffer.len() as u64) > esp.size() {
            return Err(io::Error::other("the file system is larger than its partition"));
        }
        image.read_into(buffer, esp.offset() + offset)
    });
    let volume = volume.map_err(|error| match error {
        ReadError::Read(error) => damaged("cannot be read").caused_by(error),
        ReadError::Volume(error) => damaged("is damaged").caused_by(error),
    })?;
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for entry in &volume.entries {
        let Kind::File(size) = entry.kind else { continue };
        let one_piece = entry.extents.len() <= 1;
        files.push(EspFile { path: entry.path.clone(), size, contiguous: one_piece });
        let parent = entry.path.rsplit_once('/').map(|(parent, _)| parent);
        if parent != Some(esp::ENTRIES) || size > MOST_UKI_BYTES {
            continue;
        }
        let mut bytes = Vec::new();
        for extent in &entry.extents {
            let part = image.read(esp.offset() + extent.offset, extent.length);
            bytes.extend(part.or_fail(Id::Read, cannot_read)?);
        }
        // One that an update has not finished has no header: it is told, and no error.
        let uki =
            Uki::parse(&bytes).ok().map(|uki| UkiSummary::new(&uki, size, esp::slot(&entry.path)));
        entries.push((entry.path.clone(), uki));
    }
    Ok(DiskSummary {
        size: image.size,
        guid: table.disk_guid().to_string(),
        partitions,
        esp_label: volume.label,
        esp_files: files,
        entries: entries.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests;
