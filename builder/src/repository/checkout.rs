//! A version as files of this host. Owners and extended attributes are not set: that takes root, and
//! nothing here does.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use super::{Bounds, Repository};
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished;
use crate::visible::visible;

/// Set-id bits would give files of whoever checks out the rights that root's were to have.
const KEPT_BITS: u32 = 0o777;

impl Repository {
    /// Writes the tree of a commit to `output`, which appears whole or not at all. Returns the
    /// number of paths.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`], [`Id::Write`], [`Id::DamagedObject`], [`Id::Read`],
    /// [`Id::VersionTooLarge`].
    pub fn checkout(&self, commit: &Sha256, output: &Path) -> Result<u64> {
        let cannot = || format!("cannot make `{}`", output.display());
        let output = std::path::absolute(output).or_fail(Id::Write, cannot)?;
        vacant(&output)?;
        let commit = self.commit(commit)?;
        let parent = durable::parent(&output);
        fs::create_dir_all(parent).or_fail(Id::Write, cannot)?;
        let scratch = unfinished::directory(parent, unfinished::Kind::Unpacked, 0o755)
            .or_fail(Id::Write, cannot)?;
        let opened = File::open(scratch.path()).or_fail(Id::Write, cannot)?;
        let root = scratch.path().join("root");
        let mut checkout =
            Checkout { repository: self, modes: Vec::new(), paths: 0, bounds: Bounds::new() };
        checkout.directory(&commit.tree, &commit.meta, &root, 0)?;
        let Checkout { modes, paths, .. } = checkout;
        durable::many_contents(&opened, scratch.path()).or_fail(Id::Write, cannot)?;
        // Last, and the deepest first: a directory may be one that its owner cannot write.
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        for (path, mode) in modes.iter().skip(1).rev() {
            set(path, *mode).or_fail(Id::Write, cannot)?;
        }
        // An empty directory gives way. To be moved, a directory must be one that can be written.
        durable::rename(&root, &output).or_fail(Id::Write, cannot)?;
        if let Some((_, mode)) = modes.first() {
            set(&output, *mode).or_fail(Id::Write, cannot)?;
        }
        Ok(paths)
    }
}

/// A version that becomes files.
struct Checkout<'a> {
    repository: &'a Repository,
    /// What directories will have, a directory before what is in it.
    modes: Vec<(PathBuf, u32)>,
    paths: u64,
    bounds: Bounds,
}

impl Checkout<'_> {
    fn directory(&mut self, tree: &Sha256, meta: &Sha256, to: &Path, depth: usize) -> Result<()> {
        let cannot = || format!("cannot write `{}`", visible(&to.to_string_lossy()));
        self.take(to, depth)?;
        let attributes = self.repository.directory_meta(meta)?;
        fs::create_dir(to).or_fail(Id::Write, cannot)?;
        self.modes.push((to.to_owned(), attributes.mode & KEPT_BITS));
        let directory = self.repository.directory(tree)?;
        // Names of objects that were read are single parts of a path.
        for (name, digest) in &directory.files {
            let to = to.join(name);
            self.take(&to, depth)?;
            self.file(digest, &to)?;
        }
        for (name, (tree, meta)) in &directory.directories {
            self.directory(tree, meta, &to.join(name), depth + 1)?;
        }
        Ok(())
    }

    fn take(&mut self, to: &Path, depth: usize) -> Result<()> {
        self.paths += 1;
        self.bounds.take(self.repository, depth, to.as_os_str().len())
    }

    fn file(&self, digest: &Sha256, to: &Path) -> Result<()> {
        let cannot = || format!("cannot write `{}`", visible(&to.to_string_lossy()));
        let header = self.repository.file(digest, |header| {
            let mut file = if header.is_link() {
                None
            } else {
                Some(File::create_new(to).or_fail(Id::Write, cannot)?)
            };
            Ok(move |bytes: &[u8]| {
                let written = file.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
                written.or_fail(Id::Write, cannot)
            })
        })?;
        let finish = || {
            if header.is_link() {
                return std::os::unix::fs::symlink(&header.target, to);
            }
            let mode = header.attributes.mode & KEPT_BITS;
            fs::set_permissions(to, Permissions::from_mode(mode))
        };
        finish().or_fail(Id::Write, cannot)
    }
}

fn vacant(output: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(output) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.or_fail(Id::Read, || format!("cannot read `{}`", output.display()))?,
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let message = format!("`{}` is not empty", output.display());
    Err(Error::new(Id::OutputInTheWay, message).hint("name a directory that is not there yet"))
}
