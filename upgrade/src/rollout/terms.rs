//! What is wanted of an upgrade.

use std::time::Duration;

use formats::fleet::NEWEST;

use crate::pods::Losses;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// A version, or [`NEWEST`].
    pub release: String,
    /// Tells what this call asks of a node from what was asked before.
    pub request: String,
    /// So many nodes may be marked at once, those included that an upgrade is at which are none of ours.
    pub max_unavailable: usize,
    /// Whether pods are evicted.
    pub drain: Drain,
    /// How long the pods of a node may take to leave it.
    pub drain_limit: Duration,
    /// How long a node may take from being asked to being Ready with what it was asked for.
    pub node_limit: Duration,
}

/// Whether pods are evicted before a node goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// They are, with what may be lost by that.
    Evict(Losses),
    /// They are not: the node ends them when it goes down.
    Leave,
}

impl Terms {
    /// The version, if one is named.
    pub fn version(&self) -> Option<&str> {
        (self.release != NEWEST).then_some(self.release.as_str())
    }
}
