//! Two EFI system partitions: the boot sector, the files and the records that name them, then what
//! belongs to none.

use std::collections::BTreeMap;
use std::io;

use formats::fat::{Entry, Kind, ReadError, SECTOR, Volume};

use super::disk::bytes;
use super::fields::{self, Field, Shape};
use super::files::{View, first};
use super::place::{Finding, Part};
use super::program;

/// A file of the EFI system partition is read whole: more than this is none of ours.
const MOST_FILE: u64 = 1 << 30;

/// The boot sector of a FAT32 volume, as far as it names the volume.
const BOOT_SECTOR: [Field; 2] = [
    Field::new("volume serial number", 67, 4, Shape::Number),
    Field::new("volume label", 71, 11, Shape::Text),
];

/// A record of a FAT directory.
const RECORD: [Field; 8] = [
    Field::new("short name", 0, 11, Shape::Text),
    Field::new("attributes", 11, 1, Shape::Number),
    Field::new("time of creation", 13, 5, Shape::Number),
    Field::new("time of access", 18, 2, Shape::Number),
    Field::new("first cluster, high", 20, 2, Shape::Number),
    Field::new("time of change", 22, 4, Shape::Number),
    Field::new("first cluster, low", 26, 2, Shape::Number),
    Field::new("size", 28, 4, Shape::Number),
];
const RECORD_BYTES: u64 = 32;

/// A file of an EFI system partition, if it has it: a path from the root, with a `/` before it.
///
/// # Errors
/// Those of the file system.
pub(super) fn file(view: View<'_>, path: &str) -> io::Result<Option<Vec<u8>>> {
    let Ok(volume) = volume(view) else { return Ok(None) };
    let entry = volume.entries.iter().find(|entry| path.strip_prefix('/') == Some(&entry.path));
    entry.filter(|entry| !is_too_large(entry)).map(|entry| content(view, entry)).transpose()
}

fn volume(view: View<'_>) -> Result<Volume, ReadError<io::Error>> {
    Volume::parse(|offset, buffer: &mut [u8]| {
        let bytes = view.read(offset, buffer.len() as u64)?;
        if bytes.len() != buffer.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    })
}

fn is_too_large(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File(size) if size > MOST_FILE)
}

fn content(view: View<'_>, entry: &Entry) -> io::Result<Vec<u8>> {
    let pieces = entry.extents.iter().map(|extent| view.read(extent.offset, extent.length));
    Ok(pieces.collect::<io::Result<Vec<_>>>()?.concat())
}

/// All that differs of two EFI system partitions.
pub(super) fn compare(one: View<'_>, two: View<'_>) -> io::Result<Vec<Finding>> {
    let sector = |view: View<'_>| view.read(0, SECTOR);
    let mut found: Vec<_> = fields::compare(&sector(one)?, &sector(two)?, &BOOT_SECTOR)
        .into_iter()
        .map(|found| found.within([Part::field("boot sector")]))
        .collect();
    let (Ok(first_volume), Ok(second_volume)) = (volume(one), volume(two)) else {
        if found.is_empty() {
            found.extend(bytes(one, two, [])?);
        }
        return Ok(found);
    };
    let cluster = first_volume.cluster_bytes;
    let by_path = |volume: Volume| -> BTreeMap<String, Entry> {
        volume.entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect()
    };
    let (ones, twos) = (by_path(first_volume), by_path(second_volume));
    for path in ones.keys().chain(twos.keys().filter(|path| !ones.contains_key(*path))) {
        let part = Part::path(format!("/{path}"));
        let (Some(first), Some(second)) = (ones.get(path), twos.get(path)) else {
            found.push(Finding::presence(part, ones.contains_key(path)));
            continue;
        };
        let inner = entries((one, first), (two, second))?;
        found.extend(inner.into_iter().map(|found| found.within([part.clone()])));
    }
    if found.is_empty()
        && let Some(byte) = first(one, two, 0)?
    {
        found.push(outside(&sector(one)?, ones.values(), cluster, (byte, [one, two])));
    }
    Ok(found)
}

/// A byte that belongs to no file, by what the boot sector says of the volume ("FAT32 File System
/// Specification" 1.03, section 3).
fn outside<'a>(
    boot: &[u8],
    files: impl Iterator<Item = &'a Entry>,
    cluster: u64,
    (byte, views): (u64, [View<'_>; 2]),
) -> Finding {
    let sizes = views.map(View::size);
    if byte >= sizes[0].min(sizes[1]) {
        return Finding::byte_or_size(byte, sizes);
    }
    let number = |at: usize, size: usize| {
        let bytes = boot.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let reserved = number(14, 2) * SECTOR;
    let table = number(36, 4) * SECTOR;
    let named = |name: &str, start: u64| {
        Finding::at([Part::field(name), Part::Byte { number: byte - start }])
    };
    let (info, backup) = (number(48, 2) * SECTOR, number(50, 2) * SECTOR);
    let within = |start: u64| start > 0 && (start..start + SECTOR).contains(&byte);
    if within(info) {
        return named("FSInfo", info);
    }
    if within(backup) {
        return named("backup of the boot sector", backup);
    }
    if byte < reserved {
        return named("reserved sectors", 0);
    }
    if byte < reserved + number(16, 1) * table {
        let index = (byte - reserved) / table.max(1);
        return named(&format!("FAT {}", index + 1), reserved + index * table);
    }
    let mut parts = Vec::new();
    // Clusters are counted from the first one behind the tables.
    let data = reserved + number(16, 1) * table;
    for file in files {
        let Some(last) = file.extents.last() else { continue };
        let end = last.offset + last.length;
        let room = data + end.saturating_sub(data).next_multiple_of(cluster.max(1));
        if (end..room).contains(&byte) {
            parts.push(Part::path(format!("/{}", file.path)));
            break;
        }
    }
    parts.extend([Part::Padding, Part::Byte { number: byte }]);
    Finding::at(parts)
}

fn entries(
    (one, first): (View<'_>, &Entry),
    (two, second): (View<'_>, &Entry),
) -> io::Result<Vec<Finding>> {
    if is_too_large(first) || is_too_large(second) {
        return Ok(Vec::new());
    }
    let (ones, twos) = (content(one, first)?, content(two, second)?);
    if ones == twos {
        return Ok(Vec::new());
    }
    if first.kind == Kind::Directory {
        return Ok(records(&ones, &twos));
    }
    let inner = program::compare(&ones, &twos);
    if inner.is_empty() {
        return Ok(vec![super::content::compare(&ones, &twos).within([Part::Content])]);
    }
    Ok(inner)
}

/// What differs in the records of a directory.
fn records(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let size = usize::try_from(RECORD_BYTES).unwrap_or(usize::MAX);
    let pairs = one.chunks(size).zip(two.chunks(size)).filter(|(one, two)| one != two);
    let found = pairs.flat_map(|(one, two)| {
        let name = String::from_utf8_lossy(one.get(..11).unwrap_or_default()).into_owned();
        let within = [Part::Names, Part::field(format!("record of {}", name.trim_end()))];
        let found = fields::compare(one, two, &RECORD).into_iter();
        found.map(move |found| found.within(within.clone()))
    });
    found.collect()
}
