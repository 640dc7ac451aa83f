//! GUID partition tables, as values: UEFI specification 2.10, chapter 5.
//!
//! One encoder and one decoder for the builder, which makes the table, and for PID 1, which moves
//! the backup and enlarges the last partition when an image finds itself on a larger disk.
//! Sectors are 512 bytes; tables of 128 entries of 128 bytes; nothing else is written or read
//! (why this is not a crate: `docs/decisions/0002-own-gpt.md`).

mod guid;
mod header;

use crate::crc32::crc32;
use crate::le::{put, u16_at};
use header::Header;

pub use guid::{Guid, ParseGuidError};

/// Bytes of a sector. Disks with 4096-byte sectors need another table and are refused by the
/// parser, which looks for the header in sector 1.
pub const SECTOR: u64 = 512;
/// Sectors at the disk's start: protective MBR, header, entries.
pub const HEAD_SECTORS: u64 = 34;
/// Sectors at the disk's end: entries, header.
pub const TAIL_SECTORS: u64 = 33;

/// What a partition is for. The first two are from the Discoverable Partitions Specification; those
/// of root file systems are with their architecture, [`crate::architecture::Architecture`].
pub mod types {
    use super::Guid;

    /// The EFI system partition.
    pub const ESP: Guid = Guid::from_text_digits(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
    /// Linux data of any kind.
    pub const LINUX_DATA: Guid = Guid::from_text_digits(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4);
    /// Ours: the update records (`META`).
    pub const ORLOP_META: Guid = Guid::from_text_digits(0x6F726C6F_7000_4D45_8441_9A2C51D70E13);
}

/// Attribute bits of the Discoverable Partitions Specification.
pub mod attributes {
    /// The file system is grown to its partition when it is mounted first.
    pub const GROW_FILE_SYSTEM: u64 = 1 << 59;
    /// Only mounted read-only.
    pub const READ_ONLY: u64 = 1 << 60;
}

const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const ENTRIES_BYTES: usize = ENTRIES * ENTRY_BYTES;
const HEADER_BYTES: u32 = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const SECTOR_BYTES: usize = 512;
const NAME_UNITS: usize = 36;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for, see [`types`].
    pub type_guid: Guid,
    /// Its own identity: Linux's `PARTUUID`.
    pub guid: Guid,
    /// The label: at most 36 UTF-16 units.
    pub name: String,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, inclusive.
    pub last_lba: u64,
    /// See [`attributes`].
    pub attributes: u64,
}

impl Partition {
    /// Where it begins, in bytes.
    pub const fn offset(&self) -> u64 {
        self.first_lba * SECTOR
    }

    /// How long it is, in bytes.
    pub const fn size(&self) -> u64 {
        (self.last_lba - self.first_lba + 1) * SECTOR
    }
}

/// A partition table which can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    // Invariant: at most 128 partitions with types and GUIDs that are not zero and GUIDs that
    // differ; each inside the usable sectors; no two overlap; byte offsets fit `u64`.
    disk_guid: Guid,
    disk_sectors: u64,
    partitions: Vec<Partition>,
}

/// The bytes of a table and where they go. To change a table in place write the tail first and
/// flush: the old head stays valid until the new one replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The first [`HEAD_SECTORS`] sectors of the disk.
    pub head: Vec<u8>,
    /// The last [`TAIL_SECTORS`] sectors of the disk.
    pub tail: Vec<u8>,
    /// Where `tail` goes, in bytes.
    pub tail_offset: u64,
}

