//! What turns Rust sources into static programs, beside the sources themselves: the host's `rustc`,
//! which the lock records, and the compilers of the lock, which compile C, link, and bring the C
//! library that is linked in.

use std::path::{Path, PathBuf};

use formats::architecture::Architecture;

use super::super::caches::Caches;
use super::{Seen, compilers};
use crate::environment::Environment;
use crate::error::{Error, Id, Result};
use crate::lock::model::{Package, Rustc};
use crate::process::Command;
use crate::start;
use crate::store::Store;

/// A Rust toolchain that can link statically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// What `rustc` says of itself, and each package of the compilers: all that matters for a key.
    pub(super) facts: Vec<String>,
    rustc: Rustc,
    cargo: CargoVersion,
    tools: Tools,
}

/// The Cargo that starts the compilers, as it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CargoVersion {
    /// Such as `cargo 1.95.0 (f2d3ce0bd 2026-03-21)`.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
}

/// Whose C compiler and linker are used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tools {
    /// The lock's.
    Locked(Vec<Package>),
    /// The host's: tests have no archive to lock any from.
    #[cfg(test)]
    Host,
}

impl Toolchain {
    /// Asks `rustc` and `cargo` which they are, unless that was `seen`; what compiles and links beside
    /// them are the packages `compilers` of the lock. To ask costs two short processes.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without one of them; [`Id::Compilers`] if the lock names no compilers.
    pub fn find(
        environment: &Environment,
        workspace: &Path,
        compilers: &[Package],
        seen: &Seen,
    ) -> Result<Self> {
        if compilers.is_empty() {
            return Err(Error::new(Id::Compilers, "the lock names no compilers")
                .hint("`orlop lock` asks for those of `debian.compilers`"));
        }
        let words = seen.rustc(environment, workspace)?;
        let cargo = seen.cargo(environment, workspace)?;
        let packages = compilers.iter().map(|package| {
            let Package { name, version, blob, .. } = package;
            format!("{name} {version} {}", blob.sha256)
        });
        let own = [words.clone(), cargo.version.clone(), compilers::LAYOUT.to_owned()];
        Ok(Self {
            facts: own.into_iter().chain(packages).collect(),
            rustc: parse(&words),
            cargo,
            tools: Tools::Locked(compilers.to_vec()),
        })
    }

    /// A toolchain that links with what this host has.
    #[cfg(test)]
    pub(super) fn of_host(environment: &Environment) -> Self {
        let words = says(environment, Path::new("/")).unwrap();
        let cargo = cargo(environment, Path::new("/")).unwrap();
        Self { rustc: parse(&words), cargo, facts: vec![words], tools: Tools::Host }
    }

    /// The compiler that compiles Rust.
    pub fn rustc(&self) -> &Rustc {
        &self.rustc
    }

    /// The Cargo that has it compile.
    pub fn cargo(&self) -> &CargoVersion {
        &self.cargo
    }

    /// Has a command compile and link with these tools. They are unpacked if that was never done.
    ///
    /// # Errors
    /// Those of [`compilers::install`].
    pub(super) fn equip(
        &self,
        command: Command,
        architecture: Architecture,
        environment: &Environment,
        store: &Store,
        caches: &Caches,
    ) -> Result<Command> {
        let programs = match &self.tools {
            Tools::Locked(packages) => compilers::install(architecture, packages, store, caches)?,
            #[cfg(test)]
            Tools::Host => return Ok(link_with(command, architecture, Path::new("cc"))),
        };
        let of = |name: &str| programs.join(name);
        // Build scripts look for these by their names, too.
        let path = compilers::path(&programs, &environment.path())?;
        let command = link_with(command, architecture, &of("cc"))
            .env("PATH", path)
            .env("CC", of("cc"))
            .env("AR", of("ar"));
        Ok(if of("c++").exists() { command.env("CXX", of("c++")) } else { command })
    }

    /// The directory that holds the compiler's own files.
    pub(super) fn sysroot(environment: &Environment, workspace: &Path) -> Result<PathBuf> {
        let sysroot = text(rustc(environment, workspace).args(["--print", "sysroot"]).run()?);
        Ok(PathBuf::from(sysroot.trim()))
    }

    /// The commit that the compiler was built from: the standard library's sources are known
    /// under it.
    pub(super) fn commit(&self) -> &str {
        &self.rustc.commit
    }
}

/// The workspace's own configuration may name a linker, and has precedence over variables; what is
/// named later has it over that.
fn link_with(command: Command, architecture: Architecture, linker: &Path) -> Command {
    let linker = serde_json::Value::from(linker.to_string_lossy());
    command.args(["--config", &format!("target.{}.linker = {linker}", architecture.rust())])
}

/// Asks which compiler would compile the workspace, whose `rust-toolchain.toml` may name one.
///
/// # Errors
/// [`Id::MissingTool`], [`Id::Read`] if there is no such workspace.
pub fn ask(environment: &Environment, workspace: &Path, seen: &Seen) -> Result<Rustc> {
    Ok(parse(&seen.rustc(environment, workspace)?))
}

