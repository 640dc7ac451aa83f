//! Two disks: the partition tables, then each partition by what is in it.

use std::collections::BTreeMap;
use std::io;

use formats::fat::{Entry, Kind, Volume};
use formats::gpt::{self, Partition, Table};
use formats::tree::Tree;

use super::fields::{self, Field, Shape};
use super::files::{View, first};
use super::place::{Finding, Part};
use super::{content, program, root};
use crate::image::disk::{Role, Slot};

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

/// The superblock of ext4 (Documentation/filesystems/ext4/super.rst), which begins at byte 1024.
const EXT4: [Field; 12] = [
    Field::new("number of inodes", 0, 4, Shape::Number),
    Field::new("number of blocks", 4, 4, Shape::Number),
    Field::new("time of the last mount", 0x2C, 4, Shape::Time),
    Field::new("time of the last write", 0x30, 4, Shape::Time),
    Field::new("time of the last check", 0x40, 4, Shape::Time),
    Field::new("compatible features", 0x5C, 4, Shape::Number),
    Field::new("incompatible features", 0x60, 4, Shape::Number),
    Field::new("UUID", 0x68, 16, Shape::Uuid),
    Field::new("label", 0x78, 16, Shape::Text),
    Field::new("seed of directory hashes", 0xEC, 16, Shape::Uuid),
    Field::new("time of creation", 0x108, 4, Shape::Time),
    Field::new("checksum", 0x3FC, 4, Shape::Checksum),
];

/// All that differs of two disks whose roots have these trees.
pub(super) fn compare(
    one: View<'_>,
    two: View<'_>,
    trees: Option<[&Tree; 2]>,
    most: usize,
) -> io::Result<Vec<Finding>> {
    let head = |view: View<'_>| view.read(0, gpt::HEAD_SECTORS * gpt::SECTOR);
    let (heads, sectors) = ([head(one)?, head(two)?], |view: View<'_>| view.size() / gpt::SECTOR);
    let table = |head: &[u8], view| Table::parse(head, sectors(view));
    let (Ok(first_table), Ok(second_table)) = (table(&heads[0], one), table(&heads[1], two)) else {
        return bytes(one, two, [Part::field("partition table")]);
    };
    let mut found = tables(&first_table, &second_table);
    let within = |found: Vec<Finding>, parts: &[Part]| -> Vec<Finding> {
        found.into_iter().map(|found| found.within(parts.iter().cloned())).collect()
    };
    if found.is_empty() && heads[0] != heads[1] {
        let at = fields::compare(&heads[0], &heads[1], &[]);
        found.extend(within(at, &[Part::field("partition table")]));
    }
    let mut end = 0;
    for (index, partition) in first_table.partitions().iter().enumerate() {
        let Some(other) = second_table.partitions().get(index) else { continue };
        let inner = one.part(partition.offset(), partition.size());
        let outer = two.part(other.offset(), other.size());
        end = end.max(partition.offset() + partition.size());
        if first(inner, outer, 0)?.is_none() {
            continue;
        }
        let name = partition.name.clone();
        let roots = [Role::Root(Slot::A), Role::Root(Slot::B)].map(Role::name);
        let inner = if name == Role::Esp.name() {
            esp(inner, outer)?
        } else if roots.contains(&name.as_str()) {
            root::compare(inner, outer, trees, most)?
        } else if name == Role::State.name() {
            state(inner, outer)?
        } else {
            bytes(inner, outer, [])?
        };
        found.extend(within(inner, &[Part::Partition { name }]));
    }
    // Behind the partitions is the backup of the table, which follows from it.
    if found.is_empty() && first(one, two, end)?.is_some() {
        let (one, two) = (one.part(end, one.size()), two.part(end, two.size()));
        found.extend(bytes(one, two, [Part::field("backup of the partition table")])?);
    }
    if found.is_empty() {
        found.extend(bytes(one, two, [])?);
    }
    Ok(found)
}

/// The first byte that differs.
fn bytes(
    one: View<'_>,
    two: View<'_>,
    within: impl IntoIterator<Item = Part>,
) -> io::Result<Vec<Finding>> {
    let first = first(one, two, 0)?.map(|number| Finding::at([Part::Byte { number }]));
    let parts: Vec<_> = within.into_iter().collect();
    Ok(first.into_iter().map(|found| found.within(parts.clone())).collect())
}

fn tables(one: &Table, two: &Table) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut field = |name: String, one: String, two: String| {
        if one != two {
            let at = Finding::at([Part::field("partition table"), Part::field(name)]);
            found.push(at.values(one, two));
        }
    };
    field("GUID of the disk".into(), one.disk_guid().to_string(), two.disk_guid().to_string());
    let count = |table: &Table| table.partitions().len().to_string();
    field("number of partitions".into(), count(one), count(two));
    for (one, two) in one.partitions().iter().zip(two.partitions()) {
        let name = |what: &str| format!("{what} of {}", one.name);
        field(name("label"), one.name.clone(), two.name.clone());
        field(name("type"), one.type_guid.to_string(), two.type_guid.to_string());
        field(name("GUID"), one.guid.to_string(), two.guid.to_string());
        let range =
            |partition: &Partition| format!("{}-{}", partition.first_lba, partition.last_lba);
        field(name("sectors"), range(one), range(two));
        field(name("attributes"), one.attributes.to_string(), two.attributes.to_string());
    }
    found
}

