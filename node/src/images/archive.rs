//! A tar archive of few files, read where they lie: POSIX ustar, `pax(1)`. Only plain files
//! count; what a header of an extended format says of them is passed over, for no file of an
//! image layout needs one.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Take};

/// One header, and what everything is a multiple of.
const BLOCK: u64 = 512;
/// An archive of an image has some ten files.
const MOST_FILES: usize = 10_000;

/// An archive and where its files are.
#[derive(Debug)]
pub(crate) struct Archive<F> {
    file: F,
    /// By name: where the bytes begin, and how many there are.
    files: BTreeMap<String, (u64, u64)>,
}

impl<F: Read + Seek> Archive<F> {
    /// Reads all headers.
    pub(crate) fn read(mut file: F) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("cannot read it: {error}");
        let length = file.seek(SeekFrom::End(0)).map_err(fail)?;
        let mut files = BTreeMap::new();
        let mut at = 0;
        // Two blocks of zeros end it; so does the end of the file.
        while at + BLOCK <= length {
            file.seek(SeekFrom::Start(at)).map_err(fail)?;
            let mut block = [0; 512];
            file.read_exact(&mut block).map_err(fail)?;
            if block.iter().all(|&byte| byte == 0) {
                break;
            }
            let header = header(&block).ok_or_else(|| format!("no tar header at byte {at}"))?;
            at += BLOCK;
            let end = at.checked_add(header.size).filter(|&end| end <= length);
            let end = end.ok_or_else(|| format!("`{}` is cut short", header.name))?;
            if header.plain_file {
                files.insert(header.name, (at, header.size));
            }
            if files.len() > MOST_FILES {
                return Err("it has too many files".to_owned());
            }
            at = end.next_multiple_of(BLOCK);
        }
        Ok(Self { file, files })
    }

    /// The bytes of a file.
    pub(crate) fn open(&mut self, name: &str) -> Result<Take<&mut F>, String> {
        let &(at, size) = self.files.get(name).ok_or_else(|| format!("it has no `{name}`"))?;
        let seek = self.file.seek(SeekFrom::Start(at));
        seek.map_err(|error| format!("cannot read `{name}`: {error}"))?;
        Ok((&mut self.file).take(size))
    }

    /// The bytes of a small file.
    pub(crate) fn file(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut file = self.open(name)?;
        if file.limit() > limit {
            return Err(format!("`{name}` is longer than {limit} bytes"));
        }
        let size = file.limit();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|error| format!("cannot read `{name}`: {error}"))?;
        if bytes.len() as u64 != size {
            return Err(format!("`{name}` is cut short"));
        }
        Ok(bytes)
    }
}

struct Header {
    name: String,
    size: u64,
    plain_file: bool,
}

/// Name at 0, size at 124, checksum at 148, kind at 156, `ustar` at 257, prefix at 345.
fn header(block: &[u8; 512]) -> Option<Header> {
    let checksum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    if number(&block[148..156])? != checksum {
        return None;
    }
    let name = text(&block[..100]);
    let prefix =
        if block[257..].starts_with(b"ustar\0") { text(&block[345..500]) } else { "".into() };
    let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
    let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
    Some(Header {
        name,
        size: number(&block[124..136])?,
        plain_file: [0, b'0'].contains(&block[156]),
    })
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// Octal digits, with spaces around them or a zero byte behind.
fn number(field: &[u8]) -> Option<u64> {
    let text = text(field);
    u64::from_str_radix(text.trim(), 8).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// An archive of plain files.
    pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            let mut block = [0; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            block[148..156].copy_from_slice(b"        ");
            block[156] = b'0';
            block[257..262].copy_from_slice(b"ustar");
            let checksum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..154].copy_from_slice(format!("{checksum:06o}").as_bytes());
            block[154] = 0;
            bytes.extend_from_slice(&block);
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    #[test]
    fn files_are_found_and_read() {
        let bytes = tar(&[("./index.json", b"{}"), ("blobs/sha256/a", &[7; 600]), ("empty", b"")]);
        let mut archive = Archive::read(Cursor::new(bytes)).expect("an archive");
        assert_eq!(archive.file("blobs/sha256/a", 600), Ok(vec![7; 600]));
        assert_eq!(archive.file("index.json", 600), Ok(b"{}".to_vec()));
        assert_eq!(archive.file("empty", 0), Ok(vec![]));
        let error = archive.file("blobs/sha256/a", 599).expect_err("too long");
        assert_eq!(error, "`blobs/sha256/a` is longer than 599 bytes");
        assert_eq!(archive.file("other", 9), Err("it has no `other`".to_owned()));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let good = tar(&[("a", &[1; 100])]);
        let error = |bytes: &[u8]| Archive::read(Cursor::new(bytes)).expect_err("no archive");
        assert_eq!(error(&good[..520]), "`a` is cut short");
        let mut bad = good.clone();
        bad[0] = b'b';
        assert_eq!(error(&bad), "no tar header at byte 0");
        let archive = Archive::read(Cursor::new(&b""[..])).expect("nothing at all");
        assert!(archive.files.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            noise in prop::collection::vec(any::<u8>(), 0..1200),
            at in 0..700_usize,
            byte in any::<u8>(),
        ) {
            let _ = Archive::read(Cursor::new(&noise));
            let mut bytes = tar(&[("a", &[1; 100])]);
            bytes[at] = byte;
            let _ = Archive::read(Cursor::new(&bytes)).map(|mut archive| archive.file("a", 100));
        }
    }
}
