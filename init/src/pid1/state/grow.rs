//! Growing STATE's partition to a larger disk: the only write to the partition table in the life
//! of a node.
//!
//! The order makes it safe against a power cut. First the backup at the disk's new end, then a
//! flush: until then the old table is valid, and the next boot grows again. Then the head and a
//! flush. If the head is torn, the backup is whole: firmware repairs the head from it, we do so
//! here, and the kernel uses it when `gpt` is on its command line. The partition's start never
//! moves, so its data are safe whichever of the two tables is believed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use formats::gpt::{Growth, HEAD_SECTORS, SECTOR, Table};

use crate::disks::{self, Partition};
use crate::sys::block;

/// 1 MiB, as all partitions are aligned.
const ALIGNMENT: u64 = 2048;

/// Grows the partition to the end of its disk if it is the last one and the disk has room, and
/// tells the kernel. Returns its size in bytes.
///
/// # Errors
/// When the disk cannot be read or written.
pub(super) fn grow_partition(partition: &Partition) -> io::Result<u64> {
    let mut disk = OpenOptions::new().read(true).write(true).open(disks::node(&partition.disk))?;
    let sectors = grow_table(&mut disk, partition)?;
    // Also when the table was written by an earlier boot and the kernel did not take it.
    if sectors != partition.sectors {
        let bytes = |sectors: u64| i64::try_from(sectors * SECTOR).map_err(io::Error::other);
        let number = i32::try_from(partition.number).map_err(io::Error::other)?;
        block::resize_partition(&disk, number, bytes(partition.start)?, bytes(sectors)?)?;
    }
    Ok(sectors * SECTOR)
}

/// Writes the grown table, if there is one to write, and returns the partition's sectors.
fn grow_table(disk: &mut File, partition: &Partition) -> io::Result<u64> {
    let Some(mut table) = disks::read_table(disk)? else { return Ok(partition.sectors) };
    let disk_sectors = disk.seek(SeekFrom::End(0))? / SECTOR;
    let index = partition.number as usize - 1;
    let is_ours = |table: &Table| {
        table.partitions().get(index).is_some_and(|entry| entry.first_lba == partition.start)
    };
    if !is_ours(&table) {
        return Ok(partition.sectors);
    }
    let before = table.clone();
    match table.grow_last(disk_sectors, ALIGNMENT) {
        // Another partition lies behind ours: it is not ours to grow.
        Growth::Grown { index: last, .. } if last != index => table = before,
        Growth::Grown { .. } => write_table(disk, &table)?,
        Growth::Unchanged if head_is_damaged(disk, disk_sectors)? => write_table(disk, &table)?,
        Growth::Unchanged => {}
    }
    let sectors = table.partitions().get(index).map(|entry| entry.size() / SECTOR);
    Ok(sectors.unwrap_or(partition.sectors))
}

/// Whether the table came from the backup, after a power cut in the second half of our write.
fn head_is_damaged(disk: &mut File, disk_sectors: u64) -> io::Result<bool> {
    let mut head = vec![0; usize::try_from(HEAD_SECTORS * SECTOR).map_err(io::Error::other)?];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut head)?;
    Ok(Table::parse(&head, disk_sectors).is_err())
}

