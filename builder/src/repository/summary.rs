//! The summary: what clients read first. It follows from refs and commits, so one that is missing
//! or older, as after a kill, is made anew by whoever commits next.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};

use formats::digest::Sha256;
use formats::ostree::{Entry, Reference, Summary, Value};

use super::version::VERSION;
use super::{Damaged, Refs, Repository};
use crate::durable::{self, Name};
use crate::error::{Context as _, Id, Result};
use crate::{regular, unfinished};

/// A summary is not larger: so much are 100,000 refs.
const LARGEST: u64 = 16 << 20;

impl Repository {
    /// Brings the summary to what refs say. One that is right is left as it is. A ref that cannot be
    /// followed is offered as it was before, if that version is there, and is among what is given
    /// back.
    pub(super) fn update_summary(&self) -> Result<Vec<Damaged>> {
        let Refs { named, mut damaged } = self.refs();
        let bytes = self.summary_bytes();
        let before = Summary::parse(&bytes).ok();
        let mut refs = BTreeMap::new();
        for (name, digest) in named {
            match self.entry(digest) {
                Ok(entry) => drop(refs.insert(name, entry)),
                Err(error) => damaged.push(Damaged::new(name.as_str(), &error)),
            }
        }
        for Damaged { name, .. } in &damaged {
            let Ok(name) = name.parse::<Reference>() else { continue };
            let told = before.as_ref().and_then(|before| before.refs.get(&name));
            if let Some(Ok(entry)) = told.map(|told| self.entry(told.commit)) {
                refs.insert(name, entry);
            }
        }
        let summary = Summary::of_archive(refs, before).encode();
        if summary != bytes {
            self.put_summary(&summary).or_fail(Id::RepositoryWrite, || self.cannot_write())?;
        }
        Ok(damaged)
    }

    /// What the summary says, if there is one and it can be read.
    pub(super) fn summary(&self) -> Option<Summary> {
        Summary::parse(&self.summary_bytes()).ok()
    }

    /// Whatever is wrong with a summary, another one takes its place.
    fn summary_bytes(&self) -> Vec<u8> {
        regular::read(&self.root.join("summary"), LARGEST).unwrap_or_default()
    }

    fn entry(&self, digest: Sha256) -> Result<Entry> {
        let commit = self.commit(&digest)?;
        let version = match commit.metadata.get(VERSION) {
            Some(Value::Text(version)) => Some(version.as_str()),
            _ => None,
        };
        let size = commit.encode().len() as u64;
        Ok(Entry::new(digest, size, commit.timestamp, version))
    }

    fn put_summary(&self, summary: &[u8]) -> io::Result<()> {
        // A signature is of the summary before, and clients would take it for a forgery.
        match fs::remove_file(self.root.join("summary.sig")) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
        let mut file = unfinished::file(&self.root.join("tmp"), unfinished::Kind::Objects, 0o644)?;
        file.write_all(summary)?;
        durable::persist(file, &self.root.join("summary"), Name::Now)
    }
}
