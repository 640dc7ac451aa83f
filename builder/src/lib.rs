//! `orlop`: turns a recipe into node images.
//!
//! Data flows one way: recipe, lock, store, tree, root image, UKI, disk. See `ARCHITECTURE.md`.

pub mod error;
pub mod image;
pub mod lock;
pub mod process;
pub mod progress;
pub mod recipe;
pub mod source;
pub mod store;
