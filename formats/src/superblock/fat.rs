//! FAT12, FAT16 and FAT32, as far as their name goes, after Microsoft's "FAT32 File System
//! Specification" (fatgen103). Labels are as they stand there: what fills them up, and which of two
//! counts, whoever asks decides.

/// Bytes of a boot sector, from the start of the volume.
pub const BOOT_SECTOR: usize = 512;

/// The root directory is read up to here: a label stands near its start.
const MOST_DIRECTORY: u64 = 16 * 1024;
/// A directory record.
const RECORD: usize = 32;

/// A label, filled up.
pub type Label = [u8; 11];

/// What a boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fat {
    /// The serial number, where `blkid` sees one; one of zeros is none.
    pub serial: Option<u32>,
    /// The label in the boot sector, which some systems do not change when they rename a volume.
    pub boot_label: Option<Label>,
    /// Where the root directory begins, in bytes from the start of the volume.
    pub root_at: u64,
    /// How much of it to read, in bytes; at most 16 KiB.
    pub root_bytes: usize,
}

impl Fat {
    /// Reads the boot sector of a FAT volume. `None` if it is none: a partition table has the same
    /// two bytes at its end.
    pub fn parse(sector: &[u8; BOOT_SECTOR]) -> Option<Self> {
        let half = |at: usize| u16::from_le_bytes([sector[at], sector[at + 1]]);
        let word = |at: usize| {
            u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]])
        };
        let bytes_per_sector = half(0x0b);
        let (sectors_per_cluster, reserved, fats) = (sector[0x0d], half(0x0e), sector[0x10]);
        let (root_records, media, fat_sectors_16) = (half(0x11), sector[0x15], half(0x16));
        let is_fat = half(0x1fe) == 0xaa55
            && [512, 1024, 2048, 4096].contains(&bytes_per_sector)
            && sectors_per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&fats)
            && media >= 0xf0
            && (half(0x13) > 0 || word(0x20) > 0);
        if !is_fat {
            return None;
        }
        let is_fat32 = fat_sectors_16 == 0 && root_records == 0;
        let fat_sectors = if is_fat32 { word(0x24) } else { u32::from(fat_sectors_16) };
        let cluster_sectors = u64::from(sectors_per_cluster);
        let first = u64::from(reserved) + u64::from(fats) * u64::from(fat_sectors);
        let (extended, root_sector, root_bytes) = if is_fat32 {
            let cluster = u64::from(word(0x2c).checked_sub(2)?);
            let bytes = cluster_sectors * u64::from(bytes_per_sector);
            (0x42, first + cluster * cluster_sectors, bytes)
        } else {
            (0x26, first, u64::from(root_records) * RECORD as u64)
        };
        // 0x29: serial number, label and type follow; 0x28: the number alone. That of FAT32 counts
        // without either, as for `blkid` (libblkid/src/superblocks/vfat.c of util-linux): FAT12 and
        // FAT16 are older than these fields, and may have anything there.
        let signature = sector[extended];
        let has_serial = is_fat32 || matches!(signature, 0x28 | 0x29);
        let boot_label = crate::le::array_at(sector, extended + 5);
        Some(Self {
            serial: Some(word(extended + 1)).filter(|serial| has_serial && *serial != 0),
            boot_label: boot_label.filter(|_| signature == 0x29),
            root_at: root_sector * u64::from(bytes_per_sector),
            root_bytes: usize::try_from(root_bytes.min(MOST_DIRECTORY)).ok()?,
        })
    }
}

/// The label in the root directory of a FAT volume.
pub fn label(directory: &[u8]) -> Option<Label> {
    const DELETED: u8 = 0xe5;
    directory
        .chunks_exact(RECORD)
        .take_while(|record| record[0] != 0)
        // Records of long names have the volume's bit too, and three others with it.
        .find(|record| record[0] != DELETED && record[11] & 0x1f == 0x08)
        .and_then(|record| record.first_chunk().copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn deleted_and_long_names_are_no_label() {
        let record = |name: &[u8; 11], attributes: u8| {
            let mut record = [0; RECORD];
            record[..11].copy_from_slice(name);
            record[11] = attributes;
            record
        };
        let deleted = record(b"\xe5LDNAME    ", 0x08);
        let long = record(b"An.o.d.e...", 0x0f);
        let file = record(b"NODE    TOM", 0x20);
        let volume = record(b"cidata     ", 0x28);
        let end = record(&[0; 11], 0);
        let label = |records: &[[u8; RECORD]]| label(records.as_flattened());
        assert_eq!(label(&[deleted, long, file, volume]), Some(*b"cidata     "));
        assert_eq!(label(&[deleted, long, file]), None);
        assert_eq!(label(&[file, end, volume]), None);
    }

    #[test]
    fn a_partition_table_is_no_fat() {
        let mut sector = [0; BOOT_SECTOR];
        sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(Fat::parse(&sector), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(
            bytes in prop::collection::vec(any::<u8>(), BOOT_SECTOR),
            good in any::<bool>(),
        ) {
            let mut sector: [u8; BOOT_SECTOR] = bytes.try_into().unwrap();
            if good {
                sector[0x0b..0x0e].copy_from_slice(&[0, 16, 128]);
                sector[0x10] = 2;
                sector[0x15] = 0xf8;
                sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
            }
            if let Some(fat) = Fat::parse(&sector) {
                prop_assert!(fat.root_bytes <= 16 * 1024);
            }
            let _ = label(&sector);
        }
    }
}
