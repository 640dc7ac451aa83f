//! Which packages the root needs: the closure of what the recipe names over `Pre-Depends` and
//! `Depends`. Pure: the same records and wishes give the same result.
//!
//! Within one snapshot of one release the candidate of each package is right, so there is nothing
//! to search: no version is ever taken back, but for what a pinned package needs of its suite.
//! Of a choice, what cannot be beside what is chosen already is taken last; that two packages
//! cannot be in one root is an error then ([`conflict`]). `Recommends` are not looked at; two
//! packages with one path are found when the tree is composed.

mod compilers;
mod conflict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use formats::architecture::Architecture;
use formats::deb::{Dependency, Pin, Wish, parse_dependencies};

use super::archive::Archive;
use super::index::Record;
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::model::{Package, Role};
use conflict::{Conflict, Exclusions};

pub use compilers::compilers;

/// In `required_by`: the recipe itself.
pub const RECIPE: &str = "recipe";

/// What the recipe asks for.
#[derive(Debug, Clone)]
pub struct Wishes<'a> {
    /// Packages of the root.
    pub packages: &'a BTreeSet<String>,
    /// Packages that are taken without their dependencies.
    pub tools: &'a BTreeSet<String>,
    /// The kernel's package or meta-package.
    pub kernel: &'a str,
    /// Packages that are left out, with the reason.
    pub exclude: &'a BTreeMap<String, String>,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Sorted by name.
    pub packages: Vec<Package>,
    /// What is worth a look.
    pub warnings: Vec<String>,
}

/// Closes the list of packages. Pins change which version of a package counts in `archive`.
///
/// # Errors
/// [`Id::UnknownPackage`], [`Id::ExcludedPackage`], [`Id::Unsatisfiable`], [`Id::PackagesConflict`],
/// [`Id::BadArchiveData`].
pub fn resolve(archive: &mut Archive, wishes: &Wishes<'_>) -> Result<Resolution> {
    let read = |text: &String| {
        text.parse::<Wish>().or_fail(Id::UnknownPackage, || "cannot understand what is asked for")
    };
    let packages = wishes.packages.iter().map(read).collect::<Result<Vec<_>>>()?;
    let tools = wishes.tools.iter().map(read).collect::<Result<Vec<_>>>()?;
    let kernel = read(&wishes.kernel.to_owned())?;
    let named = Named { packages, tools, kernel, exclude: wishes.exclude };
    for wish in named.all() {
        if let Some(reason) = wishes.exclude.get(&wish.name) {
            let message = format!("the recipe asks for package `{}` and excludes it", wish.name);
            return Err(Error::new(Id::ExcludedPackage, message)
                .hint(format!("`exclude` gives this reason: {reason}")));
        }
    }
    let mut pinned = BTreeSet::new();
    for wish in named.all().filter(|wish| wish.pin != Pin::None) {
        archive.pin(wish)?;
        pinned.insert(wish.name.clone());
    }
    let mut moved = Vec::new();
    loop {
        match close(archive, &named, &pinned)? {
            Closed::Whole(mut resolution) => {
                resolution.warnings.extend(moved);
                return Ok(resolution);
            }
            // As apt does: what was pinned may need more of its suite. Each package moves once.
            Closed::Move { index, name, suite, requirer } => {
                archive.take(index)?;
                moved.push(format!("`{name}` is taken from `{suite}` too: `{requirer}` needs it"));
                pinned.insert(name);
            }
        }
    }
}

/// What the recipe asks for, understood.
struct Named<'a> {
    packages: Vec<Wish>,
    tools: Vec<Wish>,
    kernel: Wish,
    exclude: &'a BTreeMap<String, String>,
}

impl Named<'_> {
    fn all(&self) -> impl Iterator<Item = &Wish> {
        self.packages.iter().chain(&self.tools).chain([&self.kernel])
    }
}

/// How far a try came.
enum Closed {
    Whole(Resolution),
    /// Not to the end: another version of this package must be taken first.
    Move {
        index: usize,
        name: String,
        suite: String,
        requirer: String,
    },
}

