//! All packages of all suites, as the resolver looks at them.

use std::collections::BTreeMap;

use formats::architecture::Architecture;
use formats::deb::wish::{Pin, Wish};
use formats::deb::{Alternative, Release, Version, parse_dependencies};

use super::index::Record;
use crate::error::{Context as _, Error, Id, Result};

/// How many names an error suggests.
const SUGGESTIONS: usize = 3;

/// A suite, and what its release file says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What the recipe calls it: [`Record::suite`].
    pub suite: String,
    // Other names that a pin may call it.
    aliases: [String; 2],
    priority: Priority,
}

/// How apt ranks the packages of a suite that nothing pins (apt_preferences(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// 1, `NotAutomatic`: experimental.
    Never,
    /// 100, `ButAutomaticUpgrades` too: backports.
    Upgrades,
    /// 500.
    Normal,
}

impl Origin {
    /// The origin of what is in the suite that the recipe calls `suite`.
    pub fn new(suite: &str, release: &Release) -> Self {
        let priority = match (release.not_automatic, release.but_automatic_upgrades) {
            (_, true) => Priority::Upgrades,
            (true, false) => Priority::Never,
            (false, false) => Priority::Normal,
        };
        let aliases = [release.suite.clone(), release.codename.clone()];
        Self { suite: suite.to_owned(), aliases, priority }
    }

    fn is_called(&self, name: &str) -> bool {
        self.suite == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// All packages of all suites: of each name the candidate, as apt calls it, and apart from it what
/// a pin may choose instead.
#[derive(Debug)]
pub struct Archive {
    architecture: Architecture,
    origins: Vec<Origin>,
    records: BTreeMap<String, Record>,
    others: Vec<Record>,
    // By virtual name: who provides it, and as which version.
    providers: BTreeMap<String, BTreeMap<String, Option<Version>>>,
}

impl Archive {
    /// Of each name the record of the highest priority counts, then the highest version, then the
    /// first.
    ///
    /// # Errors
    /// [`Id::BadArchiveData`] if a `Provides` cannot be understood.
    pub fn new(
        architecture: Architecture,
        origins: Vec<Origin>,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self> {
        let mut candidates: BTreeMap<String, Record> = BTreeMap::new();
        let mut others = Vec::new();
        let priority = |record: &Record| {
            let origin = origins.iter().find(|origin| *origin.suite == *record.suite);
            origin.map_or(Priority::Normal, |origin| origin.priority)
        };
        for record in records {
            match candidates.get_mut(&record.name) {
                Some(other) => {
                    let better = priority(&record)
                        .cmp(&priority(other))
                        .then_with(|| record.version.cmp(&other.version));
                    let lesser =
                        if better.is_gt() { std::mem::replace(other, record) } else { record };
                    others.push(lesser);
                }
                None => drop(candidates.insert(record.name.clone(), record)),
            }
        }
        let mut archive = Self {
            architecture,
            origins,
            records: BTreeMap::new(),
            others,
            providers: BTreeMap::new(),
        };
        for record in candidates.values().filter(|record| !record.provides.is_empty()) {
            provide(&mut archive.providers, record)?;
        }
        archive.records = candidates;
        Ok(archive)
    }

    /// What the packages are for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Makes the pinned version the candidate.
    ///
    /// # Errors
    /// [`Id::UnknownPackage`] with the versions that there are.
    pub(super) fn pin(&mut self, wish: &Wish) -> Result<()> {
        let origins = &self.origins;
        let fits = |record: &Record| match &wish.pin {
            Pin::None => true,
            Pin::Version(version) => record.version == *version,
            Pin::Suite(name) => {
                let called = |origin: &&Origin| origin.is_called(name);
                origins.iter().filter(called).any(|origin| *origin.suite == *record.suite)
            }
        };
        self.named(&wish.name)?;
        if self.records.get(&wish.name).is_some_and(fits) {
            return Ok(());
        }
        let others = self.others.iter().enumerate();
        let others = others.filter(|(_, record)| record.name == wish.name && fits(record));
        // Of one version in two suites the first counts.
        let best = others.rev().max_by(|(_, a), (_, b)| a.version.cmp(&b.version));
        match best.map(|(index, _)| index) {
            Some(index) => self.take(index),
            None => Err(self.no_such(wish)),
        }
    }

    /// Makes one of the others the candidate.
    pub(super) fn take(&mut self, index: usize) -> Result<()> {
        let name = self.others[index].name.clone();
        for by_name in self.providers.values_mut() {
            by_name.remove(&name);
        }
        self.providers.retain(|_, by_name| !by_name.is_empty());
        if let Some(record) = self.records.get_mut(&name) {
            std::mem::swap(record, &mut self.others[index]);
            provide(&mut self.providers, record)?;
        }
        Ok(())
    }

    /// One of the others, of `suite`, that satisfies `wanted`.
    pub(super) fn other(&self, wanted: &Alternative, suite: &str) -> Option<(usize, &Record)> {
        self.others.iter().enumerate().find(|(_, record)| {
            record.name == wanted.name
                && *record.suite == *suite
                && wanted.allows(Some(&record.version))
        })
    }

    fn no_such(&self, wish: &Wish) -> Error {
        let name = &wish.name;
        let all = self.records.get(name).into_iter().chain(&self.others);
        let there: Vec<_> = all
            .filter(|record| record.name == *name)
            .map(|record| format!("{} ({})", record.version, record.suite))
            .collect();
        let message = match &wish.pin {
            Pin::Suite(suite) => format!("suite `{suite}` has no package `{name}`"),
            _ => format!("no suite has package `{name}` in the version of `{wish}`"),
        };
        let error = Error::new(Id::UnknownPackage, message);
        match &wish.pin {
            Pin::Suite(suite) if !self.origins.iter().any(|origin| origin.is_called(suite)) => {
                error.hint(format!("`{suite}` is none of `debian.suites`: add it there"))
            }
            _ => error.hint(format!("there are {}", there.join(", "))),
        }
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
        let name = wanted.may_come_from(self.architecture.debian()).then_some(&wanted.name);
        let own = name.and_then(|name| self.records.get(name));
        let own = own.filter(|record| wanted.allows(Some(&record.version)));
        let provided = name.and_then(|name| self.providers.get(name)).into_iter().flatten();
        let provided = provided.filter(|(_, version)| wanted.allows(version.as_ref()));
        own.into_iter().chain(provided.filter_map(|(name, _)| self.records.get(name)))
    }

    /// Why nothing satisfies `wanted`.
    pub(super) fn lack(&self, wanted: &Alternative) -> String {
        let name = &wanted.name;
        if let Some(other) = &wanted.qualifier
            && !wanted.may_come_from(self.architecture.debian())
        {
            return format!("images of {} have no packages of {other}", self.architecture);
        }
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

/// Notes what a record provides.
fn provide(
    providers: &mut BTreeMap<String, BTreeMap<String, Option<Version>>>,
    record: &Record,
) -> Result<()> {
    let provided = parse_dependencies(&record.provides).or_fail(Id::BadArchiveData, || {
        format!("cannot understand what package `{}` provides", record.name)
    })?;
    for alternative in provided.into_iter().flat_map(|part| part.alternatives) {
        let version = alternative.constraint.map(|constraint| constraint.version);
        providers.entry(alternative.name).or_default().insert(record.name.clone(), version);
    }
    Ok(())
}
