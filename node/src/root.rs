//! Where the node's file system begins: `/` on a node, a directory of its own in a test. All that
//! this program reads and writes goes through here, so a test needs no node.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Access for all: what is in the file is no secret.
pub const PUBLIC: u32 = 0o644;
/// Access for root alone: the file holds a token or a key.
pub const SECRET: u32 = 0o600;

/// Where the node's file system begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

/// Whether a file must outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It lies in memory, or is made again at each boot.
    ThisBoot,
    /// It and its name are on the disk when the call returns.
    Forever,
}

impl Root {
    /// The file system that begins at `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Where `path`, which is absolute on the node, really is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the file system of the machine that runs, whose kernel may be spoken to.
    pub fn is_the_machines(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// When it is there and cannot be read, or has more than `limit` bytes
    /// ([`io::ErrorKind::FileTooLarge`]).
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.path(path)) {
            Ok(file) => read_limited(file, limit).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a file in place, whole or not at all, with exactly this mode, and makes the
    /// directories above it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        bytes: &[u8],
        mode: u32,
        keep: Keep,
    ) -> io::Result<()> {
        let path = self.path(path);
        let directory = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(directory)?;
        // kubelet and containerd watch directories that files are put into; both pass over names
        // that begin with a dot or end unlike theirs.
        let mut beside = OsString::from(".");
        beside.push(path.file_name().unwrap_or_default());
        beside.push(".new");
        let beside = directory.join(beside);
        // One that a power cut left may have another mode.
        remove_if_there(&beside)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if keep == Keep::Forever {
            file.sync_all()?;
        }
        fs::rename(&beside, &path)?;
        if keep == Keep::Forever {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        remove_if_there(&self.path(path))
    }
}

/// All of `file`.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::FileTooLarge`] past `limit` bytes.
pub fn read_limited(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        (directory, root)
    }

    #[test]
    fn a_file_is_written_whole_with_its_mode_and_read_back() {
        for keep in [Keep::ThisBoot, Keep::Forever] {
            let (directory, root) = root();
            root.write("/var/lib/x/secret", b"one", PUBLIC, keep).unwrap();
            fs::write(directory.path().join("var/lib/x/.secret.new"), "left by a power cut")
                .unwrap();
            root.write("/var/lib/x/secret", b"two", SECRET, keep).unwrap();
            assert_eq!(root.read("/var/lib/x/secret", 3).unwrap().unwrap(), b"two");
            let path = directory.path().join("var/lib/x/secret");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, SECRET);
            let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
            assert_eq!(names.len(), 1, "{names:?}");
        }
    }

    #[test]
    fn what_is_absent_is_none_and_what_is_too_large_an_error() {
        let (_directory, root) = root();
        root.write("/file", b"1234", PUBLIC, Keep::ThisBoot).unwrap();
        assert_eq!(root.read("/no", 4).unwrap(), None);
        assert_eq!(root.read("/file/below", 4).unwrap(), None);
        assert_eq!(root.read("/file", 4).unwrap().unwrap(), b"1234");
        let error = root.read("/file", 3).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 3 bytes");
    }

    #[test]
    fn a_directory_of_a_test_is_not_the_machine() {
        let (_directory, root) = root();
        assert!(!root.is_the_machines());
        assert!(Root::new("/").is_the_machines());
    }

    #[test]
    fn a_file_is_removed_once_and_its_absence_is_fine() {
        let (_directory, root) = root();
        root.write("/run/file", b"", PUBLIC, Keep::ThisBoot).unwrap();
        root.remove("/run/file").unwrap();
        root.remove("/run/file").unwrap();
        root.remove("/none/at/all").unwrap();
        assert_eq!(root.read("/run/file", 1).unwrap(), None);
    }
}
