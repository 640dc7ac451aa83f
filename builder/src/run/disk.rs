//! What a path given to `orlop run` holds, and the disk that the guest gets instead of it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use formats::gpt::{HEAD_SECTORS, SECTOR, TAIL_SECTORS, Table};

use crate::error::{Context as _, Error, Id, Result};
use crate::image::ours::{self, not_ours};
use crate::process::Command;
use crate::recipe::model::Mib;
use crate::run::Options;
use crate::run::plan::{Boot, Disk, Fate, Format, with_console};

/// Where images of nodes have kubelet.
const KUBELET: &str = "/usr/bin/kubelet";

/// What the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The whole disk.
    disk: PathBuf,
    /// The directory made by `orlop build`, if not the disk alone was named.
    directory: Option<PathBuf>,
}

impl Image {
    /// Finds out what `path` is. The disk is all that a boot through firmware needs.
    ///
    /// # Errors
    /// [`Id::Read`] if it is not there, [`Id::NotOurImage`] if it is not ours.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .or_fail(Id::Read, || format!("cannot find the image `{}`", path.display()))?;
        if !path.is_dir() {
            Found::open(&path)?;
            return Ok(Self { disk: path, directory: None });
        }
        let disk = path.join("disk.raw");
        if !disk.is_file() {
            return Err(not_ours(&path, "a directory without `disk.raw`"));
        }
        Ok(Self { disk, directory: Some(path) })
    }

    /// Whether it is the output of a build, and not a disk alone.
    pub fn is_build(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether the root holds a kubelet, as the manifest beside the disk tells: nothing tells it of
    /// a disk alone.
    pub fn has_kubelet(&self) -> bool {
        let manifest = self.directory.as_ref().map(|directory| directory.join("manifest.txt"));
        let text = manifest.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().any(|line| line.starts_with("f ") && line.split(' ').nth(4) == Some(KUBELET))
    }

    /// Kernel, initrd and command line of slot A, which lie beside the disk.
    ///
    /// # Errors
    /// [`Id::NotOurImage`] for a disk alone, or if one of them is missing.
    pub fn direct_boot(&self) -> Result<Boot> {
        let hint = "`--direct` needs the directory made by `orlop build`";
        let Some(directory) = &self.directory else {
            return Err(not_ours(&self.disk, "a file, not a directory").hint(hint));
        };
        let file = |name: &str| {
            let path = directory.join(name);
            let missing = || not_ours(directory, &format!("a directory without `{name}`"));
            if path.is_file() { Ok(path) } else { Err(missing().hint(hint)) }
        };
        let path = file("cmdline")?;
        let command_line = fs::read_to_string(&path)
            .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        Ok(Boot::Direct {
            kernel: file("vmlinuz")?,
            initrd: file("initrd")?,
            command_line: with_console(&command_line),
        })
    }
}

/// Makes the guest's disk: an overlay over the image, or the one kept by an earlier run.
///
/// # Errors
/// [`Id::NotOurImage`] if image or kept disk is not ours, [`Id::DiskTooSmall`], and what `qemu-img`
/// fails with.
pub fn prepare(image: &Image, options: &Options, scratch: &Path) -> Result<Disk> {
    if let Some(kept) = options.disk.as_deref().filter(|path| path.exists()) {
        let path = kept.canonicalize().or_fail(Id::Read, || format!("`{}`", kept.display()))?;
        let found = Found::open(&path)?;
        if let Some(size) = found.other_size(options.disk_size)? {
            let resize = Command::new("qemu-img").args(["resize", "-q", "-f", found.format.name()]);
            resize.arg(&path).arg(size.to_string()).run()?;
        }
        let format = found.format;
        let bytes = options.disk_size.map_or(found.size, Mib::bytes);
        return Ok(Disk { path, format, bytes, fate: Fate::Kept });
    }
    let found = Found::open(&image.disk)?;
    if options.pmem {
        if found.format != Format::Raw {
            return Err(not_ours(&image.disk, "a qcow2 disk, which cannot be memory"));
        }
        let (path, bytes) = (image.disk.clone(), found.size);
        return Ok(Disk { path, format: Format::Raw, bytes, fate: Fate::ThrownAway });
    }
    let size = found.other_size(options.disk_size)?;
    let bytes = size.unwrap_or(found.size);
    let (path, fate) = match &options.disk {
        Some(path) => (std::path::absolute(path).unwrap_or_else(|_| path.clone()), Fate::Kept),
        None => (scratch.join("overlay.qcow2"), Fate::ThrownAway),
    };
    Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", found.format.name(), "-b"])
        .arg(&image.disk)
        .arg(&path)
        .args(size.map(|size| size.to_string()))
        .run()?;
    Ok(Disk { path, format: Format::Qcow2, bytes, fate })
}

