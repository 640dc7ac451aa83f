//! The writer: everything is placed before the first byte is written.

use std::collections::{BTreeMap, BTreeSet};

use super::directory::{encode_root, is_short_character};
use super::{Alias, Attributes, Extent, Record, SECTOR, Timestamp, encode};
use crate::le::put;

const SECTOR_BYTES: usize = 512;
/// The first cluster of the data area has this number.
const FIRST_CLUSTER: u64 = 2;
/// The root directory stands first.
const ROOT_CLUSTER: u32 = 2;
/// Sectors in front of the allocation tables; more if that aligns the data area.
const RESERVED: u64 = 32;
const FATS: u64 = 2;
/// Files of a page or more begin on a multiple of this many clusters (4 KiB), as does the data
/// area: whoever overwrites them need not read what stands around them.
const FILE_ALIGNMENT: u64 = 8;
const END_OF_CHAIN: u32 = 0x0FFF_FFFF;
/// What [`super::LEAST_CLUSTERS`] take with all that is around them.
const LEAST_SIZE: u64 = 34_089_472;
/// Cluster numbers have 28 bits; 2^28 sectors stay below that.
const MOST_SIZE: u64 = 1 << 37;
const BACKUP_BOOT_SECTOR: u8 = 6;

/// The volume as a whole.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes; a multiple of 512.
    pub size: u64,
    /// The sector of the disk at which the volume begins (BPB_HiddSec).
    pub first_lba: u32,
    /// The volume's serial number.
    pub volume_id: u32,
    /// 1 to 11 of `A-Z`, `0-9`, `_`, `-`.
    pub label: String,
    /// The time of all files, in seconds since 1970.
    pub epoch: u64,
}

/// A file to be placed; the directories of its path come into being with it.
#[derive(Debug, Clone)]
pub struct File {
    /// Relative, `/`-separated; found again in any case, as FAT does.
    pub path: String,
    /// The short name, if it must be this one.
    pub alias: Option<Alias>,
    /// What it holds.
    pub content: Content,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes that the caller copies from elsewhere.
    External {
        /// The caller's name for them.
        id: usize,
        /// How many there are.
        size: u64,
    },
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::External { size, .. } => *size,
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// The size cannot be that of a FAT32 volume with 512-byte clusters.
    #[error(
        "{0} bytes cannot be a FAT32 volume: it has whole sectors, {LEAST_SIZE} to {MOST_SIZE} bytes"
    )]
    Size(u64),
    /// The label does not fit the boot sector.
    #[error("`{0}` is not a volume label: use 1 to 11 of A-Z, 0-9, `_` and `-`")]
    Label(String),
    /// A part of the path is no long file name.
    #[error("`{0}` is not a path on a FAT volume")]
    Path(String),
    /// Two files have one path, or a file stands where a directory is needed.
    #[error("`{0}` is there already")]
    Exists(String),
    /// Two files of a directory want one short name.
    #[error("the short name of `{0}` is taken")]
    AliasTaken(String),
    /// A file of 4 GiB or more.
    #[error("`{path}` has {size} bytes: FAT ends at 4 GiB")]
    FileTooLarge {
        /// Which file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// The files do not fit.
    #[error("the files need {needed} bytes, the volume has {available}")]
    Full {
        /// Bytes of clusters that files and directories take.
        needed: u64,
        /// Bytes of clusters that there are.
        available: u64,
    },
}

/// A volume of which every byte has its place.
#[derive(Debug, Clone)]
pub struct Plan {
    geometry: Geometry,
    options: Options,
    label: [u8; 11],
    /// The root first.
    directories: Vec<Directory>,
    files: Vec<Placed>,
    used_clusters: u64,
}

/// A run of bytes to write; runs come in ascending order and cover the volume once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes, from the volume's start, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// What it is.
    pub piece: Piece,
}

/// The content of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zeros: may stay a hole of a sparse file.
    Zeros,
    /// The whole of the file that the caller named so.
    External(usize),
}

#[derive(Debug, Clone)]
struct Geometry {
    reserved: u64,
    fat_sectors: u64,
    clusters: u64,
}

