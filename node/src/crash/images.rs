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
use plan::Plan;
use runtime::Runtime;

/// Looks at what is younger than `since` (seconds since 1970), and makes good what is damaged; says
/// what was done, a line each. Nothing is said if all is whole.
pub(crate) fn make_good(runtime: &mut impl Runtime, root: &Root, since: i64) -> Vec<String> {
    match look::look(runtime, root, since) {
        Ok((findings, untold)) => {
            let done = carry_out(runtime, root, findings.plan());
            untold.into_iter().chain(done).collect()
        }
        Err(error) => vec![format!("cannot look at images after the power cut: {error}")],
    }
}

fn carry_out(runtime: &mut impl Runtime, root: &Root, plan: Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if !plan.snapshots.is_empty() {
        lines.extend(runtime.remove_pods().err());
    }
    // One line for each damage, however many lie on it.
    let mut damages: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for (snapshot, damage) in plan.snapshots {
        let removed = runtime.remove_snapshot(&snapshot);
        let all = damages.entry(damage).or_insert(Ok(()));
        // What lies below one that stays cannot go either: the first says why.
        *all = std::mem::replace(all, Ok(())).and(removed);
    }
    lines.extend(damages.into_iter().map(|(damage, removed)| match removed {
        Ok(()) => format!("{damage}: it will be unpacked again"),
        Err(error) => format!("{damage}, and its snapshot cannot be removed: {error}"),
    }));
    for (name, blobs) in plan.images {
        let blobs = Vec::from_iter(blobs).join(", ");
        lines.push(match runtime.delete_image(&name) {
            Ok(()) => format!("{name} was damaged ({blobs}) and is removed: it is fetched again"),
            Err(error) => format!("{name} is damaged ({blobs}) and cannot be removed: {error}"),
        });
    }
    for digest in plan.blobs {
        let removed = runtime.delete_blob(&digest).and_then(|()| remove_file(root, &digest));
        lines.extend(removed.err().map(|error| {
            format!("the damaged blob {digest} cannot be removed, so it is in the way: {error}")
        }));
    }
    lines
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
mod tests;
