//! The directory of a build. It has written down what is in it: of the images, only files are read
//! whose text matters.

use std::collections::BTreeMap;
use std::path::Path;

use formats::digest::Sha256;
use formats::manifest;

use super::root::Root;
use super::{Loaded, Uki};
use crate::build::artifact::{Kind as Artifact, KindName};
use crate::build::report::Report;
use crate::build::written;
use crate::contents::{self, Component, Contents};
use crate::diff::side::{File, Kind, Linked, Node, ROOT, Side, link};
use crate::error::{Error, Id, Result};

/// The build in `directory`, which is called `named`.
///
/// # Errors
/// Those of [`written::contents`]; [`Id::DamagedImage`], [`Id::Read`].
pub fn build(directory: &Path, named: &str) -> Result<Loaded> {
    let report = written::report(directory)?;
    let contents = written::contents(directory)?;
    let mut side = Side::new(named, Kind::Build);
    side.image = Some(report.image.clone());
    side.version = Some(report.version.clone());
    side.architecture = Some(report.architecture);
    side.root_hash = Some(report.root.hash.0);
    side.release = Some(report.kernel.clone());
    side.command_line = Some(report.command_line.clone());
    side.packages = Some(packages(&report, &contents));
    side.programs = Some(programs(&contents));
    side.tells_crates = true;
    side.sizes = BTreeMap::from([
        ("root", report.root.size),
        ("uki", report.uki_size),
        ("initrd", report.initrd_size),
        ("disk", report.disk_size),
    ]);
    side.files = Some(files(directory, &contents)?);
    let path = directory.join(Artifact::Root.file_name());
    let root = Root::open(&path, 0, report.root.size)?;
    let texts = root.texts()?;
    check(&path, &texts, &contents)?;
    side.read(&texts);
    let uki = report.artifacts.iter().find(|file| file.kind == KindName::Known(Artifact::Uki));
    let uki = uki.and_then(|file| Some(Uki::new(report.uki_size, file.sha256?.0)));
    Ok(Loaded { side, root: Some(root), uki, objects: None })
}

/// All packages: those of the root, and those that UKI and ESP have something of.
fn packages(report: &Report, contents: &Contents) -> BTreeMap<String, String> {
    let named = contents.components.values().filter_map(|component| match component {
        Component::Deb(deb) => Some((deb.name.clone(), deb.version.clone())),
        _ => None,
    });
    report.packages.clone().into_iter().chain(named).collect()
}

fn programs(contents: &Contents) -> BTreeMap<String, Linked> {
    let programs = contents.files.iter().filter(|file| !file.libraries.is_empty());
    let linked = programs.map(|file| {
        let mut linked = Linked::new();
        let known = file.libraries.iter().filter_map(|id| contents.libraries.get(id));
        known.for_each(|library| link(&mut linked, library));
        (shown(file), linked)
    });
    linked.collect()
}

fn shown(file: &contents::File) -> String {
    if file.place == ROOT { file.path.clone() } else { format!("{}:{}", file.place, file.path) }
}

/// All paths. Extended attributes of the root are in its manifest.
fn files(directory: &Path, contents: &Contents) -> Result<Vec<File>> {
    let name = Artifact::Manifest.file_name();
    let damaged = || {
        let message = format!("`{}` is damaged", directory.join(name).display());
        Error::new(Id::DamagedImage, message)
    };
    let text = written::file(directory, Artifact::Manifest)?;
    let text = String::from_utf8(text).map_err(|error| damaged().caused_by(error))?;
    let tree = manifest::parse(&text).map_err(|error| damaged().caused_by(error))?;
    let xattrs: BTreeMap<_, _> = tree
        .iter()
        .filter(|(_, node)| !node.xattrs.is_empty())
        .map(|(path, node)| (path.to_string(), &node.xattrs))
        .collect();
    let files = contents.files.iter().map(|file| File {
        place: file.place.clone(),
        path: file.path.clone(),
        component: file.component.clone(),
        mode: u16::from_str_radix(&file.mode, 8).unwrap_or_default(),
        uid: file.uid,
        gid: file.gid,
        xattrs: match xattrs.get(&file.path) {
            Some(xattrs) if file.place == ROOT => BTreeMap::clone(xattrs),
            _ => BTreeMap::new(),
        },
        node: match &file.kind {
            contents::Kind::Directory => Node::Directory,
            contents::Kind::Symlink { target } => Node::Symlink(target.clone()),
            contents::Kind::File { size, sha256, .. } => {
                Node::File { size: *size, sha256: sha256.0 }
            }
        },
    });
    Ok(files.collect())
}

/// Compares what was read of the root image with what the contents say. The rest of it is compared
/// by nobody: to digest it would take longer than all else.
fn check(path: &Path, texts: &BTreeMap<String, Vec<u8>>, contents: &Contents) -> Result<()> {
    for file in contents.files.iter().filter(|file| file.place == ROOT) {
        if let (contents::Kind::File { sha256, .. }, true) = (&file.kind, Side::wants(&file.path))
            && texts.get(&file.path).is_none_or(|text| Sha256::of(text) != sha256.0)
        {
            let (path, name) = (path.display(), &file.path);
            let message = format!("the root image `{path}` is damaged: {name} is not what it was");
            return Err(Error::new(Id::DamagedImage, message));
        }
    }
    Ok(())
}
