//! The lock: every blob that a build takes from outside, by sha256 and size.
//!
//! It is written by `orlop lock`, sorted, as TOML; `build` reads it and the store and nothing
//! else. `inputs` repeats what the resolver was asked, line by line, so that a stale lock is found
//! offline and the error names the lines that changed.

pub mod model;

pub use model::Lock;
