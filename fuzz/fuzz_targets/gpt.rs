//! Partition tables: as they come, and with checksums that are right, which no fuzzer guesses.
//! What is read can be grown and written again.

#![no_main]

use formats::crc32::crc32;
use formats::gpt::{Guid, SECTOR, Table};
use libfuzzer_sys::fuzz_target;

const SECTORS: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let sectors = bytes.len() as u64 / SECTOR;
    let _ = Table::parse(bytes, sectors);
    let _ = Table::parse_backup(bytes, sectors);
    let head = vouched(bytes);
    let Ok(mut table) = Table::parse(&head, SECTORS) else { return };
    table.grow_last(SECTORS + 4096, 2048);
    let head = table.encode().head;
    assert_eq!(Table::parse(&head, table.disk_sectors()), Ok(table));
});

/// The start of an empty disk, its header's fields and its entries replaced by `bytes`.
fn vouched(bytes: &[u8]) -> Vec<u8> {
    let empty = Table::new(Guid::from_uuid_bytes([1; 16]), SECTORS, Vec::new());
    let mut head = empty.expect("an empty table is right").encode().head;
    let (fields, entries) = bytes.split_at(bytes.len().min(16));
    // The usable sectors; the rest of the header has one right value each.
    head[512 + 40..][..fields.len()].copy_from_slice(fields);
    let length = entries.len().min(head.len() - 1024);
    head[1024..][..length].copy_from_slice(&entries[..length]);
    let sum = crc32(&head[1024..]).to_le_bytes();
    head[512 + 88..][..4].copy_from_slice(&sum);
    head[512 + 16..][..4].fill(0);
    let sum = crc32(&head[512..][..92]).to_le_bytes();
    head[512 + 16..][..4].copy_from_slice(&sum);
    head
}
