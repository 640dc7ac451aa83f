//! The boot loader itself, which no update touches: it is replaced when a person asks for it, and only by
//! that of the image that runs. There is one of it and nothing to fall back to, so what stands on the EFI
//! system partition is whole at any moment: the new file goes where nothing is, one write of a directory's
//! sector makes it the loader, and then the place of the old one is free.

use std::io;

use formats::architecture::Architecture;
use formats::boot_loader::{BootLoader, BootLoaderError};
use formats::fat::{Allocation, Extent, Kind, ReplaceError, Step};

use crate::device::Device;
use crate::esp::EspError;

/// Where the loader stands too if somebody has installed it there: firmware with an entry of its own for
/// it starts that one.
const INSTALLED: &str = "EFI/systemd/";
/// No loader has more bytes.
const LARGEST: u64 = 16 << 20;

/// The architecture of this machine.
pub fn own_architecture() -> Architecture {
    Architecture::of_machine(std::env::consts::ARCH).unwrap_or(Architecture::MADE)
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Also by an older one, by one whose version cannot be compared, and by one without a signature.
    pub force: bool,
    /// Only to know what would be done.
    pub dry_run: bool,
}

/// Why the loader stays what it is.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// The image's own is none.
    #[error("the boot loader of this image cannot be used")]
    Image(#[source] BootLoaderError),
    /// The EFI system partition cannot be read, or is none of ours.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// There is none.
    #[error("this is a foreign EFI system partition: there is no `{0}`")]
    None(&'static str),
    /// There is another program in its place.
    #[error("`{path}` of the EFI system partition is left alone")]
    Other {
        /// Its path.
        path: String,
        /// What it is.
        source: BootLoaderError,
    },
    /// The image's is older.
    #[error(
        "systemd-boot {offered} of this image is older than {own}, which is installed: `--force` takes \
         it all the same"
    )]
    Older {
        /// The image's version.
        offered: String,
        /// That on the EFI system partition.
        own: String,
    },
    /// Versions that cannot be compared.
    #[error(
        "it cannot be told whether systemd-boot {offered} of this image is older than {own}, which is \
         installed: `--force` takes it all the same"
    )]
    Unordered {
        /// The image's version.
        offered: String,
        /// That on the EFI system partition.
        own: String,
    },
    /// Firmware with Secure Boot would not start it.
    #[error(
        "the boot loader that is installed is signed, and that of this image is not: firmware that looks \
         at signatures would not start it, `--force` takes it all the same"
    )]
    Unsigned,
    /// It does not fit.
    #[error("the EFI system partition has no room: {0}")]
    Full(String),
    /// A device fails.
    #[error("cannot {what}")]
    Io {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// What was written is not what is read.
    #[error("the EFI system partition has not kept the new `{0}`: the old one stays")]
    NotKept(String),
}

/// A loader on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its path.
    pub path: String,
    /// What it says of itself.
    pub loader: BootLoader,
    bytes: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The image's version.
    pub offered: String,
    /// The version that stood there before, of the one that firmware starts by itself.
    pub before: String,
    /// The paths whose files are other ones now, or would be.
    pub replaced: Vec<String>,
}

/// What the loader says of itself that stands in these places of the EFI system partition.
///
/// # Errors
/// See [`LoaderError`].
pub fn installed(device: &impl Device, extents: &[Extent]) -> Result<BootLoader, LoaderError> {
    let path = own_architecture().boot_file();
    if extents.is_empty() {
        return Err(LoaderError::None(path));
    }
    said_by(path, &content(device, path, extents)?)
}

/// Replaces the loaders on an EFI system partition by this one, or says what would be done.
///
/// # Errors
/// See [`LoaderError`]. Whatever it is, each loader is whole, and was replaced or not.
pub fn update(
    device: &mut impl Device,
    offered: &[u8],
    terms: Terms,
) -> Result<Outcome, LoaderError> {
    let own = BootLoader::parse(offered, own_architecture()).map_err(LoaderError::Image)?;
    let all = find(device)?;
    let first = all.first().ok_or(LoaderError::None(own_architecture().boot_file()))?;
    let before = first.loader.version.clone();
    let others: Vec<_> = all.into_iter().filter(|one| one.bytes != offered).collect();
    for one in others.iter().filter(|_| !terms.force) {
        check(&own, &one.loader)?;
    }
    if !terms.dry_run {
        for one in &others {
            replace(device, &one.path, offered)?;
        }
        mend(device)?;
    }
    let replaced = others.into_iter().map(|one| one.path).collect();
    Ok(Outcome { offered: own.version, before, replaced })
}

