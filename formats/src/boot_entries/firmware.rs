//! What firmware does to a directory when the loader renames an entry, for tests: EDK2's
//! `FatSetFileInfo` deletes the old records, and appends new ones behind the last that was ever used,
//! with a short name that it makes itself. Also what Linux's vfat leaves when it is cut off.
//! `qemu-tests/tests/loader` holds it against the real one, byte by byte.

/// Bytes of a record.
pub(crate) const RECORD: usize = 32;
/// What begins a record that was deleted.
const DELETED: u8 = 0xE5;
/// The day that the firmware's clock shows: 2 January 2030, in the form of FAT.
pub(crate) const DAY: u16 = (2030 - 1980) << 9 | 1 << 5 | 2;

/// Renames in place. The directory grows by a sector when the end is reached.
pub(crate) fn rename(directory: &mut Vec<u8>, old: &str, new: &str) {
    let at = position(directory, old).expect("the entry is there");
    let mut short: [u8; RECORD] = directory[at..][..RECORD].try_into().expect("a record");
    for record in [at - RECORD, at] {
        directory[record] = DELETED;
    }
    // The sum in the long record is made anew then, of a short name that begins with this mark.
    directory[at - RECORD + 13] = sum(&directory[at..][..11]);
    short[..11].copy_from_slice(&made_up(new));
    short[18..20].copy_from_slice(&DAY.to_le_bytes());
    append(directory, new, short);
}

/// The first half of a rename of Linux's vfat: the new name, with an empty file.
#[allow(dead_code, reason = "not every test that shares this module needs both")]
pub(crate) fn torn_rename(directory: &mut Vec<u8>, new: &str) {
    let mut short = [0; RECORD];
    short[..11].copy_from_slice(&made_up(new));
    short[11] = 0x20;
    append(directory, new, short);
}

fn append(directory: &mut Vec<u8>, name: &str, short: [u8; RECORD]) {
    let used = directory.chunks(RECORD).take_while(|record| record[0] != 0).count() * RECORD;
    while directory.len() < used + 2 * RECORD {
        directory.extend([0; 512]);
    }
    directory[used..][..RECORD].copy_from_slice(&long(name, &short[..11]));
    directory[used + RECORD..][..RECORD].copy_from_slice(&short);
}

/// Where the short record of this long name stands.
fn position(directory: &[u8], name: &str) -> Option<usize> {
    let mut records = (0..directory.len()).step_by(RECORD);
    records
        .find(|at| {
            let end = directory.get(at + RECORD..).is_none_or(<[u8]>::is_empty);
            !end && directory[*at..][..RECORD] == long(name, &directory[at + RECORD..][..11])
        })
        .map(|at| at + RECORD)
}

/// One long-name record, for a name of at most 13 characters of ASCII.
fn long(name: &str, short: &[u8]) -> [u8; RECORD] {
    assert!(name.len() <= 13, "{name}");
    let mut record = [0; RECORD];
    (record[0], record[11], record[13]) = (0x41, 0x0F, sum(short));
    let padding = std::iter::once(0).chain(std::iter::repeat(0xFFFF));
    let mut units = name.encode_utf16().chain(padding);
    for at in [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30] {
        let unit = units.next().expect("the padding has no end");
        record[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    record
}

/// What binds a long name to a short one.
fn sum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A short name as firmware makes one: six characters of the long one and a number.
fn made_up(name: &str) -> [u8; 11] {
    let mut short = *b"______~1EFI";
    let stem = name.split('.').next().unwrap_or_default();
    for (to, from) in short.iter_mut().zip(stem.bytes().take(6)) {
        *to = if from == b'+' { b'_' } else { from.to_ascii_uppercase() };
    }
    short
}
