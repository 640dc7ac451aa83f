//! Old versions go, and what only they had. What cannot be known to be of no use stays.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use formats::digest::Sha256;
use formats::ostree::{Commit, Kind, Name};
use serde::Serialize;

use super::Repository;
use super::refs::{Damaged, HEADS};
use crate::durable;
use crate::error::{Context as _, Id, Result};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
    /// Refs that cannot be followed. What they may have named stays.
    pub damaged: Vec<Damaged>,
}

/// An object, its file, and the size of that.
pub(super) type Found = (Name, PathBuf, u64);

/// Which commits stay, as far as refs tell.
#[derive(Debug, Default)]
struct Wanted {
    /// Those that refs want.
    kept: BTreeSet<Sha256>,
    /// Heads of refs that can be followed: what is before the commits they want is old.
    heads: Vec<Sha256>,
    /// Refs that cannot be followed.
    damaged: Vec<Damaged>,
    /// A ref may name any commit.
    unknown: bool,
    /// A commit that a ref names is not there, so what is of no commit may be of that one.
    lost: bool,
}

impl Repository {
    /// Removes all but the `keep` newest versions of each ref, and every object that no version has
    /// then. Of refs that were pulled from elsewhere all versions stay. With `dry_run` nothing is
    /// removed.
    ///
    /// A ref that cannot be read counts as naming what the summary says of it. If that does not know
    /// it, every version stays; in either case only what is known to be old goes.
    ///
    /// # Errors
    /// [`Id::DamagedObject`], [`Id::Read`]: nothing was removed then, for what is needed is not
    /// known. [`Id::RepositoryWrite`].
    pub fn prune(&self, keep: usize, dry_run: bool) -> Result<Pruned> {
        let wanted = self.wanted(keep)?;
        let objects = self.objects()?;
        let of_commit = |(name, ..): &Found| name.kind == Kind::Commit;
        let there = objects.iter().filter(|one| of_commit(one) && self.has(&one.0));
        let there: BTreeSet<_> = there.map(|(name, ..)| name.digest).collect();
        let old = match (wanted.damaged.is_empty(), wanted.unknown) {
            (true, _) => there.difference(&wanted.kept).copied().collect(),
            (false, true) => BTreeSet::new(),
            (false, false) => self.before(&wanted)?,
        };
        let mut needed = BTreeSet::new();
        for digest in there.difference(&old) {
            needed.insert(Name { digest: *digest, kind: Kind::Commit });
            self.need(digest, &mut needed)?;
        }
        let mut of_old = BTreeSet::new();
        if wanted.lost {
            for digest in &old {
                of_old.insert(Name { digest: *digest, kind: Kind::Commit });
                // What such a commit cannot tell stays.
                drop(self.need(digest, &mut of_old));
            }
        }
        let goes =
            |(name, ..): &Found| !needed.contains(name) && (!wanted.lost || of_old.contains(name));
        // Commits first: at no moment is there one that lacks something.
        let (gone, rest): (Vec<_>, Vec<_>) = objects.into_iter().filter(goes).partition(of_commit);
        let bytes = |list: &[Found]| list.iter().map(|(.., size)| size).sum::<u64>();
        let pruned = Pruned {
            kept: there.difference(&old).count() as u64,
            commits: gone.len() as u64,
            objects: (gone.len() + rest.len()) as u64,
            bytes: bytes(&gone) + bytes(&rest),
            damaged: wanted.damaged,
        };
        if !dry_run {
            self.remove(&gone, &rest).or_fail(Id::RepositoryWrite, || self.cannot_write())?;
        }
        Ok(pruned)
    }

    /// What refs want, and what is wrong with them.
    fn wanted(&self, keep: usize) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        let told = self.summary();
        for found in self.every_ref() {
            let keep = if found.path.starts_with(HEADS) { keep } else { usize::MAX };
            let (named, ours) = (found.named(), found.ours());
            let error = match found.target {
                Err(error) => error,
                Ok(head) if !self.has(&Name { digest: head, kind: Kind::Commit }) => {
                    wanted.lost = true;
                    let name = Name { digest: head, kind: Kind::Commit };
                    self.lacks(&name)
                }
                Ok(head) => {
                    wanted.kept.extend(self.chain(head, keep)?.iter().map(|(digest, _)| *digest));
                    wanted.heads.push(head);
                    continue;
                }
            };
            wanted.damaged.push(Damaged::new(named, &error));
            let told = ours.and_then(|name| Some(told.as_ref()?.refs.get(&name)?.commit));
            match told.filter(|head| self.has(&Name { digest: *head, kind: Kind::Commit })) {
                Some(head) => {
                    wanted.kept.extend(self.chain(head, keep)?.iter().map(|(digest, _)| *digest));
                }
                None => wanted.unknown = true,
            }
        }
        Ok(wanted)
    }

    /// The commits before those that refs want which can be followed.
    fn before(&self, wanted: &Wanted) -> Result<BTreeSet<Sha256>> {
        let mut old = BTreeSet::new();
        for head in &wanted.heads {
            let all = self.chain(*head, usize::MAX)?.into_iter().map(|(digest, _)| digest);
            old.extend(all.filter(|digest| !wanted.kept.contains(digest)));
        }
        Ok(old)
    }

    fn remove(&self, commits: &[Found], rest: &[Found]) -> std::io::Result<()> {
        let mut directories = BTreeSet::new();
        for (name, path, _) in commits {
            fs::remove_file(path)?;
            directories.insert(durable::parent(path).to_owned());
            // What the stock program keeps beside a commit: signatures, and that it is not whole.
            for beside in [path.with_extension("commitmeta"), self.partial(&name.digest)] {
                match fs::remove_file(beside) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        for directory in directories {
            durable::settle_name(&directory)?;
        }
        rest.iter().try_for_each(|(_, path, _)| fs::remove_file(path))
    }

    /// Where the stock program marks a commit of which it has pulled only a part.
    fn partial(&self, commit: &Sha256) -> PathBuf {
        self.root.join("state").join(format!("{commit}.commitpartial"))
    }

    /// Adds the names of all that a commit's tree holds. Of one that was pulled in part only what is
    /// there can be told.
    fn need(&self, digest: &Sha256, needed: &mut BTreeSet<Name>) -> Result<()> {
        let Commit { tree, meta, .. } = self.commit(digest)?;
        let partial = self.partial(digest).exists();
        let mut directories: Vec<(Sha256, Sha256)> = vec![(tree, meta)];
        while let Some((tree, meta)) = directories.pop() {
            needed.insert(Name { digest: meta, kind: Kind::DirectoryMeta });
            let name = Name { digest: tree, kind: Kind::Directory };
            // What is in a directory that was seen was seen.
            if needed.contains(&name) || (partial && !self.has(&name)) {
                continue;
            }
            needed.insert(name);
            let directory = self.directory(&tree)?;
            let file = |digest: &Sha256| Name { digest: *digest, kind: Kind::File };
            needed.extend(directory.files.values().map(file));
            directories.extend(directory.directories.values());
        }
        Ok(())
    }

    /// Every object, with its file and size. What else lies there is not ours to judge.
    pub(super) fn objects(&self) -> Result<Vec<Found>> {
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
                    if let (Some(name), true) = (name, file.file_type()?.is_file()) {
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
