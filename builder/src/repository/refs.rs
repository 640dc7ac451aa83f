//! Refs: the files below `refs/heads`, and what a user may call a version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::near::near;
use formats::ostree::{Kind, Name as ObjectName, Reference, parse_target, target};

use rustix::io::Errno;
use serde::Serialize;

use super::Repository;
use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::visible::visible;
use crate::{regular, unfinished};

/// Where all refs are.
const REFS: &str = "refs";
/// Where our refs are in there. What is beside was pulled from other repositories.
pub(super) const HEADS: &str = "heads";

/// So many digits of a commit must be given to name it.
const FEWEST_DIGITS: usize = 4;

/// How many refs an error names.
const NAMED: usize = 10;

/// What the file of a ref has is a digest and a line break.
const LONGEST_TARGET: u64 = 4096;

/// The refs of a repository.
#[derive(Debug, Default)]
pub struct Refs {
    /// Those of ours, with their commits.
    pub named: BTreeMap<Reference, Sha256>,
    /// Those of ours that cannot be read.
    pub damaged: Vec<Damaged>,
}

/// A ref that cannot be followed. It is in nobody's way but its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl Damaged {
    /// A ref for which there was this error.
    pub fn new(name: impl Into<String>, error: &Error) -> Self {
        Self { name: name.into(), why: error.chain() }
    }

    /// One line for people.
    pub fn warning(&self) -> String {
        format!("`{}` is left out: {}", visible(&self.name), visible(&self.why))
    }
}

/// A file below `refs` that is a ref, or may have been one.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is below `refs`.
    pub(super) path: PathBuf,
    /// Its commit.
    pub(super) target: Result<Sha256>,
}

impl Found {
    /// Its name, if it is one of ours.
    pub(super) fn ours(&self) -> Option<Reference> {
        self.path.strip_prefix(HEADS).ok()?.to_str()?.parse().ok()
    }

    /// What it is called where it may be anybody's.
    pub(super) fn named(&self) -> String {
        match self.path.strip_prefix(HEADS) {
            Ok(name) if !name.as_os_str().is_empty() => name.to_string_lossy().into_owned(),
            _ => Path::new(REFS).join(&self.path).to_string_lossy().into_owned(),
        }
    }

    /// Whether refs of ours are there, or should be.
    fn is_ours(&self) -> bool {
        self.path.starts_with(HEADS) || Path::new(HEADS).starts_with(&self.path)
    }
}

impl Repository {
    /// All refs of ours.
    pub fn refs(&self) -> Refs {
        let mut refs = Refs::default();
        for found in self.every_ref() {
            match (found.ours(), &found.target) {
                (Some(name), Ok(commit)) => drop(refs.named.insert(name, *commit)),
                (_, Err(error)) if found.is_ours() => {
                    refs.damaged.push(Damaged::new(found.named(), error));
                }
                _ => {}
            }
        }
        refs
    }

