//! Which parts of the UKI differ, where the images alone tell of them: what is in the initrd only a
//! build says, but whether it is the same one a disk does.

use std::collections::BTreeMap;

use formats::digest::Sha256;
use serde::Serialize;

use super::side::Side;
use super::{Change, both};

/// A part of a UKI: its bytes, and what they hash to.
pub type Part = (u64, Sha256);

/// Sections that follow from the place of the UKI, or are compared word by word.
const ELSEWHERE: [&str; 2] = [".cmdline", ".pad"];

/// A part that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// The section, such as `.initrd`.
    pub name: String,
    /// What happened.
    pub change: Change,
    /// Bytes on the first side.
    pub before: Option<u64>,
    /// Bytes on the second side.
    pub after: Option<u64>,
}

/// The parts that are compared, of all sections with what they hold.
pub fn parts<'a>(
    sections: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> BTreeMap<String, Part> {
    let compared = sections.into_iter().filter(|(name, _)| !ELSEWHERE.contains(name));
    let part =
        |(name, bytes): (&str, &[u8])| (name.to_owned(), (bytes.len() as u64, Sha256::of(bytes)));
    compared.map(part).collect()
}

/// Parts that differ, by name.
pub fn changes(before: &Side, after: &Side) -> Option<Vec<PartChange>> {
    let changes = both(before.boot.as_ref()?, after.boot.as_ref()?);
    let changes = changes.filter_map(|(name, before, after)| {
        let change = Change::of(before, after)?;
        let size = |part: Option<&Part>| part.map(|(size, _)| *size);
        let (before, after) = (size(before), size(after));
        Some(PartChange { name: name.clone(), change, before, after })
    });
    Some(changes.collect())
}