fn state(one: View<'_>, two: View<'_>) -> io::Result<Vec<Finding>> {
    let superblock = |view: View<'_>| view.read(1024, 1024);
    let found = fields::compare(&superblock(one)?, &superblock(two)?, &EXT4);
    if found.is_empty() {
        return bytes(one, two, []);
    }
    Ok(found.into_iter().map(|found| found.within([Part::field("superblock")])).collect())
}

fn esp(one: View<'_>, two: View<'_>) -> io::Result<Vec<Finding>> {
    let sector = |view: View<'_>| view.read(0, gpt::SECTOR);
    let mut found: Vec<_> = fields::compare(&sector(one)?, &sector(two)?, &BOOT_SECTOR)
        .into_iter()
        .map(|found| found.within([Part::field("boot sector")]))
        .collect();
    let volume = |view: View<'_>| {
        Volume::parse(|offset, buffer: &mut [u8]| {
            let bytes = view.read(offset, buffer.len() as u64)?;
            if bytes.len() != buffer.len() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            buffer.copy_from_slice(&bytes);
            Ok(())
        })
    };
    let (Ok(first_volume), Ok(second_volume)) = (volume(one), volume(two)) else {
        found.extend(bytes(one, two, [])?);
        return Ok(found);
    };
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
    if found.is_empty() {
        found.extend(bytes(one, two, [Part::field("FAT, or room that no file has")])?);
    }
    Ok(found)
}

fn entries(
    (one, first): (View<'_>, &Entry),
    (two, second): (View<'_>, &Entry),
) -> io::Result<Vec<Finding>> {
    let read = |view: View<'_>, entry: &Entry| -> io::Result<Vec<u8>> {
        let pieces = entry.extents.iter().map(|extent| view.read(extent.offset, extent.length));
        Ok(pieces.collect::<io::Result<Vec<_>>>()?.concat())
    };
    let too_large = |entry: &Entry| matches!(entry.kind, Kind::File(size) if size > MOST_FILE);
    if too_large(first) || too_large(second) {
        return Ok(Vec::new());
    }
    let (ones, twos) = (read(one, first)?, read(two, second)?);
    if ones == twos {
        return Ok(Vec::new());
    }
    if first.kind == Kind::Directory {
        return Ok(records(&ones, &twos));
    }
    let inner = program::compare(&ones, &twos);
    if inner.is_empty() {
        return Ok(vec![content::compare(&ones, &twos).within([Part::Content])]);
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
