//! Images in an OCI image layout (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>),
//! as a directory or in a tar archive, however that is packed. A blob that the store has already is not
//! read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::oci::{Descriptor, LARGEST_MANIFEST, Names, Reference};
use formats::tree::Blob;

use super::NAME;
use super::parts::{self, Part, no_image};
use crate::archive::{Archive, Entry};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::{Mode, Progress};
use crate::store::{Batch, BlobWriter, Store};

/// What names the images of a layout.
const INDEX: &str = "index.json";
/// The annotation with a tag, or with a whole name.
const TAG: &str = "org.opencontainers.image.ref.name";

/// The parts of the image of an archive, all of which are in the store afterwards: what it is called
/// in the archive matters only if there are several.
///
/// # Errors
/// [`Id::ImageSource`], [`Id::ImagePlatform`], [`Id::WrongDigest`]; nothing is in the store then that was
/// not there. [`Id::Read`], [`Id::StoreWrite`].
pub fn of_archive(
    store: &Store,
    component: &str,
    path: &Path,
    reference: &Reference,
    architecture: Architecture,
) -> Result<Vec<Part>> {
    let shown = path.display().to_string();
    let meta = std::fs::metadata(path).or_fail(Id::Read, || format!("cannot read `{shown}`"))?;
    let quiet = Progress::new(Mode::None).task("unpack", None);
    let file;
    let place = if meta.is_dir() {
        Place::Directory(path.to_owned())
    } else {
        file = File::open(path).or_fail(Id::Read, || format!("cannot read `{shown}`"))?;
        Place::Archive(Archive::open(&file, &shown, &quiet)?)
    };
    let name = format!("`oci.{component}` in `{shown}`");
    let layout = Layout { store, place, name: &name };
    let entries = named(&layout.entries()?, reference, &name)?;
    let batch = store.batch();
    let found = parts::find(&entries, architecture, &name, &mut |descriptor| {
        let bytes = layout.document(descriptor)?;
        batch.put_bytes(&bytes)?;
        Ok(bytes)
    })?;
    let wanted = found.iter().map(|part| (part.blob.sha256, part.blob));
    let wanted: BTreeMap<_, _> = wanted.filter(|(_, blob)| !batch.has(blob)).collect();
    layout.copy(&wanted, &batch)?;
    batch.finish()?;
    Ok(found)
}

/// Where a layout is.
enum Place<'a> {
    Directory(PathBuf),
    Archive(Archive<'a>),
}

struct Layout<'a> {
    store: &'a Store,
    place: Place<'a>,
    /// What messages call it.
    name: &'a str,
}

