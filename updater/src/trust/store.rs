//! Metadata that is kept on STATE, one file each, byte for byte as it was served. A file appears whole or
//! not at all, also over a power cut: written beside its place, brought to the disk, renamed, and the
//! directory brought to the disk.
//!
//! ```text
//! DIR/ROOT.root.json    the newest root that came of a first one: of all places that begin with it
//! DIR/PLACE/FILE        what one channel has said
//! ```
//!
//! `ROOT` and `PLACE` are the beginnings of digests of the first root and of the place's name. So a
//! channel's versions are held against its own, whatever another channel has; a root that has withdrawn
//! a key has done so for all of them; and an image that brings another first root begins with that one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::tuf::TopLevel;

/// Where the directory is on a node.
pub const DIRECTORY: &str = "/var/lib/orlop/updates/metadata";

/// Files of one place, and the root that it shares.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    place: PathBuf,
    root: PathBuf,
    first_root: Vec<u8>,
}

impl Store {
    /// In `directory`, for the place of this name, beginning with this root if no newer one came of it.
    pub fn new(directory: &Path, place: &str, first_root: Vec<u8>) -> Self {
        let short = |bytes: &[u8]| Sha256::of(bytes).to_string()[..16].to_owned();
        let root = directory.join(format!("{}.root.json", short(&first_root)));
        let place = directory.join(short(place.as_bytes()));
        Self { directory: directory.to_owned(), place, root, first_root }
    }

    fn path(&self, file: &str) -> PathBuf {
        if file == TopLevel::Root.file() { self.root.clone() } else { self.place.join(file) }
    }

    /// What is kept under this name, if it is no longer.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(&self, file: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = match File::open(self.path(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(kept) => {
                let mut bytes = Vec::new();
                kept.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
                Some(bytes).filter(|bytes| bytes.len() as u64 <= limit)
            }
        };
        let first = || (file == TopLevel::Root.file()).then(|| self.first_root.clone());
        Ok(bytes.or_else(first))
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// What the file system says; what was kept before stays.
    pub fn store(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        make(&self.directory)?;
        if file != TopLevel::Root.file() {
            make(&self.place)?;
        }
        let path = self.path(file);
        let directory = path.parent().unwrap_or(&self.directory);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        remove(&beside)?;
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(directory)?.sync_all()
    }

    /// Keeps a file no more.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, file: &str) -> io::Result<()> {
        let path = self.path(file);
        if !remove(&path)? {
            return Ok(());
        }
        File::open(path.parent().unwrap_or(&self.directory))?.sync_all()
    }
}

/// Whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Makes a directory with those above it, and their names are on the disk.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    make(above)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_files_of_its_own_and_shares_the_root() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = |place, root: &str| Store::new(directory.path(), place, root.into());
        let (a, b, other) = (store("a", "one"), store("b", "one"), store("a", "two"));
        assert_eq!(a.load("root.json", 9).expect("read"), Some(b"one".to_vec()));
        a.store("root.json", b"one, rotated").expect("kept");
        a.store("timestamp.json", b"7").expect("kept");
        a.store("timestamp.json", b"8").expect("kept");
        assert_eq!(b.load("root.json", 99).expect("read"), Some(b"one, rotated".to_vec()));
        assert_eq!(other.load("root.json", 99).expect("read"), Some(b"two".to_vec()));
        assert_eq!(b.load("timestamp.json", 9).expect("read"), None);
        assert_eq!(other.load("timestamp.json", 9).expect("read"), Some(b"8".to_vec()));
        assert_eq!(a.load("timestamp.json", 0).expect("read"), None);
        // What is kept and too long is no root of ours.
        assert_eq!(a.load("root.json", 3).expect("read"), Some(b"one".to_vec()));
        a.remove("timestamp.json").expect("removed");
        a.remove("timestamp.json").expect("it need not be there");
        assert_eq!(a.load("timestamp.json", 9).expect("read"), None);
        let names = fs::read_dir(directory.path().join(&a.place)).expect("there").count();
        assert_eq!(names, 0, "nothing is left beside");
    }
}
