//! `orlop-node import-images DIR`: gives containerd the images that the root brings.
//!
//! Each `DIR/*.tar` is an OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>) whose index names
//! its images by the annotation `io.containerd.image.name`; each `DIR/*.json` is such an index, whose
//! blobs lie in `DIR/blobs`. What such a name points to already is not written again, so a later boot
//! costs one question per image. Blobs of archives go into containerd's content store by its own
//! service, which checks size and digest; those that are files stay where they are, and the content
//! store has [links]. Nothing is unpacked before a container needs it.

pub(crate) mod archive;
mod links;
mod place;
mod shipped;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use cri::containerd::{Descriptor, Made};
use cri::{Client, Transport};
use serde::Deserialize;

use crate::arguments::{Arguments, Failure};
use crate::crash::{self, Repair};
use crate::problems;
use crate::root::Root;
use place::{Member, Members, Place};

/// Where containerd listens.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
/// Bytes of an answer of containerd: lists of containers are the longest.
pub const LONGEST_ANSWER: usize = 16 << 20;
/// Where containerd keeps blobs.
pub(crate) const CONTENT: &str = "/var/lib/containerd/io.containerd.content.v1.content";
/// What CRI, and so kubelet, sees of containerd.
pub(crate) const NAMESPACE: &str = "k8s.io";
/// The unit that calls this.
const UNIT: &str = "images";
/// Keeps what is written from being collected before the image points to it.
const LEASE: &str = "orlop-import-images";
/// For one question.
pub(crate) const QUESTION: Duration = Duration::from_secs(30);
/// For one blob, whose bytes containerd syncs to the disk.
const BLOB: Duration = Duration::from_secs(600);
/// Until the CRI knows what containerd knows: it hears of it by an event.
const NOTICE: Duration = Duration::from_secs(5);
/// Of an index, a manifest or a configuration.
pub(crate) const LONGEST_DOCUMENT: u64 = 4 << 20;

/// The annotation with the whole name of an image.
const NAME: &str = "io.containerd.image.name";
/// As the CRI labels what it has pulled; pinned, for kubelet must not remove what no registry has.
const LABELS: [(&str, &str); 2] =
    [("io.cri-containerd.image", "managed"), ("io.cri-containerd.pinned", "pinned")];

/// Why something is not imported.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The archive is none, or the store refuses what is in it: the next time would be the same.
    Archive(String),
    /// The store has not answered: another time it may.
    Store(String),
}

impl Trouble {
    fn of(what: &str, error: &cri::Error) -> Self {
        let text = format!("{what}: {error}");
        if error.is_no_answer() { Self::Store(text) } else { Self::Archive(text) }
    }
}

/// What is said without a store is said of the archive.
impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Archive(text)
    }
}

/// What an import needs of containerd.
trait Store {
    /// What a name points to, if there is one.
    fn target(&mut self, name: &str) -> Result<Option<Descriptor>, Trouble>;
    /// From now on, what is written is kept.
    fn hold(&mut self) -> Result<(), Trouble>;
    /// What no image points to may go.
    fn release(&mut self);
    /// Writes a blob out of `bytes`, with labels, if it is not there.
    fn write(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
        bytes: &mut dyn Read,
    ) -> Result<Made, Trouble>;
    /// Takes what is at a blob's place for the blob, with labels, without its bytes; nothing if the store
    /// does not do that.
    fn adopt(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
    ) -> Result<Option<Made>, Trouble>;
    /// Forgets a blob.
    fn forget(&mut self, digest: &str) -> Result<(), Trouble>;
    /// Lets a name point to a manifest.
    fn put(&mut self, name: &str, target: &Descriptor) -> Result<(), Trouble>;
    /// The id of what a pod would get by this name.
    fn id_for_pods(&mut self, name: &str) -> Result<Option<String>, Trouble>;
    /// All names, and what they point to.
    fn names(&mut self) -> Result<Vec<(String, Descriptor)>, Trouble>;
    /// Removes a name, if it is there, and what only it points to.
    fn remove(&mut self, name: &str) -> Result<(), Trouble>;
}

