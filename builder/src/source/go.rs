//! Go programs, built from a component's `go.mod`.
//!
//! The `tool` lines of `go.mod` name the programs, `go.sum` is their lock, the `toolchain` or `go`
//! line pins the compiler. `fetch` brings modules and toolchain into the store; `build` runs without
//! network, without the host's Go and settings, and gives the same bytes in any directory.

mod build;
mod explain;
mod fetch;
mod modules;
mod sum;
mod tool;
mod toolchain;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::files;
use formats::architecture::Architecture;

use crate::error::{Error, Id, Result};
use crate::go_mod::GoMod;
use crate::recipe::model;
use crate::step::Inputs;
use crate::store::Store;

pub use toolchain::Toolchain;

/// What every build for `architecture` is told, beside what the component says.
fn target(architecture: Architecture) -> impl Iterator<Item = (&'static str, &'static str)> {
    [("CGO_ENABLED", "0"), ("GOOS", "linux")].into_iter().chain(architecture.go())
}

const FLAGS: &[&str] = &["-trimpath", "-buildvcs=false", "-mod=readonly"];

/// Symbols and debugging data are left out, and the build id, which would tell one linker run
/// from another.
const LINKER_FLAGS: &str = "-s -w -buildid=";

/// A Go component, read and checked.
#[derive(Debug)]
pub struct Component {
    architecture: Architecture,
    directory: PathBuf,
    gomod: GoMod,
    tags: BTreeSet<String>,
    // Invariant: not empty, and `gomod.tools` has them all.
    programs: BTreeSet<String>,
    stamp: BTreeMap<String, String>,
}

impl Component {
    /// Reads the component's `go.mod` and checks that it fits what the recipe wants of it, to build
    /// for `architecture`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::GoModule`] if `go.mod` is not understood or has no such programs.
    pub fn load(go: &model::Go, architecture: Architecture) -> Result<Self> {
        let programs = go.programs.keys().cloned().collect();
        let (directory, tags) = (go.module.clone(), go.tags.clone());
        Self::read(architecture, directory, tags, programs, go.stamp.clone())
    }

    /// Reads the component once more: its files may have changed.
    ///
    /// # Errors
    /// As [`Component::load`].
    pub fn again(&self) -> Result<Self> {
        let Self { architecture, directory, tags, programs, stamp, .. } = self;
        Self::read(*architecture, directory.clone(), tags.clone(), programs.clone(), stamp.clone())
    }

    fn read(
        architecture: Architecture,
        directory: PathBuf,
        tags: BTreeSet<String>,
        programs: BTreeSet<String>,
        stamp: BTreeMap<String, String>,
    ) -> Result<Self> {
        let path = directory.join("go.mod");
        let gomod = GoMod::parse(&files::text(&path)?).map_err(|why| {
            let error = Error::new(Id::GoModule, format!("cannot use `{}`", path.display()));
            let hint = why.hint();
            hint.into_iter().fold(error.caused_by(why), Error::hint)
        })?;
        if programs.is_empty() {
            let message = format!("no program of `{}` is wanted", path.display());
            return Err(Error::new(Id::GoModule, message).hint("name them in `programs`"));
        }
        let component = Self { architecture, directory, gomod, tags, programs, stamp };
        for program in &component.programs {
            if !component.gomod.tools.contains(program) {
                return Err(component.no_tool(program));
            }
            component.linker_flags(program)?;
        }
        Ok(component)
    }

    /// The toolchain that it names.
    ///
    /// # Errors
    /// [`Id::GoNotFetched`].
    pub fn toolchain(&self, store: &Store) -> Result<Toolchain> {
        Toolchain::find(&self.gomod.toolchain, store)
    }

    /// What its `go.mod` says.
    pub fn gomod(&self) -> &GoMod {
        &self.gomod
    }

