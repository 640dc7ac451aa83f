//! What a path given to `orlop run` holds, and the disk that the guest gets instead of it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::gpt::{HEAD_SECTORS, SECTOR, TAIL_SECTORS, Table};

use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::{Role, Slot};
use crate::image::ours::{self, not_ours};
use crate::process::Command;
use crate::recipe::model::Mib;
use crate::run::Options;
use crate::run::kept::{self, Base};
use crate::run::plan::{Boot, Disk, Fate, Format, with_console};

/// What every qcow2 file begins with.
const QCOW2: [u8; 4] = *b"QFI\xfb";
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

    /// Makes sure that its root is not for another machine than the one that guests get.
    ///
    /// # Errors
    /// [`Id::NotOurImage`].
    pub fn check_architecture(&self) -> Result<()> {
        Found::open(&self.disk)?.check_architecture()
    }

    /// The directory, or the disk alone.
    pub(super) fn path(&self) -> &Path {
        self.directory.as_deref().unwrap_or(&self.disk)
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

    /// Kernel, initrd and command line, which lie beside the disk.
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
/// [`Id::NotOurImage`] if image or kept disk is not ours, [`Id::OtherBase`] if the kept disk is of
/// another build, [`Id::DiskTooSmall`], and what `qemu-img`
/// fails with.
pub fn prepare(image: &Image, options: &Options, scratch: &Path) -> Result<Disk> {
    if let Some(kept) = options.disk.as_deref().filter(|path| path.exists()) {
        let path = kept.canonicalize().or_fail(Id::Read, || format!("`{}`", kept.display()))?;
        let overlay = attach(&path, kept, image)?;
        let found = Found::open(&path)?;
        if overlay == Overlay::No && options.direct {
            let base = Found::open(&image.disk)?.base()?;
            base.same_root(kept, &found.base()?, &image.disk)?;
        }
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
    if fate == Fate::Kept {
        // Before the disk: one without a record would be believed.
        found.base()?.write(&path)?;
    }
    Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", found.format.name(), "-b"])
        .arg(&image.disk)
        .arg(&path)
        .args(size.map(|size| size.to_string()))
        .run()?;
    if fate == Fate::Kept {
        durable::settle(&path)
            .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    }
    Ok(Disk { path, format: Format::Qcow2, bytes, fate })
}

impl Format {
    /// Of the file at `path`, by its first bytes: its name says nothing.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub(super) fn of(path: &Path) -> Result<Self> {
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut start));
        read.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        Ok(if start == QCOW2 { Self::Qcow2 } else { Self::Raw })
    }
}

/// Whether most of a disk is in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    Yes,
    No,
}

/// Checks that the overlay at `path`, named `kept`, was made over `image`, before anything is read
/// through it, and tells it where the image is, should that have moved.
fn attach(path: &Path, kept: &Path, image: &Image) -> Result<Overlay> {
    if Format::of(path)? == Format::Raw {
        return Ok(Overlay::No);
    }
    let info = info(path)?;
    let Some(backing) = info["full-backing-filename"].as_str() else { return Ok(Overlay::No) };
    let found = Found::open(&image.disk)?;
    found.base()?.check(kept, &image.disk)?;
    if Path::new(backing) != image.disk && kept::record(kept).exists() {
        let rebase = Command::new("qemu-img").args(["rebase", "-q", "-u", "-f", "qcow2", "-F"]);
        rebase.arg(found.format.name()).arg("-b").arg(&image.disk).arg(path).run()?;
    }
    Ok(Overlay::Yes)
}

/// A disk of ours.
struct Found<'a> {
    path: &'a Path,
    format: Format,
    /// Bytes of the disk, not of the file.
    size: u64,
    table: Table,
}

