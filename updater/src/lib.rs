//! The A/B updater: verify, stage, trial, promote, roll back. Its place in the whole is in
//! `ARCHITECTURE.md`; what it relies on is in `docs/disk.md`: two slots of a fixed size, two UKI
//! files whose clusters are known, and a directory of one sector that says which of them starts.
//!
//! [`plan`] decides and touches nothing, [`steps`] does what was decided.

mod armed_by;
pub mod boot_loader;
pub mod cancel;
pub mod choose;
pub mod client;
mod clock;
pub mod cluster;
pub mod command;
mod desk;
pub mod device;
pub mod eligible;
pub mod esp;
pub mod facts;
mod files;
pub mod firmware;
pub mod follow;
mod given_up;
pub mod health;
mod memory;
pub mod meta;
pub mod node;
pub mod outside;
pub mod plan;
pub mod policy;
mod process;
pub mod protocol;
pub mod roles;
pub mod serve;
pub mod snapshot;
mod socket;
pub mod steps;
mod sys;
pub mod transport;
pub mod trial;
pub mod trust;
mod words;
pub mod work;