/// A disk of ours.
struct Found<'a> {
    path: &'a Path,
    format: Format,
    /// Bytes of the disk, not of the file.
    size: u64,
}

impl<'a> Found<'a> {
    /// Makes sure that a file is a disk of ours, and says how it is stored.
    fn open(path: &'a Path) -> Result<Self> {
        let cannot_read = || format!("cannot read `{}`", path.display());
        // As much as it takes to tell what else it may be.
        let mut start = Vec::new();
        let file = File::open(path).or_fail(Id::Read, cannot_read)?;
        (&file).take(64 << 10).read_to_end(&mut start).or_fail(Id::Read, cannot_read)?;
        let mut found = Self { path, format: Format::Raw, size: 0 };
        if start.starts_with(b"QFI\xfb") {
            found.format = Format::Qcow2;
            found.size = found.virtual_size()?;
            start = found.part(0, HEAD_SECTORS)?;
        } else {
            found.size = file.metadata().or_fail(Id::Read, cannot_read)?.len();
        }
        let table = ours::table(path, &start, found.size);
        table.or_else(|error| found.backup_table().ok_or(error))?;
        Ok(found)
    }

    /// The table at the disk's end. A power cut while STATE grew may have torn the one at its
    /// start, which firmware and the node repair.
    fn backup_table(&self) -> Option<Table> {
        let sectors = self.size / SECTOR;
        let tail = self.part(sectors.checked_sub(TAIL_SECTORS)?, TAIL_SECTORS).ok()?;
        ours::with_our_partitions(self.path, Table::parse_backup(&tail, sectors).ok()?).ok()
    }

    /// So many sectors of the disk.
    fn part(&self, first: u64, sectors: u64) -> Result<Vec<u8>> {
        let copy = tempfile::Builder::new().prefix("orlop-part-").tempfile();
        let copy = copy.or_fail(Id::Write, || "cannot make a temporary file")?;
        let (path, offset) = match self.format {
            Format::Raw => (self.path, first * SECTOR),
            Format::Qcow2 => {
                Command::new("qemu-img")
                    .args(["dd", "-U", "-f", "qcow2", "-O", "raw", &format!("bs={SECTOR}")])
                    // It counts what is skipped.
                    .args([format!("skip={first}"), format!("count={}", first + sectors)])
                    .arg(concat("if=", self.path))
                    .arg(concat("of=", copy.path()))
                    .run()?;
                (copy.path(), 0)
            }
        };
        let mut bytes = vec![0; usize::try_from(sectors * SECTOR).unwrap_or(0)];
        File::open(path)
            .and_then(|file| file.read_exact_at(&mut bytes, offset))
            .or_fail(Id::Read, || format!("cannot read `{}`", self.path.display()))?;
        Ok(bytes)
    }

    fn virtual_size(&self) -> Result<u64> {
        let info = Command::new("qemu-img").args(["info", "--output=json", "-U", "-f", "qcow2"]);
        let info: serde_json::Value =
            serde_json::from_slice(&info.arg(self.path).run()?).unwrap_or_default();
        info["virtual-size"].as_u64().ok_or_else(|| {
            let path = self.path.display();
            Error::new(Id::ToolFailed, format!("`qemu-img info` gives no size of `{path}`"))
        })
    }

    /// The size to give the disk in bytes, if it is not the one it has.
    fn other_size(&self, wanted: Option<Mib>) -> Result<Option<u64>> {
        let Some(wanted) = wanted else { return Ok(None) };
        if wanted.bytes() < self.size {
            let (path, has) = (self.path.display(), self.size.div_ceil(Mib(1).bytes()));
            return Err(Error::new(
                Id::DiskTooSmall,
                format!("a disk of {wanted} is too small: `{path}` has {has} MiB"),
            ));
        }
        Ok(Some(wanted.bytes()).filter(|&bytes| bytes != self.size))
    }
}