/// What [`Table::grow_last`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The table already fits the disk: nothing to write.
    Unchanged,
    /// The backup moves; the table must be written.
    Grown {
        /// The index of the last partition.
        index: usize,
        /// Its last sector before.
        old_last_lba: u64,
        /// Its last sector now: the same if the disk grew by less than the alignment.
        new_last_lba: u64,
    },
}

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GptError {
    /// Fewer bytes than a table has.
    #[error("{0} bytes are too few for a partition table")]
    Truncated(usize),
    /// No protective MBR in front.
    #[error("there is no protective MBR")]
    NoProtectiveMbr,
    /// No `EFI PART` where the header must be.
    #[error("there is no GPT header")]
    NoHeader,
    /// The header's checksum is wrong.
    #[error("the GPT header is damaged: its checksum is wrong")]
    HeaderChecksum,
    /// The checksum of the entries is wrong.
    #[error("the partition entries are damaged: their checksum is wrong")]
    EntriesChecksum,
    /// A header that we never write.
    #[error("the GPT header's {field} is {value}, which is not what it must be")]
    Header {
        /// Which field.
        field: &'static str,
        /// What stands there.
        value: u64,
    },
    /// The disk ends before the table does.
    #[error("the table is for {table} sectors, the disk has {disk}")]
    DiskTooSmall {
        /// What the table was made for.
        table: u64,
        /// What there is.
        disk: u64,
    },
    /// More partitions than entries.
    #[error("{0} partitions are too many: 128 fit")]
    TooManyPartitions(usize),
    /// A partition ends before it begins or lies outside the usable sectors.
    #[error("partition {number} `{name}` is not inside the usable part of the disk")]
    OutOfBounds {
        /// Counted from 1, as `sgdisk` does.
        number: usize,
        /// Its label.
        name: String,
    },
    /// Two partitions share sectors.
    #[error("partitions {first} and {second} overlap")]
    Overlap {
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// The label is too long, or not UTF-16.
    #[error("the name of partition {0} is not 1 to 36 UTF-16 units")]
    Name(usize),
    /// A type or a GUID is zero, or a GUID stands twice.
    #[error("the GUIDs of partition {0} are not usable: zero, or used by another partition")]
    PartitionGuid(usize),
    /// An unused entry before a used one: rewriting the table would renumber the partitions.
    #[error("entry {0} is empty, but later ones are not")]
    Gap(usize),
}

impl Table {
    /// A table for a disk of `disk_sectors`; partitions are numbered in the order given.
    ///
    /// # Errors
    /// A partition breaks a rule: see [`GptError`].
    pub fn new(
        disk_guid: Guid,
        disk_sectors: u64,
        partitions: Vec<Partition>,
    ) -> Result<Self, GptError> {
        let least = HEAD_SECTORS + TAIL_SECTORS + 1;
        if disk_sectors < least || disk_sectors > u64::MAX / SECTOR {
            return Err(GptError::DiskTooSmall { table: least, disk: disk_sectors });
        }
        if partitions.len() > ENTRIES {
            return Err(GptError::TooManyPartitions(partitions.len()));
        }
        let last_usable = last_usable(disk_sectors);
        for (at, partition) in partitions.iter().enumerate() {
            let number = at + 1;
            let units = partition.name.encode_utf16().count();
            if units == 0 || units > NAME_UNITS || partition.name.contains('\0') {
                return Err(GptError::Name(number));
            }
            if partition.first_lba < HEAD_SECTORS
                || partition.first_lba > partition.last_lba
                || partition.last_lba > last_usable
            {
                return Err(GptError::OutOfBounds { number, name: partition.name.clone() });
            }
            let twice = partitions[..at].iter().any(|other| other.guid == partition.guid);
            if twice || partition.guid == Guid::ZERO || partition.type_guid == Guid::ZERO {
                return Err(GptError::PartitionGuid(number));
            }
            for (before, other) in partitions[..at].iter().enumerate() {
                if partition.first_lba <= other.last_lba && other.first_lba <= partition.last_lba {
                    return Err(GptError::Overlap { first: before + 1, second: number });
                }
            }
        }
        Ok(Self { disk_guid, disk_sectors, partitions })
    }

    /// The disk's identity.
    pub fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// The disk that this table is for, in sectors: the backup header is in the last one.
    pub fn disk_sectors(&self) -> u64 {
        self.disk_sectors
    }

    /// The partitions in order of their numbers.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The partition with this label: the first one, if several have it.
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// The table as bytes.
    pub fn encode(&self) -> Encoded {
        let entries = self.encode_entries();
        let backup_lba = self.disk_sectors - 1;
        let mut head = self.encode_protective_mbr();
        head.extend(self.encode_header(&entries, 1, backup_lba, 2));
        head.extend(&entries);
        let tail_lba = self.disk_sectors - TAIL_SECTORS;
        let header = self.encode_header(&entries, backup_lba, 1, tail_lba);
        let mut tail = entries;
        tail.extend(header);
        Encoded { head, tail, tail_offset: tail_lba * SECTOR }
    }

    /// Reads the table at the start of a disk of `disk_sectors`, of which `head` holds at least
    /// the first [`HEAD_SECTORS`]. The disk may be larger than the one the table was made for:
    /// see [`Table::grow_last`].
    ///
    /// # Errors
    /// Anything that we would not have written: see [`GptError`].
    pub fn parse(head: &[u8], disk_sectors: u64) -> Result<Self, GptError> {
        const PRIMARY: usize = SECTOR_BYTES;
        let truncated = || GptError::Truncated(head.len());
        if u16_at(head, 510).ok_or_else(truncated)? != 0xAA55 || head.get(450) != Some(&0xEE) {
            return Err(GptError::NoProtectiveMbr);
        }
        let header = head.get(PRIMARY..2 * SECTOR_BYTES).ok_or_else(truncated)?;
        let header = Header::parse(header)?;
        header.expect("own sector", header.own_lba, 1)?;
        header.expect("first sector of the entries", header.entries_lba, 2)?;
        let table_sectors = header
            .other_lba
            .checked_add(1)
            .ok_or(GptError::Header { field: "backup sector", value: header.other_lba })?;
        if table_sectors > disk_sectors {
            return Err(GptError::DiskTooSmall { table: table_sectors, disk: disk_sectors });
        }
        let entries = head.get(2 * SECTOR_BYTES..).ok_or_else(truncated)?;
        header.table(entries, table_sectors)
    }

    /// Reads the backup at the end of a disk of `disk_sectors`: `tail` is its last
    /// [`TAIL_SECTORS`] sectors. For a disk whose start was lost.
    ///
    /// # Errors
    /// As [`Table::parse`].
    pub fn parse_backup(tail: &[u8], disk_sectors: u64) -> Result<Self, GptError> {
        let truncated = || GptError::Truncated(tail.len());
        let header = Header::parse(tail.get(ENTRIES_BYTES..).ok_or_else(truncated)?)?;
        let least = HEAD_SECTORS + TAIL_SECTORS + 1;
        if disk_sectors < least {
            return Err(GptError::DiskTooSmall { table: least, disk: disk_sectors });
        }
        header.expect("own sector", header.own_lba, disk_sectors - 1)?;
        header.expect("primary sector", header.other_lba, 1)?;
        let entries_lba = disk_sectors - TAIL_SECTORS;
        header.expect("first sector of the entries", header.entries_lba, entries_lba)?;
        header.table(tail, disk_sectors)
    }

    /// Fits the table to a larger disk: the backup moves to its end, and the partition that lies
    /// last is extended so that its end is the highest multiple of `alignment` sectors below the
    /// backup. Never shrinks: on a disk that is not larger, nothing changes.
    pub fn grow_last(&mut self, disk_sectors: u64, alignment: u64) -> Growth {
        let last = self.partitions.iter_mut().enumerate().max_by_key(|(_, part)| part.last_lba);
        let Some((index, last)) = last else { return Growth::Unchanged };
        if disk_sectors < self.disk_sectors || disk_sectors > u64::MAX / SECTOR {
            return Growth::Unchanged;
        }
        let old_last_lba = last.last_lba;
        let usable = last_usable(disk_sectors) + 1;
        let end = usable - usable % alignment.max(1);
        let new_last_lba = old_last_lba.max(end.saturating_sub(1));
        if disk_sectors == self.disk_sectors && new_last_lba == old_last_lba {
            return Growth::Unchanged;
        }
        last.last_lba = new_last_lba;
        self.disk_sectors = disk_sectors;
        Growth::Grown { index, old_last_lba, new_last_lba }
    }

    /// Sector 0 as the UEFI specification's table 5.4 has it: tools that know no GPT see a disk
    /// that is full.
    fn encode_protective_mbr(&self) -> Vec<u8> {
        let mut sector = vec![0; SECTOR_BYTES];
        sector[446..454].copy_from_slice(&[0, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF]);
        let sectors = u32::try_from(self.disk_sectors - 1).unwrap_or(u32::MAX);
        put(&mut sector, 454, 1_u32.to_le_bytes());
        put(&mut sector, 458, sectors.to_le_bytes());
        put(&mut sector, 510, 0xAA55_u16.to_le_bytes());
        sector
    }

    fn encode_header(&self, entries: &[u8], own: u64, other: u64, entries_lba: u64) -> Vec<u8> {
        let mut sector = vec![0; SECTOR_BYTES];
        put(&mut sector, 0, *SIGNATURE);
        put(&mut sector, 8, REVISION.to_le_bytes());
        put(&mut sector, 12, HEADER_BYTES.to_le_bytes());
        put(&mut sector, 24, own.to_le_bytes());
        put(&mut sector, 32, other.to_le_bytes());
        put(&mut sector, 40, HEAD_SECTORS.to_le_bytes());
        put(&mut sector, 48, last_usable(self.disk_sectors).to_le_bytes());
        put(&mut sector, 56, self.disk_guid.to_disk_bytes());
        put(&mut sector, 72, entries_lba.to_le_bytes());
        put(&mut sector, 80, 128_u32.to_le_bytes());
        put(&mut sector, 84, 128_u32.to_le_bytes());
        put(&mut sector, 88, crc32(entries).to_le_bytes());
        let checksum = crc32(&sector[..HEADER_BYTES as usize]);
        put(&mut sector, 16, checksum.to_le_bytes());
        sector
    }

    fn encode_entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRIES_BYTES];
        for (entry, partition) in bytes.chunks_exact_mut(ENTRY_BYTES).zip(&self.partitions) {
            put(entry, 0, partition.type_guid.to_disk_bytes());
            put(entry, 16, partition.guid.to_disk_bytes());
            put(entry, 32, partition.first_lba.to_le_bytes());
            put(entry, 40, partition.last_lba.to_le_bytes());
            put(entry, 48, partition.attributes.to_le_bytes());
            for (at, unit) in partition.name.encode_utf16().take(NAME_UNITS).enumerate() {
                put(entry, 56 + 2 * at, unit.to_le_bytes());
            }
        }
        bytes
    }
}

/// The last sector that a partition may use on a disk of `disk_sectors`.
const fn last_usable(disk_sectors: u64) -> u64 {
    disk_sectors - TAIL_SECTORS - 1
}

#[cfg(test)]
mod tests;
