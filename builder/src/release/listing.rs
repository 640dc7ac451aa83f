//! All files of one state of a directory of releases: what its timestamp leads to, and nothing of the
//! states before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use formats::digest::{Hasher, Sha256};
use formats::tree::Blob;
use formats::tuf::{Form, Io as _, RoleName, TargetFile, Targets, Trusted, metadata_path};

use super::reader::{Failed, Files, Place, Reader};
use super::refused;
use crate::error::{Context as _, Id, Result};

/// Where the timestamp is.
pub(super) const TIMESTAMP: &str = "metadata/timestamp.json";
/// So many roles that are delegated to are looked at.
const MOST_ROLES: usize = 1024;

/// A place that notes what was found in it.
#[derive(Debug, Clone)]
pub(super) struct Noting<P> {
    place: P,
    found: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl<P: Files> Noting<P> {
    pub(super) fn new(place: P) -> Self {
        Self { place, found: Arc::default() }
    }
}

/// What was found, by its path.
pub(super) type Found = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

impl<P: Files + 'static> Noting<P> {
    /// As a place, and what is found in it.
    pub(super) fn split(self) -> (Place, Found) {
        let found = Arc::clone(&self.found);
        (Place::Other(Box::new(self)), found)
    }
}

impl<P: Files> Files for Noting<P> {
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let bytes = self.place.get(path, limit)?;
        if let Some(bytes) = bytes.as_ref().filter(|bytes| bytes.len() as u64 <= limit) {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }
}

impl Files for Place {
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Place::get(self, path, limit)
    }
}

/// What was noted so far.
pub(super) fn noted(found: &Found) -> BTreeMap<String, Vec<u8>> {
    found.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// All files of targets by their paths below the directory, those of roles that are delegated to among
/// them. Where several roles name one, the first that is asked counts.
pub(super) fn targets(
    reader: &mut Reader<'_>,
    trusted: &Trusted,
) -> Result<BTreeMap<String, TargetFile>> {
    let mut files = BTreeMap::new();
    let Some(top) = trusted.targets() else { return Ok(files) };
    let mut seen: BTreeSet<RoleName> = BTreeSet::new();
    let mut waiting: VecDeque<Targets> = [top.clone()].into();
    let consistent = trusted.root().consistent_snapshot;
    while let Some(targets) = waiting.pop_front() {
        for (path, file) in &targets.targets {
            let prefix = file.hashes.prefix().filter(|_| consistent);
            let place = format!("targets/{}", path.path(prefix, Form::File));
            files.entry(place).or_insert_with(|| file.clone());
        }
        for role in targets.delegations.iter().flat_map(|it| &it.roles) {
            let wanted = trusted.snapshot().and_then(|it| it.meta.get(&role.name.meta()));
            let Some(wanted) = wanted.filter(|_| !seen.contains(&role.name)) else { continue };
            if seen.len() >= MOST_ROLES {
                break;
            }
            seen.insert(role.name.clone());
            let version = Some(wanted.version).filter(|_| consistent);
            let path = metadata_path(role.name.as_str(), version, Form::File);
            let limit = wanted.length.unwrap_or(formats::tuf::Limits::DEFAULT.targets);
            let bytes = reader.fetch(&path, limit).map_err(Failed::into_error)?;
            let bytes = bytes.ok_or_else(|| refused(formats::tuf::Reason::Missing.of(&path)))?;
            let delegated = trusted.delegated(&bytes, &role.name, &targets);
            waiting.push_back(delegated.map_err(|reason| refused(reason.of(&path)))?);
        }
    }
    Ok(files)
}

/// Digest and size of a file, read to its end; each piece is shown to `look`, too.
pub(super) fn digest(path: &Path, mut look: impl FnMut(&[u8]) -> Result<()>) -> Result<Blob> {
    let cannot = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).or_fail(Id::Read, cannot)?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).or_fail(Id::Read, cannot)?;
        if read == 0 {
            return Ok(Blob { sha256: hasher.finish(), size });
        }
        hasher.update(&buffer[..read]);
        look(&buffer[..read])?;
        size += read as u64;
    }
}

/// Whether a file of these bytes is the one that was signed, as far as this can be told by them alone.
pub(super) fn is_surely(file: &TargetFile, blob: &Blob) -> bool {
    let digits = blob.sha256.to_string();
    file.length == blob.size
        && file.hashes == formats::tuf::Hashes::sha256(blob.sha256)
        && file.hashes.prefix().is_some_and(|prefix| prefix == digits)
}

/// Blobs of files whose content is in memory.
pub(super) fn blob(bytes: &[u8]) -> Blob {
    Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 }
}
