//! The roots of a release: `1.root.json`, `2.root.json` and so on, beside `keys.toml`. Each is signed by
//! enough keys of the one before and of its own; one that is not yet is begun.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use formats::tuf::{Head, Limits, Reason, Root, Signed, TopLevel, Trusted};

use super::keyring::keys_of;
use super::roles::{Role, Roles};
use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished::{self, Kind};

/// A day in seconds.
const DAY: i64 = 86_400;

/// The roots of a directory.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The files of those that are signed, from the first on.
    pub files: Vec<Vec<u8>>,
    /// The last of these.
    pub last: Root,
    /// Why the one after it does not count yet, if there is one.
    pub begun: Option<Reason>,
}

/// Where the root of a version lies.
pub fn path(directory: &Path, version: u64) -> PathBuf {
    directory.join(format!("{version}.{}", TopLevel::Root.file()))
}

/// Until when a role that signs at `now`, in seconds since 1970, signs for.
pub fn expires(roles: &Roles, role: Role, now: i64) -> i64 {
    now.saturating_add(i64::from(roles.role(role).days) * DAY)
}

/// The first root of these roles, to be signed.
pub fn first(roles: &Roles, now: i64) -> Root {
    let head = Head::new(1, expires(roles, Role::Root, now));
    let role = |role: TopLevel| Role::ALL.into_iter().find(|ours| ours.of_metadata() == role);
    Root::new(head, |of| role(of).map_or((Vec::new(), 1), |role| keys_of(roles, role)))
}

/// The root after this one, in which a role has the keys that it has in `roles`.
pub fn next(last: &Root, roles: &Roles, role: Role, now: i64) -> Root {
    let mut root = last.clone();
    let (keys, threshold) = keys_of(roles, role);
    root.assign(role.of_metadata(), keys, threshold);
    root.head.version += 1;
    root.head.expires = expires(roles, Role::Root, now);
    root
}

/// Reads the file of metadata at `path`; nothing if there is none.
///
/// # Errors
/// [`Id::Read`]; [`Id::Metadata`] if it is larger than a client would take.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let cannot = || format!("cannot read `{}`", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.or_fail(Id::Read, cannot)?,
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).or_fail(Id::Read, cannot)?;
    if bytes.len() as u64 > limit {
        return Err(refused(path, Reason::TooLong(limit)));
    }
    Ok(Some(bytes))
}

/// That a file of metadata is none, or not one to go on with.
pub fn refused(path: &Path, reason: Reason) -> Error {
    Error::new(Id::Metadata, format!("`{}` is refused", path.display())).caused_by(reason)
}

impl Roots {
    /// Reads and verifies the roots that lie in a directory.
    ///
    /// # Errors
    /// [`Id::Read`] if there is none; [`Id::Metadata`] if one does not follow from the one before;
    /// [`Id::Signatures`] if the first one is not signed yet.
    pub fn load(directory: &Path) -> Result<Self> {
        let limit = Limits::DEFAULT.root;
        let one = path(directory, 1);
        let Some(first) = read(&one, limit)? else {
            let message = format!("there is no `{}`", one.display());
            return Err(Error::new(Id::Read, message).hint("`orlop keys init` makes it"));
        };
        // Whether one has expired is asked by whoever trusts it.
        let mut trusted = Trusted::new(&first, i64::MIN).map_err(|reason| match reason {
            Reason::Signatures { .. } => unsigned(&one, reason),
            reason => refused(&one, reason),
        })?;
        let mut files = vec![first];
        let mut begun = None;
        loop {
            let next = path(directory, files.len() as u64 + 1);
            let Some(bytes) = read(&next, limit)? else { break };
            match trusted.update_root(&bytes) {
                Ok(_) => files.push(bytes),
                Err(reason @ Reason::Signatures { .. }) => {
                    begun = Some(reason);
                    break;
                }
                Err(reason) => return Err(refused(&next, reason)),
            }
        }
        Ok(Self { files, last: trusted.root().clone(), begun })
    }

    /// That no root is begun, which has to be signed or removed first.
    ///
    /// # Errors
    /// [`Id::Signatures`].
    pub fn complete(&self, directory: &Path) -> Result<()> {
        let next = path(directory, self.last.head.version + 1);
        self.begun.clone().map_or(Ok(()), |reason| Err(unsigned(&next, reason)))
    }
}

/// That a file lacks signatures.
pub fn unsigned(path: &Path, reason: Reason) -> Error {
    let path = path.display();
    let error = Error::new(Id::Signatures, format!("`{path}` is not signed yet"));
    error.caused_by(reason).hint(format!("`orlop keys sign {path}` adds the signatures of keys"))
}

/// Writes a new root, which takes the place of nothing.
///
/// # Errors
/// [`Id::KeyInTheWay`], [`Id::Write`].
pub fn write_new(path: &Path, root: &Signed) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let file = unfinished::file(durable::parent(path), Kind::Metadata, 0o666);
    let mut file = file.or_fail(Id::Write, cannot)?;
    file.write_all(&root.to_file()).or_fail(Id::Write, cannot)?;
    durable::persist_new(file, path, Name::Now).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => in_the_way(path),
        _ => Error::new(Id::Write, cannot()).caused_by(error),
    })
}

/// That a root is there already.
pub fn in_the_way(path: &Path) -> Error {
    let message = format!("`{}` is there: a root is never written over another", path.display());
    Error::new(Id::KeyInTheWay, message)
        .hint("`orlop keys rotate ROLE` makes the next one, `orlop keys sign FILE` signs it")
}
