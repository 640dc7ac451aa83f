//! Looks at copies of a disk image, and damages them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use formats::digest::{Hasher, Sha256};
use formats::gpt::{HEAD_SECTORS, TAIL_SECTORS, Table};
pub use formats::gpt::{Partition, SECTOR};

use crate::process::judge;

/// Bytes in a block of EROFS and of a verity tree.
pub const BLOCK: u64 = 4096;

/// A raw disk image.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    file: File,
}

impl Disk {
    /// A copy that takes no more room than its content.
    ///
    /// # Errors
    /// There is no room.
    pub fn copy(from: &Path, to: &Path) -> Result<Self> {
        let paths = [from.as_os_str(), to.as_os_str()];
        let options = ["--sparse=always", "--reflink=auto"].map(std::ffi::OsStr::new);
        judge("cp", "coreutils", options.into_iter().chain(paths))?;
        let file = File::options().read(true).write(true).open(to)?;
        Ok(Self { path: to.to_owned(), file })
    }

    /// The one that is there, to look at.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The one that is there, to be changed.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn to_change(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it larger, with nothing at its end.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn grow(&self, size: u64) -> Result<()> {
        let now = self.file.metadata()?.len();
        ensure!(now < size, "the disk has {now} bytes already");
        Ok(self.file.set_len(size)?)
    }

    /// Changes one bit at this offset.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn flip(&self, offset: u64) -> Result<()> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset)?;
        Ok(self.file.write_all_at(&[byte[0] ^ 1], offset)?)
    }

    /// Writes zeros.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn zero(&self, offset: u64, length: u64) -> Result<()> {
        Ok(self.file.write_all_at(&vec![0; usize::try_from(length)?], offset)?)
    }

    /// Writes these bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all_at(bytes, offset)?)
    }

    /// Some of its bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// How many sectors it has.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn sectors(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len() / SECTOR)
    }

    /// The bytes of both partition tables.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn tables(&self) -> Result<Vec<u8>> {
        let mut bytes = self.bytes(0, HEAD_SECTORS * SECTOR)?;
        let tail = self.sectors()? - TAIL_SECTORS;
        bytes.extend(self.bytes(tail * SECTOR, TAIL_SECTORS * SECTOR)?);
        Ok(bytes)
    }

    /// The partition with this label.
    ///
    /// # Errors
    /// There is none.
    pub fn partition(&self, name: &str) -> Result<Partition> {
        let head = self.bytes(0, HEAD_SECTORS * SECTOR)?;
        let table = Table::parse(&head, self.sectors()?)?;
        let partition = table.partition(name).cloned();
        partition.with_context(|| format!("`{}` has no partition `{name}`", self.path.display()))
    }

    /// The number of the partition with this label, counted from 1.
    ///
    /// # Errors
    /// There is none.
    pub fn number(&self, name: &str) -> Result<usize> {
        let head = self.bytes(0, HEAD_SECTORS * SECTOR)?;
        let table = Table::parse(&head, self.sectors()?)?;
        let index = table.partitions().iter().position(|partition| partition.name == name);
        let index = index.with_context(|| format!("there is no partition `{name}`"))?;
        Ok(index + 1)
    }

    /// The head of the ext4 file system in a partition.
    ///
    /// # Errors
    /// There is none.
    pub fn ext4(&self, partition: &Partition) -> Result<Ext4> {
        let superblock = self.bytes(partition.offset() + 1024, 1024)?;
        Ext4::parse(&superblock)
            .with_context(|| format!("partition `{}` holds no ext4", partition.name))
    }

    /// A text file of the ext4 file system in a partition, as `debugfs` reads it.
    ///
    /// # Errors
    /// There is no such file.
    pub fn read(&self, partition: &Partition, path: &str) -> Result<String> {
        let device = format!("{}?offset={}", self.path.display(), partition.offset());
        let text = judge("debugfs", "e2fsprogs", ["-R", &format!("cat {path}"), &device])?;
        // It ends with success whether the file is there or not.
        ensure!(!text.contains("File not found"), "{text}");
        Ok(text)
    }

    /// Puts a file into the ext4 file system in a partition, with the directories above it, as `debugfs`
    /// does. What was there goes.
    ///
    /// # Errors
    /// `debugfs` cannot, or does not show it afterwards.
    pub fn write_file(&self, partition: &Partition, path: &str, text: &str) -> Result<()> {
        let device = format!("{}?offset={}", self.path.display(), partition.offset());
        let source = tempfile::NamedTempFile::new()?;
        std::fs::write(source.path(), text)?;
        let above = path.match_indices('/').skip(1).map(|(at, _)| format!("mkdir {}", &path[..at]));
        let write = format!("write {} {path}", source.path().display());
        // It complains of what is there already, and goes on.
        for request in above.chain([format!("rm {path}"), write]) {
            judge("debugfs", "e2fsprogs", ["-w", "-R", &request, &device])?;
        }
        let written = self.read(partition, path)?;
        ensure!(written.contains(text), "{path} has {written:?}");
        Ok(())
    }

    /// Lets `sgdisk` judge the partition tables and `e2fsck` the file system in STATE, and returns
    /// STATE.
    ///
    /// # Errors
    /// One of them finds fault.
    pub fn judge(&self) -> Result<Partition> {
        judge_table(&self.path)?;
        let state = self.partition("STATE")?;
        let device = format!("{}?offset={}", self.path.display(), state.offset());
        judge("e2fsck", "e2fsprogs", ["-fn", &device])?;
        Ok(state)
    }
}

