//! Drives whole images and whole nodes, as a user does: through the `orlop` program.
//!
//! [`Orlop`] is that program and an image it has built, [`Machine`] a guest under way, [`disk`]
//! looks at and damages copies of the image's disk, [`store`] copies stores, [`process`] starts
//! every program, and [`harness`] runs tests that are sentences. Everything is waited for with a
//! deadline, on pipes: nothing sleeps and nothing polls.

pub mod agent;
pub mod cluster;
pub mod disk;
pub mod dns;
pub mod drive;
pub mod fleets;
pub mod harness;
pub mod images;
mod listener;
pub mod machine;
pub mod monitor;
pub mod node;
pub mod ntp;
mod orlop;
pub mod process;
pub mod random;
pub mod registry;
pub mod relay;
pub mod releases;
pub mod store;
mod usage;
pub mod variables;
pub mod web;

pub use cluster::Cluster;
pub use machine::{Boot, Ended, Machine};
pub use node::{Node, Setup};
pub use orlop::{Orlop, Report, RootReport, workspace};
