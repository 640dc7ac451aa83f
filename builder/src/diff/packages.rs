//! Which packages changed, and what programs were linked with.

use std::collections::{BTreeMap, BTreeSet};

use formats::deb::Version;
use serde::Serialize;

use super::side::{LibraryKind, Side};

/// Something with a version that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VersionChange {
    /// Its name.
    pub name: String,
    /// The version on the first side; nothing if it is not there.
    pub before: Option<String>,
    /// The version on the second side.
    pub after: Option<String>,
    /// Whether it went back.
    pub older: bool,
}

/// Something inside of programs that changed, alike in all that are named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LibraryChange {
    /// What it is.
    pub kind: LibraryKind,
    /// Its name.
    pub name: String,
    /// The version on the first side, or several.
    pub before: Option<String>,
    /// The version on the second side.
    pub after: Option<String>,
    /// Which programs have it, by place and path.
    pub programs: Vec<String>,
}

/// Debian packages that differ, by name. A tool that leaves nothing of itself in an image only locks
/// tell: where the other side is none, it is no difference.
pub fn between(before: &Side, after: &Side) -> Option<Vec<VersionChange>> {
    let changes = changes(before.packages.as_ref(), after.packages.as_ref())?;
    let only_told = |name: &str, by: &Side, other: &Side| {
        other.lock.is_none() && by.lock.as_ref().is_some_and(|lock| lock.tools.contains(name))
    };
    let told = changes.into_iter().filter(|change| match (&change.before, &change.after) {
        (Some(_), None) => !only_told(&change.name, before, after),
        (None, Some(_)) => !only_told(&change.name, after, before),
        _ => true,
    });
    Some(told.collect())
}

/// Versions that differ, by name.
pub fn changes(
    before: Option<&BTreeMap<String, String>>,
    after: Option<&BTreeMap<String, String>>,
) -> Option<Vec<VersionChange>> {
    let (before, after) = (before?, after?);
    let version = |text: Option<&String>| text?.parse::<Version>().ok();
    let changed = super::both(before, after).filter(|(_, before, after)| before != after);
    let changes = changed.map(|(name, before, after)| VersionChange {
        older: version(after).zip(version(before)).is_some_and(|(after, before)| after < before),
        name: name.clone(),
        before: before.cloned(),
        after: after.cloned(),
    });
    Some(changes.collect())
}

/// What is linked into programs and differs: each change once, with the programs that have it. A
/// program that is on one side only adds or takes away all that is in it.
pub fn libraries(before: &Side, after: &Side) -> Option<Vec<LibraryChange>> {
    let (one, other) = (before.programs.as_ref()?, after.programs.as_ref()?);
    let all = before.tells_crates && after.tells_crates;
    let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let nothing = BTreeMap::new();
    for (program, before, after) in super::both(one, other) {
        let linked = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
        for ((kind, name), before, after) in super::both(linked.0, linked.1) {
            if before == after || !(all || *kind == LibraryKind::Go) {
                continue;
            }
            let joined = |versions: Option<&BTreeSet<String>>| {
                let versions: Vec<_> = versions?.iter().map(String::as_str).collect();
                Some(versions.join(", "))
            };
            let change = (*kind, name.clone(), joined(before), joined(after));
            found.entry(change).or_default().insert(program.clone());
        }
    }
    let changes = found.into_iter().map(|((kind, name, before, after), programs)| LibraryChange {
        kind,
        name,
        before,
        after,
        programs: programs.into_iter().collect(),
    });
    Some(changes.collect())
}
