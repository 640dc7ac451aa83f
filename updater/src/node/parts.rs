//! Where the slots of the node that runs are: the partitions of the disk that its root is on. Found by
//! what the kernel says in sysfs, from the root's device on, so that another disk with the same names is
//! never taken for the node's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use formats::boot_entries::Slot;

use crate::files::{below, read};

/// The name that PID 1 gives the root's device.
const ROOT_DEVICE: &str = "orlop-root";
/// The kernel's one-line files, and those of some lines.
const LONGEST: u64 = 64 * 1024;

/// The device files of a node's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Which slot runs.
    pub slot: Slot,
    /// The image that runs, verified as it is read.
    pub running: PathBuf,
    /// The EFI system partition.
    pub esp: PathBuf,
    /// META.
    pub meta: PathBuf,
    /// The root slot that does not run.
    pub spare_root: PathBuf,
}

/// Why a node has no slots.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// It did not come from a slot.
    #[error("this node runs from no slot of a disk: its root is {0}")]
    NoSlot(String),
    /// The disk lacks a partition, or has one more of the same name.
    #[error(
        "the disk `{disk}` that the node runs from has {count} partitions `{name}`, and not one"
    )]
    Partition {
        /// The kernel's name of the disk.
        disk: String,
        /// The partition's.
        name: &'static str,
        /// So many there are.
        count: usize,
    },
    /// sysfs does not say.
    #[error("cannot read `{0}`")]
    Sys(PathBuf, #[source] io::Error),
}

/// Finds them on the node whose file system begins at `root`.
///
/// # Errors
/// See [`PartsError`].
pub fn find(root: &Path) -> Result<Parts, PartsError> {
    let class = below(root, "/sys/class/block");
    let device = verified_root(&class)?
        .ok_or_else(|| PartsError::NoSlot("not a device of dm-verity".to_owned()))?;
    let below_it = names(&class.join(&device).join("slaves"))?;
    let [partition] = below_it.as_slice() else {
        return Err(PartsError::NoSlot(format!("on {} devices", below_it.len())));
    };
    let real = class.join(partition);
    let real = real.canonicalize().map_err(|error| PartsError::Sys(real, error))?;
    let slot = Slot::BOTH
        .into_iter()
        .find(|slot| said(&real, "PARTNAME").is_some_and(|name| name == label(*slot)))
        .ok_or_else(|| PartsError::NoSlot(format!("on `{partition}`")))?;
    let disk = real.parent().unwrap_or(&real);
    let own = |name| partition_of(root, disk, name);
    Ok(Parts {
        slot,
        running: below(root, Path::new("/dev").join(&device)),
        esp: own("ESP")?,
        meta: own("META")?,
        spare_root: own(label(slot.other()))?,
    })
}

fn label(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "ROOT-A",
        Slot::B => "ROOT-B",
    }
}

/// The kernel's name of the device that the root is read through.
fn verified_root(class: &Path) -> Result<Option<String>, PartsError> {
    let is_root = |name: &String| {
        let path = class.join(name).join("dm/name");
        read(&path, LONGEST).ok().flatten().is_some_and(|text| text.trim() == ROOT_DEVICE)
    };
    Ok(names(class)?.into_iter().find(is_root))
}

/// The device file of the partition of a disk with this name.
fn partition_of(root: &Path, disk: &Path, name: &'static str) -> Result<PathBuf, PartsError> {
    let mut found = Vec::new();
    for entry in names(disk)? {
        let directory = disk.join(entry);
        if directory.join("partition").exists()
            && said(&directory, "PARTNAME").as_deref() == Some(name)
        {
            found.extend(said(&directory, "DEVNAME"));
        }
    }
    match found.as_slice() {
        [device] => Ok(below(root, Path::new("/dev").join(device))),
        _ => {
            let disk = disk.file_name().unwrap_or_default().display().to_string();
            Err(PartsError::Partition { disk, name, count: found.len() })
        }
    }
}

/// What a device's `uevent` says.
fn said(directory: &Path, key: &str) -> Option<String> {
    let text = read(&directory.join("uevent"), LONGEST).ok().flatten()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.map(str::to_owned)
}

fn names(directory: &Path) -> Result<Vec<String>, PartsError> {
    let cannot = |error| PartsError::Sys(directory.to_owned(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        names.push(entry.map_err(cannot)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A disk with partitions of these names.
    fn disk(root: &Path, disk: &str, names: &[&str]) {
        for (number, name) in (1..).zip(names) {
            let device = format!("{disk}{number}");
            let directory = format!("sys/devices/{disk}/{device}");
            write(root, &format!("{directory}/partition"), &format!("{number}\n"));
            let said = format!("MAJOR=254\nDEVNAME={device}\nPARTN={number}\nPARTNAME={name}\n");
            write(root, &format!("{directory}/uevent"), &said);
            let class = root.join("sys/class/block");
            fs::create_dir_all(&class).unwrap();
            symlink(format!("../../devices/{disk}/{device}"), class.join(device)).unwrap();
        }
        write(root, &format!("sys/devices/{disk}/queue/rotational"), "0\n");
    }

    fn verity(root: &Path, on: &str) {
        write(root, "sys/class/block/dm-0/dm/name", "other\n");
        write(root, "sys/class/block/dm-1/dm/name", "orlop-root\n");
        fs::create_dir_all(root.join("sys/class/block/dm-1/slaves").join(on)).unwrap();
    }

    const NAMES: [&str; 5] = ["ESP", "META", "ROOT-A", "ROOT-B", "STATE"];

    #[test]
    fn the_slots_are_those_of_the_disk_that_runs() {
        let node = tempfile::tempdir().unwrap();
        let root = node.path();
        // A copy of the disk in another one.
        disk(root, "vda", &NAMES);
        disk(root, "vdb", &NAMES);
        verity(root, "vdb4");
        let at = |name: &str| root.join("dev").join(name);
        let want = Parts {
            slot: Slot::B,
            running: at("dm-1"),
            esp: at("vdb1"),
            meta: at("vdb2"),
            spare_root: at("vdb3"),
        };
        assert_eq!(find(root).unwrap(), want);
    }

    #[test]
    fn a_root_in_memory_and_a_disk_of_others_have_no_slots() {
        for (names, on, want) in [
            (&["x"][..], "vda1", "this node runs from no slot of a disk: its root is on `vda1`"),
            (
                &["ESP", "META", "ROOT-A", "STATE"],
                "vda3",
                "the disk `vda` that the node runs from has 0 partitions `ROOT-B`, and not one",
            ),
            (
                &["ESP", "META", "ROOT-A", "ROOT-B", "META"],
                "vda3",
                "the disk `vda` that the node runs from has 2 partitions `META`, and not one",
            ),
        ] {
            let node = tempfile::tempdir().unwrap();
            disk(node.path(), "vda", names);
            verity(node.path(), on);
            assert_eq!(find(node.path()).unwrap_err().to_string(), want);
        }
        let node = tempfile::tempdir().unwrap();
        disk(node.path(), "vda", &NAMES);
        let told = find(node.path()).unwrap_err().to_string();
        assert_eq!(
            told,
            "this node runs from no slot of a disk: its root is not a device of dm-verity"
        );
    }
}