impl Layout<'_> {
    /// What its index names.
    fn entries(&self) -> Result<Vec<Descriptor>> {
        let Some(bytes) = self.small(INDEX)? else {
            let why = format!("it has no `{INDEX}`, so it is no OCI image layout");
            return Err(no_image(self.name, &why).hint(
                "`skopeo copy docker-archive:FILE oci-archive:NEW` makes one of what an older \
                 `docker save` wrote",
            ));
        };
        match parts::listing(self.name, &bytes)?.names {
            Names::Index(entries) if !entries.is_empty() => Ok(entries),
            _ => Err(no_image(self.name, &format!("its `{INDEX}` names no image"))),
        }
    }

    /// A document, whose digest was compared.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let blob = &descriptor.blob;
        if blob.size > LARGEST_MANIFEST {
            let why = format!("a document of it has more than {LARGEST_MANIFEST} bytes");
            return Err(no_image(self.name, &why));
        }
        if self.store.has(blob) {
            return self.store.read_blob(blob);
        }
        match self.small(&path(&blob.sha256))? {
            Some(bytes) => parts::compared(self.name, descriptor, bytes),
            None => Err(self.missing(&blob.sha256)),
        }
    }

    /// A file of at most [`LARGEST_MANIFEST`] bytes; nothing if there is none of this path.
    fn small(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let mut take = |content: &mut dyn Read| {
            let read = content.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes);
            read.map(drop).or_fail(Id::Read, || format!("cannot read `{path}` of {}", self.name))
        };
        match &self.place {
            Place::Directory(directory) => match File::open(directory.join(path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => {
                    let cannot = || format!("cannot read `{path}` of {}", self.name);
                    take(&mut opened.or_fail(Id::Read, cannot)?)?;
                }
            },
            Place::Archive(archive) => match archive.entries().get(path) {
                Some(Entry::File { member, .. }) => {
                    archive.read(&[*member].into(), |_, content| take(content))?;
                }
                _ => return Ok(None),
            },
        }
        if bytes.len() as u64 > LARGEST_MANIFEST {
            let why = format!("its `{path}` has more than {LARGEST_MANIFEST} bytes");
            return Err(no_image(self.name, &why));
        }
        Ok(Some(bytes))
    }

    /// Copies these blobs. One that is not as it must be ends it, and nothing of the batch is named then.
    fn copy(&self, blobs: &BTreeMap<Sha256, Blob>, batch: &Batch) -> Result<()> {
        match &self.place {
            Place::Directory(directory) => blobs.values().try_for_each(|blob| {
                let file = File::open(directory.join(path(&blob.sha256)));
                self.take(blob, &mut file.map_err(|_| self.missing(&blob.sha256))?, batch)
            }),
            Place::Archive(archive) => {
                let mut members = BTreeMap::new();
                for blob in blobs.values() {
                    match archive.entries().get(&path(&blob.sha256)) {
                        Some(Entry::File { member, .. }) => drop(members.insert(*member, blob)),
                        _ => return Err(self.missing(&blob.sha256)),
                    }
                }
                archive.read(&members.keys().copied().collect(), |member, content| {
                    let blob = members.get(&member);
                    let blob = blob.ok_or_else(|| Error::new(Id::Bug, "another member"))?;
                    self.take(blob, content, batch)
                })
            }
        }
    }

    fn take(&self, blob: &Blob, content: &mut dyn Read, batch: &Batch) -> Result<()> {
        let mut writer = Checked { writer: batch.writer()?, hasher: Default::default(), size: 0 };
        let cannot = || format!("cannot read sha256:{} of {}", blob.sha256, self.name);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = content.read(&mut buffer).or_fail(Id::Read, cannot)?;
            if read == 0 {
                break;
            }
            let written = writer.all(&buffer[..read]);
            written.or_fail(Id::StoreWrite, || {
                format!("cannot write to the store `{}`", self.store.root().display())
            })?;
        }
        // A blob is in the batch only when it is known to be the right one.
        let found = Blob { sha256: writer.hasher.finish(), size: writer.size };
        if found != *blob {
            let found = format!("sha256:{} of {} bytes", found.sha256, found.size);
            return Err(parts::damaged(self.name, blob, &found));
        }
        writer.writer.finish().map(drop)
    }

    fn missing(&self, sha256: &Sha256) -> Error {
        let why = format!("it lacks a part of it, sha256:{sha256}");
        no_image(self.name, &why).hint("is it for another platform only, or was it cut off?")
    }
}

struct Checked<'a> {
    writer: BlobWriter<'a>,
    hasher: formats::digest::Hasher,
    size: u64,
}

impl Checked<'_> {
    fn all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.writer.write_all(bytes)
    }
}

/// Where a layout has a blob.
fn path(sha256: &Sha256) -> String {
    format!("blobs/sha256/{sha256}")
}

/// Those entries that the image may be: all that have its name, or all if they have one name, or none.
fn named(entries: &[Descriptor], reference: &Reference, name: &str) -> Result<Vec<Descriptor>> {
    let name_of = |entry: &Descriptor| {
        let annotation = |key: &str| entry.annotations.get(key).cloned();
        annotation(NAME).or_else(|| annotation(TAG))
    };
    let is_it = |entry: &&Descriptor| {
        name_of(entry).is_some_and(|name| name == reference.as_str() || name == reference.tag())
    };
    let fitting: Vec<_> = entries.iter().filter(is_it).cloned().collect();
    if !fitting.is_empty() {
        return Ok(fitting);
    }
    let names: BTreeSet<_> = entries.iter().map(name_of).collect();
    if names.len() == 1 {
        return Ok(entries.to_vec());
    }
    let names: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
    let why = format!("it holds several images, none of which is called `{reference}`");
    Err(no_image(name, &why).hint(format!("it holds {}", names.join(", "))))
}
