//! The state that a directory of releases is in before somebody publishes.

use std::path::Path;

use formats::tuf::{Head, Metadata as _, Targets, Trusted};

use super::reader::{self, Reader};
use crate::error::{Error, Id, Result};
use crate::keys::roots::Roots;

/// What is there before.
#[derive(Debug)]
pub(super) struct State {
    /// Nothing if nothing is published.
    pub(super) trusted: Option<Trusted>,
    /// The root that the metadata there is signed under.
    pub(super) root: Vec<u8>,
    /// The last of the owner's roots that is published, from 0 on: readers go by no later one.
    pub(super) known: Option<usize>,
}

impl State {
    /// What `directory` has, whatever its age. A new root may not be published yet: what is there is
    /// signed under one of the roots of the owner.
    pub(super) fn load(directory: &Path, roots: &Roots) -> Result<Self> {
        let there = directory.join("metadata/timestamp.json").exists();
        let place = reader::directory(directory);
        let published =
            |version: &usize| directory.join(format!("metadata/{version}.root.json")).exists();
        let published = (1..=roots.files.len()).take_while(published).count();
        let mut error = None;
        for (number, root) in roots.files.iter().enumerate().rev() {
            let root = root.clone();
            if !there {
                return Ok(Self { trusted: None, root, known: None });
            }
            match Reader::at(&place, &root).refresh(i64::MIN) {
                Ok(trusted) => {
                    let known = published.checked_sub(1).or(Some(number));
                    return Ok(Self { trusted: Some(trusted), root, known });
                }
                Err(other) => error = error.or(Some(other)),
            }
        }
        let message = format!("cannot go on with what is in `{}`", directory.display());
        Err(match error {
            Some(error) => error.within(message),
            None => Error::new(Id::Metadata, message),
        })
    }

    /// What `targets` says; nothing is in it if nothing is published.
    pub(super) fn targets(&self) -> Targets {
        let empty = || Targets { head: Head::new(0, 0), targets: [].into(), delegations: None };
        self.trusted.as_ref().and_then(|it| it.targets().cloned()).unwrap_or_else(empty)
    }

    /// The version of a snapshot and of a timestamp that follow.
    pub(super) fn next(&self) -> (u64, u64) {
        let next = |head: Option<&Head>| head.map_or(0, |head| head.version) + 1;
        let trusted = self.trusted.as_ref();
        (
            next(trusted.and_then(|it| it.snapshot()).map(|it| it.head())),
            next(trusted.and_then(|it| it.timestamp()).map(|it| it.head())),
        )
    }
}
