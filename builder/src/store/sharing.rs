//! Who else may use a store. The directory itself says it, as for a repository that a team shares:
//! what is made in it is for the same people, whatever the umask of who makes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// What everybody may do who may use the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    /// Of the store's directory: permission bits and set-group-id, by which a file gets the
    /// directory's group. A sticky bit is for that directory alone: within the store, who may
    /// write may also replace.
    mode: u32,
}

impl Sharing {
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        Ok(Self { mode: fs::metadata(root)?.mode() & 0o2777 })
    }

    /// Makes a directory of the store if it is not there.
    pub(super) fn directory(self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(self.mode & 0o777).create(path) {
            Ok(()) => {
                self.made(path);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a new directory to all of them.
    pub(super) fn made(self, path: &Path) {
        // Some file systems know no modes; that takes nothing from whose store it is.
        drop(self.set(path, self.mode));
    }

    /// Lets the others go on with a file that is not complete.
    pub(super) fn partial(self, file: &File) -> io::Result<()> {
        let mode = 0o644 | (self.mode & 0o022);
        if file.metadata()?.mode() & 0o777 == mode {
            return Ok(());
        }
        file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// The umask may have taken bits away.
    fn set(self, path: &Path, mode: u32) -> io::Result<()> {
        if fs::metadata(path)?.mode() & 0o2777 == mode {
            return Ok(());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
}
