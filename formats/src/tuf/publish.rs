//! What a publisher makes: metadata that is signed, a snapshot of it and a timestamp, as files with
//! their places. Specification sections 6.2 and 6.3.

use std::collections::BTreeMap;

use super::error::{Reason, Refused};
use super::hashes::MetaFile;
use super::metadata::{Head, Metadata, Root, Snapshot, Targets, Timestamp};
use super::name::{Form, RoleName, RoleNameError, TopLevel, metadata_path};
use super::signed::{Signed, Signer};

/// A file of a repository's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    role: String,
    /// If each version has a name of its own.
    version: Option<u64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl File {
    /// Where clients ask for it, below the address of the metadata.
    pub fn address(&self) -> String {
        metadata_path(&self.role, self.version, Form::Address)
    }

    /// Its name in a directory that is served: servers undo the quoting of addresses.
    ///
    /// # Errors
    /// The name of its role cannot be part of the name of a file.
    pub fn name(&self) -> Result<String, RoleNameError> {
        let name = metadata_path(&self.role, self.version, Form::File);
        let odd = |character: char| character.is_control() || character == '/';
        if name.contains(odd) || name.len() > 255 {
            return Err(RoleNameError::of(&self.role));
        }
        Ok(name)
    }
}

/// An edition was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditionError<E> {
    /// Metadata of targets that others have made is none.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A signer did not sign.
    #[error(transparent)]
    Signer(E),
}

/// The file of what a role says, with these signatures.
///
/// # Errors
/// A signer did not sign.
pub fn signed<S: Signer + ?Sized>(
    metadata: &impl Metadata,
    signers: &[&S],
) -> Result<Vec<u8>, S::Error> {
    let mut signed = Signed::new(metadata);
    signers.iter().try_for_each(|signer| signed.sign(*signer))?;
    Ok(signed.to_file())
}

impl Root {
    /// Its file, signed as `bytes`. Every root has a name of its own.
    pub fn file(&self, bytes: Vec<u8>) -> File {
        let role = TopLevel::Root.as_str().to_owned();
        File { role, version: Some(self.head.version), bytes }
    }

    /// That of another role.
    fn file_of(&self, role: &str, version: u64, bytes: Vec<u8>) -> File {
        let version = Some(version).filter(|_| self.consistent_snapshot);
        File { role: role.to_owned(), version, bytes }
    }
}

impl Timestamp {
    /// The one of a snapshot with these bytes.
    pub fn of(head: Head, snapshot: &Snapshot, bytes: &[u8]) -> Self {
        Self { head, snapshot: MetaFile::of(snapshot.head.version, bytes) }
    }
}

/// A repository under one root, at one moment: signed metadata of `targets` and of all roles that it
/// delegates to, with a new snapshot and a new timestamp. Returns the files in the order in which they
/// must come to their places: with consistent snapshots, who looks in between sees the edition before
/// this one, whole, for the timestamp is the last. Files of delegated roles have to be there again in each
/// edition, changed or not: a snapshot that leaves one out is refused by clients.
///
/// # Errors
/// One of `targets` is no targets metadata, or a signer did not sign.
pub fn edition<S: Signer + ?Sized>(
    root: &Root,
    targets: &[u8],
    delegated: &BTreeMap<RoleName, Vec<u8>>,
    snapshot: (Head, &[&S]),
    timestamp: (Head, &[&S]),
) -> Result<Vec<File>, EditionError<S::Error>> {
    let top = (TopLevel::Targets.as_str(), targets);
    let roles = delegated.iter().map(|(role, bytes)| (role.as_str(), bytes.as_slice()));
    let (mut files, mut meta) = (Vec::new(), BTreeMap::new());
    for (role, bytes) in roles.chain([top]) {
        let refused = |reason: Reason| reason.of(format!("{role}.json"));
        let targets = Signed::parse(bytes).and_then(|signed| signed.metadata::<Targets>());
        let version = targets.map_err(refused)?.head.version;
        meta.insert(format!("{role}.json"), MetaFile::of(version, bytes));
        files.push(root.file_of(role, version, bytes.to_vec()));
    }
    let (head, signers) = snapshot;
    let snapshot = Snapshot { head, meta };
    let bytes = signed(&snapshot, signers).map_err(EditionError::Signer)?;
    let (head, signers) = timestamp;
    let timestamp = Timestamp::of(head, &snapshot, &bytes);
    files.push(root.file_of(TopLevel::Snapshot.as_str(), snapshot.head.version, bytes));
    let bytes = signed(&timestamp, signers).map_err(EditionError::Signer)?;
    files.push(File { role: TopLevel::Timestamp.as_str().to_owned(), version: None, bytes });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_address_and_a_name_if_its_role_can_be_part_of_one() {
        let file = |role: &str, version| File { role: role.to_owned(), version, bytes: vec![] };
        for (role, version, address, name) in [
            ("root", Some(7), "7.root.json", Some("7.root.json")),
            ("timestamp", None, "timestamp.json", Some("timestamp.json")),
            ("a b%", Some(1), "1.a%20b%25.json", Some("1.a b%.json")),
            ("..", None, "...json", Some("...json")),
            ("../a", Some(1), "1...%2Fa.json", None),
            ("a\n", Some(1), "1.a%0A.json", None),
        ] {
            let file = file(role, version);
            assert_eq!(file.address(), address);
            assert_eq!(file.name().ok().as_deref(), name);
        }
    }
}
