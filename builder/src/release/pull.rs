//! An artifact of a registry becomes a directory of releases. What is believed is decided by the client
//! that nodes have, before anything is written: from the owner's root, or from what is there already.
//! Files come to their places in the order in which they are published, the timestamp last; a file that
//! was begun is gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::digest::Sha256;
use formats::oci::{Artifact, File as Layer};
use formats::tree::Blob;
use formats::tuf::{Reason, TargetFile, Trusted};

use super::kept::Kept;
use super::listing::{self, Noting, TIMESTAMP};
use super::place::{self, Place};
use super::push::LARGEST_METADATA;
use super::reader::{self, Files, Reader};
use super::signers::Order;
use super::{refused, versions};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::{Progress, Task};
use crate::registry::Registry;

/// The directory in a directory of releases for files that are on their way.
const PARTS: &str = ".orlop-pull";
/// All metadata of an artifact together is not larger, in bytes: it is kept in memory.
const MOST_METADATA: u64 = 64 << 20;

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The digest of the manifest.
    pub digest: Sha256,
    /// How many files the state has.
    pub files: usize,
    /// How many were not there.
    pub fetched: usize,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// All versions, the oldest first.
    pub versions: Vec<String>,
    /// The version of the timestamp.
    pub timestamp: u64,
    /// Until when all of it is to be believed, in seconds since 1970.
    pub expires: i64,
}

/// What is believed to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief<'a> {
    /// This root, and what a node would believe at this time, in seconds since 1970.
    Root(&'a [u8], i64),
    /// The root of the releases that are there; of those that come, if none are.
    Place,
}

/// Whether a directory has releases.
pub(super) fn is_of_releases(directory: &Path) -> bool {
    directory.join(TIMESTAMP).is_file()
}

/// Whether a pull may write here: there is nothing, or there are releases, or a pull has begun.
fn is_for_releases(directory: &Path) -> Result<bool> {
    let cannot = || format!("cannot read `{}`", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(false),
        entries => entries.or_fail(Id::Read, cannot)?,
    };
    if is_of_releases(directory) {
        return Ok(true);
    }
    let ours = ["metadata", "targets", place::LOCK, PARTS];
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry.or_fail(Id::Read, cannot)?.file_name());
    }
    let begun = names.iter().any(|name| name == PARTS);
    // A pull that was interrupted at once leaves no more than the lock.
    let only = |ours: &[&str]| names.iter().all(|name| ours.iter().any(|one| name == one));
    Ok(only(&[place::LOCK]) || (begun && only(&ours)))
}

/// The metadata of an artifact.
#[derive(Debug)]
struct InRegistry {
    registry: Arc<Registry>,
    files: BTreeMap<String, Blob>,
}

impl Files for InRegistry {
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.files.get(path) else { return Ok(None) };
        if blob.size > limit {
            return Err(refused(Reason::TooLong(limit).of(path)));
        }
        self.registry.bytes(blob).map(Some)
    }
}