    /// All that names a commit, and all that should: refs of ours, those that were pulled from
    /// elsewhere, and files whose name no ref has but which hold a digest all the same. Of these
    /// alone, what is no digest is nothing of ours.
    pub(super) fn every_ref(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let path = self.root.join(REFS).join(&directory);
            let entries = match fs::read_dir(&path)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            {
                // One that went meanwhile. Where all are every repository has: it was lost.
                Err(error)
                    if error.kind() == ErrorKind::NotFound && !directory.as_os_str().is_empty() =>
                {
                    continue;
                }
                Err(error) => {
                    let message = format!("cannot read the refs in `{}`", path.display());
                    let target = Err(Error::new(Id::Read, message).caused_by(error));
                    found.push(Found { path: directory, target });
                    continue;
                }
                Ok(entries) => entries,
            };
            for entry in entries {
                let below = directory.join(entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    directories.push(below);
                    continue;
                }
                let one = Found { target: read_target(&entry.path()), path: below };
                let is_no_digest = |error: &Error| error.id() == Id::DamagedObject;
                let is_ref = one.path.to_str().is_some_and(|p| p.parse::<Reference>().is_ok());
                if is_ref || !one.target.as_ref().is_err_and(is_no_digest) {
                    found.push(one);
                }
            }
        }
        let heads = self.root.join(REFS).join(HEADS);
        if found.iter().all(|found| !found.path.as_os_str().is_empty())
            && let Err(error) = fs::symlink_metadata(&heads)
        {
            let message = format!("cannot read the refs in `{}`", heads.display());
            let target = Err(Error::new(Id::Read, message).caused_by(error));
            found.push(Found { path: HEADS.into(), target });
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    /// The commit of a ref, if there is such a ref.
    pub(super) fn head(&self, name: &Reference) -> Result<Option<Sha256>> {
        let path = self.root.join(REFS).join(HEADS).join(name.as_str());
        match fs::symlink_metadata(&path) {
            Err(error) if is_missing(&error) => Ok(None),
            Ok(meta) if meta.is_dir() => Ok(None),
            _ => read_target(&path).map(Some),
        }
    }

    /// Checks that there can be a ref of this name: no directory may be in its place, and no other
    /// ref in that of a directory of its.
    pub(super) fn check_name(&self, name: &Reference) -> Result<()> {
        let heads = self.root.join(REFS).join(HEADS);
        let path = heads.join(name.as_str());
        let above = path.ancestors().skip(1).take_while(|above| **above != heads);
        let file = above.into_iter().find(|above| above.exists() && !above.is_dir());
        let what = match file {
            Some(file) => format!("`{}` is a file", file.display()),
            None if path.is_dir() => format!("`{}` is a directory", path.display()),
            None => return Ok(()),
        };
        let message = format!("there can be no ref `{name}`: {what}");
        Err(Error::new(Id::RepositoryWrite, message)
            .hint("name another channel, or remove what is there"))
    }

    /// Brings a ref to its commit, which is on the disk.
    pub(super) fn set_head(&self, name: &Reference, commit: &Sha256) -> io::Result<()> {
        let path = self.root.join(REFS).join(HEADS).join(name.as_str());
        let directory = durable::parent(&path);
        let new: Vec<_> = directory.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(directory)?;
        for new in new.into_iter().rev() {
            durable::settle(new)?;
        }
        let mut file = unfinished::file(&self.root.join("tmp"), unfinished::Kind::Objects, 0o644)?;
        file.write_all(target(commit).as_bytes())?;
        durable::persist(file, &path, Name::Now)
    }

    /// The commit that a user means: by a ref, or by the first digits of its digest.
    ///
    /// # Errors
    /// [`Id::UnknownVersion`] with what was probably meant, [`Id::Read`], [`Id::DamagedObject`].
    pub fn resolve(&self, text: &str) -> Result<Sha256> {
        if let Ok(name) = text.parse::<Reference>()
            && let Some(commit) = self.head(&name)?
        {
            return Ok(commit);
        }
        let is_digest = text.len() >= FEWEST_DIGITS
            && text.len() <= 64
            && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest {
            let found: Vec<_> = self.commits(text)?;
            match found.as_slice() {
                [one] => return Ok(*one),
                [] => {}
                _ => {
                    let message = format!("`{text}` begins the digests of {} commits", found.len());
                    let error = Error::new(Id::UnknownVersion, message);
                    return Err(error.hint("give more digits"));
                }
            }
        }
        Err(self.unknown(text, &self.refs().named))
    }

    fn unknown(&self, text: &str, refs: &BTreeMap<Reference, Sha256>) -> Error {
        let root = self.root.display();
        let message = format!("the repository `{root}` has no ref or commit `{text}`");
        let error = Error::new(Id::UnknownVersion, message);
        // Whoever leaves out what stands before the image's name means all of it.
        let ends = refs.keys().map(Reference::as_str);
        let mut ends = ends.filter(|name| name.split('/').any(|part| part == text));
        let meant = ends.next().or_else(|| near(text, refs.keys().map(Reference::as_str)));
        if let Some(meant) = meant {
            return error.hint(format!("did you mean `{meant}`?"));
        }
        if refs.is_empty() {
            return error.hint("there is no version yet: `orlop build` commits one");
        }
        let names = refs.keys().take(NAMED).map(|name| format!("`{name}`"));
        let names = names.collect::<Vec<_>>().join(", ");
        let more = if refs.len() > NAMED { " and others" } else { "" };
        error.hint(format!("there are {names}{more}"))
    }

    /// Commits whose digests begin so.
    fn commits(&self, digits: &str) -> Result<Vec<Sha256>> {
        let (directory, _) = digits.split_at(2);
        let path = self.root.join("objects").join(directory);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?,
        };
        let names = entries.flatten().filter_map(|entry| {
            ObjectName::parse(directory, entry.file_name().to_str()?, self.mode)
        });
        let commits = names.filter(|name| name.kind == Kind::Commit).map(|name| name.digest);
        Ok(commits.filter(|digest| digest.to_string().starts_with(digits)).collect())
    }
}

/// The commit that a file of a ref names.
fn read_target(path: &Path) -> Result<Sha256> {
    let damaged = || {
        let message = format!("the ref `{}` names no commit", path.display());
        Error::new(Id::DamagedObject, message).hint("remove the file, and commit again")
    };
    match regular::read(path, LONGEST_TARGET) {
        Ok(text) => std::str::from_utf8(&text).ok().and_then(parse_target).ok_or_else(damaged),
        Err(error)
            if is_missing(&error)
                || [ErrorKind::InvalidInput, ErrorKind::FileTooLarge].contains(&error.kind())
                // A link that leads to itself, and a socket.
                || [Errno::LOOP, Errno::NXIO].map(|no| Some(no.raw_os_error()))
                    .contains(&error.raw_os_error()) =>
        {
            Err(damaged().caused_by(error))
        }
        Err(error) => {
            let message = format!("cannot read `{}`", path.display());
            Err(Error::new(Id::Read, message).caused_by(error))
        }
    }
}

/// Nothing is there, or a ref is in the place of a directory.
fn is_missing(error: &io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}
