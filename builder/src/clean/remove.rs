//! Removing. Go makes what it unpacks read-only, whatever it is told.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::{Context as _, Id, Result};

/// Removes a file, or a directory with all that is in it. What is not there any more is well.
///
/// # Errors
/// [`Id::Write`].
pub fn remove(path: &Path) -> Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    };
    let removed = match fs::symlink_metadata(path) {
        Err(error) => gone(Err(error)),
        Ok(metadata) if metadata.is_dir() => match gone(fs::remove_dir_all(path)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                allow(path).and_then(|()| gone(fs::remove_dir_all(path)))
            }
            result => result,
        },
        Ok(_) => gone(fs::remove_file(path)),
    };
    removed.or_fail(Id::Write, || format!("cannot remove `{}`", path.display()))
}

/// Lets the owner change every directory at and below this one.
fn allow(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            allow(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_was_made_read_only_goes_and_what_links_lead_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("go/pkg/mod")).unwrap();
        fs::write(path("go/pkg/mod/file"), "x").unwrap();
        fs::write(path("outside"), "x").unwrap();
        std::os::unix::fs::symlink(directory.path(), path("go/pkg/up")).unwrap();
        for name in ["go/pkg/mod", "go/pkg"] {
            fs::set_permissions(path(name), Permissions::from_mode(0o555)).unwrap();
        }
        remove(&path("go")).unwrap();
        assert!(!path("go").exists() && path("outside").exists());
        remove(&path("go")).unwrap();
        remove(&path("outside")).unwrap();
        assert!(!path("outside").exists());
    }
}
