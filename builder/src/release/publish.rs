//! Publishing: a build becomes a release, and an old one goes. All files of the new state come to their
//! places before `timestamp.json`, which leads to them; what the state before names stays until the
//! next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use formats::release::{FILE, Release, custom};
use formats::tuf::publish::{EditionError, edition};
use formats::tuf::{
    Form, Found, Head, Object, Reason, Signed, Snapshot, TargetFile, TargetPath, Targets, TopLevel,
};

use super::coming::Coming;
use super::files::draft;
use super::fits::{self, Steps};
use super::history::History;
use super::place::Place;
use super::reader::{self, Reader};
use super::signers::{Order, Signers};
use super::state::State;
use super::verify::{Piece, describe, files, image};
use super::{refused, versions};
use crate::build::written;
use crate::error::{Context as _, Error, Id, Result};
use crate::keys::keyring::Keyring;
use crate::keys::roles::Role;
use crate::keys::roots::{self, Roots};

pub use super::files::Terms;

/// How much stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Releases, the new one included: 1 or more.
    pub releases: usize,
    /// From how many of the releases before there is a delta.
    pub deltas: usize,
}

/// What is published now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The new release, if one was made.
    pub release: Option<Release>,
    /// All versions, the oldest first.
    pub versions: Vec<String>,
    /// Those that went.
    pub removed: Vec<String>,
    /// The version of the timestamp.
    pub timestamp: u64,
    /// Until when it is good, in seconds since 1970.
    pub expires: i64,
    /// Releases that are reached from one on that went.
    pub stranded: Vec<String>,
}

/// Files of targets by their paths below `targets`.
fn paths(targets: &Targets) -> BTreeSet<String> {
    let path =
        |(path, file): (&TargetPath, &TargetFile)| path.path(file.hashes.prefix(), Form::File);
    targets.targets.iter().map(path).collect()
}

/// Who signs a new edition.
#[derive(Debug)]
struct EditionSigners {
    targets: Signers,
    snapshot: Signers,
    timestamp: Signers,
}

impl EditionSigners {
    /// The roots come last if all of it is good under those before.
    fn order(&self) -> Order {
        let all = [&self.targets, &self.snapshot, &self.timestamp];
        let good = all.iter().all(|signers| signers.order == Order::RootsLast);
        if good { Order::RootsLast } else { Order::RootsFirst }
    }
}

/// A publisher: the keys, the roots and the time.
#[derive(Debug)]
pub struct Publisher<'k, 'a> {
    keyring: &'k mut Keyring<'a>,
    roots: Roots,
    now: i64,
}

impl<'k, 'a> Publisher<'k, 'a> {
    /// Begins at a time, in seconds since 1970.
    ///
    /// # Errors
    /// Those of [`Roots::load`]; [`Id::Metadata`] if the root has expired.
    pub fn new(keyring: &'k mut Keyring<'a>, now: i64) -> Result<Self> {
        let roots = Roots::load(&keyring.directory)?;
        let expires = roots.last.head.expires;
        if expires <= now {
            let path = roots::path(&keyring.directory, roots.last.head.version);
            return Err(roots::refused(&path, Reason::Expired(expires))
                .hint("`orlop keys rotate root` makes the next one"));
        }
        Ok(Self { keyring, roots, now })
    }

