//! Reading a recipe file and those it extends, and putting them together.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use formats::near::near;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::merge::Merge;
use super::model::{Budget, Name, Recipe};
use super::path::normal;
use super::problem::{File, Place, Problem, Sources, report};
use super::typed;
use super::value::{Entry, Kind, Table, Value};
use crate::error::{Error, Id, Result};
use crate::lock;

/// Reads a file of a recipe. The library's words for what is not UTF-8 speak of a stream.
fn read_text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => io::Error::new(error.kind(), "it is not text in UTF-8"),
        _ => error,
    })
}

/// A recipe file and all it extends, parsed.
#[derive(Debug)]
pub(super) struct Chain {
    /// The recipe first, then its parent, and so on.
    pub(super) sources: Sources,
    /// What each file says, without `extends` and `profile`; the recipe first.
    layers: Vec<Table>,
    /// Overlays by name of the profile; the recipe's own first.
    profiles: BTreeMap<String, Vec<Table>>,
}

/// A chain put together.
#[derive(Debug)]
pub(super) struct Assembled<T = Recipe> {
    pub(super) recipe: T,
    pub(super) tree: Value,
    pub(super) warnings: Vec<Problem>,
}

/// A recipe of which nothing but the budget is read.
#[derive(Debug, Deserialize)]
pub(super) struct OnlyBudget {
    #[serde(default)]
    pub(super) budget: Budget,
}

impl Chain {
    /// Reads `path` and what it extends.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut chain =
            Self { sources: Sources::default(), layers: Vec::new(), profiles: BTreeMap::new() };
        let text = read_text(path).map_err(|error| {
            let message = format!("cannot read the recipe `{}`", path.display());
            let cure = match error.kind() {
                ErrorKind::InvalidData => "save it as UTF-8",
                _ => "name a recipe file, or make a project with `orlop init DIR`",
            };
            Error::new(Id::RecipeNotFound, message).caused_by(error).hint(cure)
        })?;
        let mut seen = Vec::new();
        let mut next = Some((path.to_owned(), text));
        while let Some((path, text)) = next {
            seen.push(identity(&path));
            let directory = identity(path.parent().unwrap_or(Path::new("")));
            chain.sources.0.push(File { path, directory, text });
            next = match chain.take_file() {
                Ok(None) => None,
                Ok(Some((parent, place))) => {
                    if let Some(first) = seen.iter().position(|file| *file == identity(&parent)) {
                        let problem = chain.cycle(first, &place);
                        return Err(report(&[problem], &chain.sources));
                    }
                    let text = read_text(&parent).map_err(|error| {
                        let parent = parent.display().to_string();
                        let message = format!("cannot read what it extends, `{parent}`: {error}");
                        let mut problem = Problem::new(Id::RecipeExtends, message).at(&place);
                        if parent.contains(['~', '$']) {
                            let cure = "write the path itself: no `~` and no variable is replaced";
                            problem = problem.hint(cure);
                        }
                        report(&[problem], &chain.sources)
                    })?;
                    Some((parent, text))
                }
                Err(problem) => return Err(report(&[problem], &chain.sources)),
            };
        }
        Ok(chain)
    }

    /// The names of all profiles.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Merges the files, then the profile's overlays, and reads the result.
    pub(super) fn assemble(&self, profile: Option<&str>) -> Result<Assembled> {
        self.merged(profile, |_| true)
    }

    /// The same of the budget alone, whatever else is wrong.
    pub(super) fn budget(&self, profile: Option<&str>) -> Result<Assembled<OnlyBudget>> {
        self.merged(profile, |key| key == "budget")
    }

    fn merged<T: DeserializeOwned>(
        &self,
        profile: Option<&str>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Assembled<T>> {
        let overlays = match profile {
            None => &[][..],
            Some(name) => self.profiles.get(name).ok_or_else(|| self.unknown_profile(name))?,
        };
        let mut merge = Merge::new(&self.sources);
        let mut table = Table::new();
        for layer in self.layers.iter().rev().chain(overlays.iter().rev()) {
            let mut layer = layer.clone();
            layer.retain(|key, _| wanted(key));
            merge.tables(&mut table, layer, "");
        }
        let Merge { problems, warnings, .. } = merge;
        if !problems.is_empty() {
            return Err(report(&problems, &self.sources));
        }
        let tree = Value { kind: Kind::Table(table), place: Place { file: 0, span: None } };
        let recipe =
            typed::read(&tree, &self.sources).map_err(|all| report(&all, &self.sources))?;
        Ok(Assembled { recipe, tree, warnings })
    }

    /// Parses the file that was added last and gives what it extends.
    fn take_file(&mut self) -> Result<Option<(PathBuf, Place)>, Problem> {
        let file = self.sources.0.len() - 1;
        let File { path, text, .. } = &self.sources.0[file];
        let value = Value::parse(text, file)?;
        let whole = value.place;
        let Kind::Table(mut table) = value.kind else { unreachable!("a file is a table") };
        check_schema(&table, &whole)?;
        let extends =
            table.remove("extends").map(|entry| read_extends(&entry, path)).transpose()?;
        // Limits are those of the image that sets them: what extends it is another one.
        let is_extended = file > 0;
        if is_extended {
            table.remove("budget");
        }
        if let Some(entry) = table.remove("profile") {
            for (name, mut overlay) in read_profiles(entry)? {
                if is_extended {
                    overlay.remove("budget");
                }
                self.profiles.entry(name).or_default().push(overlay);
            }
        }
        self.layers.push(table);
        Ok(extends)
    }

    fn cycle(&self, first: usize, place: &Place) -> Problem {
        let files = &self.sources.0[first..];
        let circle = files.iter().chain(files.first());
        let circle: Vec<_> = circle.map(|file| format!("`{}`", file.path.display())).collect();
        let message = format!("a recipe extends itself: {}", circle.join(" extends "));
        Problem::new(Id::RecipeExtends, message).at(place)
    }

    fn unknown_profile(&self, name: &str) -> Error {
        let path = self.sources.0[0].path.display();
        let error = Error::new(
            Id::RecipeProfile,
            format!("`{path}` and what it extends have no profile `{name}`"),
        );
        if self.profiles.is_empty() {
            return error.hint("there are no profiles: leave out `-p`");
        }
        if let Some(meant) = near(name, self.profiles()) {
            return error.hint(format!("did you mean `{meant}`?"));
        }
        let known: Vec<_> = self.profiles().map(|name| format!("`{name}`")).collect();
        error.hint(format!("the profiles are {}", known.join(", ")))
    }
}

