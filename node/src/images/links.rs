//! Blobs of the root in containerd's content store without a copy: a link there to the file in the root.
//! containerd takes what has the name of a blob for that blob, reads through links, and removes the link
//! when it removes the blob. The root's files are verified as they are read, whatever becomes of STATE.
//!
//! A root of another release may lack what an earlier one had. So at each boot a link that leads nowhere
//! goes first, with what containerd knows of its blob: whoever needs it then pulls it as any other.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{CONTENT, Store, Trouble, blob_path};
use crate::root::Root;

/// Where a blob is, or would be, in the content store.
fn place(root: &Root, digest: &str) -> Result<PathBuf, Trouble> {
    Ok(root.path(Path::new(CONTENT).join(blob_path(digest)?)))
}

/// Whether the content store has the bytes of a blob.
pub(super) fn is_there(root: &Root, digest: &str) -> bool {
    place(root, digest).is_ok_and(|path| path.exists())
}

/// Links a blob to a file of the root, if nothing is at its place.
///
/// # Errors
/// [`Trouble::Archive`]: STATE cannot be written.
pub(super) fn link(root: &Root, digest: &str, file: &Path) -> Result<(), Trouble> {
    let path = place(root, digest)?;
    let make = || -> io::Result<()> {
        match fs::read_link(&path) {
            Ok(target) if target == file => return Ok(()),
            Ok(_) => fs::remove_file(&path)?,
            // A file, which containerd has written itself: it counts.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(()),
            Err(_) => {}
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        symlink(file, &path)
    };
    make().map_err(|error| Trouble::Archive(format!("cannot link {digest}: {error}")))
}

/// Removes links that lead nowhere, and what containerd knows of their blobs.
///
/// # Errors
/// [`Trouble`]: another run goes on.
pub(super) fn sweep(store: &mut impl Store, root: &Root) -> Result<usize, Trouble> {
    let directory = root.path(Path::new(CONTENT).join("blobs/sha256"));
    let cannot = |error: io::Error| {
        Trouble::Archive(format!("cannot look for links in {}: {error}", directory.display()))
    };
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(cannot)?,
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let is_link = entry.file_type().map_err(cannot)?.is_symlink();
        if !is_link || entry.path().exists() {
            continue;
        }
        if let Some(name) = entry.file_name().to_str() {
            // The link last: a run that is cut off finds it again.
            store.forget(&format!("sha256:{name}"))?;
        }
        fs::remove_file(entry.path()).map_err(cannot)?;
        swept += 1;
    }
    Ok(swept)
}
