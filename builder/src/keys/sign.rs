//! Signatures by keys that are here on a file of metadata that others may sign elsewhere.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use formats::tuf::{
    Head, Keys, Limits, Reason, RoleKeys, Root, Signed, Snapshot, Targets, Timestamp, TopLevel,
    Trusted,
};

use super::keyring::Keyring;
use super::roots::{self, Roots};
use crate::durable::{self, Name as When};
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model::Name;
use crate::unfinished::{self, Kind};

/// Whose signatures a file needs.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Whose keys: `root 1`, the version of the root that says so.
    pub root: u64,
    keys: Keys,
    role: RoleKeys,
}

/// How far a demand is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The version of the root whose keys are counted.
    pub root: u64,
    /// How many of its keys have signed.
    pub have: usize,
    /// How many must.
    pub want: u64,
    /// The names in `keys.toml` of those that have; others are unknown there.
    pub names: Vec<Name>,
}

/// What has become of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whose metadata it is.
    pub role: TopLevel,
    /// Its version.
    pub version: u64,
    /// In seconds since 1970.
    pub expires: i64,
    /// Keys that have signed it now.
    pub added: Vec<Name>,
    /// What it needs, and has.
    pub counts: Vec<Count>,
}

impl Outcome {
    /// That of a new root.
    pub(super) fn of_root(
        root: &Root,
        signed: &Signed,
        added: Vec<Name>,
        demands: &[Demand],
        keyring: &Keyring<'_>,
    ) -> Self {
        let Head { version, expires, .. } = root.head;
        let counts = counts(signed, demands, keyring);
        Self { role: TopLevel::Root, version, expires, added, counts }
    }

    /// Whether all have signed that must.
    pub fn is_complete(&self) -> bool {
        self.counts.iter().all(|count| count.have as u64 >= count.want)
    }
}

/// Whose metadata a file is, and its version and end.
fn head(signed: &Signed) -> Result<(TopLevel, Head), Reason> {
    let other = |reason: &Reason| matches!(reason, Reason::Type { .. });
    let mut found = signed.metadata::<Root>().map(|root| (TopLevel::Root, root.head));
    if found.as_ref().is_err_and(other) {
        found = signed.metadata::<Targets>().map(|it| (TopLevel::Targets, it.head));
    }
    if found.as_ref().is_err_and(other) {
        found = signed.metadata::<Snapshot>().map(|it| (TopLevel::Snapshot, it.head));
    }
    if found.as_ref().is_err_and(other) {
        found = signed.metadata::<Timestamp>().map(|it| (TopLevel::Timestamp, it.head));
    }
    found
}

impl Demand {
    /// What a root says of who signs for a role.
    pub fn of(root: &Root, role: TopLevel) -> Self {
        Self { root: root.head.version, keys: root.keys.clone(), role: root.role(role).clone() }
    }

    /// What a new root needs: signatures of its own keys, and of those of the one before it.
    pub fn of_root(root: &Root, before: Option<&Root>) -> Vec<Self> {
        before.into_iter().chain([root]).map(|root| Self::of(root, TopLevel::Root)).collect()
    }

    fn count(&self, signed: &Signed, keyring: &Keyring<'_>) -> Count {
        let signers = signed.signers(&self.keys, &self.role);
        let signer = |id: &&String| self.keys.get(id).is_some_and(|key| signers.contains(&key));
        let ids = self.role.ids.iter().filter(signer);
        let mut names: Vec<_> = ids.filter_map(|id| keyring.name(id).cloned()).collect();
        names.sort();
        Count { root: self.root, have: signers.len(), want: self.role.threshold, names }
    }
}

/// Adds the signatures of all keys that are here, and may sign, and have not yet.
///
/// # Errors
/// Those of [`Keyring::hands`] and of the signers.
pub fn add(
    signed: &mut Signed,
    demands: &[Demand],
    keyring: &mut Keyring<'_>,
) -> Result<Vec<Name>> {
    let mut added = Vec::new();
    for demand in demands {
        // A key that signs for both demands is not asked twice.
        let done = signed.signers(&demand.keys, &demand.role);
        let open = |id: &&String| demand.keys.get(id).is_none_or(|key| !done.contains(&key));
        for (name, hand) in keyring.hands(demand.role.ids.iter().filter(open))? {
            signed.sign(&hand)?;
            added.push(name);
        }
    }
    Ok(added)
}

