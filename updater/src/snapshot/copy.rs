//! A copy of the databases: made whole or not at all, checked before it is put back, and put back whole
//! however often that is interrupted: its list is there until all is in its place, and what is not in the
//! copy any more is.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use formats::digest::{Hasher, Sha256};
use rustix::fs::statvfs;

use super::list::{
    CONTAINERD, Copied, DEVICE_PLUGINS, KUBELET, LAYERS, List, PULLED, PULLING, Trial, is_name,
    is_ours,
};
use super::{COPY, Done, SnapshotError};
use crate::files::{below, read, replace, sync_directory};

/// Where a copy is made.
const BEGUN: &str = "/var/lib/orlop/.before-trial.begun";
/// The list of a copy, in its directory.
const LIST: &str = "list";
/// Where a copy is made, or will be: the first that is there says how much is free.
const PLACES: [&str; 3] = ["/var/lib/orlop", "/var/lib", "/var"];
/// Bytes beside a copy.
const BESIDE: u64 = 1 << 20;
/// Bytes of a list.
const LONGEST_LIST: u64 = 4 << 20;
/// Bytes of all databases: that of a node with a thousand pods has some ten million.
pub const MOST_BYTES: u64 = 256 << 20;
/// Files: kubelet keeps one for each private image.
const MOST_FILES: usize = 4096;

/// What [`SnapshotError::Io`] has of `doing`.
trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, SnapshotError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, SnapshotError> {
        self.map_err(|error| SnapshotError::Io { doing: doing(), error })
    }
}

/// Copies them, unless they were copied for this trial; a copy of another trial goes.
pub(super) fn take(root: &Path, trial: &Trial) -> Result<Done, SnapshotError> {
    let (copy, begun) = (below(root, COPY), below(root, BEGUN));
    if list_of(&copy)?.is_some_and(|list| list.trial == *trial) {
        // Since then the new release may have written to them.
        return Ok(Done::Nothing);
    }
    for old in [&copy, &begun] {
        remove(old).doing(|| format!("remove {}", old.display()))?;
    }
    let (found, _) = small_databases(root)?;
    let taken = take_anew(root, trial, found, (&copy, &begun));
    if taken.is_err() {
        // What there is of it would only take the room that there is not. It was no copy yet.
        drop(remove(&begun));
    }
    taken
}

fn take_anew(
    root: &Path,
    trial: &Trial,
    found: Vec<(String, u64)>,
    (copy, begun): (&Path, &Path),
) -> Result<Done, SnapshotError> {
    let making = || format!("make {}", begun.display());
    fs::create_dir_all(begun.parent().unwrap_or(begun)).doing(making)?;
    fs::DirBuilder::new().mode(0o700).create(begun).doing(making)?;
    let (mut files, mut bytes) = (Vec::new(), 0);
    for (number, (path, _)) in found.into_iter().enumerate() {
        let to = begun.join(number.to_string());
        let copied = copy_file(&below(root, &path), &to);
        let (size, digest) = copied.doing(|| format!("copy {path}"))?;
        bytes += size;
        files.push(Copied { path, size, digest });
    }
    let count = files.len();
    let list = List { trial: *trial, files, layers: layers(root)?.into_iter().collect() };
    replace(&begun.join(LIST), &list.text()).doing(|| "write the list of the copy".to_owned())?;
    fs::rename(begun, copy)
        .and_then(|()| sync_directory(copy.parent().unwrap_or(copy)))
        .doing(|| format!("make {}", copy.display()))?;
    Ok(Done::Copied(count, bytes))
}

/// That what there is can be copied. What an earlier trial has copied is gone by then.
pub(super) fn check_room(root: &Path) -> Result<(), SnapshotError> {
    let (found, size) = small_databases(root)?;
    let place = PLACES.into_iter().find(|place| below(root, place).exists()).unwrap_or("/");
    let room = statvfs(below(root, place)).map_err(io::Error::from);
    let room = room.doing(|| format!("look how much is free in {place}"))?;
    fits(needed(found.len(), size), room.f_bavail.saturating_mul(room.f_frsize), place)
}

pub(super) fn fits(needed: u64, free: u64, place: &'static str) -> Result<(), SnapshotError> {
    if free < needed { Err(SnapshotError::NoRoom { needed, free, place }) } else { Ok(()) }
}

/// Bytes of a copy on the disk: each file has a block that is not full, its line in the list, and its
/// name; note and outcome of the trial lie beside it.
pub(super) fn needed(files: usize, size: u64) -> u64 {
    const EACH: u64 = 8192;
    let files = u64::try_from(files).unwrap_or(u64::MAX);
    size.saturating_add(files.saturating_mul(EACH)).saturating_add(BESIDE)
}

/// What is to be copied, and its bytes.
fn small_databases(root: &Path) -> Result<(Vec<(String, u64)>, u64), SnapshotError> {
    let found = databases(root)?;
    let size = found.iter().map(|(_, size)| size).sum();
    if size > MOST_BYTES {
        return Err(SnapshotError::TooLarge { size, most: MOST_BYTES });
    }
    Ok((found, size))
}

