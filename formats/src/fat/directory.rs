//! Directories of a FAT volume: records of 32 bytes, long names before the short ones.
//!
//! Public because the updater rewrites the one sector of `EFI/Linux`: [`decode`], change names,
//! [`encode`].

use std::fmt;

use crate::le::{array_at, put, u16_at, u32_at};

const RECORD: usize = 32;
/// UTF-16 units that one long-name record holds, and where they stand in it.
const UNIT_OFFSETS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const LONG_NAME: u8 = 0x0F;
const VOLUME_LABEL: u8 = 0x08;
const LAST_PIECE: u8 = 0x40;
/// A name has at most 255 units: 20 records.
const MOST_PIECES: u8 = 20;

/// What a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// The short name, which every record has: 8 characters and 3 after the dot, upper case, padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias([u8; 11]);

/// The text cannot be a short name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a short name: use 1 to 8 of A-Z, 0-9, `_`, `-` and `~`, maybe a dot and 1 to 3 more"
)]
pub struct AliasError(String);

impl Alias {
    /// From its usual text, such as `BOOTX64.EFI` or `SLOTA`.
    ///
    /// # Errors
    /// The text is no short name of the characters that need no code page.
    pub fn new(text: &str) -> Result<Self, AliasError> {
        let error = || AliasError(text.to_owned());
        let (base, extension) = match text.split_once('.') {
            Some((_, "")) => return Err(error()),
            Some(parts) => parts,
            None => (text, ""),
        };
        let good = |part: &str| part.bytes().all(is_short_character);
        if base.is_empty() || base.len() > 8 || extension.len() > 3 {
            return Err(error());
        }
        if !good(base) || !good(extension) {
            return Err(error());
        }
        let mut bytes = [b' '; 11];
        bytes[..base.len()].copy_from_slice(base.as_bytes());
        bytes[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
        Ok(Self(bytes))
    }

    /// From its bytes in a record, for who writes them down.
    pub(crate) const fn of_bytes(bytes: [u8; 11]) -> Self {
        Self(bytes)
    }

    /// The checksum that ties long-name records to their short one.
    fn checksum(self) -> u8 {
        self.0.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
    }
}

pub(super) fn is_short_character(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-~".contains(&byte)
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = String::from_utf8_lossy(&self.0[..8]);
        let extension = String::from_utf8_lossy(&self.0[8..]);
        f.write_str(base.trim_end())?;
        match extension.trim_end() {
            "" => Ok(()),
            extension => write!(f, ".{extension}"),
        }
    }
}

/// A moment as FAT keeps it: from 1980 to 2107, in steps of two seconds, taken as UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamp {
    date: u16,
    time: u16,
}

impl Timestamp {
    /// From seconds since 1970, moved to the nearest moment that FAT can express.
    pub fn from_epoch(epoch: u64) -> Self {
        /// 1980-01-01 and 2107-12-31T23:59:58.
        const RANGE: (u64, u64) = (315_532_800, 4_354_819_198);
        let epoch = epoch.clamp(RANGE.0, RANGE.1);
        let (mut day, second) = (epoch / 86_400 - RANGE.0 / 86_400, epoch % 86_400);
        let mut year = 0;
        // 1980 is a leap year; 2100 is not.
        let leap = |year: u64| year.is_multiple_of(4) && year != 120;
        while day >= 365 + u64::from(leap(year)) {
            day -= 365 + u64::from(leap(year));
            year += 1;
        }
        let february = 28 + u64::from(leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if day < length {
                break;
            }
            day -= length;
            month += 1;
        }
        let date = year << 9 | month << 5 | (day + 1);
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        let time = hours << 11 | minutes << 5 | (seconds / 2);
        // Both are below 65,536: 127 years, 23 hours.
        Self {
            date: u16::try_from(date).unwrap_or(u16::MAX),
            time: u16::try_from(time).unwrap_or(u16::MAX),
        }
    }
}

/// One file or directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name that people and the boot loader see.
    pub name: String,
    /// The short name.
    pub alias: Alias,
    /// What it is.
    pub attributes: Attributes,
    /// Where its content begins; 0 for an empty file.
    pub first_cluster: u32,
    /// Bytes; 0 for a directory.
    pub size: u32,
    /// When it was written.
    pub time: Timestamp,
}