fn concat(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(prefix);
    word.push(path);
    word
}

#[cfg(test)]
mod tests {
    use formats::gpt::{Guid, Partition, types};

    use super::*;
    use crate::image::disk::Role;

    /// A disk of 1 MiB with these partitions, of a sector each.
    fn gpt(names: &[&str]) -> Vec<u8> {
        let partition = |(first_lba, name): (u64, &&str)| Partition {
            type_guid: types::LINUX_DATA,
            guid: Guid::from_uuid_bytes(u128::from(first_lba).to_be_bytes()),
            name: (*name).to_owned(),
            first_lba,
            last_lba: first_lba,
            attributes: 0,
        };
        let partitions = (HEAD_SECTORS..).zip(names).map(partition).collect();
        let table = Table::new(Guid::from_uuid_bytes([1; 16]), 2048, partitions).unwrap().encode();
        let mut disk = table.head;
        disk.resize(usize::try_from(table.tail_offset).unwrap(), 0);
        disk.extend(table.tail);
        disk
    }

    fn ours() -> Vec<u8> {
        gpt(&Role::ALL.map(Role::name))
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.path("disk.raw"), ours()).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn prepare(&self, options: &Options) -> Result<Disk> {
            prepare(&Image::open(&options.image)?, options, self.0.path())
        }

