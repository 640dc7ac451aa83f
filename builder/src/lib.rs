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
pub mod diff;
pub mod digest;
pub mod doctor;
pub mod durable;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod go_mod;
pub mod http;
pub mod image;
pub mod in_use;
pub mod lock;
pub mod node_config;
pub mod outside;
pub mod process;
pub mod progress;
pub mod provenance;
pub mod recipe;
pub mod repository;
pub mod repro;
pub mod run;
pub mod sbom;
pub mod scaffold;
pub mod settings;
pub mod signals;
pub mod source;
pub mod start;
pub mod step;
pub mod store;
pub mod stored;
pub mod unfinished;

#[cfg(test)]
#[path = "../tests/shared/documented.rs"]
mod documented;
