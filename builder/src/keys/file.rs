//! The file of a private key: PEM (RFC 7468) of PKCS#8, encrypted with a passphrase (PBES2 of
//! RFC 8018 with scrypt of RFC 7914 and AES-256-CBC) or not. `openssl` reads what we write, and we
//! read what `openssl genpkey` and `openssl pkcs8 -topk8` write, with scrypt or PBKDF2.
//!
//! What a file asks for before its passphrase can be tried, memory and time, is bounded here.

use std::fmt;

use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{self, Kdf, Pbkdf2Prf};
use pkcs8::pkcs5::scrypt::Params;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use zeroize::Zeroizing;

use super::passphrase::Passphrase;
use super::private::NotOurs;
use super::{PrivateKey, PublicKey, Signer as _};

/// What our files ask of scrypt: 16 MiB, five times. More memory at once is more than `openssl`
/// gives; five times is what makes up for that.
const LOG_N: u8 = 14;
const BLOCK_SIZE: u32 = 8;
const PARALLEL: u32 = 5;

/// The most memory that scrypt may ask for, in bytes.
const MOST_MEMORY: u64 = 256 << 20;
/// The most that scrypt may write in all, in bytes: seconds.
const MOST_WORK: u64 = 2 << 30;
/// The most rounds of PBKDF2: seconds.
const MOST_ROUNDS: u32 = 10_000_000;

/// What is random in an encrypted file.
#[derive(Debug, Clone, Copy)]
pub struct Salt {
    /// For the key that is derived from the passphrase.
    pub salt: [u8; 16],
    /// For the encryption with that key.
    pub iv: [u8; 16],
}

/// What a file holds.
#[derive(Debug)]
pub enum KeyFile {
    /// A key that whoever reads the file has.
    Plain(PrivateKey),
    /// A key that takes a passphrase.
    Encrypted(Encrypted),
}

/// An encrypted key whose passphrase can be tried at a bounded price.
pub struct Encrypted {
    document: SecretDocument,
}

/// Why a file is no private key of ours, or does not become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The text is not PEM.
    #[error("it is not PEM")]
    NotPem,
    /// PEM of something else.
    #[error("it is PEM, but of `{0}`")]
    OtherContent(String),
    /// What is in the PEM is damaged.
    #[error("what is in it is damaged, or is not PKCS#8")]
    Damaged,
    /// It is encrypted in a way that we do not decrypt.
    #[error("it is encrypted in another way than PBES2 with scrypt or PBKDF2 and AES")]
    OtherEncryption,
    /// It asks for more memory or time than a passphrase is worth.
    #[error("to try a passphrase it asks for {0}")]
    Expensive(String),
    /// Nothing comes of it with this passphrase.
    #[error("the passphrase is wrong, or the file is damaged")]
    WrongPassphrase,
    /// It is a key of another algorithm.
    #[error("it is a key of another algorithm than ed25519")]
    OtherAlgorithm,
    /// The file names another public key than its own.
    #[error("its public key is not that of its private key")]
    OtherPublic,
}

impl From<NotOurs> for KeyFileError {
    fn from(error: NotOurs) -> Self {
        match error {
            NotOurs::Format => Self::Damaged,
            NotOurs::Algorithm => Self::OtherAlgorithm,
            NotOurs::Public => Self::OtherPublic,
        }
    }
}

impl KeyFile {
    /// Reads the content of a file. No passphrase is tried yet.
    ///
    /// # Errors
    /// All but [`KeyFileError::WrongPassphrase`].
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let (label, document) =
            SecretDocument::from_pem(text).map_err(|_| match pem_label(text) {
                Some(label) => KeyFileError::OtherContent(label.to_owned()),
                None => KeyFileError::NotPem,
            })?;
        match label {
            PrivateKeyInfo::PEM_LABEL => {
                Ok(Self::Plain(PrivateKey::from_der(document.as_bytes())?))
            }
            EncryptedPrivateKeyInfo::PEM_LABEL => {
                affordable(scheme(&document)?)?;
                Ok(Self::Encrypted(Encrypted { document }))
            }
            other => Err(KeyFileError::OtherContent(other.to_owned())),
        }
    }

    /// The public key, if it can be told without a passphrase.
    pub fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Plain(key) => Some(key.public()),
            Self::Encrypted(_) => None,
        }
    }
}