impl<T: Transport> Store for Client<T> {
    fn target(&mut self, name: &str) -> Result<Option<Descriptor>, Trouble> {
        self.image_target(name, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot ask for {name}"), &error))
    }

    fn hold(&mut self) -> Result<(), Trouble> {
        // There may be one of a run that was cut off.
        self.delete_lease(LEASE, QUESTION)
            .and_then(|()| self.create_lease(LEASE, QUESTION))
            .map_err(|error| Trouble::of("containerd gives no lease", &error))?;
        self.set_metadata("containerd-lease", LEASE);
        Ok(())
    }

    fn release(&mut self) {
        // One that stays is deleted before the next import.
        let _ = self.delete_lease(LEASE, QUESTION);
    }

    fn write(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
        bytes: &mut dyn Read,
    ) -> Result<Made, Trouble> {
        let mut bytes = Watched { bytes, failed: false };
        let written = self.write_blob(blob, labels, &mut bytes, BLOB);
        written.map_err(|error| {
            let what = format!("cannot write {}", blob.digest);
            match bytes.failed {
                true => Trouble::Archive(format!("{what}: {error}")),
                false => Trouble::of(&what, &error),
            }
        })
    }

    fn adopt(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
    ) -> Result<Option<Made>, Trouble> {
        self.adopt_blob(blob, labels, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot take {}", blob.digest), &error))
    }

    fn forget(&mut self, digest: &str) -> Result<(), Trouble> {
        self.delete_blob(digest, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot forget {digest}"), &error))
    }

    fn put(&mut self, name: &str, target: &Descriptor) -> Result<(), Trouble> {
        self.put_image(name, &LABELS, target, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot name {name}"), &error))
    }

    fn id_for_pods(&mut self, name: &str) -> Result<Option<String>, Trouble> {
        self.image(name, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot ask the CRI for {name}"), &error))
    }

    fn names(&mut self) -> Result<Vec<(String, Descriptor)>, Trouble> {
        self.images(QUESTION).map_err(|error| Trouble::of("cannot ask for all images", &error))
    }

    fn remove(&mut self, name: &str) -> Result<(), Trouble> {
        self.delete_image(name, QUESTION)
            .map_err(|error| Trouble::of(&format!("cannot remove {name}"), &error))
    }
}

/// Tells errors of an archive from those of the connection over which it goes.
struct Watched<'a> {
    bytes: &'a mut dyn Read,
    failed: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer);
        let failed = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        self.failed |= read.as_ref().is_err_and(failed);
        read
    }
}

/// An index or a manifest, as far as it is of interest.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    manifests: Vec<Entry>,
    config: Option<Entry>,
    layers: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Entry {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// The command.
///
/// # Errors
/// If it is called wrongly, or containerd cannot be asked, or not to the end. An archive that cannot
/// be imported is told and is no error: the node goes on without that image, for nothing would
/// change by trying again.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let socket = arguments.option("--socket")?.unwrap_or_else(|| SOCKET.to_owned());
    let directory = arguments.operand("DIR")?;
    arguments.finish()?;
    let mut client = connect(Path::new(&socket)).map_err(Failure::Failed)?;
    client.set_metadata("containerd-namespace", NAMESPACE);
    let root = Root::new("/");
    // First, so that an image of ours which is damaged is imported again.
    let repair = crash::make_good(&mut client, &root);
    if repair.as_ref().is_some_and(|repair| *repair == Repair::default()) {
        eprintln!("orlop-node: a boot did not end in order; all images are whole");
    }
    let Repair { done, mut left } = repair.unwrap_or_default();
    done.iter().chain(&left).for_each(|line| eprintln!("orlop-node: {line}"));
    // Whatever becomes of the rest: what was made good is not made good again.
    leave(&root, &done, &left);
    if let Err(error) = crash::database::remove(&root) {
        let line = format!("cannot remove {}: {error}", crash::database::ASIDE);
        eprintln!("orlop-node: {line}");
        left.push(line);
    }
    match links::sweep(&mut client, &root) {
        Ok(0) => {}
        Ok(swept) => eprintln!("orlop-node: {swept} blobs of another release are gone with it"),
        Err(Trouble::Store(why)) => return Err(Failure::Failed(why)),
        Err(Trouble::Archive(why)) => {
            eprintln!("orlop-node: {why}");
            left.push(why);
        }
    }
    let imported = import_all(&mut client, &root, Path::new(&directory), &mut io::stderr());
    let Imported { brought, lacking } = imported.map_err(Failure::Failed)?;
    // What could not be read may name what it brings another time.
    if lacking.is_empty() {
        match shipped::keep_only(&mut client, &root, &brought) {
            Ok(lines) => lines.iter().for_each(|line| eprintln!("orlop-node: {line}")),
            Err(Trouble::Store(why)) => return Err(Failure::Failed(why)),
            Err(Trouble::Archive(why)) => {
                eprintln!("orlop-node: {why}");
                left.push(why);
            }
        }
    }
    left.extend(lacking);
    leave(&root, &[], &left);
    Ok(())
}

/// For the screen; whatever becomes of it, the log has it.
fn leave(root: &Root, news: &[String], troubles: &[String]) {
    if let Err(error) = problems::leave(root, UNIT, news, troubles) {
        eprintln!("orlop-node: cannot tell PID 1: {error}");
    }
}

/// Connects to containerd.
///
/// # Errors
/// In words.
pub fn connect(socket: &Path) -> Result<Client<std::os::unix::net::UnixStream>, String> {
    Client::connect(socket, LONGEST_ANSWER)
        .map_err(|error| format!("cannot connect to {}: {error}", socket.display()))
}

/// What came of an import.
#[derive(Debug, Default, PartialEq, Eq)]
struct Imported {
    /// What the archives name.
    brought: shipped::Brought,
    /// About archives that cannot be imported, a line each.
    lacking: Vec<String>,
}

/// Imports every archive of a directory, in the order of their names, and says so in a line each.
///
/// # Errors
/// If the directory cannot be read or the store does not answer.
fn import_all(
    store: &mut impl Store,
    root: &Root,
    directory: &Path,
    out: &mut impl Write,
) -> Result<Imported, String> {
    let archives = place::all(directory)
        .map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let (mut held, mut imported) = (false, Imported::default());
    for path in &archives {
        let lines = match import_archive(store, root, path, &mut held, &mut imported.brought) {
            Ok(lines) => lines,
            Err(Trouble::Archive(reason)) => {
                let line = format!("cannot import {}: {reason}", path.display());
                imported.lacking.push(line.clone());
                vec![line]
            }
            Err(Trouble::Store(reason)) => {
                return Err(format!("cannot import {}: {reason}", path.display()));
            }
        };
        for line in lines {
            // If stderr is closed there is nobody to tell.
            let _ = writeln!(out, "orlop-node: {line}");
        }
    }
    if held {
        store.release();
    }
    Ok(imported)
}

/// Imports what an archive has and the store has not; what was done, a line each. What is written
/// is `held` from the first time on that there is something to write.
fn import_archive(
    store: &mut impl Store,
    root: &Root,
    path: &Path,
    held: &mut bool,
    brought: &mut shipped::Brought,
) -> Result<Vec<String>, Trouble> {
    let mut lines = Vec::new();
    let mut place = Place::open(path)?;
    for image in plan(store, root, &mut place)? {
        lines.push(match image {
            Planned::Present(name, digest) => {
                let line = format!("{name} is there");
                brought.insert(name, digest);
                line
            }
            Planned::Missing(name, entry) => {
                brought.insert(name.clone(), entry.digest.clone());
                if !*held {
                    store.hold()?;
                    *held = true;
                }
                import(store, root, &mut place, &name, &entry)?
            }
        });
    }
    Ok(lines)
}

/// An image of an archive.
enum Planned {
    /// Its name points to it already.
    Present(String, String),
    Missing(String, Entry),
}

fn plan(store: &mut impl Store, root: &Root, place: &mut Place) -> Result<Vec<Planned>, Trouble> {
    let index: Document = serde_json::from_slice(&place.index()?)
        .map_err(|error| format!("its index.json: {error}"))?;
    if index.manifests.is_empty() {
        return Err("its index names no image".to_owned().into());
    }
    let planned = |entry: Entry| {
        let name = entry.annotations.get(NAME).cloned();
        let name = name.ok_or_else(|| format!("{} has no annotation `{NAME}`", entry.digest))?;
        let is_known = store.target(&name)? == Some(entry.descriptor());
        Ok(match is_known && is_whole(root, place, &entry)? {
            true => Planned::Present(name, entry.digest),
            false => Planned::Missing(name, entry),
        })
    };
    index.manifests.into_iter().map(planned).collect()
}

/// Whether all blobs of an image that containerd knows are there: links may have gone with the release
/// that made them, or in a power cut. What was copied, containerd keeps.
fn is_whole(root: &Root, place: &mut Place, entry: &Entry) -> Result<bool, Trouble> {
    if place.file(&entry.digest).is_none() {
        return Ok(true);
    }
    let Members { members, .. } = place.members(entry)?;
    Ok(members.iter().all(|member| links::is_there(root, &member.blob.digest)))
}

/// Imports an image; what was done, in a line.
fn import(
    store: &mut impl Store,
    root: &Root,
    place: &mut Place,
    name: &str,
    entry: &Entry,
) -> Result<String, Trouble> {
    let Members { members, config } = place.members(entry)?;
    let mut written = 0;
    for Member { blob, labels } in members {
        if let Some(file) = place.file(&blob.digest) {
            let size = std::fs::metadata(&file).map(|meta| meta.len());
            if size.is_ok_and(|size| size == blob.size) {
                links::link(root, &blob.digest, &file)?;
                if store.adopt(&blob.descriptor(), &labels)?.is_some() {
                    continue;
                }
            }
        }
        let (size, mut bytes) = place.blob(&blob.digest)?;
        if size != blob.size {
            let what = format!("{} has not the size that its manifest says", blob.digest);
            return Err(Trouble::Archive(what));
        }
        if store.write(&blob.descriptor(), &labels, &mut bytes)? == Made::New {
            written += blob.size;
        }
    }
    store.put(name, &entry.descriptor())?;
    let late = match noticed(store, name, &config)? {
        true => "",
        false => "; the CRI does not know it yet",
    };
    Ok(format!("{name} is imported, {written} bytes written{late}"))
}

/// Waits until a pod would get the image: kubelet would try to pull it otherwise.
fn noticed(store: &mut impl Store, name: &str, config: &str) -> Result<bool, Trouble> {
    let mut wait = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    // The id of an image is the digest of its configuration.
    while store.id_for_pods(name)?.as_deref() != Some(config) {
        if waited >= NOTICE {
            return Ok(false);
        }
        std::thread::sleep(wait);
        waited += wait;
        wait = (wait * 2).min(Duration::from_millis(200));
    }
    Ok(true)
}

/// Where a layout keeps a blob. Only sha256 is known, and nothing else gets into a path.
pub(crate) fn blob_path(digest: &str) -> Result<String, String> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    let hex = hex.ok_or_else(|| format!("`{digest}` is no sha256 digest"))?;
    Ok(format!("blobs/sha256/{hex}"))
}

#[cfg(test)]
mod tests;
