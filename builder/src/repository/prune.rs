//! Old versions go, and what only they had.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use formats::digest::Sha256;
use formats::ostree::{Commit, Kind, Name};
use serde::Serialize;

use super::Repository;
use super::refs::{HEADS, OTHERS};
use crate::durable;
use crate::error::{Context as _, Id, Result};

/// What was removed, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pruned {
    /// Commits that stay.
    pub kept: u64,
    /// Commits that went.
    pub commits: u64,
    /// Objects that went, commits included.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Repository {
    /// Removes all but the `keep` newest versions of each ref, and every object that no version has
    /// then. Of refs that were pulled from elsewhere all versions stay. With `dry_run` nothing is
    /// removed.
    ///
    /// # Errors
    /// [`Id::DamagedObject`], [`Id::Read`]: nothing was removed then, for what is needed is not
    /// known. [`Id::RepositoryWrite`].
    pub fn prune(&self, keep: usize, dry_run: bool) -> Result<Pruned> {
        let mut needed = BTreeSet::new();
        let mut commits = BTreeSet::new();
        let places = [(HEADS, keep)].into_iter().chain(OTHERS.map(|place| (place, usize::MAX)));
        for (place, keep) in places {
            for (_, head) in self.refs_below(place)? {
                for (digest, commit) in self.chain(head, keep)? {
                    commits.insert(digest);
                    self.need(&commit, &mut needed)?;
                }
            }
        }
        needed.extend(commits.iter().map(|digest| Name { digest: *digest, kind: Kind::Commit }));
        let objects = self.objects()?.into_iter().filter(|(name, ..)| !needed.contains(name));
        // Commits first: at no moment is there one that lacks something.
        let (gone, rest): (Vec<_>, Vec<_>) =
            objects.partition(|(name, ..)| name.kind == Kind::Commit);
        let bytes = |list: &[(Name, PathBuf, u64)]| list.iter().map(|(.., size)| size).sum::<u64>();
        let pruned = Pruned {
            kept: commits.len() as u64,
            commits: gone.len() as u64,
            objects: (gone.len() + rest.len()) as u64,
            bytes: bytes(&gone) + bytes(&rest),
        };
        if dry_run {
            return Ok(pruned);
        }
        let remove = || {
            let mut directories = BTreeSet::new();
            for (_, path, _) in &gone {
                fs::remove_file(path)?;
                directories.insert(durable::parent(path).to_owned());
            }
            for directory in directories {
                durable::settle_name(&directory)?;
            }
            rest.iter().try_for_each(|(_, path, _)| fs::remove_file(path))
        };
        remove().or_fail(Id::RepositoryWrite, || self.cannot_write())?;
        Ok(pruned)
    }

    /// Adds the names of all that a commit's tree holds.
    fn need(&self, commit: &Commit, needed: &mut BTreeSet<Name>) -> Result<()> {
        let mut directories: Vec<(Sha256, Sha256)> = vec![(commit.tree, commit.meta)];
        while let Some((tree, meta)) = directories.pop() {
            needed.insert(Name { digest: meta, kind: Kind::DirectoryMeta });
            // What is in a directory that was seen was seen.
            if !needed.insert(Name { digest: tree, kind: Kind::Directory }) {
                continue;
            }
            let directory = self.directory(&tree)?;
            let file = |digest: &Sha256| Name { digest: *digest, kind: Kind::File };
            needed.extend(directory.files.values().map(file));
            directories.extend(directory.directories.values());
        }
        Ok(())
    }

    /// Every object, with its file and size. What else lies there is not ours to judge.
    fn objects(&self) -> Result<Vec<(Name, PathBuf, u64)>> {
        let cannot = || format!("cannot read the repository `{}`", self.root.display());
        let list = || {
            let mut objects = Vec::new();
            for directory in fs::read_dir(self.root.join("objects"))? {
                let directory = directory?;
                let Ok(digits) = directory.file_name().into_string() else { continue };
                if !directory.file_type()?.is_dir() {
                    continue;
                }
                for file in fs::read_dir(directory.path())? {
                    let file = file?;
                    let name = file.file_name();
                    let name = name.to_str().and_then(|f| Name::parse(&digits, f, self.mode));
                    if let Some(name) = name {
                        objects.push((name, file.path(), file.metadata()?.len()));
                    }
                }
            }
            objects.sort();
            Ok::<_, std::io::Error>(objects)
        };
        list().or_fail(Id::Read, cannot)
    }
}
