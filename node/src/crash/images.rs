//! What containerd has of images, looked at after a power cut, and made good: a snapshot that is
//! not as its blob says goes, and containerd unpacks it again when a container needs it; an image
//! with a damaged blob goes, and is imported or pulled again.
//!
//! [`look`] finds out, [`plan`] decides, and here it is done.

mod documents;
mod look;
mod plan;
mod runtime;

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::root::Root;
use look::Seen;
use plan::Plan;
pub(crate) use runtime::Runtime;

/// What came of it, a line each. Both are empty if all is whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// What was damaged and is made good; what is not understood, which stays so.
    pub(crate) done: Vec<String>,
    /// What could not be looked at or made good, so it has to be tried again.
    pub(crate) left: Vec<String>,
}

/// Looks at what is younger than `since` (seconds since 1970), and makes good what is damaged. Only
/// while kubelet does not run: nothing is pulled then, and no pod is of this boot.
pub(super) fn make_good(runtime: &mut impl Runtime, root: &Root, since: i64) -> Repair {
    let mut repair = Repair::default();
    repair.left.extend(runtime.end_leases().err());
    match look::look(runtime, root, since) {
        Ok(Seen { findings, strange, unanswered }) => {
            repair.done.extend(strange);
            repair.left.extend(unanswered);
            carry_out(runtime, root, findings.plan(), &mut repair);
        }
        Err(error) => {
            repair.left.push(format!("cannot look at images after the power cut: {error}"));
        }
    }
    repair
}

/// Images first: one of which it cannot be said what it is made of takes with it what only it
/// keeps, which may lie on a damaged snapshot.
fn carry_out(runtime: &mut impl Runtime, root: &Root, plan: Plan, repair: &mut Repair) {
    for (name, blobs) in plan.images {
        let blobs = Vec::from_iter(blobs).join(", ");
        match runtime.delete_image(&name) {
            Ok(()) => repair
                .done
                .push(format!("{name} was damaged ({blobs}) and is removed: it is fetched again")),
            Err(error) => repair
                .left
                .push(format!("{name} is damaged ({blobs}) and cannot be removed: {error}")),
        }
    }
    remove_snapshots(runtime, plan.snapshots, repair);
    for digest in plan.blobs {
        let removed = runtime.delete_blob(&digest).and_then(|()| remove_file(root, &digest));
        repair.left.extend(removed.err().map(|error| {
            format!("the damaged blob {digest} cannot be removed, so it is in the way: {error}")
        }));
    }
}

/// With all that lies on them, whoever made it: a container of an earlier boot, which its pod does
/// not need to be removed; one that containerd could not take up again, and so tells nobody of; an
/// image that nobody has a name for any more.
fn remove_snapshots(
    runtime: &mut impl Runtime,
    damaged: Vec<(String, String)>,
    repair: &mut Repair,
) {
    if damaged.is_empty() {
        return;
    }
    let all = runtime.snapshots().unwrap_or_else(|error| {
        repair.left.push(error);
        Vec::new()
    });
    // One line for each damage, however many lie on it. What lies below one that stays cannot go
    // either: the first says why.
    let mut damages: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for (snapshot, damage) in plan::with_all_on_them(damaged, &all) {
        let removed = runtime.remove_snapshot(&snapshot);
        let of_damage = damages.entry(damage).or_insert(Ok(()));
        if of_damage.is_ok() {
            *of_damage = removed;
        }
    }
    for (damage, removed) in damages {
        match removed {
            Ok(()) => repair.done.push(format!("{damage}: it will be unpacked again")),
            Err(error) => {
                repair.left.push(format!("{damage}, and its snapshot cannot be removed: {error}"));
            }
        }
    }
}

/// The file, too: containerd would take it for the blob when it comes again.
fn remove_file(root: &Root, digest: &str) -> Result<(), String> {
    let Ok(path) = documents::blob(root, digest) else { return Ok(()) };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;
