//! `sgdisk` judges the partition tables, before and after they were fitted to a larger disk.
#![expect(clippy::disallowed_methods, reason = "judges are outside programs")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use formats::architecture::Architecture;
use formats::gpt::{Growth, Guid, Partition, SECTOR, Table, attributes, types};

/// 1 MiB in sectors.
const MIB: u64 = 2048;

fn sgdisk(arguments: &[&str], disk: &Path) -> String {
    let output = Command::new("sgdisk")
        .args(arguments)
        .arg(disk)
        .output()
        .expect("`sgdisk` is needed: install the package `gdisk`");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

fn assert_clean(disk: &Path) {
    let text = sgdisk(&["-v"], disk);
    assert!(text.contains("No problems found."), "{text}");
    for bad in ["Warning", "Caution", "Problem:", "corrupt", "damaged"] {
        assert!(!text.contains(bad), "{text}");
    }
}

fn write(table: &Table, disk: &File) {
    let encoded = table.encode();
    disk.set_len(table.disk_sectors() * SECTOR).unwrap();
    disk.write_all_at(&encoded.tail, encoded.tail_offset).unwrap();
    disk.write_all_at(&encoded.head, 0).unwrap();
}

fn table() -> Table {
    let partition =
        |digit: u8, type_guid, name: &str, first: u64, last: u64, attributes| Partition {
            type_guid,
            guid: Guid::from_uuid_bytes([digit; 16]),
            name: name.to_owned(),
            first_lba: first * MIB,
            last_lba: last * MIB - 1,
            attributes,
        };
    let partitions = vec![
        partition(1, types::ESP, "ESP", 1, 34, 0),
        partition(2, types::ORLOP_META, "META", 34, 35, 0),
        partition(3, Architecture::Amd64.root_type(), "ROOT-A", 35, 67, attributes::READ_ONLY),
        partition(4, types::LINUX_DATA, "STATE", 67, 83, attributes::GROW_FILE_SYSTEM),
    ];
    Table::new(Guid::from_uuid_bytes([9; 16]), 84 * MIB, partitions).unwrap()
}

#[test]
fn sgdisk_finds_no_problem_before_and_after_the_disk_grew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let disk = File::create_new(&path).unwrap();
    let mut table = table();
    write(&table, &disk);
    assert_clean(&path);
    for sectors in [84 * MIB + 1, 500 * MIB + 1234, 3 * 1024 * 1024 * MIB] {
        disk.set_len(sectors * SECTOR).unwrap();
        assert_ne!(table.grow_last(sectors, MIB), Growth::Unchanged);
        write(&table, &disk);
        assert_clean(&path);
    }
}

#[test]
fn sgdisk_reads_what_we_meant() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    write(&table(), &File::create_new(&path).unwrap());
    let text = sgdisk(&["-i", "3"], &path);
    for line in [
        "Partition GUID code: 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 (Linux x86-64 root (/))",
        "Partition unique GUID: 03030303-0303-0303-0303-030303030303",
        "First sector: 71680 (at 35.0 MiB)",
        "Last sector: 137215 (at 67.0 MiB)",
        "Attribute flags: 1000000000000000",
        "Partition name: 'ROOT-A'",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn we_read_what_sgdisk_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    File::create_new(&path).unwrap().set_len(64 * MIB * SECTOR).unwrap();
    let arguments = ["-U", "09090909-0909-0909-0909-090909090909", "-n", "1:2048:+8M", "-c"];
    sgdisk(
        &[&arguments[..], &["1:alpha", "-n", "2:0:0", "-c", "2:rest", "-t", "2:ef00"]].concat(),
        &path,
    );
    let disk = std::fs::read(&path).unwrap();
    let tail = &disk[disk.len() - 33 * 512..];
    let table = Table::parse(&disk[..34 * 512], 64 * MIB).unwrap();
    assert_eq!(Table::parse_backup(tail, 64 * MIB).as_ref(), Ok(&table));
    assert_eq!(table.disk_guid(), Guid::from_uuid_bytes([9; 16]));
    let [alpha, rest] = table.partitions() else { panic!("{table:?}") };
    assert_eq!((alpha.name.as_str(), alpha.offset(), alpha.size()), ("alpha", 1 << 20, 8 << 20));
    assert_eq!((rest.type_guid, rest.first_lba), (types::ESP, 9 * MIB));
}
