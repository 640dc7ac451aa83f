//! Copies of stores and trees, so that no test touches the user's own.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// How much of a store is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// What `fetch` brought.
    Fetched,
    /// That, and what the compilers made of it.
    Compiled,
}

/// Makes a store at `to` that knows so much of the one at `from`.
///
/// # Errors
/// Something cannot be read or written.
pub fn seed(from: &Path, to: &Path, seed: Seed) -> Result<()> {
    copy_tree(&from.join("blobs"), &to.join("blobs"), &[])?;
    // As `cargo xtask bench` lends them.
    let mut kinds = vec!["go-toolchain", "go-modules", "crates"];
    if seed == Seed::Compiled {
        kinds.extend(["go", "cargo"]);
    }
    for kind in kinds {
        copy_tree(&from.join("steps").join(kind), &to.join("steps").join(kind), &[])?;
    }
    Ok(())
}

/// Where a store has the blob with this SHA-256.
pub fn blob(store: &Path, digest: &str) -> PathBuf {
    store.join("blobs").join(&digest[..2]).join(digest)
}

/// Copies directories, files and links, without top-level entries of these names.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path, without: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if without.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, &[])?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Compares every file of two output directories, byte by byte.
///
/// # Errors
/// They differ: says in which file and where.
pub fn same(one: &Path, two: &Path) -> Result<()> {
    let names = |directory: &Path| -> Result<Vec<_>> {
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    ensure!(names(one)? == names(two)?, "the two builds have other files");
    for name in names(one)? {
        let (mut a, mut b) = (File::open(one.join(&name))?, File::open(two.join(&name))?);
        ensure!(a.metadata()?.len() == b.metadata()?.len(), "{} differs in size", name.display());
        let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        let mut offset = 0_u64;
        loop {
            let read = a.read(&mut left)?;
            if read == 0 {
                break;
            }
            b.read_exact(&mut right[..read])?;
            // A disk has gigabytes: slices are compared at once, bytes only where they differ.
            if left[..read] != right[..read]
                && let Some(at) = (0..read).find(|index| left[*index] != right[*index])
            {
                bail!("{} differs at byte {}", name.display(), offset + at as u64);
            }
            offset += read as u64;
        }
    }
    Ok(())
}
