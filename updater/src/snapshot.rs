//! The small databases of containerd and kubelet, whose form belongs to a version: they are copied
//! before the programs of a release on trial open them, and put back by a fall-back before those of the
//! release before it do. So a newer containerd never leaves a node that the older one cannot read.
//!
//! The moment is the trial's own boot, before containerd starts: then nobody has them open, however the
//! boot before ended. A copy is whole or not there ([`copy`]); what is in it is in its list ([`list`]).

pub mod copy;
pub mod list;

use std::io;
use std::path::Path;

use formats::digest::Sha256;
use formats::trial::Note;

use crate::files::below;
use crate::trial::note;
use crate::trial::run::is_full;

/// Where a copy is.
pub use formats::system::TRIAL_COPY as COPY;

/// What was done about the databases in a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do.
    Nothing,
    /// They were copied: so many files, so many bytes.
    Copied(usize, u64),
    /// They were put back; so many files.
    Restored(usize),
}

/// Why there is no copy, or why they were not put back.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They are larger than small ones are.
    #[error("the databases of containerd and kubelet have {size} bytes, more than {most}")]
    TooLarge {
        /// What they have.
        size: u64,
        /// What is copied at most.
        most: u64,
    },
    /// There are more files than there should be.
    #[error("containerd and kubelet have more than {0} databases")]
    TooMany(usize),
    /// A copy of them has no room.
    #[error(
        "a copy of the databases of containerd and kubelet needs {needed} bytes in `{place}`, and \
         {free} are free: make room there, such as by removing images that no pod needs"
    )]
    NoRoom {
        /// What it needs.
        needed: u64,
        /// What is free.
        free: u64,
        /// Where.
        place: &'static str,
    },
    /// The copy is not what its list says.
    #[error("the copy of `{0}` is damaged")]
    Damaged(String),
    /// The file system refused a step.
    #[error("cannot {doing}: {error}")]
    Io {
        /// What was to be done.
        doing: String,
        /// What it says.
        error: io::Error,
    },
}

impl SnapshotError {
    /// Whether it is the node that has no copy, whichever release is tried: how much there is to copy, and
    /// how much room.
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::TooMany(_) | Self::NoRoom { .. } => true,
            Self::Damaged(_) => false,
            Self::Io { error, .. } => is_full(error),
        }
    }
}

/// That a copy of what there is now can be made: for who is about to arm a trial. What grows or comes to
/// lie there until then is seen by the trial only.
///
/// # Errors
/// See [`SnapshotError`].
pub fn check_room(root: &Path) -> Result<(), SnapshotError> {
    copy::check_room(root)
}

/// To be called before containerd and kubelet start, in every boot for which a trial was noted; `own`
/// is the root hash of the release that runs. In the trial the databases are copied, unless they were
/// in an earlier boot of the same trial. In any other boot a copy of that trial is put back and removed.
///
/// # Errors
/// See [`SnapshotError`]. Without a copy a release must not be tried; a release that cannot have its
/// databases back goes on with what there is.
pub fn before_containerd(root: &Path, note: &Note, own: Sha256) -> Result<Done, SnapshotError> {
    let trial = list::Trial { of: note.root_hash, from: note.from };
    if own == note.root_hash {
        return copy::take(root, &trial);
    }
    copy::put_back(root, &trial)
}

/// Whether databases of before a trial have yet to be put back: a trial is noted that is over, for `own`, which
/// runs, is another release, and its copy is there. Then note and copy stay, and no other trial is armed, for
/// that would have a copy of its own.
///
/// # Errors
/// Note or copy cannot be read.
pub fn is_due(root: &Path, own: Sha256) -> Result<bool, SnapshotError> {
    let noted = note::noted(root).map_err(|error| {
        let doing = "read the note of a trial".to_owned();
        SnapshotError::Io { doing, error }
    })?;
    match noted.filter(|note| note.root_hash != own) {
        Some(note) => copy::is_of(root, &list::Trial { of: note.root_hash, from: note.from }),
        None => Ok(false),
    }
}

/// Removes the copy: the release was promoted, or the trial is over and they were put back.
///
/// # Errors
/// What the file system says.
pub fn forget(root: &Path) -> io::Result<()> {
    copy::remove(&below(root, COPY))
}

#[cfg(test)]
mod tests;
