//! What is on a disk or partition, by its superblock: the label and the UUID by which a volume is
//! found. The formats that Linux nodes mount, and those of which a member must not be taken for
//! what it is a part of.
//!
//! It names volumes and no more: whether a disk is empty, and may be formatted, is for `blkid`,
//! which knows all formats there ever were. Formats: `fs/ext4/ext4.h`, `fs/xfs/libxfs/xfs_format.h`,
//! `include/uapi/linux/btrfs_tree.h`, `fs/erofs/erofs_fs.h`, `include/linux/swap.h` of Linux;
//! ECMA-119; Microsoft's FAT specification 1.03; LUKS on-disk formats 1.2.3 and 2;
//! `include/uapi/linux/raid/md_p.h`; LVM2's `format_text/layout.h`.

pub mod ext4;
pub mod fat;

use self::fat::Fat;
use crate::le::{array_at, u16_at, u32_at};

/// What is on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// ISO 9660.
    Iso9660,
    /// EROFS.
    Erofs,
    /// Swap space.
    Swap,
    /// An encrypted volume, LUKS 1 or 2.
    Luks,
    /// A part of a group of LVM2: no volume by itself.
    LvmMember,
    /// A part of a RAID of md: no volume by itself.
    RaidMember,
}

/// What is on a volume, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The format.
    pub kind: Kind,
    /// As `blkid` writes it.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// Reads so many bytes from an offset; `None` if they cannot all be read.
pub type Read<'r> = dyn FnMut(u64, usize) -> Option<Vec<u8>> + 'r;

/// Looks at a volume of so many bytes. With more than one format on it, as when one was made over
/// another, it is called by none, as `blkid` does.
pub fn probe(read: &mut Read<'_>, size: u64) -> Option<Found> {
    let found: Vec<Found> = PROBES.iter().filter_map(|probe| probe(read, size)).collect();
    let member = |found: &&Found| matches!(found.kind, Kind::LvmMember | Kind::RaidMember);
    if let Some(member) = found.iter().find(member) {
        return Some(member.clone());
    }
    match found.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

type Probe = fn(&mut Read<'_>, u64) -> Option<Found>;

const PROBES: [Probe; 10] = [raid, lvm, ext, xfs, btrfs, vfat, iso9660, erofs, swap, luks];

fn named(kind: Kind, uuid: Option<String>, label: Option<String>) -> Option<Found> {
    Some(Found { kind, uuid, label })
}

fn ext(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(1024, 0x88)?;
    (u16_at(&block, 0x38)? == 0xef53).then_some(())?;
    named(Kind::Ext, uuid(&block, 0x68), text(&block, 0x78, 16))
}

fn xfs(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(0, 120)?;
    block.starts_with(b"XFSB").then_some(())?;
    named(Kind::Xfs, uuid(&block, 32), text(&block, 108, 12))
}

fn btrfs(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(64 * 1024, 0x12b + 256)?;
    (block.get(0x40..0x48)? == b"_BHRfS_M").then_some(())?;
    named(Kind::Btrfs, uuid(&block, 0x20), text(&block, 0x12b, 256))
}

fn erofs(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(1024, 80)?;
    (u32_at(&block, 0)? == 0xe0f5_e1e2).then_some(())?;
    named(Kind::Erofs, uuid(&block, 48), text(&block, 64, 16))
}

fn swap(read: &mut Read<'_>, _: u64) -> Option<Found> {
    // The mark is at the end of the first page, and pages are of different sizes.
    let is_swap = [4096_u64, 8192, 16384, 65536]
        .into_iter()
        .any(|page| read(page - 10, 10).is_some_and(|mark| mark == b"SWAPSPACE2"));
    is_swap.then_some(())?;
    let block = read(1024, 12 + 32)?;
    named(Kind::Swap, uuid(&block, 12), text(&block, 28, 16))
}

fn luks(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(0, 208)?;
    block.starts_with(b"LUKS\xba\xbe").then_some(())?;
    let version = u16::from_be_bytes(array_at(&block, 6)?);
    matches!(version, 1 | 2).then_some(())?;
    let label = if version == 2 { text(&block, 24, 48) } else { None };
    named(Kind::Luks, text(&block, 168, 40), label)
}

fn iso9660(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let block = read(0x8000, 2048)?;
    (block.get(..6)? == b"\x01CD001").then_some(())?;
    // When it was changed last, else when it was made.
    let date = [830, 813].into_iter().find_map(|at| {
        let digits = block.get(at..at + 16)?;
        let is_date = digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|b| *b != b'0');
        is_date.then(|| String::from_utf8_lossy(digits).into_owned())
    });
    let uuid = date.map(|date| {
        let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16];
        parts.map(|range| date[range].to_owned()).join("-")
    });
    named(Kind::Iso9660, uuid, text(&block, 40, 32))
}

fn vfat(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let fat = Fat::parse(read(0, fat::BOOT_SECTOR)?.first_chunk()?)?;
    let uuid = fat.serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    let directory = read(fat.root_at, fat.root_bytes).unwrap_or_default();
    let label = fat::label(&directory).and_then(|label| text(&label, 0, label.len()));
    named(Kind::Vfat, uuid, label)
}

fn lvm(read: &mut Read<'_>, _: u64) -> Option<Found> {
    let head = read(0, 4 * 512)?;
    let is_label =
        |sector: &[u8]| sector.starts_with(b"LABELONE") && &sector[24..32] == b"LVM2 001";
    head.chunks_exact(512).any(is_label).then_some(())?;
    named(Kind::LvmMember, None, None)
}

fn raid(read: &mut Read<'_>, size: u64) -> Option<Found> {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    // Version 0.90 in the last whole 64 KiB but one, 1.0 8 KiB before the end, 1.1 and 1.2.
    let old = (size & !0xffff).checked_sub(64 * 1024);
    let late = size.checked_sub(8 * 1024).map(|at| at & !0xfff);
    let places = [old, late, Some(0), Some(4096)];
    let mut is_there = |at: u64| read(at, 4).is_some_and(|mark| mark == MAGIC);
    places.into_iter().flatten().any(&mut is_there).then_some(())?;
    named(Kind::RaidMember, None, None)
}

/// As RFC 9562 writes it; one of zeros is none.
fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let bytes: [u8; 16] = array_at(bytes, at).filter(|bytes| *bytes != [0; 16])?;
    let uuid = crate::gpt::Guid::from_uuid_bytes(bytes);
    Some(uuid.to_string())
}

/// Up to the first zero, without blanks at its end.
fn text(bytes: &[u8], at: usize, length: usize) -> Option<String> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
    let text = String::from_utf8_lossy(&field[..end]);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
