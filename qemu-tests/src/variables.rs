//! The variables of a machine's firmware, in the file that QEMU keeps them in: a firmware volume with
//! EDK2's store of authenticated variables (`MdeModulePkg/Include/Guid/VariableFormat.h` and
//! `SecurityPkg/Include/Guid/AuthenticatedVariableFormat.h`). Only for a machine that is off.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// 4a67b082-0a4c-41cf-b6c7-440b29bb8c4f, of systemd-boot's variables.
pub const LOADER: [u8; 16] = [
    0x82, 0xB0, 0x67, 0x4A, 0x4C, 0x0A, 0xCF, 0x41, 0xB6, 0xC7, 0x44, 0x0B, 0x29, 0xBB, 0x8C, 0x4F,
];

/// `gEfiAuthenticatedVariableGuid`: aaf32c78-947b-439a-a180-2e144ec37792.
const STORE: [u8; 16] = [
    0x78, 0x2C, 0xF3, 0xAA, 0x7B, 0x94, 0x9A, 0x43, 0xA1, 0x80, 0x2E, 0x14, 0x4E, 0xC3, 0x77, 0x92,
];
const STORE_HEADER: usize = 28;
const HEADER: usize = 60;
/// Kept over restarts, for boot services and for the running system.
const ATTRIBUTES: u32 = 7;
/// The state of a variable that is whole and was not deleted; bits are only ever cleared.
const ADDED: u8 = 0x3F;
/// The state of one whose successor is being written.
const BEING_REPLACED: u8 = 0x3E;

/// The store of a machine that is off.
#[derive(Debug)]
pub struct Variables {
    bytes: Vec<u8>,
    /// Where variables can stand.
    area: Range<usize>,
}

struct Found {
    state: usize,
    name: Range<usize>,
    data: Range<usize>,
    vendor: Range<usize>,
    end: usize,
}

impl Variables {
    /// Reads the file.
    ///
    /// # Errors
    /// It is no such store.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(bytes).with_context(|| format!("{} is no store of variables", path.display()))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        ensure!(bytes.get(40..44) == Some(b"_FVH"), "it does not begin with a firmware volume");
        let start = u16_at(&bytes, 48).context("the volume is cut off")?;
        let signature = bytes.get(start..start + 16).context("the volume is cut off")?;
        ensure!(signature == STORE, "the volume holds something else");
        let size = u32_at(&bytes, start + 16).context("the store is cut off")?;
        ensure!(size >= STORE_HEADER && start + size <= bytes.len(), "the store is cut off");
        Ok(Self { area: start + STORE_HEADER..start + size, bytes })
    }

    /// The value of a variable.
    pub fn get(&self, vendor: &[u8; 16], name: &str) -> Option<&[u8]> {
        let name = utf16(name);
        let found = self.all().into_iter().find(|found| self.is(found, vendor, &name))?;
        Some(&self.bytes[found.data])
    }

    /// Gives a variable a value, as the running system would; what it had is deleted.
    ///
    /// # Errors
    /// The store is full.
    pub fn set(&mut self, vendor: &[u8; 16], name: &str, data: &[u8]) -> Result<()> {
        let name = utf16(name);
        let all = self.all();
        for found in &all {
            if self.is(found, vendor, &name) {
                self.bytes[found.state] &= 0xFD;
            }
        }
        let start = all.last().map_or(self.area.start, |last| last.end);
        let mut record = vec![0; HEADER];
        record[..4].copy_from_slice(&[0xAA, 0x55, ADDED, 0]);
        record[4..8].copy_from_slice(&ATTRIBUTES.to_le_bytes());
        record[36..40].copy_from_slice(&u32::try_from(name.len())?.to_le_bytes());
        record[40..44].copy_from_slice(&u32::try_from(data.len())?.to_le_bytes());
        record[44..60].copy_from_slice(vendor);
        record.extend(name);
        record.extend(data);
        let end = start + record.len();
        ensure!(end <= self.area.end, "the store of variables is full");
        self.bytes[start..end].copy_from_slice(&record);
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    fn is(&self, found: &Found, vendor: &[u8; 16], name: &[u8]) -> bool {
        let state = self.bytes[found.state];
        (state == ADDED || state == BEING_REPLACED)
            && self.bytes[found.vendor.clone()] == *vendor
            && self.bytes[found.name.clone()] == *name
    }

    /// What stands in the store, deleted or not.
    fn all(&self) -> Vec<Found> {
        let mut all = Vec::new();
        let mut at = self.area.start;
        while self.bytes.get(at..at + 2) == Some(&[0xAA, 0x55]) {
            let size = |offset| u32_at(&self.bytes, at + offset);
            let (Some(name), Some(data)) = (size(36), size(40)) else { break };
            let start = at + HEADER;
            let end = start.saturating_add(name).saturating_add(data);
            if end > self.area.end {
                break;
            }
            let vendor = at + 44..at + HEADER;
            let (name, data) = (start..start + name, start + name..end);
            at = end.next_multiple_of(4);
            all.push(Found { state: vendor.start - 42, name, data, vendor, end: at });
        }
        all
    }
}

/// As variables have text: UTF-16, little-endian, with a zero behind it.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume with an empty store.
    fn empty() -> Vec<u8> {
        let mut bytes = vec![0xFF; 4096];
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes[48..50].copy_from_slice(&72_u16.to_le_bytes());
        bytes[72..88].copy_from_slice(&STORE);
        bytes[88..92].copy_from_slice(&1024_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn a_variable_is_set_replaced_and_found_again() {
        let mut variables = Variables::parse(empty()).unwrap();
        assert_eq!(variables.get(&LOADER, "LoaderEntryOneShot"), None);
        variables.set(&STORE, "LoaderEntryOneShot", b"other").unwrap();
        for id in ["1b.efi", "2a.efi"] {
            variables.set(&LOADER, "LoaderEntryOneShot", &utf16(id)).unwrap();
            assert_eq!(variables.get(&LOADER, "LoaderEntryOneShot"), Some(&utf16(id)[..]));
        }
        assert_eq!(variables.all().len(), 3);
        assert_eq!(variables.get(&STORE, "LoaderEntryOneShot"), Some(&b"other"[..]));
        assert!(variables.set(&LOADER, "LoaderEntryDefault", &[0; 1024]).is_err());
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for (at, value) in [(40, 0), (48, 0), (72, 0), (91, 0xFF)] {
            let mut bytes = empty();
            bytes[at] = value;
            assert!(Variables::parse(bytes).is_err(), "{at}");
        }
        assert!(Variables::parse(Vec::new()).is_err());
    }
}
