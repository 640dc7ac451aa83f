//! Volumes labelled `ORLOP` or `cidata`: a disk, a stick or a disc, with partitions or without,
//! which holds a file `node.toml`.
//!
//! Whatever is plugged in is looked at, so as little as can be is believed: only FAT and ISO 9660
//! are mounted, read-only, without devices, set-user-id bits and programs, for as long as one
//! plain file is read. A disk that does not answer holds up whoever asks it, so what reads one
//! runs in a process of its own ([`super::disks`]).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use formats::superblock::fat::{BOOT_SECTOR, Fat};
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::label::{self, DESCRIPTOR, DESCRIPTOR_AT, FileSystem};
use super::{FILE_NAME, LIMIT};
use crate::root::{Root, read_limited};

/// The labels, best first; compared without case, for `mkfs` writes capitals.
pub const LABELS: [&str; 2] = ["ORLOP", "cidata"];

/// Where a volume is mounted while its file is read, its device's name behind.
const MOUNT_POINT: &str = "/run/orlop/volume-";

const CLASS_BLOCK: &str = "/sys/class/block";

/// A volume with one of our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The kernel's name of the disk or partition: `vdb1`.
    pub device: String,
    /// Which partition it is, if it is one.
    pub partition: Option<u32>,
    /// One of [`LABELS`].
    pub label: &'static str,
    /// What is on it.
    pub file_system: FileSystem,
}

/// A disk or a partition of one: its name, and which partition it is.
pub(super) type Part = (String, Option<u32>);

/// All disks by their names, each with its parts. Nothing of them is read.
pub(super) fn disks(root: &Root) -> BTreeMap<String, Vec<Part>> {
    let entries = fs::read_dir(root.path(CLASS_BLOCK)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let mut disks: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for name in names {
        let class = root.path(CLASS_BLOCK).join(&name);
        if !is_real(&class) {
            continue;
        }
        let number = fs::read_to_string(class.join("partition"));
        let number = number.ok().and_then(|number| number.trim().parse().ok());
        // A partition's directory lies inside its disk's.
        let above = || {
            let directory = fs::canonicalize(&class).ok()?;
            Some(directory.parent()?.file_name()?.to_str()?.to_owned())
        };
        let disk = number.and_then(|_: u32| above()).unwrap_or_else(|| name.clone());
        disks.entry(disk).or_default().push((name, number));
    }
    disks
}

/// The volumes with one of our labels among the parts of a disk. A device that cannot be read has
/// no label: drives without a disc are such.
pub(super) fn labelled_of(root: &Root, parts: &[Part]) -> Vec<Volume> {
    let volume = |(device, partition): &Part| {
        let (label, file_system) = labelled(&node(root, device)).ok()??;
        let label = LABELS.into_iter().find(|known| known.eq_ignore_ascii_case(&label))?;
        Some(Volume { device: device.clone(), partition: *partition, label, file_system })
    };
    parts.iter().filter_map(volume).collect()
}

/// To sort by: `ORLOP` before `cidata`, then in the order of their names.
pub(super) fn order(volume: &Volume) -> (Option<usize>, String) {
    let place = LABELS.iter().position(|known| *known == volume.label);
    (place, volume.device.clone())
}

/// Reads the file `node.toml` of a volume; `None` if it has none.
///
/// # Errors
/// When the volume cannot be mounted (only root may), or the file cannot be read, is too large,
/// or is no plain file.
pub(super) fn read(
    root: &Root,
    device: &str,
    file_system: FileSystem,
) -> io::Result<Option<Vec<u8>>> {
    let target = root.path(format!("{MOUNT_POINT}{device}"));
    fs::create_dir_all(&target)?;
    let file = read_mounted(&node(root, device), file_system, &target);
    // If it is still in use it is a mount point, and stays.
    let _ = fs::remove_dir(&target);
    file
}

fn read_mounted(
    device: &Path,
    file_system: FileSystem,
    target: &Path,
) -> io::Result<Option<Vec<u8>>> {
    let name = file_system.name();
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // A run that was killed in the middle may have left one there.
    let _ = unmount(target, UnmountFlags::empty());
    mount(device, target, name, flags, None).map_err(|error| match error {
        Errno::NODEV => io::Error::other(format!("this kernel does not know {name}")),
        Errno::INVAL => {
            let text = format!("cannot mount it as {name}: the kernel's log says what is wrong");
            io::Error::other(text)
        }
        error => io::Error::other(format!("cannot mount it as {name}: {error}")),
    })?;
    let file = read_file(target);
    let unmounted = unmount(target, UnmountFlags::empty());
    let file = file?;
    unmounted.map_err(|error| io::Error::other(format!("cannot unmount it: {error}")))?;
    Ok(file)
}

/// Loop, device-mapper, RAM and other devices which stand for something else have no config.
fn is_real(class: &Path) -> bool {
    let size = fs::read_to_string(class.join("size"));
    let empty = size.is_ok_and(|size| size.trim() == "0");
    let directory = fs::canonicalize(class);
    !empty && directory.is_ok_and(|path| !path.to_string_lossy().contains("/devices/virtual/"))
}

/// A device's node. In sysfs the `/` of a name is a `!`.
fn node(root: &Root, device: &str) -> std::path::PathBuf {
    root.path(Path::new("/dev").join(device.replace('!', "/")))
}

fn labelled(node: &Path) -> io::Result<Option<(String, FileSystem)>> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let device = OpenOptions::new().read(true).custom_flags(flags).open(node)?;
    // Reading a few sectors of each partition must not bring in 128 KiB of each.
    let _ = fadvise(&device, 0, None, Advice::Random);
    let mut sector = [0; BOOT_SECTOR];
    device.read_exact_at(&mut sector, 0)?;
    if let Some(fat) = Fat::parse(&sector) {
        let mut directory = vec![0; fat.root_bytes];
        let root = device.read_exact_at(&mut directory, fat.root_at);
        let label = root.ok().and_then(|()| label::fat_root(&directory));
        let label = label.or_else(|| label::fat_boot(&fat));
        if let Some(label) = label {
            return Ok(Some((label, FileSystem::Vfat)));
        }
    }
    let mut descriptor = [0; DESCRIPTOR];
    device.read_exact_at(&mut descriptor, DESCRIPTOR_AT)?;
    Ok(label::iso9660(&descriptor).map(|label| (label, FileSystem::Iso9660)))
}

