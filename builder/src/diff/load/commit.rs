//! A version of a repository. Every object that it names is read, and so compared with its name: a
//! difference is never one of damage.

use std::collections::BTreeMap;
use std::rc::Rc;

use formats::architecture::Architecture;
use formats::digest::{Hasher, Sha256};
use formats::ostree::{Attributes, FileHeader, Kind as Object, Name, Reference};

use super::{Loaded, architecture, modules};
use crate::diff::side::{File, Kind, Linked, Node, ROOT, Side};
use crate::error::{Error, Result};
use crate::repository::{Bounds, Repository};

/// Files that were read, by their objects: what two versions share is read once.
pub(super) type Known = BTreeMap<Sha256, Rc<Read>>;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Read {
    header: FileHeader,
    size: u64,
    sha256: Sha256,
    /// What it was linked with, if it is a program that says so.
    linked: Option<Linked>,
    /// The content, if it was wanted and is small.
    text: Option<Vec<u8>>,
}

/// A larger file is none whose text is looked at: the largest is what a kernel was built with.
pub(super) const LARGEST_TEXT: usize = 16 << 20;

/// A larger file is none that is looked into for what it was linked with.
pub(super) const LARGEST_PROGRAM: usize = 512 << 20;

/// The version that is called `named`.
pub(super) fn load(repository: &Repository, named: &str, known: &mut Known) -> Result<Loaded> {
    let digest = repository.resolve(named)?;
    let commit = repository.commit(&digest)?;
    let told = repository.history(digest, 1)?.into_iter().next();
    let mut side = Side::new(named, Kind::Commit);
    // A commit does not say whose version it is; the refs that name it do.
    let refs = repository.refs().named;
    let mut names = refs.iter().filter(|(_, of)| **of == digest).map(|(name, _)| name.as_str());
    let reference = refs.keys().map(Reference::as_str).find(|name| *name == named);
    let reference = reference.or_else(|| names.next());
    if let Some(["orlop", machine, image, _]) =
        reference.map(|name| name.split('/').collect::<Vec<_>>()).as_deref()
    {
        side.image = Some((*image).to_owned());
        side.architecture = Architecture::of_machine(machine);
    }
    if let Some(told) = told {
        side.version = told.version;
        side.release = told.kernel;
        side.root_hash = told.root_hash.and_then(|text| text.parse().ok());
        let sizes = [("root", told.root_size), ("uki", told.uki_size), ("disk", told.disk_size)];
        side.sizes = sizes.into_iter().filter_map(|(name, size)| Some((name, size?))).collect();
    }
    let mut walk = Walk {
        repository,
        known,
        files: Vec::new(),
        programs: BTreeMap::new(),
        texts: BTreeMap::new(),
        objects: BTreeMap::new(),
        bounds: Bounds::new(),
    };
    walk.note(Name { digest, kind: Object::Commit })?;
    walk.directory("", &commit.tree, &commit.meta, 0)?;
    let Walk { files, programs, texts, objects, .. } = walk;
    side.files = Some(files);
    side.programs = Some(programs);
    side.read(&texts);
    side.architecture = side.architecture.or_else(|| architecture(&side));
    Ok(Loaded { objects: Some(objects), ..Loaded::new(side) })
}

struct Walk<'a> {
    repository: &'a Repository,
    known: &'a mut Known,
    files: Vec<File>,
    programs: BTreeMap<String, Linked>,
    texts: BTreeMap<String, Vec<u8>>,
    objects: BTreeMap<Name, u64>,
    bounds: Bounds,
}