impl Record {
    fn encode(&self, bytes: &mut Vec<u8>) {
        if self.name != self.alias.to_string() {
            let units: Vec<u16> = self.name.encode_utf16().collect();
            let pieces = units.chunks(13).zip(1_u8..).collect::<Vec<_>>();
            for (at, (piece, number)) in pieces.iter().rev().enumerate() {
                let mut record = [0; RECORD];
                record[0] = number | if at == 0 { LAST_PIECE } else { 0 };
                record[11] = LONG_NAME;
                record[13] = self.alias.checksum();
                // A name that ends inside its record is closed by one NUL and filled with FFFF.
                let padding = std::iter::once(0).chain(std::iter::repeat(0xFFFF));
                let padded = piece.iter().copied().chain(padding);
                for (offset, unit) in UNIT_OFFSETS.into_iter().zip(padded) {
                    put(&mut record, offset, unit.to_le_bytes());
                }
                bytes.extend(record);
            }
        }
        let attributes = match self.attributes {
            Attributes::Directory => 0x10,
            Attributes::File => 0x20,
        };
        bytes.extend(short(self.alias.0, attributes, self.first_cluster, self.size, self.time));
    }
}

fn short(name: [u8; 11], attributes: u8, cluster: u32, size: u32, time: Timestamp) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    put(&mut record, 0, name);
    record[11] = attributes;
    put(&mut record, 14, time.time.to_le_bytes());
    put(&mut record, 16, time.date.to_le_bytes());
    put(&mut record, 18, time.date.to_le_bytes());
    put(&mut record, 22, time.time.to_le_bytes());
    put(&mut record, 24, time.date.to_le_bytes());
    let [low0, low1, high0, high1] = cluster.to_le_bytes();
    put(&mut record, 20, [high0, high1]);
    put(&mut record, 26, [low0, low1]);
    put(&mut record, 28, size.to_le_bytes());
    record
}

/// The bytes of a directory that is not the root: `.` for `own_cluster`, `..` for
/// `parent_cluster` (0 if the parent is the root), then the records. The rest of its last sector
/// is for the caller to fill with zeros.
pub fn encode(
    own_cluster: u32,
    parent_cluster: u32,
    time: Timestamp,
    records: &[Record],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(short(*b".          ", 0x10, own_cluster, 0, time));
    bytes.extend(short(*b"..         ", 0x10, parent_cluster, 0, time));
    records.iter().for_each(|record| record.encode(&mut bytes));
    bytes
}

/// The bytes of the root directory, which begins with the volume's label.
pub(super) fn encode_root(label: [u8; 11], time: Timestamp, records: &[Record]) -> Vec<u8> {
    let mut bytes = short(label, VOLUME_LABEL, 0, 0, time).to_vec();
    records.iter().for_each(|record| record.encode(&mut bytes));
    bytes
}

/// What a directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The volume's label, if this is the root.
    pub label: Option<String>,
    /// The cluster that `.` names: the directory itself.
    pub own_cluster: Option<u32>,
    /// The cluster that `..` names; 0 stands for the root.
    pub parent_cluster: Option<u32>,
    /// Files and directories in order, without `.` and `..`.
    pub records: Vec<Record>,
}

/// Reads the bytes of a directory. Deleted records and long names that do not belong to the short
/// name behind them are passed over, as every FAT driver does.
pub fn decode(bytes: &[u8]) -> Listing {
    let mut listing = Listing::default();
    let mut long = LongName::default();
    for record in bytes.chunks_exact(RECORD) {
        let attributes = record[11];
        match record[0] {
            0 => break,
            0xE5 => long = LongName::default(),
            _ if attributes & 0x3F == LONG_NAME => long.add(record),
            _ if attributes & VOLUME_LABEL != 0 => {
                listing.label = Some(text(&record[..11]).trim_end().to_owned());
                long = LongName::default();
            }
            first => {
                let Some(decoded) = decode_short(record, &std::mem::take(&mut long)) else {
                    continue;
                };
                match (first, record[1]) {
                    (b'.', b'.') => listing.parent_cluster = Some(decoded.first_cluster),
                    (b'.', _) => listing.own_cluster = Some(decoded.first_cluster),
                    _ => listing.records.push(decoded),
                }
            }
        }
    }
    listing
}

fn decode_short(record: &[u8], long: &LongName) -> Option<Record> {
    let mut alias: [u8; 11] = array_at(record, 0)?;
    // 0xE5 as a first character is kept as 5, for it marks what was deleted.
    if alias[0] == 5 {
        alias[0] = 0xE5;
    }
    let alias = Alias(alias);
    let high = u32::from(u16_at(record, 20)?);
    let low = u32::from(u16_at(record, 26)?);
    let attributes = if record[11] & 0x10 != 0 { Attributes::Directory } else { Attributes::File };
    Some(Record {
        name: long.name(alias).unwrap_or_else(|| alias.to_string()),
        alias,
        attributes,
        first_cluster: high << 16 | low,
        size: u32_at(record, 28)?,
        time: Timestamp { date: u16_at(record, 24)?, time: u16_at(record, 22)? },
    })
}

