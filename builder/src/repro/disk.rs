//! Two disks: the partition tables, then each partition by what is in it, then what is in none.

use std::io;

use formats::gpt::{self, Partition, Table};
use formats::tree::Tree;

use super::fields::{self, Field, Shape};
use super::files::{View, first};
use super::place::{Finding, Part};
use super::{esp, root};
use crate::image::disk::{Role, Slot};

/// The header of a partition table (UEFI specification 2.10, 5.3.2), from its sector's start.
const HEADER: [Field; 14] = [
    Field::new("signature", 0, 8, Shape::Text),
    Field::new("revision", 8, 4, Shape::Number),
    Field::new("size of the header", 12, 4, Shape::Number),
    Field::new("checksum", 16, 4, Shape::Checksum),
    Field::new("reserved", 20, 4, Shape::Number),
    Field::new("sector of this header", 24, 8, Shape::Number),
    Field::new("sector of the other header", 32, 8, Shape::Number),
    Field::new("first usable sector", 40, 8, Shape::Number),
    Field::new("last usable sector", 48, 8, Shape::Number),
    Field::new("GUID of the disk", 56, 16, Shape::Text),
    Field::new("sector of the entries", 72, 8, Shape::Number),
    Field::new("number of entries", 80, 4, Shape::Number),
    Field::new("size of an entry", 84, 4, Shape::Number),
    Field::new("checksum of the entries", 88, 4, Shape::Checksum),
];
/// Bytes of an entry.
const ENTRY: usize = 128;

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
        let found = head_bytes(&heads[0], &heads[1]);
        return if found.is_empty() { elsewhere(one, two) } else { Ok(found) };
    };
    let mut found = tables(&first_table, &second_table);
    let within = |found: Vec<Finding>, parts: &[Part]| -> Vec<Finding> {
        found.into_iter().map(|found| found.within(parts.iter().cloned())).collect()
    };
    if found.is_empty() && heads[0] != heads[1] {
        found.extend(head_bytes(&heads[0], &heads[1]));
    }
    for (index, partition) in first_table.partitions().iter().enumerate() {
        let Some(other) = second_table.partitions().get(index) else { continue };
        let inner = one.part(partition.offset(), partition.size());
        let outer = two.part(other.offset(), other.size());
        if first(inner, outer, 0)?.is_none() {
            continue;
        }
        let name = partition.name.clone();
        let roots = [Role::Root(Slot::A), Role::Root(Slot::B)].map(Role::name);
        let inner = if name == Role::Esp.name() {
            esp::compare(inner, outer)?
        } else if roots.contains(&name.as_str()) {
            root::compare(inner, outer, trees, most)?
        } else if name == Role::State.name() {
            state(inner, outer)?
        } else {
            bytes(inner, outer, [])?
        };
        found.extend(within(inner, &[Part::Partition { name }]));
    }
    if found.is_empty() {
        found.extend(elsewhere(one, two)?);
    }
    Ok(found)
}

/// The first byte that differs.
pub(super) fn bytes(
    one: View<'_>,
    two: View<'_>,
    within: impl IntoIterator<Item = Part>,
) -> io::Result<Vec<Finding>> {
    let sizes = [one.size(), two.size()];
    let first = first(one, two, 0)?.map(|number| Finding::byte_or_size(number, sizes));
    let parts: Vec<_> = within.into_iter().collect();
    Ok(first.into_iter().map(|found| found.within(parts.clone())).collect())
}

/// The first byte that differs, which is in no partition: the backup of the table at the end follows
/// from the table, and between partitions nothing is.
fn elsewhere(one: View<'_>, two: View<'_>) -> io::Result<Vec<Finding>> {
    let Some(byte) = first(one, two, 0)? else { return Ok(Vec::new()) };
    let (size, tail) = (one.size(), gpt::TAIL_SECTORS * gpt::SECTOR);
    let found = if byte >= size.min(two.size()) {
        Finding::byte_or_size(byte, [size, two.size()])
    } else if byte >= size.saturating_sub(tail) {
        let number = byte - size.saturating_sub(tail);
        Finding::at([Part::field("backup of the partition table"), Part::Byte { number }])
    } else {
        Finding::at([Part::Padding, Part::Byte { number: byte }])
    };
    Ok(vec![found])
}

/// What differs at the start of two disks: the protective MBR, the header, the entries.
fn head_bytes(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let sector = usize::try_from(gpt::SECTOR).unwrap_or(usize::MAX);
    let part = |bytes: &[u8], from: usize, to: usize| {
        bytes.get(from.min(bytes.len())..to.min(bytes.len())).unwrap_or_default().to_vec()
    };
    let mut found = Vec::new();
    let mut compare = |what: String, range: [usize; 2], table: &[Field]| {
        let [from, to] = range;
        let inner = fields::compare(&part(one, from, to), &part(two, from, to), table);
        let within = [Part::field("partition table"), Part::field(what)];
        found.extend(inner.into_iter().map(|found| found.within(within.clone())));
    };
    compare("protective MBR".into(), [0, sector], &[]);
    compare("header".into(), [sector, 2 * sector], &HEADER);
    let entries = one.len().max(two.len()).saturating_sub(2 * sector).div_ceil(ENTRY);
    for index in 0..entries {
        let from = 2 * sector + index * ENTRY;
        compare(format!("entry {}", index + 1), [from, from + ENTRY], &[]);
    }
    found
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
