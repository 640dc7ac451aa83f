//! What a file is, by its first bytes. Its name and address say nothing: download pages and object
//! stores have addresses without a suffix, and some projects have wrong ones.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::http;

/// How many bytes it takes to know.
pub(super) const START: u64 = 512;

/// What is said of a file that is like nothing known.
pub(super) const NOTHING_KNOWN: &str = "no archive that is known";

/// `xz -9` takes 64 MiB for its dictionary, `zstd --ultra -22` 128 MiB.
const XZ_MEMORY_KIB: u32 = 256 * 1024;

/// An archive that we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A tar archive, packed so.
    Tar(Packing),
    /// A zip archive.
    Zip,
}

/// How a file is packed: a tar archive, or an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// The `.xz` file format.
    Xz,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Form {
    /// Of a file that begins so, or what it is instead. A file that can be nothing else may be a
    /// tar archive of the time before they had a mark.
    pub(super) fn of(start: &[u8]) -> Result<Self, &'static str> {
        // A skippable frame of zstd may come first, with one of sixteen marks.
        let skippable =
            start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == *b"\x2a\x4d\x18";
        let known: [(&[u8], Result<Self, &str>); 16] = [
            (b"\x1f\x8b", Ok(Self::Tar(Packing::Gzip))),
            (b"\xfd7zXZ\0", Ok(Self::Tar(Packing::Xz))),
            (b"\x28\xb5\x2f\xfd", Ok(Self::Tar(Packing::Zstd))),
            (b"BZh", Ok(Self::Tar(Packing::Bzip2))),
            (b"PK\x03\x04", Ok(Self::Zip)),
            // An empty one, and one that was cut into parts and is whole after all.
            (b"PK\x05\x06", Ok(Self::Zip)),
            (b"PK00PK\x03\x04", Ok(Self::Zip)),
            (b"7z\xbc\xaf\x27\x1c", Err("a 7-Zip archive")),
            (b"Rar!\x1a\x07", Err("a RAR archive")),
            (b"!<arch>\ndebian-binary", Err("a Debian package")),
            (b"!<arch>\n", Err("an `ar` archive")),
            (b"\xed\xab\xee\xdb", Err("an RPM package")),
            (b"07070", Err("a cpio archive")),
            (b"LZIP", Err("packed with lzip")),
            (b"\x5d\0\0", Err("packed with the old LZMA")),
            (b"\x1f\x9d", Err("packed with `compress`")),
        ];
        let more: [(&[u8], &str); 4] = [
            (b"\x04\x22\x4d\x18", "packed with lz4"),
            (b"\x89LZO", "packed with lzop"),
            (b"\x7fELF", "a program"),
            (b"xar!", "a xar archive"),
        ];
        if let Some((_, form)) = known.iter().find(|(mark, _)| start.starts_with(mark)) {
            return *form;
        }
        if let Some((_, what)) = more.iter().find(|(mark, _)| start.starts_with(mark)) {
            return Err(what);
        }
        match start {
            _ if skippable => Ok(Self::Tar(Packing::Zstd)),
            [] => Err("empty"),
            _ if http::is_web_page(start) => Err("a web page"),
            _ => Ok(Self::Tar(Packing::None)),
        }
    }
}

impl Packing {
    /// What `file` holds, all parts of it if it was packed in several.
    pub(crate) fn reader<'a>(self, file: impl Read + 'a) -> Box<dyn Read + 'a> {
        let file = BufReader::with_capacity(1 << 16, file);
        match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(Gzip { member: Some(GzDecoder::new(file)) }),
            Self::Xz => Box::new(XzReader::new_mem_limit(file, true, XZ_MEMORY_KIB)),
            Self::Zstd => Box::new(Zstd { source: file, frame: None }),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(file)),
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// All members of a gzip file one after the other. Zeros may follow the last, as after a copy from
/// a medium with blocks, and are passed over as `gzip` does.
struct Gzip<R> {
    // None after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let source = self.member.take().map(GzDecoder::into_inner);
            self.member = source.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The member that begins here; none if nothing is left but zeros.
fn next_member<R: BufRead>(mut source: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut padded = false;
    loop {
        let left = source.fill_buf()?;
        let zeros = left.iter().take_while(|byte| **byte == 0).count();
        match left.len() {
            0 => return Ok(None),
            all if zeros < all && (padded || zeros > 0) => {
                return Err(io::Error::other("something follows the zeros at the end of gzip"));
            }
            all if zeros < all => return Ok(Some(GzDecoder::new(source))),
            _ => padded = true,
        }
        source.consume(zeros);
    }
}

/// All frames of a zstd file one after the other; the decoder knows of one alone.
struct Zstd<R> {
    source: R,
    frame: Option<FrameDecoder>,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.frame = begin(&mut self.source)?;
                continue;
            };
            if frame.can_collect() > 0 {
                return frame.read(buffer);
            }
            if !frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                frame.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
                continue;
            }
            let said = frame.get_checksum_from_data();
            if said.is_some() && said != frame.get_calculated_checksum() {
                return Err(io::Error::other("a checksum of zstd is wrong"));
            }
            self.frame = None;
        }
    }
}

/// Reads the header of a frame; passes over a frame that holds no data.
fn begin(source: &mut impl BufRead) -> io::Result<Option<FrameDecoder>> {
    let mut frame = FrameDecoder::new();
    match frame.init(&mut *source) {
        Ok(()) => Ok(Some(frame)),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
            length,
            ..
        })) => {
            let passed = io::copy(&mut source.take(u64::from(length)), &mut io::sink())?;
            if passed < u64::from(length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(None)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
