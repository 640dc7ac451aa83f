//! Compares two builds file by file, in the order in which a build makes them: what differs, where,
//! who made it, and what differs only because something before it does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use formats::manifest;
use formats::tree::{Tree, TreePath};
use serde::Serialize;

use super::files::{Files, View, first};
use super::origin::{self, Found, Origins};
use super::place::{Finding, Looks, Part, Place};
use super::proof::Proofs;
use super::{content, disk, document, initrd, program, root};
use crate::build::artifact::Kind;
use crate::build::output::REPORT;
use crate::contents::{self, Contents};

/// So many differences of one file are told.
const MOST: usize = 20;

/// A manifest and what is made of it are held in memory.
const MOST_TEXT: u64 = 256 << 20;

/// So are files that are looked into. Of what is larger, no build of ours has it.
const MOST_WHOLE: u64 = 1 << 30;

/// The order in which a build makes files.
const ORDER: [Kind; 11] = [
    Kind::Root,
    Kind::Initrd,
    Kind::Kernel,
    Kind::CommandLine,
    Kind::Uki,
    Kind::Disk,
    Kind::Manifest,
    Kind::Contents,
    Kind::Spdx,
    Kind::CycloneDx,
    Kind::Provenance,
];

/// What a comparison has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The files that were compared.
    pub compared: Vec<String>,
    /// Those that differ.
    pub differing: Vec<String>,
    /// Where they differ: first what a build makes first. Up to 20 of one file.
    pub differences: Vec<Difference>,
    /// How many more there are, at least: of bytes of the same root, not all are counted.
    pub more: usize,
}

/// Something that is not the same in two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// The file of the build.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// Who answers for what is there.
    pub component: Option<String>,
    /// The step that produced it.
    pub step: Option<String>,
    /// What both values look like.
    pub looks: Option<Looks>,
    /// What the first build has there, for people.
    pub one: Option<String>,
    /// What the second has.
    pub two: Option<String>,
    /// The file because of which this one differs; none of a cause.
    pub follows: Option<String>,
    /// The inputs of the step that went and came from the first build to the second: none of a step
    /// with the same inputs, which therefore gives different results by itself. Null where they
    /// are not known.
    pub inputs: Option<Vec<String>>,
}

impl Comparison {
    /// What does not follow from something else.
    pub fn causes(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.follows.is_none())
    }
}

