//! The directory is read as others leave it, and written in one shape.

use proptest::prelude::*;

use super::super::firmware;
use super::*;

fn record(name: &str, short: &str, cluster: u32) -> Record {
    Record {
        name: name.to_owned(),
        alias: Alias::new(short).unwrap(),
        attributes: Attributes::File,
        first_cluster: cluster,
        size: 40 << 20,
        time: Timestamp::from_epoch(1_700_000_000),
    }
}

fn bytes(records: &[Record]) -> Vec<u8> {
    let mut bytes = encode(7, 3, Timestamp::from_epoch(1_700_000_000), records);
    bytes.resize(SECTOR_BYTES, 0);
    bytes
}

/// As the builder makes it.
fn new_disk() -> Vec<u8> {
    bytes(&[record("1b.efi", "SLOTB", 90_000), record("2a.efi", "SLOTA", 500)])
}

fn names(bytes: &[u8]) -> [String; 2] {
    Directory::parse(bytes).unwrap().names().map(|name| name.to_string())
}

#[test]
fn a_new_disk_is_read_and_renamed_by_one_sector() {
    let directory = Directory::parse(&new_disk()).unwrap();
    assert_eq!(names(&new_disk()), ["2a.efi", "1b.efi"]);
    let [a, b] = directory.names();
    let promoted = directory.renamed(&[a, Name::new(3, Slot::B).counted(3, 0)]);
    let sector = promoted.sector();
    assert_eq!(names(&sector), ["2a.efi", "3b+3.efi"]);
    let listing = decode(&sector);
    assert_eq!((listing.own_cluster, listing.parent_cluster), (Some(7), Some(3)));
    let aliases: Vec<_> = listing.records.iter().map(|one| one.alias.to_string()).collect();
    assert_eq!(aliases, ["SLOTA", "SLOTB"]);
    assert_eq!(promoted.entry(Slot::B).first_cluster, 90_000);
    assert_eq!(promoted.renamed(&[b]), directory);
    assert_eq!(Directory::parse(&sector), Ok(promoted));
}

#[test]
fn what_firmware_leaves_is_read_and_swept_away() {
    let armed = Directory::parse(&new_disk()).unwrap();
    let armed = armed.renamed(&[Name::new(2, Slot::A).counted(3, 0)]);
    let mut bytes = armed.sector().to_vec();
    let mut name = "2a+3.efi".to_owned();
    for boot in 1..=8 {
        let next = name.parse::<Name>().unwrap().started().to_string();
        firmware::rename(&mut bytes, &name, &next);
        name = next;
        let found = Directory::parse(&bytes).unwrap();
        assert_eq!(names(&bytes), [name.as_str(), "1b.efi"]);
        assert_eq!(found.entry(Slot::A).first_cluster, 500);
        // Five renames fit; then the directory has a second sector.
        assert_eq!(bytes.len() > SECTOR_BYTES, boot > 5, "{boot}");
        let swept = found.sector();
        assert_eq!(names(&swept), [name.as_str(), "1b.efi"]);
        assert!(swept[6 * 32..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_rename_of_linux_that_was_cut_off_is_passed_over() {
    let mut bytes = new_disk();
    firmware::torn_rename(&mut bytes, "3b.efi");
    assert_eq!(names(&bytes), ["2a.efi", "1b.efi"]);
}

#[test]
fn a_rename_of_firmware_over_two_sectors_that_was_cut_off_is_passed_over() {
    let names_of = |name: &str| {
        bytes(&[
            record("2a.efi", "SLOTA", 500),
            record("1b.efi", "SLOTB", 900),
            record(name, "X", 900),
        ])
    };
    assert_eq!(names(&names_of("1b+0-5.efi")), ["2a.efi", "1b+0-5.efi"]);
}

#[test]
fn a_foreign_directory_is_refused_with_what_is_foreign() {
    let (a, b) = (record("2a.efi", "SLOTA", 500), record("1b.efi", "SLOTB", 900));
    let said = |records: &[Record]| Directory::parse(&bytes(records)).unwrap_err().to_string();
    assert_eq!(
        said(&[a.clone(), b.clone(), record("fedora.efi", "FEDORA.EFI", 9)]),
        "`fedora.efi` is no boot entry of ours, such as `2a.efi` or `1b+3.efi`"
    );
    assert_eq!(said(std::slice::from_ref(&a)), "slot B has no boot entry");
    assert_eq!(said(std::slice::from_ref(&b)), "slot A has no boot entry");
    let twice = [a.clone(), b.clone(), record("3b.efi", "SLOTC", 901)];
    assert_eq!(said(&twice), "slot B has two boot entries, `1b.efi` and `3b.efi`");
    let one = [a.clone(), record("1b.efi", "SLOTB", 500)];
    assert_eq!(said(&one), "both boot entries are one file");
    let mut below = record("old", "OLD", 5);
    below.attributes = Attributes::Directory;
    assert_eq!(said(&[a, b, below]), "`old` in it is a directory");
    let root = [record("2a.efi", "SLOTA", 500)];
    let headless = &bytes(&root)[64..];
    assert_eq!(Directory::parse(headless), Err(DirectoryError::Head));
    assert_eq!(Directory::parse(&[]), Err(DirectoryError::Head));
}

proptest! {
    #[test]
    fn what_is_read_of_any_bytes_is_written_in_one_shape(
        changes in prop::collection::vec((0_usize..320, any::<u8>()), 0..6),
    ) {
        let mut bytes = new_disk();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(directory) = Directory::parse(&bytes) {
            prop_assert_eq!(Directory::parse(&directory.sector()), Ok(directory));
        }
    }
}
