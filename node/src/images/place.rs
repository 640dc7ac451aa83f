//! Where an image of the root is: in a tar archive of its own, or as an index with its blobs beside it,
//! each a file (`docs/images-of-pods.md`). And what an image is made of, which is the same in both.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use super::archive::Archive;
use super::{Document, Entry, LONGEST_DOCUMENT, blob_path};

/// How deep an index may name indexes.
const DEEPEST: usize = 4;

/// Where an image is.
pub(super) enum Place {
    /// In a tar archive.
    Archive(Archive<File>),
    /// This index, and the blobs in its directory.
    Index(PathBuf),
}

/// A blob of an image, and what it keeps from being collected.
pub(super) struct Member {
    pub(super) blob: Entry,
    pub(super) labels: Vec<(String, String)>,
}

/// What a name leads to: each blob after all that it names.
pub(super) struct Members {
    pub(super) members: Vec<Member>,
    /// The digest of the configuration, which is the image's id.
    pub(super) config: String,
}

impl Place {
    /// Whether a file of the directory for images is one.
    pub(super) fn is_at(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "tar" || extension == "json")
    }

    pub(super) fn open(path: &Path) -> Result<Self, String> {
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(Self::Index(path.to_owned()));
        }
        Archive::read(File::open(path).map_err(|error| error.to_string())?).map(Self::Archive)
    }

    /// The document that names the images.
    pub(super) fn index(&mut self) -> Result<Vec<u8>, String> {
        match self {
            Self::Archive(archive) => archive.file("index.json", LONGEST_DOCUMENT),
            Self::Index(path) => read(path, "it"),
        }
    }

    /// A blob and its size.
    pub(super) fn blob(&mut self, digest: &str) -> Result<(u64, Box<dyn Read + '_>), String> {
        let name = blob_path(digest)?;
        match self {
            Self::Archive(archive) => {
                let bytes = archive.open(&name)?;
                Ok((bytes.limit(), Box::new(bytes)))
            }
            Self::Index(index) => {
                let file = File::open(index.with_file_name(&name));
                let file = file.map_err(|error| format!("cannot read `{name}`: {error}"))?;
                let size = file.metadata().map_err(|error| format!("`{name}`: {error}"))?.len();
                Ok((size, Box::new(file)))
            }
        }
    }

    /// The file that a blob is by itself, if it is one.
    pub(super) fn file(&self, digest: &str) -> Option<PathBuf> {
        match self {
            Self::Archive(_) => None,
            Self::Index(index) => Some(index.with_file_name(blob_path(digest).ok()?)),
        }
    }

    /// Whether there is such a blob: of an index, only what is for this machine is.
    fn has(&mut self, digest: &str) -> bool {
        match self.file(digest) {
            Some(file) => file.exists(),
            None => self.blob(digest).is_ok(),
        }
    }

    /// A small blob, whose digest was compared.
    fn document(&mut self, entry: &Entry) -> Result<Document, String> {
        let bytes = match self {
            Self::Archive(archive) => archive.file(&blob_path(&entry.digest)?, LONGEST_DOCUMENT)?,
            Self::Index(index) => {
                let name = blob_path(&entry.digest)?;
                read(&index.with_file_name(&name), &format!("`{name}`"))?
            }
        };
        // Before its content is believed; containerd checks what it gets once more.
        let digest = format!("sha256:{}", Sha256::of(&bytes));
        if digest != entry.digest || bytes.len() as u64 != entry.size {
            return Err(format!("{} has other bytes than its name says", entry.digest));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is no manifest: {error}", entry.digest))
    }

    /// All that `entry` leads to.
    pub(super) fn members(&mut self, entry: &Entry) -> Result<Members, String> {
        self.members_at(entry, 0)
    }

    fn members_at(&mut self, entry: &Entry, depth: usize) -> Result<Members, String> {
        let Document { manifests, config, layers } = self.document(entry)?;
        // What a document names is kept as long as it: these labels say so to containerd's collector
        // (docs/garbage-collection.md there).
        let label = |what: &str, of: &Entry| {
            (format!("containerd.io/gc.ref.content.{what}"), of.digest.clone())
        };
        let Some(config) = config else {
            let here: Vec<_> =
                manifests.into_iter().filter(|manifest| self.has(&manifest.digest)).collect();
            let [manifest] = here.as_slice() else {
                let count = here.len();
                return Err(format!("{} has {count} manifests here, and not one", entry.digest));
            };
            if depth == DEEPEST {
                return Err(format!("{} is an index of indexes of indexes", entry.digest));
            }
            let mut found = self.members_at(manifest, depth + 1)?;
            let labels = vec![label("m.0", manifest)];
            found.members.push(Member { blob: entry.clone(), labels });
            return Ok(found);
        };
        let mut labels = vec![label("config", &config)];
        let numbered = layers.iter().enumerate();
        labels.extend(numbered.map(|(number, layer)| label(&format!("l.{number}"), layer)));
        let id = config.digest.clone();
        let plain = |blob: Entry| Member { blob, labels: Vec::new() };
        let mut members: Vec<_> = layers.into_iter().chain([config]).map(plain).collect();
        members.push(Member { blob: entry.clone(), labels });
        Ok(Members { members, config: id })
    }
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    crate::root::read_limited(file, LONGEST_DOCUMENT)
        .map_err(|error| format!("cannot read {name}: {error}"))
}

/// What lies in the directory for images, in the order of the names.
///
/// # Errors
/// Those of the file system.
pub(super) fn all(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        found.push(entry?.path());
    }
    found.retain(|path| Place::is_at(path));
    found.sort();
    Ok(found)
}
