//! The summary: what clients read first. It follows from refs and commits, so one that is missing
//! or older, as after a kill, is made anew by whoever commits next.

use std::fs;
use std::io::{self, ErrorKind, Write as _};

use formats::ostree::{Entry, Summary, Value};

use super::Repository;
use super::version::VERSION;
use crate::durable::{self, Name};
use crate::error::{Context as _, Id, Result};
use crate::unfinished;

impl Repository {
    /// Brings the summary to what refs say. One that is right is left as it is.
    pub(super) fn update_summary(&self) -> Result<()> {
        let mut refs = std::collections::BTreeMap::new();
        for (name, digest) in self.refs()? {
            let commit = self.commit(&digest)?;
            let version = match commit.metadata.get(VERSION) {
                Some(Value::Text(version)) => Some(version.as_str()),
                _ => None,
            };
            let size = commit.encode().len() as u64;
            refs.insert(name, Entry::new(digest, size, commit.timestamp, version));
        }
        let path = self.root.join("summary");
        let before = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?,
        };
        let summary = Summary::of_archive(refs, Summary::parse(&before).ok()).encode();
        if summary == before {
            return Ok(());
        }
        self.put_summary(&summary).or_fail(Id::RepositoryWrite, || self.cannot_write())
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
