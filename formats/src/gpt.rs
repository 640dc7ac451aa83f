//! GUID partition tables, as values: UEFI specification 2.10, chapter 5.
//!
//! One encoder and one decoder for the builder, which makes the table, and for PID 1, which moves
//! the backup and enlarges the last partition when an image finds itself on a larger disk.
//! Sectors are 512 bytes; tables of 128 entries of 128 bytes; nothing else is written or read
//! (why this is not a crate: `docs/decisions/0002-own-gpt.md`).

mod guid;

use crate::crc32::crc32;
use crate::le::{array_at, put, u16_at, u32_at, u64_at};

pub use guid::{Guid, ParseGuidError};

/// Bytes of a sector. Disks with 4096-byte sectors need another table and are refused by the
/// parser, which looks for the header in sector 1.
pub const SECTOR: u64 = 512;
/// Sectors at the disk's start: protective MBR, header, entries.
pub const HEAD_SECTORS: u64 = 34;
/// Sectors at the disk's end: entries, header.
pub const TAIL_SECTORS: u64 = 33;

/// What a partition is for. The first three are from the Discoverable Partitions Specification.
pub mod types {
    use super::Guid;

    /// The EFI system partition.
    pub const ESP: Guid = Guid::from_text_digits(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
    /// A root file system for x86-64.
    pub const ROOT_X86_64: Guid = Guid::from_text_digits(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709);
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

/// A header whose checksum is right.
struct Header {
    own_lba: u64,
    other_lba: u64,
    first_usable: u64,
    last_usable: u64,
    disk_guid: Guid,
    entries_lba: u64,
    entries_crc: u32,
}

impl Header {
    fn parse(sector: &[u8]) -> Result<Self, GptError> {
        let read = |sector: &[u8]| {
            Some((
                array_at::<8>(sector, 0)?,
                u32_at(sector, 8)?,
                u32_at(sector, 12)?,
                u32_at(sector, 16)?,
                u32_at(sector, 20)?,
                Self {
                    own_lba: u64_at(sector, 24)?,
                    other_lba: u64_at(sector, 32)?,
                    first_usable: u64_at(sector, 40)?,
                    last_usable: u64_at(sector, 48)?,
                    disk_guid: Guid::from_disk_bytes(array_at(sector, 56)?),
                    entries_lba: u64_at(sector, 72)?,
                    entries_crc: u32_at(sector, 88)?,
                },
                u32_at(sector, 80)?,
                u32_at(sector, 84)?,
            ))
        };
        let (signature, revision, size, checksum, reserved, header, count, entry_size) =
            read(sector).ok_or(GptError::Truncated(sector.len()))?;
        if signature != *SIGNATURE {
            return Err(GptError::NoHeader);
        }
        header.expect("size", size.into(), HEADER_BYTES.into())?;
        let mut unsigned: [u8; HEADER_BYTES as usize] =
            array_at(sector, 0).ok_or(GptError::Truncated(sector.len()))?;
        put(&mut unsigned, 16, [0; 4]);
        if crc32(&unsigned) != checksum {
            return Err(GptError::HeaderChecksum);
        }
        header.expect("revision", revision.into(), REVISION.into())?;
        header.expect("reserved field", reserved.into(), 0)?;
        header.expect("number of entries", count.into(), ENTRIES as u64)?;
        header.expect("size of an entry", entry_size.into(), ENTRY_BYTES as u64)?;
        Ok(header)
    }

    fn expect(&self, field: &'static str, value: u64, expected: u64) -> Result<(), GptError> {
        if value == expected { Ok(()) } else { Err(GptError::Header { field, value }) }
    }

    /// Checks and decodes the entries, which `bytes` begins with.
    fn table(&self, bytes: &[u8], disk_sectors: u64) -> Result<Table, GptError> {
        let entries = bytes.get(..ENTRIES_BYTES).ok_or(GptError::Truncated(bytes.len()))?;
        if crc32(entries) != self.entries_crc {
            return Err(GptError::EntriesChecksum);
        }
        let mut partitions = Vec::new();
        let mut empty = None;
        for (at, entry) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
            let partition = parse_entry(entry).ok_or(GptError::Name(at + 1))?;
            if partition.type_guid == Guid::ZERO {
                empty = empty.or(Some(at + 1));
                continue;
            }
            if let Some(number) = empty {
                return Err(GptError::Gap(number));
            }
            partitions.push(partition);
        }
        // Checks the disk's size too, before it is used in what follows.
        let table = Table::new(self.disk_guid, disk_sectors, partitions)?;
        if self.first_usable < HEAD_SECTORS || self.first_usable > self.last_usable {
            let value = self.first_usable;
            return Err(GptError::Header { field: "first usable sector", value });
        }
        if self.last_usable > last_usable(disk_sectors) {
            let value = self.last_usable;
            return Err(GptError::Header { field: "last usable sector", value });
        }
        Ok(table)
    }
}

/// `None` if the name is not UTF-16.
fn parse_entry(entry: &[u8]) -> Option<Partition> {
    let units: Vec<u16> = (0..NAME_UNITS)
        .map_while(|at| u16_at(entry, 56 + 2 * at))
        .take_while(|unit| *unit != 0)
        .collect();
    Some(Partition {
        type_guid: Guid::from_disk_bytes(array_at(entry, 0)?),
        guid: Guid::from_disk_bytes(array_at(entry, 16)?),
        name: String::from_utf16(&units).ok()?,
        first_lba: u64_at(entry, 32)?,
        last_lba: u64_at(entry, 40)?,
        attributes: u64_at(entry, 48)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1 MiB in sectors.
    const MIB: u64 = 2048;

    fn partition(digit: u8, name: &str, first_lba: u64, last_lba: u64) -> Partition {
        Partition {
            type_guid: types::LINUX_DATA,
            guid: Guid::from_disk_bytes([digit; 16]),
            name: name.to_owned(),
            first_lba,
            last_lba,
            attributes: attributes::READ_ONLY,
        }
    }

    fn table() -> Table {
        let partitions = vec![
            partition(1, "first", MIB, 2 * MIB - 1),
            partition(2, "zwölf", 2 * MIB, 3 * MIB - 1),
        ];
        Table::new(Guid::from_disk_bytes([9; 16]), 4 * MIB, partitions).unwrap()
    }

    #[test]
    fn both_copies_read_back_as_what_was_written() {
        let table = table();
        let encoded = table.encode();
        assert_eq!(encoded.head.len() as u64, HEAD_SECTORS * SECTOR);
        assert_eq!(encoded.tail.len() as u64, TAIL_SECTORS * SECTOR);
        assert_eq!(Table::parse(&encoded.head, table.disk_sectors()), Ok(table.clone()));
        assert_eq!(Table::parse_backup(&encoded.tail, table.disk_sectors()), Ok(table));
    }

    #[test]
    fn a_partition_that_breaks_a_rule_is_refused() {
        let first = partition(1, "first", 2048, 4095);
        let refused = |second: Partition| {
            Table::new(Guid::from_disk_bytes([9; 16]), 4 * MIB, vec![first.clone(), second])
                .unwrap_err()
        };
        let bounds = GptError::OutOfBounds { number: 2, name: "x".to_owned() };
        assert_eq!(refused(partition(2, "x", 33, 40)), bounds);
        assert_eq!(refused(partition(2, "x", 50, 40)), bounds);
        assert_eq!(refused(partition(2, "x", 5000, 4 * MIB - 33)), bounds);
        let overlap = GptError::Overlap { first: 1, second: 2 };
        assert_eq!(refused(partition(2, "x", 4095, 4100)), overlap);
        assert_eq!(refused(partition(2, "x", 40, 7000)), overlap);
        assert_eq!(refused(partition(1, "x", 4096, 4100)), GptError::PartitionGuid(2));
        assert_eq!(refused(partition(0, "x", 4096, 4100)), GptError::PartitionGuid(2));
        assert_eq!(refused(partition(2, "", 4096, 4100)), GptError::Name(2));
        assert_eq!(refused(partition(2, &"n".repeat(37), 4096, 4100)), GptError::Name(2));
        assert_eq!(refused(partition(2, &"😀".repeat(19), 4096, 4100)), GptError::Name(2));
    }

    #[test]
    fn damage_is_told_apart() {
        let table = table();
        let parse = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut head = table.encode().head;
            change(&mut head);
            Table::parse(&head, table.disk_sectors()).unwrap_err()
        };
        assert_eq!(parse(&|head| head.truncate(100)), GptError::Truncated(100));
        assert_eq!(parse(&|head| head[510] = 0), GptError::NoProtectiveMbr);
        assert_eq!(parse(&|head| head[450] = 0x83), GptError::NoProtectiveMbr);
        assert_eq!(parse(&|head| head[512] = 0), GptError::NoHeader);
        assert_eq!(parse(&|head| head[512 + 57] ^= 1), GptError::HeaderChecksum);
        assert_eq!(parse(&|head| head[1024] ^= 1), GptError::EntriesChecksum);
        let end = |head: &mut Vec<u8>| head.truncate(1024 + ENTRIES_BYTES - 1);
        assert_eq!(parse(&end), GptError::Truncated(ENTRIES_BYTES - 1));
    }

    #[test]
    fn a_disk_that_lost_its_end_is_refused() {
        let head = table().encode().head;
        let error = GptError::DiskTooSmall { table: 4 * MIB, disk: 4 * MIB - 1 };
        assert_eq!(Table::parse(&head, 4 * MIB - 1), Err(error));
    }

    #[test]
    fn a_hole_among_the_entries_is_refused() {
        let table = table();
        let mut entries = table.encode_entries();
        entries.copy_within(ENTRY_BYTES..2 * ENTRY_BYTES, 3 * ENTRY_BYTES);
        entries[ENTRY_BYTES..2 * ENTRY_BYTES].fill(0);
        let mut head = table.encode_protective_mbr();
        head.extend(table.encode_header(&entries, 1, table.disk_sectors - 1, 2));
        head.extend(&entries);
        assert_eq!(Table::parse(&head, table.disk_sectors), Err(GptError::Gap(2)));
    }

    #[test]
    fn growing_moves_the_end_down_to_the_alignment_and_settles() {
        let mut table = table();
        let size = 100 * MIB + 77;
        let grown =
            Growth::Grown { index: 1, old_last_lba: 3 * MIB - 1, new_last_lba: 100 * MIB - 1 };
        assert_eq!(table.grow_last(size, MIB), grown);
        assert_eq!(table.disk_sectors(), size);
        assert_eq!(table.partitions()[1].last_lba, 100 * MIB - 1);
        assert_eq!(Table::parse(&table.encode().head, size).as_ref(), Ok(&table));
        assert_eq!(table.grow_last(size, MIB), Growth::Unchanged);
        assert_eq!(table.grow_last(4 * MIB, MIB), Growth::Unchanged, "never shrinks");
    }

    #[test]
    fn the_backup_moves_even_if_the_partition_cannot_grow() {
        let mut table = table();
        let same = Growth::Grown { index: 1, old_last_lba: 3 * MIB - 1, new_last_lba: 3 * MIB - 1 };
        assert_eq!(table.grow_last(4 * MIB + 10, MIB), same);
        assert_eq!(table.encode().tail_offset, (4 * MIB + 10 - TAIL_SECTORS) * SECTOR);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), sectors: u64) {
            prop_assert!(Table::parse(&bytes, sectors).is_err());
            prop_assert!(Table::parse_backup(&bytes, sectors).is_err());
        }

        #[test]
        fn headers_with_a_right_checksum_and_wild_fields_do_not_panic(
            fields in prop::collection::vec(any::<u64>(), 5), sectors: u64,
        ) {
            let mut head = table().encode().head;
            for (at, field) in [24, 32, 40, 48, 72].into_iter().zip(fields) {
                if field % 3 == 0 {
                    put(&mut head, 512 + at, field.to_le_bytes());
                }
            }
            put(&mut head, 512 + 16, [0; 4]);
            let checksum = crc32(&head[512..604]);
            put(&mut head, 512 + 16, checksum.to_le_bytes());
            if let Ok(parsed) = Table::parse(&head, sectors) {
                parsed.encode();
            }
        }

        #[test]
        fn a_changed_byte_is_noticed_or_does_not_matter(at in 0_usize..17_408, mask in 1_u8..) {
            let table = table();
            let mut head = table.encode().head;
            head[at] ^= mask;
            if let Ok(parsed) = Table::parse(&head, table.disk_sectors()) {
                prop_assert_eq!(parsed, table);
                prop_assert!(!(512..604).contains(&at) && at < 1024);
            }
        }

        #[test]
        fn growing_keeps_every_rule(grow in 0_u64..10_000_000, alignment in 0_u64..10_000) {
            let mut table = table();
            table.grow_last(4 * MIB + grow, alignment);
            let again = Table::new(table.disk_guid, table.disk_sectors, table.partitions.clone());
            prop_assert_eq!(again.as_ref(), Ok(&table));
            let encoded = table.encode();
            let end = encoded.tail_offset + encoded.tail.len() as u64;
            prop_assert_eq!(end, table.disk_sectors * SECTOR);
        }
    }
}
