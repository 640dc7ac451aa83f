//! The block devices that the kernel knows, from `/sys/class/block`, and the partition tables on
//! them. There is no udev: no `/dev/disk/by-*` to look at.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use formats::gpt::{Guid, HEAD_SECTORS, SECTOR, TAIL_SECTORS, Table};

/// Where the kernel lists its block devices.
pub const CLASS_BLOCK: &str = "/sys/class/block";

/// A partition, as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The name in `/dev`: `vda3`.
    pub name: String,
    /// The name of the disk it lies on: `vda`.
    pub disk: String,
    /// Its number, counted from 1.
    pub number: u32,
    /// Its label in the partition table, if that has labels.
    pub label: Option<String>,
    /// Where it begins, in sectors of 512 bytes.
    pub start: u64,
    /// How long it is, in sectors of 512 bytes.
    pub sectors: u64,
}

impl Partition {
    /// Its node, made by devtmpfs.
    pub fn node(&self) -> PathBuf {
        node(&self.name)
    }
}

/// The node of a device by its name in sysfs, where `/` is written `!`.
pub fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

/// All partitions below `class_block` (see [`CLASS_BLOCK`]), in the order of their names.
///
/// # Errors
/// When the list cannot be read. A device that goes away in the middle is left out.
pub fn partitions(class_block: &Path) -> io::Result<Vec<Partition>> {
    let names = names(class_block)?;
    Ok(names.iter().filter_map(|name| partition(&class_block.join(name))).collect())
}

/// The names in a directory, in their order.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // They are few, and each type that the library sorts costs kilobytes.
        let place = names.partition_point(|known| *known < name);
        names.insert(place, name);
    }
    Ok(names)
}

/// What a disk has of a partition that is looked for by its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Its table does not list it.
    Unlisted,
    /// Its table lists it, and the kernel has not got it: not yet, or never, as beyond the disk's end.
    Awaited,
    /// Here it is.
    There(Partition),
}

/// The partitions with one of these identities: one each, unless a disk is a copy of another.
///
/// # Errors
/// Those of [`places`].
pub fn by_guids(guids: &[Guid]) -> io::Result<Vec<Partition>> {
    let places = places(guids)?.into_iter().flatten();
    let there = places.filter_map(|place| match place {
        Place::There(partition) => Some(partition),
        Place::Awaited | Place::Unlisted => None,
    });
    Ok(there.collect())
}

/// What each disk has of the partitions with these identities, in their order. The kernel has
/// `PARTUUID` in its uevents only since 6.13, so the tables are read.
///
/// # Errors
/// When the list of devices cannot be read. A disk without a table of ours is passed over.
pub fn places(guids: &[Guid]) -> io::Result<Vec<Vec<Place>>> {
    let partitions = partitions(Path::new(CLASS_BLOCK))?;
    let mut found = Vec::new();
    let mut disks: Vec<_> = partitions.iter().map(|partition| &partition.disk).collect();
    disks.dedup();
    for disk in disks {
        let Ok(Some(table)) = File::open(node(disk)).and_then(|mut file| read_table(&mut file))
        else {
            continue;
        };
        found.push(guids.iter().map(|guid| place(&table, guid, disk, &partitions)).collect());
    }
    Ok(found)
}

fn place(table: &Table, guid: &Guid, disk: &str, partitions: &[Partition]) -> Place {
    let Some(index) = table.partitions().iter().position(|part| part.guid == *guid) else {
        return Place::Unlisted;
    };
    let is_it = |part: &&Partition| part.disk == disk && part.number as usize == index + 1;
    match partitions.iter().find(is_it) {
        Some(partition) if partition.node().exists() => Place::There(partition.clone()),
        _ => Place::Awaited,
    }
}

/// The partition table of an open disk, from its start or, if that is damaged, from its end.
///
/// # Errors
/// When the disk cannot be read.
pub fn read_table(disk: &mut File) -> io::Result<Option<Table>> {
    let sectors = disk.seek(SeekFrom::End(0))? / SECTOR;
    if sectors < HEAD_SECTORS + TAIL_SECTORS {
        return Ok(None);
    }
    let mut head = sector_buffer(HEAD_SECTORS);
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut head)?;
    if let Ok(table) = Table::parse(&head, sectors) {
        return Ok(Some(table));
    }
    let mut tail = sector_buffer(TAIL_SECTORS);
    disk.seek(SeekFrom::Start((sectors - TAIL_SECTORS) * SECTOR))?;
    disk.read_exact(&mut tail)?;
    Ok(Table::parse_backup(&tail, sectors).ok())
}

