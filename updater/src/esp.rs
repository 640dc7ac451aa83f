//! Where an update writes on the EFI system partition: the sector that is the directory `EFI/Linux`,
//! and the clusters of the two UKI files. Nothing else of it is written, but the boot loader itself if a
//! person asks for that ([`crate::boot_loader`]).

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;

use formats::boot_entries::{Directory, DirectoryError, SECTOR_BYTES, Slot};
use formats::fat::{self, Entry, Extent, Kind, ReadError, Volume, VolumeError};
use formats::gpt::{GptError, SECTOR, Table};

use crate::boot_loader;
use crate::device::Device;

/// Bytes of a partition table at the disk's start: 34 sectors.
const HEAD: usize = 34 * SECTOR_BYTES;

/// The directory of the entries.
pub const ENTRIES: &str = "EFI/Linux";

/// Why nothing can be updated on this disk.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// The device fails.
    #[error("cannot read {what}")]
    Read {
        /// What of it.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no partition table of ours.
    #[error("the disk has no partition table that can be read")]
    Table(#[from] GptError),
    /// A partition is missing.
    #[error("the disk has no partition `{0}`")]
    Partition(&'static str),
    /// The EFI system partition is no FAT32 volume, or damaged.
    #[error("the EFI system partition cannot be read")]
    Volume(#[from] VolumeError),
    /// It was not made by a builder of ours, or was changed since.
    #[error("this is a foreign EFI system partition: {0}")]
    Foreign(String),
    /// The entries are not those of a node.
    #[error("this is a foreign EFI system partition: `{ENTRIES}` is not ours")]
    Directory(#[from] DirectoryError),
}

impl From<ReadError<io::Error>> for EspError {
    fn from(error: ReadError<io::Error>) -> Self {
        match error {
            ReadError::Read(source) => Self::Read { what: "the EFI system partition", source },
            ReadError::Volume(error) => error.into(),
        }
    }
}

/// Where the partitions of a whole disk stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// `ESP`.
    pub esp: Extent,
    /// `META`.
    pub meta: Extent,
    /// `ROOT-A` and `ROOT-B`.
    pub roots: [Extent; 2],
}

/// Finds the partitions of a whole disk by its table.
///
/// # Errors
/// See [`EspError`].
pub fn parts(disk: &impl Device) -> Result<Parts, EspError> {
    let sectors = disk.size() / SECTOR;
    let mut head = vec![0; HEAD];
    let read = disk.read_at(0, &mut head);
    read.map_err(|source| EspError::Read { what: "the partition table", source })?;
    let table = Table::parse(&head, sectors)?;
    let part = |name| {
        let partition = table.partition(name).ok_or(EspError::Partition(name))?;
        Ok::<_, EspError>(Extent { offset: partition.offset(), length: partition.size() })
    };
    Ok(Parts { esp: part("ESP")?, meta: part("META")?, roots: [part("ROOT-A")?, part("ROOT-B")?] })
}

/// Where the entries of a node stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esp {
    // Invariant: not empty. More than one only if firmware has made the directory longer.
    sectors: Vec<u64>,
    // Invariant: of one length, whole sectors.
    ukis: [Extent; 2],
    loader: Vec<Extent>,
}

impl Esp {
    /// Finds the entries on the EFI system partition. Another process may be writing there: what makes no
    /// sense is read again until it stays what it was.
    ///
    /// # Errors
    /// See [`EspError`].
    pub fn find(device: &impl Device) -> Result<Self, EspError> {
        let mut before = None;
        loop {
            let seen = Seen { device, hasher: RefCell::default() };
            let found = Self::look(&seen);
            let read = Some(seen.hasher.into_inner().finish());
            if matches!(found, Ok(_) | Err(EspError::Read { .. })) || read == before {
                return found;
            }
            before = read;
        }
    }

    fn look(device: &Seen<'_, impl Device>) -> Result<Self, EspError> {
        let volume = Volume::parse(|offset, buffer| device.read_at(offset, buffer))?;
        let foreign = |what: &str| EspError::Foreign(what.to_owned());
        let entries = volume.entry(ENTRIES).filter(|entry| entry.kind == Kind::Directory);
        let entries = entries.ok_or_else(|| foreign("there is no `EFI/Linux`"))?;
        let sectors = entries.extents.iter().flat_map(|extent| {
            (extent.offset..extent.offset + extent.length).step_by(SECTOR_BYTES)
        });
        let sectors: Vec<u64> = sectors.collect();
        let directory = read_directory(|offset, buffer| device.read_at(offset, buffer), &sectors)?;
        let [Some(a), Some(b)] = Slot::BOTH.map(|slot| uki(&volume, &directory, slot)) else {
            return Err(foreign("a UKI is not in one piece of whole sectors"));
        };
        if a.length != b.length {
            return Err(foreign("the two UKIs are not of one size"));
        }
        let loader = boot_loader::own_architecture().boot_file();
        let loader = volume.entry(loader).filter(|entry| entry.kind != Kind::Directory);
        let loader = loader.map(|entry| entry.extents.clone()).unwrap_or_default();
        Ok(Self { sectors, ukis: [a, b], loader })
    }

    /// Where the boot loader stands that firmware starts; nowhere if there is none.
    pub fn loader(&self) -> &[Extent] {
        &self.loader
    }

    /// Where the UKI of a slot stands.
    pub fn uki(&self, slot: Slot) -> Extent {
        self.ukis[slot.index()]
    }

    /// Bytes that each UKI has.
    pub fn uki_size(&self) -> u64 {
        self.ukis[0].length
    }

    /// Reads the directory again.
    ///
    /// # Errors
    /// See [`EspError`].
    pub fn directory(&self, device: &impl Device) -> Result<Directory, EspError> {
        read_directory(|offset, buffer| device.read_at(offset, buffer), &self.sectors)
    }

    /// Writes the directory by one write of its sector, and flushes. If firmware has made it longer,
    /// what stands there is swept away afterwards: it lies behind the end.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, device: &mut impl Device, directory: &Directory) -> io::Result<()> {
        let (first, rest) = self.sectors.split_first().ok_or(io::ErrorKind::NotFound)?;
        device.write_at(*first, &directory.sector())?;
        device.flush()?;
        let mut swept = false;
        for sector in rest {
            let mut bytes = [0; SECTOR_BYTES];
            device.read_at(*sector, &mut bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                device.write_at(*sector, &[0; SECTOR_BYTES])?;
                swept = true;
            }
        }
        if swept { device.flush() } else { Ok(()) }
    }
}

/// A device of which is known whether the same was read of it as another time.
struct Seen<'a, D> {
    device: &'a D,
    hasher: RefCell<DefaultHasher>,
}

impl<D: Device> Seen<'_, D> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, buffer)?;
        self.hasher.borrow_mut().write(buffer);
        Ok(())
    }
}

fn read_directory(
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    sectors: &[u64],
) -> Result<Directory, EspError> {
    let mut bytes = vec![0; sectors.len() * SECTOR_BYTES];
    for (piece, sector) in bytes.chunks_mut(SECTOR_BYTES).zip(sectors) {
        read(*sector, piece)
            .map_err(|source| EspError::Read { what: "the directory of boot entries", source })?;
    }
    Ok(Directory::parse(&bytes)?)
}

/// The one extent of a slot's UKI.
fn uki(volume: &Volume, directory: &Directory, slot: Slot) -> Option<Extent> {
    let entry = directory.entry(slot);
    let path = format!("{ENTRIES}/{}", entry.name);
    let same = |file: &&Entry| file.path == path && file.kind == Kind::File(entry.size.into());
    let [extent] = volume.entries.iter().find(same)?.extents[..] else { return None };
    (extent.length > fat::SECTOR && extent.length.is_multiple_of(fat::SECTOR)).then_some(extent)
}