/// Pulls what the registry has into `directory`.
///
/// # Errors
/// [`Id::NotReleases`]; [`Id::Artifact`]; [`Id::Metadata`] if it is not to be believed;
/// [`Id::WrongDigest`]; [`Id::Publishing`] if somebody else writes there; those of [`Registry`].
pub fn pull(
    registry: &Arc<Registry>,
    directory: &Path,
    belief: Belief<'_>,
    progress: &Progress,
) -> Result<Pulled> {
    if !is_for_releases(directory)? {
        let message = format!("`{}` holds something else than releases", directory.display());
        return Err(Error::new(Id::NotReleases, message).hint(
            "name a directory that is not there yet, or one that was pulled or published to",
        ));
    }
    let (bytes, digest) = registry.manifest()?;
    let not = || format!("`{}` is no directory of releases", registry.location());
    let artifact = Artifact::parse(&bytes).or_fail(Id::Artifact, not)?;
    let layers: BTreeMap<_, _> =
        artifact.files.into_iter().map(|file| (file.path.as_str().to_owned(), file)).collect();
    if !layers.contains_key(TIMESTAMP) {
        return Err(Error::new(Id::Artifact, not()).caused_by(format!("it has no `{TIMESTAMP}`")));
    }
    let metadata = of_metadata(&layers).or_fail(Id::Artifact, not)?;
    let incoming = InRegistry { registry: Arc::clone(registry), files: metadata.clone() };
    let (incoming, found) = Noting::new(incoming).split();

    let there = reader::directory(directory);
    let had = is_of_releases(directory);
    let (root, now) = match belief {
        Belief::Root(root, now) => (root.to_vec(), now),
        Belief::Place if had => (there.first_root()?, i64::MIN),
        Belief::Place => {
            progress.warn("the first root is taken from the registry: name yours with `--root`");
            (incoming.first_root()?, i64::MIN)
        }
    };
    let mut old = None;
    let mut reader = Reader::new(&there, Kept::once(&root));
    if had {
        let trusted = reader.refresh(i64::MIN).map_err(|error| {
            error
                .within(format!("cannot go on with what is in `{}`", directory.display()))
                .hint("begin with the root under which it came there, or name another directory")
        })?;
        let files = listing::targets(&mut reader, &trusted)?;
        old = Some((version(&trusted), files, reader.root()?));
    }
    let mut reader = reader.moved_to(&incoming);
    let trusted = reader.refresh(now)?;
    let targets = listing::targets(&mut reader, &trusted)?;

    let place = Place::open(directory)?;
    let task = progress.task(format!("pull {}", registry.location()), Some(total(&layers)));
    let pull = Pull { registry, place: &place, directory, layers: &layers, task: &task };
    let (fetched, fetched_bytes) = pull.targets(&targets)?;
    let newer = old.as_ref().is_none_or(|(version, ..)| *version < self::version(&trusted));
    if newer {
        let newest = trusted.root().head.version;
        let mut found = listing::noted(&found);
        // The one that was begun with came from elsewhere, if none followed.
        found.insert(format!("metadata/{newest}.root.json"), reader.root()?);
        let goes_by = |root: &[u8]| Reader::at(&incoming, root).refresh(now).is_ok();
        let order = match &old {
            Some((.., root)) if goes_by(root) => Order::RootsLast,
            _ => Order::RootsFirst,
        };
        pull.metadata(&metadata, found, newest, order)?;
    }
    let before = old.map(|(_, targets, _)| targets).unwrap_or_default();
    let wanted = targets.keys().chain(before.keys());
    let below = wanted.filter_map(|name| name.strip_prefix("targets/")).map(str::to_owned);
    place.sweep(&below.collect());
    // What stays of it is no harm, and the next pull goes by it.
    drop(fs::remove_dir_all(directory.join(PARTS)));
    task.done(format!("{fetched} of {} files fetched, {fetched_bytes} bytes", targets.len()));
    let versions = trusted.targets().map(versions).unwrap_or_default();
    Ok(Pulled {
        digest,
        files: layers.len(),
        fetched,
        fetched_bytes,
        versions: versions.into_iter().map(|(_, version)| version).collect(),
        timestamp: version(&trusted),
        expires: trusted.expires(),
    })
}

fn version(trusted: &Trusted) -> u64 {
    trusted.timestamp().map_or(0, |it| it.head.version)
}

fn total(layers: &BTreeMap<String, Layer>) -> u64 {
    layers.values().fold(0, |sum, layer| sum.saturating_add(layer.blob.size))
}

/// The files of metadata, none of which is larger than metadata is.
fn of_metadata(layers: &BTreeMap<String, Layer>) -> Result<BTreeMap<String, Blob>, String> {
    let files = layers
        .iter()
        .filter(|(path, _)| path.strip_prefix("metadata/").is_some_and(|name| !name.contains('/')));
    let files: BTreeMap<_, _> = files.map(|(path, file)| (path.clone(), file.blob)).collect();
    if let Some((path, _)) = files.iter().find(|(_, blob)| blob.size > LARGEST_METADATA) {
        return Err(format!("its `{path}` has more than {LARGEST_METADATA} bytes"));
    }
    let sum = files.values().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
    if sum > MOST_METADATA {
        return Err(format!("its metadata has more than {MOST_METADATA} bytes"));
    }
    Ok(files)
}

/// One pull, once it is known what is believed.
struct Pull<'a> {
    registry: &'a Registry,
    place: &'a Place<'a>,
    directory: &'a Path,
    layers: &'a BTreeMap<String, Layer>,
    task: &'a Task,
}