/// Lets `sgdisk` judge both partition tables of a raw disk image.
///
/// # Errors
/// It finds fault.
pub fn judge_table(image: &Path) -> Result<()> {
    let verdict = judge("sgdisk", "gdisk", ["-v".as_ref(), image.as_os_str()])?;
    // It repairs a damaged header in memory, says so, and then finds no problems.
    let repaired = ["corrupt", "invalid", "CRC"].iter().any(|word| verdict.contains(word));
    ensure!(verdict.contains("No problems found") && !repaired, "sgdisk: {verdict}");
    Ok(())
}

/// The digest of a file.
///
/// # Errors
/// It cannot be read.
pub fn digest(path: &Path) -> Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// What the superblock of an ext4 file system says (kernel documentation,
/// `filesystems/ext4/super.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ext4 {
    /// Bytes.
    pub size: u64,
    /// Whether it was unmounted in order: nothing is left in its journal.
    pub is_clean: bool,
}

impl Ext4 {
    fn parse(superblock: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_le_bytes([superblock[at], superblock[at + 1]]);
        if superblock.len() < 1024 || u16_at(0x38) != 0xef53 {
            return None;
        }
        let blocks = u64::from(u32_at(superblock, 4)) | u64::from(u32_at(superblock, 0x150)) << 32;
        let size = blocks.checked_mul(1024_u64.checked_shl(u32_at(superblock, 0x18))?)?;
        const NEEDS_RECOVERY: u32 = 4;
        let is_clean = u16_at(0x3a) == 1 && u32_at(superblock, 0x60) & NEEDS_RECOVERY == 0;
        Some(Self { size, is_clean })
    }
}

/// Where things lie in a root image, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootMap {
    /// The superblock of EROFS.
    pub superblock: u64,
    /// The middle of the file asked for.
    pub file: u64,
    /// Where its largest piece begins: of one in one piece, its first block.
    pub file_start: u64,
    /// The top block of the verity tree.
    pub tree_top: u64,
}

impl RootMap {
    /// Looks into a root image: a file system, and behind it the verity tree with or without a
    /// superblock of its own. `files` are paths of which one must be there.
    ///
    /// # Errors
    /// It is not such an image.
    pub fn of(image: &Path, files: &[&str]) -> Result<Self> {
        let file = File::open(image)?;
        let mut superblock = [0; 128];
        file.read_exact_at(&mut superblock, 1024)?;
        ensure!(u32_at(&superblock, 0) == 0xe0f5_e1e2, "`{}` is no EROFS", image.display());
        let end = u64::from(u32_at(&superblock, 36)) * BLOCK;
        let mut signature = [0; 8];
        file.read_exact_at(&mut signature, end)?;
        let tree_top = if signature == *b"verity\0\0" { end + BLOCK } else { end };
        for path in files {
            let args = [format!("--path={path}"), "-e".to_owned(), image.display().to_string()];
            // It ends with success whether the file is there or not.
            let extents = judge("dump.erofs", "erofs-utils", args)?;
            if let Some((file_start, length)) = largest_extent(&extents) {
                let file = file_start + length / 2;
                return Ok(Self { superblock: 1024, file, file_start, tree_top });
            }
        }
        anyhow::bail!("`{}` has none of {files:?}", image.display())
    }
}