    /// Publishes a build to `directory`, by up to `jobs` threads.
    ///
    /// # Errors
    /// [`Id::Published`] if there is such a version; [`Id::Signatures`] if keys are not here;
    /// [`Id::Publishing`] if somebody else is at it; those of reading and writing.
    pub fn publish(
        &mut self,
        build: &Path,
        directory: &Path,
        terms: &Terms,
        keep: Keep,
        jobs: usize,
    ) -> Result<Published> {
        // Whoever is asked for a passphrase is asked before the work begins.
        self.edition_signers(None)?;
        let place = Place::open(directory)?;
        let state = State::load(directory, &self.roots)?;
        let signers = self.edition_signers(state.known)?;
        let history = History::read(directory, &state.targets())?;
        let epoch = terms.epoch.or_else(|| Some(history.epoch()));
        // Packing takes long, and this is known before.
        let report = written::report(build)?;
        fits::version(build, &report.version, terms.version.as_deref())?;
        history.is_free(&report.version, None)?;
        let architecture = report.architecture.to_string();
        fits::directory(directory, &state, (&report.image, &architecture))?;
        let mut draft = draft(build, &Terms { epoch, ..terms.clone() }, jobs)?;
        history.allows(&draft.release)?;
        let mut coming = Coming::new(&place, &draft.release.version);
        // Each is dropped as soon as it is in its place: images are large.
        for (name, bytes) in draft.files.drain(..) {
            coming.put(&name, &bytes, None)?;
        }
        if let Some(trusted) = &state.trusted {
            let there = reader::directory(directory);
            let mut reader = Reader::at(&there, &state.root);
            for (_, version) in versions(&state.targets()).iter().rev().take(keep.deltas) {
                let from = describe(&mut reader, trusted, version)?;
                let mut old = |piece| image(&mut reader, trusted, &from, piece);
                let (root, uki) = (old(Piece::Root)?, old(Piece::Uki)?);
                draft.add_delta(&from, &root, &uki)?;
                for (name, bytes) in draft.files.drain(..) {
                    coming.put(&name, &bytes, None)?;
                }
            }
        }
        let release = draft.release;
        let description = release.to_file().or_fail(Id::ReleaseTerms, || "cannot be released")?;
        coming.put(FILE, &description, Some(self.listing(&history, &release)))?;
        let coming = coming.into_files();
        self.place(&place, &state, &signers, release, coming, keep.releases)
    }

    /// Publishes a release that is published elsewhere under the same root, without a byte changed.
    ///
    /// # Errors
    /// [`Id::UnknownRelease`]; those of [`verify`](super::verify::verify) and of [`Self::publish`].
    pub fn promote(
        &mut self,
        from: &reader::Place,
        version: &str,
        directory: &Path,
        keep: Keep,
    ) -> Result<Published> {
        self.edition_signers(None)?;
        // What cannot be promoted makes no directory.
        let root = self.roots.files.last().cloned();
        let root = root.ok_or_else(|| Error::new(Id::Bug, "there is no root"))?;
        let mut reader = Reader::at(from, &root);
        let trusted = reader.refresh(self.now)?;
        let there = trusted.targets().into_iter().flat_map(versions);
        if !there.into_iter().any(|(_, known)| known == version) {
            let message = format!("there is no release `{version}` to promote");
            return Err(Error::new(Id::UnknownRelease, message));
        }
        let place = Place::open(directory)?;
        let state = State::load(directory, &self.roots)?;
        let signers = self.edition_signers(state.known)?;
        if versions(&state.targets()).iter().any(|(_, known)| known == version) {
            return Err(published(directory, version));
        }
        let release = describe(&mut reader, &trusted, version)?;
        fits::directory(directory, &state, (&release.image, &release.architecture))?;
        let history = History::read(directory, &state.targets())?;
        history.allows(&release)?;
        let mut coming = Coming::new(&place, version);
        let mut each = |name: &str, found: &Found, mut file: File| {
            let custom = (name == FILE).then(|| self.listing(&history, &release));
            if name == FILE {
                history.is_free(version, Some(&found.file.hashes))?;
            }
            coming.copy(name, found, &mut file, custom)
        };
        files(&mut reader, &trusted, &release, &mut each)?;
        let coming = coming.into_files();
        self.place(&place, &state, &signers, release, coming, keep.releases)
    }

    /// What is said of a new `release.json` beside its length and hash.
    fn listing(&self, history: &History, release: &Release) -> Object {
        custom(history.next(), self.now, release.epoch)
    }

    /// Places the state that leads to a new release, whose files are in their places.
    fn place(
        &mut self,
        place: &Place<'_>,
        state: &State,
        signers: &EditionSigners,
        release: Release,
        coming: BTreeMap<TargetPath, TargetFile>,
        keep: usize,
    ) -> Result<Published> {
        let mut targets = state.targets();
        let new = (release.version.as_str(), release.min_from.as_deref());
        let removed = Steps::new(place.directory(), state).beyond(new, keep)?;
        for version in &removed {
            remove(&mut targets, version);
        }
        targets.targets.extend(coming);
        let published = self.edition(place, state, signers, targets)?;
        Ok(Published { release: Some(release), removed, ..published })
    }

