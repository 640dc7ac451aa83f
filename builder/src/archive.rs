//! Archives of other people: tar, plain or packed, and zip. What an archive is, its bytes tell;
//! what it holds is what unpacking it with the usual program would leave on a disk.
//!
//! Judges: GNU tar and a zip program of the host, in the tests.

mod files;
pub(crate) mod form;
#[cfg(test)]
mod tests;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek as _};

use formats::tar::read::{Kind, ReadError, Reader};

use files::Files;
pub use files::{Entry, normal};
use form::{Form, Packing};

use crate::error::{Error, Id, Result};

/// No member has more bytes: with its holes a file of a few bytes can be of any size.
const MAX_MEMBER: u64 = 16 << 30;

/// An archive whose list of members has been read.
#[derive(Debug)]
pub struct Archive<'a> {
    file: &'a File,
    name: &'a str,
    form: Form,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Archive<'a> {
    /// Reads the list of members; `name` is what errors call the archive.
    ///
    /// # Errors
    /// [`Id::Archive`] if it is none, is damaged, or is of a kind that we do not read.
    pub fn open(mut file: &'a File, name: &'a str) -> Result<Self> {
        let mut start = Vec::new();
        let read = file.rewind().and_then(|()| file.take(form::START).read_to_end(&mut start));
        read.map_err(|error| cannot(name).caused_by(error))?;
        let form = match Form::of(&start) {
            Ok(form) => form,
            Err(what) => return Err(no_archive(name, what)),
        };
        let mut archive = Self { file, name, form, entries: BTreeMap::new() };
        archive.entries = match form {
            Form::Tar(packing) => archive.list(packing)?,
            Form::Zip => zip::list(file).map_err(|problem| archive.bad(problem))?,
        };
        Ok(archive)
    }

    /// What it holds, by path: without `./` before and `/` after.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Gives `take` the content of these members, in their order in the archive.
    ///
    /// # Errors
    /// [`Id::Archive`] if the archive is damaged; what `take` fails with.
    pub fn read(
        &self,
        members: &BTreeSet<usize>,
        mut take: impl FnMut(usize, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let packing = match self.form {
            Form::Tar(packing) => packing,
            Form::Zip => {
                let bad = |problem| self.bad(problem);
                return zip::read(self.file, members, &bad, &mut take);
            }
        };
        let mut reader = Reader::new(self.unpacked(packing)?);
        let mut left = members.len();
        for number in 0.. {
            if left == 0 {
                break;
            }
            if reader.next_member().map_err(|error| self.unreadable(packing, error))?.is_none() {
                break;
            }
            if members.contains(&number) {
                take(number, &mut reader)?;
                left -= 1;
            }
        }
        Ok(())
    }

    fn list(&self, packing: Packing) -> Result<BTreeMap<String, Entry>> {
        let unreadable = |error| self.unreadable(packing, error);
        let mut files = Files::default();
        let mut reader = Reader::new(self.unpacked(packing)?);
        for number in 0.. {
            let Some(member) = reader.next_member().map_err(unreadable)? else { break };
            let entry = match member.kind {
                Kind::File if member.size > MAX_MEMBER => {
                    Entry::Other("a file of more than 16 GiB")
                }
                Kind::File => Entry::File { member: number, executable: member.mode & 0o100 != 0 },
                Kind::Directory => Entry::Directory,
                Kind::Symlink(target) => files::symlink(target),
                Kind::HardLink(target) => files.hard_link(&target),
                Kind::Device => Entry::Other("a device"),
                Kind::Pipe => Entry::Other("a pipe"),
            };
            files.add(&member.name, entry);
        }
        // What packs it has a checksum at its very end, behind the archive's own.
        std::io::copy(&mut reader.into_inner(), &mut std::io::sink())
            .map_err(|error| unreadable(error.into()))?;
        Ok(files.into_entries())
    }

    fn unpacked(&self, packing: Packing) -> Result<Box<dyn Read + 'a>> {
        let mut file = self.file;
        file.rewind().map_err(|error| cannot(self.name).caused_by(error))?;
        Ok(packing.reader(file))
    }

    fn unreadable(&self, packing: Packing, error: ReadError) -> Error {
        match (error, packing) {
            (ReadError::NotTar, Packing::None) => no_archive(self.name, form::NOTHING_KNOWN),
            (ReadError::NotTar, packing) => {
                no_archive(self.name, &format!("packed with {packing} and holds no tar archive"))
            }
            (ReadError::Io(error), _) => cannot(self.name).caused_by(error),
            (error, _) => self.bad(error.to_string()),
        }
    }

    fn bad(&self, problem: impl std::fmt::Display) -> Error {
        Error::new(Id::Archive, format!("cannot unpack `{}`: {problem}", self.name))
    }
}

fn cannot(name: &str) -> Error {
    Error::new(Id::Archive, format!("cannot unpack `{name}`"))
}

fn no_archive(name: &str, what: &str) -> Error {
    let message = format!("cannot unpack `{name}`: it is {what}");
    Error::new(Id::Archive, message).hint(
        "tar, plain or packed with gzip, xz, zstd or bzip2, and zip can be unpacked; `\".\"` in \
         `unpack` stands for the file itself",
    )
}
