//! Whether containerd's databases can be opened: bbolt files (`go.etcd.io/bbolt`, `db.go`), of
//! which one tells what images, snapshots and containers there are, and one where the snapshots
//! lie. Where there are snapshots one without the other is worth nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};

use formats::system::{TRIAL_COPY, TRIAL_NOTE};

use crate::root::Root;

/// All that containerd keeps.
const CONTAINERD: &str = "/var/lib/containerd";
const DATABASES: [&str; 2] = [
    "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db",
];
/// Where the snapshots are: containerd makes the second database with the first of them.
const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
const BLOBS: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256";
/// Where it goes until there is time to remove it.
pub(crate) const ASIDE: &str = "/var/lib/orlop/damaged-containerd";

/// The second page is as long as the kernel's: 4, 16 or 64 KiB.
const PLACES: [usize; 4] = [0, 4096, 16384, 65536];
const PAGE_HEADER: usize = 16;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Whole,
    Damaged,
}

/// Puts all that containerd has aside if it could not open its databases: it would end, again and
/// again. What people should know of it.
pub fn clear(root: &Root) -> Option<String> {
    // A trial has left its databases: those of before it are put back by the updater, and describe what is
    // there.
    if [TRIAL_NOTE, TRIAL_COPY].iter().all(|path| root.path(path).exists()) {
        return None;
    }
    let states = DATABASES.map(|path| state(root, path).unwrap_or(State::Damaged));
    let has = |path| fs::read_dir(root.path(path)).is_ok_and(|mut it| it.next().is_some());
    let is_well = match states {
        [State::Absent, State::Absent] | [State::Whole, State::Whole] => true,
        // Images were imported, and no container was made of them.
        [State::Whole, State::Absent] => !has(SNAPSHOTS),
        _ => false,
    };
    if is_well {
        return None;
    }
    let had_images = has(BLOBS);
    let aside = root.path(ASIDE);
    let moved = fs::create_dir_all(aside.parent().unwrap_or(&aside))
        .and_then(|()| remove(root))
        .and_then(|()| fs::rename(root.path(CONTAINERD), aside));
    match moved {
        // It was cut off in its first start.
        Ok(()) if !had_images => None,
        Ok(()) => Some(format!(
            "containerd's databases in {CONTAINERD} were damaged and all of it is removed: images \
             are pulled again"
        )),
        Err(error) => Some(format!("{CONTAINERD} is damaged and cannot be put aside: {error}")),
    }
}

