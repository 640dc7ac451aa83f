//! What a path given to `orlop run` holds, and the disk that the guest gets instead of it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::recipe::model::Mib;
use crate::run::Options;
use crate::run::plan::{Disk, Fate, Format};

/// The partitions every disk of ours has.
const PARTITIONS: [&str; 5] = ["ESP", "META", "ROOT-A", "ROOT-B", "STATE"];

/// How much of a disk the GPT with its 128 entries takes: 34 sectors.
const HEAD: u64 = 34 * 512;

/// How a qcow2 file begins.
const QCOW2: &[u8] = b"QFI\xfb";

/// What `orlop build` makes of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The whole disk, raw and sparse.
    pub disk: PathBuf,
    /// The kernel of its UKI.
    pub kernel: PathBuf,
    /// The initrd of its UKI.
    pub initrd: PathBuf,
    /// The command line of its UKI.
    pub command_line: String,
}

impl BuiltImage {
    /// Opens a directory made by `orlop build`.
    ///
    /// # Errors
    /// [`Id::NotAnImage`] if one of the files is missing.
    pub fn open(directory: &Path) -> Result<Self> {
        let file = |name: &str| {
            let path = directory.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(no_image(directory, &format!("it has no `{name}`")))
            }
        };
        let path = file("cmdline")?;
        let command_line = fs::read_to_string(&path)
            .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        Ok(Self {
            disk: file("disk.raw")?,
            kernel: file("vmlinuz")?,
            initrd: file("initrd")?,
            command_line: command_line.trim().to_owned(),
        })
    }
}

/// What the user named.
#[derive(Debug, Clone)]
pub enum Image {
    /// A directory made by `orlop build`.
    Directory(BuiltImage),
    /// A disk alone.
    File(PathBuf),
}

impl Image {
    /// Finds out what `path` is.
    ///
    /// # Errors
    /// [`Id::Read`] if it is not there, [`Id::NotAnImage`] if it is not ours, as far as that can
    /// be told without QEMU's tools.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .or_fail(Id::Read, || format!("cannot find the image `{}`", path.display()))?;
        if path.is_dir() {
            return BuiltImage::open(&path).map(Self::Directory);
        }
        let start = head(&path)?;
        if !start.starts_with(QCOW2) {
            check_partitions(&path, &start)?;
        }
        Ok(Self::File(path))
    }

    /// The directory's parts, which a direct boot needs.
    ///
    /// # Errors
    /// [`Id::NotAnImage`] for a disk alone.
    pub fn built(&self) -> Result<&BuiltImage> {
        match self {
            Self::Directory(built) => Ok(built),
            Self::File(path) => {
                Err(no_image(path, "a direct boot needs the directory made by `orlop build`"))
            }
        }
    }

    fn disk(&self) -> &Path {
        match self {
            Self::Directory(built) => &built.disk,
            Self::File(path) => path,
        }
    }
}

/// Makes the guest's disk: an overlay over the image, or the one kept by an earlier run.
///
/// # Errors
/// [`Id::NotAnImage`] if image or kept disk is not ours, [`Id::DiskTooSmall`], and what `qemu-img`
/// fails with.
pub fn prepare(image: &Image, options: &Options, scratch: &Path) -> Result<Disk> {
    if let Some(kept) = options.disk.as_deref().filter(|path| path.exists()) {
        let path = kept.canonicalize().or_fail(Id::Read, || format!("`{}`", kept.display()))?;
        let format = check(&path, scratch)?;
        if let Some(size) = wanted_size(&path, format, options.disk_size)? {
            let size = size.to_string();
            let resize = Command::new("qemu-img").args(["resize", "-q", "-f", format.name()]);
            resize.arg(&path).arg(size).run()?;
        }
        return Ok(Disk { path, format, fate: Fate::Kept });
    }
    let backing = image.disk();
    let backing_format = check(backing, scratch)?;
    let size = wanted_size(backing, backing_format, options.disk_size)?;
    let (path, fate) = match &options.disk {
        Some(path) => (std::path::absolute(path).unwrap_or_else(|_| path.clone()), Fate::Kept),
        None => (scratch.join("overlay.qcow2"), Fate::ThrownAway),
    };
    Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", backing_format.name(), "-b"])
        .arg(backing)
        .arg(&path)
        .args(size.map(|size| size.to_string()))
        .run()?;
    Ok(Disk { path, format: Format::Qcow2, fate })
}

/// The size to give a disk in bytes, if it is not the one it has.
fn wanted_size(path: &Path, format: Format, wanted: Option<Mib>) -> Result<Option<u64>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let output = Command::new("qemu-img")
        .args(["info", "--output=json", "-U", "-f", format.name()])
        .arg(path)
        .run()?;
    let info: serde_json::Value = serde_json::from_slice(&output).unwrap_or_default();
    let size = info["virtual-size"].as_u64().ok_or_else(|| {
        Error::new(Id::ToolFailed, format!("`qemu-img info` gives no size of `{}`", path.display()))
    })?;
    if wanted.bytes() < size {
        let has = size.div_ceil(Mib(1).bytes());
        return Err(Error::new(
            Id::DiskTooSmall,
            format!("a disk of {wanted} is too small: `{}` has {has} MiB", path.display()),
        ));
    }
    Ok(Some(wanted.bytes()).filter(|&bytes| bytes != size))
}

