//! A client of releases in a directory or on a server. Files of releases are never in memory whole, but
//! for the small ones.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use formats::tuf::{
    Form, Found, Io, Limits, Reason, Refresh, Refused, Search, TargetPath, TopLevel, Trusted, run,
};

use super::kept::Kept;
use super::refused;
use crate::error::{Context as _, Error, Id, Result};
use crate::http::Client;
use crate::progress::Progress;
use crate::regular;

/// Where releases are.
#[derive(Debug)]
pub enum Place {
    /// In this directory.
    Directory(PathBuf),
    /// Below this address. Long downloads are shown.
    Web(String, Box<Client>, Progress),
    /// Where somebody else finds them, by their paths as files.
    Other(Box<dyn Files>),
}

/// Files by their paths.
pub trait Files: fmt::Debug {
    /// What lies at a path, of which one byte beyond the limit is enough; nothing if there is none.
    ///
    /// # Errors
    /// Those of reading.
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>>;
}

impl Place {
    /// What lies at a path, quoted for `form`; nothing if there is none. One byte beyond the limit shows
    /// that there are more.
    pub(super) fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Other(files) => files.get(path, limit),
            Self::Directory(directory) => {
                let path = directory.join(path);
                let Some(file) = open(&path)? else { return Ok(None) };
                let mut bytes = Vec::new();
                let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
                read.or_fail(Id::Read, || cannot_read(&path))?;
                Ok(Some(bytes))
            }
            Self::Web(address, client, _) => {
                match client.get(&format!("{}/{path}", address.trim_end_matches('/')), limit) {
                    Err(error) if error.id() == Id::NotFound => Ok(None),
                    bytes => bytes.map(Some),
                }
            }
        }
    }

    /// The file at a path, to be read from anywhere in it; nothing if there is none. What comes over the
    /// network goes to a file without a name first. Nothing of it was believed yet.
    fn file(&self, path: &str, length: u64) -> Result<Option<File>> {
        let cannot = || "cannot keep a download in the directory for temporary files";
        match self {
            Self::Directory(directory) => open(&directory.join(path)),
            Self::Other(files) => {
                let Some(bytes) = files.get(path, length)? else { return Ok(None) };
                let mut file = tempfile::tempfile().or_fail(Id::Write, cannot)?;
                file.write_all(&bytes).and_then(|()| file.rewind()).or_fail(Id::Write, cannot)?;
                Ok(Some(file))
            }
            Self::Web(address, client, progress) => {
                let url = format!("{}/{path}", address.trim_end_matches('/'));
                let place = tempfile::NamedTempFile::new().or_fail(Id::Write, cannot)?;
                let name = path.rsplit('/').next().unwrap_or(path);
                let name = name.split_once('.').map_or(name, |(_, name)| name);
                let task = progress.task(name, Some(length));
                match client.download(&url, place.path(), Some(length), &task) {
                    Err(error) if error.id() == Id::NotFound => return Ok(None),
                    Err(error) if error.id() == Id::WrongDigest => {
                        return Err(Error::new(Id::Metadata, "the release is refused")
                            .caused_by(error.to_string()));
                    }
                    done => done?,
                };
                task.done("fetched");
                Ok(Some(place.into_file()))
            }
        }
    }

    /// The first root that it has. Whoever begins with it believes the place.
    ///
    /// # Errors
    /// [`Id::Metadata`] if there is none; those of reading.
    pub fn first_root(&self) -> Result<Vec<u8>> {
        let limit = Limits::DEFAULT.root;
        let first = self.get("metadata/1.root.json", limit)?;
        first.ok_or_else(|| refused(Reason::Missing.of("1.root.json")))
    }

    /// In which form paths are asked for.
    fn form(&self) -> Form {
        match self {
            Self::Directory(_) | Self::Other(_) => Form::File,
            Self::Web(..) => Form::Address,
        }
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

/// Opens a file if it is there. What is no file, such as a pipe, might never end.
fn open(path: &Path) -> Result<Option<File>> {
    match regular::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some).or_fail(Id::Read, || cannot_read(path)),
    }
}

/// Why a workflow ended.
#[derive(Debug)]
pub struct Failed(Error);

impl Failed {
    pub(super) fn into_error(self) -> Error {
        self.0
    }
}

impl From<Refused> for Failed {
    fn from(reason: Refused) -> Self {
        Self(refused(reason))
    }
}

/// A client.
#[derive(Debug)]
pub struct Reader<'a> {
    place: &'a Place,
    kept: Kept,
    /// Whether roots after the first one are asked for.
    follows: bool,
}

