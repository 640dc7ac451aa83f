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
use super::files::{Directory, Files, View};
use super::origin;
use super::place::{Part, Place};
use super::show::seen;
use crate::build::artifact::{Artifact, Kind};
use crate::build::contents;
use crate::build::output::REPORT;
use crate::build::report::{Report, ReportError, SCHEMA};
use crate::build::written::{self, MOST_REPORT};
use crate::digest;
use crate::error::{Context as _, Error, Id, Result};
use crate::http::{self, Client};
use crate::lock::Lock;
use crate::lock::model::Role;
use crate::progress::Progress;
use crate::recipe::Recipe;

/// A file of a build is not larger.
const MOST_FILE: u64 = 64 << 30;
/// What a file begins with that somebody has packed (RFC 1952).
const GZIP: [u8; 2] = [0x1F, 0x8B];
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
    /// What a person has written: an address if it begins like one, in any case.
    pub fn at(text: &str) -> Self {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            return Self::Directory(text.into());
        }
        let report = format!("/{REPORT}");
        let address = text.strip_suffix(&report).unwrap_or(text);
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

/// What a published build says of itself.
#[derive(Debug)]
pub(super) struct Told {
    /// The report.
    pub report: Report,
    // The same as it came from a server, and who asked: it is asked for once, so that what was
    // downloaded by it and what is compared cannot be two reports.
    came: Option<(Vec<u8>, Client)>,
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
    /// Those that are not compared.
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

/// Reads the report of a published build, and checks that its files have names and sizes that files
/// of a build have.
///
/// # Errors
/// Those of [`written::report`] and of [`Client::get`]; [`Id::WebPage`], [`Id::DamagedImage`].
pub(super) fn report(
    published: &Published,
    client: impl FnOnce() -> Result<Client>,
) -> Result<Told> {
    let told = match published {
        Published::Directory(path) => Told { report: written::report(path)?, came: None },
        Published::Address(address) => {
            if address.contains(['?', '#']) {
                let message = format!(
                    "`{published}` is no address of a build: names of files are put behind it"
                );
                return Err(Error::new(Id::NotFound, message)
                    .hint("give the address that `/build.json` can be put behind"));
            }
            let client = client()?;
            let url = format!("{address}/{REPORT}");
            let text = client.get(&url, MOST_REPORT)?;
            if http::is_web_page(&text) {
                return Err(http::web_page(&crate::credentials::shown(&url)));
            }
            let report = Report::parse(&text).map_err(|error| {
                let error = wrong_report(published, &error);
                let packed = text.starts_with(&GZIP);
                if packed { error.hint("the server sends it compressed") } else { error }
            })?;
            Told { report, came: Some((text, client)) }
        }
    };
    let mut names = BTreeSet::new();
    for file in &told.report.artifacts {
        check(published, file)?;
        if !names.insert(&file.name) {
            return Err(no_build_has(published, file, "twice"));
        }
    }
    Ok(told)
}

fn wrong_report(published: &Published, error: &ReportError) -> Error {
    let what = match error {
        ReportError::Older(schema) => {
            format!("has schema {schema} of an older `orlop`, and this one compares {SCHEMA}")
        }
        ReportError::NotAReport(Some(cause)) => format!("{error}: {}", seen(&cause.to_string())),
        ReportError::NotAReport(None) | ReportError::Newer(_) => error.to_string(),
    };
    Error::new(Id::DamagedImage, format!("`{REPORT}` of `{published}` {what}"))
}

/// Brings all files of a published build to this host that a build here has, too, whether its
/// report has digests of them or not: those of a directory are there.
///
/// # Errors
/// Those of [`Client::download`]. A file that the server does not have is not there, and no error.
pub(super) fn bring(
    published: &Published,
    told: Told,
    into: &Path,
    disk: Disk,
    progress: &Progress,
) -> Result<Brought> {
    let Told { report, came } = told;
    let known = |file: &&Artifact| origin::kind(&file.name).is_some();
    let (files, unknown): (Vec<_>, Vec<_>) = report.artifacts.iter().partition(known);
    let mut left_out: BTreeSet<_> = unknown.into_iter().map(|file| file.name.clone()).collect();
    let mut names: BTreeSet<_> = files.iter().map(|file| file.name.clone()).collect();
    names.insert(REPORT.to_owned());
    let (Published::Address(address), Some((text, client))) = (published, came) else {
        let directory = match published {
            Published::Directory(path) => path.clone(),
            Published::Address(_) => into.to_owned(),
        };
        return Ok(Brought { report, directory, names, left_out });
    };
    for file in files {
        let is_disk = file.name == Kind::Disk.file_name();
        if is_disk && file.sha256.is_none() && disk == Disk::LeaveOut {
            left_out.insert(file.name.clone());
            names.remove(&file.name);
            continue;
        }
        let task = progress.task(&file.name, Some(file.size));
        let url = format!("{address}/{}", file.name);
        match client.download(&url, &into.join(&file.name), Some(file.size), &task) {
            Ok(_) => task.done(format!("{} bytes", file.size)),
            Err(error) if error.id() == Id::NotFound => {
                names.remove(&file.name);
                task.done("is not there");
            }
            Err(error) if error.id() == Id::WrongDigest => {
                let why = format!("the published build is not what its own `{REPORT}` says of it");
                return Err(Error::new(error.id(), error.chain()).hint(why));
            }
            Err(error) => return Err(error),
        }
    }
    let path = into.join(REPORT);
    fs::write(&path, &text).or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    Ok(Brought { report, directory: into.to_owned(), names, left_out })
}

/// That a name is no path, no address and not the report's, and a size one of a file.
fn check(published: &Published, file: &Artifact) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = file.name.chars().all(plain) && !file.name.starts_with('.') && !file.name.is_empty();
    if name && file.size <= MOST_FILE && file.name != REPORT {
        return Ok(());
    }
    Err(no_build_has(published, file, &format!("of {} bytes", file.size)))
}