/// A command that sees where programs and toolchains are, and nothing else.
pub(super) fn clean(command: Command, environment: &Environment, directory: &Path) -> Command {
    let command = command.directory(directory).env_clear().env("PATH", environment.path());
    let command =
        environment.for_cargo().fold(command, |command, (name, value)| command.env(name, value));
    // rustup would download a toolchain that a `rust-toolchain.toml` names.
    command.env("RUSTUP_AUTO_INSTALL", "0")
}

/// Has C compilers replace directories of this host, as Rust's does: `__FILE__` is one.
pub(super) fn name_places(command: Command, places: &[(String, String)]) -> Command {
    let flag = |(from, to): &(String, String)| {
        let flag = format!("-ffile-prefix-map={from}={to}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+@".contains(c);
        if flag.chars().all(plain) { flag } else { start::quoted(&flag) }
    };
    let flags = places.iter().map(flag).collect::<Vec<_>>().join(" ");
    // The crate `cc` takes quotes as a shell does if it is told so.
    let command = command.env("CC_SHELL_ESCAPED_FLAGS", "1");
    command.env("CFLAGS", &flags).env("CXXFLAGS", &flags)
}

fn rustc(environment: &Environment, workspace: &Path) -> Command {
    clean(Command::new("rustc"), environment, workspace)
}

/// What the compiler of a workspace says of itself.
///
/// # Errors
/// As [`ask`].
pub(super) fn says(environment: &Environment, workspace: &Path) -> Result<String> {
    // Starting a program in a directory that is not there fails as if there were no program.
    if !workspace.is_dir() {
        let message = format!("cannot read the workspace `{}`", workspace.display());
        return Err(Error::new(Id::Read, message));
    }
    Ok(text(rustc(environment, workspace).arg("-vV").run()?))
}

/// Which Cargo it is that a workspace is compiled with. Of what else it says some is of the host.
///
/// # Errors
/// [`Id::MissingTool`], [`Id::ToolFailed`].
pub(super) fn cargo(environment: &Environment, workspace: &Path) -> Result<CargoVersion> {
    let words = clean(Command::new("cargo"), environment, workspace).arg("-vV").run()?;
    let words = text(words);
    Ok(CargoVersion { version: first_line(&words), commit: value(&words, "commit-hash") })
}

fn first_line(words: &str) -> String {
    words.lines().next().unwrap_or_default().trim().to_owned()
}

fn value(words: &str, key: &str) -> String {
    let mut lines = words.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(name, _)| *name == key).map_or("unknown", |(_, value)| value);
    found.trim().to_owned()
}

/// What `rustc -vV` prints: a line for people, then `key: value`.
fn parse(words: &str) -> Rustc {
    let value = |key: &str| value(words, key);
    Rustc {
        version: first_line(words),
        commit: value("commit-hash"),
        host: value("host"),
        llvm: value("LLVM version"),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::new(std::env::vars_os())
    }

    #[test]
    fn the_rust_compiler_of_this_host_says_which_it_is() {
        let toolchain = Toolchain::of_host(&environment());
        assert!(toolchain.facts[0].starts_with("rustc "), "{:?}", toolchain.facts);
        assert_eq!(ask(&environment(), Path::new("/"), &Seen::new()).unwrap(), *toolchain.rustc());
        assert!(toolchain.rustc().version.starts_with("rustc "), "{:?}", toolchain.rustc());
        assert!(toolchain.cargo().version.starts_with("cargo "), "{:?}", toolchain.cargo());
        assert!(toolchain.rustc().host.contains("linux"), "{:?}", toolchain.rustc());
        let sysroot = Toolchain::sysroot(&environment(), Path::new("/")).unwrap();
        assert!(sysroot.join("lib").is_dir());
    }

    #[test]
    fn a_compiler_is_known_by_what_it_says() {
        let words = "rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)\n\
                     binary: rustc\ncommit-hash: 4d91de4e48198da2e33413efdcd9cd2cc0c46688\n\
                     commit-date: 2025-02-17\nhost: x86_64-unknown-linux-gnu\nrelease: 1.85.0\n\
                     LLVM version: 19.1.7\n";
        let rustc = parse(words);
        assert!(rustc.version.ends_with("(built from a source tarball)"), "{rustc:?}");
        assert_eq!(rustc.commit, "4d91de4e48198da2e33413efdcd9cd2cc0c46688");
        assert_eq!(rustc.host, "x86_64-unknown-linux-gnu");
        assert_eq!(rustc.llvm, "19.1.7");
        assert_eq!(parse("rustc 1.0.0\n").commit, "unknown");
    }

    #[test]
    fn a_lock_without_compilers_and_a_workspace_that_is_not_there_are_told_apart() {
        let error = Toolchain::find(&environment(), Path::new("/"), &[], &Seen::new()).unwrap_err();
        assert_eq!((error.id(), error.hints().len()), (Id::Compilers, 1));
        let error = ask(&environment(), Path::new("/not/there"), &Seen::new()).unwrap_err();
        assert_eq!(error.id(), Id::Read);
    }
}
