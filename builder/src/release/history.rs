//! What a directory of releases has had, also of what is gone: its targets metadata stays, one file for each
//! state. So no version comes twice, no epoch falls, and nobody is sent over a release that never was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use formats::release::{FILE, Release, listed};
use formats::tuf::{Hashes, Limits, Signed, TargetPath, Targets};

use crate::error::{Error, Id, Result};
use crate::keys::roots;

/// A release that is or was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    number: u64,
    epoch: u64,
    /// Of its `release.json`.
    hashes: Hashes,
}

/// All releases that a directory has had.
#[derive(Debug)]
pub(super) struct History {
    directory: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl History {
    /// Reads the metadata of all states up to `now`. What a publisher who was killed has left beyond it
    /// was never led to.
    ///
    /// # Errors
    /// [`Id::Read`], [`Id::Metadata`].
    pub(super) fn read(directory: &Path, now: &Targets) -> Result<Self> {
        let mut history = Self { directory: directory.to_owned(), entries: BTreeMap::new() };
        for version in 1..now.head.version {
            let path = directory.join(format!("metadata/{version}.targets.json"));
            let Some(bytes) = roots::read(&path, Limits::DEFAULT.targets)? else { continue };
            let targets = Signed::parse(&bytes).and_then(Signed::into_metadata);
            history.add(&targets.map_err(|reason| roots::refused(&path, reason))?);
        }
        history.add(now);
        Ok(history)
    }

    fn add(&mut self, targets: &Targets) {
        for release in listed(targets) {
            let path = format!("{}/{FILE}", release.version).parse::<TargetPath>().ok();
            let Some(file) = path.and_then(|path| targets.targets.get(&path)) else { continue };
            let (number, epoch) = (release.number, release.epoch);
            let entry = Entry { number, epoch, hashes: file.hashes.clone() };
            self.entries.insert(release.version, entry);
        }
    }

    /// The number of the release that comes next.
    pub(super) fn next(&self) -> u64 {
        self.entries.values().map(|entry| entry.number).max().unwrap_or(0) + 1
    }

    /// The highest epoch that there was.
    pub(super) fn epoch(&self) -> u64 {
        self.entries.values().map(|entry| entry.epoch).max().unwrap_or(0)
    }

    /// That a version is new, or comes again just as it was.
    ///
    /// # Errors
    /// [`Id::Published`].
    pub(super) fn is_free(&self, version: &str, description: Option<&Hashes>) -> Result<()> {
        let Some(entry) = self.entries.get(version) else { return Ok(()) };
        if description == Some(&entry.hashes) {
            return Ok(());
        }
        let message = format!("`{}` had a release {version} before", self.directory.display());
        Err(Error::new(Id::Published, message)
            .hint("a release never changes: take another version"))
    }

    /// That nodes which followed this directory can take a release.
    ///
    /// # Errors
    /// [`Id::ReleaseTerms`].
    pub(super) fn allows(&self, release: &Release) -> Result<()> {
        let directory = self.directory.display();
        let (epoch, highest) = (release.epoch, self.epoch());
        if epoch < highest {
            let message =
                format!("the epoch {epoch} is below {highest}, which `{directory}` has had");
            let hint = "nodes take no release of a lower epoch than their own";
            return Err(Error::new(Id::ReleaseTerms, message).hint(hint));
        }
        match &release.min_from {
            Some(from) if !self.entries.contains_key(from) => {
                let message = format!("`{directory}` never had a release {from} to come from");
                let mut known: Vec<_> = self.entries.iter().collect();
                known.sort_by_key(|(_, entry)| entry.number);
                let known: Vec<_> =
                    known.into_iter().map(|(version, _)| version.as_str()).collect();
                let hint = match known.is_empty() {
                    true => "the first release of a directory needs none before it".to_owned(),
                    false => format!("there were: {}", known.join(", ")),
                };
                Err(Error::new(Id::ReleaseTerms, message).hint(hint))
            }
            _ => Ok(()),
        }
    }
}
