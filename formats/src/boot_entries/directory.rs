//! The directory `EFI/Linux` as bytes: one sector, which is replaced by one write.
//!
//! What is read may have been changed since by others. Firmware renames an entry by deleting its
//! records and appending new ones, with a short name of its own making, so the letter in the long name
//! says whose entry it is. Linux's vfat, cut off in a rename, leaves a second record of an empty file,
//! and firmware, where the two names are in two sectors, a second name of the file.
//! What is written is always the same shape again: `.`, `..`, and one long and one short record for
//! each slot.

use super::{Name, NameError, Slot};
use crate::fat::{Alias, Attributes, Record, Timestamp, decode, encode};

/// Bytes of the sector.
pub const SECTOR_BYTES: usize = 512;

/// The UKI file of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Where its content begins. Never changes.
    pub first_cluster: u32,
    /// Bytes. Never changes.
    pub size: u32,
    time: Timestamp,
}

/// The directory with the two entries of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    own_cluster: u32,
    parent_cluster: u32,
    // Invariant: those of slot A and slot B, in this order, with content and different clusters.
    entries: [Entry; 2],
}

/// The directory is not that of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// There is no `.` or `..` in front.
    #[error("it does not begin with `.` and `..`")]
    Head,
    /// Something that is no entry of ours.
    #[error(transparent)]
    Foreign(#[from] NameError),
    /// A directory in it.
    #[error("`{}` in it is a directory", .0.escape_debug())]
    Subdirectory(String),
    /// A slot has no file.
    #[error("slot {0} has no boot entry")]
    Missing(Slot),
    /// A slot has two files.
    #[error("slot {slot} has two boot entries, `{one}` and `{two}`")]
    Twice {
        /// Which slot.
        slot: Slot,
        /// One of them.
        one: Name,
        /// The other one.
        two: Name,
    },
    /// Two names for one content.
    #[error("both boot entries are one file")]
    OneFile,
}

impl Directory {
    /// Reads the bytes of the directory: its first sector, and what firmware may have appended to it.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let listing = decode(bytes);
        let (Some(own_cluster), Some(parent_cluster)) =
            (listing.own_cluster, listing.parent_cluster)
        else {
            return Err(DirectoryError::Head);
        };
        let mut found: [Option<Entry>; 2] = [None; 2];
        for record in &listing.records {
            if record.attributes == Attributes::Directory {
                return Err(DirectoryError::Subdirectory(record.name.clone()));
            }
            let name: Name = record.name.parse()?;
            // What a rename of Linux left that was cut off: no loader lists an empty file.
            if record.size == 0 || record.first_cluster == 0 {
                continue;
            }
            let Record { first_cluster, size, time, .. } = *record;
            let entry = Entry { name, first_cluster, size, time };
            let slot = name.slot();
            // One file with two names is a rename of firmware's over two sectors that was cut off: the
            // second is the new one.
            let before = found[slot.index()].replace(entry);
            if let Some(before) = before.filter(|before| before.first_cluster != first_cluster) {
                return Err(DirectoryError::Twice { slot, one: before.name, two: name });
            }
        }
        let [Some(a), Some(b)] = found else {
            let missing = if found[0].is_none() { Slot::A } else { Slot::B };
            return Err(DirectoryError::Missing(missing));
        };
        if a.first_cluster == b.first_cluster {
            return Err(DirectoryError::OneFile);
        }
        Ok(Self { own_cluster, parent_cluster, entries: [a, b] })
    }

    /// The file of a slot.
    pub fn entry(&self, slot: Slot) -> &Entry {
        &self.entries[slot.index()]
    }

    /// Both names, that of slot A first.
    pub fn names(&self) -> [Name; 2] {
        self.entries.map(|entry| entry.name)
    }

    /// The same files under other names: each slot takes the last one that names it.
    #[must_use]
    pub fn renamed(mut self, names: &[Name]) -> Self {
        for name in names {
            self.entries[name.slot().index()].name = *name;
        }
        self
    }

    /// The sector, with nothing in it that others left.
    pub fn sector(&self) -> [u8; SECTOR_BYTES] {
        let records = self.entries.map(|entry| Record {
            name: entry.name.to_string(),
            alias: alias(entry.name.slot()),
            attributes: Attributes::File,
            first_cluster: entry.first_cluster,
            size: entry.size,
            time: entry.time,
        });
        let time = self.entries[0].time;
        let bytes = encode(self.own_cluster, self.parent_cluster, time, &records);
        let mut sector = [0; SECTOR_BYTES];
        // Names have at most 255 units and ours 20: six records, eight at the most.
        for (to, from) in sector.iter_mut().zip(bytes) {
            *to = from;
        }
        sector
    }
}

/// The short name of a slot's entry.
fn alias(slot: Slot) -> Alias {
    Alias::of_bytes(match slot {
        Slot::A => *b"SLOTA      ",
        Slot::B => *b"SLOTB      ",
    })
}

#[cfg(test)]
mod tests;
