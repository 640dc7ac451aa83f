//! Reads what an argument names. What it is, is found out: a path that is there is a build, an image,
//! a lock or a recipe; anything else is a version of the repository.

mod build;
mod commit;
mod disk;
mod root;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::ostree::Name;

use super::fetch::{BLOCK, Blocks, By, Fetch, by_blocks};
use super::locks::Locked;
use super::side::{Kind, Linked, Side, link};
use crate::build::output::REPORT;
use crate::contents::{Library, elf};
use crate::error::{Context as _, Error, Id, Result};
use crate::image::ours::not_ours;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::repository::Repository;

pub use build::build;
use commit::Known;
use root::Root;

/// What an argument is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// The directory of a build.
    Build(PathBuf),
    /// An image.
    Image(PathBuf),
    /// A lock.
    Lock(PathBuf),
    /// A recipe.
    Recipe(PathBuf),
    /// A ref or commit, which is to be looked for.
    Version(String),
}

impl Named {
    /// Looks at what is there of that name. A file is a lock or a recipe by how its name ends.
    ///
    /// # Errors
    /// [`Id::NotOurImage`] for a directory that is no build; [`Id::Read`].
    pub fn of(argument: &OsStr) -> Result<Self> {
        let path = Path::new(argument);
        if path.is_dir() {
            if path.join(REPORT).is_file() {
                return Ok(Self::Build(path.to_owned()));
            }
            if path.join("objects").is_dir() && path.join("config").is_file() {
                let error = not_ours(path, "a repository");
                return Err(error.hint(format!("name a version and `--repo {}`", path.display())));
            }
            let disk = path.join("disk.raw");
            if disk.is_file() {
                return Ok(Self::Image(disk));
            }
            return Err(not_ours(path, &format!("a directory without `{REPORT}`")));
        }
        let there = path.try_exists();
        if !there.or_fail(Id::Read, || format!("cannot read `{}`", path.display()))? {
            // A name that no ref can have is looked for, and not found, under what can be shown.
            return Ok(Self::Version(argument.to_string_lossy().into_owned()));
        }
        let named: fn(PathBuf) -> Self = match path.extension().and_then(OsStr::to_str) {
            Some("lock") => Self::Lock,
            Some("toml") => Self::Recipe,
            _ => return Ok(Self::Image(path.to_owned())),
        };
        if path.is_file() {
            return Ok(named(path.to_owned()));
        }
        // A pipe would be waited for.
        let message = format!("cannot read `{}`: it is not a regular file", path.display());
        Err(Error::new(Id::Read, message))
    }
}

/// A side that was read, and what an estimate needs of it.
#[derive(Debug)]
pub struct Loaded {
    /// What it tells.
    pub side: Side,
    root: Option<Root>,
    uki: Option<Uki>,
    objects: Option<BTreeMap<Name, u64>>,
}

/// The UKI of a side.
#[derive(Debug, Clone, Copy)]
struct Uki {
    /// Bytes of the blocks that it fills, without its padding.
    size: u64,
    /// Of the whole, with its padding.
    sha256: Sha256,
}

impl Uki {
    /// One that ends so many bytes from its start.
    fn new(end: u64, sha256: Sha256) -> Self {
        Self { size: end.next_multiple_of(BLOCK as u64), sha256 }
    }
}

impl Loaded {
    fn new(side: Side) -> Self {
        Self { side, root: None, uki: None, objects: None }
    }
}

/// A lock.
///
/// # Errors
/// Those of [`Lock::read`].
pub fn lock(path: &Path) -> Result<Loaded> {
    let lock = Lock::read(path)?;
    let mut side = Side::new(path.display().to_string(), Kind::Lock);
    take(&mut side, &lock);
    let mut machines = lock.packages.iter().map(|package| package.architecture.as_str());
    side.architecture = machines.find_map(of_debian);
    Ok(Loaded::new(side))
}

/// A recipe with its lock.
pub fn resolved(named: &str, recipe: &Recipe, lock: &Lock) -> Loaded {
    let mut side = Side::new(named, Kind::Recipe);
    take(&mut side, lock);
    side.image = Some(recipe.name.to_string());
    side.version = Some(recipe.os.version.clone());
    side.architecture = Some(recipe.arch);
    Loaded::new(side)
}