impl Walk<'_> {
    fn note(&mut self, name: Name) -> Result<()> {
        let size = self.repository.object_size(&name)?;
        self.objects.insert(name, size);
        Ok(())
    }

    fn directory(&mut self, path: &str, tree: &Sha256, meta: &Sha256, depth: usize) -> Result<()> {
        self.note(Name { digest: *tree, kind: Object::Directory })?;
        self.note(Name { digest: *meta, kind: Object::DirectoryMeta })?;
        let attributes = self.repository.directory_meta(meta)?;
        self.bounds.take(self.repository, depth, path.len() + size(&attributes))?;
        self.files.push(File {
            place: ROOT.to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            component: None,
            mode: attributes.permissions(),
            uid: attributes.uid,
            gid: attributes.gid,
            xattrs: attributes.xattrs,
            node: Node::Directory,
        });
        let directory = self.repository.directory(tree)?;
        for (name, digest) in &directory.files {
            self.file(format!("{path}/{name}"), digest, depth)?;
        }
        for (name, (tree, meta)) in &directory.directories {
            self.directory(&format!("{path}/{name}"), tree, meta, depth + 1)?;
        }
        Ok(())
    }

    fn file(&mut self, path: String, digest: &Sha256, depth: usize) -> Result<()> {
        self.note(Name { digest: *digest, kind: Object::File })?;
        let wanted = Side::wants(&path);
        let known = self.known.get(digest).filter(|read| !wanted || read.text.is_some());
        let read = match known {
            Some(read) => Rc::clone(read),
            None => {
                let read = Rc::new(read(self.repository, digest, wanted)?);
                self.known.insert(*digest, Rc::clone(&read));
                read
            }
        };
        let kept = path.len() + size(&read.header.attributes) + read.header.target.len();
        let text = read.text.as_ref().filter(|_| wanted && !read.header.is_link());
        let linked = read.linked.as_ref().map_or(0, |linked| linked.len() * LINKED);
        let kept = kept + text.map_or(0, Vec::len) + linked;
        self.bounds.take(self.repository, depth, kept)?;
        if let Some(text) = text {
            self.texts.insert(path.clone(), text.clone());
        }
        if let Some(linked) = &read.linked {
            self.programs.insert(path.clone(), linked.clone());
        }
        let FileHeader { attributes, target } = &read.header;
        self.files.push(File {
            place: ROOT.to_owned(),
            path,
            component: None,
            mode: attributes.permissions(),
            uid: attributes.uid,
            gid: attributes.gid,
            xattrs: attributes.xattrs.clone(),
            node: if read.header.is_link() {
                Node::Symlink(target.clone())
            } else {
                Node::File { size: read.size, sha256: read.sha256 }
            },
        });
        Ok(())
    }
}

/// What one thing takes that a program was linked with: its name, a version, and their places.
const LINKED: usize = 200;

fn size(attributes: &Attributes) -> usize {
    attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn read(repository: &Repository, digest: &Sha256, wanted: bool) -> Result<Read> {
    let (mut hasher, mut size, mut content) = (Hasher::new(), 0_usize, Vec::new());
    let state = (&mut hasher, &mut size, &mut content);
    let header = repository.file(digest, |header| {
        let most = most(header, wanted);
        let (hasher, size, content) = state;
        Ok(move |bytes: &[u8]| {
            hasher.update(bytes);
            *size = size.saturating_add(bytes.len());
            if *size <= most {
                content.extend(bytes);
            } else {
                *content = Vec::new();
            }
            Ok::<(), Error>(())
        })
    })?;
    let whole = size <= most(&header, wanted);
    let linked = if whole && is_program(&header) { modules(&content)? } else { None };
    let text = wanted.then(|| if size <= LARGEST_TEXT { content } else { Vec::new() });
    Ok(Read { header, size: size as u64, sha256: hasher.finish(), linked, text })
}

/// How many bytes of a file are held while it is read.
fn most(header: &FileHeader, wanted: bool) -> usize {
    match (is_program(header), wanted) {
        (true, _) => LARGEST_PROGRAM,
        (false, true) => LARGEST_TEXT,
        (false, false) => 0,
    }
}

fn is_program(header: &FileHeader) -> bool {
    header.attributes.permissions() & 0o111 != 0
}
