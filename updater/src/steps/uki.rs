//! The UKI files in place. The loader does not survive one whose headers are good and whose body is
//! not, and does not list one whose first sector is zero: so that sector goes first, and comes last.

use std::io::{self, Read};

use formats::command_line;
use formats::digest::{Hasher, Sha256};
use formats::fat::Extent;
use formats::uki::Uki;

use crate::device::Device;
use crate::plan::Content;

const SECTOR: usize = 512;
/// Bytes that are read or written at once.
const PIECE: usize = 1 << 20;

/// Whether the loader lists the file: whether it begins as a DOS program does.
pub(super) fn is_listed(device: &impl Device, extent: Extent) -> io::Result<bool> {
    let mut sector = [0; SECTOR];
    device.read_at(extent.offset, &mut sector)?;
    Ok(sector.starts_with(b"MZ"))
}

/// What the file holds.
pub(super) fn content(device: &impl Device, extent: Extent) -> io::Result<Content> {
    let length = usize::try_from(extent.length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    device.read_at(extent.offset, &mut bytes)?;
    Ok(Content { digest: Sha256::of(&bytes), root_hash: root_hash(&bytes) })
}

/// The root hash that a UKI names on its command line.
fn root_hash(bytes: &[u8]) -> Option<Sha256> {
    command_line::root_hash(Uki::parse(bytes).ok()?.text(".cmdline")?).ok()?
}

/// Zeros the first sector, and flushes.
pub(super) fn unlist(device: &mut impl Device, extent: Extent) -> io::Result<()> {
    device.write_at(extent.offset, &[0; SECTOR])?;
    device.flush()
}

/// What is wrong with a UKI that was to be written.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It cannot be read where it comes from.
    Source(io::Error),
    /// It is not the one of the release.
    Digest,
    /// The device fails.
    Device(io::Error),
    /// What is read back is not what was written.
    Lost,
}

/// Writes all but the first sector and flushes. The first sector, for [`list`].
pub(super) fn write_body(
    device: &mut impl Device,
    extent: Extent,
    source: &mut dyn Read,
    digest: Sha256,
) -> Result<[u8; SECTOR], Wrong> {
    let mut head = [0; SECTOR];
    source.read_exact(&mut head).map_err(Wrong::Source)?;
    let mut hasher = Hasher::new();
    hasher.update(head);
    let mut piece = vec![0; PIECE];
    let mut at = SECTOR as u64;
    while at < extent.length {
        let size = usize::try_from(extent.length - at).unwrap_or(PIECE).min(PIECE);
        let piece = &mut piece[..size];
        source.read_exact(piece).map_err(Wrong::Source)?;
        hasher.update(&*piece);
        device.write_at(extent.offset + at, piece).map_err(Wrong::Device)?;
        at += size as u64;
    }
    device.flush().map_err(Wrong::Device)?;
    if hasher.finish() == digest { Ok(head) } else { Err(Wrong::Digest) }
}

/// Writes the first sector, and flushes: from now on the loader lists the file.
pub(super) fn list(
    device: &mut impl Device,
    extent: Extent,
    head: &[u8; SECTOR],
) -> io::Result<()> {
    device.write_at(extent.offset, head)?;
    device.flush()
}

/// That the medium holds the file, whose first sector may not be written yet.
pub(super) fn verify(
    device: &impl Device,
    extent: Extent,
    head: Option<&[u8; SECTOR]>,
    digest: Sha256,
) -> Result<(), Wrong> {
    let mut hasher = Hasher::new();
    let mut at = 0;
    if let Some(head) = head {
        hasher.update(head);
        at = SECTOR as u64;
    }
    let mut piece = vec![0; PIECE];
    while at < extent.length {
        let size = usize::try_from(extent.length - at).unwrap_or(PIECE).min(PIECE);
        let piece = &mut piece[..size];
        device.read_at(extent.offset + at, piece).map_err(Wrong::Device)?;
        hasher.update(&*piece);
        at += size as u64;
    }
    if hasher.finish() == digest { Ok(()) } else { Err(Wrong::Lost) }
}