    /// Takes a version away.
    ///
    /// # Errors
    /// [`Id::UnknownRelease`]; those of [`Self::publish`].
    pub fn withdraw(&mut self, directory: &Path, version: &str) -> Result<Published> {
        let none = || {
            let message = format!("`{}` has no release `{version}`", directory.display());
            Error::new(Id::UnknownRelease, message)
        };
        // Nothing is taken away from a directory that is not there, and none is made for that.
        if !directory.join("metadata").is_dir() {
            return Err(none());
        }
        self.edition_signers(None)?;
        let place = Place::open(directory)?;
        let state = State::load(directory, &self.roots)?;
        let signers = self.edition_signers(state.known)?;
        let mut targets = state.targets();
        if !versions(&targets).iter().any(|(_, known)| known == version) {
            return Err(none());
        }
        let stranded = Steps::new(directory, &state).after(version)?;
        remove(&mut targets, version);
        let published = self.edition(&place, &state, &signers, targets)?;
        Ok(Published { removed: vec![version.to_owned()], stranded, ..published })
    }

    /// Signs the timestamp anew, and the snapshot if half of its time is over, and nothing else.
    ///
    /// # Errors
    /// [`Id::UnknownRelease`] if nothing is published; [`Id::Metadata`] if the roles have other keys by
    /// now than what is there; those of [`Self::publish`].
    pub fn refresh(&mut self, directory: &Path) -> Result<Published> {
        let root = self.roots.last.clone();
        self.signers(None, Role::Timestamp)?;
        let place = Place::open(directory)?;
        let state = State::load(directory, &self.roots)?;
        let timestamp = self.signers(state.known, Role::Timestamp)?;
        let mut order = timestamp.order;
        let nothing = || {
            let message = format!("there is no release in `{}`", directory.display());
            Error::new(Id::UnknownRelease, message).hint("`orlop publish BUILD` makes one")
        };
        let trusted = state.trusted.as_ref().ok_or_else(nothing)?;
        let (Some(current), Some(targets)) = (trusted.snapshot(), trusted.targets()) else {
            return Err(nothing());
        };
        let read = |name: String| {
            let path = directory.join("metadata").join(name);
            let bytes = roots::read(&path, formats::tuf::Limits::DEFAULT.targets)?;
            bytes.ok_or_else(|| roots::refused(&path, Reason::Missing))
        };
        let signed = |role: TopLevel, bytes: &[u8]| {
            let signed = Signed::parse(bytes);
            signed.and_then(|it| it.check(&root.keys, root.role(role), role.as_str()))
        };
        let targets_file = read(format!("{}.targets.json", targets.head.version))?;
        if let Err(reason) = signed(TopLevel::Targets, &targets_file) {
            return Err(refused(reason.of("targets.json"))
                .hint("its keys have changed: `publish` or `withdraw` signs it again"));
        }
        let mut snapshot = read(format!("{}.snapshot.json", current.head.version))?;
        let mut head = current.head.clone();
        let half = (roots::expires(&self.keyring.roles, Role::Snapshot, self.now) - self.now) / 2;
        let stale = head.expires.saturating_sub(self.now) < half;
        if stale || signed(TopLevel::Snapshot, &snapshot).is_err() {
            let signers = self.signers(state.known, Role::Snapshot)?;
            if signers.order == Order::RootsFirst {
                order = signers.order;
            }
            let expires = roots::expires(&self.keyring.roles, Role::Snapshot, self.now);
            head = Head::new(head.version + 1, expires);
            let next = Snapshot { head: head.clone(), meta: current.meta.clone() };
            snapshot = formats::tuf::publish::signed(&next, &signers.hands())?;
            place.put(&format!("metadata/{}.snapshot.json", head.version), &snapshot)?;
        }
        let expires = roots::expires(&self.keyring.roles, Role::Timestamp, self.now);
        let next = formats::tuf::Timestamp::of(
            Head::new(state.next().1, expires),
            &Snapshot { head: head.clone(), meta: current.meta.clone() },
            &snapshot,
        );
        let until = [&root.head, &head, &targets.head, &next.head].map(|head| head.expires);
        let bytes = formats::tuf::publish::signed(&next, &timestamp.hands())?;
        self.lead(&place, order, &bytes)?;
        Ok(Published {
            release: None,
            versions: versions(targets).into_iter().map(|(_, version)| version).collect(),
            removed: Vec::new(),
            stranded: Vec::new(),
            timestamp: next.head.version,
            expires: until.into_iter().min().unwrap_or(i64::MIN),
        })
    }

