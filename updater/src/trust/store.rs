//! Metadata that is kept on STATE, one file each, byte for byte as it was served. A file appears whole or
//! not at all, also over a power cut: written beside its place, brought to the disk, renamed, and the
//! directory brought to the disk.
//!
//! ```text
//! DIR/ROOT.root.json    the newest root that came of a first one: of all places that begin with it
//! DIR/CHANNEL/FILE      what one channel has said
//! DIR/CHANNEL/places    where that was to be had, a place on a line
//! ```
//!
//! `ROOT` is the beginning of the digest of the first root, `CHANNEL` that of the name of the place that a
//! channel had first when it was new. A channel is the same one as long as it keeps one of its places,
//! whatever their order: so no version falls because a mirror was added, removed or moved. Its versions
//! are held against its own, whatever another channel has; a root that has withdrawn a key has done so for
//! all of them; and an image that brings another first root begins with that one.

use std::cell::OnceCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::tuf::TopLevel;
use serde::Deserialize;

/// Where the directory is on a node.
pub const DIRECTORY: &str = "/var/lib/orlop/updates/metadata";

/// The file that says where a channel is to be had.
const PLACES: &str = "places";

/// Bytes of that file, and of a file of metadata of which only the version is of interest.
const LARGEST: u64 = 64 << 10;

/// Files of one channel, and the root that it shares.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    places: Vec<String>,
    /// Its own directory, once it was looked for.
    channel: OnceCell<PathBuf>,
    root: PathBuf,
    first_root: Vec<u8>,
}

impl Store {
    /// In `directory`, for the channel that these places have, beginning with this root if no newer one
    /// came of it.
    pub fn new(directory: &Path, places: Vec<String>, first_root: Vec<u8>) -> Self {
        let root = directory.join(format!("{}.root.json", short(&first_root)));
        let channel = OnceCell::new();
        Self { directory: directory.to_owned(), places, channel, root, first_root }
    }

    fn path(&self, file: &str) -> io::Result<PathBuf> {
        if file == TopLevel::Root.file() {
            return Ok(self.root.clone());
        }
        Ok(self.channel()?.join(file))
    }

    /// The directory of the channel: of those that have one of its places the one that knows the newest.
    pub(super) fn channel(&self) -> io::Result<&Path> {
        if let Some(found) = self.channel.get() {
            return Ok(found);
        }
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?.collect::<io::Result<Vec<_>>>()?,
        };
        let mut best = None;
        for path in entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if self.is_ours(&path)? {
                best = best.max(Some((version(&path.join(TopLevel::Timestamp.file()))?, path)));
            }
        }
        let first = self.places.first().map(String::as_bytes).unwrap_or_default();
        let new = || self.directory.join(short(first));
        Ok(self.channel.get_or_init(|| best.map_or_else(new, |(_, path)| path)))
    }

    fn is_ours(&self, channel: &Path) -> io::Result<bool> {
        let named = channel.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = read(&channel.join(PLACES), LARGEST)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let is_one = |place: &String| {
            short(place.as_bytes()) == named || text.lines().any(|line| line == place)
        };
        Ok(self.places.iter().any(is_one))
    }

    /// What is kept under this name, if it is no longer.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(&self, file: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = read(&self.path(file)?, limit)?;
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
            let channel = self.channel()?;
            make(channel)?;
            let places = self.places.join("\n").into_bytes();
            let path = channel.join(PLACES);
            if read(&path, LARGEST)?.as_ref() != Some(&places) {
                write(&path, &places)?;
            }
        }
        write(&self.path(file)?, bytes)
    }

    /// Keeps a file no more.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, file: &str) -> io::Result<()> {
        let path = self.path(file)?;
        if !remove(&path)? {
            return Ok(());
        }
        File::open(path.parent().unwrap_or(&self.directory))?.sync_all()
    }
}

/// The name that stands for something in the names of files.
fn short(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()[..16].to_owned()
}

/// The version that a file of metadata says, 0 if it says none: only to choose among our own.
fn version(path: &Path) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct File {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    let bytes = read(path, LARGEST)?.unwrap_or_default();
    Ok(serde_json::from_slice::<File>(&bytes).map_or(0, |file| file.signed.version))
}

/// What a file has, if it is there and no longer.
fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    remove(&beside)?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
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
        let store = |place: &str, root: &str| {
            Store::new(directory.path(), vec![place.to_owned()], root.into())
        };
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
        let names = fs::read_dir(a.channel().expect("there")).expect("there").count();
        assert_eq!(names, 1, "nothing is left beside but where it is to be had");
    }

    #[test]
    fn a_channel_is_the_same_as_long_as_it_keeps_one_of_its_places() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = |places: &[&str]| {
            let places = places.iter().map(|place| (*place).to_owned()).collect();
            Store::new(directory.path(), places, b"root".to_vec())
        };
        let timestamp = |version: u64| format!(r#"{{"signed":{{"version":{version}}}}}"#);
        let kept = |places: &[&str]| {
            let bytes = store(places).load("timestamp.json", 99).expect("read");
            bytes.map(|bytes| String::from_utf8(bytes).expect("text"))
        };
        store(&["a", "b"]).store("timestamp.json", timestamp(7).as_bytes()).expect("kept");
        assert_eq!(kept(&["b", "a"]), Some(timestamp(7)), "another order");
        assert_eq!(kept(&["c", "b"]), Some(timestamp(7)), "one is new, one has gone");
        assert_eq!(kept(&["c"]), None, "another channel");
        store(&["c", "b"]).store("timestamp.json", timestamp(8).as_bytes()).expect("kept");
        assert_eq!(kept(&["c"]), Some(timestamp(8)), "it was one of its places");
        // Two that were apart become one: what is newer counts.
        store(&["d"]).store("timestamp.json", timestamp(9).as_bytes()).expect("kept");
        assert_eq!(kept(&["c", "d"]), Some(timestamp(9)));
        assert_eq!(kept(&["d", "c"]), Some(timestamp(9)));
    }
}
