//! The head of a delta: which image it makes of which.

use crate::digest::Sha256;
use crate::incoming::{Root, SALT};
use crate::le::{array_at, u64_at};

/// Bytes of the header.
pub const HEADER: usize = MAGIC.len() + 2 * ROOT;

const MAGIC: &[u8; 8] = b"orlop-d1";
const ROOT: usize = 32 + SALT + 8;

/// Which image a delta makes of which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it reads.
    pub old: Root,
    /// What it makes.
    pub new: Root,
}

/// This is no delta that can be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It begins in another way.
    #[error("not a delta of images")]
    NotDelta,
    /// A later form of it.
    #[error("a delta of a form that is not known here")]
    Form,
    /// No image has this size.
    #[error("a delta of an image of {0} bytes: none has so many")]
    Size(u64),
}

impl Header {
    /// As it stands in front of the frame.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (magic, roots) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        for (place, root) in roots.chunks_exact_mut(ROOT).zip([&self.old, &self.new]) {
            place[..32].copy_from_slice(root.hash.as_bytes());
            place[32..32 + SALT].copy_from_slice(&root.salt);
            place[32 + SALT..].copy_from_slice(&root.size.to_le_bytes());
        }
        bytes
    }

    /// Reads the first [`HEADER`] bytes of a delta.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let magic: [u8; 8] = array_at(bytes, 0).ok_or(HeaderError::NotDelta)?;
        if magic != *MAGIC {
            let family = magic[..7] == MAGIC[..7];
            return Err(if family { HeaderError::Form } else { HeaderError::NotDelta });
        }
        let root = |at: usize| {
            let hash = Sha256::from_bytes(array_at(bytes, at)?);
            let salt = array_at(bytes, at + 32)?;
            Some(Root { hash, salt, size: u64_at(bytes, at + 32 + SALT)? })
        };
        let root = |at| root(at).ok_or(HeaderError::NotDelta);
        let (old, new) = (root(MAGIC.len())?, root(MAGIC.len() + ROOT)?);
        if let Some(Root { size, .. }) = [&old, &new].into_iter().find(|root| !root.has_a_size()) {
            return Err(HeaderError::Size(*size));
        }
        Ok(Self { old, new })
    }
}
