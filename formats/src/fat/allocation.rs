//! Which clusters of a volume belong to something, and how the content of one file is replaced. Steps are
//! planned, each of which is flushed before the next: whoever reads the volume after a power cut anywhere in
//! them, and with any part of a step, finds the whole old content or the whole new one, and every other file
//! as it was.
//!
//! What a cut leaves behind are clusters that belong to nothing, and copies of the table that differ. The
//! next replacement begins with mending that; the first copy counts, as for firmware and Linux.

use std::collections::{BTreeMap, BTreeSet};

use super::volume::{ReadError, Reader, Volume, VolumeError};
use super::{Extent, Kind, SECTOR};
use crate::le::{put, u16_at, u32_at};

const SECTOR_BYTES: usize = 512;
const RECORD: usize = 32;
/// Numbers of clusters in a sector of the table.
const ENTRIES: u32 = 128;
/// The first cluster of the data area has this number.
const FIRST: u32 = 2;
const END_OF_CHAIN: u32 = 0x0FFF_FFFF;
const BAD: u32 = 0x0FFF_FFF7;
/// The upper four bits of an entry are not part of its number, and stay what they are.
const NUMBER: u32 = 0x0FFF_FFFF;
/// Sectors of the table that are read at once.
const PIECE: u32 = 128;
/// A volume with more is none for boot loaders, and its tables take long to read: 4 GiB of the least.
const MOST_CLUSTERS: u32 = 1 << 23;
/// Sectors of the table that are mended: more than replacements can leave. What is more is not theirs.
const MOST_MENDED: usize = 1024;

/// Sectors to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// From the volume's start, in bytes: a multiple of 512.
    pub offset: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

/// What may be written in any order. All of it is flushed before the next step begins.
pub type Step = Vec<Write>;

/// Why nothing can be replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError<E> {
    /// The caller's function failed.
    #[error("{0}")]
    Read(E),
    /// The volume is damaged, beyond what a power cut leaves.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// There is no such file, or nothing is in it.
    #[error("there is no file `{0}`")]
    NoFile(String),
    /// It has no size that a file can have.
    #[error("no file can have {0} bytes")]
    Size(usize),
    /// The new content does not fit beside the old one.
    #[error("the new `{path}` takes {needed} bytes beside the old one, and {free} are free")]
    Full {
        /// Which file.
        path: String,
        /// Bytes of its clusters.
        needed: u64,
        /// Bytes of clusters that are free.
        free: u64,
    },
}

impl<E> From<ReadError<E>> for ReplaceError<E> {
    fn from(error: ReadError<E>) -> Self {
        match error {
            ReadError::Read(error) => Self::Read(error),
            ReadError::Volume(error) => Self::Volume(error),
        }
    }
}

/// A volume of which every cluster is accounted for.
pub struct Allocation<F> {
    reader: Reader<F>,
    volume: Volume,
    /// A bit for each cluster that belongs to something, or is bad.
    taken: Vec<u64>,
    free: u64,
    /// Sectors of the table that are not, or not in all copies, what they shall be.
    changed: BTreeMap<u32, [u8; SECTOR_BYTES]>,
}

impl<F> std::fmt::Debug for Allocation<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allocation").field("free", &self.free).finish_non_exhaustive()
    }
}

impl<E, F: FnMut(u64, &mut [u8]) -> Result<(), E>> Allocation<F> {
    /// Reads a volume through `read_at`, as [`Volume::parse`] does, and the whole of its tables.
    ///
    /// # Errors
    /// What `read_at` returns; [`VolumeError`].
    pub fn read(read_at: F) -> Result<Self, ReadError<E>> {
        let mut reader = Reader::open(read_at)?;
        let volume = reader.read()?;
        if reader.boot.clusters > MOST_CLUSTERS {
            return Err(VolumeError::TooLarge(reader.boot.clusters).into());
        }
        if !reader.boot.mirrored {
            return Err(VolumeError::Tables.into());
        }
        let taken = taken(&reader)?;
        let mut allocation = Self { reader, volume, taken, free: 0, changed: BTreeMap::new() };
        allocation.look_at_tables()?;
        Ok(allocation)
    }

