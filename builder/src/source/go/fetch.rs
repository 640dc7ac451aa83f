//! What a component needs of others, brought into the store once.

use std::fs;

use formats::digest::Sha256;

use super::modules::Modules;
use super::{Component, Toolchain, sum, tool};
use crate::environment::Environment;
use crate::error::{Context as _, Id, Result};
use crate::source::caches::{self, Caches};
use crate::source::files;
use crate::step::Inputs;
use crate::store::Store;

/// The kind of record under which the store knows the modules of a component.
const MODULES: &str = "go-modules";

impl Component {
    /// Whether the store has the toolchain and all modules, so that a build needs no network.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn is_fetched(&self, store: &Store) -> Result<bool> {
        let toolchain = Toolchain::recall(&self.gomod.toolchain, store);
        let modules = self.modules(store)?;
        Ok(toolchain.is_some_and(|toolchain| toolchain.complete(store))
            && modules.is_some_and(|modules| modules.complete(store)))
    }

    /// Brings the toolchain and all modules into the store, through the Go mirror, the proxies and
    /// with the credentials of the environment. What is there already is not fetched again.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without Go, [`Id::ToolFailed`] with Go's own words, [`Id::StoreWrite`].
    pub fn fetch(&self, environment: &Environment, caches: &Caches, store: &Store) -> Result<()> {
        let name = &self.gomod.toolchain;
        let known = Toolchain::recall(name, store).filter(|known| known.complete(store));
        let toolchain = match known {
            Some(toolchain) => toolchain,
            None => Toolchain::fetch(name, environment, caches, store)?,
        };
        if self.modules(store)?.is_some_and(|modules| modules.complete(store)) {
            return Ok(());
        }
        let go = toolchain.unpacked(environment, caches, store)?.join("bin/go");
        // Go would add to the component's `go.sum`, and a checkout may be read-only.
        let copy = caches::scratch(&caches.go_build)?;
        let write = |name: &str, text: &str| {
            let path = copy.path().join(name);
            fs::write(&path, text)
                .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
        };
        let sum = self.sum()?;
        write("go.mod", &files::text(&self.directory.join("go.mod"))?)?;
        write("go.sum", &sum)?;
        let command = tool::for_fetch(&go, copy.path(), environment, caches);
        command.args(["mod", "download"]).run().map_err(tool::fetch_hints)?;
        let modules = Modules::keep(caches, sum::files(&sum), store)?;
        let record = serde_json::to_vec(&modules).or_fail(Id::Bug, || "a record of modules")?;
        store.put_step(MODULES, &self.modules_key()?, &record)
    }

    /// Gives toolchain and modules to another store.
    ///
    /// # Errors
    /// [`Id::GoNotFetched`], [`Id::StoreMissing`], [`Id::StoreWrite`].
    pub fn lend(&self, store: &Store, to: &Store) -> Result<()> {
        self.toolchain(store)?.lend(store, to)?;
        let Some(modules) = self.modules(store)? else { return Ok(()) };
        modules.lend(store, to)?;
        store.lend_result(MODULES, &self.modules_key()?, to)
    }

    /// What `go.sum` says; there is none if no other module is needed.
    fn sum(&self) -> Result<String> {
        let path = self.directory.join("go.sum");
        if path.exists() { files::text(&path) } else { Ok(String::new()) }
    }

    /// The modules that were fetched for just this `go.mod` and `go.sum`.
    pub(super) fn modules(&self, store: &Store) -> Result<Option<Modules>> {
        let record = store.step(MODULES, &self.modules_key()?);
        Ok(record.and_then(|record| serde_json::from_slice(&record).ok()))
    }

    fn modules_key(&self) -> Result<Sha256> {
        let gomod = Sha256::of(files::text(&self.directory.join("go.mod"))?);
        let inputs = Inputs::new().with("go.mod", gomod).with("go.sum", Sha256::of(self.sum()?));
        Ok(inputs.with("toolchain", &self.gomod.toolchain).digest())
    }
}