impl Pull<'_> {
    /// Brings the files of targets that are not there. How many were not, and their bytes.
    fn targets(&self, targets: &BTreeMap<String, TargetFile>) -> Result<(usize, u64)> {
        let parts = self.directory.join(PARTS);
        fs::create_dir_all(&parts)
            .or_fail(Id::Write, || format!("cannot write `{}`", parts.display()))?;
        // All are known to be there before the first is fetched.
        let layers = targets.iter().map(|(name, file)| {
            let layer = self.layers.get(name).ok_or_else(|| {
                let message = format!("`{}` is no directory of releases", self.registry.location());
                let missing = format!("it has no `{name}`, which its metadata names");
                Error::new(Id::Artifact, message).caused_by(missing)
            })?;
            let (found, want) = (layer.blob.size, file.length);
            if found == want {
                Ok((name, file, layer.blob))
            } else {
                Err(refused(Reason::Length { found, want }.of(name.as_str())))
            }
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let (mut fetched, mut bytes) = (0, 0);
        for (name, file, blob) in layers {
            if self.has(name, file, &blob)? {
                self.task.advance(blob.size);
                continue;
            }
            let part = self.fetch(&parts, name, file, &blob)?;
            self.place.take(name, &part)?;
            fetched += 1;
            bytes += blob.size;
        }
        Ok((fetched, bytes))
    }

    /// Whether a file is there already, byte for byte.
    fn has(&self, name: &str, file: &TargetFile, blob: &Blob) -> Result<bool> {
        let path = self.directory.join(name);
        let there = fs::symlink_metadata(&path);
        if !there.is_ok_and(|there| there.is_file() && there.len() == blob.size) {
            return Ok(false);
        }
        Ok(self.is_signed(&path, name, file, blob).is_ok())
    }

    /// That a file has the digest of the blob, and is the one that was signed.
    fn is_signed(&self, path: &Path, name: &str, file: &TargetFile, blob: &Blob) -> Result<()> {
        let no = |reason: Reason| refused(reason.of(name));
        let mut check = match listing::is_surely(file, blob) {
            true => None,
            false => Some(file.check().map_err(no)?),
        };
        let found = listing::digest(path, |piece| match &mut check {
            Some(check) => check.update(piece).map_err(no),
            None => Ok(()),
        })?;
        if found != *blob {
            let message = format!(
                "the registry of `{}` gives other bytes for `{name}`: their digest is sha256:{}, not \
                 sha256:{}",
                self.registry.location(),
                found.sha256,
                blob.sha256
            );
            return Err(Error::new(Id::WrongDigest, message).hint("try again, or another registry"));
        }
        check.map_or(Ok(()), |check| check.finish().map_err(no))
    }

    /// Fetches a file beside its place. One that is another than it must be is not kept.
    fn fetch(&self, parts: &Path, name: &str, file: &TargetFile, blob: &Blob) -> Result<PathBuf> {
        let part = parts.join(blob.sha256.to_string());
        self.registry.download(blob, &part, self.task)?;
        match self.is_signed(&part, name, file, blob) {
            Ok(()) => Ok(part),
            Err(error) => {
                drop(fs::remove_file(&part));
                Err(error)
            }
        }
    }

    /// Places the metadata that was believed: roots and timestamp come last, in the order in which whoever
    /// looks between two writes verifies what is there.
    fn metadata(
        &self,
        layers: &BTreeMap<String, Blob>,
        mut found: BTreeMap<String, Vec<u8>>,
        newest: u64,
        order: Order,
    ) -> Result<()> {
        // Roots before the one that was begun with are for those who begin with an older one.
        for (name, blob) in layers {
            let older = root_version(name).is_some_and(|version| version < newest);
            if older && !found.contains_key(name) && !self.directory.join(name).exists() {
                found.insert(name.clone(), self.registry.bytes(blob)?);
            }
        }
        let timestamp = found.remove(TIMESTAMP);
        let (mut roots, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(name, _)| root_version(name).is_some());
        roots.sort_by_key(|(name, _)| root_version(name));
        let put = |files: &[(String, Vec<u8>)]| {
            files.iter().try_for_each(|(name, bytes)| self.place.put_once(name, bytes))
        };
        put(&others)?;
        if order == Order::RootsFirst {
            put(&roots)?;
        }
        if let Some(bytes) = timestamp {
            self.place.lead(&bytes)?;
        }
        if order == Order::RootsLast { put(&roots) } else { Ok(()) }
    }
}

/// Which version of the root a file is, if it is one.
fn root_version(name: &str) -> Option<u64> {
    name.strip_prefix("metadata/")?.strip_suffix(".root.json")?.parse().ok()
}

#[cfg(test)]
#[path = "pull/tests.rs"]
mod tests;
