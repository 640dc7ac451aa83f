//! All packages of all suites, as the resolver looks at them.

use std::collections::BTreeMap;

use formats::deb::{Alternative, Version, parse_dependencies};

use super::index::Record;
use crate::error::{Context as _, Error, Id, Result};

/// How many names an error suggests.
const SUGGESTIONS: usize = 3;

/// All packages of all suites: of each name the highest version.
#[derive(Debug)]
pub struct Archive {
    records: BTreeMap<String, Record>,
    // By virtual name: who provides it, and as which version.
    providers: BTreeMap<String, BTreeMap<String, Option<Version>>>,
}

impl Archive {
    /// Of two records with one name and version the first is taken.
    ///
    /// # Errors
    /// [`Id::BadArchiveData`] if a `Provides` cannot be understood.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Result<Self> {
        let mut highest: BTreeMap<String, Record> = BTreeMap::new();
        for record in records {
            match highest.get_mut(&record.name) {
                Some(other) if other.version >= record.version => {}
                Some(other) => *other = record,
                None => drop(highest.insert(record.name.clone(), record)),
            }
        }
        let mut providers: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for record in highest.values().filter(|record| !record.provides.is_empty()) {
            let provided = parse_dependencies(&record.provides)
                .or_fail(Id::BadArchiveData, || {
                    format!("cannot understand what package `{}` provides", record.name)
                })?;
            for alternative in provided.into_iter().flat_map(|part| part.alternatives) {
                let version = alternative.constraint.map(|constraint| constraint.version);
                let by_name = providers.entry(alternative.name).or_default();
                by_name.insert(record.name.clone(), version);
            }
        }
        Ok(Self { records: highest, providers })
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The package of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Packages that satisfy `wanted`, the one of that name first.
    pub(super) fn candidates<'a, 'b>(
        &'a self,
        wanted: &'b Alternative,
    ) -> impl Iterator<Item = &'a Record> + use<'a, 'b> {
        let allows = |version: Option<&Version>| match (&wanted.constraint, version) {
            (None, _) => true,
            (Some(constraint), Some(version)) => constraint.allows(version),
            // Policy 7.5: what is provided without a version satisfies no bound.
            (Some(_), None) => false,
        };
        let own =
            self.records.get(&wanted.name).filter(move |record| allows(Some(&record.version)));
        let provided = self.providers.get(&wanted.name).into_iter().flatten();
        let provided = provided.filter(move |(_, version)| allows(version.as_ref()));
        own.into_iter().chain(provided.filter_map(|(name, _)| self.records.get(name)))
    }

    /// Why nothing satisfies `wanted`.
    pub(super) fn lack(&self, wanted: &Alternative) -> String {
        let name = &wanted.name;
        if let Some(record) = self.records.get(name) {
            return format!("only {} is available", record.version);
        }
        match self.providers.get(name).map(|by_name| by_name.keys().cloned().collect::<Vec<_>>()) {
            Some(names) => format!("`{}` provides it in no such version", names.join("`, `")),
            None => "no suite has it".to_owned(),
        }
    }

    /// The package that the recipe names.
    pub(super) fn named(&self, name: &str) -> Result<&Record> {
        if let Some(record) = self.records.get(name) {
            return Ok(record);
        }
        let error = Error::new(Id::UnknownPackage, format!("no suite has a package `{name}`"));
        if let Some(by_name) = self.providers.get(name) {
            let names: Vec<_> = by_name.keys().map(|name| format!("`{name}`")).collect();
            return Err(error.hint(format!("it is virtual: name one of {}", names.join(", "))));
        }
        let mut near: Vec<_> = self
            .records
            .keys()
            .map(|other| (strsim::jaro_winkler(name, other), other))
            .filter(|(likeness, _)| *likeness > 0.85)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let near: Vec<_> =
            near.iter().take(SUGGESTIONS).map(|(_, name)| format!("`{name}`")).collect();
        Err(if near.is_empty() {
            error.hint("look whether its suite and component are in the recipe")
        } else {
            error.hint(format!("did you mean {}?", near.join(" or ")))
        })
    }
}
