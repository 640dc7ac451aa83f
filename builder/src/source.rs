//! The closed set of sources that a recipe can name. Each can `fetch` (bring what it needs; the
//! only code that uses the network beside locking) and `build` (turn it into blobs and tree
//! nodes, offline). Packages are also locked here.

pub mod apparmor;
mod caches;
pub mod cargo;
pub mod deb;
mod files;
pub mod go;
pub mod local;
pub mod url;

pub use caches::Caches;