/// Makes sure that a file is a disk of ours, and says how it is stored.
fn check(path: &Path, scratch: &Path) -> Result<Format> {
    let mut start = head(path)?;
    let format = if start.starts_with(QCOW2) { Format::Qcow2 } else { Format::Raw };
    if format == Format::Qcow2 {
        let copy = scratch.join("head.raw");
        Command::new("qemu-img")
            .args([
                "dd",
                "-U",
                "-f",
                "qcow2",
                "-O",
                "raw",
                "bs=512",
                &format!("count={}", HEAD / 512),
            ])
            .arg(concat("if=", path))
            .arg(concat("of=", &copy))
            .run()?;
        start = head(&copy)?;
    }
    check_partitions(path, &start)?;
    Ok(format)
}

/// Makes sure that a disk that starts so has our partitions.
fn check_partitions(path: &Path, start: &[u8]) -> Result<()> {
    let names =
        partition_names(start).ok_or_else(|| no_image(path, "it has no partition table"))?;
    match PARTITIONS.iter().find(|&&wanted| !names.iter().any(|name| name == wanted)) {
        None => Ok(()),
        Some(missing) => Err(no_image(path, &format!("it has no partition `{missing}`"))),
    }
}

fn concat(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(prefix);
    word.push(path);
    word
}

fn head(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD).read_to_end(&mut bytes))
        .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

/// The names in a GPT with its entries in the usual place (UEFI specification, section 5.3).
fn partition_names(head: &[u8]) -> Option<Vec<String>> {
    let header = head.get(512..1024)?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if !header.starts_with(b"EFI PART") || number(72)? != 2 || number(84)? != 128 {
        return None;
    }
    let count = usize::try_from(number(80)?).ok()?.min(128);
    let entries = head.get(1024..)?.chunks_exact(128).take(count);
    let used = entries.filter(|entry| entry[..16] != [0; 16]);
    let name = |entry: &[u8]| {
        let units = entry[56..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        String::from_utf16_lossy(&units.take_while(|&unit| unit != 0).collect::<Vec<_>>())
    };
    Some(used.map(name).collect())
}

fn no_image(path: &Path, why: &str) -> Error {
    Error::new(Id::NotAnImage, format!("`{}` is not an image of ours: {why}", path.display()))
        .hint("`orlop build` prints the directory to run as the last line of its output")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The start of a disk with these partitions: enough of a GPT to be recognized.
    fn gpt(names: &[&str]) -> Vec<u8> {
        let mut disk = vec![0; 1024 * 1024];
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 128;
        disk[512 + 84] = 128;
        for (name, entry) in names.iter().zip(disk[1024..].chunks_exact_mut(128)) {
            entry[0] = 1;
            for (unit, pair) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                pair.copy_from_slice(&unit.to_le_bytes());
            }
        }
        disk
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.path("disk.raw"), gpt(&PARTITIONS)).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn prepare(&self, options: &Options) -> Result<Disk> {
            prepare(&Image::open(&options.image)?, options, self.0.path())
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
    fn a_disk_does_not_shrink() {
        let place = Place::new();
        fs::write(place.path("disk.raw"), {
            let mut disk = gpt(&PARTITIONS);
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
            (Vec::new(), "it has no partition table"),
            (b"#!/bin/sh\n".to_vec(), "it has no partition table"),
            (vec![0; 65536], "it has no partition table"),
            (gpt(&[]), "it has no partition `ESP`"),
            (gpt(&["ESP", "META", "ROOT-A", "STATE"]), "it has no partition `ROOT-B`"),
        ] {
            fs::write(place.path("other"), content).unwrap();
            let error = place.prepare(&Options::new(place.path("other"))).unwrap_err();
            assert_eq!(error.id(), Id::NotAnImage);
            assert!(error.chain().ends_with(why), "{}", error.chain());
        }
        let error = Image::open(place.0.path()).unwrap_err();
        assert_eq!(error.id(), Id::NotAnImage);
        assert!(error.chain().ends_with("it has no `cmdline`"), "{}", error.chain());
    }

    #[test]
    fn a_qcow2_image_is_looked_into() {
        let place = Place::new();
        let convert = |from: &str, to: &str| {
            let convert = Command::new("qemu-img").args(["convert", "-O", "qcow2"]);
            convert.arg(place.path(from)).arg(place.path(to)).run().unwrap();
        };
        convert("disk.raw", "disk.qcow2");
        let disk = place.prepare(&Options::new(place.path("disk.qcow2"))).unwrap();
        assert_eq!(Place::info(&disk.path)["backing-filename-format"], "qcow2");
        fs::write(place.path("zeros"), vec![0; 65536]).unwrap();
        convert("zeros", "zeros.qcow2");
        let error = place.prepare(&Options::new(place.path("zeros.qcow2"))).unwrap_err();
        assert_eq!(error.id(), Id::NotAnImage);
    }

    #[test]
    fn a_built_directory_is_opened_with_all_its_parts() {
        let place = Place::new();
        for (name, content) in [("cmdline", "ro panic=5\n"), ("vmlinuz", ""), ("initrd", "")] {
            fs::write(place.path(name), content).unwrap();
        }
        let image = Image::open(place.0.path()).unwrap();
        assert_eq!(image.built().unwrap().command_line, "ro panic=5");
        let alone = Image::open(&place.path("disk.raw")).unwrap();
        assert_eq!(alone.built().unwrap_err().id(), Id::NotAnImage);
    }

    proptest! {
        #[test]
        fn any_head_is_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            signed: bool,
        ) {
            let mut bytes = bytes;
            if signed && bytes.len() >= 600 {
                bytes[512..520].copy_from_slice(b"EFI PART");
                bytes[584..588].copy_from_slice(&[2, 0, 0, 0]);
                bytes[596..600].copy_from_slice(&[128, 0, 0, 0]);
            }
            partition_names(&bytes);
        }
    }
}
