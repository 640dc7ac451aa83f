//! The files of a new release, each in its place as soon as it is made. Nobody is led to them yet.

use std::collections::BTreeMap;
use std::fs::File;

use formats::digest::Sha256;
use formats::tuf::{Form, Found, Object, TargetFile, TargetPath};

use super::place::Place;
use crate::error::{Context as _, Id, Result};

/// Those that are there.
#[derive(Debug)]
pub(super) struct Coming<'p, 'd> {
    place: &'p Place<'d>,
    version: String,
    files: BTreeMap<TargetPath, TargetFile>,
}

impl<'p, 'd> Coming<'p, 'd> {
    /// None yet of this version.
    pub(super) fn new(place: &'p Place<'d>, version: &str) -> Self {
        Self { place, version: version.to_owned(), files: BTreeMap::new() }
    }

    /// Puts a file into its place.
    ///
    /// # Errors
    /// [`Id::Write`].
    pub(super) fn put(&mut self, name: &str, bytes: &[u8], custom: Option<Object>) -> Result<()> {
        let mut file = TargetFile::new(bytes.len() as u64, Sha256::of(bytes));
        file.custom = custom;
        let path = self.path(name)?;
        self.place.put(&place(&path, &file), bytes)?;
        self.files.insert(path, file);
        Ok(())
    }

    /// Puts a copy of a file into its place, which was found elsewhere and is as it was signed.
    ///
    /// # Errors
    /// [`Id::Read`], [`Id::Write`].
    pub(super) fn copy(
        &mut self,
        name: &str,
        from: &Found,
        bytes: &mut File,
        custom: Option<Object>,
    ) -> Result<()> {
        let file = TargetFile { custom, ..from.file.clone() };
        let path = self.path(name)?;
        self.place.copy(&place(&path, &file), bytes)?;
        self.files.insert(path, file);
        Ok(())
    }

    /// All of them.
    pub(super) fn into_files(self) -> BTreeMap<TargetPath, TargetFile> {
        self.files
    }

    fn path(&self, name: &str) -> Result<TargetPath> {
        let path = format!("{}/{name}", self.version).parse();
        path.or_fail(Id::ReleaseTerms, || format!("cannot publish `{name}`"))
    }
}

fn place(path: &TargetPath, file: &TargetFile) -> String {
    format!("targets/{}", path.path(file.hashes.prefix(), Form::File))
}
