//! New keys: what is random in them, and the file, which is never written over another one.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::file::Salt;
use crate::durable::{self, Name};
use crate::error::{Context as _, Error, Id, Result};
use crate::unfinished::{self, Kind};

/// What a new key is made of.
///
/// # Errors
/// [`Id::Read`] if the kernel gives no random numbers.
pub fn seed() -> Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    fill(seed.as_mut_slice())?;
    Ok(seed)
}

/// What is random in a new encrypted file.
///
/// # Errors
/// As [`seed`].
pub fn salt() -> Result<Salt> {
    let mut salt = Salt { salt: [0; 16], iv: [0; 16] };
    fill(&mut salt.salt)?;
    fill(&mut salt.iv)?;
    Ok(salt)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| Error::new(Id::Read, "the kernel gives no random numbers"))
}

/// Writes the file of a new key, for its owner alone.
///
/// # Errors
/// [`Id::KeyInTheWay`] if there is a file of this name; [`Id::Write`].
pub fn create(path: &Path, pem: &str) -> Result<()> {
    let cannot = || format!("cannot write the key `{}`", path.display());
    if path.symlink_metadata().is_ok() {
        return Err(in_the_way(path));
    }
    durable::parent(path).metadata().or_fail(Id::Write, cannot)?;
    let mut file =
        unfinished::file(durable::parent(path), Kind::Key, 0o600).or_fail(Id::Write, cannot)?;
    file.write_all(pem.as_bytes()).or_fail(Id::Write, cannot)?;
    durable::persist_new(file, path, Name::Now).map_err(|error| match error.kind() {
        // Somebody was faster.
        ErrorKind::AlreadyExists => in_the_way(path),
        _ => Error::new(Id::Write, cannot()).caused_by(error),
    })
}

fn in_the_way(path: &Path) -> Error {
    let message =
        format!("`{}` is there: a key is never written over another file", path.display());
    Error::new(Id::KeyInTheWay, message).hint("take another name, or move the file away")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_and_never_written_over_anything() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        create(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = directory.path().join("link.pem");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for there in [&path, &link] {
            assert_eq!(create(there, "two").unwrap_err().id(), Id::KeyInTheWay);
        }
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside");
        let nowhere = directory.path().join("none/a.pem");
        assert_eq!(create(&nowhere, "x").unwrap_err().id(), Id::Write);
    }

    #[test]
    fn who_is_faster_keeps_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        let file = unfinished::file(directory.path(), Kind::Key, 0o600).unwrap();
        fs::write(&path, "theirs").unwrap();
        let error = durable::persist_new(file, &path, Name::Now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_two_keys_are_the_same() {
        assert_ne!(seed().unwrap(), seed().unwrap());
        let (one, other) = (salt().unwrap(), salt().unwrap());
        assert!(one.salt != other.salt && one.iv != other.iv && one.salt != one.iv);
    }
}