    /// What is on it.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// What mends what a replacement has left that was cut off. Nothing, if there is nothing.
    ///
    /// # Errors
    /// What `read_at` returns.
    pub fn mend(mut self) -> Result<Vec<Step>, ReplaceError<E>> {
        let changed = self.changed.keys().copied().collect();
        let steps = vec![self.write_table(&changed), self.tell_free()?];
        Ok(steps.into_iter().filter(|step| !step.is_empty()).collect())
    }

    /// What gives a file another content.
    ///
    /// # Errors
    /// See [`ReplaceError`].
    pub fn replace(mut self, path: &str, content: &[u8]) -> Result<Vec<Step>, ReplaceError<E>> {
        let no_file = || ReplaceError::NoFile(path.to_owned());
        let entry = self.volume.entry(path).filter(|entry| entry.kind != Kind::Directory);
        let begins = entry.and_then(|entry| entry.extents.first()).ok_or_else(no_file)?.offset;
        let size = u32::try_from(content.len()).ok().filter(|size| *size > 0);
        let size = size.ok_or(ReplaceError::Size(content.len()))?;
        let old = self.chain_from(begins).ok_or(VolumeError::Tables)?;
        let new = self.choose(path, u64::from(size))?;

        let mended = self.changed.keys().copied().collect();
        let mend = self.write_table(&mended);
        let filled = self.fill(&new, content);
        let following = new.iter().skip(1).copied().chain([END_OF_CHAIN]);
        let linked = new.iter().copied().zip(following).collect::<Vec<_>>();
        let link = self.set_all(&linked)?;
        let first = new.first().copied().unwrap_or_default();
        let name = self.name(path, begins, (first, size))?;
        let freed: Vec<_> = old.iter().map(|cluster| (*cluster, 0)).collect();
        let free = self.set_all(&freed)?;
        self.free = self.free + old.len() as u64 - new.len() as u64;
        let steps = vec![mend, filled, link, vec![name], free, self.tell_free()?];
        Ok(steps.into_iter().filter(|step| !step.is_empty()).collect())
    }

    /// Finds what is free, what belongs to nothing, and where copies differ.
    fn look_at_tables(&mut self) -> Result<(), ReadError<E>> {
        let entries = self.reader.boot.clusters + FIRST;
        let sectors = entries.div_ceil(ENTRIES);
        let mut copies = vec![Vec::new(); self.reader.boot.tables.len()];
        for start in (0..sectors).step_by(PIECE as usize) {
            let length = PIECE.min(sectors - start) as usize * SECTOR_BYTES;
            for (copy, table) in copies.iter_mut().zip(self.reader.boot.tables.clone()) {
                copy.resize(length, 0);
                let offset = table + u64::from(start) * SECTOR;
                (self.reader.read_at)(offset, copy).map_err(ReadError::Read)?;
            }
            let Some((counts, others)) = copies.split_first() else { continue };
            let (pieces, _) = counts.as_chunks::<SECTOR_BYTES>();
            for ((at, read), sector) in pieces.iter().enumerate().zip(start..) {
                let (want, free) = accounted(&mut self.taken, sector, entries, read);
                self.free += free;
                let place = at * SECTOR_BYTES..(at + 1) * SECTOR_BYTES;
                let differ = others.iter().any(|copy| copy[place.clone()] != want[..]);
                if differ || want != *read {
                    self.changed.insert(sector, want);
                }
            }
            if self.changed.len() > MOST_MENDED {
                return Err(VolumeError::Tables.into());
            }
        }
        Ok(())
    }

    fn offset(&self, cluster: u32) -> u64 {
        let boot = &self.reader.boot;
        boot.data_offset + u64::from(cluster.saturating_sub(FIRST)) * boot.cluster_bytes
    }

    /// The clusters of the chain whose first one stands there.
    fn chain_from(&self, begins: u64) -> Option<Vec<u32>> {
        let first = |chain: &&Vec<Extent>| chain.first().map(|extent| extent.offset);
        let chain = self.reader.chains.iter().find(|chain| first(chain) == Some(begins))?;
        Some(chain.iter().flat_map(|extent| clusters(&self.reader, *extent)).collect())
    }