fn read_file(directory: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = directory.join(FILE_NAME);
    // A link would lead out of the volume, and a pipe would keep us for ever.
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(io::Error::other(format!("`{FILE_NAME}` is not a plain file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    read_limited(File::open(path)?, LIMIT).map(Some)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A node with these block devices: name, whether it is real, and what is on it.
    fn root(devices: &[(&str, bool, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        fs::create_dir_all(root.path(CLASS_BLOCK)).unwrap();
        for (name, real, bytes) in devices {
            let kind = if *real { "pci" } else { "virtual" };
            let device = root.path(format!("/sys/devices/{kind}/block/{name}"));
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("size"), format!("{}\n", bytes.len() / 512)).unwrap();
            let link = format!("../../devices/{kind}/block/{name}");
            symlink(link, root.path(CLASS_BLOCK).join(name)).unwrap();
            let node = node(&root, name);
            fs::create_dir_all(node.parent().unwrap()).unwrap();
            fs::write(node, bytes).unwrap();
        }
        (directory, root)
    }

    fn found(root: &Root) -> Vec<Volume> {
        disks(root).values().flat_map(|parts| labelled_of(root, parts)).collect()
    }

    fn disc(label: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x8800];
        bytes[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
        bytes[0x8028..0x8048].copy_from_slice(format!("{label:32}").as_bytes());
        bytes
    }

    /// A FAT16 volume with one label in the boot sector and maybe another in the root directory.
    fn stick(boot: &str, root: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        bytes[0x0b..0x18].copy_from_slice(&[0, 2, 4, 1, 0, 1, 16, 0, 128, 0, 0xf8, 8, 0]);
        bytes[0x26] = 0x29;
        bytes[0x2b..0x36].copy_from_slice(format!("{boot:11}").as_bytes());
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        if let Some(root) = root {
            bytes[9 * 512..9 * 512 + 11].copy_from_slice(format!("{root:11}").as_bytes());
            bytes[9 * 512 + 11] = 0x08;
        }
        bytes
    }

    #[test]
    fn labelled_volumes_are_found_on_disks_and_partitions_ours_first() {
        let (_directory, root) = root(&[
            ("vda", true, &[0; 512]),
            ("vda1", true, &stick("ESP", None)),
            ("vdb", true, &disc("cidata")),
            ("vdc1", true, &stick("orlop", None)),
            ("cciss!c0d0", true, &disc("CIDATA")),
            ("loop0", false, &disc("ORLOP")),
            ("vdd", true, &[]),
        ]);
        let volume = |device: &str, label, file_system| Volume {
            device: device.to_owned(),
            partition: None,
            label,
            file_system,
        };
        let mut found = found(&root);
        found.sort_by_key(order);
        assert_eq!(
            found,
            [
                volume("vdc1", "ORLOP", FileSystem::Vfat),
                volume("cciss!c0d0", "cidata", FileSystem::Iso9660),
                volume("vdb", "cidata", FileSystem::Iso9660),
            ]
        );
    }

    #[test]
    fn the_label_in_the_root_directory_counts_before_the_boot_sectors() {
        let (_directory, root) = root(&[
            ("sda", true, &stick("ORLOP", Some("HOLIDAYS"))),
            ("sdb", true, &stick("NO NAME", Some("ORLOP"))),
        ]);
        let names: Vec<_> = found(&root).into_iter().map(|volume| volume.device).collect();
        assert_eq!(names, ["sdb"]);
    }

    #[test]
    fn a_node_without_block_devices_has_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(disks(&Root::new(directory.path())), BTreeMap::new());
    }

    #[test]
    fn a_disk_has_its_partitions() {
        let (_directory, root) = root(&[("vda", true, &[0; 512]), ("vdb", true, &[0; 512])]);
        let part = root.path("/sys/devices/pci/block/vda/vda2");
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("size"), "8\n").unwrap();
        fs::write(part.join("partition"), "2\n").unwrap();
        symlink("../../devices/pci/block/vda/vda2", root.path(CLASS_BLOCK).join("vda2")).unwrap();
        let part = |name: &str, number| (name.to_owned(), number);
        let want = [
            ("vda".to_owned(), vec![part("vda", None), part("vda2", Some(2))]),
            ("vdb".to_owned(), vec![part("vdb", None)]),
        ];
        assert_eq!(disks(&root), BTreeMap::from(want));
    }

    #[test]
    fn only_a_plain_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let read = || read_file(directory.path()).map_err(|error| error.to_string());
        let path = directory.path().join(FILE_NAME);
        assert_eq!(read(), Ok(None));
        fs::write(&path, "schema = 1\n").unwrap();
        assert_eq!(read(), Ok(Some(b"schema = 1\n".to_vec())));
        fs::write(&path, vec![b' '; usize::try_from(LIMIT).unwrap() + 1]).unwrap();
        assert_eq!(read(), Err("it has more than 1048576 bytes".to_owned()));
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(read(), Err("`node.toml` is not a plain file".to_owned()));
    }
}
