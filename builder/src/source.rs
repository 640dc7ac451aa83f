//! The closed set of sources that a recipe can name. Each can `fetch` (bring what it needs; the
//! only code that uses the network beside locking) and `build` (turn it into blobs and tree
//! nodes, offline). Packages are also locked here.

pub mod apparmor;
mod caches;
pub mod cargo;
pub mod deb;
mod files;
pub mod go;
pub mod image;
pub mod kata;
pub mod local;
pub mod url;

use serde::{Deserialize, Serialize};

pub use caches::Caches;

/// Whether something is as the world has it under its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    #[default]
    Whole,
    /// It was changed: what is true of the one that the world has need not be true of it.
    Changed,
}

impl State {
    /// Whether it is [`State::Whole`].
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}