/// Removes what was put aside.
///
/// # Errors
/// What the file system says.
pub fn remove(root: &Root) -> io::Result<()> {
    match fs::remove_dir_all(root.path(ASIDE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn state(root: &Root, path: &str) -> io::Result<State> {
    let file = match File::open(root.path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut beginning = Vec::new();
    file.take(1 << 17).read_to_end(&mut beginning)?;
    let whole = PLACES.iter().any(|at| is_whole(beginning.get(*at..).unwrap_or(&[]), length));
    Ok(if whole { State::Whole } else { State::Damaged })
}

/// Whether this page describes a database that a file of this length can hold. The page is written
/// last in each change, after all that it leads to is on the disk.
fn is_whole(page: &[u8], length: u64) -> bool {
    let Some(meta) = page.get(PAGE_HEADER..PAGE_HEADER + 64) else { return false };
    let number = |at: usize| -> u64 {
        meta.iter().skip(at).take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let small = |at: usize| number(at) & 0xffff_ffff;
    // FNV-1a of 64 bits.
    let sum = meta[..56].iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let pages = number(40);
    small(0) == u64::from(MAGIC)
        && small(4) == u64::from(VERSION)
        && number(56) == sum
        && pages.checked_mul(small(8)).is_some_and(|end| end <= length)
}

/// For the fuzz target.
pub(crate) fn outside(bytes: &[u8]) {
    let _ = is_whole(bytes, 1 << 20);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::root::{Keep, PUBLIC};

    /// The beginning of an empty database: two pages of this kind, then a list of free pages and
    /// an empty leaf.
    fn database() -> Vec<u8> {
        let mut bytes = vec![0; 4 * 4096];
        for (number, page) in bytes.chunks_mut(4096).take(2).enumerate() {
            let fields: [(usize, u64); 6] = [
                (0, u64::from(MAGIC) | u64::from(VERSION) << 32),
                (8, 4096),
                (16, 3),
                (32, 2),
                (40, 4),
                (48, number as u64),
            ];
            for (at, value) in fields {
                page[PAGE_HEADER + at..][..8].copy_from_slice(&value.to_le_bytes());
            }
            let sum = page[PAGE_HEADER..PAGE_HEADER + 56]
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
            page[PAGE_HEADER + 56..][..8].copy_from_slice(&sum.to_le_bytes());
        }
        bytes
    }

    fn node(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (path, bytes) in files {
            root.write(path, bytes, PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn whole_databases_are_left_alone_and_so_is_a_torn_change() {
        let whole = database();
        let mut torn = whole.clone();
        torn[4096 + PAGE_HEADER + 48] ^= 1;
        for second in [&whole, &torn] {
            let (directory, root) = node(&[(DATABASES[0], &whole), (DATABASES[1], second)]);
            assert_eq!(clear(&root), None);
            assert!(directory.path().join("var/lib/containerd").exists());
        }
        let (_directory, root) = node(&[]);
        assert_eq!(clear(&root), None, "a first boot");
        let blob = format!("{BLOBS}/0000");
        let (_directory, root) = node(&[(DATABASES[0], &whole), (&blob, b"x")]);
        assert_eq!(clear(&root), None, "images, and no container was made yet");
    }

    #[test]
    fn what_cannot_be_opened_goes_with_all_that_it_described() {
        let whole = database();
        let blob = format!("{BLOBS}/0000");
        for bad in [&b""[..], &[0; 16384], b"garbage", &whole[..8192], &[0xff; 70_000]] {
            for at in 0..2 {
                let files = [(DATABASES[at], bad), (DATABASES[1 - at], &whole), (&blob, b"x")];
                let (directory, root) = node(&files);
                let line = clear(&root).unwrap();
                assert!(line.contains("were damaged and all of it is removed"), "{line}");
                assert!(!directory.path().join("var/lib/containerd").exists());
                assert_eq!(clear(&root), None);
                remove(&root).unwrap();
                assert!(!root.path(ASIDE).exists());
                remove(&root).unwrap();
            }
        }
        let layer = format!("{SNAPSHOTS}/1/fs/file");
        let files = [(DATABASES[0], &whole[..]), (&blob, b"x"), (&layer, b"x")];
        let (_directory, root) = node(&files);
        assert!(clear(&root).is_some(), "one without the other");
        let (_directory, root) = node(&[(DATABASES[1], &whole[..]), (&blob, b"x")]);
        assert!(clear(&root).is_some(), "the other without the one");
    }

    #[test]
    fn what_a_trial_has_left_is_for_who_puts_back_what_was_before_it() {
        let blob = format!("{BLOBS}/0000");
        let list = format!("{TRIAL_COPY}/list");
        let files =
            [(DATABASES[0], &b"garbage"[..]), (&blob, b"x"), (&list, b""), (TRIAL_NOTE, b"")];
        let (directory, root) = node(&files);
        assert_eq!(clear(&root), None);
        assert!(directory.path().join("var/lib/containerd").exists());
        // The trial is over, and its copy could not be used.
        fs::remove_file(root.path(TRIAL_NOTE)).unwrap();
        assert!(clear(&root).is_some());
    }

    #[test]
    fn a_first_start_that_was_cut_off_is_no_news() {
        let (directory, root) = node(&[(DATABASES[1], b"")]);
        assert_eq!(clear(&root), None);
        assert!(!directory.path().join("var/lib/containerd").exists());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length: u64) {
            let _ = is_whole(&bytes, length);
        }
    }
}
