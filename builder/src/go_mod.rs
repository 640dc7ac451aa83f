//! Reads `go.mod`, strictly: what is not understood is an error, for it might shape the program.
//! What is accepted means what it means to Go; a test asks Go itself.
//! The format: <https://go.dev/ref/mod#go-mod-file>.

mod lex;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use lex::Token::{self, Quoted, Word};
use version::GoVersion;

/// What a component's `go.mod` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoMod {
    /// The path of the module itself.
    pub module: String,
    /// The oldest language version it accepts.
    pub go: String,
    /// The toolchain that builds it, such as `go1.26.11`: that of the `toolchain` line, or of the
    /// `go` line if that is newer or there is no other.
    pub toolchain: String,
    /// Versions of all modules that are needed, by path.
    pub require: BTreeMap<String, String>,
    /// Packages which are programs to build.
    pub tools: BTreeSet<String>,
}

/// Why a `go.mod` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoModError {
    /// A line that is not understood.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A directive that must be there is missing.
    #[error("there is no `{0}` line")]
    Missing(&'static str),
    /// No line says which toolchain builds it.
    #[error("no line pins the toolchain: `go {0}` is a language that many can build")]
    Unpinned(String),
    /// The toolchain could not build it.
    #[error("`toolchain {toolchain}` is older than `go {go}`")]
    TooOld {
        /// The toolchain line.
        toolchain: String,
        /// The `go` line, which does not name a toolchain either.
        go: String,
    },
}

impl GoMod {
    /// Reads the text of a `go.mod`.
    ///
    /// # Errors
    /// See [`GoModError`]. A `replace` by a directory is refused: what such a directory holds
    /// is not recorded anywhere.
    pub fn parse(text: &str) -> Result<Self, GoModError> {
        let mut reader = Reader::default();
        for (index, line) in text.split('\n').enumerate() {
            reader.line(line).map_err(|what| GoModError::Line { line: index + 1, what })?;
        }
        if let Some(block) = reader.block {
            let what = format!("the block of `{block}` does not end");
            return Err(GoModError::Line { line: text.lines().count(), what });
        }
        let go = reader.go.ok_or(GoModError::Missing("go"))?;
        Ok(Self {
            module: reader.module.ok_or(GoModError::Missing("module"))?,
            toolchain: toolchain(reader.toolchain, &go)?,
            go,
            require: reader.require,
            tools: reader.tools,
        })
    }

    /// The version of the module that holds this package; `None` if it is the component's own or
    /// nobody's.
    pub fn version_of(&self, package: &str) -> Option<&str> {
        let holds = |module: &str| {
            package
                .strip_prefix(module)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let required = self.require.iter().filter(|(module, _)| holds(module));
        let (module, version) = required.max_by_key(|(module, _)| module.len())?;
        let own = holds(&self.module) && self.module.len() > module.len();
        if own { None } else { Some(version) }
    }
}

impl GoModError {
    /// What to do about it, if it is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unpinned(_) | Self::TooOld { .. } => Some(
                "write an exact version into the `go` or the `toolchain` line, such as `go 1.26.11`",
            ),
            _ => None,
        }
    }
}

/// The newer of the two that are named exactly, which is how Go itself chooses: `go mod tidy`
/// takes a toolchain line away that says no more than the `go` line.
fn toolchain(named: Option<String>, go: &str) -> Result<String, GoModError> {
    let version = |text: &str| GoVersion::parse(text).filter(|version| version.is_exact());
    let newest = named.as_deref().and_then(|name| version(name.strip_prefix("go")?));
    let least = GoVersion::parse(go);
    match (named, newest) {
        (Some(named), Some(newest)) if Some(newest) >= least => Ok(named),
        (Some(toolchain), Some(_)) if version(go).is_none() => {
            Err(GoModError::TooOld { toolchain, go: go.to_owned() })
        }
        _ if version(go).is_some() => Ok(format!("go{go}")),
        _ => Err(GoModError::Unpinned(go.to_owned())),
    }
}

#[derive(Default)]
struct Reader {
    block: Option<String>,
    module: Option<String>,
    go: Option<String>,
    toolchain: Option<String>,
    require: BTreeMap<String, String>,
    tools: BTreeSet<String>,
}

