//! The private keys that are there, in files or behind programs.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::command::CommandSigner;
use super::file::{KeyFile, KeyFileError};
use super::passphrase::{Purpose, Source};
use super::roles::{Holder, Key};
use super::{LARGEST, PrivateKey, PublicKey, Signer};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::recipe::model::Name;

/// How a key lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes a passphrase.
    Encrypted,
    /// It is there for whoever reads the file.
    Plain,
    /// There is no such file: somebody else has it, on another host.
    Absent,
}

/// Looks at the file of a key without its passphrase.
///
/// # Errors
/// [`Id::Read`]; [`Id::KeyFile`]; [`Id::OtherKey`] if it can be told that it is another key.
pub fn look(path: &Path, public: &PublicKey) -> Result<State> {
    if is_absent(path) {
        return Ok(State::Absent);
    }
    match read(path)? {
        KeyFile::Encrypted(_) => Ok(State::Encrypted),
        KeyFile::Plain(key) => same(path, &key, public).map(|()| State::Plain),
    }
}

/// Opens the file of a key; `source` is asked for its passphrase if it takes one.
///
/// # Errors
/// [`Id::Read`]; [`Id::KeyFile`]; [`Id::NoPassphrase`]; [`Id::WrongPassphrase`].
pub fn open(path: &Path, source: &Source) -> Result<PrivateKey> {
    match read(path)? {
        KeyFile::Plain(key) => Ok(key),
        KeyFile::Encrypted(encrypted) => {
            let passphrase = source.get(Purpose::Open, path)?;
            encrypted.decrypt(&passphrase).map_err(|error| refused(path, error))
        }
    }
}

/// As [`open`], of a key whose public half is known.
///
/// # Errors
/// As [`open`]; [`Id::OtherKey`].
pub fn open_as(path: &Path, public: &PublicKey, source: &Source) -> Result<PrivateKey> {
    let key = open(path, source)?;
    same(path, &key, public).map(|()| key)
}

/// Who signs with a key of `keys.toml`, which lies in `directory`; nobody if it is not here.
///
/// # Errors
/// As [`open_as`].
pub fn signer(
    name: &Name,
    key: &Key,
    directory: &Path,
    source: &Source,
    progress: &Progress,
) -> Result<Option<Box<dyn Signer>>> {
    Ok(match &key.holder {
        Holder::File(file) => {
            let path = directory.join(file);
            if is_absent(&path) {
                return Ok(None);
            }
            Some(Box::new(open_as(&path, &key.public, source)?))
        }
        Holder::Command(words) => {
            let words = words.clone();
            let signer = CommandSigner::new(name.as_str(), key.public, words, directory, progress);
            Some(Box::new(signer))
        }
        Holder::Elsewhere => None,
    })
}

/// Whether there is nothing of this name. What cannot be told is tried.
fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn read(path: &Path) -> Result<KeyFile> {
    let cannot = || format!("cannot read the key `{}`", path.display());
    let file = File::open(path).or_fail(Id::Read, cannot)?;
    // All at once: what grows is copied, and its old place not overwritten.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LARGEST).unwrap_or(0) + 1));
    file.take(LARGEST).read_to_end(&mut bytes).or_fail(Id::Read, cannot)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(path, KeyFileError::NotPem))?;
    KeyFile::parse(text).map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: KeyFileError) -> Error {
    let path = path.display();
    if error == KeyFileError::WrongPassphrase {
        return Error::new(Id::WrongPassphrase, format!("cannot open the key `{path}`"))
            .caused_by(error);
    }
    Error::new(Id::KeyFile, format!("`{path}` is not a private key that can be used"))
        .caused_by(error)
}

fn same(path: &Path, key: &PrivateKey, public: &PublicKey) -> Result<()> {
    if key.public() == public {
        return Ok(());
    }
    let message = format!("`{}` is another key than was named", path.display());
    Err(Error::new(Id::OtherKey, message)
        .hint(format!("its public key is {}, and not {public}", key.public())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::{Salt, to_pem};
    use super::*;
    use crate::progress::Mode;

    #[test]
    fn a_file_is_opened_if_it_is_the_key_that_was_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let key = PrivateKey::from_seed(Zeroizing::new([5; 32]));
        let other = PublicKey::new([6; 32]);
        let salt = Salt { salt: [0; 16], iv: [0; 16] };
        fs::write(path("plain"), to_pem(&key, None).as_bytes()).unwrap();
        let encrypted = to_pem(&key, Some((&"secret".into(), &salt)));
        fs::write(path("encrypted"), encrypted.as_bytes()).unwrap();
        fs::write(path("secret"), "secret\n").unwrap();
        fs::write(path("wrong"), "Secret\n").unwrap();
        let [secret, wrong] = ["secret", "wrong"].map(|name| Source::File(path(name)));

        for name in ["plain", "encrypted"] {
            let opened = open_as(&path(name), key.public(), &secret).unwrap();
            assert_eq!(opened.public(), key.public());
            let error = open_as(&path(name), &other, &secret).unwrap_err();
            assert_eq!(error.id(), Id::OtherKey, "{name}");
        }
        let error = open(&path("encrypted"), &wrong).unwrap_err();
        assert_eq!(error.id(), Id::WrongPassphrase);
        assert!(open(&path("plain"), &Source::File(path("none"))).is_ok(), "nobody is asked");
        assert_eq!(look(&path("plain"), key.public()).unwrap(), State::Plain);
        assert_eq!(look(&path("plain"), &other).unwrap_err().id(), Id::OtherKey);
        assert_eq!(look(&path("encrypted"), &other).unwrap(), State::Encrypted);
        assert_eq!(look(&path("none"), &other).unwrap(), State::Absent);
        assert_eq!(open(&path("none"), &secret).unwrap_err().id(), Id::Read);
        assert_eq!(look(&path("secret"), &other).unwrap_err().id(), Id::KeyFile);
    }

    #[test]
    fn whoever_has_a_key_signs_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let private = PrivateKey::from_seed(Zeroizing::new([5; 32]));
        fs::write(directory.path().join("a.pem"), to_pem(&private, None).as_bytes()).unwrap();
        let signature = private.sign(b"x").unwrap();
        fs::write(directory.path().join("signature"), signature.0).unwrap();
        let words = ["cat", "signature"].map(str::to_owned);
        for (holder, here) in [
            (Holder::File("a.pem".into()), true),
            (Holder::File("b.pem".into()), false),
            (Holder::Command(words.into()), true),
            (Holder::Elsewhere, false),
        ] {
            let key = Key { public: *private.public(), holder };
            let name = Name::try_from("a".to_owned()).unwrap();
            let progress = Progress::new(Mode::None);
            let signer = signer(&name, &key, directory.path(), &Source::Terminal, &progress);
            let signed = signer.unwrap().map(|signer| signer.sign(b"x").unwrap());
            assert_eq!(signed, here.then_some(signature));
        }
    }
}
