//! Files of the node: read up to a limit, and replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Where `path`, which is absolute on the node, is below `root`: `/` but in tests.
pub(crate) fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The file's text; `None` if there is no such file. What is not UTF-8 becomes a replacement character.
///
/// # Errors
/// It cannot be read, or has more than `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Puts a file in place, whole or not at all, and makes the directories above it. It and its name are
/// on the disk when the call returns.
///
/// # Errors
/// What the file system says; what was there before stays.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)?;
    let mut beside = OsString::from(".");
    beside.push(path.file_name().unwrap_or_default());
    beside.push(".new");
    let beside = directory.join(beside);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_directory(directory)
}

/// Removes a file if it is there; its absence is on the disk when the call returns.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path.parent().unwrap_or(path)),
    }
}

/// Names in it are on the disk when the call returns.
///
/// # Errors
/// What the file system says.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_read_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = below(directory.path(), "/var/lib/x");
        assert_eq!(read(&path, 10).unwrap(), None);
        remove(&path).unwrap();
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(read(&path, 3).unwrap().as_deref(), Some("two"));
        assert_eq!(read(&path, 2).unwrap_err().to_string(), "it has more than 2 bytes");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        remove(&path).unwrap();
        assert_eq!(read(&path, 3).unwrap(), None);
    }
}
