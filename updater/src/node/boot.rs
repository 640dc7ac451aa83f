//! What each boot does once, whichever unit of it comes first: META learns how this boot came about, and
//! after a fall-back why.

use std::fs;
use std::path::Path;

use formats::meta::Fallback;

use super::{Node, seconds};
use crate::facts::Facts;
use crate::files::below;
use crate::plan::Boot;
use crate::snapshot;
use crate::steps::Start;
use crate::trial::ended::{self, Kind};
use crate::trial::note;
use crate::words::words;

/// Is there when this boot has begun. It lies in memory.
const BEGUN: &str = "/run/orlop/updater-has-begun";

/// How this boot came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is of a release that is judged.
    Trial,
    /// A release was left, which is noticed now.
    FellBack(Fallback),
    /// A release that was to be tried was not, and is staged as before.
    NotJudged {
        /// Its version.
        version: String,
        /// Why, if its trial has said so.
        reason: Option<String>,
    },
    /// A promotion was completed; the release, and whether it is the one that runs.
    Promoted {
        /// Its version.
        version: String,
        /// Else it starts with the next boot.
        runs: bool,
    },
    /// None of these, or begun before.
    Ordinary,
}

impl Begun {
    /// A line for people, if there is anything to say.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::FellBack(Fallback { version, reason, .. }) => {
                Some(format!("release {version} was left: {reason}"))
            }
            Self::NotJudged { version, reason } => {
                let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                Some(format!(
                    "release {version} was not tried to its end, and is staged as before{why}"
                ))
            }
            Self::Promoted { version, runs: true } => {
                Some(format!("release {version} was found healthy before, and stays"))
            }
            Self::Promoted { version, runs: false } => {
                Some(format!("release {version} was found healthy: it runs after the next restart"))
            }
            Self::Trial => Some("this boot is the trial of a release".to_owned()),
            Self::Ordinary => None,
        }
    }
}

/// Begins this boot, if no unit has yet. The [lock](super::lock) must be held.
///
/// # Errors
/// In words: this node has no slots, or META cannot be read or written.
pub fn begin(root: &Path, facts: &Facts, now: i64) -> Result<Begun, String> {
    let mut node = Node::open(root, facts)?;
    let marker = below(root, BEGUN);
    if marker.exists() {
        let resumed = node.machine().resume().map_err(|error| words(&error))?;
        return Ok(if resumed.is_some() { Begun::Trial } else { Begun::Ordinary });
    }
    // What the release that was tried has left on STATE says more than that it does not run.
    let own = facts.node.running;
    let fell_back = ended::fall_back(root, own).ok().flatten();
    let word = fell_back.filter(|it| it.kind != Kind::WithoutAWord).map(|it| it.reason);
    let start = node.machine().start(seconds(now), word.as_deref());
    let begun = match start.map_err(|error| words(&error))? {
        Start::Trial(_) => Begun::Trial,
        Start::Boot(Boot::FellBack(fallback)) => Begun::FellBack(fallback),
        Start::Boot(Boot::NotJudged(staged)) => {
            Begun::NotJudged { version: staged.release.version, reason: word }
        }
        Start::Boot(Boot::Promoted(release)) => {
            let runs = release.root_hash == own;
            Begun::Promoted { version: release.version, runs }
        }
        Start::Boot(Boot::Ordinary | Boot::Trial(_)) => Begun::Ordinary,
    };
    let cannot = |error: std::io::Error| format!("`{}`: {error}", marker.display());
    fs::create_dir_all(marker.parent().unwrap_or(&marker)).map_err(cannot)?;
    fs::write(&marker, "").map_err(cannot)?;
    // What was noted of a trial is in META from now on. What cannot be removed is in nobody's way: the next
    // trial replaces it. A panic that no trial has ended in is there for who looks after the node. By the
    // note the next boot knows that databases have yet to be put back.
    if begun != Begun::Trial && !snapshot::is_due(root, own).unwrap_or(false) {
        drop(note::forget(root));
    }
    if matches!(begun, Begun::FellBack(_)) {
        drop(ended::forget_records(root));
    }
    Ok(begun)
}
