//! Pure encoders and decoders of the formats that OrlopOS images are made of.
//!
//! Bytes in, values out. Nothing here opens a file, reads a clock, draws a random number or says
//! `unsafe`: who writes disks and runs programs sits above.

pub mod architecture;
#[cfg(feature = "transport")]
pub mod blocks;
pub mod boot_entries;
pub mod boot_loader;
pub mod command_line;
pub mod cpio;
pub mod crc32;
pub mod deb;
#[cfg(feature = "transport")]
pub mod delta;
pub mod digest;
pub mod erofs;
pub mod excerpt;
pub mod fat;
#[cfg(all(feature = "tuf", feature = "transport"))]
pub mod fleet;
pub mod go_build_info;
pub mod gpt;
pub mod health;
#[cfg(feature = "transport")]
pub mod incoming;
pub mod kata;
pub mod kubelet;
mod le;
pub mod loader;
pub mod loop_device;
pub mod manifest;
pub mod meta;
pub mod module_index;
pub mod moment;
pub mod near;
pub mod node_config;
pub mod oci;
pub mod os_release;
#[cfg(feature = "ostree")]
pub mod ostree;
pub mod quote;
#[cfg(all(feature = "tuf", feature = "transport"))]
pub mod release;
#[cfg(feature = "transport")]
pub mod seekable;
pub mod segment;
#[cfg(feature = "state")]
pub mod state;
pub mod superblock;
pub mod system;
pub mod tar;
pub mod tree;
pub mod trial;
#[cfg(feature = "tuf")]
pub mod tuf;
pub mod uki;
pub mod verity;
