//! A Cargo workspace as Cargo reads it: which packages are its members, which directories one of
//! them is built from, and which programs it has. `check`, `fetch` and `build` read it here.
//!
//! `cargo metadata` knows too, and costs a process each time to find that nothing has changed; it
//! is what the tests compare this reader with. Paths are joined as Cargo joins them, without
//! looking at symbolic links. <https://doc.rust-lang.org/cargo/reference/workspaces.html>

mod config;
mod lockfile;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::error::{Context as _, Error, Id, Result};
use manifest::{Kind, Manifest};

pub use config::{Config, check_top};
pub use lockfile::{CRATES_IO, Crate, GitCrate, Lockfile, index};

/// A workspace: its root manifest, and all that belongs to it.
#[derive(Debug)]
pub struct Workspace {
    // Invariant: absolute and without symbolic links.
    root: PathBuf,
    manifest: Manifest,
    config: Config,
    /// Directories and manifests of the members, by package.
    members: BTreeMap<String, (PathBuf, Manifest)>,
}

/// What one member is built from, relative to the root of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The directories of the package and of all path dependencies of it, with their names.
    pub directories: BTreeMap<PathBuf, String>,
    /// Manifests that have a say in how these are built: of all members, for Cargo joins what they
    /// want of a common dependency, and of roots of workspaces in the workspace.
    pub manifests: BTreeSet<PathBuf>,
    /// The names of its programs.
    pub programs: BTreeSet<String>,
}

impl Workspace {
    /// Reads the manifests of the workspace whose root is `directory`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if a manifest is not understood, or if the directory
    /// belongs to a workspace whose root is elsewhere.
    pub fn read(directory: &Path) -> Result<Self> {
        let root = directory
            .canonicalize()
            .or_fail(Id::Read, || format!("cannot read the workspace `{}`", directory.display()))?;
        let manifest = Manifest::read(&root)?;
        if !manifest.is_root() {
            alone(&root, &manifest)?;
        }
        let config = Config::read(&root)?;
        let mut workspace = Self { root, manifest, config, members: BTreeMap::new() };
        workspace.find_members()?;
        Ok(workspace)
    }

    /// The directory of the root manifest, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its own configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether its root manifest or its configuration has this profile.
    pub fn has_profile(&self, name: &str) -> bool {
        self.manifest.has_profile(name) || self.config.has_profile(name)
    }

    /// The crates that its packages are built with; none if the workspace brings them itself.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if the lock is not understood, has crates of git
    /// repositories, or if crates lie in a directory outside the workspace.
    pub fn lockfile(&self) -> Result<Lockfile> {
        let lock = Lockfile::read(&self.root)?;
        let vendored = self.vendored()?;
        if !vendored.is_empty() {
            return Ok(Lockfile::default());
        }
        let Some(GitCrate { name, source, .. }) = lock.git.first() else { return Ok(lock) };
        let repository = source.strip_prefix("git+").unwrap_or(source);
        let message = format!("the crate `{name}` comes from a git repository, `{repository}`");
        Err(Error::new(Id::CargoPackage, message).hint(
            "run `cargo vendor` in the workspace and write what it prints into its \
             `.cargo/config.toml`, or use a release of the crate",
        ))
    }

    /// Directories in the workspace that hold crates, as `cargo vendor` makes them, relative to
    /// the root.
    ///
    /// # Errors
    /// [`Id::CargoPackage`] if one is outside.
    pub fn vendored(&self) -> Result<Vec<PathBuf>> {
        let places = self.config.vendored().into_iter();
        places.map(|path| self.inside(&normal(&self.root.join(path)))).collect()
    }

    /// Registries that manifests call by a name which only a configuration explains, with the crate
    /// that is wanted of each.
    pub fn registries(&self) -> BTreeMap<&str, &str> {
        let manifests = self.members.values().map(|(_, manifest)| manifest).chain([&self.manifest]);
        manifests.flat_map(Manifest::registries).collect()
    }

