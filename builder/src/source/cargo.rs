//! Rust programs of a Cargo workspace, linked statically for a node.
//!
//! `Cargo.lock` is their lock. `fetch` brings the crates into the store; `build` runs without
//! network, and with no configuration but the workspace's own gives the same bytes whatever
//! directory it lies in.

mod baseline;
mod compilers;
mod crates;
mod names;
mod place;
mod seen;
mod toolchain;
mod used;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use formats::architecture::Architecture;
use formats::digest::Hasher;
use serde::{Deserialize, Serialize};

use super::caches::Caches;
use super::files;
use crate::cargo_workspace::{Lockfile, Package, Workspace, check_top};
use crate::digest;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::recipe::model;
use crate::step::Inputs;
use crate::store::Store;
use crate::stored::StoredBlob;
use place::Place;
use seen::{Digests, Files, View};

pub use seen::Seen;
pub use toolchain::{CargoVersion, Toolchain, ask};
pub use used::{Part, Used};

/// The profile of `Cargo.toml` for programs that go into an image.
const PROFILE: &str = "node";

const RUST_FLAGS: &[&str] = &[
    // The node has no shared libraries of its own for these programs to find.
    "-Ctarget-feature=+crt-static",
    // The places in a program that must know where it was loaded, as a bit map instead of 24 bytes
    // each: 57 of PID 1's 2027 kB.
    "-Clink-arg=-Wl,-z,pack-relative-relocs",
    // A digest of the program, which nothing looks for.
    "-Clink-arg=-Wl,--build-id=none",
];

/// Files of a workspace that shape all its packages, some of which may be missing.
const COMMON: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config",
    ".cargo/config.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// What Cargo has made of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Built {
    /// The programs by name.
    pub programs: BTreeMap<String, StoredBlob>,
    /// The crates that they were made of.
    pub crates: Vec<Used>,
    /// What is in them beside crates.
    pub libraries: BTreeSet<Library>,
}

/// A library that programs are linked with and that is no crate of the lock. Each leaves words of
/// its own in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Library {
    /// Rust's own.
    Rust,
    /// The C library of the compilers, linked statically.
    C,
}

impl Library {
    const ALL: [(Self, &[u8]); 2] = [(Self::Rust, b"/rustc/"), (Self::C, b"glibc")];

    /// Those that left words in a program.
    fn of(program: &[u8]) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter_map(|(library, words)| {
            program.windows(words.len()).any(|window| window == words).then_some(library)
        })
    }
}

/// A Cargo component, read and checked.
#[derive(Debug)]
pub struct Component {
    architecture: Architecture,
    view: Rc<View>,
    name: String,
    package: Package,
    // Invariant: not empty, and programs of the package.
    programs: BTreeSet<String>,
}

impl Component {
    /// Reads the workspace's manifests, to build for `architecture`; what was `seen` of it is not
    /// read again.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if a manifest or the lock is not understood, or if there
    /// is no such package or program.
    pub fn load(cargo: &model::Cargo, architecture: Architecture, seen: &Seen) -> Result<Self> {
        let view = seen.workspace(&cargo.workspace)?;
        let package = view.workspace.package(&cargo.package)?;
        let component = Self {
            architecture,
            name: cargo.package.clone(),
            programs: cargo.programs.keys().cloned().collect(),
            package,
            view,
        };
        let refused = |message, hint: &str| Err(Error::new(Id::CargoPackage, message).hint(hint));
        if component.programs.is_empty() {
            let message = format!("no program of the package `{}` is wanted", cargo.package);
            return refused(message, "name them in `programs`");
        }
        if let Some(missing) = component.programs.difference(&component.package.programs).next() {
            let message = format!("the package `{}` has no program `{missing}`", cargo.package);
            let names: Vec<_> = component.package.programs.iter().map(String::as_str).collect();
            return refused(message, &format!("it has `{}`", names.join("`, `")));
        }
        if !component.workspace().has_profile(PROFILE) {
            let root = component.workspace().root().display();
            let message = format!("the workspace `{root}` has no profile `{PROFILE}`");
            return refused(message, "add `[profile.node]` with `inherits = \"release\"`");
        }
        Ok(component)
    }