impl<'a> Found<'a> {
    /// Makes sure that a file is a disk of ours, and says how it is stored.
    fn open(path: &'a Path) -> Result<Self> {
        let cannot_read = || format!("cannot read `{}`", path.display());
        // As much as it takes to tell what else it may be.
        let mut start = Vec::new();
        let file = File::open(path).or_fail(Id::Read, cannot_read)?;
        (&file).take(64 << 10).read_to_end(&mut start).or_fail(Id::Read, cannot_read)?;
        let is_qcow2 = start.starts_with(&QCOW2);
        let (format, size) = if is_qcow2 {
            let info = info(path)?;
            let size = info["virtual-size"].as_u64().ok_or_else(|| {
                let message = format!("`qemu-img info` gives no size of `{}`", path.display());
                Error::new(Id::ToolFailed, message)
            })?;
            start = part(path, Format::Qcow2, 0, HEAD_SECTORS)?;
            (Format::Qcow2, size)
        } else {
            (Format::Raw, file.metadata().or_fail(Id::Read, cannot_read)?.len())
        };
        let table = ours::table(path, &start, size);
        let table = table.or_else(|error| backup_table(path, format, size).ok_or(error))?;
        Ok(Self { path, format, size, table })
    }

    fn check_architecture(&self) -> Result<()> {
        let root = self.table.partition(Role::Root(Slot::A).name()).map(|root| root.type_guid);
        let is_its = |architecture: &Architecture| root == Some(architecture.root_type());
        match Architecture::ALL.into_iter().find(is_its) {
            Some(other) if other != Architecture::MADE => Err(Error::new(
                Id::NotOurImage,
                format!("`{}` is an image for {other}, which cannot be run", self.path.display()),
            )
            .hint(format!("`orlop run` starts images for {}", Architecture::MADE))),
            _ => Ok(()),
        }
    }

    /// What this disk is to an overlay over it.
    fn base(&self) -> Result<Base> {
        let read = |offset: u64, length: u64| {
            part(self.path, self.format, offset / SECTOR, length / SECTOR).map_err(io::Error::other)
        };
        Base::of(&self.table, read)
            .or_fail(Id::Read, || format!("cannot read `{}`", self.path.display()))
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

/// The table at the disk's end. A power cut while STATE grew may have torn the one at its start,
/// which firmware and the node repair.
fn backup_table(path: &Path, format: Format, size: u64) -> Option<Table> {
    let sectors = size / SECTOR;
    let tail = part(path, format, sectors.checked_sub(TAIL_SECTORS)?, TAIL_SECTORS).ok()?;
    ours::with_our_partitions(path, Table::parse_backup(&tail, sectors).ok()?).ok()
}

/// So many sectors of a disk.
fn part(path: &Path, format: Format, first: u64, sectors: u64) -> Result<Vec<u8>> {
    let copy = tempfile::Builder::new().prefix("orlop-part-").tempfile();
    let copy = copy.or_fail(Id::Write, || "cannot make a temporary file")?;
    let (from, offset) = match format {
        Format::Raw => (path, first * SECTOR),
        Format::Qcow2 => {
            Command::new("qemu-img")
                .args(["dd", "-U", "-f", "qcow2", "-O", "raw", &format!("bs={SECTOR}")])
                // It counts what is skipped.
                .args([format!("skip={first}"), format!("count={}", first + sectors)])
                .arg(concat("if=", path))
                .arg(concat("of=", copy.path()))
                .run()?;
            (copy.path(), 0)
        }
    };
    let mut bytes = vec![0; usize::try_from(sectors * SECTOR).unwrap_or(0)];
    File::open(from)
        .and_then(|file| file.read_exact_at(&mut bytes, offset))
        .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

/// What QEMU knows of a qcow2 disk.
fn info(path: &Path) -> Result<serde_json::Value> {
    let info = Command::new("qemu-img").args(["info", "--output=json", "-U", "-f", "qcow2"]);
    Ok(serde_json::from_slice(&info.arg(path).run()?).unwrap_or_default())
}

fn concat(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(prefix);
    word.push(path);
    word
}

#[cfg(test)]
mod tests;
