//! Reading objects. Whatever is given was compared with its name: what is not what its name says is
//! an error that names it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use formats::digest::Sha256;
use formats::ostree::{
    ArchiveHeader, Attributes, Commit, Directory, FileHeader, Kind, Mode, Name, OstreeError,
};
use rustix::io::Errno;

use super::Repository;
use crate::error::{Error, Id, Result};
use crate::regular;

/// A commit, a directory or attributes are not larger: so much is a directory of 400,000 names.
const LARGEST: u64 = 16 << 20;

/// A link's target is not longer: `PATH_MAX` of `linux/limits.h`.
const LONGEST_TARGET: u64 = 4096;

/// Where a `bare-user` repository has owner and mode.
const USER_META: &str = "user.ostreemeta";

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

impl Repository {
    /// The commit of this digest.
    ///
    /// # Errors
    /// [`Id::DamagedObject`], also if it is not there; [`Id::Read`].
    pub fn commit(&self, digest: &Sha256) -> Result<Commit> {
        let name = Name { digest: *digest, kind: Kind::Commit };
        self.parsed(&name, Commit::parse)
    }

    /// The names of a directory.
    ///
    /// # Errors
    /// As [`Repository::commit`].
    pub fn directory(&self, digest: &Sha256) -> Result<Directory> {
        let name = Name { digest: *digest, kind: Kind::Directory };
        self.parsed(&name, Directory::parse)
    }

    /// Owner and mode of a directory.
    ///
    /// # Errors
    /// As [`Repository::commit`].
    pub fn directory_meta(&self, digest: &Sha256) -> Result<Attributes> {
        let name = Name { digest: *digest, kind: Kind::DirectoryMeta };
        self.parsed(&name, Attributes::parse_directory)
    }

    /// Bytes of an object as it is kept here.
    ///
    /// # Errors
    /// As [`Repository::commit`].
    pub fn object_size(&self, name: &Name) -> Result<u64> {
        let found = self.object_path(name).symlink_metadata();
        found.map(|found| found.len()).map_err(|error| self.cannot(name, error))
    }

    /// Whether there is such an object. In an archive none is empty: a file that is has lost its
    /// content in a power cut.
    pub(super) fn has(&self, name: &Name) -> bool {
        let found = self.object_path(name).symlink_metadata();
        found.is_ok_and(|found| match self.mode {
            Mode::Archive => found.is_file() && found.len() > 0,
            _ => found.is_file() || found.is_symlink(),
        })
    }

    pub(super) fn object_path(&self, name: &Name) -> PathBuf {
        self.root.join(name.path(self.mode))
    }

    fn parsed<T>(
        &self,
        name: &Name,
        parse: impl FnOnce(&[u8]) -> Result<T, OstreeError>,
    ) -> Result<T> {
        let bytes = regular::read(&self.object_path(name), LARGEST);
        let bytes = bytes.map_err(|error| self.cannot(name, error))?;
        if Sha256::of(&bytes) != name.digest {
            return Err(self.damaged(name));
        }
        parse(&bytes).map_err(|error| self.damaged(name).caused_by(error))
    }

    /// Reads a file or link. `begin` is given what is known before the content and makes what takes
    /// it, piece by piece. Only if this succeeds was it the file.
    ///
    /// # Errors
    /// [`Id::DamagedObject`], [`Id::Read`], and those of `begin` and of what it makes.
    pub fn file<S: FnMut(&[u8]) -> Result<()>>(
        &self,
        digest: &Sha256,
        begin: impl FnOnce(&FileHeader) -> Result<S>,
    ) -> Result<FileHeader> {
        let name = Name { digest: *digest, kind: Kind::File };
        let path = self.object_path(&name);
        match self.mode {
            Mode::Archive => self.archived(&name, &path, begin),
            Mode::Bare | Mode::BareUser | Mode::BareUserOnly => self.bare(&name, &path, begin),
        }
    }

    /// How many bytes a file has, as the repository says without anybody having hashed them. Those
    /// of a link are its target's, or none.
    ///
    /// # Errors
    /// As [`Repository::commit`].
    pub(super) fn stated_size(&self, digest: &Sha256) -> Result<u64> {
        let name = Name { digest: *digest, kind: Kind::File };
        let path = self.object_path(&name);
        if self.mode == Mode::Archive {
            return Ok(self.archive_header(&name, &path)?.0.size);
        }
        Ok(fs::symlink_metadata(&path).map_err(|error| self.cannot(&name, error))?.len())
    }

    fn archived<S: FnMut(&[u8]) -> Result<()>>(
        &self,
        name: &Name,
        path: &Path,
        begin: impl FnOnce(&FileHeader) -> Result<S>,
    ) -> Result<FileHeader> {
        let (ArchiveHeader { header, size }, file) = self.archive_header(name, path)?;
        let content: Box<dyn Read> = if header.is_link() {
            Box::new(io::empty())
        } else {
            // One byte more would be another file.
            Box::new(DeflateDecoder::new(file).take(size.saturating_add(1)))
        };
        self.judged(name, header, content, begin)
    }