#[derive(Debug, Clone)]
struct Directory {
    parent: usize,
    // By upper-case name, so that the order is fixed and names are unique in any case.
    children: BTreeMap<String, Child>,
    /// Given once all sizes are known.
    first_cluster: u32,
    clusters: u64,
}

#[derive(Debug, Clone)]
struct Child {
    name: String,
    alias: Option<Alias>,
    node: Node,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Directory(usize),
    File(usize),
}

#[derive(Debug, Clone)]
struct Placed {
    content: Content,
    /// `content`'s size, known to fit FAT's field.
    size: u32,
    first_cluster: u32,
    clusters: u64,
}

impl Plan {
    /// Places `files` one behind the other in the order given, directories before them.
    ///
    /// # Errors
    /// See [`FatError`].
    pub fn new(options: &Options, files: Vec<File>) -> Result<Self, FatError> {
        let mut plan = Self {
            geometry: Geometry::new(options.size)?,
            options: options.clone(),
            label: label(&options.label)?,
            directories: vec![Directory::below(0)],
            files: Vec::new(),
            used_clusters: 0,
        };
        for file in files {
            plan.add(file)?;
        }
        for directory in &mut plan.directories {
            directory.name_aliases()?;
        }
        plan.place()?;
        Ok(plan)
    }

    /// Where the content of a file stands.
    pub fn file_extent(&self, path: &str) -> Option<Extent> {
        let Node::File(at) = self.find(path)? else { return None };
        let file = self.files.get(at)?;
        let length = u64::from(file.size);
        let offset = if length == 0 { 0 } else { self.geometry.offset(file.first_cluster) };
        Some(Extent { offset, length })
    }

    /// Where the directory stands, in bytes, if it is one sector and can so be rewritten by one
    /// write.
    pub fn directory_sector(&self, path: &str) -> Option<u64> {
        let Node::Directory(at) = self.find(path)? else { return None };
        let directory = self.directories.get(at)?;
        (directory.clusters == 1).then(|| self.geometry.offset(directory.first_cluster))
    }

