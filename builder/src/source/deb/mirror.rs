//! Where packages can be had. Any mirror will do: signatures and digests decide what is believed.
//!
//! Mirrors are, in this order: those that were given; else those of the host's own apt sources,
//! if the host uses Debian (of whatever release).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use formats::architecture::Architecture;
use formats::deb::Stamp;
use percent_encoding::percent_decode_str;

use super::apt;
use super::apt::sources::{SignedBy, Source};
use super::signature;
use crate::credentials::{Address, shown};
use crate::error::{Error, Id, Result};

/// In a mirror's address: stands for the recipe's `snapshot`.
const SNAPSHOT: &str = "{snapshot}";

/// How many of apt's sources an error names that are passed over.
const NAMED: usize = 4;

/// Debian mirrors, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    // Invariant: addresses without a slash at the end and without a password, none twice,
    // `archive` not empty.
    archive: Vec<String>,
    security: Vec<String>,
    logins: Vec<Address>,
}

/// Where to look for mirrors.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Those that the user named.
    pub given: &'a [String],
    /// The root of the host, whose apt sources count if none was named.
    pub root: &'a Path,
    /// What packages are wanted for.
    pub architecture: Architecture,
    /// Fingerprints that the recipe pins.
    pub pinned: &'a BTreeSet<String>,
    /// The time of the recipe's dated archive.
    pub snapshot: Option<Stamp>,
}

impl Mirrors {
    /// Takes the mirrors that were given, else those of the apt sources.
    ///
    /// # Errors
    /// [`Id::NoMirror`] if there is none, [`Id::BadMirror`] for what is not an address,
    /// [`Id::Read`] if the apt sources are there and cannot be read.
    pub fn find(search: &Search<'_>) -> Result<Self> {
        if search.given.is_empty() {
            return Self::of_apt(search);
        }
        let dated = |address: &String| match search.snapshot {
            Some(stamp) => Ok(address.replace(SNAPSHOT, &stamp.to_string())),
            None if address.contains(SNAPSHOT) => {
                let message = format!(
                    "the mirror `{}` is of a certain day, and the recipe names none",
                    shown(address)
                );
                Err(Error::new(Id::BadMirror, message)
                    .hint("write for example `snapshot = \"20261128T000000Z\"` into `[debian]`"))
            }
            None => Ok(address.clone()),
        };
        let given = search.given.iter().map(dated).collect::<Result<Vec<_>>>()?;
        Self::new(given.iter().map(String::as_str))
    }

    /// Sorts addresses into those of the archive and, by a directory `*-security`, those of the
    /// security archive. Every archive implies a security archive beside it, tried after those
    /// that were named: `X/debian-security` for `X/debian`.
    ///
    /// # Errors
    /// [`Id::NoMirror`] if there is no address of an archive, [`Id::BadMirror`].
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut mirrors = Self { archive: Vec::new(), security: Vec::new(), logins: Vec::new() };
        for address in addresses {
            let place = Place::parse(address)?;
            let of_security = place.segments().any(|segment| segment.ends_with("-security"));
            mirrors.add(place, !of_security, of_security);
        }
        mirrors.finish(Vec::new())
    }

    fn of_apt(search: &Search<'_>) -> Result<Self> {
        let mut mirrors = Self { archive: Vec::new(), security: Vec::new(), logins: Vec::new() };
        let mut passed = Vec::new();
        for (file, source) in apt::read_sources(search.root, search.architecture)? {
            let suites: Vec<_> = source.suites.iter().filter_map(|suite| kind(suite)).collect();
            if suites.is_empty() || !source.components.iter().any(|component| component == "main") {
                continue;
            }
            let at = |what: String| format!("`{}:{}`: {what}", file.display(), source.line);
            if !is_debians(&source, search) {
                passed.push(at("neither its key nor its address is known as Debian's".to_owned()));
                continue;
            }
            let of_security = suites.contains(&Kind::Security);
            let of_archive = suites.contains(&Kind::Archive);
            for uri in source.uris.iter().flat_map(|uri| expanded(uri, search.root)) {
                match Place::parse(&uri) {
                    Ok(place) => mirrors.add(place, of_archive, of_security),
                    Err(_) => {
                        let method = uri.split(':').next().unwrap_or_default();
                        passed.push(at(format!("apt's method `{method}:` is not supported")));
                    }
                }
            }
        }
        mirrors.finish(passed)
    }

    fn add(&mut self, place: Place, of_archive: bool, of_security: bool) {
        for (list, wanted) in [(&mut self.archive, of_archive), (&mut self.security, of_security)] {
            if wanted && !list.contains(&place.text) {
                list.push(place.text.clone());
            }
        }
        self.logins.extend(place.login);
    }

    fn finish(mut self, passed: Vec<String>) -> Result<Self> {
        if self.archive.is_empty() {
            let error = Error::new(Id::NoMirror, "no Debian mirror is known")
                .hint("name one with `--mirror URL` or in `ORLOP_DEBIAN_MIRROR`");
            let passed = passed.into_iter().take(NAMED);
            return Err(
                passed.fold(error, |error, passed| error.hint(format!("not taken: {passed}")))
            );
        }
        for address in &self.archive {
            for beside in beside(address) {
                if !self.security.contains(&beside) {
                    self.security.push(beside);
                }
            }
        }
        Ok(self)
    }

    /// Base addresses at which `suite` may be, best first.
    pub fn of_suite(&self, suite: &str) -> &[String] {
        if kind(suite) == Some(Kind::Security) || suite.ends_with("-security") {
            &self.security
        } else {
            &self.archive
        }
    }

    /// Addresses of mirrors that were named with a name and a password.
    pub fn logins(&self) -> &[Address] {
        &self.logins
    }
}

