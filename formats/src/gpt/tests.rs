//! Partition tables: what is written, read, damaged and grown.

use proptest::prelude::*;

use super::*;

/// 1 MiB in sectors.
const MIB: u64 = 2048;

fn partition(digit: u8, name: &str, first_lba: u64, last_lba: u64) -> Partition {
    Partition {
        type_guid: types::LINUX_DATA,
        guid: Guid::from_disk_bytes([digit; 16]),
        name: name.to_owned(),
        first_lba,
        last_lba,
        attributes: attributes::READ_ONLY,
    }
}

fn table() -> Table {
    let partitions =
        vec![partition(1, "first", MIB, 2 * MIB - 1), partition(2, "zwölf", 2 * MIB, 3 * MIB - 1)];
    Table::new(Guid::from_disk_bytes([9; 16]), 4 * MIB, partitions).unwrap()
}

#[test]
fn both_copies_read_back_as_what_was_written() {
    let table = table();
    let encoded = table.encode();
    assert_eq!(encoded.head.len() as u64, HEAD_SECTORS * SECTOR);
    assert_eq!(encoded.tail.len() as u64, TAIL_SECTORS * SECTOR);
    assert_eq!(Table::parse(&encoded.head, table.disk_sectors()), Ok(table.clone()));
    assert_eq!(Table::parse_backup(&encoded.tail, table.disk_sectors()), Ok(table));
}

#[test]
fn a_partition_that_breaks_a_rule_is_refused() {
    let first = partition(1, "first", 2048, 4095);
    let refused = |second: Partition| {
        Table::new(Guid::from_disk_bytes([9; 16]), 4 * MIB, vec![first.clone(), second])
            .unwrap_err()
    };
    let bounds = GptError::OutOfBounds { number: 2, name: "x".to_owned() };
    assert_eq!(refused(partition(2, "x", 33, 40)), bounds);
    assert_eq!(refused(partition(2, "x", 50, 40)), bounds);
    assert_eq!(refused(partition(2, "x", 5000, 4 * MIB - 33)), bounds);
    let overlap = GptError::Overlap { first: 1, second: 2 };
    assert_eq!(refused(partition(2, "x", 4095, 4100)), overlap);
    assert_eq!(refused(partition(2, "x", 40, 7000)), overlap);
    assert_eq!(refused(partition(1, "x", 4096, 4100)), GptError::PartitionGuid(2));
    assert_eq!(refused(partition(0, "x", 4096, 4100)), GptError::PartitionGuid(2));
    assert_eq!(refused(partition(2, "", 4096, 4100)), GptError::Name(2));
    assert_eq!(refused(partition(2, &"n".repeat(37), 4096, 4100)), GptError::Name(2));
    assert_eq!(refused(partition(2, &"😀".repeat(19), 4096, 4100)), GptError::Name(2));
}

#[test]
fn damage_is_told_apart() {
    let table = table();
    let parse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut head = table.encode().head;
        change(&mut head);
        Table::parse(&head, table.disk_sectors()).unwrap_err()
    };
    assert_eq!(parse(&|head| head.truncate(100)), GptError::Truncated(100));
    assert_eq!(parse(&|head| head[510] = 0), GptError::NoProtectiveMbr);
    assert_eq!(parse(&|head| head[450] = 0x83), GptError::NoProtectiveMbr);
    assert_eq!(parse(&|head| head[512] = 0), GptError::NoHeader);
    assert_eq!(parse(&|head| head[512 + 57] ^= 1), GptError::HeaderChecksum);
    assert_eq!(parse(&|head| head[1024] ^= 1), GptError::EntriesChecksum);
    let end = |head: &mut Vec<u8>| head.truncate(1024 + ENTRIES_BYTES - 1);
    assert_eq!(parse(&end), GptError::Truncated(ENTRIES_BYTES - 1));
}