    /// What stands before the deflated content, and the file at that.
    fn archive_header(&self, name: &Name, path: &Path) -> Result<(ArchiveHeader, BufReader<File>)> {
        let cannot = |error| self.cannot(name, error);
        let mut file = BufReader::with_capacity(CHUNK, regular::open(path).map_err(cannot)?);
        let mut head = [0; 8];
        file.read_exact(&mut head).map_err(cannot)?;
        let damaged = |error| self.damaged(name).caused_by(error);
        let mut bytes = head.to_vec();
        bytes.resize(ArchiveHeader::length(&head).map_err(damaged)?, 0);
        file.read_exact(&mut bytes[head.len()..]).map_err(cannot)?;
        Ok((ArchiveHeader::parse(&bytes).map_err(damaged)?, file))
    }

    fn bare<S: FnMut(&[u8]) -> Result<()>>(
        &self,
        name: &Name,
        path: &Path,
        begin: impl FnOnce(&FileHeader) -> Result<S>,
    ) -> Result<FileHeader> {
        let cannot = |error| self.cannot(name, error);
        let meta = fs::symlink_metadata(path).map_err(cannot)?;
        let stated = |xattrs| match self.mode {
            Mode::BareUserOnly => Attributes { uid: 0, gid: 0, mode: meta.mode(), xattrs },
            _ => Attributes { uid: meta.uid(), gid: meta.gid(), mode: meta.mode(), xattrs },
        };
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|error| self.damaged(name).caused_by(error))
        };
        let attributes = match self.mode {
            Mode::BareUser => {
                let bytes = xattr(path, USER_META).map_err(cannot)?;
                Attributes::parse(&bytes).map_err(|e| self.damaged(name).caused_by(e))?
            }
            Mode::BareUserOnly => stated(BTreeMap::new()),
            _ => stated(xattrs(path).map_err(cannot)?),
        };
        let mut header = FileHeader { attributes, target: String::new() };
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(cannot)?;
            header.target = text(target.as_os_str().as_bytes())?;
            return self.judged(name, header, Box::new(io::empty()), begin);
        }
        if header.is_link() {
            // The stock program writes the target with the NUL behind it.
            let target = regular::read(path, LONGEST_TARGET).map_err(cannot)?;
            header.target = text(target.strip_suffix(&[0]).unwrap_or(&target))?;
            return self.judged(name, header, Box::new(io::empty()), begin);
        }
        let content = regular::open(path).map_err(cannot)?;
        self.judged(name, header, Box::new(content), begin)
    }

    /// Hands on the content, and compares all of it with the name.
    fn judged<S: FnMut(&[u8]) -> Result<()>>(
        &self,
        name: &Name,
        header: FileHeader,
        mut content: Box<dyn Read>,
        begin: impl FnOnce(&FileHeader) -> Result<S>,
    ) -> Result<FileHeader> {
        let mut hasher = header.hasher();
        let mut sink = begin(&header)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.cannot(name, error)),
            };
            hasher.update(&buffer[..read]);
            sink(&buffer[..read])?;
        }
        if hasher.finish() == name.digest { Ok(header) } else { Err(self.damaged(name)) }
    }

    /// What a failure to read an object means: one that is not there, or is cut off, is damage.
    fn cannot(&self, name: &Name, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::NotFound => self.lacks(name),
            ErrorKind::UnexpectedEof
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::FileTooLarge => self.damaged(name).caused_by(error),
            _ => {
                let path = self.object_path(name);
                Error::new(Id::Read, format!("cannot read `{}`", path.display())).caused_by(error)
            }
        }
    }

    /// An object that is wanted is not there.
    pub(super) fn lacks(&self, name: &Name) -> Error {
        let message = format!("the repository `{}` lacks the object {name}", self.root.display());
        Error::new(Id::DamagedObject, message).hint(CURE)
    }

    fn damaged(&self, name: &Name) -> Error {
        let path = self.object_path(name);
        let message = format!("the object {name} is damaged, in `{}`", path.display());
        Error::new(Id::DamagedObject, message).hint(CURE)
    }
}

const CURE: &str = "remove the file if it is there, and build or pull the version again; the disk \
                    may be failing";

/// The kernel knows no longer names and values of extended attributes.
const LONGEST_XATTR: usize = 64 << 10;

fn xattr(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LONGEST_XATTR];
    let size = rustix::fs::lgetxattr(path, name, &mut bytes[..])?;
    bytes.truncate(size);
    Ok(bytes)
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; LONGEST_XATTR];
    let size = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        size => size?,
    };
    names.truncate(size);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    names.map(|name| Ok((name.to_owned(), xattr(path, name)?))).collect()
}
