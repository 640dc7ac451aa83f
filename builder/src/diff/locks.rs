//! What only locks have: who was asked for what, compilers, files from the web.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::packages::{self, VersionChange};
use super::side::Side;
use crate::lock::Lock;
use crate::lock::model::Role;

/// What a side has that is a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// What was asked, one fact a line.
    pub inputs: BTreeSet<String>,
    /// Packages that are used to build, and of which an image need not have anything.
    pub tools: BTreeSet<String>,
    /// Versions of the packages that compile.
    pub compilers: BTreeMap<String, String>,
    /// Rust's compilers.
    pub rustc: BTreeSet<String>,
    /// Date of each suite.
    pub suites: BTreeMap<String, String>,
    /// Digests of files from the web, by component.
    pub urls: BTreeMap<String, String>,
}

/// What changed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LockChange {
    /// Packages that compile.
    pub compilers: Vec<VersionChange>,
    /// Release files, by suite: their dates.
    pub suites: Vec<VersionChange>,
    /// Rust's compilers.
    pub rustc: Vec<VersionChange>,
    /// Files from the web, by component: their digests.
    pub urls: Vec<VersionChange>,
    /// What is asked on the second side only.
    pub asked: Vec<String>,
    /// What was asked on the first side only.
    pub no_longer_asked: Vec<String>,
}

impl Locked {
    /// Of a lock.
    pub fn of(lock: &Lock) -> Self {
        let tools = lock.packages.iter().filter(|package| package.role == Role::Tool);
        let compilers = lock.compilers.iter();
        let suites = lock.suites.iter();
        let urls = lock.urls.iter();
        Self {
            inputs: lock.inputs.iter().cloned().collect(),
            tools: tools.map(|package| package.name.clone()).collect(),
            compilers: compilers.map(|p| (p.name.clone(), p.version.clone())).collect(),
            rustc: lock.rustc.iter().map(|rustc| rustc.version.clone()).collect(),
            suites: suites.map(|suite| (suite.name.clone(), suite.date.clone())).collect(),
            urls: urls.map(|f| (f.component.clone(), f.blob.sha256.to_string())).collect(),
        }
    }
}

impl LockChange {
    /// Whether anything did.
    pub fn differs(&self) -> bool {
        let lists = [&self.compilers, &self.suites, &self.rustc, &self.urls];
        lists.iter().any(|list| !list.is_empty())
            || !self.asked.is_empty()
            || !self.no_longer_asked.is_empty()
    }
}

/// What changed between two locks; nothing if one side is none.
pub fn changes(before: &Side, after: &Side) -> Option<LockChange> {
    let (before, after) = (before.lock.as_ref()?, after.lock.as_ref()?);
    let named = |set: &BTreeSet<String>| -> BTreeMap<String, String> {
        let text = set.iter().cloned().collect::<Vec<_>>().join(", ");
        BTreeMap::from([("rustc".to_owned(), text)])
    };
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<Vec<_>>()
    };
    Some(LockChange {
        compilers: versions(&before.compilers, &after.compilers),
        suites: plain(&before.suites, &after.suites),
        rustc: plain(&named(&before.rustc), &named(&after.rustc)),
        urls: plain(&before.urls, &after.urls),
        asked: only(&after.inputs, &before.inputs),
        no_longer_asked: only(&before.inputs, &after.inputs),
    })
}

fn versions(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<VersionChange> {
    packages::changes(Some(before), Some(after)).unwrap_or_default()
}

/// Neither dates nor digests are older or newer as versions are.
fn plain(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<VersionChange> {
    let changes = versions(before, after).into_iter();
    changes.map(|change| VersionChange { older: false, ..change }).collect()
}
