//! The rim: what the command line, the environment and the clock say, taken once and handed on as
//! values. None of it may shape a byte of an image.
#![expect(clippy::disallowed_methods, reason = "this is the rim: the one place that asks the time")]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{Error, Id, Result};
use crate::source::Caches;
use crate::store::Store;

/// What the user and the host say.
#[derive(Debug)]
pub struct Settings {
    store: PathBuf,
    /// What is known of the environment.
    pub environment: Environment,
    /// Where compilers keep what they know.
    pub caches: Caches,
    /// Mirrors that the user named, in order.
    pub mirrors: Vec<String>,
    /// Seconds since 1970: for expiry of release files only.
    pub now: u64,
    /// Whether this is a CI run (`CI` is set and not empty).
    pub ci: bool,
}

impl Settings {
    /// Reads the environment and the clock.
    ///
    /// # Errors
    /// [`Id::NoCache`] if there is no place for the store.
    pub fn new(global: &Global) -> Result<Self> {
        let environment = Environment::new(|name| std::env::var_os(name));
        let cache = environment.cache();
        let store =
            global.store.clone().or_else(|| cache.as_ref().map(|cache| cache.join("store")));
        let store = store.ok_or_else(|| {
            Error::new(
                Id::NoCache,
                "there is no place for the store: neither `HOME` nor `XDG_CACHE_HOME` is set",
            )
            .hint("name one with `--store DIR` or `ORLOP_STORE`")
        })?;
        let caches = cache.unwrap_or_else(|| store.with_extension("caches"));
        Ok(Self {
            caches: Caches::below(&caches),
            store,
            mirrors: global.mirror.iter().filter(|url| !url.is_empty()).cloned().collect(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            ci: std::env::var_os("CI").is_some_and(|value| !value.is_empty()),
            environment,
        })
    }

    /// Where the store is or will be.
    pub fn store_path(&self) -> &Path {
        &self.store
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn store(&self) -> Result<Store> {
        Store::open(&self.store)
    }
}

/// The number of processors we may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