fn take(side: &mut Side, lock: &Lock) {
    let packages = lock.packages.iter();
    side.packages = Some(packages.map(|p| (p.name.clone(), p.version.clone())).collect());
    side.lock = Some(Locked::of(lock));
}

fn of_debian(name: &str) -> Option<Architecture> {
    Architecture::ALL.into_iter().find(|architecture| architecture.debian() == name)
}

/// An image: a disk, or a root image.
///
/// # Errors
/// [`Id::Read`], [`Id::NotOurImage`], [`Id::DamagedImage`].
pub fn image(path: &Path) -> Result<Loaded> {
    disk::image(path)
}

/// Versions of a repository. What both have is read once.
#[derive(Debug)]
pub struct Versions {
    repository: Repository,
    known: Known,
}

impl Versions {
    /// Of this repository.
    ///
    /// # Errors
    /// Those of [`Repository::open`].
    pub fn open(repository: &Path, progress: &Progress) -> Result<Self> {
        let repository = Repository::open(repository, progress)?;
        Ok(Self { repository, known: Known::default() })
    }

    /// The version of this name.
    ///
    /// # Errors
    /// [`Id::UnknownVersion`], [`Id::DamagedObject`], [`Id::Read`].
    pub fn load(&mut self, named: &str) -> Result<Loaded> {
        commit::load(&self.repository, named, &mut self.known)
    }
}

/// What an argument means that names nothing: that it is no path either.
pub fn no_path(error: Error, named: &str) -> Error {
    match error.id() {
        Id::UnknownVersion | Id::NotARepository => {
            error.hint(format!("there is no file or directory `{named}` either"))
        }
        _ => error,
    }
}

/// What a node with the first side would have to fetch; nothing if the sides have no images that
/// could be laid beside each other.
///
/// # Errors
/// [`Id::Read`].
pub fn fetch(before: &Loaded, after: &Loaded) -> Result<Option<Fetch>> {
    if let (Some(one), Some(other)) = (&before.objects, &after.objects) {
        let missing = other.iter().filter(|(name, _)| !one.contains_key(*name));
        let bytes = missing.map(|(_, size)| size).sum();
        let of = other.values().sum();
        let (tree, uki) = (None, None);
        return Ok(Some(Fetch { by: By::Objects, bytes, of, root: bytes, tree, uki }));
    }
    let (Some(one), Some(other)) = (&before.root, &after.root) else { return Ok(None) };
    let blocks = |loaded: &Loaded, root: &Root| -> Result<Blocks> {
        let number = |sha256: &Sha256| {
            let [a, b, c, d, e, f, g, h, ..] = *sha256.as_bytes();
            u64::from_le_bytes([a, b, c, d, e, f, g, h])
        };
        Ok(Blocks {
            numbers: root.blocks()?,
            tree: root.tree_size(),
            uki: loaded.uki.map(|uki| (uki.size, number(&uki.sha256))),
        })
    };
    Ok(Some(by_blocks(&blocks(before, one)?, &blocks(after, other)?)))
}

/// What a program says of its modules, if it is one of Go's and says it.
fn modules(content: &[u8]) -> Result<Option<Linked>> {
    let found = elf::go(std::io::Cursor::new(content)).or_fail(Id::Read, || "a program")?;
    let Ok(Some(info)) = found else { return Ok(None) };
    let mut linked = Linked::new();
    Library::of_go(&info).iter().for_each(|library| link(&mut linked, library));
    Ok(Some(linked))
}

/// What a root is for, where only its dynamic loader tells.
fn architecture(side: &Side) -> Option<Architecture> {
    let files = side.files.iter().flatten();
    let names: Vec<_> = files.filter_map(|file| file.path.rsplit('/').next()).collect();
    let loader = |architecture: &Architecture| {
        let name = architecture.dynamic_loader().rsplit('/').next().unwrap_or_default();
        names.contains(&name)
    };
    Architecture::ALL.into_iter().find(loader)
}
