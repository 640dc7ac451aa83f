//! A container runtime asked over its Unix socket: few calls of gRPC over HTTP/2, blocking, each
//! with a time limit. Used by PID 1 and by the programs that work for it.
//!
//! [`Client`] makes calls; [`runtime`] are those of the CRI, [`containerd`] those of containerd's
//! own services. Below them are, without I/O: messages ([`protobuf`]), the conversation
//! (`session`) and header blocks (`hpack`).

pub mod client;
pub mod containerd;
mod error;
mod hpack;
pub mod protobuf;
pub mod runtime;
mod session;

pub use client::{Call, Client, Transport};
pub use error::{Error, Status};