fn close(archive: &Archive, wishes: &Named<'_>, pinned: &BTreeSet<String>) -> Result<Closed> {
    let mut closure = Closure::new(archive, wishes.exclude, pinned);
    for wish in &wishes.packages {
        closure.choose(archive.named(&wish.name)?, RECIPE)?;
    }
    if let Some((requirer, index, other)) = closure.settle_all()? {
        let (name, suite) = (other.name.clone(), other.suite.to_string());
        return Ok(Closed::Move { index, name, suite, requirer: requirer.to_owned() });
    }
    let mut packages = closure.packages(Role::Root);
    let kernel = kernel(archive, &wishes.kernel.name)?;
    closure.must_agree(&kernel)?;
    for (record, requirer) in kernel {
        let package = packages.entry(record.name.clone());
        let package = package.or_insert_with(|| locked(record, Role::Kernel, BTreeSet::new()));
        package.role = Role::Kernel;
        package.required_by.insert(requirer);
    }
    // Tools do not come into the root: they may be beside anything.
    for wish in &wishes.tools {
        let record = archive.named(&wish.name)?;
        let package = packages.entry(wish.name.clone());
        let package = package.or_insert_with(|| locked(record, Role::Tool, BTreeSet::new()));
        package.required_by.insert(RECIPE.to_owned());
    }
    let mut warnings = closure.warnings;
    for name in wishes.exclude.keys().filter(|name| !closure.cut.contains(name.as_str())) {
        warnings.push(format!("`exclude` names `{name}`, but nothing that is taken needs it"));
    }
    Ok(Closed::Whole(Resolution { packages: packages.into_values().collect(), warnings }))
}

fn locked(record: &Record, role: Role, required_by: BTreeSet<String>) -> Package {
    Package {
        name: record.name.clone(),
        version: record.version.to_string(),
        architecture: record.architecture.clone(),
        source: record.source.clone(),
        suite: record.suite.to_string(),
        path: record.path.clone(),
        blob: record.blob,
        role,
        required_by,
    }
}

/// The kernel's real packages, each with who requires it.
///
/// A meta-package holds nothing but documentation: it is followed and not taken. Nor is what a
/// kernel depends on (kmod, linux-base, initramfs-tools): its maintainer scripts need that, and we
/// run none. But later kernels keep their modules in packages of their own: these come along.
fn kernel<'a>(archive: &'a Archive, name: &str) -> Result<Vec<(&'a Record, String)>> {
    let mut record = archive.named(name)?;
    let mut requirer = RECIPE.to_owned();
    let mut chain = vec![RECIPE.to_owned(), record.name.clone()];
    // A meta-package of a meta-package occurs; more would be a circle.
    for _ in 0..4 {
        let Some(next) = dependency_on(archive, record, "linux-image-", &chain)? else { break };
        requirer.clone_from(&record.name);
        record = next;
        chain.push(record.name.clone());
    }
    let mut all = vec![(record, requirer)];
    while let Some(modules) = dependency_on(archive, record, "linux-modules-", &chain)?
        && all.iter().all(|(known, _)| known.name != modules.name)
    {
        all.push((modules, record.name.clone()));
        record = modules;
    }
    Ok(all)
}

/// The package whose name begins so and on which `record` depends, if there is one.
fn dependency_on<'a>(
    archive: &'a Archive,
    record: &Record,
    prefix: &str,
    chain: &[String],
) -> Result<Option<&'a Record>> {
    for part in dependencies(record, archive.architecture())? {
        let Some(wanted) = part.alternatives.iter().find(|wanted| wanted.name.starts_with(prefix))
        else {
            continue;
        };
        let own = archive.get(&wanted.name).filter(|found| wanted.allows(Some(&found.version)));
        return own.map(Some).ok_or_else(|| unsatisfiable(archive, chain, &part));
    }
    Ok(None)
}

