//! A build that somebody else has published: in a directory, or below an address of the web.
//! Nothing of it is believed; it is what a build here is compared with.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use serde_json::Value;

use super::child::lock_digest;
use super::compare::Difference;
use super::files::{Directory, Files};
use super::place::{Part, Place};
use crate::build::artifact::{Artifact, Kind};
use crate::build::contents;
use crate::build::output::REPORT;
use crate::build::report::{Report, ReportError};
use crate::build::written;
use crate::digest;
use crate::error::{Context as _, Error, Id, Result};
use crate::http::Client;
use crate::lock::Lock;
use crate::lock::model::Role;
use crate::progress::Progress;
use crate::recipe::Recipe;

/// A report is not larger.
const MOST_REPORT: u64 = 64 << 20;
/// A file of a build is not larger.
const MOST_FILE: u64 = 64 << 30;
/// As many packages are named that differ.
const NAMED: usize = 10;

/// Where somebody else's build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// On this host.
    Directory(PathBuf),
    /// On a server: the address that the names of files are put behind.
    Address(String),
}

impl Published {
    /// What a person has written.
    pub fn at(text: &str) -> Self {
        if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Self::Directory(text.into());
        }
        let address = text.strip_suffix(REPORT).unwrap_or(text);
        Self::Address(address.trim_end_matches('/').to_owned())
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Address(address) => crate::credentials::shown(address).fmt(f),
        }
    }
}

/// A published build that is here.
#[derive(Debug)]
pub(super) struct Brought {
    /// What it says of itself.
    pub report: Report,
    /// Where it is.
    pub directory: PathBuf,
    /// The files that it has, as far as they were brought.
    pub names: BTreeSet<String>,
    /// Those that were not.
    pub left_out: BTreeSet<String>,
}

impl Brought {
    /// Its files.
    pub(super) fn files(&self) -> Directory {
        Directory::new(&self.directory, self.names.iter().cloned())
    }
}

/// Whether what is no use to compare is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// It is: gigabytes, most of them zeros.
    Download,
    /// It is not.
    LeaveOut,
}

/// Reads the report of a published build, and checks that it says what can be built here.
///
/// # Errors
/// Those of [`written::report`] and of [`Client::get`]; [`Id::OtherLock`].
pub(super) fn report(
    published: &Published,
    client: impl FnOnce() -> Result<Client>,
) -> Result<(Report, Option<Client>)> {
    match published {
        Published::Directory(path) => Ok((written::report(path)?, None)),
        Published::Address(address) => {
            let client = client()?;
            let url = format!("{address}/{REPORT}");
            let text = client.get(&url, MOST_REPORT)?;
            let report = Report::parse(&text).map_err(|error| wrong_report(published, &error))?;
            Ok((report, Some(client)))
        }
    }
}

fn wrong_report(published: &Published, error: &ReportError) -> Error {
    Error::new(Id::DamagedImage, format!("`{REPORT}` of `{published}` {error}"))
}

/// Brings all files of a published build to this host: those of a directory are there.
///
/// # Errors
/// [`Id::DamagedImage`] if the report has names or sizes that no build has, and those of
/// [`Client::download`].
pub(super) fn bring(
    published: &Published,
    (report, client): (Report, Option<Client>),
    into: &Path,
    disk: Disk,
    progress: &Progress,
) -> Result<Brought> {
    let all: BTreeSet<_> = report.artifacts.iter().map(|file| file.name.clone()).collect();
    let mut names = all.clone();
    names.insert(REPORT.to_owned());
    let (Published::Address(address), Some(client)) = (published, client) else {
        let directory = match published {
            Published::Directory(path) => path.clone(),
            Published::Address(_) => into.to_owned(),
        };
        return Ok(Brought { report, directory, names, left_out: BTreeSet::new() });
    };
    let mut left_out = BTreeSet::new();
    for file in &report.artifacts {
        check(published, file)?;
        if file.sha256.is_none() && disk == Disk::LeaveOut {
            left_out.insert(file.name.clone());
            names.remove(&file.name);
            continue;
        }
        let task = progress.task(&file.name, Some(file.size));
        let url = format!("{address}/{}", file.name);
        client.download(&url, &into.join(&file.name), Some(file.size), &task)?;
        task.done(format!("{} bytes", file.size));
    }
    let text = client.get(&format!("{address}/{REPORT}"), MOST_REPORT)?;
    let path = into.join(REPORT);
    fs::write(&path, &text).or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    Ok(Brought { report, directory: into.to_owned(), names, left_out })
}

/// That a name is no path and no address, and a size one of a file.
fn check(published: &Published, file: &Artifact) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = file.name.chars().all(plain) && !file.name.starts_with('.') && !file.name.is_empty();
    if name && file.size <= MOST_FILE {
        return Ok(());
    }
    let message = format!(
        "`{REPORT}` of `{published}` has a file `{}` of {} bytes, as no build has",
        file.name.escape_debug(),
        file.size
    );
    Err(Error::new(Id::DamagedImage, message))
}