/// The pieces of a long name as they come: the last one first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    checksum: u8,
    /// The number of the piece that was seen last; 0 before the first.
    number: u8,
}

impl LongName {
    fn add(&mut self, record: &[u8]) {
        let (number, checksum) = (record[0] & !LAST_PIECE, record[13]);
        let first = record[0] & LAST_PIECE != 0;
        if first {
            *self = Self { units: Vec::new(), checksum, number: 0 };
        }
        let in_order = if first { number <= MOST_PIECES } else { number + 1 == self.number };
        if !in_order || number == 0 || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        self.number = number;
        let piece = UNIT_OFFSETS.into_iter().filter_map(|at| u16_at(record, at));
        self.units.splice(0..0, piece);
    }

    fn name(&self, alias: Alias) -> Option<String> {
        if self.number != 1 || self.checksum != alias.checksum() {
            return None;
        }
        let units = self.units.split(|unit| *unit == 0).next()?;
        String::from_utf16(units).ok().filter(|name| !name.is_empty())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(name: &str, alias: &str) -> Record {
        Record {
            name: name.to_owned(),
            alias: Alias::new(alias).unwrap(),
            attributes: Attributes::File,
            first_cluster: 0x1234_5678,
            size: 40 << 20,
            time: Timestamp::from_epoch(1_700_000_000),
        }
    }

    #[test]
    fn a_directory_of_two_slots_is_less_than_one_sector_and_reads_back() {
        let records = [record("2a+3-1.efi", "SLOTA"), record("1b.efi", "SLOTB")];
        let time = Timestamp::from_epoch(1_700_000_000);
        let mut bytes = encode(7, 3, time, &records);
        assert_eq!(bytes.len(), 6 * RECORD);
        bytes.resize(512, 0);
        let listing = decode(&bytes);
        assert_eq!(listing.records, records);
        assert_eq!((listing.own_cluster, listing.parent_cluster), (Some(7), Some(3)));
    }

    #[test]
    fn a_name_of_thirteen_units_fits_one_record_without_an_end_mark() {
        for (name, records) in [("abcdefghi.efi", 2), ("abcdefghij.efi", 3)] {
            let record = record(name, "SLOTA");
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(bytes.len(), records * RECORD);
            assert_eq!(decode(&bytes).records, [record]);
        }
    }

    #[test]
    fn a_long_name_of_another_file_is_not_believed() {
        let mut bytes = Vec::new();
        record("long name.efi", "SLOTA").encode(&mut bytes);
        bytes[RECORD + 4] = b'X';
        assert_eq!(decode(&bytes).records[0].name, "SLOTX");
    }

    #[test]
    fn short_names_have_one_form() {
        for text in ["SLOTA", "BOOTX64.EFI", "A.B", "LOADER~1.CON"] {
            assert_eq!(Alias::new(text).unwrap().to_string(), text);
        }
        for text in ["", ".EFI", "A.", "slota", "NINELONGX", "A.LONG", "A.B.C", "A B", "Ä"] {
            assert_eq!(Alias::new(text), Err(AliasError(text.to_owned())));
        }
    }

    #[test]
    fn moments_are_packed_as_the_specification_says() {
        let packed = |epoch| {
            let Timestamp { date, time } = Timestamp::from_epoch(epoch);
            let date = (u32::from(date >> 9) + 1980, date >> 5 & 15, date & 31);
            (date, (time >> 11, time >> 5 & 63, (time & 31) * 2))
        };
        for (epoch, date, time) in [
            (0, (1980, 1, 1), (0, 0, 0)),
            (315_532_800, (1980, 1, 1), (0, 0, 0)),
            (951_782_400, (2000, 2, 29), (0, 0, 0)),
            (1_700_000_001, (2023, 11, 14), (22, 13, 20)),
            (4_107_542_399, (2100, 2, 28), (23, 59, 58)),
            (4_107_542_400, (2100, 3, 1), (0, 0, 0)),
            (u64::MAX, (2107, 12, 31), (23, 59, 58)),
        ] {
            assert_eq!(packed(epoch), (date, time), "{epoch}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
            decode(&bytes);
        }

        #[test]
        fn long_name_records_in_any_order_do_not_panic(
            pieces in prop::collection::vec((any::<u8>(), any::<u8>(), 0_u8..2), 0..40),
        ) {
            let mut bytes = Vec::new();
            for (number, unit, checksum) in pieces {
                let mut record = [unit; RECORD];
                (record[0], record[11], record[13]) = (number, LONG_NAME, checksum);
                bytes.extend(record);
            }
            record("x y", "SLOTA").encode(&mut bytes);
            prop_assert!(decode(&bytes).records.len() <= 1);
        }
    }
}
