//! What a person wrote, read into types that cannot be wrong.
//!
//! A recipe is TOML: one file, the files it `extends`, and the profile that was chosen, merged
//! ([`merge`]) and then read into [`Recipe`] by a deserializer of our own ([`typed`]), because the
//! merged value of a key may stand in any of the files and every error names its line. See
//! `docs/recipe.md`.

mod chain;
mod check;
mod merge;
pub mod model;
mod path;
mod problem;
mod show;
mod typed;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use chain::{Assembled, Chain};
use formats::digest::Sha256;
use model::Budget;
pub use model::Recipe;
use problem::{Place, Problem, Sources, report};
use value::{Kind, Value};

use crate::error::{Error, Id, Result};

/// The name of a project's recipe.
pub const FILE_NAME: &str = "recipe.toml";

/// A recipe that was read, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The recipe, after `extends` and profile; paths are absolute.
    pub recipe: Recipe,
    /// The recipe's file, as the user named it.
    pub path: PathBuf,
    /// All files that were read: the recipe, its parent, and so on.
    pub files: Vec<PathBuf>,
    /// The profile that was chosen.
    pub profile: Option<String>,
    /// The profiles that could be chosen.
    pub profiles: BTreeSet<String>,
    /// Where each value was written.
    pub origins: Origins,
    /// What is not wrong and has no effect, ready to be shown.
    pub warnings: Vec<String>,
    /// The same recipe without the chosen profile, if it can stand without one.
    pub plain: Option<Recipe>,
}

/// Reads the recipe at `path` (a file, or a directory with a `recipe.toml`), what it extends, and
/// lays the profile over it.
///
/// # Errors
/// `E0301` to `E0309`; the message shows the line that is wrong.
pub fn load(path: &Path, profile: Option<&str>) -> Result<Loaded> {
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let chain = Chain::read(&path)?;
    let assembled = chain.assemble(profile)?;
    let plain = profile.and_then(|_| chain.assemble(None).ok()).map(|plain| plain.recipe);
    Ok(Loaded {
        plain,
        path,
        files: chain.sources.0.iter().map(|file| file.path.clone()).collect(),
        profile: profile.map(str::to_owned),
        profiles: chain.profiles().map(str::to_owned).collect(),
        warnings: assembled
            .warnings
            .iter()
            .map(|warning| warning.full_text(&chain.sources))
            .collect(),
        recipe: assembled.recipe,
        origins: Origins { tree: assembled.tree, sources: chain.sources },
    })
}

impl Loaded {
    /// Checks what can be checked without network and without building.
    ///
    /// # Errors
    /// `E0308` with everything that was found.
    pub fn check(&self) -> Result<()> {
        check::check(self)
    }

    /// Checks the budget alone: what else is wrong is nothing to who asks what is left of it.
    ///
    /// # Errors
    /// `E0308`.
    pub fn check_budget(&self) -> Result<()> {
        match check::budget(&self.recipe.budget, &self.origins) {
            None => Ok(()),
            Some(problem) => Err(report(&[problem], &self.origins.sources)),
        }
    }

    /// The budgets of all profiles, and of the recipe without one, by the name of the profile; each is
    /// checked. The files are read again.
    ///
    /// # Errors
    /// Those of reading them; `E0302`, `E0303` and `E0308` for what is wrong with a budget.
    pub fn budgets(&self) -> Result<Vec<(Option<String>, Budget)>> {
        let chain = Chain::read(&self.path)?;
        let names = chain.profiles().map(|name| Some(name.to_owned()));
        let read = |name: Option<String>| {
            let Assembled { recipe, tree, .. } = chain.budget(name.as_deref())?;
            let origins = Origins { tree, sources: chain.sources.clone() };
            match check::budget(&recipe.budget, &origins) {
                None => Ok((name, recipe.budget)),
                Some(problem) => Err(report(&[problem], &origins.sources)),
            }
        };
        [None].into_iter().chain(names).map(read).collect()
    }

    /// Checks that an image can be made for the recipe's architecture.
    ///
    /// # Errors
    /// [`Id::UnsupportedArchitecture`](crate::error::Id::UnsupportedArchitecture).
    pub fn check_architecture(&self) -> Result<()> {
        check::check_architecture(self)
    }

    /// The merged recipe as TOML, defaults included, each value with the place it came from.
    pub fn show(&self) -> String {
        show::show(self)
    }

    /// For each value of the merged recipe, by its keys, where it was written: `FILE:LINE`, or
    /// `default`.
    pub fn value_origins(&self) -> std::collections::BTreeMap<String, String> {
        show::origins(self)
    }

    /// What the merged recipe hashes to: the same in any directory, whatever the comments, the
    /// spelling and the distribution over files. Paths count as they were written.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.origins.tree.to_json().to_string())
    }
}

/// Where each value of a recipe was written.
#[derive(Debug, Clone)]
pub struct Origins {
    tree: Value,
    sources: Sources,
}

/// A line of a recipe file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Origins {
    /// A failure that the value at `keys` is the cause of, shown where that was written.
    pub fn wrong(&self, keys: &[&str], id: Id, message: impl Into<String>) -> Error {
        let place = self.nearest(keys);
        report(&[Problem::new(id, message).at(place)], &self.sources)
    }

    /// Where the value of a key was written, such as `["kernel", "package"]`; nothing if it was
    /// not written at all and is a default.
    pub fn of(&self, keys: &[&str]) -> Option<Origin> {
        let value = self.value(keys)?;
        let line = self.sources.line(&value.place)?;
        Some(Origin { file: self.sources.file(&value.place).path.clone(), line })
    }

    fn value(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().try_fold(&self.tree, |value, key| match &value.kind {
            Kind::Table(table) => Some(&table.get(*key)?.value),
            _ => None,
        })
    }

    /// Where the last of `keys` stands itself.
    fn key(&self, keys: &[&str]) -> Option<&Place> {
        let (last, table) = keys.split_last()?;
        match &self.value(table)?.kind {
            Kind::Table(table) => Some(&table.get(*last)?.key),
            _ => None,
        }
    }

    /// An item of the list at `keys`, by its text.
    fn item(&self, keys: &[&str], item: &str) -> Option<&Value> {
        match &self.value(keys)?.kind {
            Kind::List(items) => items.iter().find(|value| value.as_str() == Some(item)),
            _ => None,
        }
    }

    /// The deepest of `keys` that was written; the recipe's file if none was.
    fn nearest(&self, keys: &[&str]) -> &Place {
        let written = (0..=keys.len()).rev().find_map(|depth| self.value(&keys[..depth]));
        &written.unwrap_or(&self.tree).place
    }
}

#[cfg(test)]
mod tests;
