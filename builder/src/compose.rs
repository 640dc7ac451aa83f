//! Compose: from what the sources give to one tree, as data. Nothing is mounted, nothing is run.

pub mod allow;
pub mod layers;
pub mod module_files;
pub mod modules;
pub mod program;
pub mod system;