    /// Everything that shapes the programs. Costs no more than reading the sources of the package
    /// and of the workspace packages that it depends on.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn inputs(&self, toolchain: &Toolchain) -> Result<Inputs> {
        let sources = self.sources(|of| self.view.files(of))?;
        Ok(Inputs::new()
            .with("target", self.architecture.rust())
            .with("profile", PROFILE)
            .with_all("flag", RUST_FLAGS)
            .with_all("toolchain", toolchain.facts.iter().flat_map(|fact| fact.lines()))
            .with("package", &self.name)
            .with_all("program", &self.programs)
            .with_all("source", sources.iter().map(|(path, digest)| format!("{path} {digest}"))))
    }

    /// Notes that the crates are used: `orlop clean` keeps them. A result that is remembered needs
    /// none, and the next build may.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn note_crates(&self, store: &Store) -> Result<()> {
        crates::note(self.lock(), store)
    }

    /// Whether all crates are in the store. They are noted as used, and read.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn is_fetched(&self, store: &Store) -> Result<bool> {
        self.note_crates(store)?;
        Ok(crates::missing(self.lock(), store).is_empty())
    }

    /// Gives all crates to another store.
    ///
    /// # Errors
    /// [`Id::CargoNotFetched`], [`Id::StoreWrite`].
    pub fn lend(&self, store: &Store, to: &Store) -> Result<()> {
        crates::lend(self.lock(), store, to)
    }

    /// Brings the crates into the store. Cargo fetches what is missing as if the user had started
    /// it, with his registries, proxies and credentials; what it brings is believed by the
    /// checksums of the lock.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without Cargo, [`Id::ToolFailed`] with Cargo's own words;
    /// [`Id::CargoNotFetched`], [`Id::StoreWrite`].
    pub fn fetch(&self, environment: &Environment, store: &Store) -> Result<()> {
        let missing = crates::missing(self.lock(), store);
        if missing.is_empty() {
            return Ok(());
        }
        let home = cargo_home(environment).ok_or_else(|| {
            Error::new(Id::CargoNotFetched, "Cargo has no place for crates")
                .hint("set `HOME` or `CARGO_HOME`")
        })?;
        let command = Command::new("cargo").directory(self.workspace().root()).env_clear();
        // Crates of all platforms are in the lock, and Cargo wants to see them all.
        let variables = environment.for_fetch().filter(|(name, _)| *name != "CARGO_BUILD_TARGET");
        variables
            .fold(command, |command, (name, value)| command.env(name, value))
            .env("CARGO_TERM_COLOR", "never")
            .args(["fetch", "--locked"])
            .run()?;
        crates::take(&missing, &home, store)
    }

    /// Builds the programs and takes them into the store, by name. Runs at most `jobs` compilers
    /// at a time, which has no influence on the bytes.
    ///
    /// # Errors
    /// [`Id::CargoNotFetched`] if a crate is missing that `fetch` brings; [`Id::CargoPackage`] if
    /// a program was made from files that [`Component::inputs`] does not know;
    /// [`Id::Compilers`], [`Id::StaticRust`], [`Id::ToolFailed`] with the compiler's own words;
    /// [`Id::StoreWrite`].
    pub fn build(
        &self,
        environment: &Environment,
        toolchain: &Toolchain,
        caches: &Caches,
        store: &Store,
        jobs: usize,
    ) -> Result<Built> {
        let place = Place::open(&self.place(toolchain, caches))?;
        let target = place.join("target");
        let cargo = self.cargo(environment, &place, store)?;
        let sources = self.sources(|of| self.view.files_now(of).map(Rc::new))?;
        let digests = place::digests(&self.package, &self.workspace().vendored()?, &sources);
        place.forget_changed(&digests, |packages| {
            let command = packages
                .iter()
                .fold(cargo.command("clean"), |command, name| command.args(["-p", name]));
            command.run().map(drop)
        })?;
        let mut flags = RUST_FLAGS.join("\x1f");
        let places = self.places(&cargo.sysroot, toolchain, &place)?;
        for (from, to) in &places {
            flags.push_str(&format!("\x1f--remap-path-prefix={from}={to}"));
        }
        let command = cargo.command("build").env("CARGO_ENCODED_RUSTFLAGS", flags).args([
            "--message-format",
            "json-render-diagnostics",
            "-j",
            &jobs.max(1).to_string(),
            "-p",
            &self.name,
        ]);
        let command =
            self.programs.iter().fold(command, |command, name| command.args(["--bin", name]));
        let command = toolchain::name_places(command, &places);
        let command = toolchain.equip(command, self.architecture, environment, store, caches)?;
        let messages = command.run().map_err(|error| explained(error, self.architecture))?;
        place.note(&digests)?;
        let outputs = target.join(self.architecture.rust());
        let root = self.workspace().root();
        let known = used::Sources {
            root,
            lock: &Lockfile::read(root)?,
            vendored: &self.workspace().vendored()?,
            files: &sources,
        };
        let crates = used::crates(&messages, &outputs, &known)?;
        let outputs = outputs.join(PROFILE);
        let (mut programs, mut libraries) = (BTreeMap::new(), BTreeSet::new());
        for program in &self.programs {
            let dependencies = files::text(&outputs.join(format!("{program}.d")))?;
            self.check_sources(&dependencies, &sources, place.path())?;
            let bytes = made(&outputs.join(program))?;
            names::check(program, &bytes, places.iter().map(|(from, _)| from.as_str()))?;
            libraries.extend(Library::of(&bytes));
            programs.insert(program.clone(), StoredBlob(store.put_bytes(&bytes)?));
        }
        Ok(Built { programs, crates, libraries })
    }

    fn workspace(&self) -> &Workspace {
        &self.view.workspace
    }

    /// The crates that come out of the store: none if the workspace brings its own.
    fn lock(&self) -> &Lockfile {
        &self.view.lockfile
    }

    /// All files that we know of as sources, by their path in the workspace; `read` reads those of
    /// a directory.
    fn sources(&self, read: impl Fn(&Files) -> Result<Rc<Digests>>) -> Result<Digests> {
        let root = self.workspace().root();
        let mut sources = BTreeMap::new();
        let manifests = self.package.manifests.iter().map(PathBuf::as_path);
        for name in COMMON.iter().map(Path::new).chain(manifests) {
            let path = root.join(name);
            if path.is_file() {
                let digest = digest::of_file(&path, |_| ())?;
                sources.insert(name.to_string_lossy().into_owned(), digest);
            }
        }
        for directory in self.package.directories.keys() {
            for (name, digest) in read(&Files::Package(directory.clone()))?.iter() {
                sources.insert(directory.join(name).to_string_lossy().into_owned(), *digest);
            }
        }
        // Cargo compares only the files that `.cargo-checksum.json` lists: who patches a crate by
        // hand empties the list, and what was added to one, a `build.rs` even, stands in none.
        for directory in self.workspace().vendored()? {
            for (name, digest) in read(&Files::Crates(directory.clone()))?.iter() {
                sources.insert(directory.join(name).to_string_lossy().into_owned(), *digest);
            }
        }
        Ok(sources)
    }

    /// Two workspaces do not share a directory: each build would throw away the other's. Nor do two
    /// toolchains: Cargo does not link again for another linker or C library.
    fn place(&self, toolchain: &Toolchain, caches: &Caches) -> PathBuf {
        let mut hasher = Hasher::new();
        hasher.update(self.workspace().root().as_os_str().as_encoded_bytes());
        toolchain.facts.iter().for_each(|fact| hasher.update(format!("\0{fact}")));
        let name = hasher.finish().to_string();
        caches.cargo_target.join(&name[..16])
    }

    /// Directories of this host and what stands for them in a program (panics name their file).
    /// Of several that fit a path the compiler takes the last one.
    fn places(
        &self,
        sysroot: &Path,
        toolchain: &Toolchain,
        place: &Place,
    ) -> Result<Vec<(String, String)>> {
        let root = self.workspace().root();
        let crates = place.join("crates");
        let library = format!("/rustc/{}", toolchain.commit());
        let mut places = vec![
            (sysroot.to_owned(), "/rust".to_owned()),
            (sysroot.join("lib/rustlib/src/rust"), library),
            (root.to_owned(), "/workspace".to_owned()),
            (place.join("target"), "/target".to_owned()),
        ];
        // Cargo names files relative to the workspace if they are in it, and the cache may be.
        let inner = crates.strip_prefix(root).ok().map(Path::to_owned);
        places.extend(inner.map(|path| (path, "/cargo".to_owned())));
        places.push((crates, "/cargo".to_owned()));
        places
            .into_iter()
            .map(|(path, name)| match path.to_str() {
                Some(text) if !text.contains(['=', '\x1f']) => Ok((text.to_owned(), name)),
                _ => {
                    let message = format!("Rust cannot build in `{}`", path.display());
                    Err(Error::new(Id::CargoPackage, message)
                        .hint("use a directory whose name is UTF-8 and holds no `=`"))
                }
            })
            .collect()
    }

    /// Whether `inputs` knows all files that Cargo says a program was made from.
    fn check_sources(&self, dependencies: &str, sources: &Digests, place: &Path) -> Result<()> {
        let root = self.workspace().root();
        // Names are relative if the workspace's configuration wants them so.
        let paths = dependency_paths(dependencies).map(|path| root.join(path));
        for path in paths.filter(|path| !path.starts_with(place)) {
            let inner = path.strip_prefix(root).ok().and_then(Path::to_str);
            if !inner.is_some_and(|inner| {
                sources.contains_key(inner) || path.is_dir() && self.watches(Path::new(inner))
            }) {
                let message = format!(
                    "the package `{}` is made from `{}`, which is not watched for changes",
                    self.name,
                    path.display()
                );
                return Err(Error::new(Id::CargoPackage, message)
                    .hint("move the file into the package, or into one that it depends on"));
            }
        }
        Ok(())
    }

    /// Whether all files in a directory of the workspace are known as sources.
    fn watches(&self, directory: &Path) -> bool {
        let root = self.workspace().root();
        self.package.directories.keys().any(|package| {
            let between = directory.ancestors().take_while(|path| *path != package);
            directory.starts_with(package)
                && !between.into_iter().any(|path| apart(&root.join(path)))
        })
    }

    /// What is needed to start Cargo so that it sees the workspace, the crates of its lock and
    /// nothing of the user's.
    fn cargo(&self, environment: &Environment, place: &Place, store: &Store) -> Result<Cargo<'_>> {
        check_top(Path::new("/"))?;
        let mut settings = String::new();
        if self.workspace().vendored()?.is_empty() {
            let crates = crates::unpack(self.lock(), &place.join("crates"), store)?;
            settings = crates::settings(self.lock(), &crates, &self.registries())?;
        }
        if self.workspace().config().has_build_directory() {
            let target = place.join("target").to_string_lossy().into_owned();
            settings += &format!("[build]\nbuild-dir = {}\n", serde_json::Value::from(target));
        }
        let config = place.write("config.toml", &settings)?;
        let sysroot = Toolchain::sysroot(environment, self.workspace().root())?;
        Ok(Cargo {
            architecture: self.architecture,
            workspace: self.workspace(),
            configs: self.workspace().config().path.iter().cloned().chain([config]).collect(),
            path: environment.path(),
            home: place.join("home"),
            target: place.join("target"),
            sysroot,
        })
    }

    /// Registries that the manifests name and only a configuration of the user explains.
    fn registries(&self) -> BTreeMap<&str, &str> {
        let mut registries = self.workspace().registries();
        registries.retain(|name, _| !self.workspace().config().has_registry(name));
        registries
    }
}

