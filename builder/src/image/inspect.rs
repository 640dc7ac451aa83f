//! `orlop inspect`: what an image holds, found out from its bytes alone.

mod summary;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use formats::fat::{Kind, ReadError, Volume};
use formats::gpt::Table;
use formats::uki::Uki;

pub use summary::{
    DiskSummary, EspFile, FileSystem, PartitionSummary, SectionSummary, Summary, UkiSummary,
};

use super::disk::{Role, esp};
use super::ours::{self, not_ours};
use crate::error::{Context as _, Error, Id, Result};

/// A UKI is read whole: more than this is none of ours.
const MOST_UKI_BYTES: u64 = 1 << 30;

/// Looks into the disk image or UKI at `path`, or into `disk.raw` if `path` is a directory.
///
/// # Errors
/// [`Id::Read`]; [`Id::NotOurImage`] if it is something else; [`Id::DamagedImage`] if it is a
/// disk of ours whose ESP cannot be read.
pub fn inspect(path: &Path) -> Result<Summary> {
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
                Ok(Summary::Uki(UkiSummary::new(&uki, image.size)))
            }
            Ok(_) => Err(not_ours("an EFI program without a `.linux` section")),
            Err(error) => Err(not_ours("an unusable EFI program").caused_by(error)),
        };
    }
    let table = ours::table(path, &head, image.size)?;
    disk_summary(&image, &table, path).map(Summary::Disk)
}

fn disk_summary(image: &Image, table: &Table, path: &Path) -> Result<DiskSummary> {
    let cannot_read = || format!("cannot read `{}`", path.display());
    let mut partitions = Vec::new();
    for partition in table.partitions() {
        let start = image.read(partition.offset(), partition.size().min(4096));
        let start = start.or_fail(Id::Read, cannot_read)?;
        partitions.push(PartitionSummary::new(partition, &start));
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
        image.file.read_exact_at(buffer, esp.offset() + offset)
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
        let uki = Uki::parse(&bytes).ok().map(|uki| UkiSummary::new(&uki, size));
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

struct Image {
    file: File,
    size: u64,
}

impl Image {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// As much of the start as it takes to recognise anything.
    fn head(&self) -> io::Result<Vec<u8>> {
        self.read(0, self.size.min(64 << 10))
    }

    fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if offset.saturating_add(length) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use formats::gpt;

    use super::*;
    use crate::image::disk::Slot;
    use crate::image::tests::{Sample, uki};

    fn refused(bytes: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.img");
        std::fs::write(&path, bytes).unwrap();
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage, "{error}");
        error.to_string().replace(&path.display().to_string(), "x.img")
    }

    #[test]
    fn a_disk_of_ours_is_told_in_full() {
        let sample = Sample::new();
        let path = sample.disk();
        let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
        let names: Vec<_> = disk.partitions.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["ESP", "META", "ROOT-A", "ROOT-B", "STATE"]);
        assert_eq!(disk.partitions[1].content, FileSystem::Zeros);
        let state = FileSystem::Ext4 { label: "STATE".to_owned(), size: 16 << 20 };
        assert_eq!(disk.partitions[4].content, state);
        assert!(disk.esp_files.iter().all(|file| file.contiguous));
        let slots: Vec<_> = disk
            .entries
            .iter()
            .map(|(path, uki)| (path.as_str(), uki.as_ref().unwrap().slot))
            .collect();
        assert_eq!(
            slots,
            [("EFI/Linux/1b.efi", Some(Slot::B)), ("EFI/Linux/2a.efi", Some(Slot::A))]
        );
        let text = Summary::Disk(disk).to_string();
        for line in ["  ROOT-A ", "EFI/Linux/2a.efi", "6.12.117", "orlop.slot=b"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let directory = inspect(sample.directory.path()).unwrap();
        assert_eq!(directory.to_string(), text, "a build's directory is its disk");
    }

    #[test]
    fn a_uki_is_told_with_its_sections_and_command_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uki.efi");
        std::fs::write(&path, uki(Slot::A, 5000)).unwrap();
        let Summary::Uki(uki) = inspect(&path).unwrap() else { panic!("no UKI") };
        assert_eq!(uki.command_line.as_deref(), Some("orlop.root=partuuid:x orlop.slot=a ro"));
        assert_eq!(uki.kernel.as_deref(), Some("6.12.117"));
        assert_eq!(uki.os_release["NAME"], "OrlopOS");
        assert_eq!(uki.sections.last().unwrap().name, ".initrd");
        let json = serde_json::to_value(Summary::Uki(uki)).unwrap();
        assert_eq!((json["kind"].as_str(), json["slot"].as_str()), (Some("uki"), Some("a")));
    }

    #[test]
    fn what_is_not_ours_says_what_it_is() {
        let prefix = "`x.img` is not an image that orlop made: it is ";
        let mut gpt = vec![0; 1 << 20];
        let table = Table::new(gpt::Guid::from_uuid_bytes([1; 16]), 2048, Vec::new()).unwrap();
        let head = table.encode().head;
        gpt[..head.len()].copy_from_slice(&head);
        for (bytes, what) in [
            (&b""[..], "an empty file"),
            (b"hello\n", "a text file"),
            (b"\x7FELF\x02\x01\x01\x00", "an ELF program"),
            (b"QFI\xFB\0\0\0\x03", "a qcow2 image"),
            (b"\x1F\x8B\x08\0\0\0\0\0", "a gzip file"),
            (&[0; 5000], "nothing but zeros"),
            (&[0xFE; 5000], "of no kind that is known"),
            (&gpt, "a disk without partitions"),
            (b"MZ", "an unusable EFI program"),
        ] {
            assert_eq!(refused(bytes), format!("{prefix}{what}"));
        }
        gpt[520] ^= 1;
        assert_eq!(refused(&gpt), format!("{prefix}a disk whose partition table is not usable"));
    }

    #[test]
    fn an_esp_that_cannot_be_read_is_damage() {
        let sample = Sample::new();
        let path = sample.disk();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 512], sample.layout.partition(Role::Esp).start()).unwrap();
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.id(), Id::DamagedImage);
        assert!(
            error.chain().ends_with("is damaged: it is not a FAT32 volume"),
            "{}",
            error.chain()
        );
    }

    #[test]
    fn an_entry_without_its_first_sector_is_told_as_unfinished() {
        let sample = Sample::new();
        let path = sample.disk();
        let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
        assert!(disk.entries["EFI/Linux/1b.efi"].is_some());
        // Zero the first sector of slot B's file wherever it is.
        let bytes = std::fs::read(&path).unwrap();
        let starts: Vec<_> =
            (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"MZ")).collect();
        let [_, second] = starts[..] else { panic!("{starts:?}") };
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 512], second as u64).unwrap();
        let Summary::Disk(disk) = inspect(&path).unwrap() else { panic!("no disk") };
        assert!(disk.entries["EFI/Linux/1b.efi"].is_none());
        assert!(disk.entries["EFI/Linux/2a.efi"].is_some());
        assert!(Summary::Disk(disk).to_string().contains("no UKI"));
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_of_reading() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(inspect(&directory.path().join("x")).unwrap_err().id(), Id::Read);
        assert_eq!(inspect(directory.path()).unwrap_err().id(), Id::NotOurImage);
    }
}
