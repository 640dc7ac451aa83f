//! What an earlier release has brought and this one does not goes from the store: it is pinned, so nobody
//! else would remove it. What was brought is noted on STATE, so nothing else is ever touched.
//!
//! In a [trial](../../../docs/trial.md) all of it stays, for the release before may come back.

use std::collections::BTreeMap;
use std::io;

use cri::containerd::Descriptor;
use formats::system::THIS_IS_A_TRIAL;

use super::{Store, Trouble};
use crate::root::{Keep, PUBLIC, Root};

/// Names of images that a root of this node has brought and what they pointed to: a line `DIGEST NAME`
/// each.
const NOTED: &str = "/var/lib/orlop/brought-images";
/// Bytes of that.
const LONGEST: u64 = 1 << 20;

/// Images by name.
pub(super) type Brought = BTreeMap<String, String>;

/// Removes what was brought and is not any more; what was done, a line each. `now` is what this root
/// brings.
///
/// # Errors
/// [`Trouble`]: another run goes on.
pub(super) fn keep_only(
    store: &mut impl Store,
    root: &Root,
    now: &Brought,
) -> Result<Vec<String>, Trouble> {
    let noted = root.read(NOTED, LONGEST).map_err(|error| note("read", &error))?;
    let before = parse(&String::from_utf8_lossy(&noted.unwrap_or_default()));
    let mut kept = now.clone();
    let mut lines = Vec::new();
    for (name, digest) in before.into_iter().filter(|(name, _)| !now.contains_key(name)) {
        if root.path(THIS_IS_A_TRIAL).exists() {
            kept.insert(name, digest);
            continue;
        }
        // Whoever has given the name another image since wants that one.
        match store.target(&name)? {
            Some(target) if target.digest == digest => {
                remove(store, &name, &target)?;
                lines
                    .push(format!("{name} is removed: no release of this node brings it any more"));
            }
            _ => {}
        }
    }
    let text: String = kept.iter().map(|(name, digest)| format!("{digest} {name}\n")).collect();
    let replaced = root.write(NOTED, text.as_bytes(), PUBLIC, Keep::Forever);
    replaced.map_err(|error| note("write", &error))?;
    Ok(lines)
}

/// Removes a name; and the name by its id that the CRI adds to each image, if no other is left.
fn remove(store: &mut impl Store, name: &str, target: &Descriptor) -> Result<(), Trouble> {
    store.remove(name)?;
    let left: Vec<_> = store
        .names()?
        .into_iter()
        .filter(|(_, other)| other.digest == target.digest)
        .map(|(name, _)| name)
        .collect();
    if left.iter().all(|name| name.starts_with("sha256:")) {
        for name in left {
            store.remove(&name)?;
        }
    }
    Ok(())
}

fn parse(text: &str) -> Brought {
    let line = |line: &str| {
        let (digest, name) = line.split_once(' ')?;
        Some((name.to_owned(), digest.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn note(what: &str, error: &io::Error) -> Trouble {
    Trouble::Archive(format!("cannot {what} {NOTED}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Memory;
    use super::*;

    fn brought(images: &[(&str, &str)]) -> Brought {
        images.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect()
    }

    fn store(images: &[(&str, &str)]) -> Memory {
        let mut store = Memory::default();
        for (name, digest) in images {
            let target = Descriptor {
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                digest: (*digest).to_owned(),
                size: 1,
            };
            store.images.insert((*name).to_owned(), target);
        }
        store
    }

    #[test]
    fn what_is_brought_no_more_goes_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let mut store = store(&[
            ("dns:1", "sha256:d1"),
            ("sha256:id-of-d1", "sha256:d1"),
            ("proxy:1", "sha256:p1"),
            ("sha256:id-of-p1", "sha256:p1"),
            ("mine:1", "sha256:p1"),
            ("changed:1", "sha256:other"),
            ("own:1", "sha256:o1"),
        ]);
        let first = [
            ("dns:1", "sha256:d1"),
            ("proxy:1", "sha256:p1"),
            ("changed:1", "sha256:c1"),
            ("pause:1", "sha256:x"),
        ];
        assert_eq!(keep_only(&mut store, &root, &brought(&first)).unwrap(), [""; 0]);
        let second = brought(&[("pause:1", "sha256:x")]);

        // A trial may end in a fall-back.
        let trial = root.path(THIS_IS_A_TRIAL);
        std::fs::create_dir_all(trial.parent().unwrap()).unwrap();
        std::fs::write(&trial, "").unwrap();
        assert_eq!(keep_only(&mut store, &root, &second).unwrap(), [""; 0]);
        assert_eq!(store.images.len(), 7);

        std::fs::remove_file(&trial).unwrap();
        let lines = keep_only(&mut store, &root, &second).unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let left: Vec<_> = store.images.keys().map(String::as_str).collect();
        assert_eq!(left, ["changed:1", "mine:1", "own:1", "sha256:id-of-p1"]);
        assert_eq!(keep_only(&mut store, &root, &second).unwrap(), [""; 0], "once");
    }

    #[test]
    fn a_store_that_does_not_answer_is_asked_again_by_the_next_run() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let mut store = store(&[("dns:1", "sha256:d1")]);
        keep_only(&mut store, &root, &brought(&[("dns:1", "sha256:d1")])).unwrap();
        store.dies_after = Some(0);
        assert!(matches!(keep_only(&mut store, &root, &Brought::new()), Err(Trouble::Store(_))));
        store.dies_after = None;
        assert_eq!(keep_only(&mut store, &root, &Brought::new()).unwrap().len(), 1);
        assert!(store.images.is_empty());
    }
}