/// Cargo as a build starts it.
struct Cargo<'a> {
    architecture: Architecture,
    workspace: &'a Workspace,
    /// Of the workspace, and ours, which has the last word.
    configs: Vec<PathBuf>,
    path: OsString,
    home: PathBuf,
    target: PathBuf,
    sysroot: PathBuf,
}

impl Cargo<'_> {
    fn command(&self, name: &str) -> Command {
        // rustup's `cargo` would look for the toolchain where it is started; here is what it found
        // in the workspace.
        let own =
            |name: &str| Some(self.sysroot.join("bin").join(name)).filter(|own| own.is_file());
        let command = Command::new(own("cargo").unwrap_or_else(|| "cargo".into()));
        let command = command
            .arg(name)
            .args(["--locked", "--offline", "--profile", PROFILE])
            .args(["--target", self.architecture.rust()])
            .arg("--target-dir")
            .arg(&self.target)
            .arg("--manifest-path")
            .arg(self.workspace.root().join("Cargo.toml"));
        let command =
            self.configs.iter().fold(command, |command, path| command.arg("--config").arg(path));
        let command = command
            // Cargo reads the configuration of every directory above the one it is started in.
            .directory(Path::new("/"))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("CARGO_HOME", &self.home)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "0")
            // Programs that the workspace's configuration may put before the compiler.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            // Build scripts may start rustup's `rustc`.
            .env("RUSTUP_TOOLCHAIN", &self.sysroot)
            .env("RUSTUP_AUTO_INSTALL", "0");
        own("rustc").into_iter().fold(command, |command, rustc| command.env("RUSTC", rustc))
    }
}

