//! Releases: what nodes fetch, as static files under the metadata of TUF ([`formats::tuf`]).
//! `docs/releases.md` has the files and the rules.
//!
//! [`publish`] makes them of a build and takes them away, [`verify`] believes them as a node does;
//! both read what is published by the same client ([`reader`]). [`push`] and [`pull`] take a directory to a
//! registry and back.

mod coming;
pub mod commit;
mod files;
mod fits;
mod history;
mod image;
pub mod kept;
mod listing;
mod place;
pub mod publish;
pub mod pull;
pub mod push;
pub mod reader;
mod signers;
mod state;
pub mod verify;

use formats::release::listed;
use formats::tuf::Targets;

use crate::error::{Error, Id};

/// That metadata or a target is not to be believed.
fn refused(refused: formats::tuf::Refused) -> Error {
    Error::new(Id::Metadata, "the release is refused").caused_by(refused)
}

/// Versions that metadata names, the oldest first, each with its number.
fn versions(targets: &Targets) -> Vec<(u64, String)> {
    listed(targets).into_iter().map(|release| (release.number, release.version)).collect()
}