/// Checks that this recipe and lock are those of a published build, as far as its report tells.
///
/// # Errors
/// [`Id::OtherLock`] with what differs, as far as the report tells.
pub(super) fn same_inputs(
    published: &Published,
    report: &Report,
    recipe: &Recipe,
    lock: &Lock,
    lock_path: &Path,
) -> Result<()> {
    let other = |message: String| Err(Error::new(Id::OtherLock, message));
    if report.image != recipe.name.as_str() || report.architecture != recipe.arch {
        return other(format!(
            "`{published}` is a build of `{}` for {}, and the recipe makes `{}` for {}",
            report.image, report.architecture, recipe.name, recipe.arch
        ));
    }
    let (Some(theirs), ours) = (&report.lock, lock_digest(lock)) else {
        return other(format!(
            "`{published}` does not say by which lock it was made: it is too old"
        ));
    };
    if theirs.0 == ours {
        return Ok(());
    }
    let lock_path = lock_path.display();
    let mut message = format!(
        "`{published}` was made by another lock than `{lock_path}`: the sha256 of that is {} there \
         and {ours} here",
        theirs.0
    );
    let packages = packages(report, lock);
    for line in packages.iter().take(NAMED) {
        message += &format!("\n  {line}");
    }
    match packages.len() {
        0 => message += "\n  its packages in the root and its kernel are the same",
        number if number > NAMED => message += &format!("\n  and {} more", number - NAMED),
        _ => {}
    }
    let hint = format!("ask who published it for `{lock_path}`: a build holds the digest alone");
    Err(Error::new(Id::OtherLock, message).hint(hint))
}

/// Which packages of the images have other versions.
fn packages(report: &Report, lock: &Lock) -> Vec<String> {
    let of_image = lock.packages.iter().filter(|package| package.role != Role::Tool);
    let ours: std::collections::BTreeMap<_, _> =
        of_image.map(|package| (&package.name, &package.version)).collect();
    let names: BTreeSet<_> = ours.keys().copied().chain(report.packages.keys()).collect();
    let line = |name: &String| match (report.packages.get(name), ours.get(name)) {
        (Some(theirs), Some(ours)) if theirs != *ours => {
            Some(format!("{name} {theirs} there, {ours} here"))
        }
        (Some(theirs), None) => Some(format!("{name} {theirs} there, not here")),
        (None, Some(ours)) => Some(format!("{name} {ours} here, not there")),
        _ => None,
    };
    names.into_iter().filter_map(line).collect()
}

/// What the provenance of a published build says that it was made of, and is not so here: worth a
/// word before minutes are spent.
///
/// # Errors
/// [`Id::Bug`].
pub(super) fn other_parameters(brought: &Brought, recipe: &Recipe) -> Result<Vec<String>> {
    let path = brought.directory.join(Kind::Provenance.file_name());
    let text = fs::read(path).unwrap_or_default();
    let theirs: Value = serde_json::from_slice(&text).unwrap_or_default();
    let mut words = Vec::new();
    let parameters = theirs.pointer("/predicate/buildDefinition/externalParameters/recipe");
    if let Some(theirs) = parameters {
        let ours = contents::parameters(recipe)?;
        if *theirs != ours {
            let bytes = |value: &Value| value.to_string().into_bytes();
            let found = super::document::compare(&bytes(theirs), &bytes(&ours));
            let keys: Vec<_> =
                found.iter().take(NAMED).map(|found| found.place.to_string()).collect();
            words.push(format!("its recipe is another one: {}", keys.join("; ")));
        }
    }
    let version = theirs.pointer("/predicate/runDetails/builder/version/orlop");
    if let Some(version) = version.and_then(Value::as_str)
        && version != env!("CARGO_PKG_VERSION")
    {
        let own = env!("CARGO_PKG_VERSION");
        words.push(format!("it was made by orlop {version}, and this is {own}"));
    }
    Ok(words)
}

/// Where files of a published build are not what its own report says of them.
///
/// # Errors
/// [`Id::Read`].
pub(super) fn contradictions(brought: &Brought) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let files = brought.files();
    let there = files.names();
    for file in &brought.report.artifacts {
        let Some(wanted) = file.sha256.filter(|_| there.contains(&file.name)) else { continue };
        let has: Sha256 = digest::of_file(&brought.directory.join(&file.name), |_| ())?;
        if has != wanted.0 {
            found.push(Difference {
                file: file.name.clone(),
                place: Place(vec![Part::field(format!("digest in its own {REPORT}"))]),
                component: None,
                step: None,
                looks: None,
                one: Some(format!("{wanted} as reported", wanted = wanted.0)),
                two: Some(format!("{has} as published")),
                follows: None,
                inputs: None,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_directory() {
        for (text, want) in [
            ("orlop-out/node", Published::Directory("orlop-out/node".into())),
            ("https://a.example/n/", Published::Address("https://a.example/n".into())),
            ("http://a.example/n/build.json", Published::Address("http://a.example/n".into())),
        ] {
            assert_eq!(Published::at(text), want);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_and_a_size_beyond_measure_are_refused() {
        let published = Published::at("https://a.example");
        let file = |name: &str, size| -> Artifact {
            let text = format!(r#"{{"kind":"root","name":"{name}","size":{size}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        check(&published, &file("root.img", 1 << 30)).unwrap();
        for bad in
            [file("../x", 1), file(".x", 1), file("", 1), file("x?y", 1), file("x", u64::MAX)]
        {
            assert_eq!(check(&published, &bad).unwrap_err().id(), Id::DamagedImage, "{bad:?}");
        }
    }
}