fn no_build_has(published: &Published, file: &Artifact, how: &str) -> Error {
    let name = seen(&file.name);
    let message = format!("`{REPORT}` of `{published}` has a file `{name}` {how}, as no build has");
    Error::new(Id::DamagedImage, message)
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
            seen(&report.image),
            report.architecture,
            recipe.name,
            recipe.arch
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
            Some(format!("{} {} there, {ours} here", seen(name), seen(theirs)))
        }
        (Some(theirs), None) => Some(format!("{} {} there, not here", seen(name), seen(theirs))),
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
    let Some(theirs) = provenance(brought) else {
        return Ok(vec!["it has no provenance that says by which recipe it was made".to_owned()]);
    };
    let mut words = Vec::new();
    let parameters = theirs.pointer("/predicate/buildDefinition/externalParameters/recipe");
    if let Some(theirs) = parameters {
        let ours = contents::parameters(recipe)?;
        if *theirs != ours {
            let bytes = |value: &Value| value.to_string().into_bytes();
            let found = super::document::compare(&bytes(theirs), &bytes(&ours));
            let keys: Vec<_> =
                found.iter().take(NAMED).map(|found| seen(&found.place.to_string())).collect();
            words.push(format!("its recipe is another one: {}", keys.join("; ")));
        }
    }
    let version = theirs.pointer("/predicate/runDetails/builder/version/orlop");
    if let Some(version) = version.and_then(Value::as_str)
        && version != env!("CARGO_PKG_VERSION")
    {
        let own = env!("CARGO_PKG_VERSION");
        words.push(format!("it was made by orlop {}, and this is {own}", seen(version)));
    }
    Ok(words)
}

/// The provenance of a published build, if it has one that can be read.
fn provenance(brought: &Brought) -> Option<Value> {
    let (files, name) = (brought.files(), Kind::Provenance.file_name());
    let there = files.names().contains(name) && files.size(name).ok()? <= MOST_REPORT;
    let text = there.then(|| View::of(&files, name)?.bytes())?.ok()?;
    serde_json::from_slice(&text).ok()
}

