//! The writer: everything is placed before the first byte is written.

mod geometry;
mod names;
mod segments;

use std::collections::{BTreeMap, BTreeSet};

use super::directory::encode_root;
use super::{Alias, Attributes, Extent, Record, SECTOR, Timestamp, encode};
use geometry::Geometry;
use names::{check_name, label, numbered};
use segments::Segments;

pub use segments::{Piece, Segment};

/// The first cluster of the data area has this number.
const FIRST_CLUSTER: u64 = 2;
const FATS: u64 = 2;
/// Files of a page or more begin on a multiple of this many clusters (4 KiB), as does the data
/// area: whoever overwrites them need not read what stands around them.
const FILE_ALIGNMENT: u64 = 8;
const END_OF_CHAIN: u32 = 0x0FFF_FFFF;
/// What [`super::LEAST_CLUSTERS`] take with all that is around them.
const LEAST_SIZE: u64 = 34_089_472;
/// Cluster numbers have 28 bits; 2^28 sectors stay below that.
const MOST_SIZE: u64 = 1 << 37;

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
        let Self { geometry, options, label, .. } = self;
        segments.bytes(0, geometry.boot_sectors(options, *label, self.used_clusters));
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

#[cfg(test)]
mod tests;
