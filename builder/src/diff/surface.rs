//! What somebody who wants into a node has to begin with: programs, rights that files give, ports,
//! and code of the kernel that a stranger can have loaded.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::side::{File, Node, Side};

/// `S_ISUID` and `S_ISGID` of `include/uapi/linux/stat.h`.
const SET_ID: u16 = 0o6000;

/// The attribute that gives a program capabilities.
const CAPABILITY: &str = "security.capability";

/// The keys of a unit that have an address which PID 1 asks whether the unit works.
const ASKED: [&str; 2] = ["ready.http-200", "probe.http-200"];

/// One way in: how many there are, and which came and went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Surface {
    /// `executables`, `set-id files`, `file capabilities`, `listening ports` or `modules on demand`.
    pub what: &'static str,
    /// How many the first side has.
    pub before: usize,
    /// How many the second side has.
    pub after: usize,
    /// Which came.
    pub added: Vec<String>,
    /// Which went.
    pub removed: Vec<String>,
}

impl Surface {
    /// Whether one came or went.
    pub fn differs(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }
}

/// Whether a file is a way in.
type Counts = fn(&File) -> bool;

/// All ways in. Container images count if both sides tell of them.
pub fn changes(before: &Side, after: &Side) -> Option<Vec<Surface>> {
    let (one, other) = (before.files.as_ref()?, after.files.as_ref()?);
    let images = before.components().is_some() && after.components().is_some();
    let by_files: [(&'static str, Counts); 3] = [
        ("executables", |file| file.mode & 0o111 != 0),
        ("set-id files", |file| file.mode & SET_ID != 0),
        ("file capabilities", |file| file.xattrs.contains_key(CAPABILITY)),
    ];
    let mut surface = Vec::new();
    for (what, counts) in by_files {
        let names = |files: &[File]| -> BTreeSet<String> {
            let place = |file: &File| file.place == "root" || (images && file.place.contains('/'));
            let files = files.iter().filter(|file| matches!(file.node, Node::File { .. }));
            files.filter(|file| place(file) && counts(file)).map(File::shown).collect()
        };
        surface.push(of(what, &names(one), &names(other)));
    }
    if let (Some(one), Some(other)) = (&before.units, &after.units) {
        surface.push(of("listening ports", &ports(one), &ports(other)));
    }
    if let (Some(one), Some(other)) = (&before.on_demand, &after.on_demand) {
        surface.push(of("modules on demand", one, other));
    }
    Some(surface)
}

fn of(what: &'static str, before: &BTreeSet<String>, after: &BTreeSet<String>) -> Surface {
    Surface {
        what,
        before: before.len(),
        after: after.len(),
        added: after.difference(before).cloned().collect(),
        removed: before.difference(after).cloned().collect(),
    }
}

/// The ports that units name, with the unit: in addresses that PID 1 asks whether a unit works, and
/// in arguments that say where it listens.
pub fn ports(units: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (unit, keys) in units {
        let asked = keys.iter().filter(|(key, _)| ASKED.contains(&key.as_str()));
        let asked = asked.filter_map(|(_, value)| address(value.trim_matches('"')));
        let words = keys.get("exec").map(|exec| arguments(exec)).unwrap_or_default();
        let mut said = Vec::new();
        for (index, word) in words.iter().enumerate().filter(|(_, word)| word.starts_with('-')) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), words.get(index + 1).map(String::as_str)),
            };
            let name = name.to_ascii_lowercase();
            let listens = ["port", "listen", "bind", "addr"].iter().any(|part| name.contains(part));
            said.extend(value.filter(|_| listens).and_then(address));
        }
        found.extend(asked.chain(said).map(|address| format!("{unit}: {address}")));
    }
    found
}

/// Host and port of an address, or a port alone.
fn address(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let place = rest.split('/').next().unwrap_or_default();
    let port = place.rsplit_once(':').map_or(place, |(_, port)| port);
    port.parse::<u16>().is_ok_and(|port| port > 0).then(|| place.to_owned())
}

/// The words of an array of TOML.
fn arguments(exec: &str) -> Vec<String> {
    let table = format!("words = {exec}").parse::<toml::Table>().ok();
    let words = table.as_ref().and_then(|table| table.get("words")?.as_array());
    let words = words.into_iter().flatten().filter_map(|word| word.as_str());
    words.map(str::to_owned).collect()
}
