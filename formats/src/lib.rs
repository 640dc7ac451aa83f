//! Pure encoders and decoders of the formats that OrlopOS images are made of.
//!
//! Bytes in, values out. Nothing here opens a file, reads a clock, draws a random number or says
//! `unsafe`: who writes disks and runs programs sits above.

pub mod architecture;
pub mod command_line;
pub mod cpio;
pub mod crc32;
pub mod deb;
pub mod digest;
pub mod erofs;
pub mod excerpt;
pub mod fat;
pub mod go_build_info;
pub mod gpt;
mod le;
pub mod loop_device;
pub mod manifest;
pub mod module_index;
pub mod moment;
pub mod near;
pub mod node_config;
pub mod oci;
#[cfg(feature = "ostree")]
pub mod ostree;
pub mod quote;
pub mod segment;
#[cfg(feature = "state")]
pub mod state;
pub mod superblock;
pub mod system;
pub mod tar;
pub mod tree;
pub mod uki;
pub mod verity;
