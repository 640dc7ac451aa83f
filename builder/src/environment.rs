//! The rim: everything that is taken from the environment, the clock or the host's settings is
//! taken here, once, and handed on as values. None of it may shape a byte of an image.
#![expect(clippy::disallowed_methods, reason = "this is the rim: the one place that asks the time")]

use std::env;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::Global;
use crate::error::{Error, Id, Result};
use crate::source::Caches;
use crate::store::Store;

/// What the host and the user's settings say.
#[derive(Debug)]
pub struct Environment {
    store: PathBuf,
    /// Where compilers keep what they know.
    pub caches: Caches,
    /// Mirrors that the user named, in order.
    pub mirrors: Vec<String>,
    /// Seconds since 1970: for expiry of release files only.
    pub now: u64,
    /// Whether this is a CI run (`CI` is set and not empty).
    pub ci: bool,
}

impl Environment {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`Id::NoCache`] if there is no place for the store.
    pub fn new(global: &Global) -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .map(|cache| cache.join("orlop"));
        let store = global.store.clone().or_else(|| cache.as_ref().map(|cache| cache.join("store")));
        let store = store.ok_or_else(|| {
            Error::new(Id::NoCache, "there is no place for the store: neither `HOME` nor `XDG_CACHE_HOME` is set")
                .hint("name one with `--store DIR` or `ORLOP_STORE`")
        })?;
        let caches = cache.unwrap_or_else(|| store.with_extension("caches"));
        Ok(Self {
            caches: Caches::below(&caches),
            store,
            mirrors: global.mirror.iter().filter(|url| !url.is_empty()).cloned().collect(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            ci: set("CI").is_some(),
        })
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