/// Compares all files but those that are left out.
///
/// # Errors
/// Those of the file system.
pub fn compare(
    one: &dyn Files,
    two: &dyn Files,
    without: &BTreeSet<String>,
) -> io::Result<Comparison> {
    let names: BTreeSet<String> = one.names().union(&two.names()).cloned().collect();
    let compared = in_order(names.difference(without).cloned());
    let trees = [tree(one)?, tree(two)?];
    let trees = match &trees {
        [Some(one), Some(two)] => Some([one, two]),
        _ => None,
    };
    let known = [contents(one)?, contents(two)?];
    // A build that was made here is the second, and what it says of itself goes before.
    let origins = Origins::new(known.iter().rev().flatten());
    let mut proofs = Proofs::new([one, two], [known[0].as_ref(), known[1].as_ref()]);
    let mut result = Comparison { compared: compared.clone(), ..Comparison::default() };
    let (mut found, mut blamed) = (Found::new(), BTreeMap::new());
    for name in compared {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{name}`: {error}"));
        let mut findings = findings((one, two), &name, trees).map_err(named)?;
        if findings.is_empty() {
            continue;
        }
        if name == Kind::Root.file_name() {
            inside_images(&mut findings, &known, &origins);
        }
        result.differing.push(name.clone());
        result.more += findings.len().saturating_sub(MOST);
        found.insert(name.clone(), findings.clone());
        let mut told = Vec::with_capacity(findings.len());
        for finding in findings {
            let mut difference = difference(&name, finding.clone(), &origins, &found, &blamed);
            let cause = difference.follows.as_deref().and_then(origin::kind);
            if let Some(cause) = cause
                && !proofs.hold(&name, &finding, cause).map_err(named)?
            {
                difference.follows = None;
            }
            told.push(difference);
        }
        // What is cut off is what nobody need know.
        told.sort_by_key(|difference| difference.follows.is_some());
        told.truncate(MOST);
        for Difference { file, component, .. } in &told {
            if let Some(component) = component {
                blamed.entry(component.clone()).or_insert_with(|| file.clone());
            }
        }
        result.differences.extend(told);
    }
    Ok(result)
}

fn in_order(names: impl Iterator<Item = String>) -> Vec<String> {
    let place = |name: &String| {
        let known = ORDER.iter().position(|kind| kind.file_name() == name);
        known.unwrap_or(if name == REPORT { ORDER.len() + 1 } else { ORDER.len() })
    };
    let mut names: Vec<_> = names.collect();
    names.sort_by_key(|name| (place(name), name.clone()));
    names
}

fn whole(files: &dyn Files, kind: Kind) -> io::Result<Option<Vec<u8>>> {
    let name = kind.file_name();
    if !files.names().contains(name) || files.size(name)? > MOST_TEXT {
        return Ok(None);
    }
    View::of(files, name)?.bytes().map(Some)
}

fn tree(files: &dyn Files) -> io::Result<Option<Tree>> {
    let text = whole(files, Kind::Manifest)?.and_then(|text| String::from_utf8(text).ok());
    Ok(text.and_then(|text| manifest::parse(&text).ok()))
}

fn contents(files: &dyn Files) -> io::Result<Option<Contents>> {
    Ok(whole(files, Kind::Contents)?.and_then(|text| Contents::parse(&text).ok()))
}

/// All that differs of one file.
fn findings(
    (one, two): (&dyn Files, &dyn Files),
    name: &str,
    trees: Option<[&Tree; 2]>,
) -> io::Result<Vec<Finding>> {
    let there = [one.names().contains(name), two.names().contains(name)];
    if there != [true, true] {
        let text = |there: bool| if there { "there" } else { "not there" };
        return Ok(vec![Finding::at([Part::Presence]).values(text(there[0]), text(there[1]))]);
    }
    let (one, two) = (View::of(one, name)?, View::of(two, name)?);
    if first(one, two, 0)?.is_none() {
        return Ok(Vec::new());
    }
    let kind = origin::kind(name);
    let found = match kind {
        Some(Kind::Root) => root::compare(one, two, trees, MOST)?,
        Some(Kind::Disk) => disk::compare(one, two, trees, MOST)?,
        _ if one.size().max(two.size()) > MOST_WHOLE => {
            let at = first(one, two, 0)?.unwrap_or_default();
            vec![Finding::byte_or_size(at, [one.size(), two.size()])]
        }
        _ => {
            let (one, two) = (one.bytes()?, two.bytes()?);
            let inner = match kind {
                Some(Kind::Manifest) => manifests(trees),
                Some(Kind::Initrd) => initrd::compare(&one, &two),
                Some(Kind::Kernel | Kind::Uki) => program::compare(&one, &two),
                _ if origin::is_report(name) || name.ends_with(".json") => {
                    document::compare(&one, &two)
                }
                _ => Vec::new(),
            };
            if inner.is_empty() { vec![content::compare(&one, &two)] } else { inner }
        }
    };
    Ok(found)
}

/// The paths of which two manifests say something else; none if one cannot be read.
fn manifests(trees: Option<[&Tree; 2]>) -> Vec<Finding> {
    let Some([one, two]) = trees else { return Vec::new() };
    let all: BTreeSet<_> = one.iter().chain(two.iter()).map(|(path, _)| path).collect();
    let differ = all.into_iter().filter(|path| one.get(path) != two.get(path));
    let lines = |tree: &Tree| -> BTreeMap<_, String> {
        let text = manifest::text(tree);
        tree.iter().map(|(path, _)| path.clone()).zip(text.lines().map(str::to_owned)).collect()
    };
    let (ones, twos) = (lines(one), lines(two));
    let line = |lines: &BTreeMap<_, String>, path: &TreePath| {
        lines.get(path).cloned().unwrap_or_else(|| "not there".to_owned())
    };
    let finding = |path: &TreePath| {
        Finding::at([Part::path(path)]).values(line(&ones, path), line(&twos, path))
    };
    differ.map(finding).collect()
}

/// Where a container image differs, the paths in it that do.
fn inside_images(
    findings: &mut Vec<Finding>,
    known: &[Option<Contents>; 2],
    origins: &Origins<'_>,
) {
    let [Some(one), Some(two)] = known else { return };
    let inner = |image: &str| -> Vec<Part> {
        let of = |contents: &Contents| -> BTreeMap<String, contents::File> {
            let files = contents.files.iter().filter(|file| file.place == image);
            files.map(|file| (file.path.clone(), file.clone())).collect()
        };
        let (one, two) = (of(one), of(two));
        let paths: BTreeSet<_> = one.keys().chain(two.keys()).collect();
        let differ = paths.into_iter().filter(|path| one.get(*path) != two.get(*path));
        differ.map(Part::path).collect()
    };
    let mut with_paths = Vec::new();
    for finding in findings.drain(..) {
        let (component, _) = origins.of(Kind::Root.file_name(), &finding.place);
        // Not its mode or its owner.
        let content = finding.place.0.contains(&Part::Content);
        let image = component.filter(|component| content && component.starts_with("oci/"));
        let paths = image.map(|image| inner(&image)).unwrap_or_default();
        match finding.place.0.first() {
            Some(outer) if !paths.is_empty() => {
                with_paths.extend(paths.into_iter().map(|path| Finding::at([outer.clone(), path])))
            }
            _ => with_paths.push(finding),
        }
    }
    *findings = with_paths;
}

/// A finding with all that is known of it. `blamed` has for components of what differs the first
/// file that does.
fn difference(
    name: &str,
    finding: Finding,
    origins: &Origins<'_>,
    found: &Found,
    blamed: &BTreeMap<String, String>,
) -> Difference {
    let (component, step) = origins.of(name, &finding.place);
    let follows = if finding.place.0 == [Part::Presence] {
        // That a file is missing follows from no content.
        None
    } else if origin::is_report(name) {
        origin::report_follows(&finding, found)
    } else {
        let kind = origin::follows(name, &finding, found);
        let component = || origin::material(name, &finding).and_then(|id| blamed.get(id).cloned());
        kind.map(|kind| kind.file_name().to_owned()).or_else(component)
    };
    let Finding { place, one, two, looks, .. } = finding;
    let file = name.to_owned();
    Difference { file, place, component, step, looks, one, two, follows, inputs: None }
}

#[cfg(test)]
mod tests;
