//! Drives whole images and whole nodes, as a user would: through the `orlop` command.

pub mod command;
pub mod store;
