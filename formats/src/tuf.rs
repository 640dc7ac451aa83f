//! The Update Framework: <https://theupdateframework.github.io/specification/v1.0.33/>, by which a
//! client that has nothing but a root notices when somebody feeds it what its owner did not sign, what
//! is old, or what does not belong together.
//!
//! Nothing here opens a file or a connection, reads a clock or draws a random number.
//! [`Refresh`] and [`Search`] say what they want next, with a limit, and go on with what the caller
//! gives them ([`run`]); [`Trusted`] has the rules alone. [`publish::edition`] makes what they read.
//! `docs/releases.md` has the rules in words.

mod delegation;
mod error;
mod fields;
mod hashes;
mod json;
pub(crate) mod key;
mod limits;
mod memory;
mod metadata;
mod name;
pub mod publish;
mod refresh;
mod search;
mod signed;
mod spki;
mod trusted;
mod workflow;

pub use delegation::{Delegation, Delegations, Scope};
pub use error::{Reason, Refused};
pub use hashes::{Check, Hashes, MetaFile, TargetFile};
pub use json::{DEPTH, Json, JsonError, Object, VALUES};
pub use key::{Key, KeyId, Keys, PublicKey, RoleKeys};
pub use limits::Limits;
pub use memory::Memory;
pub use metadata::{Head, Metadata, Root, SPECIFICATION, Snapshot, Targets, Timestamp};
pub use name::{
    Form, RoleName, RoleNameError, TargetPath, TargetPathError, TopLevel, metadata_path,
};
pub use refresh::Refresh;
pub use search::{Found, Search};
pub use signed::{Ed25519, NoKey, Signed, Signer};
pub use trusted::{News, Origin, Trusted};
pub use workflow::{Io, Request, Workflow, run};

#[cfg(test)]
mod tests;