impl Encrypted {
    /// Tries a passphrase. It takes a good part of a second, and 16 MiB, if the file is ours.
    ///
    /// # Errors
    /// [`KeyFileError::WrongPassphrase`], [`KeyFileError::OtherAlgorithm`] and
    /// [`KeyFileError::OtherPublic`].
    pub fn decrypt(&self, passphrase: &Passphrase) -> Result<PrivateKey, KeyFileError> {
        let wrong = KeyFileError::WrongPassphrase;
        let info = EncryptedPrivateKeyInfo::try_from(self.document.as_bytes());
        let info = info.map_err(|_| KeyFileError::Damaged)?;
        let plain = info.decrypt(passphrase.bytes()).map_err(|_| wrong.clone())?;
        PrivateKey::from_der(plain.as_bytes()).map_err(|error| match error {
            // One wrong passphrase of 256 leaves something that looks decrypted.
            NotOurs::Format => wrong,
            other => other.into(),
        })
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

/// The content of a file for this key, encrypted if there is a passphrase.
pub fn to_pem(key: &PrivateKey, protection: Option<(&Passphrase, &Salt)>) -> Zeroizing<String> {
    let pem = match protection {
        None => {
            key.to_der().and_then(|der| Ok(der.to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF)?))
        }
        Some((passphrase, Salt { salt, iv })) => key.with_pkcs8(|info| {
            let params = Params::new(LOG_N, BLOCK_SIZE, PARALLEL, Params::RECOMMENDED_LEN);
            let params = params.map_err(|_| pkcs8::Error::ParametersMalformed)?;
            let scheme = pbes2::Parameters::scrypt_aes256cbc(params, salt, iv)?;
            let der = info.encrypt_with_params(scheme, passphrase.bytes())?;
            Ok(der.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)?)
        }),
    };
    pem.expect("a key of 32 bytes can be encoded, with parameters that are ours")
}

/// The label of PEM that may be right in nothing else, for a message: one line of visible text.
fn pem_label(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, _) = rest.split_once("-----")?;
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    let known = [PrivateKeyInfo::PEM_LABEL, EncryptedPrivateKeyInfo::PEM_LABEL].contains(&label);
    (label.len() <= 64 && label.chars().all(plain) && !known).then_some(label)
}

fn scheme(document: &SecretDocument) -> Result<pbes2::Parameters<'_>, KeyFileError> {
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes());
    match info.map_err(|_| KeyFileError::Damaged)?.encryption_algorithm {
        EncryptionScheme::Pbes2(parameters) => Ok(parameters),
        _ => Err(KeyFileError::OtherEncryption),
    }
}

/// Whether a passphrase can be tried at all, and at what price.
fn affordable(scheme: pbes2::Parameters<'_>) -> Result<(), KeyFileError> {
    match scheme.kdf {
        Kdf::Scrypt(scrypt) => {
            let (n, r, p) = (scrypt.cost_parameter, scrypt.block_size, scrypt.parallelization);
            // The library counts the zeros of N without looking at it.
            if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                return Err(KeyFileError::Damaged);
            }
            let memory = n.saturating_mul(128 * u64::from(r));
            let work = memory.saturating_mul(u64::from(p));
            if memory > MOST_MEMORY || work > MOST_WORK {
                let what = format!("scrypt with N = {n}, r = {r} and p = {p}");
                return Err(KeyFileError::Expensive(what));
            }
            Ok(())
        }
        Kdf::Pbkdf2(pbkdf2) => {
            let rounds = pbkdf2.iteration_count;
            if rounds > MOST_ROUNDS {
                return Err(KeyFileError::Expensive(format!("{rounds} rounds of PBKDF2")));
            }
            if rounds == 0 {
                return Err(KeyFileError::Damaged);
            }
            match pbkdf2.prf {
                Pbkdf2Prf::HmacWithSha1 => Err(KeyFileError::OtherEncryption),
                _ => Ok(()),
            }
        }
        _ => Err(KeyFileError::OtherEncryption),
    }
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
