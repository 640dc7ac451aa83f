//! What a client keeps of metadata that it has verified: for one look, or in a directory, from which the
//! next look goes on as a node does. Only with what was kept can it be told that somebody serves an older
//! state.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use formats::tuf::TopLevel;

use crate::durable::{self, Name};
use crate::error::{Context as _, Id, Result};
use crate::regular;
use crate::unfinished::{self, Kind};

/// Where it is kept.
#[derive(Debug)]
pub enum Kept {
    /// In memory.
    Memory(BTreeMap<String, Vec<u8>>),
    /// In files of a directory.
    Directory {
        /// The directory. It is made when the first file is.
        path: PathBuf,
        /// The root that it begins with, as long as it has none.
        first: Option<Vec<u8>>,
    },
}

impl Kept {
    /// For one look that begins with a root.
    pub fn once(root: &[u8]) -> Self {
        Self::Memory([(TopLevel::Root.file(), root.to_vec())].into())
    }

    /// In a directory. `first` is asked for the root to begin with if none is kept there; it is kept once
    /// a look has come to a good end.
    ///
    /// # Errors
    /// Those of `first`.
    pub fn directory(path: &Path, first: impl FnOnce() -> Result<Vec<u8>>) -> Result<Self> {
        let there = path.join(TopLevel::Root.file()).exists();
        let first = if there { None } else { Some(first()?) };
        Ok(Self::Directory { path: path.to_owned(), first })
    }

    /// What is kept under a name, if it is there and has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub(super) fn load(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let (path, first) = match self {
            Self::Memory(files) => {
                let bytes = files.get(file).filter(|bytes| bytes.len() as u64 <= limit);
                return Ok(bytes.cloned());
            }
            Self::Directory { path, first } => (path.join(file), first),
        };
        match regular::read(&path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(first.clone().filter(|_| file == TopLevel::Root.file()))
            }
            // Nobody has kept so much: as if it were not there.
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Ok(None),
            Err(error) => {
                Err(error).or_fail(Id::Read, || format!("cannot read `{}`", path.display()))
            }
        }
    }

    /// Keeps a file in place of what has its name: whole or not at all.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn store(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        let directory = match self {
            Self::Memory(files) => {
                files.insert(file.to_owned(), bytes.to_vec());
                return Ok(());
            }
            Self::Directory { path, .. } => path,
        };
        let path = directory.join(file);
        let write = || {
            fs::create_dir_all(&*directory)?;
            let mut new = unfinished::file(directory, Kind::Metadata, 0o666)?;
            new.write_all(bytes)?;
            durable::persist(new, &path, Name::Now)
        };
        write().or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }

    /// Keeps nothing under a name.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn remove(&mut self, file: &str) -> Result<()> {
        let directory = match self {
            Self::Memory(files) => {
                files.remove(file);
                return Ok(());
            }
            Self::Directory { path, .. } => path,
        };
        let path = directory.join(file);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // What comes after it counts only once it is gone for good.
            removed => removed.and_then(|()| durable::settle_name(directory)),
        };
        removed.or_fail(Id::Write, || format!("cannot remove `{}`", path.display()))
    }

    /// A look has come to a good end: the root that it began with is kept, too.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn settle(&mut self) -> Result<()> {
        let Self::Directory { path, first } = self else { return Ok(()) };
        let Some(root) = first.take() else { return Ok(()) };
        let name = TopLevel::Root.file();
        if path.join(&name).exists() { Ok(()) } else { self.store(&name, &root) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_kept_once_it_has_led_somewhere() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let begin = || Kept::directory(&path, || Ok(b"first".to_vec())).unwrap();
        let kept = begin();
        assert_eq!(kept.load("root.json", 5).unwrap().unwrap(), b"first");
        assert_eq!(kept.load("timestamp.json", 5).unwrap(), None);
        assert!(!path.exists());
        begin().settle().unwrap();
        assert_eq!(fs::read(path.join("root.json")).unwrap(), b"first");

        // What came after it stays, whoever begins again.
        let mut kept = Kept::directory(&path, || panic!("there is a root")).unwrap();
        kept.store("root.json", b"second").unwrap();
        kept.settle().unwrap();
        assert_eq!(kept.load("root.json", 6).unwrap().unwrap(), b"second");
        assert_eq!(kept.load("root.json", 5).unwrap(), None, "too long");
        for _ in 0..2 {
            kept.remove("root.json").unwrap();
        }
        assert_eq!(kept.load("root.json", 9).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        fs::write(&path, "a file").unwrap();
        let mut kept = Kept::directory(&path, || Ok(Vec::new())).unwrap();
        assert_eq!(kept.store("timestamp.json", b"x").unwrap_err().id(), Id::Write);
        assert_eq!(kept.load("timestamp.json", 1).unwrap_err().id(), Id::Read);
        assert_eq!(kept.remove("timestamp.json").unwrap_err().id(), Id::Write);
    }
}