    /// Everything that shapes the programs. Costs no more than reading the component's directory;
    /// Go is not asked.
    ///
    /// # Errors
    /// [`Id::Read`].
    pub fn inputs(&self, toolchain: &Toolchain) -> Result<Inputs> {
        // A component may bring code of its own.
        let files = files::digests(&self.directory, |path| path.join("go.mod").is_file())?;
        Ok(Inputs::new()
            .with("toolchain", toolchain.fact())
            .with_all(
                "target",
                target(self.architecture).map(|(name, value)| format!("{name}={value}")),
            )
            .with_all("flag", FLAGS)
            .with("linker-flags", LINKER_FLAGS)
            .with_all("program", &self.programs)
            .with_all("tag", &self.tags)
            .with_all("stamp", self.stamp.iter().map(|(name, value)| format!("{name}={value}")))
            .with_all("source", files.iter().map(|(path, digest)| format!("{path} {digest}"))))
    }

    /// Programs that one call of the compiler can make: of one stamp, with different names.
    fn groups(&self) -> Result<Vec<Group<'_>>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for program in &self.programs {
            let linker_flags = self.linker_flags(program)?;
            let name = executable_name(program);
            let fits = |group: &&mut Group<'_>| {
                group.linker_flags == linker_flags && !group.programs.contains_key(name)
            };
            match groups.iter_mut().find(fits) {
                Some(group) => drop(group.programs.insert(name, program)),
                None => {
                    groups.push(Group {
                        linker_flags,
                        programs: BTreeMap::from([(name, program.as_str())]),
                    });
                }
            }
        }
        Ok(groups)
    }

    fn linker_flags(&self, program: &str) -> Result<String> {
        let mut flags = LINKER_FLAGS.to_owned();
        for (variable, value) in &self.stamp {
            let value = if value.contains("{version}") {
                let version = self.gomod.version_of(program).ok_or_else(|| {
                    let message = format!("`{variable}` wants the version of `{program}`, which is code of the component itself and has none");
                    Error::new(Id::GoModule, message)
                })?;
                value.replace("{version}", version)
            } else {
                value.clone()
            };
            flags.push_str(" -X ");
            flags.push_str(&quoted(&format!("{variable}={value}")).ok_or_else(|| {
                let message = format!("the stamp `{variable}` holds both kinds of quotes");
                Error::new(Id::GoModule, message)
            })?);
        }
        Ok(flags)
    }

    fn no_tool(&self, program: &str) -> Error {
        let path = self.directory.join("go.mod");
        let message = format!("`{}` has no `tool {program}` line", path.display());
        let near = self
            .gomod
            .tools
            .iter()
            .min_by_key(|tool| strsim::damerau_levenshtein(tool, program))
            .filter(|tool| strsim::normalized_damerau_levenshtein(tool, program) > 0.7);
        let error = Error::new(Id::GoModule, message);
        match near {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("run `go get -tool PACKAGE@VERSION` in its directory"),
        }
    }
}

struct Group<'a> {
    linker_flags: String,
    /// Import paths by the name of the executable.
    programs: BTreeMap<&'a str, &'a str>,
}

/// The name that `go build` gives the executable of a package: the last part of its import path
/// that is not a major version.
fn executable_name(package: &str) -> &str {
    let (rest, last) = package.rsplit_once('/').unwrap_or(("", package));
    let major = last.strip_prefix('v').is_some_and(|number| {
        number != "1" && !number.starts_with('0') && number.parse::<u64>().is_ok()
    });
    if major && !rest.is_empty() {
        rest.rsplit_once('/').map_or(rest, |(_, name)| name)
    } else {
        last
    }
}

/// One word as Go's `-ldflags` splits it: in quotes of the kind that it does not hold.
fn quoted(word: &str) -> Option<String> {
    let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '"';
    if word.chars().all(plain) {
        return Some(word.to_owned());
    }
    let quote = ['\'', '"'].into_iter().find(|quote| !word.contains(*quote))?;
    Some(format!("{quote}{word}{quote}"))
}

#[cfg(test)]
mod tests;
