//! The label of a file system, out of its first sectors: there is no udev and no blkid to ask.
//!
//! FAT as [`formats::superblock::fat`] reads it, ISO 9660 after ECMA-119, 8.4. Only what a label
//! needs is read; the kernel is the judge of the rest.

use formats::superblock::fat::{self, Fat};

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

    /// The one that the kernel calls so.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Vfat, Self::Iso9660].into_iter().find(|kind| kind.name() == name)
    }
}

/// Where ISO 9660's first volume descriptor begins, in bytes.
pub const DESCRIPTOR_AT: u64 = 0x8000;
/// Bytes of a volume descriptor that a label needs.
pub const DESCRIPTOR: usize = 0x48;

/// What `mkfs` writes where there is no label.
const NO_NAME: &str = "NO NAME";

/// The label in the boot sector of a FAT volume.
pub fn fat_boot(fat: &Fat) -> Option<String> {
    fat.boot_label.and_then(|field| label(&field)).filter(|label| label != NO_NAME)
}

/// The label in the root directory of a FAT volume.
pub fn fat_root(directory: &[u8]) -> Option<String> {
    fat::label(directory).and_then(|field| label(&field))
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

    use formats::superblock::fat::BOOT_SECTOR;
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
            let fat = Fat::parse(&boot_sector(&file)).unwrap();
            assert_eq!(fat_boot(&fat).as_deref(), Some("ORLOP"), "{bits}");
            assert_eq!(root(&file, &fat).as_deref(), Some("ORLOP"), "{bits}");
        }
    }

    #[test]
    fn a_volume_without_a_label_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = mkfs(&["-F", "16"], 16 * 1024, &directory.path().join("plain"));
        let fat = Fat::parse(&boot_sector(&file)).unwrap();
        assert_eq!((root(&file, &fat), fat_boot(&fat)), (None, None));
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
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), DESCRIPTOR)) {
            let mut descriptor: [u8; DESCRIPTOR] = bytes.try_into().unwrap();
            let _ = iso9660(&descriptor);
            descriptor[..6].copy_from_slice(b"\x01CD001");
            let _ = iso9660(&descriptor);
        }
    }
}