/// That one loader may take the place of another by itself.
fn check(offered: &BootLoader, own: &BootLoader) -> Result<(), LoaderError> {
    let versions = || (offered.version.clone(), own.version.clone());
    if own.signed && !offered.signed {
        return Err(LoaderError::Unsigned);
    }
    match offered.is_older(own) {
        Some(false) => Ok(()),
        // The same, put together by the same, and signed by somebody else.
        _ if offered.version == own.version => Ok(()),
        Some(true) => {
            let (offered, own) = versions();
            Err(LoaderError::Older { offered, own })
        }
        None => {
            let (offered, own) = versions();
            Err(LoaderError::Unordered { offered, own })
        }
    }
}

/// The loaders that are there, that which firmware starts by itself first.
fn find(device: &impl Device) -> Result<Vec<Installed>, LoaderError> {
    let volume = allocation(device)?.volume().clone();
    let architecture = own_architecture();
    let name = architecture.loader().rsplit('/').next().unwrap_or_default();
    let (first, second) = (architecture.boot_file(), format!("{INSTALLED}{name}"));
    let mut found = Vec::new();
    for path in [first, second.as_str()] {
        let entry = volume.entry(path).filter(|entry| entry.kind != Kind::Directory);
        let Some(entry) = entry.filter(|entry| !entry.extents.is_empty()) else { continue };
        let bytes = content(device, path, &entry.extents)?;
        found.push(Installed { path: path.to_owned(), loader: said_by(path, &bytes)?, bytes });
    }
    match found.first() {
        Some(one) if one.path == first => Ok(found),
        _ => Err(LoaderError::None(first)),
    }
}

fn said_by(path: &str, bytes: &[u8]) -> Result<BootLoader, LoaderError> {
    let other = |source| LoaderError::Other { path: path.to_owned(), source };
    BootLoader::parse(bytes, own_architecture()).map_err(other)
}

fn content(device: &impl Device, path: &str, extents: &[Extent]) -> Result<Vec<u8>, LoaderError> {
    let length = extents.iter().map(|extent| extent.length).sum::<u64>();
    let length = usize::try_from(length.min(LARGEST + 1)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    let mut rest = &mut bytes[..];
    for extent in extents {
        let take = rest.len().min(usize::try_from(extent.length).unwrap_or(usize::MAX));
        let (piece, later) = rest.split_at_mut(take);
        device.read_at(extent.offset, piece).map_err(failed(format!("read `{path}`")))?;
        rest = later;
    }
    if length as u64 > LARGEST {
        let source = BootLoaderError::Other;
        return Err(LoaderError::Other { path: path.to_owned(), source });
    }
    Ok(bytes)
}

fn failed(what: String) -> impl FnOnce(io::Error) -> LoaderError {
    move |source| LoaderError::Io { what, source }
}

type Reading<'d> = Box<dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'd>;

fn allocation(device: &impl Device) -> Result<Allocation<Reading<'_>>, EspError> {
    let read: Reading<'_> = Box::new(|offset, buffer: &mut [u8]| device.read_at(offset, buffer));
    Ok(Allocation::read(read)?)
}

fn planned(steps: Result<Vec<Step>, ReplaceError<io::Error>>) -> Result<Vec<Step>, LoaderError> {
    steps.map_err(|error| match error {
        ReplaceError::Read(source) => failed("read the EFI system partition".to_owned())(source),
        ReplaceError::Volume(error) => EspError::Volume(error).into(),
        full @ (ReplaceError::Full { .. } | ReplaceError::Size(_) | ReplaceError::NoFile(_)) => {
            LoaderError::Full(full.to_string())
        }
    })
}

/// What an earlier one has left that was cut off.
fn mend(device: &mut impl Device) -> Result<(), LoaderError> {
    let steps = planned(allocation(device)?.mend())?;
    for step in steps {
        write(device, &step)?;
    }
    Ok(())
}

fn replace(device: &mut impl Device, path: &str, new: &[u8]) -> Result<(), LoaderError> {
    let steps = planned(allocation(device)?.replace(path, new))?;
    for step in steps {
        write(device, &step)?;
        // Before the next one relies on it.
        for piece in &step {
            let mut kept = vec![0; piece.bytes.len()];
            let what = || format!("read what was written for the new `{path}`");
            device.read_at(piece.offset, &mut kept).map_err(|error| failed(what())(error))?;
            if kept != piece.bytes {
                return Err(LoaderError::NotKept(path.to_owned()));
            }
        }
    }
    Ok(())
}

fn write(device: &mut impl Device, step: &Step) -> Result<(), LoaderError> {
    let what = || "write to the EFI system partition".to_owned();
    for piece in step {
        device.write_at(piece.offset, &piece.bytes).map_err(|error| failed(what())(error))?;
    }
    device.flush().map_err(failed(what()))
}