    /// What the member of this name is built from.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if there is no such member, a manifest is not
    /// understood, or something it is built from lies outside the workspace.
    pub fn package(&self, name: &str) -> Result<Package> {
        let Some((directory, manifest)) = self.members.get(name) else {
            let names: Vec<_> = self.members.keys().map(|name| format!("`{name}`")).collect();
            let message =
                format!("the workspace `{}` has no package `{name}`", self.root.display());
            let hint = match names.as_slice() {
                [] => "it has no members at all".to_owned(),
                names => format!("it has {}", names.join(", ")),
            };
            return Err(Error::new(Id::CargoPackage, message).hint(hint));
        };
        let members = self.members.values().filter_map(|(path, _)| self.inside(path).ok());
        let mut package = Package {
            directories: BTreeMap::new(),
            manifests: members.map(|path| path.join("Cargo.toml")).collect(),
            programs: manifest.programs(directory),
        };
        let mut waiting = vec![directory.clone()];
        let patches = self.manifest.patches().chain(self.config.patches());
        waiting.extend(patches.map(|path| normal(&self.root.join(path))));
        while let Some(directory) = waiting.pop() {
            let inside = self.inside(&directory)?;
            if package.directories.contains_key(&inside) {
                continue;
            }
            let manifest = Manifest::read(&directory)?;
            let Some(name) = manifest.package() else {
                let message = format!("`{}` is no package", directory.display());
                return Err(Error::new(Id::CargoPackage, message));
            };
            package.directories.insert(inside, name.to_owned());
            let root = self.root_of(&directory, &manifest)?;
            if let Some((root, _)) = &root {
                package.manifests.insert(self.inside(root)?.join("Cargo.toml"));
            }
            let paths =
                paths(&directory, &manifest, root.as_ref().map(|(path, root)| (path, root)));
            waiting.extend(paths.filter(|(kind, _)| *kind == Kind::Build).map(|(_, path)| path));
        }
        Ok(package)
    }

    /// Members are those that are listed, the root package, and all packages below the root that
    /// a member depends on by their path.
    fn find_members(&mut self) -> Result<()> {
        let listed = self.listed()?.into_iter().chain([self.root.clone()]);
        let mut waiting: Vec<_> = listed.map(|path| (path, Named::Listed)).collect();
        let mut seen = BTreeSet::new();
        while let Some((directory, named)) = waiting.pop() {
            let outside = named == Named::Dependency && !directory.starts_with(&self.root);
            if outside || self.is_excluded(&directory) || !seen.insert(directory.clone()) {
                continue;
            }
            let manifest = Manifest::read(&directory)?;
            if directory != self.root && manifest.is_root() {
                let message = format!(
                    "`{}` is in the workspace `{}` and the root of one",
                    directory.display(),
                    self.root.display()
                );
                return Err(Error::new(Id::CargoPackage, message)
                    .hint("list it in `exclude` of the outer one's `[workspace]`"));
            }
            let Some(name) = manifest.package().map(str::to_owned) else { continue };
            let paths = paths(&directory, &manifest, Some((&self.root, &self.manifest)));
            waiting.extend(paths.map(|(_, path)| (path, Named::Dependency)));
            if let Some((other, _)) =
                self.members.insert(name.clone(), (directory.clone(), manifest))
            {
                let message = format!(
                    "two packages of the workspace are called `{name}`: `{}` and `{}`",
                    other.display(),
                    directory.display()
                );
                return Err(Error::new(Id::CargoPackage, message).hint("rename one of them"));
            }
        }
        Ok(())
    }

    /// The directories that `members` names, by the very rules of globs that Cargo has.
    fn listed(&self) -> Result<Vec<PathBuf>> {
        let mut listed = Vec::new();
        for member in self.manifest.list("members") {
            let path = self.root.join(member);
            let wrong = || {
                let root = self.root.display();
                format!("cannot understand `{member}` in `members` of `{root}/Cargo.toml`")
            };
            let pattern = path.to_str().ok_or_else(|| Error::new(Id::CargoPackage, wrong()))?;
            let found = glob::glob(pattern).or_fail(Id::CargoPackage, wrong)?;
            let found = found.collect::<Result<Vec<_>, _>>().or_fail(Id::Read, wrong)?;
            if found.is_empty() {
                listed.push(normal(&path));
            }
            let directories = found.into_iter().filter(|path| path.is_dir());
            listed.extend(directories.map(|path| normal(&path)));
        }
        Ok(listed)
    }

