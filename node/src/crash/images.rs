//! What containerd has of images, looked at after a power cut, and made good: a snapshot that is
//! not as its blob says goes, and containerd unpacks it again when a container needs it; an image
//! with a damaged blob goes, and is imported or pulled again.
//!
//! [`look`] finds out, [`plan`] decides, and here it is done.

mod documents;
mod look;
mod plan;
mod runtime;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use crate::root::Root;
use look::Seen;
use plan::Plan;
pub(crate) use runtime::Runtime;

/// For all pods together: of one network each may wait for an API server that nobody reaches.
const PODS: Duration = Duration::from_secs(5 * 60);

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
    let mut in_the_way = Vec::new();
    if !plan.snapshots.is_empty() {
        in_the_way.extend(remove_containers(runtime));
    }
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
    let damages: BTreeSet<_> = plan.snapshots.iter().map(|(_, damage)| damage.clone()).collect();
    let mut stuck = remove_snapshots(runtime, plan.snapshots);
    if !stuck.is_empty() {
        in_the_way.extend(remove_pods(runtime, PODS));
        let again = stuck.into_iter().map(|(snapshot, damage, _)| (snapshot, damage));
        stuck = remove_snapshots(runtime, again.collect());
    }
    // One line for each damage, however many lie on it. What lies below one that stays cannot go
    // either: the first says why.
    for damage in damages {
        match stuck.iter().find(|(_, of, _)| *of == damage) {
            None => repair.done.push(format!("{damage}: it will be unpacked again")),
            Some((_, _, error)) => {
                repair.left.push(format!("{damage}, and its snapshot cannot be removed: {error}"))
            }
        }
    }
    // Without a snapshot that stays nothing was in the way: it is kubelet's then.
    match stuck.is_empty() {
        true => repair.done.extend(in_the_way),
        false => repair.left.extend(in_the_way),
    }
    for digest in plan.blobs {
        let removed = runtime.delete_blob(&digest).and_then(|()| remove_file(root, &digest));
        repair.left.extend(removed.err().map(|error| {
            format!("the damaged blob {digest} cannot be removed, so it is in the way: {error}")
        }));
    }
}

/// Those that cannot be removed: the snapshot, what is wrong with it, and why.
fn remove_snapshots(
    runtime: &mut impl Runtime,
    snapshots: Vec<(String, String)>,
) -> Vec<(String, String, String)> {
    let removed = snapshots.into_iter().filter_map(|(snapshot, damage)| {
        let error = runtime.remove_snapshot(&snapshot).err()?;
        Some((snapshot, damage, error))
    });
    removed.collect()
}

/// No network is asked for it. What cannot be removed, a line each.
fn remove_containers(runtime: &mut impl Runtime) -> Vec<String> {
    let containers = match runtime.containers() {
        Ok(containers) => containers,
        Err(error) => return vec![error],
    };
    let removed = containers.into_iter().filter_map(|container| {
        let error = runtime.remove_container(&container.id).err()?;
        Some(format!("cannot remove {}: {error}", container.name))
    });
    removed.collect()
}

/// What cannot be removed, a line each.
fn remove_pods(runtime: &mut impl Runtime, time: Duration) -> Vec<String> {
    let pods = match runtime.pods() {
        Ok(pods) => pods,
        Err(error) => return vec![error],
    };
    let began = Instant::now();
    let removed = pods.into_iter().filter_map(|pod| {
        let left = time.saturating_sub(began.elapsed());
        let removed = match left.is_zero() {
            true => Err("others took all the time".to_owned()),
            false => runtime.remove_pod(&pod.id, left),
        };
        Some(format!("cannot remove {}: {}", pod.name, removed.err()?))
    });
    removed.collect()
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