/// How far demands are met.
fn counts(signed: &Signed, demands: &[Demand], keyring: &Keyring<'_>) -> Vec<Count> {
    demands.iter().map(|demand| demand.count(signed, keyring)).collect()
}

/// The root before the one of this version, which lies beside the file or beside `keys.toml`.
fn root_before(file: &Path, version: u64, keyring: &Keyring<'_>) -> Result<Option<Root>> {
    let Some(version) = version.checked_sub(1).filter(|version| *version > 0) else {
        return Ok(None);
    };
    let directories = [durable::parent(file), &keyring.directory];
    for path in directories.map(|directory| roots::path(directory, version)) {
        if let Some(bytes) = roots::read(&path, Limits::DEFAULT.root)? {
            let trusted = Trusted::new(&bytes, i64::MIN);
            let root = trusted.map_err(|reason| roots::refused(&path, reason))?.root().clone();
            if root.head.version != version {
                let (found, want) = (root.head.version, version);
                return Err(roots::refused(&path, Reason::Version { found, want }));
            }
            return Ok(Some(root));
        }
    }
    let message = format!(
        "there is no `{}`, whose keys must sign `{}` too",
        roots::path(&keyring.directory, version).display(),
        file.display()
    );
    Err(Error::new(Id::Read, message).hint("copy it there: it is public"))
}

/// Signs the file of any of the four roles with all keys that are here and may.
///
/// # Errors
/// [`Id::Read`], [`Id::Write`]; [`Id::Metadata`] if it is no metadata; [`Id::Signatures`] if none of
/// the keys that are here may sign it; those of [`add`].
pub fn sign(file: &Path, keyring: &mut Keyring<'_>) -> Result<Outcome> {
    let bytes = roots::read(file, Limits::DEFAULT.targets)?
        .ok_or_else(|| Error::new(Id::Read, format!("there is no `{}`", file.display())))?;
    let read = Signed::parse(&bytes).and_then(|signed| head(&signed).map(|head| (signed, head)));
    let (mut signed, (role, head)) = read.map_err(|reason| roots::refused(file, reason))?;
    let demands = if role == TopLevel::Root {
        let root = signed.metadata().map_err(|reason| roots::refused(file, reason))?;
        Demand::of_root(&root, root_before(file, head.version, keyring)?.as_ref())
    } else {
        vec![Demand::of(&Roots::load(&keyring.directory)?.last, role)]
    };
    let added = add(&mut signed, &demands, keyring)?;
    let counts = counts(&signed, &demands, keyring);
    let outcome = Outcome { role, version: head.version, expires: head.expires, added, counts };
    let mut names = outcome.counts.iter().flat_map(|count| &count.names);
    let idle = outcome.added.is_empty() && !names.any(|name| keyring.is_here(name));
    if idle && !outcome.is_complete() {
        let message = format!("no key that is here may sign `{}`", file.display());
        let may = demands.iter().flat_map(|demand| &demand.role.ids);
        let may: BTreeSet<_> = may.filter_map(|id| keyring.name(id)).collect();
        let may: Vec<_> = may.into_iter().map(Name::as_str).collect();
        return Err(Error::new(Id::Signatures, message).hint(match may.is_empty() {
            true => "`keys.toml` has none of the keys that may".to_owned(),
            false => format!("those that may are {}", may.join(", ")),
        }));
    }
    if !outcome.added.is_empty() {
        write(file, &signed.to_file())?;
    }
    Ok(outcome)
}

/// Puts a file of metadata in the place of what has its name: whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let file = unfinished::file(durable::parent(path), Kind::Metadata, 0o666);
    let mut file = file.or_fail(Id::Write, cannot)?;
    file.write_all(bytes).or_fail(Id::Write, cannot)?;
    durable::persist(file, path, When::Now).or_fail(Id::Write, cannot)
}

#[cfg(test)]
#[path = "sign/tests.rs"]
mod tests;
