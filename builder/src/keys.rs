//! The keys that sign releases: ed25519 (RFC 8032).
//!
//! A key is in a file ([`file`]: PKCS#8 in PEM, as a rule encrypted with a passphrase), behind a
//! program ([`command`]: a security module, a service of keys), or with somebody else. Whoever signs
//! asks a [`Signer`] and does not know which. The file that says which keys sign for which role of a
//! release is [`roles`]; [`keyring`] has the keys of it that are here. They sign metadata of TUF
//! ([`formats::tuf`]): [`begin`] makes roots, [`sign`] adds signatures to what others sign too.
//!
//! No secret is in a message, in `Debug`, in the environment or on a command line; what holds one
//! is overwritten when it is dropped, but for what `ring` keeps of a key while it signs and for what
//! is derived from a passphrase in between.

pub mod begin;
pub mod command;
mod create;
pub mod file;
pub mod keyring;
pub mod passphrase;
mod private;
mod public;
pub mod roles;
pub mod roots;
pub mod sign;
pub mod store;
mod terminal;

use std::fmt;

pub use create::{create, salt, seed};
pub use private::PrivateKey;
pub use public::{NotAPublicKey, PublicKey};

use crate::error::Result;

/// The largest file that is read of a key, or of the roles of a release, in bytes.
pub const LARGEST: u64 = 64 * 1024;

/// Who makes signatures with one key.
pub trait Signer: fmt::Debug {
    /// The key that its signatures are checked with.
    fn public(&self) -> &PublicKey;

    /// The signature of these bytes, which [`Signer::public`] verifies.
    ///
    /// # Errors
    /// Those of the signer.
    fn sign(&self, payload: &[u8]) -> Result<Signature>;
}

/// A signature of ed25519.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