/// Every file says which schema it is of, so that an old `orlop` says "too old" and not something
/// about a key it has never heard of.
fn check_schema(table: &Table, whole: &Place) -> Result<(), Problem> {
    match table.get("schema").map(|entry| &entry.value) {
        Some(Value { kind: Kind::Integer(1), .. }) => Ok(()),
        Some(Value { kind: Kind::Integer(number), place }) => {
            let message = format!("schema {number} is not known to this version of `orlop`");
            Err(Problem::new(Id::RecipeValue, message).at(place).hint("it knows schema 1"))
        }
        Some(other) => {
            let message = format!("`schema` must be a whole number, not {}", other.kind_name());
            Err(Problem::new(Id::RecipeValue, message).at(&other.place))
        }
        None => Err(Problem::new(Id::RecipeMissingKey, "the file must have the key `schema`")
            .at(whole)
            .hint("write `schema = 1` as its first line")),
    }
}

fn read_extends(entry: &Entry, path: &Path) -> Result<(PathBuf, Place), Problem> {
    match entry.value.as_str() {
        Some(parent) if !parent.is_empty() => {
            let directory = path.parent().unwrap_or(Path::new(""));
            Ok((tidy(directory.join(parent)), entry.value.place.clone()))
        }
        _ => Err(Problem::new(Id::RecipeExtends, "`extends` must be the path of one recipe file")
            .at(&entry.value.place)),
    }
}

fn read_profiles(entry: Entry) -> Result<Vec<(String, Table)>, Problem> {
    let Kind::Table(profiles) = entry.value.kind else {
        return Err(Problem::new(Id::RecipeProfile, "`profile` must be a table of profiles")
            .at(&entry.value.place)
            .hint("write `[profile.NAME]`"));
    };
    let read = |(name, entry): (String, Entry)| {
        let name = Name::try_from(name)
            .map_err(|message| Problem::new(Id::RecipeProfile, message).at(&entry.key))?;
        if lock::NOT_A_PROFILE.contains(&name.as_str()) {
            let message = format!("a profile cannot be called `{name}`");
            return Err(Problem::new(Id::RecipeProfile, message)
                .at(&entry.key)
                .hint("locks of other recipes have names that end so"));
        }
        let Kind::Table(table) = entry.value.kind else {
            return Err(Problem::new(
                Id::RecipeProfile,
                format!("profile `{name}` must be a table"),
            )
            .at(&entry.value.place));
        };
        for key in ["schema", "extends", "profile"] {
            if let Some(entry) = table.get(key) {
                let message = format!("a profile cannot have the key `{key}`");
                return Err(Problem::new(Id::RecipeProfile, message).at(&entry.key));
            }
        }
        Ok((name.as_str().to_owned(), table))
    };
    profiles.into_iter().map(read).collect()
}

/// The path by which two names of one file are found to be the same.
fn identity(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// The path as a person would write it: without `.` and `..`, if that is the same file.
fn tidy(path: PathBuf) -> PathBuf {
    let normal = normal(&path);
    if identity(&normal) == identity(&path) { normal } else { path }
}