fn dependencies(record: &Record, architecture: Architecture) -> Result<Vec<Dependency>> {
    let mut parts = parse_dependencies(&record.depends).or_fail(Id::BadArchiveData, || {
        format!("cannot understand what package `{}` depends on", record.name)
    })?;
    for part in &mut parts {
        part.alternatives.retain(|alternative| alternative.applies_to(architecture.debian()));
    }
    // A part of which nothing is meant for us asks for nothing.
    parts.retain(|part| !part.alternatives.is_empty());
    Ok(parts)
}

fn unsatisfiable(archive: &Archive, chain: &[String], part: &Dependency) -> Error {
    let lacks: Vec<_> = match part.alternatives.as_slice() {
        [only] => vec![archive.lack(only)],
        several => several.iter().map(|one| format!("`{one}`: {}", archive.lack(one))).collect(),
    };
    let chain = chain.join(" -> ");
    let message =
        format!("cannot close the list of packages: {chain} -> {part}: {}", lacks.join("; "));
    Error::new(Id::Unsatisfiable, message)
        .hint("add the suite that has it, or leave it out with `exclude`")
}

struct Closure<'a> {
    archive: &'a Archive,
    exclude: &'a BTreeMap<String, String>,
    // Packages whose version was chosen by a pin, or for one that was.
    pinned: &'a BTreeSet<String>,
    chosen: BTreeMap<&'a str, Chosen<'a>>,
    // What asks for one package only, and what leaves a choice: the second comes later, when it
    // is likely that one of its alternatives was chosen for another reason.
    plain: VecDeque<(&'a str, Dependency)>,
    open: VecDeque<(&'a str, Dependency)>,
    cut: BTreeSet<&'a str>,
    exclusions: Exclusions<'a>,
    conflicts: Vec<Conflict<'a>>,
    warnings: Vec<String>,
}

struct Chosen<'a> {
    record: &'a Record,
    // Who asked first: the way back to the recipe.
    first: &'a str,
    required_by: BTreeSet<String>,
}