/// Puts them back if there is a copy of this trial, and removes it. They are renamed out of the copy, so no
/// room is needed that a full disk does not have, and what is there of the trial makes some.
pub(super) fn put_back(root: &Path, trial: &Trial) -> Result<Done, SnapshotError> {
    let copy = below(root, COPY);
    let forget = || remove(&copy).doing(|| format!("remove {}", copy.display()));
    let Some(list) = list_of(&copy)?.filter(|list| list.trial == *trial) else {
        forget()?;
        return Ok(Done::Nothing);
    };
    let moves =
        list.files.iter().enumerate().map(|(number, copied)| {
            (copy.join(number.to_string()), below(root, &copied.path), copied)
        });
    let mut moves: Vec<_> = moves.collect();
    // First what takes the place of something, which makes room.
    moves.sort_by_key(|(_, place, _)| !place.exists());
    for (from, place, copied) in &moves {
        check(from, place, copied)?;
    }
    // Until here nothing is changed.
    let mut directories = BTreeSet::new();
    // Of a plugin that only the new release has, or of what it did.
    for (path, _) in databases(root)? {
        if !list.files.iter().any(|copied| copied.path == path) {
            let place = below(root, &path);
            fs::remove_file(&place).doing(|| format!("remove {path}"))?;
            directories.insert(place.parent().unwrap_or(root).to_owned());
        }
    }
    for (from, place, copied) in &moves {
        let directory = place.parent().unwrap_or(root);
        let moved = match fs::create_dir_all(directory).and_then(|()| fs::rename(from, place)) {
            // It was, before the power went.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(()),
            moved => moved,
        };
        moved.doing(|| format!("put back {}", copied.path))?;
        directories.insert(directory.to_owned());
    }
    remove_layers(root, &list.layers)?;
    for directory in &directories {
        sync_directory(directory).doing(|| format!("write {}", directory.display()))?;
    }
    forget()?;
    Ok(Done::Restored(list.files.len()))
}

/// That a file of the copy is what its list says; or that it is not there any more, for it is in its place.
fn check(from: &Path, place: &Path, copied: &Copied) -> Result<(), SnapshotError> {
    let found = match digest_of(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_back = place.is_file();
            return if is_back { Ok(()) } else { Err(SnapshotError::Damaged(copied.path.clone())) };
        }
        found => found.doing(|| format!("read the copy of {}", copied.path))?,
    };
    if found == (copied.size, copied.digest) {
        Ok(())
    } else {
        Err(SnapshotError::Damaged(copied.path.clone()))
    }
}

/// Whether there is a copy of this trial.
pub(super) fn is_of(root: &Path, trial: &Trial) -> Result<bool, SnapshotError> {
    Ok(list_of(&below(root, COPY))?.is_some_and(|list| list.trial == *trial))
}

/// Removes directories of layers that the databases do not know: they would give their numbers to others,
/// whose directory cannot be made then.
fn remove_layers(root: &Path, known: &[String]) -> Result<(), SnapshotError> {
    let unknown = layers(root)?.into_iter().filter(|name| !known.contains(name));
    for name in unknown {
        let layer = below(root, LAYERS).join(name);
        fs::remove_dir_all(&layer).doing(|| format!("remove {}", layer.display()))?;
    }
    Ok(())
}

/// Removes a copy, its list first: what is left of it is none.
pub(super) fn remove(copy: &Path) -> io::Result<()> {
    crate::files::remove(&copy.join(LIST))?;
    match fs::remove_dir_all(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn list_of(copy: &Path) -> Result<Option<List>, SnapshotError> {
    let text =
        read(&copy.join(LIST), LONGEST_LIST).doing(|| "read the list of a copy".to_owned())?;
    Ok(text.and_then(|text| List::parse(&text)))
}

/// Copies a file with its mode, to the disk; its size and digest.
fn copy_file(from: &Path, to: &Path) -> io::Result<(u64, Sha256)> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o7777;
    let mut options = File::options();
    let mut target = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let read = pass(&mut source, |piece| target.write_all(piece))?;
    target.set_permissions(fs::Permissions::from_mode(mode))?;
    target.sync_all()?;
    Ok(read)
}

/// The size and digest of a file.
fn digest_of(path: &Path) -> io::Result<(u64, Sha256)> {
    pass(&mut File::open(path)?, |_| Ok(()))
}

/// Reads to the end, with each piece given away; the size and digest of all.
fn pass(
    source: &mut File,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Sha256)> {
    let (mut size, mut hasher) = (0, Hasher::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok((size, hasher.finish())),
            length => {
                hasher.update(&buffer[..length]);
                take(&buffer[..length])?;
                size += length as u64;
            }
        }
    }
}

/// Each database that is there and its bytes, in the order of their paths.
fn databases(root: &Path) -> Result<Vec<(String, u64)>, SnapshotError> {
    let plugins = names(root, CONTAINERD)?;
    let plugins = plugins.into_iter().map(|name| format!("{CONTAINERD}/{name}"));
    let others = [KUBELET, DEVICE_PLUGINS, PULLING, PULLED].map(str::to_owned);
    let mut found = Vec::new();
    for directory in plugins.chain(others) {
        for name in names(root, &directory)? {
            let path = format!("{directory}/{name}");
            if !is_ours(&path) {
                continue;
            }
            let place = below(root, &path);
            let metadata = fs::symlink_metadata(&place).doing(|| format!("look at {path}"))?;
            if metadata.is_file() {
                found.push((path, metadata.len()));
            }
            if found.len() > MOST_FILES {
                return Err(SnapshotError::TooMany(MOST_FILES));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn layers(root: &Path) -> Result<BTreeSet<String>, SnapshotError> {
    names(root, LAYERS)
}

/// What is in a directory, by names that fit into a line; nothing if it is none.
fn names(root: &Path, directory: &str) -> Result<BTreeSet<String>, SnapshotError> {
    let entries = match fs::read_dir(below(root, directory)) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(BTreeSet::new());
        }
        entries => entries.doing(|| format!("look into {directory}"))?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.doing(|| format!("look into {directory}"))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| is_name(name)));
    }
    Ok(names)
}
