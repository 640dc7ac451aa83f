//! Refs: the files below `refs/heads`, and what a user may call a version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use formats::digest::Sha256;
use formats::near::near;
use formats::ostree::{Kind, Name as ObjectName, Reference, parse_target, target};

use super::Repository;
use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished;

/// Where our refs are.
pub(super) const HEADS: &str = "refs/heads";
/// Where those of other repositories are, which were pulled.
pub(super) const OTHERS: [&str; 2] = ["refs/mirrors", "refs/remotes"];

/// So many digits of a commit must be given to name it.
const FEWEST_DIGITS: usize = 4;

/// How many refs an error names.
const NAMED: usize = 10;

impl Repository {
    /// All refs of ours, with their commits.
    ///
    /// # Errors
    /// [`Id::Read`], [`Id::DamagedObject`].
    pub fn refs(&self) -> Result<BTreeMap<Reference, Sha256>> {
        self.refs_below(HEADS)
    }

    pub(super) fn refs_below(&self, place: &str) -> Result<BTreeMap<Reference, Sha256>> {
        let mut names = Vec::new();
        let cannot = || format!("cannot read the refs of `{}`", self.root.display());
        list(&self.root.join(place), "", &mut names).or_fail(Id::Read, cannot)?;
        let refs = names.into_iter().map(|name| {
            let commit = self.target(place, &name)?;
            let missing = || Error::new(Id::Read, cannot());
            Ok((name, commit.ok_or_else(missing)?))
        });
        refs.collect()
    }

    /// The commit of a ref, if there is such a ref.
    pub(super) fn head(&self, name: &Reference) -> Result<Option<Sha256>> {
        self.target(HEADS, name)
    }

    fn target(&self, place: &str, name: &Reference) -> Result<Option<Sha256>> {
        let path = self.root.join(place).join(name.as_str());
        let text = match fs::read(&path) {
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::IsADirectory]
                    .contains(&error.kind()) =>
            {
                return Ok(None);
            }
            text => text.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?,
        };
        let commit = std::str::from_utf8(&text).ok().and_then(parse_target);
        let damaged = || {
            let message = format!("the ref `{name}` names no commit, in `{}`", path.display());
            Error::new(Id::DamagedObject, message).hint("remove the file, and commit again")
        };
        commit.map(Some).ok_or_else(damaged)
    }

    /// Brings a ref to its commit, which is on the disk.
    pub(super) fn set_head(&self, name: &Reference, commit: &Sha256) -> io::Result<()> {
        let path = self.root.join(HEADS).join(name.as_str());
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
        let refs = self.refs()?;
        if let Ok(name) = text.parse::<Reference>()
            && let Some(commit) = refs.get(&name)
        {
            return Ok(*commit);
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
        Err(self.unknown(text, &refs))
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

/// Names of all files below a directory that can be refs.
fn list(directory: &Path, before: &str, names: &mut Vec<Reference>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = format!("{before}{name}");
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else if let Ok(name) = name.parse() {
            names.push(name);
        }
    }
    Ok(())
}
