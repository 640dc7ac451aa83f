//! Which packages cannot be in one root: `Conflicts` and `Breaks` (Debian policy 7.3, 7.4).
//!
//! Both are read alike, for a root holds all of its packages or none: that a package which breaks
//! another may be unpacked beside it for a while is of use to dpkg only. `Replaces` is not looked
//! at: it says who may overwrite a file, and cures neither.

use std::collections::BTreeMap;

use formats::architecture::Architecture;
use formats::deb::{Alternative, parse_dependencies};

use super::super::index::Record;
use crate::error::{Context as _, Error, Id, Result};

/// What each of the packages chosen so far says that it cannot be beside, and what it is called.
#[derive(Debug)]
pub(super) struct Exclusions<'a> {
    architecture: Architecture,
    // By the name of the one that is refused, real or virtual.
    refusals: BTreeMap<String, Vec<Refusal<'a>>>,
    called: BTreeMap<String, Vec<&'a Record>>,
}

/// A relation of a field, with whose it is.
#[derive(Debug, Clone)]
struct Refusal<'a> {
    of: &'a Record,
    field: Field,
    relation: Alternative,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Conflicts,
    Breaks,
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
        }
    }
}

/// Two packages that cannot be in one root.
#[derive(Debug, Clone)]
pub(super) struct Conflict<'a> {
    /// Who says so.
    pub(super) by: &'a Record,
    /// Whom it does not bear.
    pub(super) with: &'a Record,
    field: Field,
    relation: Alternative,
}

impl<'a> Exclusions<'a> {
    /// Nothing is chosen.
    pub(super) fn new(architecture: Architecture) -> Self {
        Self { architecture, refusals: BTreeMap::new(), called: BTreeMap::new() }
    }

    /// What would come of a package beside those that were added.
    ///
    /// # Errors
    /// [`Id::BadArchiveData`] if a field cannot be understood.
    pub(super) fn conflicts(&self, record: &'a Record) -> Result<Vec<Conflict<'a>>> {
        let mut found = Vec::new();
        for refusal in refusals(record, self.architecture)? {
            let named = self.called.get(&refusal.relation.name).into_iter().flatten();
            found.extend(named.filter_map(|with| refusal.meets(with, self.architecture)));
        }
        for name in names(record)? {
            let meant = self.refusals.get(&name).into_iter().flatten();
            found.extend(meant.filter_map(|refusal| refusal.meets(record, self.architecture)));
        }
        Ok(found)
    }

    /// Adds a package.
    ///
    /// # Errors
    /// Those of [`Exclusions::conflicts`].
    pub(super) fn add(&mut self, record: &'a Record) -> Result<()> {
        for refusal in refusals(record, self.architecture)? {
            self.refusals.entry(refusal.relation.name.clone()).or_default().push(refusal);
        }
        for name in names(record)? {
            self.called.entry(name).or_default().push(record);
        }
        Ok(())
    }
}

impl<'a> Refusal<'a> {
    /// Whether it means a package that has the relation's name, as its own or as one it provides.
    fn meets(&self, with: &'a Record, architecture: Architecture) -> Option<Conflict<'a>> {
        // So a package says that there may be but one of a kind: it provides what it refuses.
        if with.name == self.of.name || !self.relation.may_come_from(architecture.debian()) {
            return None;
        }
        let itself = with.name == self.relation.name && self.relation.allows(Some(&with.version));
        // `names` has understood it.
        let provided = parse_dependencies(&with.provides).unwrap_or_default();
        let provided = provided.iter().flat_map(|part| &part.alternatives).any(|provided| {
            let version = provided.constraint.as_ref().map(|constraint| &constraint.version);
            provided.name == self.relation.name && self.relation.allows(version)
        });
        let Self { of: by, field, relation } = self.clone();
        (itself || provided).then_some(Conflict { by, with, field, relation })
    }
}

/// What a package refuses, of what is meant for `architecture`.
fn refusals(record: &Record, architecture: Architecture) -> Result<Vec<Refusal<'_>>> {
    let mut all = Vec::new();
    for (field, text) in [(Field::Conflicts, &record.conflicts), (Field::Breaks, &record.breaks)] {
        let parts = parse_dependencies(text).or_fail(Id::BadArchiveData, || {
            format!("cannot understand `{}` of package `{}`", field.name(), record.name)
        })?;
        let relations = parts.into_iter().flat_map(|part| part.alternatives);
        let relations = relations.filter(|relation| relation.applies_to(architecture.debian()));
        all.extend(relations.map(|relation| Refusal { of: record, field, relation }));
    }
    Ok(all)
}

/// A package's own name and those that it provides, each once.
fn names(record: &Record) -> Result<Vec<String>> {
    let provided = parse_dependencies(&record.provides).or_fail(Id::BadArchiveData, || {
        format!("cannot understand what package `{}` provides", record.name)
    })?;
    let provided = provided.into_iter().flat_map(|part| part.alternatives);
    let mut names: Vec<_> = provided.map(|provided| provided.name).collect();
    names.push(record.name.clone());
    names.sort();
    names.dedup();
    Ok(names)
}

/// All of them, each with the ways from the recipe to both of its packages.
pub(super) fn error(conflicts: &[Conflict<'_>], way_to: impl Fn(&str) -> Vec<String>) -> Error {
    let lines = conflicts.iter().map(|conflict| {
        let Conflict { by, with, field, relation } = conflict;
        let provides = if with.name == relation.name {
            String::new()
        } else {
            format!(", which `{}` provides", with.name)
        };
        let ways = [by, with].map(|record| way_to(&record.name).join(" -> "));
        format!(
            "\n  `{}` {} and `{}` {}: `{}` has `{}: {relation}`{provides} ({})",
            by.name,
            by.version,
            with.name,
            with.version,
            by.name,
            field.name(),
            ways.join("; ")
        )
    });
    let lines: Vec<_> = lines.collect();
    let message = format!("packages cannot be in one root:{}", lines.concat());
    Error::new(Id::PackagesConflict, message)
        .hint(
            "leave one of them out: do not name it in `packages`, or add it to `[debian.exclude]` \
             with the reason",
        )
        .hint("of another suite or version they may go together: `NAME/SUITE`, `NAME=VERSION`")
}
