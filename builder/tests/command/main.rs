//! The `orlop` command as a user meets it: a tiny project, a mirror on loopback, the real binary.
//! What is checked is what can be seen from outside: exit status, stdout, stderr, files.

mod archive;
mod attacks;
mod budgets;
mod builds;
mod clean;
mod cluster;
mod compilers;
mod config;
mod crates;
mod diffs;
#[path = "../shared/documented.rs"]
mod documented;
mod fetching;
mod full;
mod go;
mod ids;
mod images;
mod json;
mod kata;
#[path = "../shared/kata_release.rs"]
#[expect(dead_code, reason = "the unit tests of releases need more of it")]
mod kata_release;
mod keys;
mod kills;
mod locking;
#[path = "../../src/source/go/tests/testing.rs"]
#[expect(dead_code, reason = "the unit tests of Go components need more of it")]
mod made_up;
#[path = "../shared/mock_registry.rs"]
#[expect(dead_code, reason = "the unit tests of registries need more of it")]
mod mock_registry;
mod modules;
mod others;
mod overlays;
mod pins;
mod project;
mod publishing;
mod recipes;
mod releases;
mod repro;
mod roots;
mod sboms;
mod serve;
mod server;
#[path = "../../src/source/deb/testing.rs"]
#[expect(dead_code, reason = "the unit tests of signatures need more of it")]
mod signers;
mod stores;
mod upgrades;
mod urls;
mod versions;

/// What the files that are shared with unit tests call it.
mod process {
    pub(crate) use builder::process::Command;
}