impl<'a> Reader<'a> {
    /// One that begins with what was kept.
    pub fn new(place: &'a Place, kept: Kept) -> Self {
        Self { place, kept, follows: true }
    }

    /// One that goes by this root alone.
    pub fn at(place: &'a Place, root: &[u8]) -> Self {
        Self { follows: false, ..Self::new(place, Kept::once(root)) }
    }

    /// The root that is trusted, once refreshed.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn root(&self) -> Result<Vec<u8>> {
        let root = self.kept.load(&TopLevel::Root.file(), Limits::DEFAULT.root)?;
        root.ok_or_else(|| refused(Reason::NoRoot.of(TopLevel::Root.file())))
    }

    /// One that trusts what this one does, and reads another place.
    pub(super) fn moved_to(self, place: &'a Place) -> Self {
        Self { place, ..self }
    }

    /// What can be trusted at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Id::Metadata`] with what is refused and why; those of reading.
    pub fn refresh(&mut self, now: i64) -> Result<Trusted> {
        let mut refresh = Refresh::new(now, Limits::DEFAULT);
        run(&mut refresh, self).map_err(|Failed(error)| error)?;
        let none = || refused(Reason::NoRoot.of(TopLevel::Root.file()));
        let trusted = refresh.into_trusted().ok_or_else(none)?;
        self.kept.settle()?;
        Ok(trusted)
    }

    /// A target that somebody has signed for who may.
    ///
    /// # Errors
    /// [`Id::Metadata`]: nobody has.
    pub fn find(&mut self, trusted: &Trusted, path: &TargetPath) -> Result<Found> {
        let mut search = Search::new(trusted, path.clone(), Limits::DEFAULT).map_err(refused)?;
        run(&mut search, self).map_err(|Failed(error)| error)?;
        search.found().map_err(refused)
    }

    /// The bytes of a target of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Id::Metadata`] if they are not those that were signed; those of reading.
    pub fn target(&self, found: &Found, limit: u64) -> Result<Vec<u8>> {
        let no = |reason: Reason| refused(reason.of(found.path.as_str()));
        let length = found.file.length;
        if length > limit {
            return Err(no(Reason::TooLong(limit)));
        }
        let bytes = self.place.get(&self.path(found), length)?;
        let bytes = bytes.ok_or_else(|| no(Reason::Missing))?;
        let mut check = found.check().map_err(refused)?;
        check.update(&bytes).and_then(|()| check.finish()).map_err(no)?;
        Ok(bytes)
    }

    /// The file of a target of at most `limit` bytes, at its beginning. It was what was signed when it was
    /// read.
    ///
    /// # Errors
    /// As [`Self::target`]; [`Id::Write`] if a download cannot be kept.
    pub fn file(&self, found: &Found, limit: u64) -> Result<File> {
        let no = |reason: Reason| refused(reason.of(found.path.as_str()));
        let length = found.file.length;
        if length > limit {
            return Err(no(Reason::TooLong(limit)));
        }
        let mut check = found.check().map_err(refused)?;
        let file = self.place.file(&self.path(found), length)?;
        let mut file = file.ok_or_else(|| no(Reason::Missing))?;
        let cannot = || format!("cannot read `{}`", found.path);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer).or_fail(Id::Read, cannot)? {
                0 => break,
                read => check.update(&buffer[..read]).map_err(no)?,
            }
        }
        check.finish().map_err(no)?;
        file.rewind().or_fail(Id::Read, cannot)?;
        Ok(file)
    }

    /// Where a target is.
    fn path(&self, found: &Found) -> String {
        format!("targets/{}", found.place(self.place.form()))
    }
}

impl Io for Reader<'_> {
    type Error = Failed;

    fn load(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, Failed> {
        self.kept.load(file, limit).map_err(Failed)
    }

    fn fetch(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Failed> {
        if !self.follows && path.ends_with(&format!(".{}", TopLevel::Root.file())) {
            return Ok(None);
        }
        self.place.get(&format!("metadata/{path}"), limit).map_err(Failed)
    }

    fn store(&mut self, file: &str, bytes: &[u8]) -> Result<(), Failed> {
        self.kept.store(file, bytes).map_err(Failed)
    }

    fn remove(&mut self, file: &str) -> Result<(), Failed> {
        self.kept.remove(file).map_err(Failed)
    }
}

/// The directory of a place, if it is one.
pub fn directory(path: &Path) -> Place {
    Place::Directory(path.to_owned())
}
