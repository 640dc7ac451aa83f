//! Rust programs of a Cargo workspace, linked statically for a node.
//!
//! `Cargo.lock` is their lock. `fetch` brings the crates into Cargo's own cache; `build` runs
//! without network and gives the same bytes whatever directory the workspace lies in.

mod baseline;
mod compilers;
mod toolchain;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use formats::digest::{Hasher, Sha256};
use formats::tree::Blob;

use super::caches::{self, Caches};
use super::files;
use crate::digest;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::recipe::model;
use crate::step::Inputs;
use crate::store::Store;

pub use toolchain::{Toolchain, ask};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const LINKER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER";

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

/// A Cargo component, read and checked.
#[derive(Debug)]
pub struct Component {
    // Invariant: without symbolic links, as Cargo will see it.
    workspace: PathBuf,
    package: String,
    // Invariant: not empty.
    programs: BTreeSet<String>,
    /// Of the package and the workspace packages that it depends on, relative to the workspace.
    directories: Vec<PathBuf>,
}

impl Component {
    /// Reads the workspace's manifests.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if a manifest is not understood or there is no such
    /// package.
    pub fn load(cargo: &model::Cargo) -> Result<Self> {
        let path = &cargo.workspace;
        let workspace = path
            .canonicalize()
            .or_fail(Id::Read, || format!("cannot read the workspace `{}`", path.display()))?;
        if cargo.programs.is_empty() {
            let message = format!("no program of the package `{}` is wanted", cargo.package);
            return Err(Error::new(Id::CargoPackage, message).hint("name them in `programs`"));
        }
        Ok(Self {
            directories: workspace::directories(&workspace, &cargo.package)?,
            package: cargo.package.clone(),
            programs: cargo.programs.keys().cloned().collect(),
            workspace,
        })
    }