    /// Free clusters for a content: the first that lie in one piece, else the first.
    fn choose(&self, path: &str, size: u64) -> Result<Vec<u32>, ReplaceError<E>> {
        let cluster = self.reader.boot.cluster_bytes;
        let count = size.div_ceil(cluster);
        if count > self.free {
            let (needed, free) = (count * cluster, self.free * cluster);
            return Err(ReplaceError::Full { path: path.to_owned(), needed, free });
        }
        let all = FIRST..FIRST + self.reader.boot.clusters;
        let is_free = |cluster: &u32| !is_set(&self.taken, *cluster);
        let mut run = 0..0;
        for cluster in all.clone().filter(is_free) {
            if run.end != cluster {
                run.start = cluster;
            }
            run.end = cluster + 1;
            if run.len() as u64 == count {
                return Ok(run.collect());
            }
        }
        let count = usize::try_from(count).map_err(|_| VolumeError::Tables)?;
        Ok(all.filter(is_free).take(count).collect())
    }

    /// The content into clusters; those that are adjacent by one write.
    fn fill(&self, into: &[u32], content: &[u8]) -> Step {
        let length = usize::try_from(self.reader.boot.cluster_bytes).unwrap_or(SECTOR_BYTES);
        let mut step = Step::new();
        for (cluster, piece) in into.iter().zip(content.chunks(length)) {
            let offset = self.offset(*cluster);
            let mut bytes = piece.to_vec();
            bytes.resize(piece.len().next_multiple_of(SECTOR_BYTES), 0);
            append(&mut step, offset, &bytes);
        }
        step
    }

    /// Gives clusters these successors.
    fn set_all(&mut self, entries: &[(u32, u32)]) -> Result<Step, ReplaceError<E>> {
        let mut sectors = BTreeSet::new();
        for (cluster, value) in entries {
            let (sector, at) = place(*cluster);
            let bytes = match self.changed.get_mut(&sector) {
                Some(bytes) => bytes,
                None => {
                    let mut bytes = [0; SECTOR_BYTES];
                    let table = self.reader.boot.tables.first().copied().unwrap_or_default();
                    let offset = table + u64::from(sector) * SECTOR;
                    let read = (self.reader.read_at)(offset, &mut bytes);
                    read.map_err(ReplaceError::Read)?;
                    self.changed.entry(sector).or_insert(bytes)
                }
            };
            let kept = u32_at(bytes, at).unwrap_or_default() & !NUMBER;
            put(bytes, at, (kept | value).to_le_bytes());
            sectors.insert(sector);
        }
        Ok(self.write_table(&sectors))
    }

    /// Sectors of the table into all of its copies, the one that counts last.
    fn write_table(&self, sectors: &BTreeSet<u32>) -> Step {
        let mut step = Step::new();
        for table in self.reader.boot.tables.iter().rev() {
            for sector in sectors {
                if let Some(bytes) = self.changed.get(sector) {
                    append(&mut step, table + u64::from(*sector) * SECTOR, bytes);
                }
            }
        }
        step
    }

    /// The one sector that says where the file begins, with another beginning and size.
    fn name(
        &mut self,
        path: &str,
        begins: u64,
        (cluster, size): (u32, u32),
    ) -> Result<Write, ReplaceError<E>> {
        let directory = path.rsplit_once('/').map(|(directory, _)| directory);
        let extents = match directory {
            None => self.reader.chains.first().cloned(),
            Some(path) => self.volume.entry(path).map(|entry| entry.extents.clone()),
        };
        let sectors = extents.unwrap_or_default().into_iter().flat_map(|extent| {
            (extent.offset..extent.offset + extent.length).step_by(SECTOR_BYTES)
        });
        for offset in sectors {
            let mut bytes = [0; SECTOR_BYTES];
            (self.reader.read_at)(offset, &mut bytes).map_err(ReplaceError::Read)?;
            for at in (0..SECTOR_BYTES).step_by(RECORD) {
                if bytes[at] == 0 {
                    return Err(VolumeError::Tables.into());
                }
                let record = &bytes[at..at + RECORD];
                let known = first_cluster(record);
                if !is_file(record) || known < FIRST || self.offset(known) != begins {
                    continue;
                }
                let [low0, low1, high0, high1] = cluster.to_le_bytes();
                put(&mut bytes, at + 20, [high0, high1]);
                put(&mut bytes, at + 26, [low0, low1]);
                put(&mut bytes, at + 28, size.to_le_bytes());
                return Ok(Write { offset, bytes: bytes.to_vec() });
            }
        }
        Err(VolumeError::Tables.into())
    }