#[test]
fn a_disk_that_lost_its_end_is_refused() {
    let head = table().encode().head;
    let error = GptError::DiskTooSmall { table: 4 * MIB, disk: 4 * MIB - 1 };
    assert_eq!(Table::parse(&head, 4 * MIB - 1), Err(error));
}

#[test]
fn a_hole_among_the_entries_is_refused() {
    let table = table();
    let mut entries = table.encode_entries();
    entries.copy_within(ENTRY_BYTES..2 * ENTRY_BYTES, 3 * ENTRY_BYTES);
    entries[ENTRY_BYTES..2 * ENTRY_BYTES].fill(0);
    let mut head = table.encode_protective_mbr();
    head.extend(table.encode_header(&entries, 1, table.disk_sectors - 1, 2));
    head.extend(&entries);
    assert_eq!(Table::parse(&head, table.disk_sectors), Err(GptError::Gap(2)));
}

#[test]
fn growing_moves_the_end_down_to_the_alignment_and_settles() {
    let mut table = table();
    let size = 100 * MIB + 77;
    let grown = Growth::Grown { index: 1, old_last_lba: 3 * MIB - 1, new_last_lba: 100 * MIB - 1 };
    assert_eq!(table.grow_last(size, MIB), grown);
    assert_eq!(table.disk_sectors(), size);
    assert_eq!(table.partitions()[1].last_lba, 100 * MIB - 1);
    assert_eq!(Table::parse(&table.encode().head, size).as_ref(), Ok(&table));
    assert_eq!(table.grow_last(size, MIB), Growth::Unchanged);
    assert_eq!(table.grow_last(4 * MIB, MIB), Growth::Unchanged, "never shrinks");
}

#[test]
fn the_backup_moves_even_if_the_partition_cannot_grow() {
    let mut table = table();
    let same = Growth::Grown { index: 1, old_last_lba: 3 * MIB - 1, new_last_lba: 3 * MIB - 1 };
    assert_eq!(table.grow_last(4 * MIB + 10, MIB), same);
    assert_eq!(table.encode().tail_offset, (4 * MIB + 10 - TAIL_SECTORS) * SECTOR);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), sectors: u64) {
        prop_assert!(Table::parse(&bytes, sectors).is_err());
        prop_assert!(Table::parse_backup(&bytes, sectors).is_err());
    }

    #[test]
    fn headers_with_a_right_checksum_and_wild_fields_do_not_panic(
        fields in prop::collection::vec(any::<u64>(), 5), sectors: u64,
    ) {
        let mut head = table().encode().head;
        for (at, field) in [24, 32, 40, 48, 72].into_iter().zip(fields) {
            if field % 3 == 0 {
                put(&mut head, 512 + at, field.to_le_bytes());
            }
        }
        put(&mut head, 512 + 16, [0; 4]);
        let checksum = crc32(&head[512..604]);
        put(&mut head, 512 + 16, checksum.to_le_bytes());
        if let Ok(parsed) = Table::parse(&head, sectors) {
            parsed.encode();
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_or_does_not_matter(at in 0_usize..17_408, mask in 1_u8..) {
        let table = table();
        let mut head = table.encode().head;
        head[at] ^= mask;
        if let Ok(parsed) = Table::parse(&head, table.disk_sectors()) {
            prop_assert_eq!(parsed, table);
            prop_assert!(!(512..604).contains(&at) && at < 1024);
        }
    }

    #[test]
    fn growing_keeps_every_rule(grow in 0_u64..10_000_000, alignment in 0_u64..10_000) {
        let mut table = table();
        table.grow_last(4 * MIB + grow, alignment);
        let again = Table::new(table.disk_guid, table.disk_sectors, table.partitions.clone());
        prop_assert_eq!(again.as_ref(), Ok(&table));
        let encoded = table.encode();
        let end = encoded.tail_offset + encoded.tail.len() as u64;
        prop_assert_eq!(end, table.disk_sectors * SECTOR);
    }
}
