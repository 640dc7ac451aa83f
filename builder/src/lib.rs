//! `orlop`: turns a recipe into node images.
//!
//! Data flows one way: recipe, lock, store, tree, root image, UKI, disk. See `ARCHITECTURE.md`.

pub mod archive;
pub mod arguments;
pub mod budget;
pub mod build;
pub mod cargo_workspace;
pub mod clean;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod compose;
pub mod contents;
pub mod credentials;
pub mod delta;
pub mod diff;
pub mod digest;
pub mod doctor;
pub mod durable;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod figures;
pub mod go_mod;
pub mod http;
pub mod image;
pub mod in_use;
pub mod kata;
pub mod keys;
pub mod lock;
pub mod manifests;
pub mod node_config;
pub mod os_release;
pub mod outside;
pub mod process;
pub mod progress;
pub mod provenance;
pub mod recipe;
pub mod registry;
pub mod regular;
pub mod release;
pub mod repository;
pub mod repro;
pub mod run;
pub mod sbom;
pub mod scaffold;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod source;
pub mod start;
pub mod step;
pub mod store;
pub mod stored;
pub mod unfinished;
pub mod visible;

#[cfg(test)]
#[path = "../tests/shared/documented.rs"]
mod documented;

#[cfg(test)]
#[path = "../tests/shared/mock_registry.rs"]
mod mock_registry;

#[cfg(test)]
#[path = "../tests/shared/kata_release.rs"]
mod kata_release;