/// Where the security archive is, if this is the archive: the directory `debian-security` in the
/// place of `debian`, which an archive of dates has in the middle, or one of two usual names.
fn beside(address: &str) -> Vec<String> {
    let at = address
        .rfind("/debian/")
        .or_else(|| address.ends_with("/debian").then(|| address.len() - "/debian".len()));
    if let Some(at) = at {
        let (before, after) = address.split_at(at + "/debian".len());
        return vec![format!("{before}-security{after}")];
    }
    match address.rsplit_once('/') {
        Some((parent, _)) if !parent.ends_with('/') => {
            vec![format!("{address}-security"), format!("{parent}/debian-security")]
        }
        // A bare host has no name of a directory that could be changed.
        _ => vec![format!("{address}/debian-security")],
    }
}

/// An address of a mirror.
#[derive(Debug)]
struct Place {
    // Without a slash at the end and without a password: `http://...`, `https://...`, `file:/...`.
    text: String,
    login: Option<Address>,
}

impl Place {
    fn parse(text: &str) -> Result<Self> {
        let bad = || {
            let message = format!("`{}` is not the address of a mirror", shown(text));
            Error::new(Id::BadMirror, message)
                .hint("write for example `http://mirror.example/debian` or `file:/srv/debian`")
        };
        if let Some(path) = text.strip_prefix("file:").or_else(|| text.strip_prefix("copy:")) {
            let path = path.strip_prefix("//").unwrap_or(path).trim_end_matches('/');
            let good = path.starts_with('/') && !path.contains(char::is_control);
            let place = || Self { text: format!("file:{path}"), login: None };
            return good.then(place).ok_or_else(bad);
        }
        let address = Address::parse(text).map_err(|_| bad())?;
        if address.as_str().contains(['?', '#']) {
            return Err(bad());
        }
        let plain = address.as_str().trim_end_matches('/').to_owned();
        Ok(Self { text: plain, login: address.login().is_some().then_some(address) })
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        let path = self.text.split_once("://").map_or(self.text.as_str(), |(_, rest)| rest);
        path.split('/').skip(1)
    }
}

/// The file that a `file:` address means: as for apt, `%20` is a blank in it.
pub fn local_path(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file:")?;
    Some(PathBuf::from(percent_decode_str(path).decode_utf8_lossy().into_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Archive,
    Security,
}

/// Codenames of Debian's releases that a host may run. A list and not a rule, because Ubuntu and
/// others also have one-word suites, in archives of the same layout.
const CODENAMES: &[&str] = &[
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
];

/// In which archive a suite of Debian's is.
fn kind(suite: &str) -> Option<Kind> {
    let name = suite.split(['-', '/']).next().unwrap_or_default();
    if !CODENAMES.contains(&name) {
        return None;
    }
    match &suite[name.len()..] {
        "" | "-updates" | "-proposed-updates" | "-backports" | "-backports-sloppy" => {
            Some(Kind::Archive)
        }
        "-security" | "/updates" => Some(Kind::Security),
        _ => None,
    }
}

/// Whether a source with Debian's suites is Debian's own archive, and not that of one of the many
/// that publish for Debian: it is signed by Debian's keys, or, where apt believes any key, at an
/// address like Debian's.
fn is_debians(source: &Source, search: &Search<'_>) -> bool {
    let at_debians = || {
        source.uris.iter().any(|uri| {
            let mut segments = uri.trim_end_matches('/').split('/').skip(1);
            segments.any(|segment| ["debian", "debian-security"].contains(&segment))
        })
    };
    match &source.signed_by {
        SignedBy::Any => at_debians(),
        SignedBy::Inline(key) => signature::holds(key.as_bytes(), search.pinned) || at_debians(),
        SignedBy::Named(names) => names.iter().any(|name| {
            let fingerprint = name.trim_end_matches('!');
            let file = || fs::read(search.root.join(name.trim_start_matches('/')));
            name.contains("debian-archive")
                || search.pinned.iter().any(|pin| pin.eq_ignore_ascii_case(fingerprint))
                || (name.starts_with('/')
                    && file().is_ok_and(|keyring| signature::holds(&keyring, search.pinned)))
        }),
    }
}

/// Debian's cloud images name a file with mirrors, one a line: `mirror+file:/etc/apt/...`. Of two
/// the one with the lower priority is better.
fn expanded(uri: &str, root: &Path) -> Vec<String> {
    let list = uri.strip_prefix("mirror+file:").or_else(|| uri.strip_prefix("mirror+copy:"));
    let Some(path) = list else { return vec![uri.to_owned()] };
    let path = root.join(path.trim_start_matches('/').trim_end_matches('/'));
    // apt itself says what is wrong with its configuration; we do without.
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let uri = words.next()?.to_owned();
        let priority = words.find_map(|word| word.strip_prefix("priority:")?.parse().ok());
        Some((priority.unwrap_or(u64::MAX), uri))
    };
    let mut lines: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect();
    lines.sort_by_key(|(priority, _)| *priority);
    lines.into_iter().map(|(_, uri)| uri).collect()
}

#[cfg(test)]
mod tests;