const BLOCKS: [&str; 8] =
    ["module", "godebug", "require", "exclude", "replace", "retract", "tool", "ignore"];

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let tokens = lex::tokens(line)?;
        match (self.block.clone(), tokens.as_slice()) {
            (_, []) => Ok(()),
            (Some(_), [Word(")")]) => {
                self.block = None;
                Ok(())
            }
            (Some(_), [Word(")"), ..]) => Err("nothing may follow a `)`".to_owned()),
            (Some(block), tokens) => self.directive(&block, tokens),
            (None, [Word(name), Word("("), rest @ ..]) if matches!(rest, [] | [Word(")")]) => {
                if !BLOCKS.contains(name) {
                    return Err(format!("`{name}` cannot begin a block"));
                }
                self.block = rest.is_empty().then(|| (*name).to_owned());
                Ok(())
            }
            (None, [Word(name), tokens @ ..]) => self.directive(name, tokens),
            (None, [Quoted(name), ..]) => Err(format!("`\"{name}\"` cannot begin a line")),
        }
    }

    fn directive(&mut self, name: &str, tokens: &[Token<'_>]) -> Result<(), String> {
        match (name, tokens) {
            ("module", [path]) => once(&mut self.module, name, string(*path)?),
            ("go", [Word(version)]) => match GoVersion::parse(version) {
                Some(_) => once(&mut self.go, name, version),
                None => Err(format!("`{version}` is not a version of Go")),
            },
            ("toolchain", [Word(toolchain)]) => {
                let version = toolchain.strip_prefix("go").and_then(GoVersion::parse);
                if *toolchain != "default" && !version.is_some_and(GoVersion::is_exact) {
                    let form = "write an exact one, such as `go1.26.11`";
                    return Err(format!("`{toolchain}` is not a toolchain: {form}"));
                }
                once(&mut self.toolchain, name, toolchain)
            }
            ("require", [module, version]) => {
                let (module, version) = module_version(*module, *version)?;
                match self.require.insert(module.to_owned(), version.to_owned()) {
                    Some(other) if other != version => {
                        Err(format!("`{module}` is required at `{other}` and at `{version}`"))
                    }
                    _ => Ok(()),
                }
            }
            // Which versions are chosen stands in `require`; these only say how it came about.
            ("exclude", [module, version]) => module_version(*module, *version).map(drop),
            ("replace", [module, Word("=>"), new @ ..]) => {
                let module = string(*module)?;
                if !version::has_major(module) {
                    return Err(format!("`{module}` cannot be a module: no version fits its end"));
                }
                replacement(new)
            }
            ("replace", [module, version, Word("=>"), new @ ..]) => {
                module_version(*module, *version)?;
                replacement(new)
            }
            ("retract", [Word("["), low, Word(","), high, Word("]")]) => {
                whole(*low)?;
                whole(*high).map(drop)
            }
            ("retract", [version]) => whole(*version).map(drop),
            // Becomes part of the program, and of the key together with the whole file.
            ("godebug", [Word(setting)]) if setting.contains('=') => Ok(()),
            // Keeps directories out of patterns such as `./...`, and a build names its packages.
            ("ignore", [path]) => string(*path).map(drop),
            ("tool", [package]) => {
                self.tools.insert(string(*package)?.to_owned());
                Ok(())
            }
            _ => {
                let words: Vec<_> = tokens.iter().map(|token| token.text()).collect();
                Err(format!("`{name} {}` is not understood", words.join(" ")))
            }
        }
    }
}

/// What replaces a module: another one at a version, not a directory.
fn replacement(new: &[Token<'_>]) -> Result<(), String> {
    match new {
        [path] => {
            let path = string(*path)?;
            Err(format!("`{path}` is a directory: replace modules by versions only"))
        }
        [path, version] => {
            let path = string(*path)?;
            whole(*version)?;
            let windows = path.chars().nth(1) == Some(':');
            if path.starts_with(['.', '/', '\\']) || windows {
                return Err(format!("the directory `{path}` cannot have a version"));
            }
            Ok(())
        }
        _ => Err("what replaces a module is another one at a version".to_owned()),
    }
}

fn module_version<'a>(module: Token<'a>, version: Token<'a>) -> Result<(&'a str, &'a str), String> {
    let (module, version) = (string(module)?, whole(version)?);
    if !version::fits_path(module, version) {
        return Err(format!("`{module}` cannot have the version `{version}`"));
    }
    Ok((module, version))
}

fn whole(version: Token<'_>) -> Result<&str, String> {
    let version = string(version)?;
    if version::is_whole(version) {
        return Ok(version);
    }
    Err(format!("`{version}` is not a version such as `v1.2.3`"))
}

/// A path or a version, with or without quotes.
fn string(token: Token<'_>) -> Result<&str, String> {
    match token {
        Word("(" | ")" | "[" | "]" | "{" | "}" | "," | "=>") | Quoted("") => {
            Err(format!("`{}` stands where a name should", token.text()))
        }
        token => Ok(token.text()),
    }
}

fn once(place: &mut Option<String>, name: &str, value: &str) -> Result<(), String> {
    match place.replace(value.to_owned()) {
        Some(_) => Err(format!("there is a second `{name}` line")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
