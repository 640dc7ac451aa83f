//! A record: a header with a checksum, and fields. And which of two records counts.

use super::fields;
use super::{Meta, MetaError, RECORD};
use crate::crc32::crc32;
use crate::le::{put, u16_at, u32_at, u64_at};

/// The form of a record. Fields may come without a new one.
pub(super) const FORM: u16 = 1;

const MAGIC: &[u8; 8] = b"ORLOPMET";
/// Magic, form, nothing, bytes of the fields, sequence, checksum, nothing.
const HEADER: usize = 32;
const CHECKSUM: usize = 24;

/// What two records say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is remembered; nothing on a new disk.
    pub meta: Meta,
    /// The number of the record that counts; 0 on a new disk.
    pub sequence: u64,
    /// Which record that is.
    pub newest: usize,
    /// Whether both records are whole and say the same.
    pub mirrored: bool,
}

impl Found {
    /// Whether nothing was ever written.
    pub fn is_new(&self) -> bool {
        self.sequence == 0
    }
}

/// The record of the two that counts: the one with the higher number of those that are whole.
///
/// Each record is written in turn, so a first write that was torn leaves the other one empty, and the
/// disk is as new as before.
///
/// # Errors
/// See [`MetaError`]. A record that is whole but not understood is never passed over for an older one.
pub fn choose(records: [&[u8]; 2]) -> Result<Found, MetaError> {
    let sequences = records.map(sequence);
    let newest = match sequences {
        [None, None] if records.iter().any(|record| record.iter().all(|byte| *byte == 0)) => {
            return Ok(Found { meta: Meta::default(), sequence: 0, newest: 1, mirrored: false });
        }
        [None, None] => return Err(MetaError::BothDamaged),
        [Some(_), None] => 0,
        [None, Some(_)] => 1,
        [Some(one), Some(two)] => usize::from(two > one),
    };
    let sequence = sequences[newest].unwrap_or_default();
    let meta = decode(records[newest])?;
    Ok(Found { meta, sequence, newest, mirrored: records[0] == records[1] })
}

/// The number of a record that is whole.
fn sequence(record: &[u8]) -> Option<u64> {
    let record = record.get(..RECORD)?;
    let mut copy = record.to_vec();
    put(&mut copy, CHECKSUM, [0; 4]);
    let whole = record.starts_with(MAGIC) && u32_at(record, CHECKSUM) == Some(crc32(&copy));
    whole.then(|| u64_at(record, 16)).flatten().filter(|sequence| *sequence > 0)
}

fn decode(record: &[u8]) -> Result<Meta, MetaError> {
    let form = u16_at(record, 8).ok_or(MetaError::Content("header"))?;
    if form != FORM {
        return Err(MetaError::Form(form));
    }
    let length = u32_at(record, 12).and_then(|length| usize::try_from(length).ok());
    let fields = length.and_then(|length| record.get(HEADER..HEADER.checked_add(length)?));
    fields::decode(fields.ok_or(MetaError::Content("length"))?)
}

pub(super) fn encode(meta: &Meta, sequence: u64) -> Result<Vec<u8>, MetaError> {
    let fields = fields::encode(meta);
    if HEADER + fields.len() > RECORD {
        return Err(MetaError::TooLarge(HEADER + fields.len()));
    }
    let mut record = vec![0; RECORD];
    put(&mut record, 0, *MAGIC);
    put(&mut record, 8, FORM.to_le_bytes());
    let length = u32::try_from(fields.len()).map_err(|_| MetaError::TooLarge(fields.len()))?;
    put(&mut record, 12, length.to_le_bytes());
    put(&mut record, 16, sequence.to_le_bytes());
    record[HEADER..HEADER + fields.len()].copy_from_slice(&fields);
    let checksum = crc32(&record);
    put(&mut record, CHECKSUM, checksum.to_le_bytes());
    Ok(record)
}