    fn is_excluded(&self, directory: &Path) -> bool {
        let below = |key: &str| {
            self.manifest.list(key).iter().any(|path| directory.starts_with(self.root.join(path)))
        };
        below("exclude") && !below("members")
    }

    /// The root of the workspace that a package inherits from, if it inherits anything.
    fn root_of(
        &self,
        directory: &Path,
        manifest: &Manifest,
    ) -> Result<Option<(PathBuf, Manifest)>> {
        if !manifest.inherits() {
            return Ok(None);
        }
        if manifest.is_root() {
            return Ok(Some((directory.to_owned(), manifest.clone())));
        }
        if let Some(pointer) = manifest.root_pointer() {
            let root = normal(&directory.join(pointer));
            let manifest = Manifest::read(&root)?;
            return Ok(Some((root, manifest)));
        }
        for above in directory.ancestors().skip(1).take_while(|above| above.starts_with(&self.root))
        {
            if above == self.root {
                if self.is_excluded(directory) {
                    break;
                }
                return Ok(Some((self.root.clone(), self.manifest.clone())));
            }
            if above.join("Cargo.toml").is_file() {
                let manifest = Manifest::read(above)?;
                if manifest.is_root() {
                    return Ok(Some((above.to_owned(), manifest)));
                }
            }
        }
        let message = format!(
            "`{}` inherits from a workspace outside of `{}`",
            directory.display(),
            self.root.display()
        );
        Err(Error::new(Id::CargoPackage, message)
            .hint("write what it inherits into its own `Cargo.toml`"))
    }

    fn inside(&self, directory: &Path) -> Result<PathBuf> {
        directory.strip_prefix(&self.root).map(Path::to_owned).map_err(|_| {
            let message = format!(
                "`{}` is outside the workspace `{}`",
                directory.display(),
                self.root.display()
            );
            Error::new(Id::CargoPackage, message).hint("move the package into the workspace")
        })
    }
}

/// How a directory came to be taken for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Listed,
    Dependency,
}

/// The path dependencies of the package in `directory`; what it inherits stands in the root.
fn paths<'a>(
    directory: &'a Path,
    manifest: &'a Manifest,
    root: Option<(&'a PathBuf, &'a Manifest)>,
) -> impl Iterator<Item = (Kind, PathBuf)> + 'a {
    manifest.dependencies().filter_map(move |dependency| {
        let path = if dependency.is_inherited() {
            let (path, root) = root?;
            path.join(root.shared_path(dependency.name)?)
        } else {
            directory.join(dependency.path()?)
        };
        Some((dependency.kind, normal(&path)))
    })
}

/// A package without `[workspace]` must be in no other workspace: Cargo would take the profile,
/// the lock and more from that one's root.
fn alone(directory: &Path, manifest: &Manifest) -> Result<()> {
    let root = match manifest.root_pointer() {
        Some(pointer) => Some(normal(&directory.join(pointer))),
        None => directory.ancestors().skip(1).find_map(|above| {
            // One that cannot be read is not a root: Cargo will say more.
            let manifest = Manifest::read(above).ok()?;
            let excludes = manifest
                .list("exclude")
                .iter()
                .any(|path| directory.starts_with(normal(&above.join(path))));
            (manifest.is_root() && !excludes).then(|| above.to_owned())
        }),
    };
    let Some(root) = root else { return Ok(()) };
    let message =
        format!("`{}` belongs to the workspace `{}`", directory.display(), root.display());
    Err(Error::new(Id::CargoPackage, message).hint(
        "name the root of the workspace, or add an empty `[workspace]` to the package's manifest",
    ))
}

/// A path without `.` and `..`, by its words alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = normal.pop(),
            _ => normal.push(component),
        }
    }
    normal
}

#[cfg(test)]
mod tests;
