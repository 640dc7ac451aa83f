//! Unpacks the packages of the lock, each a step of its own, several at once.

use std::collections::BTreeMap;

use formats::tree::{self, TreePath};
use globset::GlobMatcher;

use crate::build::Request;
use crate::build::report::Dropped;
use crate::compose::allow::glob;
use crate::error::Result;
use crate::lock::model::{Package, Role};
use crate::source::deb::contents::Contents;
use crate::source::deb::unpack;
use crate::step::{Inputs, Kind, Step, Steps};

/// Knows what of a package is wanted.
#[derive(Debug)]
pub struct Unpacker<'a> {
    request: &'a Request<'a>,
    drop: Vec<(&'a String, GlobMatcher)>,
}

impl<'a> Unpacker<'a> {
    /// Reads the globs of `[debian] drop`.
    ///
    /// # Errors
    /// [`crate::error::Id::BadGlob`].
    pub fn new(request: &'a Request<'a>) -> Result<Self> {
        let globs = request.recipe.debian.drop.iter();
        let drop = globs.map(|pattern| Ok((pattern, glob(pattern)?))).collect::<Result<_>>()?;
        Ok(Self { request, drop })
    }

    /// Unpacks all packages of one role, in the lock's order.
    ///
    /// # Errors
    /// Those of the store and of [`unpack::unpack`].
    pub fn unpack(
        &self,
        steps: &mut Steps<'_>,
        role: Role,
    ) -> Result<Vec<(&'a Package, Contents)>> {
        let packages = self.request.lock.packages.iter().filter(|package| package.role == role);
        let packages: Vec<&Package> = packages.collect();
        let complete = |contents: &Contents| {
            contents.copyright.iter().all(|blob| self.request.store.has(&blob.0))
                && contents.entries.iter().all(|entry| match &entry.node.kind {
                    tree::Kind::File(blob) => self.request.store.has(blob),
                    _ => true,
                })
        };
        let contents = steps.run_all(
            &packages,
            |package| self.step(package),
            complete,
            |package| self.unpack_one(package),
            self.request.jobs,
        )?;
        Ok(packages.into_iter().zip(contents).collect())
    }

    /// Adds what was left out of `contents` to the count of the glob that left it out.
    pub fn count_dropped(&self, contents: &Contents, dropped: &mut BTreeMap<String, Dropped>) {
        for path in &contents.dropped {
            let absolute = format!("/{}", path.path);
            for (pattern, _) in self.drop.iter().filter(|(_, glob)| glob.is_match(&absolute)) {
                let count = dropped.entry((*pattern).clone()).or_default();
                count.paths += 1;
                count.bytes += path.size;
            }
        }
    }

    fn step(&self, package: &Package) -> Step {
        let inputs = Inputs::new().with("deb", package.blob.sha256);
        let inputs = match package.role {
            Role::Root => inputs.with_all("drop", &self.request.recipe.debian.drop),
            Role::Kernel => inputs.with("keep", "kernel, its configuration and modules"),
            Role::Tool => inputs.with("keep", "EFI programs"),
            // Unpacked elsewhere, as files of this host.
            Role::Compiler => inputs,
        };
        Step::new(Kind::Unpack, format!("unpack {}", package.name), inputs)
    }

    fn unpack_one(&self, package: &Package) -> Result<Contents> {
        let name = format!("{} {}", package.name, package.version);
        let task = self.request.progress.task(format!("unpack {name}"), None);
        let wanted = |path: &TreePath| self.wants(package.role, path);
        let file = self.request.store.open_blob(&package.blob);
        let file = file.map_err(|error| error.within(format!("cannot unpack `{name}`")))?;
        let contents = unpack::unpack(&file, &name, self.request.store, &wanted)?;
        contents.control.check(package)?;
        let (kept, dropped) = (contents.entries.len(), contents.dropped.len());
        task.done(format!("{kept} paths, {dropped} left out"));
        Ok(contents)
    }

    fn wants(&self, role: Role, path: &TreePath) -> bool {
        // Directories above what is wanted come along: they are made anyway.
        let below = |directory: &str| {
            path.as_str().starts_with(directory) || directory.starts_with(path.as_str())
        };
        match role {
            Role::Kernel => {
                ["boot/vmlinuz-", "boot/config-", "usr/lib/modules/"].into_iter().any(below)
            }
            Role::Tool => below("usr/lib/systemd/boot/efi/"),
            Role::Compiler => false,
            Role::Root => {
                let absolute = path.to_string();
                !self.drop.iter().any(|(_, glob)| glob.is_match(&absolute))
            }
        }
    }
}
