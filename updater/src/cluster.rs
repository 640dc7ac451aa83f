//! The node's side of Kubernetes: somebody asks for a release by annotations of the Node object
//! ([`formats::fleet`]), the node takes it and answers there and by Events, with kubelet's own credentials.
//! `docs/kubernetes-updates.md` describes it.
//!
//! [`driver`] decides and touches nothing, [`run`] does. Whatever the API server does costs a line of log:
//! it is never a reason to leave a release, and never in the way of a boot.

pub mod api;
pub mod credentials;
pub mod driver;
mod labels;
#[cfg(test)]
mod mock_api;
mod objects;
mod occasion;
mod report;
pub mod run;
mod served;
mod watch;

use formats::digest::Sha256;
use formats::meta;

use crate::cancel::Cancel;
use crate::transport::Progress;

pub use api::{Api, Trouble};
pub(crate) use objects::outside;
pub use served::{PATH, Served};

/// What the node can do about releases. Who implements it knows slots, channel and PID 1; who calls it
/// knows the Node object. Nothing of it is called while it is being called, but for [`Desk::standing`] and
/// [`Desk::look`].
pub trait Desk: Send + Sync {
    /// Where the node stands. It is asked often: what takes long is not looked at.
    ///
    /// # Errors
    /// It is not known what runs, in words. What else cannot be known is left out.
    fn standing(&self) -> Result<Standing, String>;

    /// Fills the spare slot with a release, or finds it there, and returns when it is verified and may be
    /// armed. `None` is the newest one.
    ///
    /// # Errors
    /// See [`NotStaged`].
    fn stage(
        &self,
        version: Option<&str>,
        failed_before: FailedBefore,
        cancel: &Cancel,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<Staged, NotStaged>;

    /// Looks which release is the newest for this node.
    ///
    /// # Errors
    /// See [`NotStaged`].
    fn look(&self, cancel: &Cancel) -> Result<String, NotStaged>;

    /// The next boot is a trial of what is staged; it is the release of this version.
    ///
    /// # Errors
    /// See [`NotArmed`]: the next boot is as it was.
    fn arm(&self, version: &str) -> Result<(), NotArmed>;

    /// Asks for an orderly restart and returns. `reason` is a line for people.
    ///
    /// # Errors
    /// In words: it does not come.
    fn restart(&self, reason: &str) -> Result<(), String>;
}

/// What is done with a release that has failed on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedBefore {
    /// It is refused.
    Refused,
    /// It is tried again: a person asks.
    TriedAgain,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The version that runs.
    pub version: String,
    /// The root hash of what runs.
    pub root_hash: Sha256,
    /// The kernel's id of this boot, if it can be read.
    pub boot_id: Option<String>,
    /// Whether this boot is a trial that is not judged yet.
    pub trial: bool,
    /// What lies in the spare slot, whole and verified.
    pub spare: Option<Spare>,
    /// Why the node fell back last.
    pub fallback: Option<meta::Fallback>,
    /// What it has tried and left, or left by hand, and was not found healthy since.
    pub failed: Vec<meta::Failed>,
}

/// What lies in the spare slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spare {
    /// Its version.
    pub version: String,
    /// How often its trial was armed.
    pub attempts: u32,
}

/// What came of staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// The release of this version lies in the spare slot.
    InSpare(String),
    /// That release runs.
    Runs,
}

/// Why nothing was staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStaged {
    /// The release is not for this node; nothing was touched.
    #[error("{0}")]
    Refused(String),
    /// It could not be fetched, written or verified.
    #[error("{0}")]
    Failed(String),
    /// Somebody else has the slots, or the node is not ready for it yet; it may be otherwise in a while.
    #[error("{0}")]
    Busy(String),
    /// It was stopped.
    #[error("it was cancelled")]
    Cancelled,
}

/// Why a trial was not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotArmed {
    /// As for [`NotStaged::Busy`].
    #[error("{0}")]
    Busy(String),
    /// It could not be.
    #[error("{0}")]
    Failed(String),
}
