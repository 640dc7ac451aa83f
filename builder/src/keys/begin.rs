//! A directory of new keys, with their `keys.toml` and the first root of a release.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::rc::Rc;

use formats::tuf::Signed;

use super::file::to_pem;
use super::keyring::{Hand, Keyring};
use super::passphrase::Passphrase;
use super::roles::{FILE_NAME, Role, Roles};
use super::roots::{self, Roots};
use super::sign::{Demand, Outcome, add};
use super::{PrivateKey, Signer as _, salt, seed};
use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished::{self, Kind};

/// The keys that a new release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Keys of root: `root-1` and so on.
    pub roots: u32,
    /// How many of these must sign.
    pub threshold: u32,
}

/// The names of the new keys, by the roles that they sign for.
fn names(plan: Plan) -> Vec<(Role, Vec<String>)> {
    let of = |role| match role {
        Role::Root => (1..=plan.roots).map(|number| format!("root-{number}")).collect(),
        Role::Targets | Role::Snapshot | Role::Timestamp => vec![role.to_string()],
    };
    Role::ALL.into_iter().map(|role| (role, of(role))).collect()
}

/// The text of `keys.toml` for keys with these names and public halves.
fn text(plan: Plan, keys: &[(Role, String, Rc<PrivateKey>)]) -> String {
    let mut text = "# Which keys sign for what. There is no secret here.\nschema = 1\n".to_owned();
    for (role, names) in names(plan) {
        let threshold = if role == Role::Root { plan.threshold } else { 1 };
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        text += &format!(
            "\n[{role}]\nthreshold = {threshold}\ndays = {}\nkeys = [{}]\n",
            role.days(),
            names.join(", ")
        );
    }
    for (_, name, key) in keys {
        let public = key.public();
        text += &format!("\n[key.{name}]\npublic = \"{public}\"\nfile = \"{name}.pem\"\n");
    }
    text
}

/// Makes `directory`, whole or not at all: the keys, encrypted unless there is no passphrase,
/// `keys.toml`, and the first root, signed by all keys of root, at `now` (seconds since 1970).
///
/// # Errors
/// [`Id::KeyInTheWay`] if it is there; [`Id::KeyRoles`] if the plan makes no sense; [`Id::Write`].
pub fn keys(directory: &Path, plan: Plan, passphrase: Option<&Passphrase>, now: i64) -> Result<()> {
    let cannot = || format!("cannot make `{}`", directory.display());
    if directory.symlink_metadata().is_ok() {
        let message = format!("`{}` is there, and has no `{FILE_NAME}`", directory.display());
        return Err(Error::new(Id::KeyInTheWay, message).hint("name a new directory for the keys"));
    }
    let mut keys = Vec::new();
    for (role, names) in names(plan) {
        for name in names {
            keys.push((role, name, Rc::new(PrivateKey::from_seed(seed()?))));
        }
    }
    let text = text(plan, &keys);
    let roles = Roles::parse(&text).map_err(|_| {
        let Plan { roots, threshold } = plan;
        let message = format!("{threshold} of {roots} keys cannot sign for `root`");
        Error::new(Id::KeyRoles, message).hint("at least 1 signs, and no more than there are")
    })?;
    let mut root = Signed::new(&roots::first(&roles, now));
    for (role, _, key) in &keys {
        if *role == Role::Root {
            root.sign(&Hand::new(Rc::clone(key) as _))?;
        }
    }
    let beside = unfinished::directory(durable::parent(directory), Kind::Keys, 0o777);
    let beside = beside.or_fail(Id::Write, cannot)?;
    let write = |path: &Path, mode, bytes: &[u8]| {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        file.and_then(|mut file| file.write_all(bytes)).or_fail(Id::Write, cannot)
    };
    for (_, name, key) in &keys {
        let salt = salt()?;
        let pem = to_pem(key, passphrase.map(|passphrase| (passphrase, &salt)));
        write(&beside.path().join(format!("{name}.pem")), 0o600, pem.as_bytes())?;
    }
    write(&beside.path().join(FILE_NAME), 0o666, text.as_bytes())?;
    write(&roots::path(beside.path(), 1), 0o666, &root.to_file())?;
    let placed = durable::contents(beside.path());
    let placed = placed.and_then(|()| durable::rename(beside.path(), directory));
    placed.or_fail(Id::Write, cannot)?;
    beside.keep();
    Ok(())
}

/// Makes the first root of keys that are there, signed by those of root that are here.
///
/// # Errors
/// [`Id::KeyInTheWay`] if there is one; [`Id::Write`]; those of the signers.
pub fn first(keyring: &mut Keyring<'_>, now: i64) -> Result<Outcome> {
    let path = roots::path(&keyring.directory, 1);
    if path.symlink_metadata().is_ok() {
        return Err(roots::in_the_way(&path));
    }
    let root = roots::first(&keyring.roles, now);
    let mut signed = Signed::new(&root);
    let demands = Demand::of_root(&root, None);
    let added = add(&mut signed, &demands, keyring)?;
    roots::write_new(&path, &signed)?;
    Ok(Outcome::of_root(&root, &signed, added, &demands, keyring))
}

/// Makes the root after the last one, in which a role has the keys that `keys.toml` gives it now,
/// signed by all keys that are here of those that must.
///
/// # Errors
/// Those of [`Roots::load`]; [`Id::Signatures`] if a root is begun already; [`Id::Write`]; those of
/// the signers.
pub fn next(role: Role, keyring: &mut Keyring<'_>, now: i64) -> Result<Outcome> {
    let before = Roots::load(&keyring.directory)?;
    before.complete(&keyring.directory)?;
    let root = roots::next(&before.last, &keyring.roles, role, now);
    let mut signed = Signed::new(&root);
    let demands = Demand::of_root(&root, Some(&before.last));
    let added = add(&mut signed, &demands, keyring)?;
    roots::write_new(&roots::path(&keyring.directory, root.head.version), &signed)?;
    Ok(Outcome::of_root(&root, &signed, added, &demands, keyring))
}

#[cfg(test)]
#[path = "begin/tests.rs"]
mod tests;
