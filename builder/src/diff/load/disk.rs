//! A disk image or a root image, told from its bytes alone. Of a disk the slot counts that its loader
//! would boot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use formats::architecture::Architecture;
use formats::command_line::CommandLine;
use formats::digest::Sha256;
use formats::fat::{Kind as Entry, ReadError, Volume};
use formats::gpt::Partition;
use formats::uki;

use super::root::Root;
use super::{Loaded, Uki, architecture};
use crate::diff::boot::{Part, parts};
use crate::diff::side::{Kind, Side};
use crate::error::{Context as _, Error, Id, Result};
use crate::image::disk::{Role, Slot, esp};
use crate::image::inspect::is_erofs;
use crate::image::ours;
use crate::regular;

/// As much of the start as it takes to recognise anything.
const HEAD: u64 = 64 << 10;

/// A UKI is read whole: more than this is none of ours.
const MOST_UKI_BYTES: u64 = 1 << 30;

/// What boots of a disk.
struct Boot {
    slot: Slot,
    release: Option<String>,
    command_line: Option<String>,
    architecture: Option<Architecture>,
    parts: BTreeMap<String, Part>,
    uki: Uki,
}

/// The image at `path`.
pub(super) fn image(path: &Path) -> Result<Loaded> {
    let cannot = || format!("cannot read `{}`", path.display());
    let mut file = regular::open_image(path).or_fail(Id::Read, cannot)?;
    // A block device has no length but this.
    let size = file.seek(SeekFrom::End(0)).or_fail(Id::Read, cannot)?;
    let mut head = vec![0; usize::try_from(size.min(HEAD)).unwrap_or_default()];
    file.read_exact_at(&mut head, 0).or_fail(Id::Read, cannot)?;
    let named = path.display().to_string();
    if is_erofs(&head) {
        let mut side = Side::new(named, Kind::Root);
        let root = open(path, 0, size, &mut side)?;
        return Ok(Loaded { root: Some(root), ..Loaded::new(side) });
    }
    let table = ours::table(path, &head, size)?;
    let partition = |role: Role| {
        let found = table.partition(role.name());
        found.ok_or_else(|| Error::new(Id::Bug, "a partition was there a moment ago"))
    };
    let boot = boot(path, &file, partition(Role::Esp)?)?;
    let mut side = Side::new(named, Kind::Disk);
    side.release = boot.release;
    side.command_line = boot.command_line;
    side.architecture = boot.architecture;
    side.boot = Some(boot.parts);
    side.sizes.insert("disk", size);
    // As PID 1 finds it: the slot of the entry, unless the other one alone has its root.
    let line = side.command_line.as_deref();
    let wanted = line.and_then(|line| Some(CommandLine::parse(line).ok()?.root_hash));
    let holds = |slot: &Partition| {
        let root = Root::open(path, slot.offset(), slot.size());
        let hash = root.and_then(|root| root.root_hash(slot.size()));
        wanted.is_some() && hash.is_ok_and(|hash| hash == wanted)
    };
    let [own, other] = [boot.slot, boot.slot.other()].map(|slot| partition(Role::Root(slot)));
    let (own, other) = (own?, other?);
    let slot = if !holds(own) && holds(other) { other } else { own };
    let root = open(path, slot.offset(), slot.size(), &mut side)?;
    Ok(Loaded { root: Some(root), uki: Some(boot.uki), ..Loaded::new(side) })
}

fn open(path: &Path, offset: u64, room: u64, side: &mut Side) -> Result<Root> {
    let root = Root::open(path, offset, room)?;
    side.root_hash = root.root_hash(room)?;
    side.sizes.insert("root", root.superblock.image_size() + root.tree_size());
    root.take(side)?;
    let name = root.superblock.volume_name.clone();
    side.image = side.image.take().or((!name.is_empty()).then_some(name));
    side.architecture = side.architecture.or_else(|| architecture(side));
    Ok(root)
}

/// The entry of the highest generation, which is the one that boots.
fn boot(path: &Path, file: &File, partition: &Partition) -> Result<Boot> {
    let damaged = |what: &str| {
        Error::new(Id::DamagedImage, format!("the ESP of `{}` {what}", path.display()))
    };
    let volume = Volume::parse(|offset, buffer: &mut [u8]| {
        if offset.saturating_add(buffer.len() as u64) > partition.size() {
            return Err(io::Error::other("the file system is larger than its partition"));
        }
        file.read_exact_at(buffer, partition.offset() + offset)
    });
    let volume = volume.map_err(|error| match error {
        ReadError::Read(error) => damaged("cannot be read").caused_by(error),
        ReadError::Volume(error) => damaged("is damaged").caused_by(error),
    })?;
    let generation = |path: &str| -> Option<(u64, Slot)> {
        let name = path.strip_prefix(esp::ENTRIES)?.strip_prefix('/')?;
        let number = name.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()?;
        Some((number, esp::slot(path)?))
    };
    let mut entries: Vec<_> = volume
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, Entry::File(size) if size <= MOST_UKI_BYTES))
        .filter_map(|entry| Some((generation(&entry.path)?, entry)))
        .collect();
    entries.sort_by_key(|((generation, _), _)| std::cmp::Reverse(*generation));
    for ((_, slot), entry) in entries {
        let mut bytes = Vec::new();
        for extent in &entry.extents {
            let start = bytes.len();
            bytes.resize(start + usize::try_from(extent.length).unwrap_or_default(), 0);
            let read = file.read_exact_at(&mut bytes[start..], partition.offset() + extent.offset);
            read.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        }
        // One that an update has not finished has no header, and does not boot.
        let Ok(uki) = uki::Uki::parse(&bytes) else { continue };
        let names = uki.sections().iter().map(|section| section.name.as_str());
        let parts = parts(names.filter_map(|name| Some((name, uki.section(name)?))));
        let text = |name: &str| uki.text(name).map(|text| text.trim().to_owned());
        return Ok(Boot {
            slot,
            release: text(".uname"),
            command_line: text(".cmdline"),
            architecture: machine(&bytes),
            parts,
            uki: Uki::new(padded_from(&bytes), Sha256::of(&bytes)),
        });
    }
    Err(damaged("has no UKI that boots"))
}

/// Bytes of a UKI before the zeros behind it.
fn padded_from(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// What an EFI program runs on (PE format, "COFF file header").
fn machine(bytes: &[u8]) -> Option<Architecture> {
    let at = u32::from_le_bytes(bytes.get(0x3C..0x40)?.try_into().ok()?);
    let at = usize::try_from(at).ok()?.checked_add(4)?;
    let machine = u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?);
    Architecture::ALL.into_iter().find(|architecture| architecture.pe_machine() == machine)
}