/// Directories in a package that are not of it: other packages, what can be made again, and what
/// we make ourselves, which would be a cause of the next build. What is compiled in from there is
/// refused.
fn apart(path: &Path) -> bool {
    let holds = |names: &[&str]| names.iter().all(|name| path.join(name).exists());
    let output = ["build.json", "manifest.txt", "root.img"];
    let store = ["blobs", "steps", "partial", "tmp"];
    holds(&["Cargo.toml"]) || holds(&["CACHEDIR.TAG"]) || holds(&output) || holds(&store)
}

/// The program that `cargo build` has made at `path`.
fn made(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).or_fail(Id::Bug, || format!("`cargo build` has not made `{}`", path.display()))
}

fn cargo_home(environment: &Environment) -> Option<PathBuf> {
    let named = environment.for_cargo().find(|(name, _)| *name == "CARGO_HOME");
    let home = named.map(|(_, value)| PathBuf::from(value));
    let home = home.or_else(|| Some(environment.home()?.join(".cargo")))?;
    Some(home.canonicalize().unwrap_or(home))
}

/// The paths after the colon of Cargo's dep-info files, where a space in a name is `\ `.
fn dependency_paths(text: &str) -> impl Iterator<Item = PathBuf> {
    let list = text.lines().next().and_then(|line| line.split_once(": "));
    let list = list.map_or(String::new(), |(_, list)| list.replace("\\ ", "\0"));
    let paths: Vec<_> = list
        .split(' ')
        .filter(|path| !path.is_empty())
        .map(|path| path.replace('\0', " "))
        .collect();
    paths.into_iter().map(PathBuf::from)
}

fn explained(error: Error, architecture: Architecture) -> Error {
    // The first line is our command line, the others are Cargo's words.
    let words = error.to_string();
    let words = words.split_once('\n').map_or("", |(_, words)| words);
    if words.contains("--offline was specified") || words.contains("offline mode") {
        return Error::new(Id::CargoNotFetched, "crates of `Cargo.lock` are not fetched")
            .caused_by(error)
            .hint("run `orlop fetch`");
    }
    if words.contains("can't find crate for `std`") || words.contains("can't find crate for `core`")
    {
        let target = architecture.rust();
        let message = format!("the Rust toolchain has no standard library for `{target}`");
        return Error::new(Id::StaticRust, message)
            .caused_by(error)
            .hint(format!("run `rustup target add {target}`"));
    }
    error
}

#[cfg(test)]
mod tests;
