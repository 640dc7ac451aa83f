//! What was read of Cargo workspaces, and asked of their compilers, for all components of one build:
//! most are of one workspace, and share packages. To read it once for each costs more than all else
//! of a build in which nothing has changed.
//!
//! Who compiles, fetches or unpacks says so ([`Seen::forget`]): that takes long enough for files to
//! change. Whether they did while they were compiled is asked afterwards.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use formats::digest::Sha256;

use super::{apart, toolchain};
use crate::cargo_workspace::{Lockfile, Workspace};
use crate::environment::Environment;
use crate::error::Result;
use crate::source::files;

/// Files by their path, with their digests.
pub(super) type Digests = BTreeMap<String, Sha256>;

/// All workspaces that were looked at, by their path in the recipe.
#[derive(Debug, Default)]
pub struct Seen {
    workspaces: RefCell<BTreeMap<PathBuf, Rc<View>>>,
    rustc: RefCell<BTreeMap<PathBuf, String>>,
    cargo: RefCell<BTreeMap<PathBuf, toolchain::CargoVersion>>,
}

impl Seen {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads everything anew from here on.
    pub fn forget(&self) {
        self.workspaces.take();
        self.rustc.take();
        self.cargo.take();
    }

    /// # Errors
    /// Those of [`View::read`].
    pub(super) fn workspace(&self, path: &Path) -> Result<Rc<View>> {
        if let Some(view) = self.workspaces.borrow().get(path) {
            return Ok(view.clone());
        }
        let view = Rc::new(View::read(path)?);
        self.workspaces.borrow_mut().insert(path.to_owned(), view.clone());
        Ok(view)
    }

    /// What the compiler of a workspace says of itself.
    ///
    /// # Errors
    /// Those of [`toolchain::says`].
    pub(super) fn rustc(&self, environment: &Environment, workspace: &Path) -> Result<String> {
        if let Some(words) = self.rustc.borrow().get(workspace) {
            return Ok(words.clone());
        }
        let words = toolchain::says(environment, workspace)?;
        self.rustc.borrow_mut().insert(workspace.to_owned(), words.clone());
        Ok(words)
    }

    /// Which Cargo a workspace is compiled with.
    ///
    /// # Errors
    /// Those of [`toolchain::cargo`].
    pub(super) fn cargo(
        &self,
        environment: &Environment,
        workspace: &Path,
    ) -> Result<toolchain::CargoVersion> {
        if let Some(known) = self.cargo.borrow().get(workspace) {
            return Ok(known.clone());
        }
        let cargo = toolchain::cargo(environment, workspace)?;
        self.cargo.borrow_mut().insert(workspace.to_owned(), cargo.clone());
        Ok(cargo)
    }
}

/// One workspace, and what was read of it so far.
#[derive(Debug)]
pub(super) struct View {
    pub(super) workspace: Workspace,
    /// The crates that come out of the store.
    pub(super) lockfile: Lockfile,
    directories: RefCell<BTreeMap<Files, Rc<Digests>>>,
}

/// Files of a directory in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Files {
    /// Those of the package there.
    Package(PathBuf),
    /// All of them: crates that the workspace brings.
    Crates(PathBuf),
}

impl View {
    /// # Errors
    /// Those of [`Workspace::read`] and [`Workspace::lockfile`].
    pub(super) fn read(path: &Path) -> Result<Self> {
        let workspace = Workspace::read(path)?;
        let lockfile = workspace.lockfile()?;
        Ok(Self { workspace, lockfile, directories: RefCell::default() })
    }

    /// Files with their digests.
    ///
    /// # Errors
    /// Those of [`files::digests`].
    pub(super) fn files(&self, of: &Files) -> Result<Rc<Digests>> {
        if let Some(known) = self.directories.borrow().get(of) {
            return Ok(known.clone());
        }
        let read = Rc::new(self.files_now(of)?);
        self.directories.borrow_mut().insert(of.clone(), read.clone());
        Ok(read)
    }

    /// The same as they are now.
    ///
    /// # Errors
    /// Those of [`files::digests`].
    pub(super) fn files_now(&self, of: &Files) -> Result<Digests> {
        let root = self.workspace.root();
        match of {
            Files::Package(directory) => files::digests(&root.join(directory), apart),
            Files::Crates(directory) => files::digests(&root.join(directory), |_| false),
        }
    }
}
