//! The rim: what the command line, the environment and the clock say, taken once and handed on as
//! values. None of it may shape a byte of an image.
#![expect(clippy::disallowed_methods, reason = "this is the rim: the one place that asks the time")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::in_use::InUse;
use crate::source::Caches;
use crate::store::{BLOBS, Store};

/// What the user and the host say.
#[derive(Debug)]
pub struct Settings {
    store: Option<PathBuf>,
    /// What is known of the environment.
    pub environment: Environment,
    /// Where compilers keep what they know.
    pub caches: Caches,
    /// Mirrors that the user named, in order.
    pub mirrors: Vec<String>,
    /// Seconds since 1970: for expiry of release files, and for a cluster's certificates.
    pub now: u64,
    /// Whether this is a CI run (`CI` is set and not empty).
    pub ci: bool,
}

impl Settings {
    /// Reads the environment and the clock.
    pub fn new(global: &Global) -> Self {
        let environment = Environment::new(std::env::vars_os());
        let cache = environment.cache();
        // As everywhere in the environment, a variable that is set to nothing is not set.
        let variable = std::env::var_os("ORLOP_STORE").filter(|value| !value.is_empty());
        let named = global.store.clone().or_else(|| variable.map(PathBuf::from));
        let store = named.or_else(|| cache.as_ref().map(|cache| cache.join("store")));
        // Without either, nothing that uses the caches comes so far as to do so.
        let caches = cache.or_else(|| Some(store.as_ref()?.with_extension("caches")));
        Self {
            caches: Caches::below(&caches.unwrap_or_default()),
            store,
            mirrors: global.mirror.iter().filter(|url| !url.is_empty()).cloned().collect(),
            now: now(),
            ci: std::env::var_os("CI").is_some_and(|value| !value.is_empty()),
            environment,
        }
    }

    /// Where the store is or will be.
    ///
    /// # Errors
    /// [`Id::NoCache`] if there is no place for it.
    pub fn store_path(&self) -> Result<&Path> {
        self.store.as_deref().ok_or_else(|| {
            Error::new(
                Id::NoCache,
                "there is no place for the store: neither `HOME` nor `XDG_CACHE_HOME` is set",
            )
            .hint("name one with `--store DIR` or `ORLOP_STORE`")
        })
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Id::NoCache`], [`Id::StoreWrite`].
    pub fn store(&self) -> Result<Store> {
        let path = self.store_path()?;
        let store = Store::open(path)?;
        Ok(store.using([path, &self.caches.root].into_iter().filter_map(InUse::shared)))
    }

    /// Opens a store that is there already: a command that makes nothing would make the store which
    /// was named wrongly, and be content with all of its no blobs. `what` says what it would do.
    ///
    /// # Errors
    /// [`Id::NoCache`], [`Id::StoreWrite`]; [`Id::Read`] if there is no store.
    pub fn store_to(&self, what: &str) -> Result<Store> {
        self.must_be_there(what)?;
        self.store()
    }

    /// As [`Self::store_to`] for clearing up, while nobody uses the store or the caches.
    ///
    /// # Errors
    /// As there, and [`Id::StoreBusy`].
    pub fn store_alone_to(&self, what: &str) -> Result<Store> {
        let path = self.must_be_there(what)?;
        let store = Store::open(path)?;
        let mut ours = Vec::new();
        for directory in [path, &self.caches.root] {
            let cannot = || format!("cannot make a file in `{}`", directory.display());
            let alone = InUse::alone(directory).or_fail(Id::StoreWrite, cannot)?;
            ours.push(alone.ok_or_else(|| {
                let what = format!("another `orlop` is using `{}`", directory.display());
                Error::new(Id::StoreBusy, what)
                    .hint("wait for its end; `--dry-run` shows what would go meanwhile")
            })?);
        }
        Ok(store.using(ours))
    }

    fn must_be_there(&self, purpose: &str) -> Result<&Path> {
        let path = self.store_path()?;
        std::fs::read_dir(path.join(BLOBS)).map(|_| path).map_err(|error| {
            let there = ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind());
            let what = if there { "cannot read the store" } else { "there is no store" };
            let message = format!("{what} `{}` to {purpose}", path.display());
            Error::new(Id::Read, message)
                .caused_by(error)
                .hint("`--store DIR` or `ORLOP_STORE` names it; `orlop store path` shows it")
        })
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same as the metadata of releases has it.
pub(crate) fn seconds() -> i64 {
    i64::try_from(now()).unwrap_or(i64::MAX)
}

/// The number of processors we may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
