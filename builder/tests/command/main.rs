//! The `orlop` command as a user meets it: a tiny project, a mirror on loopback, the real binary.
//! What is checked is what can be seen from outside: exit status, stdout, stderr, files.

mod archive;
mod builds;
mod clean;
mod cluster;
mod config;
#[path = "../shared/documented.rs"]
mod documented;
mod fetching;
mod ids;
mod json;
mod locking;
mod others;
mod project;
mod recipes;
mod roots;
mod server;
#[path = "../../src/source/deb/testing.rs"]
#[expect(dead_code, reason = "the unit tests of signatures need more of it")]
mod signers;
