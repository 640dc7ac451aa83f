//! Reads tar archives as GNU tar does: v7, ustar, GNU and pax, with long names, base-256 numbers,
//! global records and every form of sparse files, whose content comes out expanded.
//!
//! Formats: IEEE Std 1003.1 ("pax", "ustar Interchange Format"), and the chapters "Basic Tar
//! Format" and "Storing Sparse Files" of GNU tar's manual. What GNU tar would refuse or only
//! guess at is an error here. Nothing is guessed: a header whose checksum is wrong ends the
//! reading, whatever follows it.

mod header;
mod pax;
mod sparse;

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::BLOCK;
use header::{Header, Kind as Type};
use pax::Records;
use sparse::Map;

/// No header that only describes the next member has more bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// A member: everything but its content, which [`Reader`] gives as long as it is the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path as it is written, not necessarily text.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content, holes included; 0 for all but files.
    pub size: u64,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Extended attributes by name, from `SCHILY.xattr` records.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(Vec<u8>),
    /// Another name of the member of this path, which came before.
    HardLink(Vec<u8>),
    /// A block or character device.
    Device,
    /// A named pipe.
    Pipe,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What holds the archive cannot be read or unpacked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as an archive.
    #[error("it is not a tar archive")]
    NotTar,
    /// It is not as an archive must be.
    #[error("it is damaged at byte {at}: {problem}")]
    Damaged {
        /// Where, counted in the unpacked archive.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// It is a proper archive and holds something that we do not read.
    #[error("`{name}` in it is {what}, which cannot be read")]
    Unknown {
        /// The member.
        name: String,
        /// What it is.
        what: String,
    },
}