fn write_table(disk: &mut File, table: &Table) -> io::Result<()> {
    let encoded = table.encode();
    for (offset, bytes) in [(encoded.tail_offset, &encoded.tail), (0, &encoded.head)] {
        disk.seek(SeekFrom::Start(offset))?;
        disk.write_all(bytes)?;
        disk.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use formats::gpt::{Guid, TAIL_SECTORS, types};

    use super::*;

    const MIB: u64 = 2048;

    fn entry(digit: u8, name: &str, first_lba: u64, last_lba: u64) -> formats::gpt::Partition {
        formats::gpt::Partition {
            type_guid: types::LINUX_DATA,
            guid: Guid::from_disk_bytes([digit; 16]),
            name: name.to_owned(),
            first_lba,
            last_lba,
            attributes: 0,
        }
    }

    fn state(number: u32) -> Partition {
        Partition {
            name: format!("vda{number}"),
            disk: "vda".to_owned(),
            number,
            label: Some("STATE".to_owned()),
            start: u64::from(number) * MIB,
            sectors: MIB,
        }
    }

    /// A disk of `now` sectors with a table that was made for 4 MiB.
    fn disk(now: u64) -> (tempfile::NamedTempFile, File) {
        let entries =
            vec![entry(1, "ROOT-A", MIB, 2 * MIB - 1), entry(2, "STATE", 2 * MIB, 3 * MIB - 1)];
        let table = Table::new(Guid::from_disk_bytes([9; 16]), 4 * MIB, entries).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let encoded = table.encode();
        file.write_all(&encoded.head).unwrap();
        file.seek(SeekFrom::Start(encoded.tail_offset)).unwrap();
        file.write_all(&encoded.tail).unwrap();
        file.as_file().set_len(now * SECTOR).unwrap();
        let open = OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        (file, open)
    }

    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn assert_sgdisk_finds_no_problem(file: &tempfile::NamedTempFile) {
        let output = std::process::Command::new("sgdisk")
            .arg("-v")
            .arg(file.path())
            .output()
            .expect("`sgdisk` must be installed: package gdisk");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("No problems found"), "{text}");
    }

    #[test]
    fn the_partition_takes_the_room_of_a_larger_disk_once() {
        let (file, mut disk) = disk(100 * MIB);
        assert_eq!(grow_table(&mut disk, &state(2)).unwrap(), 97 * MIB);
        assert_sgdisk_finds_no_problem(&file);

        let after_first = std::fs::read(file.path()).unwrap();
        let again = Partition { sectors: 97 * MIB, ..state(2) };
        assert_eq!(grow_table(&mut disk, &again).unwrap(), 97 * MIB);
        assert!(std::fs::read(file.path()).unwrap() == after_first, "a second boot wrote");
    }

    #[test]
    fn on_its_own_disk_only_the_room_up_to_the_backup_is_taken() {
        let (file, mut disk) = disk(4 * MIB);
        let before = std::fs::read(file.path()).unwrap();
        // 1 MiB is left behind the partition, but the backup needs its last sectors.
        assert_eq!(grow_table(&mut disk, &state(2)).unwrap(), MIB);
        assert!(std::fs::read(file.path()).unwrap() == before);
    }

    #[test]
    fn a_partition_with_another_behind_it_stays() {
        let (file, mut disk) = disk(100 * MIB);
        let before = std::fs::read(file.path()).unwrap();
        assert_eq!(grow_table(&mut disk, &state(1)).unwrap(), MIB);
        assert!(std::fs::read(file.path()).unwrap() == before);
    }

    /// Every prefix of what is written, in the order of the writes, as after a power cut.
    #[test]
    fn after_a_power_cut_anywhere_the_next_boot_grows_to_the_same_size() {
        const NOW: u64 = 8 * MIB;
        let (file, mut whole) = disk(NOW);
        let before = std::fs::read(file.path()).unwrap();
        grow_table(&mut whole, &state(2)).unwrap();
        let after = std::fs::read(file.path()).unwrap();

        let order = (NOW - TAIL_SECTORS..NOW).chain(0..HEAD_SECTORS);
        let mut cut = before;
        for sector in order {
            let at = usize::try_from(sector * SECTOR).unwrap();
            cut[at..at + 512].copy_from_slice(&after[at..at + 512]);
            let mut torn = tempfile::NamedTempFile::new().unwrap();
            torn.write_all(&cut).unwrap();
            let mut open = OpenOptions::new().read(true).write(true).open(torn.path()).unwrap();
            let sectors = grow_table(&mut open, &state(2)).unwrap();
            assert_eq!(sectors, 5 * MIB, "cut after sector {sector}");
            assert!(std::fs::read(torn.path()).unwrap() == after, "cut after sector {sector}");
        }
    }
}