        fn convert(&self, from: &str, to: &str) {
            let convert = Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]);
            convert.arg(self.path(from)).arg(self.path(to)).run().unwrap();
        }

        fn info(path: &Path) -> serde_json::Value {
            let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).run();
            serde_json::from_slice(&info.expect("install `qemu-utils`")).unwrap()
        }
    }

    #[test]
    fn the_guest_gets_an_overlay_of_the_size_asked_for() {
        let place = Place::new();
        let mut options = Options::new(place.path("disk.raw"));
        options.disk_size = Some(Mib(64));
        let disk = place.prepare(&options).unwrap();
        assert_eq!((disk.format, disk.fate), (Format::Qcow2, Fate::ThrownAway));
        let info = Place::info(&disk.path);
        assert_eq!(info["virtual-size"], 64 * 1024 * 1024);
        assert_eq!(info["backing-filename"], options.image.to_str().unwrap());
        assert_eq!(info["backing-filename-format"], "raw");
    }

    #[test]
    fn a_kept_disk_is_made_once_continued_and_grown() {
        let place = Place::new();
        let mut options = Options::new(place.path("disk.raw"));
        options.disk = Some(place.path("kept"));
        let first = place.prepare(&options).unwrap();
        assert_eq!((first.format, first.fate), (Format::Qcow2, Fate::Kept));
        let bytes = fs::read(&first.path).unwrap();
        let second = place.prepare(&options).unwrap();
        assert_eq!((second.format, second.fate), (Format::Qcow2, Fate::Kept));
        assert_eq!(fs::read(&second.path).unwrap(), bytes);
        options.disk_size = Some(Mib(8));
        place.prepare(&options).unwrap();
        assert_eq!(Place::info(&second.path)["virtual-size"], 8 * 1024 * 1024);
        options.disk_size = Some(Mib(4));
        assert_eq!(place.prepare(&options).unwrap_err().id(), Id::DiskTooSmall);
    }

    #[test]
    fn a_raw_file_can_be_the_kept_disk() {
        let place = Place::new();
        let mut options = Options::new(place.path("disk.raw"));
        fs::copy(&options.image, place.path("kept.raw")).unwrap();
        options.disk = Some(place.path("kept.raw"));
        let disk = place.prepare(&options).unwrap();
        assert_eq!((disk.format, disk.fate), (Format::Raw, Fate::Kept));
    }

    #[test]
    fn a_disk_in_memory_is_the_image_itself_and_must_be_raw() {
        let place = Place::new();
        let mut options = Options::new(place.path("disk.raw"));
        options.pmem = true;
        let disk = place.prepare(&options).unwrap();
        assert_eq!((disk.format, disk.fate, disk.bytes), (Format::Raw, Fate::ThrownAway, 1 << 20));
        assert_eq!(disk.path, options.image.canonicalize().unwrap());
        place.convert("disk.raw", "disk.qcow2");
        options.image = place.path("disk.qcow2");
        let error = place.prepare(&options).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
        assert!(error.chain().ends_with("which cannot be memory"), "{}", error.chain());
    }

    #[test]
    fn a_disk_does_not_shrink() {
        let place = Place::new();
        fs::write(place.path("disk.raw"), {
            let mut disk = ours();
            disk.resize(3 * 1024 * 1024, 0);
            disk
        })
        .unwrap();
        let mut options = Options::new(place.path("disk.raw"));
        options.disk_size = Some(Mib(2));
        let error = place.prepare(&options).unwrap_err();
        assert_eq!(error.id(), Id::DiskTooSmall);
        assert!(error.chain().starts_with("a disk of 2 MiB is too small"), "{}", error.chain());
        assert!(error.chain().ends_with("has 3 MiB"), "{}", error.chain());
    }

    #[test]
    fn what_is_not_ours_is_refused_with_the_reason() {
        let place = Place::new();
        for (content, why) in [
            (Vec::new(), "an empty file"),
            (b"#!/bin/sh\n".to_vec(), "a text file"),
            (vec![0; 65536], "nothing but zeros"),
            (gpt(&[]), "a disk without partitions"),
            (gpt(&["ESP", "STATE"]), "a disk with the partitions `ESP`, `STATE`"),
        ] {
            fs::write(place.path("other"), content).unwrap();
            let error = place.prepare(&Options::new(place.path("other"))).unwrap_err();
            assert_eq!(error.id(), Id::NotOurImage);
            assert!(error.chain().ends_with(&format!("it is {why}")), "{}", error.chain());
        }
    }

    #[test]
    fn a_disk_whose_first_table_was_torn_is_still_ours() {
        let place = Place::new();
        let mut torn = ours();
        torn[512..1024].fill(0);
        fs::write(place.path("disk.raw"), &torn).unwrap();
        place.convert("disk.raw", "disk.qcow2");
        for name in ["disk.raw", "disk.qcow2"] {
            place.prepare(&Options::new(place.path(name))).unwrap();
        }
        let tail = torn.len() - 1;
        torn[tail - 511] ^= 1;
        fs::write(place.path("disk.raw"), &torn).unwrap();
        place.convert("disk.raw", "disk.qcow2");
        for name in ["disk.raw", "disk.qcow2"] {
            let error = place.prepare(&Options::new(place.path(name))).unwrap_err();
            assert_eq!(error.id(), Id::NotOurImage);
        }
    }

    #[test]
    fn a_qcow2_image_is_looked_into() {
        let place = Place::new();
        place.convert("disk.raw", "disk.qcow2");
        let disk = place.prepare(&Options::new(place.path("disk.qcow2"))).unwrap();
        assert_eq!(Place::info(&disk.path)["backing-filename-format"], "qcow2");
        fs::write(place.path("zeros"), vec![0; 65536]).unwrap();
        place.convert("zeros", "zeros.qcow2");
        let error = place.prepare(&Options::new(place.path("zeros.qcow2"))).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
    }

    #[test]
    fn a_directory_needs_a_disk_and_only_a_direct_boot_needs_more() {
        let place = Place::new();
        let image = Image::open(place.0.path()).unwrap();
        place.prepare(&Options::new(place.0.path())).unwrap();
        let error = image.direct_boot().unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
        assert!(error.chain().ends_with("a directory without `cmdline`"), "{}", error.chain());

        for (name, content) in [("cmdline", "ro console=x\n"), ("vmlinuz", ""), ("initrd", "")] {
            fs::write(place.path(name), content).unwrap();
        }
        let Boot::Direct { command_line, .. } = image.direct_boot().unwrap() else {
            panic!("not direct");
        };
        assert_eq!(command_line, "ro console=x");
        let alone = Image::open(&place.path("disk.raw")).unwrap();
        assert_eq!(alone.direct_boot().unwrap_err().id(), Id::NotOurImage);

        fs::remove_file(place.path("disk.raw")).unwrap();
        let error = Image::open(place.0.path()).unwrap_err();
        assert_eq!(error.id(), Id::NotOurImage);
        assert!(error.chain().ends_with("a directory without `disk.raw`"), "{}", error.chain());
    }
}
