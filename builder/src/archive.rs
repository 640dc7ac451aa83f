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
pub use files::{Entry, link, normal};
use form::{Form, Packing};

use crate::error::{Error, Id, Result};
use crate::progress::Task;

/// No member has more bytes: with its holes a file of a few bytes can be of any size.
const MAX_MEMBER: u64 = 16 << 30;
/// Of a file that is kept in memory, in bytes.
const SMALL: u64 = 1 << 20;
/// As many links as Linux follows.
pub(crate) const MAX_LINKS: usize = 40;

/// An archive whose list of members has been read.
#[derive(Debug)]
pub struct Archive<'a> {
    file: &'a File,
    name: &'a str,
    form: Form,
    entries: BTreeMap<String, Entry>,
    /// Is told of each byte of the file that is read.
    task: &'a Task,
    /// By number the content of members that were kept while the list was read.
    kept: BTreeMap<usize, Vec<u8>>,
}

impl<'a> Archive<'a> {
    /// Reads the list of members; `name` is what errors call the archive. `task` hears of every byte of it
    /// that is read, each time that it is read.
    ///
    /// # Errors
    /// [`Id::Archive`] if it is none, is damaged, or is of a kind that we do not read.
    pub fn open(file: &'a File, name: &'a str, task: &'a Task) -> Result<Self> {
        Self::open_keeping(file, name, task, &|_| false)
    }

    /// As [`Archive::open`]. The content of small files of these paths is kept, so that [`Archive::content`]
    /// need not read a long archive once more for it.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_keeping(
        mut file: &'a File,
        name: &'a str,
        task: &'a Task,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut start = Vec::new();
        let read = file.rewind().and_then(|()| file.take(form::START).read_to_end(&mut start));
        read.map_err(|error| cannot(name).caused_by(error))?;
        let form = match Form::of(&start) {
            Ok(form) => form,
            Err(what) => return Err(no_archive(name, what)),
        };
        let (entries, kept) = (BTreeMap::new(), BTreeMap::new());
        let mut archive = Self { file, name, form, entries, task, kept };
        match form {
            Form::Tar(packing) => archive.list(packing, keep)?,
            Form::Zip => {
                archive.entries = zip::list(file).map_err(|problem| archive.bad(problem))?;
            }
        }
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
            if reader
                .next_member()
                .map_err(|error| unreadable(self.name, packing, error))?
                .is_none()
            {
                break;
            }
            if members.contains(&number) {
                take(number, &mut reader)?;
                left -= 1;
            }
        }
        Ok(())
    }

    /// The content of one small file; `None` if there is no file of that path, or no small one.
    ///
    /// # Errors
    /// [`Id::Archive`] if the archive is damaged.
    pub fn content(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut path = path.to_owned();
        let mut entry = self.entries.get(&path);
        for _ in 0..MAX_LINKS {
            let Some(Entry::Symlink(target)) = entry else { break };
            let Some(end) = link(&path, target) else { return Ok(None) };
            path = end;
            entry = self.entries.get(&path);
        }
        let Some(Entry::File { member, .. }) = entry else { return Ok(None) };
        if let Some(kept) = self.kept.get(member) {
            return Ok(Some(kept.clone()));
        }
        let mut content = None;
        self.read(&BTreeSet::from([*member]), |_, file| {
            content = small(file).map_err(|error| cannot(self.name).caused_by(error))?;
            Ok(())
        })?;
        Ok(content)
    }

    fn list(&mut self, packing: Packing, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        let name = self.name;
        let unreadable = |error| unreadable(name, packing, error);
        let mut kept = BTreeMap::new();
        let mut files = Files::default();
        let mut reader = Reader::new(self.unpacked(packing)?);
        for number in 0.. {
            let Some(member) = reader.next_member().map_err(unreadable)? else { break };
            let path = std::str::from_utf8(&member.name).ok().and_then(normal);
            let is_kept = member.kind == Kind::File
                && member.size <= SMALL
                && path.is_some_and(|path| keep(&path));
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
            if is_kept
                && let Some(content) =
                    small(&mut reader).map_err(|error| unreadable(error.into()))?
            {
                kept.insert(number, content);
            }
        }
        // What packs it has a checksum at its very end, behind the archive's own.
        std::io::copy(&mut reader.into_inner(), &mut std::io::sink())
            .map_err(|error| unreadable(error.into()))?;
        (self.entries, self.kept) = (files.into_entries(), kept);
        Ok(())
    }

    fn unpacked(&self, packing: Packing) -> Result<Box<dyn Read + 'a>> {
        let file = self.file;
        (&*file).rewind().map_err(|error| cannot(self.name).caused_by(error))?;
        Ok(packing.reader(Counted { file, task: self.task }))
    }

    fn bad(&self, problem: impl std::fmt::Display) -> Error {
        bad(self.name, problem)
    }
}

fn bad(name: &str, problem: impl std::fmt::Display) -> Error {
    Error::new(Id::Archive, format!("cannot unpack `{name}`: {problem}"))
}

fn unreadable(name: &str, packing: Packing, error: ReadError) -> Error {
    match (error, packing) {
        (ReadError::NotTar, Packing::None) => no_archive(name, form::NOTHING_KNOWN),
        (ReadError::NotTar, packing) => {
            no_archive(name, &format!("packed with {packing} and holds no tar archive"))
        }
        (ReadError::Io(error), _) => cannot(name).caused_by(error),
        (error, _) => bad(name, error),
    }
}

/// All that is left of a file, unless that is much.
fn small(file: &mut dyn Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    file.take(SMALL + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= SMALL).then_some(content))
}

/// A file whose bytes are counted as they are read.
struct Counted<'a> {
    file: &'a File,
    task: &'a Task,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.task.advance(read as u64);
        Ok(read)
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
