//! What a node does beside PID 1, in processes that may fail without harm: taking in its
//! configuration, making the files that containerd and kubelet read, importing images, stopping
//! pods. The program is `orlop-node`; `docs/node.md` describes it.

mod apparmor;
pub mod applets;
pub mod arguments;
pub mod assemble;
pub mod command;
pub mod configure;
mod console;
pub mod crash;
mod daemons;
pub mod devices;
pub mod fetch;
pub mod hugepages;
mod image_credentials;
pub mod images;
mod kata;
mod kernel;
pub mod leftovers;
pub mod masquerade;
mod nftables;
pub mod outside;
pub mod pods;
pub mod port_map;
mod problems;
mod process;
pub mod root;
pub mod source;
mod state;
mod sys;
mod sysctl;