    /// Who signs for a role, where readers know the root `known`.
    fn signers(&mut self, known: Option<usize>, role: Role) -> Result<Signers> {
        Signers::of(self.keyring, &self.roots, known, role)
    }

    /// All that must sign a new edition: asked before anything is written.
    fn edition_signers(&mut self, known: Option<usize>) -> Result<EditionSigners> {
        Ok(EditionSigners {
            targets: self.signers(known, Role::Targets)?,
            snapshot: self.signers(known, Role::Snapshot)?,
            timestamp: self.signers(known, Role::Timestamp)?,
        })
    }

    /// Leads readers to a new state, and the roots come to their places, in the order in which they follow
    /// each other.
    fn lead(&self, place: &Place<'_>, order: Order, timestamp: &[u8]) -> Result<()> {
        let roots = || {
            self.roots.files.iter().zip(1u64..).try_for_each(|(root, version)| {
                place.put_once(&format!("metadata/{version}.root.json"), root)
            })
        };
        match order {
            Order::RootsFirst => roots().and_then(|()| place.lead(timestamp)),
            Order::RootsLast => place.lead(timestamp).and_then(|()| roots()),
        }
    }

    /// Signs and places a new state whose files of targets are in their places.
    fn edition(
        &mut self,
        place: &Place<'_>,
        state: &State,
        signers: &EditionSigners,
        mut targets: Targets,
    ) -> Result<Published> {
        let expires = |role| roots::expires(&self.keyring.roles, role, self.now);
        targets.head.version += 1;
        targets.head.expires = expires(Role::Targets);
        let signed = formats::tuf::publish::signed(&targets, &signers.targets.hands())?;
        let (snapshot, timestamp) = state.next();
        let snapshot =
            (Head::new(snapshot, expires(Role::Snapshot)), &signers.snapshot.hands()[..]);
        let head = Head::new(timestamp, expires(Role::Timestamp));
        let until = [&targets.head, &snapshot.0, &head].map(|head| head.expires);
        let until = until.into_iter().chain([self.roots.last.head.expires]).min();
        let timed = (head, &signers.timestamp.hands()[..]);
        let files = edition(&self.roots.last, &signed, &[].into(), snapshot, timed);
        let files = files.map_err(|error| match error {
            EditionError::Refused(reason) => refused(reason),
            EditionError::Signer(error) => error,
        })?;
        let (last, files) =
            files.split_last().ok_or_else(|| Error::new(Id::Bug, "an edition has no timestamp"))?;
        for file in files {
            let name = file.name().or_fail(Id::Bug, || "metadata has no name")?;
            place.put(&format!("metadata/{name}"), &file.bytes)?;
        }
        self.lead(place, signers.order(), &last.bytes)?;
        // Who reads the state before may still fetch what it names.
        let wanted = paths(&targets).union(&paths(&state.targets())).cloned().collect();
        place.sweep(&wanted);
        Ok(Published {
            release: None,
            versions: versions(&targets).into_iter().map(|(_, version)| version).collect(),
            removed: Vec::new(),
            stranded: Vec::new(),
            timestamp,
            expires: until.unwrap_or(i64::MIN),
        })
    }
}

fn published(directory: &Path, version: &str) -> Error {
    let message = format!("`{}` has a release {version} already", directory.display());
    Error::new(Id::Published, message).hint("a release never changes: take another version")
}

fn remove(targets: &mut Targets, version: &str) {
    let below = format!("{version}/");
    targets.targets.retain(|path, _| !path.as_str().starts_with(&below));
}

#[cfg(test)]
#[path = "publish/tests.rs"]
pub(super) mod tests;