/// The names of the devices that `device` (`MAJOR:MINOR`) is made of, device-mapper's and loop's
/// included; the device itself when it is made of nothing else. `sys` is `/sys`.
pub fn beneath(sys: &Path, device: &str) -> Vec<String> {
    let Ok(directory) = fs::canonicalize(sys.join("dev/block").join(device)) else {
        return Vec::new();
    };
    let mut names = names(&directory.join("slaves")).unwrap_or_default();
    if names.is_empty() {
        names.extend(directory.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names
}

fn sector_buffer(sectors: u64) -> Vec<u8> {
    vec![0; usize::try_from(sectors * SECTOR).unwrap_or(0)]
}

/// `None` if this is no partition.
fn partition(path: &Path) -> Option<Partition> {
    let number = read_number(&path.join("partition"))?;
    // A partition's directory lies inside its disk's.
    let directory = fs::canonicalize(path).ok()?;
    let name_of = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let uevent = fs::read_to_string(directory.join("uevent")).ok()?;
    Some(Partition {
        name: name_of(&directory)?,
        disk: name_of(directory.parent()?)?,
        number: u32::try_from(number).ok()?,
        label: uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned),
        start: read_number(&directory.join("start"))?,
        sectors: read_number(&directory.join("size"))?,
    })
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use formats::gpt::types;

    use super::*;

    /// A sysfs with the disk `vda`, one partition on it, and a device-mapper device above.
    fn sysfs() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("devices/pci/vda");
        let part = disk.join("vda5");
        let mapped = sys.path().join("devices/virtual/block/dm-0");
        for directory in [&part, &sys.path().join("class/block"), &mapped.join("slaves")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        for (name, text) in [
            ("partition", "5\n"),
            ("start", "2048\n"),
            ("size", "4096\n"),
            ("uevent", "MAJOR=254\nDEVNAME=vda5\nPARTN=5\nPARTNAME=STATE\n"),
        ] {
            fs::write(part.join(name), text).unwrap();
        }
        symlink("../../devices/pci/vda", sys.path().join("class/block/vda")).unwrap();
        symlink("../../devices/pci/vda/vda5", sys.path().join("class/block/vda5")).unwrap();
        symlink("../../devices/pci/vda/vda5", sys.path().join("dev/block/254:5")).unwrap();
        symlink("../../devices/virtual/block/dm-0", sys.path().join("dev/block/253:0")).unwrap();
        symlink("../../../../pci/vda/vda5", mapped.join("slaves/vda5")).unwrap();
        sys
    }

    #[test]
    fn a_partition_is_found_with_its_label_and_its_disk() {
        let sys = sysfs();
        let want = Partition {
            name: "vda5".to_owned(),
            disk: "vda".to_owned(),
            number: 5,
            label: Some("STATE".to_owned()),
            start: 2048,
            sectors: 4096,
        };
        assert_eq!(partitions(&sys.path().join("class/block")).unwrap(), [want]);
    }

    #[test]
    fn a_mapped_device_leads_to_what_lies_beneath_it() {
        let sys = sysfs();
        assert_eq!(beneath(sys.path(), "253:0"), ["vda5"]);
        assert_eq!(beneath(sys.path(), "254:5"), ["vda5"]);
        assert_eq!(beneath(sys.path(), "8:1"), Vec::<String>::new());
    }

    #[test]
    fn a_slash_in_a_name_is_a_directory_in_dev() {
        assert_eq!(node("cciss!c0d0"), Path::new("/dev/cciss/c0d0"));
    }

    #[test]
    fn a_disk_whose_start_was_lost_is_read_from_its_end() {
        let partition = formats::gpt::Partition {
            type_guid: types::LINUX_DATA,
            guid: Guid::from_disk_bytes([1; 16]),
            name: "STATE".to_owned(),
            first_lba: 2048,
            last_lba: 4095,
            attributes: 0,
        };
        let table = Table::new(Guid::from_disk_bytes([9; 16]), 8192, vec![partition]).unwrap();
        let encoded = table.encode();
        let mut disk = tempfile::tempfile().unwrap();
        disk.write_all(&encoded.head).unwrap();
        disk.seek(SeekFrom::Start(encoded.tail_offset)).unwrap();
        disk.write_all(&encoded.tail).unwrap();
        assert_eq!(read_table(&mut disk).unwrap().as_ref(), Some(&table));

        disk.seek(SeekFrom::Start(512)).unwrap();
        disk.write_all(&[0xff; 512]).unwrap();
        assert_eq!(read_table(&mut disk).unwrap(), Some(table));

        disk.seek(SeekFrom::Start(8191 * SECTOR)).unwrap();
        disk.write_all(&[0; 512]).unwrap();
        assert_eq!(read_table(&mut disk).unwrap(), None);
    }
}
