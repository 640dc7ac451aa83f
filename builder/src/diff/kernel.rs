//! The kernel: its release, what it was built with, its modules, and how it is started.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::side::{File, MODULES, Node, ROOT, Side};
use super::{Change, Pair, both};

/// A word of the command line that follows from the root, and so says nothing that the files do not.
const OF_THE_ROOT: &str = "orlop.roothash=";

/// What an option has that is not set.
const NOT_SET: &str = "n";

/// What changed of the kernel. A part that is nothing could not be compared, or did not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KernelChange {
    /// Its release, if that changed.
    pub release: Option<Pair<String>>,
    /// Words of the command line that came and went.
    pub command_line: Option<Words>,
    /// Options that it was built with and that differ.
    pub config: Option<Vec<OptionChange>>,
    /// Modules that came, went or changed.
    pub modules: Option<Vec<ModuleChange>>,
}

/// Words that came and went, each in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words {
    /// On the second side only.
    pub added: Vec<String>,
    /// On the first side only.
    pub removed: Vec<String>,
}

/// An option that differs: `y`, `m`, `n` or its value; nothing if the kernel does not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptionChange {
    /// Such as `CONFIG_MODULES`.
    pub name: String,
    /// On the first side.
    pub before: Option<String>,
    /// On the second side.
    pub after: Option<String>,
}

/// A module that came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleChange {
    /// As `lsmod` shows it.
    pub name: String,
    /// `root` or `initrd`.
    pub place: String,
    /// What happened.
    pub change: Change,
}

impl KernelChange {
    /// Whether anything did.
    pub fn differs(&self) -> bool {
        let words = |words: &Words| !words.added.is_empty() || !words.removed.is_empty();
        self.release.is_some()
            || self.command_line.as_ref().is_some_and(words)
            || self.config.as_ref().is_some_and(|list| !list.is_empty())
            || self.modules.as_ref().is_some_and(|list| !list.is_empty())
    }
}

/// What changed of the kernel.
pub fn changes(before: &Side, after: &Side) -> KernelChange {
    let releases = before.release.as_ref().zip(after.release.as_ref());
    let release = releases
        .filter(|(before, after)| before != after)
        .map(|(before, after)| Pair { before: Some(before.clone()), after: Some(after.clone()) });
    let lines = before.command_line.as_ref().zip(after.command_line.as_ref());
    let configs = before.config.as_ref().zip(after.config.as_ref());
    KernelChange {
        release,
        command_line: lines.map(|(before, after)| words(before, after)),
        config: configs.map(|(before, after)| {
            let changed = both(before, after).filter(|(_, before, after)| before != after);
            let change = |(name, before, after): (&String, Option<&String>, Option<&String>)| {
                OptionChange { name: name.clone(), before: before.cloned(), after: after.cloned() }
            };
            changed.map(change).collect()
        }),
        modules: modules(before, after),
    }
}

fn words(before: &str, after: &str) -> Words {
    let list = |line: &str| -> Vec<String> {
        let words = line.split_ascii_whitespace().filter(|word| !word.starts_with(OF_THE_ROOT));
        words.map(str::to_owned).collect()
    };
    let (mut removed, mut added) = (list(before), Vec::new());
    for word in list(after) {
        match removed.iter().position(|known| *known == word) {
            Some(at) => drop(removed.remove(at)),
            None => added.push(word),
        }
    }
    Words { added, removed }
}

/// Modules of root and initrd.
fn modules(before: &Side, after: &Side) -> Option<Vec<ModuleChange>> {
    let (before, after) = (before.files.as_ref()?, after.files.as_ref()?);
    let place = |files: &[File], place: &str| files.iter().any(|file| file.place == place);
    let told = |name: &str| name == ROOT || (place(before, name) && place(after, name));
    let (before, after) = (by_name(before), by_name(after));
    let changes = both(&before, &after).filter_map(|((place, name), before, after)| {
        let change = Change::of(before, after)?;
        told(place).then(|| ModuleChange { name: name.clone(), place: (*place).to_owned(), change })
    });
    Some(changes.collect())
}

/// What modules hold, by place and name.
fn by_name(files: &[File]) -> BTreeMap<(&str, String), &Node> {
    let modules = files.iter().filter_map(|file| {
        let directory = match file.place.as_str() {
            ROOT => MODULES,
            "initrd" => "/lib/modules/",
            _ => return None,
        };
        let name = file.path.strip_prefix(directory)?.rsplit('/').next()?;
        let (stem, _) = name.split_once(".ko")?;
        Some(((file.place.as_str(), stem.replace('-', "_")), &file.node))
    });
    modules.collect()
}

/// The options of a kernel's configuration, those that are not set included.
pub fn options(text: &str) -> BTreeMap<String, String> {
    let option = |line: &str| {
        if let Some(name) =
            line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"))
        {
            return Some((name.to_owned(), NOT_SET.to_owned()));
        }
        let (name, value) = line.split_once('=')?;
        name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(option).collect()
}

/// The modules that `modules.alias` has a pattern for: a device, a protocol or a file system that
/// somebody names loads them.
pub fn on_demand(aliases: &str) -> BTreeSet<String> {
    let module = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (keyword, _, module) = (words.next()?, words.next()?, words.next()?);
        (keyword == "alias").then(|| module.replace('-', "_"))
    };
    aliases.lines().filter_map(module).collect()
}
