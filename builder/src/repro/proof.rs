//! Whether a file that is said to differ because of another one does: it must have in it, in both
//! builds, what that build's other file holds. A published build may be put together of anything.

use std::collections::BTreeMap;
use std::io;

use formats::digest::Sha256;
use formats::gpt::{self, Table};
use formats::uki::Uki;
use serde_json::Value;

use super::esp;
use super::files::{Files, View, first};
use super::origin;
use super::place::{Finding, Part};
use crate::build::artifact::Kind;
use crate::build::output::REPORT;
use crate::contents::Contents;
use crate::sbom;

/// What is looked into is held in memory.
const MOST: u64 = 1 << 30;

/// Two builds, and what was found out about them.
pub(super) struct Proofs<'a> {
    builds: [(&'a dyn Files, Option<&'a Contents>); 2],
    known: BTreeMap<(String, Option<Part>, Option<Part>, Kind), bool>,
}

impl<'a> Proofs<'a> {
    /// Of two builds and what they say that is in them.
    pub(super) fn new(files: [&'a dyn Files; 2], contents: [Option<&'a Contents>; 2]) -> Self {
        let [one, two] = files;
        let [first, second] = contents;
        Self { builds: [(one, first), (two, second)], known: BTreeMap::new() }
    }

    /// Whether `file` holds at this place what the file of the kind `cause` is, in both builds. True
    /// where that cannot be told.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn hold(&mut self, file: &str, finding: &Finding, cause: Kind) -> io::Result<bool> {
        let Some(kind) = origin::kind(file) else { return Ok(true) };
        let mut parts = finding.place.0.iter().cloned();
        let (outer, inner) = (parts.next(), parts.next());
        // Of a partition with one file system, what is inside of it is no other case.
        let inner = inner.filter(|_| cause != Kind::Root);
        let key = (file.to_owned(), outer.clone(), inner.clone(), cause);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let mut holds = true;
        for build in &self.builds {
            holds = holds
                && match (kind, &outer) {
                    (Kind::Uki, Some(Part::Section { name })) => {
                        section(build.0, file, name, cause)?
                    }
                    (Kind::Disk, Some(Part::Partition { name })) => {
                        partition(build.0, name, inner.as_ref(), cause)?
                    }
                    (Kind::Spdx | Kind::CycloneDx, _) => document(*build, kind)?,
                    _ => true,
                };
        }
        self.known.insert(key, holds);
        Ok(holds)
    }
}

fn whole(files: &dyn Files, name: &str) -> io::Result<Option<Vec<u8>>> {
    if !files.names().contains(name) || files.size(name)? > MOST {
        return Ok(None);
    }
    View::of(files, name)?.bytes().map(Some)
}

fn section(files: &dyn Files, file: &str, name: &str, cause: Kind) -> io::Result<bool> {
    if name == ".pad" {
        let uki = whole(files, file)?;
        let uki = uki.as_deref().and_then(|uki| Uki::parse(uki).ok());
        let padding = uki.as_ref().and_then(|uki| uki.section(name));
        return Ok(padding.is_some_and(|padding| padding.iter().all(|byte| *byte == 0)));
    }
    let cause = match cause {
        _ if name == ".cmdline" => Kind::CommandLine,
        Kind::Kernel | Kind::Initrd => cause,
        _ => return Ok(true),
    };
    let (Some(uki), Some(other)) = (whole(files, file)?, whole(files, cause.file_name())?) else {
        return Ok(false);
    };
    let Ok(uki) = Uki::parse(&uki) else { return Ok(false) };
    Ok(uki.section(name) == Some(&other[..]))
}

fn partition(files: &dyn Files, name: &str, inner: Option<&Part>, cause: Kind) -> io::Result<bool> {
    let (disk, other) = (Kind::Disk.file_name(), cause.file_name());
    if ![disk, other].iter().all(|name| files.names().contains(*name)) {
        return Ok(false);
    }
    let (disk, other) = (View::of(files, disk)?, View::of(files, other)?);
    let head = disk.read(0, gpt::HEAD_SECTORS * gpt::SECTOR)?;
    let Ok(table) = Table::parse(&head, disk.size() / gpt::SECTOR) else { return Ok(false) };
    let Some(partition) = table.partition(name) else { return Ok(false) };
    let place = disk.part(partition.offset(), partition.size());
    Ok(match inner {
        Some(Part::Path { name }) if other.size() <= MOST => {
            esp::file(place, name)?.is_some_and(|held| other.bytes().is_ok_and(|own| own == held))
        }
        Some(_) => false,
        None => first(place.part(0, other.size()), other, 0)?.is_none(),
    })
}

/// Whether an SBOM is the one that is made of `contents.json`.
fn document((files, contents): (&dyn Files, Option<&Contents>), kind: Kind) -> io::Result<bool> {
    let json = |name: &str| -> io::Result<Option<Value>> {
        Ok(whole(files, name)?.and_then(|text| serde_json::from_slice(&text).ok()))
    };
    let (Some(contents), Some(held), Some(report)) =
        (contents, json(kind.file_name())?, json(REPORT)?)
    else {
        return Ok(false);
    };
    let hash = report.pointer("/root/hash").and_then(Value::as_str);
    let Some(hash) = hash.and_then(|hash| hash.parse::<Sha256>().ok()) else { return Ok(false) };
    let made = match kind {
        Kind::Spdx => sbom::spdx::document(contents, &hash),
        _ => sbom::cyclonedx::document(contents, &hash),
    };
    Ok(made == held)
}