    /// The whole volume, in ascending order.
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Segments::default();
        segments.bytes(0, self.boot_sectors());
        let table = self.table();
        for copy in 0..FATS {
            let sector = self.geometry.reserved + copy * self.geometry.fat_sectors;
            segments.bytes(sector * SECTOR, table.clone());
        }
        for (at, directory) in self.directories.iter().enumerate() {
            let bytes = self.encode_directory(at);
            segments.bytes(self.geometry.offset(directory.first_cluster), bytes);
        }
        for file in self.files.iter().filter(|file| file.size > 0) {
            let offset = self.geometry.offset(file.first_cluster);
            match &file.content {
                Content::Bytes(bytes) => segments.bytes(offset, bytes.clone()),
                Content::External { id, size } => {
                    segments.push(offset, *size, Piece::External(*id));
                }
            }
        }
        segments.finish(self.options.size)
    }

    fn add(&mut self, file: File) -> Result<(), FatError> {
        let path = &file.path;
        let size = file.content.size();
        let size =
            u32::try_from(size).map_err(|_| FatError::FileTooLarge { path: path.clone(), size })?;
        let mut directory = 0;
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            check_name(part, path)?;
            let next = self.directories.len();
            let child = Child { name: part.to_owned(), alias: None, node: Node::Directory(next) };
            let children = &mut self.directories[directory].children;
            match children.entry(part.to_uppercase()).or_insert(child).node {
                Node::File(_) => return Err(FatError::Exists(path.clone())),
                Node::Directory(at) => {
                    if at == next {
                        self.directories.push(Directory::below(directory));
                    }
                    directory = at;
                }
            }
        }
        check_name(name, path)?;
        let node = Node::File(self.files.len());
        let child = Child { name: name.to_owned(), alias: file.alias, node };
        let children = &mut self.directories[directory].children;
        if children.insert(name.to_uppercase(), child).is_some() {
            return Err(FatError::Exists(path.clone()));
        }
        let content = file.content;
        self.files.push(Placed { content, size, first_cluster: 0, clusters: 0 });
        Ok(())
    }

    fn place(&mut self) -> Result<(), FatError> {
        let mut next = FIRST_CLUSTER;
        let mut places = Vec::new();
        for at in 0..self.directories.len() {
            let clusters = (self.encode_directory(at).len() as u64).div_ceil(SECTOR);
            places.push((next, clusters));
            next += clusters;
        }
        self.used_clusters = next - FIRST_CLUSTER;
        for file in &self.files {
            let clusters = u64::from(file.size).div_ceil(SECTOR);
            if clusters >= FILE_ALIGNMENT {
                next = (next - FIRST_CLUSTER).next_multiple_of(FILE_ALIGNMENT) + FIRST_CLUSTER;
            }
            places.push((next, clusters));
            next += clusters;
            self.used_clusters += clusters;
        }
        if next - FIRST_CLUSTER > self.geometry.clusters {
            return Err(FatError::Full {
                needed: (next - FIRST_CLUSTER) * SECTOR,
                available: self.geometry.clusters * SECTOR,
            });
        }
        // Cluster numbers have 28 bits: the check above keeps them below the geometry's limit.
        let number = |cluster: u64| u32::try_from(cluster).unwrap_or(END_OF_CHAIN);
        let directories = self.directories.iter_mut();
        let directories = directories.map(|one| (&mut one.first_cluster, &mut one.clusters));
        let files = self.files.iter_mut();
        let files = files.map(|one| (&mut one.first_cluster, &mut one.clusters));
        for ((first, count), (cluster, clusters)) in directories.chain(files).zip(places) {
            (*first, *count) = (if clusters == 0 { 0 } else { number(cluster) }, clusters);
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<Node> {
        let mut node = Node::Directory(0);
        for part in path.split('/') {
            let Node::Directory(at) = node else { return None };
            node = self.directories.get(at)?.children.get(&part.to_uppercase())?.node;
        }
        Some(node)
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_epoch(self.options.epoch)
    }

    fn encode_directory(&self, at: usize) -> Vec<u8> {
        let directory = &self.directories[at];
        let records: Vec<_> = directory
            .children
            .values()
            .filter_map(|child| {
                let (attributes, first_cluster, size) = match child.node {
                    Node::Directory(at) => {
                        (Attributes::Directory, self.directories[at].first_cluster, 0)
                    }
                    Node::File(at) => {
                        let file = &self.files[at];
                        (Attributes::File, file.first_cluster, file.size)
                    }
                };
                let (name, alias) = (child.name.clone(), child.alias?);
                Some(Record { name, alias, attributes, first_cluster, size, time: self.time() })
            })
            .collect();
        if at == 0 {
            return encode_root(self.label, self.time(), &records);
        }
        let parent = match directory.parent {
            0 => 0,
            parent => self.directories[parent].first_cluster,
        };
        encode(directory.first_cluster, parent, self.time(), &records)
    }

    /// One copy of the allocation table, up to the last cluster in use.
    fn table(&self) -> Vec<u8> {
        let mut table = vec![0x0FFF_FFF8_u32, END_OF_CHAIN];
        let directories = self.directories.iter().map(|one| (one.first_cluster, one.clusters));
        let files = self.files.iter().map(|one| (one.first_cluster, one.clusters));
        for (first, clusters) in directories.chain(files).filter(|(_, clusters)| *clusters > 0) {
            table.resize(first as usize, 0);
            table.extend((first + 1..).zip(1..clusters).map(|(next, _)| next));
            table.push(END_OF_CHAIN);
        }
        table.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// The boot sector and the free-space sector, and their copies.
    fn boot_sectors(&self) -> Vec<u8> {
        let mut boot = [0; SECTOR_BYTES];
        put(&mut boot, 0, [0xEB, 0x58, 0x90]);
        put(&mut boot, 3, *b"MSWIN4.1");
        put(&mut boot, 11, 512_u16.to_le_bytes());
        boot[13] = 1;
        put(&mut boot, 14, [self.geometry.reserved.to_le_bytes()[0], 0]);
        boot[16] = 2;
        boot[21] = 0xF8;
        put(&mut boot, 24, 63_u16.to_le_bytes());
        put(&mut boot, 26, 255_u16.to_le_bytes());
        put(&mut boot, 28, self.options.first_lba.to_le_bytes());
        put(&mut boot, 32, low_u32(self.options.size / SECTOR));
        put(&mut boot, 36, low_u32(self.geometry.fat_sectors));
        put(&mut boot, 44, ROOT_CLUSTER.to_le_bytes());
        put(&mut boot, 48, 1_u16.to_le_bytes());
        boot[50] = BACKUP_BOOT_SECTOR;
        boot[64] = 0x80;
        boot[66] = 0x29;
        put(&mut boot, 67, self.options.volume_id.to_le_bytes());
        put(&mut boot, 71, self.label);
        put(&mut boot, 82, *b"FAT32   ");
        // `hlt` for ever: who boots this by BIOS sees nothing instead of a crash.
        put(&mut boot, 90, [0xF4, 0xEB, 0xFD]);
        put(&mut boot, 510, 0xAA55_u16.to_le_bytes());

        let mut info = [0; SECTOR_BYTES];
        put(&mut info, 0, *b"RRaA");
        put(&mut info, 484, *b"rrAa");
        put(&mut info, 488, low_u32(self.geometry.clusters - self.used_clusters));
        put(&mut info, 492, ROOT_CLUSTER.to_le_bytes());
        put(&mut info, 508, 0xAA55_0000_u32.to_le_bytes());

        let backup = usize::from(BACKUP_BOOT_SECTOR) * SECTOR_BYTES;
        let mut sectors = vec![0; backup + 2 * SECTOR_BYTES];
        for at in [0, backup] {
            put(&mut sectors, at, boot);
            put(&mut sectors, at + SECTOR_BYTES, info);
        }
        sectors
    }
}

/// For values that [`Geometry::new`] has bounded.
fn low_u32(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

impl Geometry {
    fn new(size: u64) -> Result<Self, FatError> {
        let sectors = size / SECTOR;
        if !size.is_multiple_of(SECTOR) || !(LEAST_SIZE..=MOST_SIZE).contains(&size) {
            return Err(FatError::Size(size));
        }
        // 128 entries a sector; two entries belong to no cluster.
        let fat_sectors = (sectors - RESERVED + FIRST_CLUSTER).div_ceil(128 + FATS);
        let reserved =
            (RESERVED + FATS * fat_sectors).next_multiple_of(FILE_ALIGNMENT) - FATS * fat_sectors;
        let clusters = sectors - reserved - FATS * fat_sectors;
        Ok(Self { reserved, fat_sectors, clusters })
    }

    fn offset(&self, cluster: u32) -> u64 {
        let sector = self.reserved + FATS * self.fat_sectors + u64::from(cluster) - FIRST_CLUSTER;
        sector * SECTOR
    }
}

impl Directory {
    fn below(parent: usize) -> Self {
        Self { parent, children: BTreeMap::new(), first_cluster: 0, clusters: 0 }
    }

    /// Gives every child a short name: the wanted one, else the name itself in upper case, else
    /// the first `NAME~1.EXT` that is free.
    fn name_aliases(&mut self) -> Result<(), FatError> {
        let mut taken = BTreeSet::new();
        for child in self.children.values().filter(|child| child.alias.is_some()) {
            if !child.alias.is_some_and(|alias| taken.insert(alias)) {
                return Err(FatError::AliasTaken(child.name.clone()));
            }
        }
        for (upper, child) in self.children.iter_mut().filter(|(_, child)| child.alias.is_none()) {
            let plain = Alias::new(upper).ok().filter(|alias| taken.insert(*alias));
            child.alias = plain.or_else(|| {
                let numbered = (1_u32..1_000_000).filter_map(|number| numbered(upper, number));
                numbered.into_iter().find(|alias| taken.insert(*alias))
            });
            if child.alias.is_none() {
                return Err(FatError::AliasTaken(child.name.clone()));
            }
        }
        Ok(())
    }
}

/// `LOADER~1.CON` for `LOADER.CONF` and 1.
fn numbered(upper: &str, number: u32) -> Option<Alias> {
    let short = |text: &str, most: usize| -> String {
        let characters = text.chars().filter(|character| !matches!(character, ' ' | '.'));
        let known = |character: char| {
            u8::try_from(character).ok().filter(|byte| is_short_character(*byte)).map(char::from)
        };
        characters.map(|character| known(character).unwrap_or('_')).take(most).collect()
    };
    let tail = format!("~{number}");
    let upper = upper.trim_start_matches('.');
    let (base, extension) = upper.rsplit_once('.').unwrap_or((upper, ""));
    let (base, extension) = (short(base, 8 - tail.len()), short(extension, 3));
    let dot = if extension.is_empty() { "" } else { "." };
    Alias::new(&format!("{base}{tail}{dot}{extension}")).ok()
}

fn label(text: &str) -> Result<[u8; 11], FatError> {
    let good = (1..=11).contains(&text.len())
        && text.bytes().all(|byte| is_short_character(byte) && byte != b'~');
    if !good {
        return Err(FatError::Label(text.to_owned()));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

fn check_name(name: &str, path: &str) -> Result<(), FatError> {
    let bad = |character: char| character < ' ' || r#""*/:<>?\|"#.contains(character);
    let trimmed = name.trim_end_matches(['.', ' ']).trim_start_matches(' ');
    if name.is_empty()
        || trimmed.len() != name.len()
        || name.encode_utf16().count() > 255
        || name.contains(bad)
        || name.contains('\u{7f}')
    {
        return Err(FatError::Path(path.to_owned()));
    }
    Ok(())
}

/// Collects segments in ascending order and fills what lies between.
#[derive(Default)]
struct Segments {
    segments: Vec<Segment>,
    end: u64,
}

impl Segments {
    fn bytes(&mut self, offset: u64, bytes: Vec<u8>) {
        self.push(offset, bytes.len() as u64, Piece::Bytes(bytes));
    }

    fn push(&mut self, offset: u64, length: u64, piece: Piece) {
        if offset > self.end {
            let zeros =
                Segment { offset: self.end, length: offset - self.end, piece: Piece::Zeros };
            self.segments.push(zeros);
        }
        self.segments.push(Segment { offset, length, piece });
        self.end = offset + length;
    }

    fn finish(mut self, size: u64) -> Vec<Segment> {
        if size > self.end {
            let zeros = Segment { offset: self.end, length: size - self.end, piece: Piece::Zeros };
            self.segments.push(zeros);
        }
        self.segments
    }
}

#[cfg(test)]
mod tests {
    use super::super::LEAST_CLUSTERS;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn options(size: u64) -> Options {
        Options { size, first_lba: 2048, volume_id: 1, label: "ESP".to_owned(), epoch: 0 }
    }

    fn file(path: &str, size: u64) -> File {
        File { path: path.to_owned(), alias: None, content: Content::External { id: 0, size } }
    }

    fn refused(files: Vec<File>) -> FatError {
        Plan::new(&options(64 * MIB), files).unwrap_err()
    }

    #[test]
    fn an_esp_of_128_mib_is_fat32_and_its_data_area_begins_on_a_page() {
        let geometry = Geometry::new(128 * MIB).unwrap();
        assert!(geometry.clusters >= LEAST_CLUSTERS, "{geometry:?}");
        assert!(geometry.fat_sectors * 128 >= geometry.clusters + 2, "{geometry:?}");
        assert_eq!(geometry.offset(2) % 4096, 0);
    }

    #[test]
    fn the_least_size_is_just_enough_to_be_fat32() {
        assert_eq!(Geometry::new(LEAST_SIZE).unwrap().clusters, LEAST_CLUSTERS);
        assert_eq!(
            Geometry::new(LEAST_SIZE - SECTOR).unwrap_err(),
            FatError::Size(LEAST_SIZE - SECTOR)
        );
        assert!(Geometry::new(LEAST_SIZE + 1).is_err());
        let most = Geometry::new(MOST_SIZE).unwrap();
        assert!(most.clusters < 0x0FFF_FFF5 && most.fat_sectors * 128 >= most.clusters + 2);
    }

    #[test]
    fn files_are_contiguous_and_large_ones_begin_on_a_page() {
        let files = vec![file("a", 100), file("EFI/Linux/2a.efi", 5 * MIB), file("b", 0)];
        let plan = Plan::new(&options(64 * MIB), files).unwrap();
        let extent = plan.file_extent("efi/linux/2A.EFI").unwrap();
        assert_eq!((extent.offset % 4096, extent.length), (0, 5 * MIB));
        assert_eq!(plan.file_extent("b"), Some(Extent { offset: 0, length: 0 }));
        assert_eq!(plan.file_extent("EFI/Linux"), None);
        assert_eq!(plan.directory_sector("a"), None);
        let sector = plan.directory_sector("EFI/Linux").unwrap();
        assert_eq!(sector % SECTOR, 0);
        let segments = plan.segments();
        let at = |offset| segments.iter().find(|segment| segment.offset == offset).unwrap();
        assert_eq!(at(extent.offset).piece, Piece::External(0));
        assert_eq!(at(sector).length, 4 * 32);
    }

    #[test]
    fn segments_cover_the_volume_once() {
        let files = vec![file("a", 1), file("d/b", 4096), file("d/c", 513), file("empty", 0)];
        let plan = Plan::new(&options(64 * MIB), files).unwrap();
        let mut end = 0;
        for segment in plan.segments() {
            assert_eq!(segment.offset, end);
            assert!(segment.length > 0);
            end += segment.length;
        }
        assert_eq!(end, 64 * MIB);
    }

    #[test]
    fn a_directory_beyond_a_sector_has_no_single_sector() {
        let files = (0..6).map(|at| file(&format!("d/a name of two pieces {at}"), 0)).collect();
        let plan = Plan::new(&options(64 * MIB), files).unwrap();
        assert_eq!(plan.directory_sector("d"), None);
    }

    #[test]
    fn what_fat_cannot_hold_is_refused() {
        let path = |text: &str| FatError::Path(text.to_owned());
        for text in ["", "a//b", "/a", "a/", ".", "a/..", "a.", "a ", " a", "a:b", "a\u{7}"] {
            assert_eq!(refused(vec![file(text, 1)]), path(text), "{text:?}");
        }
        assert_eq!(refused(vec![file(&"n".repeat(256), 1)]), path(&"n".repeat(256)));
        let exists = |text: &str| FatError::Exists(text.to_owned());
        assert_eq!(refused(vec![file("a", 1), file("A", 1)]), exists("A"));
        assert_eq!(refused(vec![file("a", 1), file("a/b", 1)]), exists("a/b"));
        assert_eq!(refused(vec![file("a/b", 1), file("a", 1)]), exists("a"));
        let alias = Alias::new("X").ok();
        let twins = ["a", "b"].map(|name| File { alias, ..file(name, 1) });
        assert_eq!(refused(twins.to_vec()), FatError::AliasTaken("b".to_owned()));
        let size = 1 << 32;
        let error = FatError::FileTooLarge { path: "a".to_owned(), size };
        assert_eq!(refused(vec![file("a", size)]), error);
        assert!(matches!(refused(vec![file("a", 64 * MIB)]), FatError::Full { .. }));
        for text in ["", "esp", "TWELVE-CHARS", "A B"] {
            let options = Options { label: text.to_owned(), ..options(64 * MIB) };
            assert_eq!(Plan::new(&options, vec![]).unwrap_err(), FatError::Label(text.to_owned()));
        }
    }

    #[test]
    fn short_names_follow_from_long_ones() {
        let mut directory = Directory::below(0);
        for name in ["BOOTX64.EFI", "Linux", "loader.conf", "loader.config", ".hidden", "zwölf.x"]
        {
            let child = Child { name: name.to_owned(), alias: None, node: Node::File(0) };
            directory.children.insert(name.to_uppercase(), child);
        }
        directory.name_aliases().unwrap();
        let alias = |name: &str| directory.children[name].alias.unwrap().to_string();
        assert_eq!(alias("BOOTX64.EFI"), "BOOTX64.EFI");
        assert_eq!(alias("LINUX"), "LINUX");
        assert_eq!(alias("LOADER.CONF"), "LOADER~1.CON");
        assert_eq!(alias("LOADER.CONFIG"), "LOADER~2.CON");
        assert_eq!(alias(".HIDDEN"), "HIDDEN~1");
        assert_eq!(alias("ZWÖLF.X"), "ZW_LF~1.X");
    }
}
