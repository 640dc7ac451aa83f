//! The label of a file system, out of its first sectors: there is no udev and no blkid to ask.
//!
//! FAT12, FAT16 and FAT32 after Microsoft's "FAT32 File System Specification" (fatgen103), ISO 9660
//! after ECMA-119, 8.4. Only what a label needs is read; the kernel is the judge of the rest.

/// A file system that a config may lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// ISO 9660, with any extension.
    Iso9660,
}

impl FileSystem {
    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Iso9660 => "iso9660",
        }
    }
}

/// Bytes of a boot sector, from the start of the volume.
pub const BOOT_SECTOR: usize = 512;
/// Where ISO 9660's first volume descriptor begins, in bytes.
pub const DESCRIPTOR_AT: u64 = 0x8000;
/// Bytes of a volume descriptor that a label needs.
pub const DESCRIPTOR: usize = 0x48;

/// The root directory is read up to here: a label stands near its start.
const MOST_DIRECTORY: u64 = 16 * 1024;
/// A directory record.
const RECORD: usize = 32;
/// What `mkfs` writes where there is no label.
const NO_NAME: &str = "NO NAME";

/// What a boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fat {
    /// The label in the boot sector, which some systems do not change when they rename a volume.
    pub boot_label: Option<String>,
    /// Where the root directory begins, in bytes from the start of the volume.
    pub root_at: u64,
    /// How much of it to read, in bytes; at most 16 KiB.
    pub root_bytes: usize,
}

/// Reads the boot sector of a FAT volume. `None` if it is none: a partition table has the same two
/// bytes at its end.
pub fn fat(sector: &[u8; BOOT_SECTOR]) -> Option<Fat> {
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
    // 0x29: serial number, label and type follow.
    let boot_label = if sector[extended] == 0x29 {
        label(&sector[extended + 5..extended + 16]).filter(|label| label != NO_NAME)
    } else {
        None
    };
    Some(Fat {
        boot_label,
        root_at: root_sector * u64::from(bytes_per_sector),
        root_bytes: usize::try_from(root_bytes.min(MOST_DIRECTORY)).ok()?,
    })
}

/// The label in the root directory of a FAT volume.
pub fn fat_root(directory: &[u8]) -> Option<String> {
    const DELETED: u8 = 0xe5;
    directory
        .chunks_exact(RECORD)
        .take_while(|record| record[0] != 0)
        // Records of long names have the volume's bit too, and three others with it.
        .find(|record| record[0] != DELETED && record[11] & 0x1f == 0x08)
        .and_then(|record| label(&record[..11]))
}

/// The label in ISO 9660's primary volume descriptor.
pub fn iso9660(descriptor: &[u8; DESCRIPTOR]) -> Option<String> {
    const PRIMARY: u8 = 1;
    let is_iso = descriptor[0] == PRIMARY && &descriptor[1..6] == b"CD001";
    if is_iso { label(&descriptor[0x28..0x48]) } else { None }
}

/// Text that is filled up with spaces. Letters of unknown character sets become marks: our labels
/// have none.
fn label(field: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(field);
    let text = text.trim_end_matches(['\0', ' ']);
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// What `mkfs.vfat` makes of a file of so many KiB.
    #[expect(clippy::disallowed_methods, reason = "a test asks the outside judge")]
    fn mkfs(arguments: &[&str], kib: u64, path: &Path) -> File {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(kib * 1024).unwrap();
        let status = std::process::Command::new("mkfs.vfat")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(arguments)
            .arg(path)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("`mkfs.vfat` must be installed: package dosfstools");
        assert!(status.success());
        file
    }

    fn boot_sector(file: &File) -> [u8; BOOT_SECTOR] {
        let mut sector = [0; BOOT_SECTOR];
        file.read_exact_at(&mut sector, 0).unwrap();
        sector
    }

    fn root(file: &File, fat: &Fat) -> Option<String> {
        let mut directory = vec![0; fat.root_bytes];
        file.read_exact_at(&mut directory, fat.root_at).unwrap();
        fat_root(&directory)
    }

    #[test]
    fn labels_of_each_fat_are_read_from_both_places() {
        let directory = tempfile::tempdir().unwrap();
        for (bits, kib, more) in [
            ("12", 1440, &[][..]),
            ("16", 16 * 1024, &[]),
            ("32", 48 * 1024, &["-s", "1"]),
            ("32", 300 * 1024, &["-S", "4096"]),
        ] {
            let path = directory.path().join(format!("{bits}-{kib}"));
            let arguments = [&["-F", bits, "-n", "ORLOP"], more].concat();
            let file = mkfs(&arguments, kib, &path);
            let fat = fat(&boot_sector(&file)).unwrap();
            assert_eq!(fat.boot_label.as_deref(), Some("ORLOP"), "{bits}");
            assert_eq!(root(&file, &fat).as_deref(), Some("ORLOP"), "{bits}");
        }
    }

    #[test]
    fn a_volume_without_a_label_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = mkfs(&["-F", "16"], 16 * 1024, &directory.path().join("plain"));
        let fat = fat(&boot_sector(&file)).unwrap();
        assert_eq!((root(&file, &fat), fat.boot_label), (None, None));
    }

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
        let label = |records: &[[u8; RECORD]]| fat_root(records.as_flattened());
        assert_eq!(label(&[deleted, long, file, volume]).as_deref(), Some("cidata"));
        assert_eq!(label(&[deleted, long, file]), None);
        assert_eq!(label(&[file, end, volume]), None);
    }

    #[test]
    fn a_partition_table_is_no_fat() {
        let mut sector = [0; BOOT_SECTOR];
        sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(fat(&sector), None);
    }

    #[test]
    fn the_primary_descriptor_has_the_label_of_a_disc() {
        let mut descriptor = [0; DESCRIPTOR];
        descriptor[..7].copy_from_slice(b"\x01CD001\x01");
        descriptor[0x28..].copy_from_slice(&[b' '; 32]);
        assert_eq!(iso9660(&descriptor), None);
        descriptor[0x28..0x2e].copy_from_slice(b"CIDATA");
        assert_eq!(iso9660(&descriptor).as_deref(), Some("CIDATA"));
        descriptor[0] = 0;
        assert_eq!(iso9660(&descriptor), None);
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
            if let Some(fat) = fat(&sector) {
                prop_assert!(fat.root_bytes <= 16 * 1024);
            }
            let _ = fat_root(&sector);
            let mut descriptor: [u8; DESCRIPTOR] = *sector.first_chunk().unwrap();
            let _ = iso9660(&descriptor);
            descriptor[..6].copy_from_slice(b"\x01CD001");
            let _ = iso9660(&descriptor);
        }
    }
}