/// Reads the table of `dump.erofs -e`, for regular files only:
/// `0:        0..   20480 |   20480 :       4096..     24576 |   20480`.
/// Where it begins, and its length.
fn largest_extent(text: &str) -> Option<(u64, u64)> {
    if !text.contains("regular file") {
        return None;
    }
    let extent = |line: &str| {
        let (_, physical) = line.split_once('|')?.1.split_once(':')?;
        let (start, rest) = physical.split_once("..")?;
        let start: u64 = start.trim().parse().ok()?;
        let end: u64 = rest.split_once('|')?.0.trim().parse().ok()?;
        Some((end.checked_sub(start)?, start))
    };
    let (length, start) = text.lines().filter_map(extent).max()?;
    Some((start, length))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// A disk of 16 MiB with an ext4 file system in STATE, made by other people's tools.
    fn disk(directory: &Path) -> Disk {
        let path = directory.join("new.raw");
        File::create(&path).unwrap().set_len(16 << 20).unwrap();
        let name = path.to_str().unwrap();
        let args = ["-n", "1:2048:4095", "-c", "1:META", "-n", "2:4096:0", "-c", "2:STATE", name];
        judge("sgdisk", "gdisk", args).unwrap();
        let sectors = (16 << 20) / SECTOR - 4096 - 34;
        let size = format!("{}K", sectors / 2);
        let offset = format!("offset={}", 4096 * SECTOR);
        judge("mke2fs", "e2fsprogs", ["-q", "-t", "ext4", "-E", &offset, name, &size]).unwrap();
        Disk::copy(&path, &directory.join("copy.raw")).unwrap()
    }

    #[test]
    fn partitions_and_file_systems_of_other_tools_are_read() {
        let place = place();
        let disk = disk(place.path());
        let state = disk.judge().unwrap();
        let last = disk.sectors().unwrap() - HEAD_SECTORS;
        assert_eq!((state.name.as_str(), state.first_lba, state.last_lba), ("STATE", 4096, last));
        let ext4 = disk.ext4(&state).unwrap();
        assert!(ext4.is_clean);
        assert!(ext4.size <= (last - 4095) * SECTOR && ext4.size > 13 << 20, "{ext4:?}");
        assert!(disk.ext4(&disk.partition("META").unwrap()).is_err());
        assert!(disk.partition("ROOT-A").is_err());
    }

    #[test]
    fn a_damaged_disk_is_judged_so_and_the_original_is_not_touched() {
        let place = place();
        let disk = disk(place.path());
        let original = place.path().join("new.raw");
        let before = digest(&original).unwrap();
        assert_eq!(digest(disk.path()).unwrap(), before);
        disk.flip(4096 * SECTOR + 1024 + 4).unwrap();
        assert_ne!(digest(disk.path()).unwrap(), before);
        assert!(disk.judge().unwrap_err().to_string().contains("e2fsck"));
        assert_eq!(digest(&original).unwrap(), before);
        disk.flip(4096 * SECTOR + 1024 + 4).unwrap();
        disk.judge().unwrap();
        disk.flip(SECTOR + 16).unwrap();
        assert!(disk.judge().unwrap_err().to_string().contains("sgdisk"));
    }

    #[test]
    fn a_root_image_of_other_tools_is_mapped() {
        let place = place();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("usr/bin")).unwrap();
        std::fs::write(tree.join("usr/bin/init"), vec![b'i'; 20480]).unwrap();
        std::os::unix::fs::symlink("bin/init", tree.join("usr/sbin")).unwrap();
        let image = place.path().join("root.img");
        let paths = [image.to_str().unwrap(), tree.to_str().unwrap()];
        judge("mkfs.erofs", "erofs-utils", paths).unwrap();
        let end = std::fs::metadata(&image).unwrap().len();
        let hash_offset = format!("--hash-offset={end}");
        let args = ["format", paths[0], paths[0], &hash_offset];
        judge("veritysetup", "cryptsetup-bin", args).unwrap();

        let map = RootMap::of(&image, &["/init", "/usr/sbin", "/usr/bin/init"]).unwrap();
        assert_eq!((map.superblock, map.tree_top), (1024, end + BLOCK));
        let file = File::open(&image).unwrap();
        let mut byte = [0];
        for offset in [map.file, map.file_start] {
            file.read_exact_at(&mut byte, offset).unwrap();
            assert_eq!(byte, *b"i");
        }
        assert!(RootMap::of(&image, &["/init"]).is_err());
    }
}