/// Where files of a published build are not what its own report says of them.
///
/// # Errors
/// [`Id::Read`].
pub(super) fn contradictions(brought: &Brought) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let files = brought.files();
    let there = files.names();
    let mut differs = |file: &str, place: Vec<Part>, reported: String, published: String| {
        found.push(Difference {
            file: file.to_owned(),
            place: Place(place),
            component: None,
            step: None,
            looks: None,
            one: Some(reported),
            two: Some(published),
            follows: None,
            inputs: None,
        });
    };
    // Whoever trusts the provenance must get what the report has.
    let provenance = provenance(brought).unwrap_or_default();
    let subjects = provenance.get("subject").and_then(Value::as_array);
    for subject in subjects.into_iter().flatten() {
        let name = subject.get("name").and_then(Value::as_str).unwrap_or_default();
        let digest = subject.pointer("/digest/sha256").and_then(Value::as_str).unwrap_or_default();
        let file = brought.report.artifacts.iter().find(|file| file.name == name);
        let reported = file.and_then(|file| Some(file.sha256?.0.to_string()));
        if reported.as_deref() != Some(digest) {
            let key = Part::Key { name: format!("subject[{name}]") };
            let reported = reported.unwrap_or_else(|| "not there".to_owned());
            let place = vec![key, Part::reported("digest")];
            differs(Kind::Provenance.file_name(), place, reported, digest.to_owned());
        }
    }
    for file in &brought.report.artifacts {
        if !there.contains(&file.name) {
            continue;
        }
        let path = brought.directory.join(&file.name);
        let cannot = || format!("cannot read `{}`", path.display());
        let size = files.size(&file.name).or_fail(Id::Read, cannot)?;
        if size != file.size {
            let place = vec![Part::reported("size")];
            differs(&file.name, place, format!("{} bytes", file.size), format!("{size} bytes"));
        } else if let Some(wanted) = file.sha256 {
            let has: Sha256 = digest::of_file(&path, |_| ())?;
            if has != wanted.0 {
                let place = vec![Part::reported("digest")];
                differs(&file.name, place, wanted.0.to_string(), has.to_string());
            }
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
            (
                "http://a.example/mybuild.json",
                Published::Address("http://a.example/mybuild.json".into()),
            ),
            ("HTTPS://a.example/n", Published::Address("HTTPS://a.example/n".into())),
            ("ftp://a.example", Published::Directory("ftp://a.example".into())),
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
        let error = check(&published, &file("\\u001b[2J", 1)).unwrap_err().to_string();
        assert!(error.contains("a file `\\u{1b}[2J` of 1 bytes"), "{error}");
        assert!(check(&published, &file(REPORT, 1)).is_err());
        let query = Published::at("https://a.example/n?key=1");
        let error = report(&query, || unreachable!("nothing is asked")).unwrap_err();
        assert_eq!(error.id(), Id::NotFound);
    }

    fn told(artifacts: &str) -> String {
        format!(
            r#"{{ "schema": 3, "image": "tiny", "version": "1", "kernel": "6.0",
                 "root": {{ "hash": "{:064x}", "salt": "", "data-size": 1, "size": 1, "paths": 1 }},
                 "command-line": "", "components": {{}}, "dropped": {{}},
                 "packages": {{}}, "uki-size": 1, "initrd-size": 1, "disk-size": 1,
                 "artifacts": [{artifacts}] }}"#,
            0
        )
    }

    /// A published build in a directory: the names of a report lead nowhere else, and what no build
    /// here has is not compared.
    #[test]
    fn a_directory_is_held_to_its_report() {
        let directory = tempfile::tempdir().unwrap();
        let published = Published::Directory(directory.path().to_owned());
        let write = |artifacts: &str| {
            fs::write(directory.path().join(REPORT), told(artifacts)).unwrap();
            report(&published, || unreachable!("no server is asked"))
        };
        let file = |name: &str, rest: &str| format!(r#"{{"kind":"root","name":"{name}"{rest}}}"#);
        let root = file("root.img", r#","size":3"#);
        for bad in [file("../root.img", r#","size":3"#), format!("{root},{root}")] {
            let error = write(&bad).unwrap_err();
            assert_eq!(error.id(), Id::DamagedImage, "{error}");
            assert!(error.to_string().ends_with("as no build has"), "{error}");
        }
        fs::write(directory.path().join("root.img"), "abc").unwrap();
        let digest = format!(r#","size":9,"sha256":"{:064x}""#, 7);
        let cmdline = file("cmdline", &digest);
        fs::write(directory.path().join("cmdline"), "abc").unwrap();
        let initrd = file("initrd", &digest.replace('9', "3"));
        fs::write(directory.path().join("initrd"), "abc").unwrap();
        let other = file("other", r#","size":3"#);
        let told = write(&[root, cmdline, initrd, other].join(",")).unwrap();
        let progress = Progress::new(crate::progress::Mode::None);
        let brought = bring(&published, told, directory.path(), Disk::LeaveOut, &progress).unwrap();
        assert_eq!(Vec::from_iter(&brought.left_out), ["other"]);
        let wrong = contradictions(&brought).unwrap();
        let places: Vec<_> =
            wrong.iter().map(|wrong| format!("{}: {}", wrong.file, wrong.place)).collect();
        let want = ["cmdline: size in its own build.json", "initrd: digest in its own build.json"];
        assert_eq!(places, want);
    }
}
