//! What on this host turns Rust sources into static programs, beside the sources themselves: the
//! compiler, and the static libraries of C which are linked in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;

/// A Rust toolchain that can link statically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// What `rustc` says of itself, and what identifies each library: all that matters for a key.
    pub(super) facts: Vec<String>,
}

/// Parts of the C library and of the compiler's own that are linked into each program.
const LIBRARIES: [&str; 2] = ["libc.a", "libgcc_eh.a"];

impl Toolchain {
    /// Asks the compilers which they are. Costs three short processes, so ask once for all
    /// components of a workspace.
    ///
    /// # Errors
    /// [`Id::MissingTool`] without `rustc` or `cc`; [`Id::StaticRust`] without the static
    /// libraries of C.
    pub fn find(environment: &Environment, workspace: &Path) -> Result<Self> {
        let rustc = text(rustc(environment, workspace).arg("-vV").run()?);
        let mut facts = vec![rustc];
        for library in LIBRARIES {
            let command = clean(Command::new("cc"), environment, workspace);
            let path = text(command.arg(format!("-print-file-name={library}")).run()?);
            facts.push(library_fact(library, Path::new(path.trim()))?);
        }
        Ok(Self { facts })
    }

    /// The directory that holds the compiler's own files.
    pub(super) fn sysroot(environment: &Environment, workspace: &Path) -> Result<PathBuf> {
        let sysroot = text(rustc(environment, workspace).args(["--print", "sysroot"]).run()?);
        Ok(PathBuf::from(sysroot.trim()))
    }

    /// The commit that the compiler was built from: the standard library's sources are known
    /// under it.
    pub(super) fn commit(&self) -> &str {
        let lines = self.facts.first().map(String::as_str).unwrap_or_default().lines();
        lines.into_iter().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown")
    }
}

/// A command that sees where programs and toolchains are, and nothing else.
pub(super) fn clean(command: Command, environment: &Environment, directory: &Path) -> Command {
    let command = command.directory(directory).env_clear().env("PATH", environment.path());
    let command =
        environment.for_cargo().fold(command, |command, (name, value)| command.env(name, value));
    // rustup would download a toolchain that a `rust-toolchain.toml` names.
    command.env("RUSTUP_AUTO_INSTALL", "0")
}

fn rustc(environment: &Environment, workspace: &Path) -> Command {
    clean(Command::new("rustc"), environment, workspace)
}

/// Which file it is, without reading megabytes: package managers keep the times of their files.
fn library_fact(library: &str, path: &Path) -> Result<String> {
    // A compiler that does not find a file repeats its name.
    if path.is_relative() {
        let message = format!("there is no `{library}` to link a static program with");
        return Err(Error::new(Id::StaticRust, message)
            .hint("install `gcc` and `libc6-dev` (Debian) or `glibc-static` (Fedora)"));
    }
    let meta =
        fs::metadata(path).or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
    Ok(format!("{library} {} {}.{:09}", meta.size(), meta.mtime(), meta.mtime_nsec()))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_link_statically() {
        let environment = Environment::new(std::env::vars_os());
        let toolchain = Toolchain::find(&environment, Path::new("/")).unwrap();
        assert!(toolchain.facts[0].starts_with("rustc "), "{:?}", toolchain.facts);
        assert!(toolchain.commit().len() >= 7, "{}", toolchain.commit());
        assert!(toolchain.facts[1].starts_with("libc.a "));
        assert!(Toolchain::sysroot(&environment, Path::new("/")).unwrap().join("lib").is_dir());
    }

    #[test]
    fn a_host_without_static_libraries_is_told_what_to_install() {
        let error = library_fact("libc.a", Path::new("libc.a")).unwrap_err();
        assert_eq!(error.id(), Id::StaticRust);
        assert_eq!(error.to_string(), "there is no `libc.a` to link a static program with");
        assert_eq!(error.hints().len(), 1);
    }
}
