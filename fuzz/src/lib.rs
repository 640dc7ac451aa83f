//! Every parser of what others wrote as a target for fuzzing, each with seeds that are made in
//! code. `docs/testing.md` has the table and says how they are run; the tests of this crate run
//! each over its seeds and changes of them, so that no target can rot.

pub mod mutate;
mod seeds;
mod table;
mod targets;

pub use table::TARGETS;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it reads, for people.
    pub reads: &'static str,
    /// The source files whose parsers it goes through.
    pub parsers: &'static [&'static str],
    /// Takes any bytes without a panic.
    pub run: fn(&[u8]),
    /// Proper inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
