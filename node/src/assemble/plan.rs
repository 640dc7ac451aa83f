//! What is to be written and removed, before anything is.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use super::file::File;
use super::serving::Wanted;
use super::{Error, serving};
use crate::root::{Keep, Root};

/// All changes to a node's files. Made only by [`super::plan`]; printed, it says all of them.
#[derive(Debug, Default)]
pub struct Plan {
    /// Removed first: an identity of another cluster must be gone before the new one is noted.
    removals: BTreeSet<String>,
    directories: Vec<&'static str>,
    serving: Option<Wanted>,
    /// In the order of writing.
    files: Vec<File>,
    /// What people should know of it, a line each.
    pub(super) told: Vec<String>,
}

impl Plan {
    pub(super) fn write_file(&mut self, file: File) {
        self.files.push(file);
    }

    pub(super) fn tell(&mut self, line: String) {
        self.told.push(line);
    }

    pub(super) fn remove(&mut self, path: impl Into<String>) {
        self.removals.insert(path.into());
    }

    /// Removes of these what nothing writes: they are of an earlier configuration.
    pub(super) fn remove_unwritten(&mut self, ours: &BTreeSet<String>) {
        let written: BTreeSet<_> = self.files.iter().map(|file| &file.path).collect();
        let left = ours.iter().filter(|path| !written.contains(path));
        self.removals.extend(left.cloned());
    }

    pub(super) fn directory(&mut self, path: &'static str) {
        self.directories.push(path);
    }

    pub(super) fn make_serving_pair(&mut self, wanted: Wanted) {
        self.serving = Some(wanted);
    }

    /// Does it: each file appears whole or not at all, what is already as it should be is left
    /// alone, and what is to outlive a power cut is on the disk.
    ///
    /// # Errors
    /// The first change that failed.
    pub fn write(&self, root: &Root) -> Result<(), Error> {
        for path in &self.removals {
            root.remove(path).map_err(|source| Error::Remove { path: path.clone(), source })?;
        }
        for &path in &self.directories {
            fs::create_dir_all(root.path(path))
                .map_err(|source| Error::Write { path: path.to_owned(), source })?;
        }
        if let Some(wanted) = &self.serving {
            for file in serving::make(wanted)? {
                put(root, &file)?;
            }
        }
        self.files.iter().try_for_each(|file| put(root, file))
    }
}

fn put(root: &Root, file: &File) -> Result<(), Error> {
    let bytes = file.content.as_bytes();
    let there = root.read(&file.path, bytes.len() as u64);
    if there.is_ok_and(|there| there.as_deref() == Some(bytes)) {
        return Ok(());
    }
    let keep = if file.path.starts_with("/var/") { Keep::Forever } else { Keep::ThisBoot };
    root.write(&file.path, bytes, file.mode, keep)
        .map_err(|source| Error::Write { path: file.path.clone(), source })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.told {
            writeln!(f, "tell {line}")?;
        }
        for path in &self.removals {
            writeln!(f, "remove {path}")?;
        }
        for path in &self.directories {
            writeln!(f, "directory {path}")?;
        }
        if let Some(wanted) = &self.serving {
            writeln!(f, "{wanted}")?;
        }
        for File { path, mode, content } in &self.files {
            writeln!(f, "{mode:04o} {path}")?;
            for line in content.lines() {
                let indent = if line.is_empty() { "" } else { "    " };
                writeln!(f, "{indent}{line}")?;
            }
        }
        Ok(())
    }
}
