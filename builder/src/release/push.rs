//! A directory of releases becomes an artifact of a registry: the files of its present state, each a blob
//! of its own, and a manifest that names them. A blob that the registry has is not sent again, so what
//! was interrupted goes on; the manifest comes last, so its name leads to one whole state or the next.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use formats::oci::{Artifact, EMPTY, File as Layer, LARGEST_MANIFEST};
use formats::tuf::{Limits, TargetPath};

use super::kept::Kept;
use super::listing::{self, Noting, TIMESTAMP};
use super::place::Reading;
use super::pull::is_of_releases;
use super::reader::{self, Reader};
use super::{refused, versions};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::{Progress, Task};
use crate::registry::Registry;

/// The type of such an artifact.
pub const KIND: &str = "application/vnd.orlop.releases.v1";

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest: what is signed, and what never changes.
    pub digest: Sha256,
    /// How many files it has.
    pub files: usize,
    /// How many blobs the registry did not have.
    pub sent: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// All versions, the oldest first.
    pub versions: Vec<String>,
    /// The version of the timestamp.
    pub timestamp: u64,
    /// Until when all of it is to be believed, in seconds since 1970.
    pub expires: i64,
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
enum Content {
    Memory(Vec<u8>),
    Disk(PathBuf),
}

impl Content {
    fn open(&self) -> std::io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Self::Disk(path) => Box::new(File::open(path)?),
        })
    }
}

/// Reads with a bar that follows.
struct Shown<'a>(Box<dyn Read>, &'a Task);

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.advance(read as u64);
        Ok(read)
    }
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("zst") => "application/zstd",
        _ => "application/octet-stream",
    }
}

/// Pushes what `directory` has now.
///
/// # Errors
/// [`Id::NotReleases`]; [`Id::Metadata`] if a file is not the one that was signed; those of
/// [`Registry`].
pub fn push(directory: &Path, registry: &Registry, progress: &Progress) -> Result<Pushed> {
    if !is_of_releases(directory) {
        let message = format!("`{}` has no releases to push", directory.display());
        return Err(Error::new(Id::NotReleases, message));
    }
    let _shared = Reading::of(directory);
    let (place, found) = Noting::new(reader::directory(directory)).split();
    let root = place.first_root()?;
    let mut reader = Reader::new(&place, Kept::once(&root));
    let trusted = reader.refresh(i64::MIN)?;
    let targets = listing::targets(&mut reader, &trusted)?;
    let mut files = Vec::new();
    for (name, file) in &targets {
        let path = directory.join(name);
        let mut check = file.check().map_err(|reason| refused(reason.of(name)))?;
        let no = |reason: formats::tuf::Reason| refused(reason.of(name));
        let blob = listing::digest(&path, |piece| check.update(piece).map_err(no))?;
        check.finish().map_err(no)?;
        files.push((layer(name, blob)?, Content::Disk(path)));
    }
    let (timestamp, metadata): (Vec<_>, Vec<_>) =
        listing::noted(&found).into_iter().partition(|(name, _)| name == TIMESTAMP);
    for (name, bytes) in metadata.into_iter().chain(timestamp) {
        files.push((layer(&name, listing::blob(&bytes))?, Content::Memory(bytes)));
    }
    let (sent, sent_bytes) = send(registry, &files, progress)?;
    let versions: Vec<_> = trusted.targets().map(versions).unwrap_or_default();
    let versions: Vec<_> = versions.into_iter().map(|(_, version)| version).collect();
    let artifact = Artifact {
        kind: KIND.to_owned(),
        files: files.into_iter().map(|(file, _)| file).collect(),
    };
    let newest =
        versions.last().map(|version| ("org.opencontainers.image.version", version.as_str()));
    let manifest = artifact.manifest(newest.as_slice());
    if manifest.blob.size > LARGEST_MANIFEST {
        let message = format!(
            "`{}` has {} files, more than a registry's manifest holds",
            directory.display(),
            artifact.files.len()
        );
        return Err(Error::new(Id::TooLarge, message).hint("keep fewer releases: `--keep N`"));
    }
    registry.put_manifest(&manifest)?;
    Ok(Pushed {
        digest: manifest.blob.sha256,
        files: artifact.files.len(),
        sent,
        sent_bytes,
        versions,
        timestamp: trusted.timestamp().map_or(0, |it| it.head.version),
        expires: trusted.expires(),
    })
}

fn layer(name: &str, blob: formats::tree::Blob) -> Result<Layer> {
    let path: TargetPath =
        name.parse().or_fail(Id::Metadata, || format!("cannot push `{name}`"))?;
    Ok(Layer { path, media_type: media_type(name).to_owned(), blob })
}

/// Sends the blobs that the registry has not, each once.
fn send(
    registry: &Registry,
    files: &[(Layer, Content)],
    progress: &Progress,
) -> Result<(usize, u64)> {
    let empty = (layer("config", listing::blob(EMPTY))?, Content::Memory(EMPTY.to_vec()));
    let mut seen = BTreeSet::new();
    let (mut sent, mut sent_bytes) = (0, 0);
    let total = files.iter().map(|(file, _)| file.blob.size).sum();
    let task = progress.task(format!("push {}", registry.location()), Some(total));
    for (file, content) in files.iter().chain([&empty]) {
        if !seen.insert(file.blob.sha256) {
            continue;
        }
        if registry.has(&file.blob)? {
            task.advance(file.blob.size);
            continue;
        }
        let open = || Ok(Box::new(Shown(content.open()?, &task)) as Box<dyn Read + '_>);
        let what = || format!("cannot push `{}`", file.path);
        registry.send(&file.blob, &open).map_err(|error| error.within(what()))?;
        sent += 1;
        sent_bytes += file.blob.size;
    }
    task.done(format!("{sent} of {} blobs sent, {sent_bytes} bytes", seen.len()));
    Ok((sent, sent_bytes))
}

/// Metadata of one file is not larger.
pub(super) const LARGEST_METADATA: u64 = Limits::DEFAULT.targets;
