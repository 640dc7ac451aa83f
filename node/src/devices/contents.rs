//! What is read from a disk or partition, to name it by. A few blocks of each; a disk that does not
//! answer keeps whoever asks, so each is asked by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use formats::gpt::{HEAD_SECTORS, SECTOR, Table};
use formats::superblock;
use rustix::fs::{Advice, OFlags, fadvise};

use super::links::Contents;
use super::links::sysfs::Sysfs;
use crate::root::Root;

/// A device's node. In sysfs the `/` of a name is a `!`.
pub(super) fn node(root: &Root, name: &str) -> PathBuf {
    root.path(Path::new("/dev").join(name.replace('!', "/")))
}

/// Reads the device called `name`, which is at `device` in sysfs. What cannot be read names nothing.
pub(super) fn read(root: &Root, sysfs: &dyn Sysfs, device: &str, name: &str) -> Contents {
    let mut contents = Contents::default();
    let Ok((file, size)) = open(&node(root, name)) else { return contents };
    if size == 0 {
        return contents;
    }
    contents.volume = superblock::probe(&mut |at, length| bytes(&file, at, length), size);
    let number =
        sysfs.text(&format!("{device}/partition")).and_then(|text| text.trim().parse().ok());
    let disk = device.rsplit('/').nth(1);
    if let (Some(number), Some(disk)) = (number, disk)
        && let Ok((file, size)) = open(&node(root, disk))
    {
        (contents.part_uuid, contents.part_name) = entry(&file, size, number);
    }
    contents
}

fn open(node: &Path) -> io::Result<(File, u64)> {
    // A drive without a disc is opened all the same.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(node)?;
    let size = file.seek(SeekFrom::End(0))?;
    // A few blocks must not bring in 128 KiB each.
    let _ = fadvise(&file, 0, None, Advice::Random);
    Ok((file, size))
}

fn bytes(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// The identity and the name of a partition in its disk's table.
fn entry(disk: &File, size: u64, number: u32) -> (Option<String>, Option<String>) {
    let head =
        usize::try_from(HEAD_SECTORS * SECTOR).ok().and_then(|length| bytes(disk, 0, length));
    let Some(head) = head else { return (None, None) };
    if let Ok(table) = Table::parse(&head, size / SECTOR) {
        let at = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let part = at.and_then(|at| table.partitions().get(at));
        return (part.map(|part| part.guid.to_string()), part.map(|part| part.name.clone()));
    }
    (mbr(&head, number), None)
}

/// As the kernel makes it for a table of the old kind, if the disk has an identity.
fn mbr(head: &[u8], number: u32) -> Option<String> {
    let mark = head.get(510..512)?;
    let identity = u32::from_le_bytes(head.get(440..444)?.try_into().ok()?);
    (mark == [0x55, 0xaa] && identity != 0).then(|| format!("{identity:08x}-{number:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_of_an_old_table_is_called_by_its_disk_and_number() {
        let mut head = vec![0; 512];
        head[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        assert_eq!(mbr(&head, 1), None);
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(mbr(&head, 12).as_deref(), Some("deadbeef-0c"));
        head[440..444].fill(0);
        assert_eq!(mbr(&head, 1), None);
    }
}
