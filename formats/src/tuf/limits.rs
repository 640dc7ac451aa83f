//! How much is taken of a repository that nobody has reason to trust yet. The specification leaves the
//! numbers to the application (section 5: W, X, Y, Z).

/// Bounds of a refresh and of a search. Metadata that a signed file gives a length for is read up to
/// that length, if it is not more than these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a root.
    pub root: u64,
    /// Bytes of a timestamp.
    pub timestamp: u64,
    /// Bytes of a snapshot.
    pub snapshot: u64,
    /// Bytes of targets metadata.
    pub targets: u64,
    /// How many roots are walked in one refresh; the next one walks on.
    pub roots: u32,
    /// How many roles are asked for one target, `targets` among them.
    pub roles: usize,
}

impl Limits {
    /// Those of a node. A release is a handful of targets of some 300 bytes each.
    pub const DEFAULT: Self = Self {
        root: 512 << 10,
        timestamp: 16 << 10,
        snapshot: 2 << 20,
        targets: 5 << 20,
        roots: 1024,
        roles: 32,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
