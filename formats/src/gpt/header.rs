//! Decodes the header and the entries that it vouches for.

use super::{
    ENTRIES, ENTRIES_BYTES, ENTRY_BYTES, GptError, Guid, HEAD_SECTORS, HEADER_BYTES, NAME_UNITS,
    Partition, REVISION, SIGNATURE, Table, last_usable,
};
use crate::crc32::crc32;
use crate::le::{array_at, put, u16_at, u32_at, u64_at};

/// A header whose checksum is right.
pub(super) struct Header {
    pub(super) own_lba: u64,
    pub(super) other_lba: u64,
    pub(super) first_usable: u64,
    pub(super) last_usable: u64,
    pub(super) disk_guid: Guid,
    pub(super) entries_lba: u64,
    pub(super) entries_crc: u32,
}

impl Header {
    pub(super) fn parse(sector: &[u8]) -> Result<Self, GptError> {
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

    pub(super) fn expect(
        &self,
        field: &'static str,
        value: u64,
        expected: u64,
    ) -> Result<(), GptError> {
        if value == expected { Ok(()) } else { Err(GptError::Header { field, value }) }
    }

    /// Checks and decodes the entries, which `bytes` begins with.
    pub(super) fn table(&self, bytes: &[u8], disk_sectors: u64) -> Result<Table, GptError> {
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
