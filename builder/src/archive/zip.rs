//! Zip archives: files stored or deflated, as the list at the end of the archive has them.
//! Format: PKWARE's APPNOTE.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{
    CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipFileHeaderRecord,
};

use super::MAX_MEMBER;
use super::files::{self, Entry, Files};
use crate::error::{Error, Result};

/// A link's target has no more bytes.
const MAX_TARGET: u64 = 4096;

/// The type in a Unix mode.
const TYPE: u32 = 0o170_000;

type Zip = ZipArchive<FileReader>;

/// The list of members; the error is what is wrong.
pub(super) fn list(file: &File) -> std::result::Result<BTreeMap<String, Entry>, String> {
    let mut files = Files::default();
    each(file, |zip, number, record| {
        let entry = entry(zip, number, record)?;
        files.add(record.file_path().as_bytes(), entry);
        Ok(())
    })?;
    Ok(files.into_entries())
}

/// Gives `take` the content of these members.
pub(super) fn read(
    file: &File,
    members: &BTreeSet<usize>,
    bad: &dyn Fn(String) -> Error,
    take: &mut dyn FnMut(usize, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut failed = None;
    let done = each(file, |zip, number, record| {
        if members.contains(&number) && failed.is_none() {
            let mut content = content(zip, record)?;
            failed = take(number, &mut content).err();
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => done.map_err(bad),
    }
}

fn each(
    file: &File,
    mut take: impl FnMut(&Zip, usize, &ZipFileHeaderRecord<'_>) -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let file = file.try_clone().map_err(|error| error.to_string())?;
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let zip = ZipArchive::from_file(file, &mut buffer).map_err(|error| error.to_string())?;
    let mut records = zip.entries(&mut buffer);
    let mut number = 0;
    while let Some(record) = records.next_entry().map_err(|error| error.to_string())? {
        take(&zip, number, &record)?;
        number += 1;
    }
    if number as u64 != zip.entries_hint() {
        return Err("its list of members does not have as many as it says".to_owned());
    }
    Ok(())
}

fn entry(
    zip: &Zip,
    number: usize,
    record: &ZipFileHeaderRecord<'_>,
) -> std::result::Result<Entry, String> {
    let mode = record.mode();
    if record.is_dir() {
        return Ok(Entry::Directory);
    }
    let other = match mode.value() & TYPE {
        _ if record.flags().is_encrypted() => Some("encrypted"),
        0o020_000 | 0o060_000 => Some("a device"),
        0o010_000 => Some("a pipe"),
        0o140_000 => Some("a socket"),
        _ if record.uncompressed_size_hint() > MAX_MEMBER => Some("a file of more than 16 GiB"),
        _ => None,
    };
    if let Some(what) = other {
        return Ok(Entry::Other(what));
    }
    let method = record.compression_method();
    if ![CompressionMethod::STORE, CompressionMethod::DEFLATE].contains(&method) {
        return Ok(Entry::Other("compressed in another way than by deflate"));
    }
    if mode.is_symlink() {
        let mut target = Vec::new();
        let read = content(zip, record)?.take(MAX_TARGET).read_to_end(&mut target);
        read.map_err(|error| error.to_string())?;
        return Ok(files::symlink(target));
    }
    Ok(Entry::File { member: number, executable: mode.value() & 0o100 != 0 })
}

/// What a member holds; reading ends with an error if its checksum is wrong.
fn content<'z>(
    zip: &'z Zip,
    record: &ZipFileHeaderRecord<'_>,
) -> std::result::Result<Box<dyn Read + 'z>, String> {
    let entry = zip.get_entry(record.wayfinder()).map_err(|error| error.to_string())?;
    let packed = BufReader::new(entry.reader());
    Ok(match record.compression_method() {
        CompressionMethod::STORE => Box::new(entry.verifying_reader(packed)),
        _ => Box::new(entry.verifying_reader(DeflateDecoder::new(packed))),
    })
}