    /// The sector that says how much is free, if it says something else.
    fn tell_free(&mut self) -> Result<Step, ReplaceError<E>> {
        let Some(offset) = self.reader.boot.info_offset else { return Ok(Step::new()) };
        let mut bytes = [0; SECTOR_BYTES];
        (self.reader.read_at)(offset, &mut bytes).map_err(ReplaceError::Read)?;
        let is_info = bytes.starts_with(b"RRaA") && bytes[484..488] == *b"rrAa";
        let free = u32::try_from(self.free).unwrap_or(u32::MAX);
        if !is_info || u32_at(&bytes, 488) == Some(free) {
            return Ok(Step::new());
        }
        put(&mut bytes, 488, free.to_le_bytes());
        Ok(vec![Write { offset, bytes: bytes.to_vec() }])
    }
}

/// A sector of the table in which only what belongs to something is in use, and how many clusters of it
/// are free then. Those that are bad are taken.
fn accounted(
    taken: &mut [u64],
    sector: u32,
    entries: u32,
    read: &[u8; SECTOR_BYTES],
) -> ([u8; SECTOR_BYTES], u64) {
    let (mut want, mut free) = (*read, 0);
    let first = sector * ENTRIES;
    for cluster in first.max(FIRST)..entries.min(first + ENTRIES) {
        let (_, at) = place(cluster);
        let value = u32_at(read, at).unwrap_or_default();
        if is_set(taken, cluster) {
            continue;
        }
        if value & NUMBER == BAD {
            set(taken, cluster);
            continue;
        }
        put(&mut want, at, (value & !NUMBER).to_le_bytes());
        free += 1;
    }
    (want, free)
}

/// The bits of all clusters that belong to a chain.
fn taken<F>(reader: &Reader<F>) -> Result<Vec<u64>, VolumeError> {
    let all = u64::from(reader.boot.clusters) + u64::from(FIRST);
    let words = usize::try_from(all.div_ceil(64)).map_err(|_| VolumeError::BootSector)?;
    let mut taken = vec![0; words];
    for extent in reader.chains.iter().flatten() {
        for cluster in clusters(reader, *extent) {
            if is_set(&taken, cluster) {
                return Err(VolumeError::Shared);
            }
            set(&mut taken, cluster);
        }
    }
    Ok(taken)
}

fn is_set(bits: &[u64], cluster: u32) -> bool {
    bits.get(cluster as usize / 64).is_some_and(|word| word >> (cluster % 64) & 1 == 1)
}

fn set(bits: &mut [u64], cluster: u32) {
    if let Some(word) = bits.get_mut(cluster as usize / 64) {
        *word |= 1 << (cluster % 64);
    }
}

/// The clusters of an extent, which has whole ones.
fn clusters<F>(reader: &Reader<F>, extent: Extent) -> impl Iterator<Item = u32> + use<F> {
    let boot = &reader.boot;
    let first = (extent.offset - boot.data_offset) / boot.cluster_bytes + u64::from(FIRST);
    let count = extent.length / boot.cluster_bytes;
    (first..first + count).filter_map(|cluster| u32::try_from(cluster).ok())
}

/// Where the entry of a cluster stands: the sector of the table, and the place in it.
fn place(cluster: u32) -> (u32, usize) {
    (cluster / ENTRIES, (cluster % ENTRIES) as usize * 4)
}

/// Whether a record names a file: it was not deleted, and is no piece of a long name, no label and no
/// directory.
fn is_file(record: &[u8]) -> bool {
    record[0] != 0xE5 && record[11] & 0x18 == 0
}

fn first_cluster(record: &[u8]) -> u32 {
    let half = |at| u16_at(record, at).map_or(0, u32::from);
    half(20) << 16 | half(26)
}

/// A write, or a longer last one if this follows it.
fn append(step: &mut Step, offset: u64, bytes: &[u8]) {
    match step.last_mut() {
        Some(last) if last.offset + last.bytes.len() as u64 == offset => {
            last.bytes.extend_from_slice(bytes);
        }
        _ => step.push(Write { offset, bytes: bytes.to_vec() }),
    }
}

#[cfg(test)]
mod tests;