/// Reads an archive from its first byte to its last. As [`Read`] it gives the content of the
/// member that [`Reader::next_member`] gave last.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    position: u64,
    // Records of global headers, which hold for all that follows.
    globals: Records,
    // What the source has of the current member, and the padding behind it.
    stored: u64,
    padding: u64,
    content: Map,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive that `source` gives.
    pub fn new(source: R) -> Self {
        Self {
            source,
            position: 0,
            globals: Records::default(),
            stored: 0,
            padding: 0,
            content: Map::default(),
            ended: false,
        }
    }

    /// What the archive was read from; it stands behind what was read.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next member; what was not read of the last one is skipped.
    ///
    /// # Errors
    /// See [`ReadError`]. Nothing can be read after an error.
    pub fn next_member(&mut self) -> Result<Option<Member>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let member = self.member()?;
        self.ended = member.is_none();
        Ok(member)
    }

    fn member(&mut self) -> Result<Option<Member>, ReadError> {
        self.skip()?;
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut described = false;
        loop {
            let at = self.position;
            let block = self.block()?;
            let Some(block) = block.filter(|block| block.iter().any(|byte| *byte != 0)) else {
                if described {
                    return Err(damaged(at, "it ends before the member that is described"));
                }
                return Ok(None);
            };
            let header = Header::parse(block).map_err(|problem| match at {
                0 => ReadError::NotTar,
                at => damaged(at, problem),
            })?;
            let size = |size: Result<u64, &str>| size.map_err(|problem| damaged(at, problem));
            match header.kind {
                Type::LongName => long_name = Some(self.text(size(header.size())?, at)?),
                Type::LongLink => long_link = Some(self.text(size(header.size())?, at)?),
                Type::Pax => records = self.records(size(header.size())?, at)?,
                Type::PaxGlobal => {
                    let new = self.records(size(header.size())?, at)?;
                    if new.is_sparse() {
                        return Err(damaged(at, "a global header describes a sparse file"));
                    }
                    self.globals = self.globals.overlaid(&new);
                    continue;
                }
                // The label of the archive, or of one of its volumes.
                Type::Label => {
                    self.expect(size(header.size())?, at)?;
                    self.skip()?;
                    continue;
                }
                Type::Member(_) => {
                    let records = self.globals.overlaid(&records);
                    return self.finish(&header, &records, long_name, long_link, at).map(Some);
                }
            }
            described = true;
        }
    }

    /// Puts together what header and extensions say of one member.
    fn finish(
        &mut self,
        header: &Header,
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        at: u64,
    ) -> Result<Member, ReadError> {
        let damaged = |problem: &str| damaged(at, problem);
        // A sparse file of pax 0.1 and 1.0 hides its name from readers that would not expand it.
        let name = records.get("GNU.sparse.name").or_else(|| records.get("path"));
        let name = name.map(<[u8]>::to_vec).or(long_name).unwrap_or_else(|| header.name());
        let link = records.get("linkpath").map(<[u8]>::to_vec).or(long_link);
        let link = link.unwrap_or_else(|| header.link());
        if name.is_empty() {
            return Err(damaged("a member has no name"));
        }
        let Type::Member(flag) = header.kind else { return Err(damaged("no member")) };
        let size = || match records.number("size") {
            Some(size) => size.map_err(&damaged),
            None => header.size().map_err(&damaged),
        };
        let unknown = |what: String| {
            let name = String::from_utf8_lossy(&name).into_owned();
            Err(ReadError::Unknown { name, what })
        };
        let kind = match flag {
            // v7 has no type for directories.
            0 | b'0' | b'7' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => Kind::Device,
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Pipe,
            b'M' => return unknown("a file that began on another volume".to_owned()),
            flag => return unknown(format!("of the type `{}`", flag.escape_ascii())),
        };
        if matches!(&kind, Kind::HardLink(link) | Kind::Symlink(link) if link.is_empty()) {
            return Err(damaged("a link has no target"));
        }
        if kind == Kind::File {
            self.expect(size()?, at)?;
            self.content = if flag == b'S' {
                self.gnu_map(header, at)?
            } else if records.is_sparse() {
                self.pax_map(records, &name, at)?
            } else {
                Map::whole(self.stored)
            };
            if self.content.stored() != self.stored {
                return Err(damaged("the map of a sparse file does not fit its content"));
            }
        } else if matches!(flag, 0 | b'0' | b'7' | b'D') {
            // A directory by its name, and the list of names in an incremental archive.
            self.expect(size()?, at)?;
            if flag != b'D' && self.stored > 0 {
                return Err(damaged("a directory has content"));
            }
        }
        // Of all others the size says nothing: nothing follows their headers.
        let id = |key: &str, field: Result<u64, &'static str>| match records.number(key) {
            Some(id) => id.map_err(&damaged),
            None => field.map_err(&damaged),
        };
        let xattrs = records.with_prefix("SCHILY.xattr.");
        Ok(Member {
            size: self.content.size(),
            kind,
            mode: header.mode().map_err(&damaged)?,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            xattrs: xattrs.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            name,
        })
    }

    /// The map of a sparse file of type `S`: some of it in the header, the rest in blocks behind.
    fn gnu_map(&mut self, header: &Header, at: u64) -> Result<Map, ReadError> {
        let damaged = |problem| damaged(at, problem);
        let (mut pieces, mut more) = header.sparse_pieces().map_err(damaged)?;
        while more {
            let block = self.block()?.ok_or_else(|| damaged("it ends within a sparse file"))?;
            let (further, again) = header::more_sparse_pieces(&block).map_err(damaged)?;
            pieces.extend(further);
            more = again;
        }
        Map::new(pieces, header.sparse_size().map_err(damaged)?).map_err(damaged)
    }

    /// The map of a sparse file of pax: in records, or at the beginning of the content.
    fn pax_map(&mut self, records: &Records, name: &[u8], at: u64) -> Result<Map, ReadError> {
        let wrong = |problem| damaged(at, problem);
        let number = |key| records.number(key).transpose().map_err(wrong);
        let size = match number("GNU.sparse.realsize")? {
            Some(size) => Some(size),
            None => number("GNU.sparse.size")?,
        };
        let size = size.ok_or_else(|| wrong("a sparse file has no size"))?;
        let version = (number("GNU.sparse.major")?, number("GNU.sparse.minor")?);
        let pieces = match version {
            (Some(1), Some(0)) => sparse::map_in_content(|| {
                let block = if self.stored < BLOCK as u64 { None } else { self.block()? };
                let block = block.ok_or_else(|| wrong("it ends within a sparse file"))?;
                self.stored -= BLOCK as u64;
                Ok::<_, ReadError>(block)
            })?
            .map_err(wrong)?,
            (None | Some(0), _) => sparse::map_in_records(records).map_err(wrong)?,
            (Some(major), minor) => {
                let what = format!("a sparse file of version {major}.{}", minor.unwrap_or(0));
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(ReadError::Unknown { name, what });
            }
        };
        Map::new(pieces, size).map_err(wrong)
    }

    /// A header's text: a name or a link's target, up to the first NUL.
    fn text(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ReadError> {
        let mut text = self.extension(size, at)?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    fn records(&mut self, size: u64, at: u64) -> Result<Records, ReadError> {
        let bytes = self.extension(size, at)?;
        Records::parse(&bytes).map_err(|problem| damaged(at, problem))
    }

    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ReadError> {
        if size > MAX_EXTENSION {
            return Err(damaged(at, "a header that describes the next member is too large"));
        }
        self.expect(size, at)?;
        self.content = Map::whole(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        self.skip()?;
        Ok(bytes)
    }

    /// So many bytes of content follow.
    fn expect(&mut self, size: u64, at: u64) -> Result<(), ReadError> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.ok_or_else(|| damaged(at, "a size is too large"))?;
        (self.stored, self.padding) = (size, padded - size);
        Ok(())
    }

    /// Passes over what is left of the current member.
    fn skip(&mut self) -> Result<(), ReadError> {
        let left = self.stored + self.padding;
        let passed = io::copy(&mut (&mut self.source).take(left), &mut io::sink())?;
        self.position += passed;
        // The padding of the last member may be missing: the content is whole.
        if passed < self.stored {
            return Err(damaged(self.position, "it ends within a file"));
        }
        (self.stored, self.padding, self.content) = (0, 0, Map::default());
        Ok(())
    }

    /// The next block; none at the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = Vec::with_capacity(BLOCK);
        (&mut self.source).take(BLOCK as u64).read_to_end(&mut block)?;
        self.position += block.len() as u64;
        if block.is_empty() {
            return Ok(None);
        }
        let whole = block.try_into().map_err(|_| match self.position {
            position if position < BLOCK as u64 => ReadError::NotTar,
            position => damaged(position, "it ends within a block"),
        })?;
        Ok(Some(whole))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((stored, length)) = self.content.next(buffer.len()) else { return Ok(0) };
        let buffer = &mut buffer[..length];
        if !stored {
            buffer.fill(0);
            self.content.advance(length);
            return Ok(length);
        }
        let read = self.source.read(buffer)?;
        if read == 0 && length > 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within a file");
            return Err(error);
        }
        self.position += read as u64;
        self.stored = self.stored.saturating_sub(read as u64);
        self.content.advance(read);
        Ok(read)
    }
}

fn damaged(at: u64, problem: impl Into<String>) -> ReadError {
    ReadError::Damaged { at, problem: problem.into() }
}

#[cfg(test)]
mod tests;
