//! Which locks were used with a store, and what builds of their recipes have used of it, so that
//! clearing up knows what is still needed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use super::Store;
use crate::error::{Context as _, Id, Result};

/// The kind under which they are kept, by the lock's path.
pub const ROOTS: &str = "roots";

/// A lock and what was used with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its key.
    pub key: Sha256,
    /// Where the lock is, or was.
    pub lock: PathBuf,
    /// The results of steps that its recipe's last fetch or build has used: kind and key.
    pub steps: BTreeSet<(String, Sha256)>,
}

/// Whether all was looked at that the lock's recipe needs of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It was: what was needed before is not needed any more.
    AtAll,
    /// Only what there was work with.
    AtSome,
}

impl Store {
    /// Remembers that all which was used since the store was opened is for this lock.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn remember_root(&self, lock: &Path, looked: Looked) -> Result<()> {
        let lock = std::path::absolute(lock).unwrap_or_else(|_| lock.to_owned());
        let bytes = lock.as_os_str().as_bytes();
        let key = Sha256::of(bytes);
        let known = self.result(&self.step_path(ROOTS, &key)).unwrap_or_default();
        let mut steps = self.used();
        if looked == Looked::AtSome {
            steps.extend(parse(key, &known).into_iter().flat_map(|root| root.steps));
        }
        // No path has a zero byte.
        let mut text = [bytes, b"\0"].concat();
        for (kind, key) in steps {
            text.extend_from_slice(format!("{kind} {key}\n").as_bytes());
        }
        if known == text {
            return Ok(());
        }
        self.put_step(ROOTS, &key, &text)
    }

    /// All locks that were used with this store.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn roots(&self) -> Result<Vec<Root>> {
        let directory = self.root().join("steps").join(ROOTS);
        let cannot = || format!("cannot read `{}`", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.or_fail(Id::Read, cannot)?,
        };
        let mut roots = Vec::new();
        for entry in entries {
            let path = entry.or_fail(Id::Read, cannot)?.path();
            let key = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let content = self.result(&path);
            roots.extend(key.zip(content).and_then(|(key, content)| parse(key, &content)));
        }
        roots.sort_by(|one, other| one.lock.cmp(&other.lock));
        Ok(roots)
    }
}

fn parse(key: Sha256, content: &[u8]) -> Option<Root> {
    let end = content.iter().position(|byte| *byte == 0)?;
    let lock = PathBuf::from(OsStr::from_bytes(&content[..end]));
    let lines = std::str::from_utf8(&content[end + 1..]).ok()?.lines();
    let step = |line: &str| {
        let (kind, key) = line.split_once(' ')?;
        Some((kind.to_owned(), key.parse().ok()?))
    };
    Some(Root { key, lock, steps: lines.map(step).collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lock_is_known_with_what_was_used_for_it_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let key = Sha256::of("inputs");
        let lock = directory.path().join(OsStr::from_bytes(b"caf\xe9\n.lock"));
        let store = Store::open(&path).unwrap();
        store.put_step("old", &key, b"1").unwrap();
        store.remember_root(&lock, Looked::AtAll).unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.step("none", &key), None);
        store.put_step("modules", &key, b"1").unwrap();
        assert!(store.step("old", &key).is_some());
        store.remember_root(&lock, Looked::AtAll).unwrap();
        let [root] = store.roots().unwrap().try_into().unwrap();
        assert_eq!(root.lock, lock);
        let steps = ["modules", "old"].map(|kind| (kind.to_owned(), key));
        assert_eq!(root.steps, steps.into());
        // Who has looked at less takes nothing away; who has looked at all does.
        let store = Store::open(&path).unwrap();
        store.remember_root(&lock, Looked::AtSome).unwrap();
        assert_eq!(store.roots().unwrap()[0].steps, root.steps);
        store.remember_root(&lock, Looked::AtAll).unwrap();
        assert_eq!(store.roots().unwrap()[0].steps, [].into());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_root_or_none(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(Sha256::of(""), &content);
        }
    }
}
