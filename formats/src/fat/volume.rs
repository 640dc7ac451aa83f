//! The reader: lists the files of a volume and where they stand, for `orlop inspect`. It does no
//! I/O itself and is bounded by the volume's own size, whatever the bytes say.

use std::convert::Infallible;

use super::directory::{Listing, decode};
use super::{Attributes, Extent, LEAST_CLUSTERS, Record, SECTOR};
use crate::le::{array_at, u16_at, u32_at};

/// Directories deeper than this are refused.
const MOST_DEPTH: usize = 16;
/// A directory has at most 65,536 records.
const MOST_DIRECTORY_BYTES: u64 = 65_536 * 32;

/// What is on a FAT32 volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The serial number.
    pub id: u32,
    /// The label in the root directory, else the one in the boot sector.
    pub label: String,
    /// Bytes of a cluster.
    pub cluster_bytes: u64,
    /// All files and directories; a directory comes before what is in it.
    pub entries: Vec<Entry>,
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, `/`-separated, without a leading `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Where it stands, in order; adjacent clusters are one extent. A file's last extent ends
    /// with the file.
    pub extents: Vec<Extent>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of so many bytes.
    File(u64),
}

/// The bytes are no FAT32 volume that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// No FAT32 boot sector.
    #[error("it is not a FAT32 volume")]
    NotFat32,
    /// The boot sector's sizes contradict each other.
    #[error("the FAT32 boot sector is damaged")]
    BootSector,
    /// A chain of clusters leaves the volume, runs in a circle, or ends before its file.
    #[error("the clusters of `{0}` are damaged")]
    Chain(String),
    /// Directories in directories, deeper than anything sensible.
    #[error("directory `{0}` is too deep")]
    TooDeep(String),
    /// Two chains have a cluster in common.
    #[error("two files have clusters in common")]
    Shared,
    /// More than an EFI system partition has.
    #[error("it has {0} clusters, more than are looked at")]
    TooLarge(u32),
    /// The allocation tables and the files contradict each other.
    #[error("the allocation tables do not fit the files")]
    Tables,
}

/// Why there is no [`Volume`].
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The caller's function failed.
    #[error("{0}")]
    Read(E),
    /// What was read is not right.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl Volume {
    /// Reads a volume through `read_at`, which fills the buffer from a byte offset or fails.
    ///
    /// # Errors
    /// What `read_at` returns; [`VolumeError`].
    pub fn parse<E>(
        read_at: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        Reader::open(read_at)?.read()
    }

    /// Reads a volume that is in memory.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, VolumeError> {
        let read_at = |offset: u64, buffer: &mut [u8]| {
            let start = usize::try_from(offset).ok();
            let range = start.and_then(|start| bytes.get(start..start.checked_add(buffer.len())?));
            // Beyond the end there is nothing: the sizes are then caught to be wrong.
            match range {
                Some(range) => buffer.copy_from_slice(range),
                None => buffer.fill(0),
            }
            Ok::<_, Infallible>(())
        };
        match Self::parse(read_at) {
            Ok(volume) => Ok(volume),
            Err(ReadError::Volume(error)) => Err(error),
            Err(ReadError::Read(never)) => match never {},
        }
    }

    /// The file or directory at `path`, in any case.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let upper = path.to_uppercase();
        self.entries.iter().find(|entry| entry.path.to_uppercase() == upper)
    }
}

pub(super) struct Reader<F> {
    pub(super) read_at: F,
    pub(super) boot: BootSector,
    /// The sector of the allocation table that was read last.
    cached: Option<(u64, [u8; 512])>,
    /// Every cluster belongs to one chain, so more steps than clusters are a circle.
    steps_left: u64,
    /// All chains that were followed, whole: a file's last cluster may lie behind its end.
    pub(super) chains: Vec<Vec<Extent>>,
}

#[derive(Debug, Clone)]
pub(super) struct BootSector {
    id: u32,
    label: String,
    pub(super) cluster_bytes: u64,
    /// Where each copy of the allocation table begins.
    pub(super) tables: Vec<u64>,
    /// Whether what is written to one copy belongs into all of them.
    pub(super) mirrored: bool,
    /// The sector that says how much is free, if there is one.
    pub(super) info_offset: Option<u64>,
    pub(super) data_offset: u64,
    pub(super) clusters: u32,
    root: u32,
}

impl<E, F: FnMut(u64, &mut [u8]) -> Result<(), E>> Reader<F> {
    pub(super) fn open(mut read_at: F) -> Result<Self, ReadError<E>> {
        let mut sector = [0; 512];
        read_at(0, &mut sector).map_err(ReadError::Read)?;
        let boot = BootSector::parse(&sector)?;
        let steps_left = u64::from(boot.clusters);
        Ok(Self { read_at, boot, cached: None, steps_left, chains: Vec::new() })
    }

    pub(super) fn read(&mut self) -> Result<Volume, ReadError<E>> {
        let mut entries = Vec::new();
        let mut label = None;
        // Depth, path, first cluster; a stack, so that what is in a directory follows it.
        let mut open = vec![(0, String::new(), self.boot.root)];
        while let Some((depth, path, cluster)) = open.pop() {
            if depth > MOST_DEPTH {
                return Err(VolumeError::TooDeep(path).into());
            }
            let extents = self.chain(cluster, &path)?;
            let listing = self.directory(&extents, &path)?;
            if depth == 0 {
                label = listing.label;
            } else {
                entries.push(Entry { path: path.clone(), kind: Kind::Directory, extents });
            }
            let mut below = Vec::new();
            for record in listing.records {
                let slash = if path.is_empty() { "" } else { "/" };
                let child = format!("{path}{slash}{}", record.name);
                match record.attributes {
                    Attributes::Directory => below.push((depth + 1, child, record.first_cluster)),
                    Attributes::File => entries.push(self.file(child, &record)?),
                }
            }
            open.extend(below.into_iter().rev());
        }
        let BootSector { id, label: boot_label, cluster_bytes, .. } = &self.boot;
        let label = label.unwrap_or_else(|| boot_label.clone());
        Ok(Volume { id: *id, label, cluster_bytes: *cluster_bytes, entries })
    }

    fn file(&mut self, path: String, record: &Record) -> Result<Entry, ReadError<E>> {
        let size = u64::from(record.size);
        let mut extents = match record.first_cluster {
            0 => Vec::new(),
            first => self.chain(first, &path)?,
        };
        let mut left = size;
        for extent in &mut extents {
            extent.length = extent.length.min(left);
            left -= extent.length;
        }
        extents.retain(|extent| extent.length > 0);
        if left > 0 {
            return Err(VolumeError::Chain(path).into());
        }
        Ok(Entry { path, kind: Kind::File(size), extents })
    }

    fn directory(&mut self, extents: &[Extent], path: &str) -> Result<Listing, ReadError<E>> {
        let length = extents.iter().map(|extent| extent.length).sum::<u64>();
        if length > MOST_DIRECTORY_BYTES {
            return Err(VolumeError::Chain(path.to_owned()).into());
        }
        let mut bytes = Vec::new();
        for extent in extents {
            // Bounded above: it fits any address space.
            let mut buffer = vec![0; usize::try_from(extent.length).unwrap_or(0)];
            (self.read_at)(extent.offset, &mut buffer).map_err(ReadError::Read)?;
            bytes.extend(buffer);
        }
        Ok(decode(&bytes))
    }

    /// The extents of the chain that begins at `cluster`.
    fn chain(&mut self, cluster: u32, path: &str) -> Result<Vec<Extent>, ReadError<E>> {
        let damaged = || VolumeError::Chain(path.to_owned());
        let length = self.boot.cluster_bytes;
        let mut extents: Vec<Extent> = Vec::new();
        let mut cluster = cluster;
        // 0x0FFFFFF8 and above end a chain; 0x0FFFFFF7 is a bad cluster, which no chain holds.
        while cluster < 0x0FFF_FFF8 {
            if cluster < 2 || cluster - 2 >= self.boot.clusters {
                return Err(damaged().into());
            }
            self.steps_left = self.steps_left.checked_sub(1).ok_or_else(damaged)?;
            let offset = self.boot.data_offset + u64::from(cluster - 2) * length;
            match extents.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => extents.push(Extent { offset, length }),
            }
            cluster = self.next(cluster)?;
        }
        self.chains.push(extents.clone());
        Ok(extents)
    }

    fn next(&mut self, cluster: u32) -> Result<u32, ReadError<E>> {
        let at = u64::from(cluster) * 4;
        let (sector, within) = (at / SECTOR, (at % SECTOR) as usize);
        let bytes = match &self.cached {
            Some((cached, bytes)) if *cached == sector => *bytes,
            _ => {
                let mut bytes = [0; 512];
                let table = self.boot.tables.first().copied().unwrap_or_default();
                let offset = table + sector * SECTOR;
                (self.read_at)(offset, &mut bytes).map_err(ReadError::Read)?;
                self.cached = Some((sector, bytes));
                bytes
            }
        };
        Ok(u32_at(&bytes, within).unwrap_or(0) & 0x0FFF_FFFF)
    }
}

impl BootSector {
    fn parse(sector: &[u8; 512]) -> Result<Self, VolumeError> {
        let u16_at = |at| u16_at(sector, at).map_or(0, u64::from);
        let u32_at = |at| u32_at(sector, at).unwrap_or(0);
        let (sector_bytes, cluster_sectors) = (u16_at(11), u64::from(sector[13]));
        let (reserved, fats) = (u16_at(14), u64::from(sector[16]));
        let (sectors, table_sectors) = (u64::from(u32_at(32)), u64::from(u32_at(36)));
        // FAT12 and FAT16 have their table's size and the root's length elsewhere.
        let fat32 = u16_at(22) == 0 && u16_at(17) == 0 && u16_at(510) == 0xAA55;
        if !fat32 || sector_bytes != SECTOR || !cluster_sectors.is_power_of_two() {
            return Err(VolumeError::NotFat32);
        }
        let data = reserved + fats * table_sectors;
        if reserved == 0 || !(1..=2).contains(&fats) || data >= sectors {
            return Err(VolumeError::BootSector);
        }
        let clusters = (sectors - data) / cluster_sectors;
        if clusters < LEAST_CLUSTERS {
            return Err(VolumeError::NotFat32);
        }
        if table_sectors * 128 < clusters + 2 {
            return Err(VolumeError::BootSector);
        }
        let label: [u8; 11] = array_at(sector, 71).unwrap_or_default();
        let info = u16_at(48);
        Ok(Self {
            id: u32_at(67),
            label: String::from_utf8_lossy(&label).trim_end().to_owned(),
            cluster_bytes: cluster_sectors * SECTOR,
            tables: (0..fats).map(|copy| (reserved + copy * table_sectors) * SECTOR).collect(),
            mirrored: u16_at(40) & 0x80 == 0,
            info_offset: (1..reserved).contains(&info).then_some(info * SECTOR),
            data_offset: data * SECTOR,
            clusters: u32::try_from(clusters).map_err(|_| VolumeError::BootSector)?,
            root: u32_at(44),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Content, File, Options, Piece, Plan};
    use super::*;

    fn plan(files: Vec<File>) -> Plan {
        let options = Options {
            size: 34 << 20,
            first_lba: 0,
            volume_id: 0xC0FF_EE00,
            label: "ESP".to_owned(),
            epoch: 1_700_000_000,
        };
        Plan::new(&options, files).unwrap()
    }

    /// The volume up to its last byte that is not a hole.
    fn bytes(plan: &Plan) -> Vec<u8> {
        let mut image = Vec::new();
        for segment in plan.segments() {
            if let Piece::Bytes(bytes) = segment.piece {
                image.resize(usize::try_from(segment.offset).unwrap(), 0);
                image.extend(bytes);
            }
        }
        image
    }

    fn file(path: &str, content: &[u8]) -> File {
        File { path: path.to_owned(), alias: None, content: Content::Bytes(content.to_vec()) }
    }

    fn sample() -> Plan {
        plan(vec![
            file("EFI/BOOT/BOOTX64.EFI", &[1; 5000]),
            file("loader/loader.conf", b"timeout 0\n"),
            file("EFI/Linux/2a.efi", &[2; 10_000]),
            file("empty", b""),
        ])
    }

    #[test]
    fn what_was_planned_is_listed_where_it_was_planned() {
        let plan = sample();
        let volume = Volume::parse_bytes(&bytes(&plan)).unwrap();
        assert_eq!((volume.id, volume.label.as_str()), (0xC0FF_EE00, "ESP"));
        let paths: Vec<_> = volume.entries.iter().map(|entry| entry.path.as_str()).collect();
        let expected = [
            "empty",
            "EFI",
            "EFI/BOOT",
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/Linux",
            "EFI/Linux/2a.efi",
            "loader",
            "loader/loader.conf",
        ];
        assert_eq!(paths, expected);
        for path in ["EFI/BOOT/BOOTX64.EFI", "loader/loader.conf", "EFI/Linux/2a.efi"] {
            let extent = plan.file_extent(path).unwrap();
            assert_eq!(volume.entry(path).unwrap().extents, [extent], "{path}");
        }
        let sector = plan.directory_sector("EFI/Linux").unwrap();
        assert_eq!(
            volume.entry("efi/linux").unwrap().extents,
            [Extent { offset: sector, length: 512 }]
        );
        assert_eq!(volume.entry("empty").unwrap().kind, Kind::File(0));
    }

    #[test]
    fn circles_and_ends_that_come_too_early_are_noticed() {
        let plan = sample();
        let image = bytes(&plan);
        let boot = BootSector::parse(image[..512].try_into().unwrap()).unwrap();
        let first = plan.file_extent("EFI/Linux/2a.efi").unwrap().offset;
        let cluster = (first - boot.data_offset) / SECTOR + 2;
        let entry = usize::try_from(boot.tables[0] + cluster * 4).unwrap();
        let error = VolumeError::Chain("EFI/Linux/2a.efi".to_owned());
        for next in [u32::try_from(cluster).unwrap(), 0x0FFF_FFFF, 0, 1, 0x0FFF_FFF7] {
            let mut image = image.clone();
            image[entry..entry + 4].copy_from_slice(&next.to_le_bytes());
            assert_eq!(Volume::parse_bytes(&image), Err(error.clone()), "{next:x}");
        }
    }

    #[test]
    fn a_directory_inside_itself_ends() {
        let plan = sample();
        let mut image = bytes(&plan);
        let boot = BootSector::parse(image[..512].try_into().unwrap()).unwrap();
        let efi = usize::try_from(plan.directory_sector("EFI").unwrap()).unwrap();
        let own = u32::try_from((efi as u64 - boot.data_offset) / SECTOR + 2).unwrap();
        // The record of `BOOT` now names `EFI`.
        image[efi + 64 + 26] = u8::try_from(own).unwrap();
        assert!(matches!(Volume::parse_bytes(&image), Err(VolumeError::TooDeep(_))));
    }

    #[test]
    fn what_is_no_fat32_is_told_from_what_is_damaged() {
        let image = bytes(&sample());
        let parse = |at: usize, value: u8| {
            let mut image = image.clone();
            image[at] = value;
            Volume::parse_bytes(&image).unwrap_err()
        };
        assert_eq!(Volume::parse_bytes(&[]), Err(VolumeError::NotFat32));
        assert_eq!(parse(510, 0), VolumeError::NotFat32);
        assert_eq!(parse(13, 3), VolumeError::NotFat32);
        assert_eq!(parse(13, 64), VolumeError::NotFat32, "too few clusters");
        assert_eq!(parse(14, 0), VolumeError::BootSector);
        assert_eq!(parse(16, 3), VolumeError::BootSector);
        assert_eq!(parse(39, 1), VolumeError::BootSector);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn changed_bytes_do_not_make_the_reader_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let plan = sample();
            let mut image = bytes(&plan);
            let boot = BootSector::parse(image[..512].try_into().unwrap()).unwrap();
            let (table, data) = (boot.tables[0], boot.data_offset);
            // Only bytes that mean something: boot sector, table, directories.
            let places: Vec<u64> =
                (0..96).chain(table..table + 200).chain(data..data + 6 * SECTOR).collect();
            for (index, value) in changes {
                image[usize::try_from(*index.get(&places)).unwrap()] = value;
            }
            drop(Volume::parse_bytes(&image));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            drop(Volume::parse_bytes(&bytes));
        }
    }
}