/// What becomes of a dependency.
enum Settled<'a> {
    Take(&'a Record),
    Cut(&'a str),
    Lack,
}

impl<'a> Closure<'a> {
    fn new(
        archive: &'a Archive,
        exclude: &'a BTreeMap<String, String>,
        pinned: &'a BTreeSet<String>,
    ) -> Self {
        Self {
            archive,
            exclude,
            pinned,
            chosen: BTreeMap::new(),
            plain: VecDeque::new(),
            open: VecDeque::new(),
            cut: BTreeSet::new(),
            exclusions: Exclusions::new(archive.architecture()),
            conflicts: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn choose(&mut self, record: &'a Record, requirer: &'a str) -> Result<()> {
        if let Some(chosen) = self.chosen.get_mut(record.name.as_str()) {
            chosen.required_by.insert(requirer.to_owned());
            return Ok(());
        }
        self.conflicts.extend(self.exclusions.conflicts(record)?);
        self.exclusions.add(record)?;
        let required_by = BTreeSet::from([requirer.to_owned()]);
        self.chosen.insert(&record.name, Chosen { record, first: requirer, required_by });
        for part in dependencies(record, self.archive.architecture())? {
            let plain = part.alternatives.len() == 1
                && self.archive.get(&part.alternatives[0].name).is_some();
            let queue = if plain { &mut self.plain } else { &mut self.open };
            queue.push_back((&record.name, part));
        }
        Ok(())
    }

    /// Settles all, or stops where another version of a package would do that is not the candidate.
    fn settle_all(&mut self) -> Result<Option<(&'a str, usize, &'a Record)>> {
        while let Some((requirer, part)) = self.plain.pop_front().or_else(|| self.open.pop_front())
        {
            match self.settle(requirer, &part)? {
                Settled::Take(record) => self.choose(record, requirer)?,
                Settled::Cut(name) => drop(self.cut.insert(name)),
                Settled::Lack => {
                    if let Some((index, other)) = self.of_same_suite(requirer, &part) {
                        return Ok(Some((requirer, index, other)));
                    }
                    return Err(unsatisfiable(self.archive, &self.way_to(requirer), &part));
                }
            }
        }
        Ok(None)
    }

    /// That all of what was chosen, and the kernel, may be in one root.
    fn must_agree(&mut self, kernel: &[(&'a Record, String)]) -> Result<()> {
        for (record, _) in kernel {
            if !self.chosen.contains_key(record.name.as_str()) {
                self.conflicts.extend(self.exclusions.conflicts(record)?);
                self.exclusions.add(record)?;
            }
        }
        if self.conflicts.is_empty() {
            return Ok(());
        }
        Err(conflict::error(&self.conflicts, |name| {
            let of_kernel = kernel.iter().find(|(record, _)| record.name == name);
            match of_kernel.filter(|_| !self.chosen.contains_key(name)) {
                Some((_, requirer)) if requirer == RECIPE => vec![RECIPE.into(), name.into()],
                Some((_, meta)) => vec![RECIPE.into(), meta.clone(), name.into()],
                None => self.way_to(name),
            }
        }))
    }

    /// What a pinned package needs of its own suite.
    fn of_same_suite(&self, requirer: &str, part: &Dependency) -> Option<(usize, &'a Record)> {
        let record = self.chosen.get(requirer)?.record;
        if !self.pinned.contains(requirer) {
            return None;
        }
        let mut alternatives =
            part.alternatives.iter().filter(|wanted| !self.pinned.contains(&wanted.name));
        alternatives.find_map(|wanted| self.archive.other(wanted, &record.suite))
    }

    /// What is chosen already is preferred; else the first alternative that can be had and be
    /// beside what is chosen; else the first that can be had, whose conflict is told in the end. An
    /// excluded package counts as one that can be had, so leaving it out pulls in no other.
    fn settle(&mut self, requirer: &str, part: &Dependency) -> Result<Settled<'a>> {
        let is_chosen = |record: &&Record| self.chosen.contains_key(record.name.as_str());
        let mut alternatives = part.alternatives.iter();
        if let Some(record) =
            alternatives.find_map(|wanted| self.archive.candidates(wanted).find(is_chosen))
        {
            return Ok(Settled::Take(record));
        }
        let mut second = Settled::Lack;
        for wanted in &part.alternatives {
            let candidates: Vec<_> = self.archive.candidates(wanted).collect();
            let names = || candidates.iter().map(|record| &record.name);
            let mut excluded = std::iter::once(&wanted.name).chain(names());
            if let Some((name, _)) = excluded.find_map(|name| self.exclude.get_key_value(name)) {
                return Ok(Settled::Cut(name));
            }
            let Some(&first) = candidates.first() else { continue };
            let mut fitting = None;
            for record in &candidates {
                if self.exclusions.conflicts(record)?.is_empty() {
                    fitting = Some(*record);
                    break;
                }
            }
            let Some(record) = fitting else {
                if matches!(second, Settled::Lack) {
                    second = Settled::Take(first);
                }
                continue;
            };
            if candidates.len() > 1 && record.name != wanted.name {
                let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                self.warnings.push(format!(
                    "`{requirer}` needs `{wanted}`, which {} provide: `{}` was taken; name the one \
                     you want in `packages`",
                    names.join(", "),
                    record.name
                ));
            }
            return Ok(Settled::Take(record));
        }
        Ok(second)
    }

    /// From the recipe to this package, by who asked first.
    fn way_to(&self, name: &str) -> Vec<String> {
        let mut way = vec![name.to_owned()];
        let mut at = self.chosen.get(name);
        while let Some(chosen) = at {
            way.push(chosen.first.to_owned());
            at = self.chosen.get(chosen.first);
        }
        way.reverse();
        way
    }

    fn packages(&self, role: Role) -> BTreeMap<String, Package> {
        let package = |chosen: &Chosen<'_>| locked(chosen.record, role, chosen.required_by.clone());
        self.chosen.iter().map(|(name, chosen)| ((*name).to_owned(), package(chosen))).collect()
    }
}

#[cfg(test)]
mod tests;
