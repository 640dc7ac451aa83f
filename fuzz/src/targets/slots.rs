//! What an updater finds on a node's disk.

use formats::boot_entries::{Directory, Name};
use formats::crc32::crc32;
use formats::meta::{RECORD, choose};

pub(crate) fn boot_entries(bytes: &[u8]) {
    if let Ok(directory) = Directory::parse(bytes) {
        assert_eq!(Directory::parse(&directory.sector()), Ok(directory));
    }
    super::text(bytes, |text| {
        if let Ok(name) = text.parse::<Name>() {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    });
}

/// Two records as they are, and one whose checksum is made right.
pub(crate) fn meta(bytes: &[u8]) {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let _ = choose([one, two]);
    let mut record = bytes.to_vec();
    record.resize(RECORD, 0);
    record[24..28].fill(0);
    let checksum = crc32(&record);
    record[24..28].copy_from_slice(&checksum.to_le_bytes());
    let Ok(found) = choose([&record, &[]]) else { return };
    let again = found.meta.record(1).expect("what was read of a record fits into one");
    assert_eq!(choose([&again, &[]]).map(|found| found.meta), Ok(found.meta));
}