    /// Everything that shapes the programs. Costs no more than reading the sources of the package
    /// and of the workspace packages that it depends on.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn inputs(&self, toolchain: &Toolchain) -> Result<Inputs> {
        let sources = self.sources()?;
        Ok(Inputs::new()
            .with("target", TARGET)
            .with("profile", PROFILE)
            .with_all("flag", RUST_FLAGS)
            .with_all("toolchain", toolchain.facts.iter().flat_map(|fact| fact.lines()))
            .with("package", &self.package)
            .with_all("program", &self.programs)
            .with_all("source", sources.iter().map(|(path, digest)| format!("{path} {digest}"))))
    }

    /// Brings the crates into Cargo's cache, through the proxies of the environment and the
    /// registries of the user's Cargo configuration.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without Cargo, [`Id::ToolFailed`] with Cargo's own words.
    pub fn fetch(&self, environment: &Environment) -> Result<()> {
        let command = environment
            .for_fetch()
            .fold(self.cargo(environment), |command, (name, value)| command.env(name, value));
        command.args(["fetch", "--locked"]).run().map(drop)
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
    ) -> Result<BTreeMap<String, Blob>> {
        let target = self.target_directory(toolchain, caches)?;
        let mut flags = RUST_FLAGS.join("\x1f");
        for (from, to) in self.places(environment, toolchain, &target)? {
            flags.push_str(&format!("\x1f--remap-path-prefix={from}={to}"));
        }
        let command = self
            .cargo(environment)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("CARGO_INCREMENTAL", "0")
            // Settings in the user's Cargo configuration that would shape the program.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .args(["build", "--locked", "--offline", "--profile", PROFILE, "--target", TARGET])
            .arg("--target-dir")
            .arg(&target)
            .args(["-j", &jobs.max(1).to_string(), "-p", &self.package]);
        let command =
            self.programs.iter().fold(command, |command, name| command.args(["--bin", name]));
        let command = toolchain.equip(command, environment, store, caches)?;
        command.run().map_err(explained)?;
        let outputs = target.join(TARGET).join(PROFILE);
        let sources = self.sources()?;
        let mut blobs = BTreeMap::new();
        for program in &self.programs {
            let dependencies = files::text(&outputs.join(format!("{program}.d")))?;
            self.check_sources(&dependencies, &sources, environment, &target)?;
            let path = outputs.join(program);
            let mut file = File::open(&path)
                .or_fail(Id::Bug, || format!("`cargo build` has not made `{}`", path.display()))?;
            blobs.insert(program.clone(), store.put(&mut file)?);
        }
        Ok(blobs)
    }

    /// All files that we know of as sources, by their path in the workspace.
    fn sources(&self) -> Result<BTreeMap<String, Sha256>> {
        let mut sources = BTreeMap::new();
        for name in COMMON {
            let path = self.workspace.join(name);
            if path.is_file() {
                sources.insert((*name).to_owned(), digest::of_file(&path, |_| ())?);
            }
        }
        for directory in &self.directories {
            let path = self.workspace.join(directory);
            let other_package = |path: &Path| {
                path.join("Cargo.toml").is_file() || path.join("CACHEDIR.TAG").is_file()
            };
            for (name, digest) in files::digests(&path, other_package)? {
                sources.insert(directory.join(name).to_string_lossy().into_owned(), digest);
            }
        }
        Ok(sources)
    }

    /// Two workspaces do not share a directory: each build would throw away the other's. Nor do two
    /// toolchains: Cargo does not link again for another linker or C library.
    fn target_directory(&self, toolchain: &Toolchain, caches: &Caches) -> Result<PathBuf> {
        let mut hasher = Hasher::new();
        hasher.update(self.workspace.as_os_str().as_encoded_bytes());
        toolchain.facts.iter().for_each(|fact| hasher.update(format!("\0{fact}")));
        let name = hasher.finish().to_string();
        let path = caches.cargo_target.join(&name[..16]);
        std::fs::create_dir_all(&path)
            .and_then(|()| path.canonicalize())
            .map_err(|error| caches::cannot_write(&path).caused_by(error))
    }

    /// Directories of this host and what stands for them in a program (panics name their file).
    /// Of several that fit a path the compiler takes the last one.
    fn places(
        &self,
        environment: &Environment,
        toolchain: &Toolchain,
        target: &Path,
    ) -> Result<Vec<(String, String)>> {
        let sysroot = Toolchain::sysroot(environment, &self.workspace)?;
        let library = format!("/rustc/{}", toolchain.commit());
        let mut places = vec![(sysroot.join("lib/rustlib/src/rust"), library)];
        places.insert(0, (sysroot, "/rust".to_owned()));
        places.extend(cargo_home(environment).map(|home| (home, "/cargo".to_owned())));
        places.push((self.workspace.clone(), "/workspace".to_owned()));
        places.push((target.to_owned(), "/target".to_owned()));
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
    fn check_sources(
        &self,
        dependencies: &str,
        sources: &BTreeMap<String, Sha256>,
        environment: &Environment,
        target: &Path,
    ) -> Result<()> {
        let home = cargo_home(environment);
        for path in dependency_paths(dependencies) {
            let of_cargo = home.as_ref().is_some_and(|home| path.starts_with(home));
            if path.starts_with(target) || of_cargo {
                continue;
            }
            let inner = path.strip_prefix(&self.workspace).ok().and_then(Path::to_str);
            if !inner.is_some_and(|inner| sources.contains_key(inner) || path.is_dir()) {
                let message = format!(
                    "the package `{}` is made from `{}`, which is not watched for changes",
                    self.package,
                    path.display()
                );
                return Err(Error::new(Id::CargoPackage, message)
                    .hint("move the file into the package, or into one that it depends on"));
            }
        }
        Ok(())
    }

    fn cargo(&self, environment: &Environment) -> Command {
        toolchain::clean(Command::new("cargo"), environment, &self.workspace)
            .env("CARGO_TERM_COLOR", "never")
    }
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

fn explained(error: Error) -> Error {
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
        let message = format!("the Rust toolchain has no standard library for `{TARGET}`");
        return Error::new(Id::StaticRust, message)
            .caused_by(error)
            .hint(format!("run `rustup target add {TARGET}`"));
    }
    error
}

#[cfg(test)]
mod tests;
