//! Writes what a `.deb` holds as files of this host: programs that the build itself starts, with
//! the libraries they need. (Into an image packages go as data: see [`super::unpack`].)

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use formats::tree::TreePath;
use tar::EntryType;

use super::contents::Control;
use super::shell::{Deb, TarMember};
use super::unpack::{MERGED, merged};
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::Package;
use crate::store::Store;

/// Writes all packages into a directory that is there and empty, as one merged system: `bin`,
/// `lib`, `lib64` and `sbin` are links into `usr`. Paths for which `wanted` says no are left out.
///
/// # Errors
/// [`Id::StoreMissing`], [`Id::WrongDigest`] if a blob is damaged, [`Id::BadPackage`],
/// [`Id::Write`].
pub fn all(
    packages: &[&Package],
    store: &Store,
    directory: &Path,
    wanted: &dyn Fn(&TreePath) -> bool,
) -> Result<()> {
    let mut files = Files { directory, wanted, made: BTreeSet::from([PathBuf::new()]) };
    for name in MERGED {
        files.directory(Path::new(&format!("usr/{name}")))?;
        files.link(Path::new(name), &format!("usr/{name}"))?;
    }
    for package in packages {
        let file = store.open_blob(&package.blob)?;
        let name = format!("{} {}", package.name, package.version);
        files.extract(&file, &name)?.check(package)?;
    }
    Ok(())
}

struct Files<'a> {
    directory: &'a Path,
    wanted: &'a dyn Fn(&TreePath) -> bool,
    /// Directories that are known to be there, and to be none of somebody's links.
    made: BTreeSet<PathBuf>,
}

impl Files<'_> {
    fn extract(&mut self, file: &File, name: &str) -> Result<Control> {
        let deb = Deb::open(file, name)?;
        let (control, _) = deb.control()?;
        deb.each(&deb.data, |path, member| {
            let kind = member.header().entry_type();
            let path = merged(path, kind == EntryType::Symlink);
            if (self.wanted)(&path) { self.take(&deb, &path, kind, member) } else { Ok(()) }
        })?;
        Ok(control)
    }

    fn take(
        &mut self,
        deb: &Deb<'_>,
        path: &TreePath,
        kind: EntryType,
        member: &mut TarMember<'_, '_>,
    ) -> Result<()> {
        let inner = Path::new(path.as_str());
        let damaged = |error: io::Error| deb.bad(format!("{path}: {error}"));
        let link_target = |member: &TarMember<'_, '_>| {
            let target = member.link_name_bytes().unwrap_or_default().into_owned();
            String::from_utf8(target).ok().filter(|target| !target.is_empty())
        };
        let no_target = || deb.bad(format!("{path}: its target is not UTF-8 text"));
        match kind {
            EntryType::Directory => self.directory(inner),
            EntryType::Symlink => {
                let target = link_target(member).ok_or_else(no_target)?;
                self.link(inner, &target)
            }
            EntryType::Link => {
                let origin = link_target(member).ok_or_else(no_target)?;
                let origin = merged(deb.path(origin.as_bytes())?, false);
                self.parents(inner)?;
                let from = self.directory.join(origin.as_str());
                fs::hard_link(&from, self.directory.join(inner)).map_err(damaged)
            }
            kind if kind.is_file() => {
                self.parents(inner)?;
                let mode = member.header().mode().map_err(damaged)?;
                let at = self.directory.join(inner);
                let mut file = File::create_new(&at).map_err(damaged)?;
                let copied = io::copy(member, &mut file).map_err(damaged)?;
                if copied != member.size() {
                    return Err(deb.bad(format!("{path} is cut short")));
                }
                // Whoever may execute it, all may; nothing is set-id, nothing is protected from us.
                let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
                file.set_permissions(Permissions::from_mode(mode)).map_err(damaged)
            }
            kind => {
                let kind = char::from(kind.as_byte());
                Err(deb.bad(format!("{path} is of tar's type {kind:?}: it is no file")))
            }
        }
    }

    /// Makes a directory and those above it. A link in its place would lead out of our directory.
    fn directory(&mut self, inner: &Path) -> Result<()> {
        if self.made.contains(inner) {
            return Ok(());
        }
        self.parents(inner)?;
        let path = self.directory.join(inner);
        let cannot = || format!("cannot make the directory `{}`", path.display());
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::new(Id::Write, cannot()).caused_by(error));
            }
            _ => {}
        }
        let there = fs::symlink_metadata(&path).or_fail(Id::Write, cannot)?;
        if !there.is_dir() {
            let message =
                format!("two packages disagree whether `{}` is a directory", inner.display());
            return Err(Error::new(Id::BadPackage, message));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).or_fail(Id::Write, cannot)?;
        self.made.insert(inner.to_owned());
        Ok(())
    }

    fn parents(&mut self, inner: &Path) -> Result<()> {
        self.directory(inner.parent().unwrap_or(Path::new("")))
    }

    /// A link. An absolute target is meant from the top of our directory, not of this host.
    fn link(&mut self, inner: &Path, target: &str) -> Result<()> {
        self.parents(inner)?;
        let path = self.directory.join(inner);
        let target = match target.strip_prefix('/') {
            Some(rest) => format!("{}{rest}", "../".repeat(inner.components().count() - 1)),
            None => target.to_owned(),
        };
        symlink(&target, &path)
            .or_fail(Id::Write, || format!("cannot make the link `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests;
