//! Who signed a release file. A signature counts if it was made by a key whose fingerprint the
//! recipe pins, or by a signing subkey of such a key. `gpgv` is the judge in the tests.
//!
//! Formats: RFC 9580, with the cleartext signature framework of its chapter 7. The keys themselves
//! come from keyring files, which need not be trusted: the fingerprint decides.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag, Timestamp};

use crate::error::{Context as _, Error, Id, Result};

/// How far a signature may lie in the future: clocks differ a little, and some run in local time.
pub const CLOCK_SKEW: u64 = 24 * 60 * 60;

/// No keyring holds more keys; a file that does is not read to its end.
const MAX_KEYS: usize = 10_000;

/// The keys that a recipe pins, as far as they were found.
#[derive(Debug)]
pub struct Keys {
    certificates: Vec<Certificate>,
    missing: Vec<String>,
}

/// Text which a pinned key has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Exactly what the signature covers, with line feeds.
    pub text: String,
    /// The pinned fingerprint, in upper case.
    pub signed_by: String,
}

impl Keys {
    /// Looks for the keys with these fingerprints in `keyring`, or without one in the keyrings of
    /// the Debian host whose root is `root`.
    ///
    /// # Errors
    /// [`Id::MissingKey`] if none is found, [`Id::Read`] if a keyring cannot be read.
    pub fn load(pinned: &BTreeSet<String>, keyring: Option<&Path>, root: &Path) -> Result<Self> {
        let files = match keyring {
            Some(file) => vec![file.to_path_buf()],
            None => host_keyrings(root)?,
        };
        let read = |file: &PathBuf| {
            fs::read(file).or_fail(Id::Read, || format!("cannot read keyring `{}`", file.display()))
        };
        let keyrings = files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let keys = Self::find(pinned, &keyrings);
        if !keys.certificates.is_empty() {
            return Ok(keys);
        }
        let searched = match keyring {
            Some(file) => format!("`{}`", file.display()),
            None => format!("the host's {} Debian keyrings", files.len()),
        };
        let message = if pinned.is_empty() {
            "the recipe pins no key for Debian's release files".to_owned()
        } else {
            format!("none of the pinned keys is in {searched}: {}", keys.missing.join(", "))
        };
        let hint = match keyring {
            Some(file) => format!("`gpg --show-keys {}` lists what is in it", file.display()),
            None => "install `debian-archive-keyring`, or name a file in `debian.keyring`".into(),
        };
        Err(Error::new(Id::MissingKey, message).hint(hint))
    }

    /// Looks for keys in keyrings, binary or armored. What cannot be read in them is passed over.
    fn find(pinned: &BTreeSet<String>, keyrings: &[Vec<u8>]) -> Self {
        let mut keys = Self { certificates: Vec::new(), missing: Vec::new() };
        let mut wanted: BTreeSet<String> = pinned.iter().map(|pin| plain_hex(pin)).collect();
        let mut found = BTreeSet::new();
        for key in keyrings.iter().flat_map(|keyring| parse_keyring(keyring)) {
            let fingerprints = key.public_subkeys.iter().map(|subkey| hex(&subkey.key));
            let pins: BTreeSet<_> = std::iter::once(hex(&key.primary_key))
                .chain(fingerprints)
                .filter(|fingerprint| wanted.contains(fingerprint))
                .collect();
            if !pins.is_empty() {
                found.extend(pins.iter().cloned());
                keys.certificates.push(Certificate { key, pins });
            }
        }
        wanted.retain(|pin| !found.contains(pin));
        keys.missing = wanted.into_iter().collect();
        keys
    }
}

/// Checks a clear-signed file. `what` names it in errors; `now` is in seconds since 1970.
///
/// # Errors
/// [`Id::ReleaseUnsigned`], [`Id::WrongKey`], [`Id::BadSignature`], [`Id::ExpiredKey`].
pub fn verify(file: &[u8], what: &str, keys: &Keys, now: u64) -> Result<Signed> {
    let unsigned = || Error::new(Id::ReleaseUnsigned, format!("{what} has no signature"));
    let text = std::str::from_utf8(file).map_err(|_| unsigned())?;
    let (message, _) = CleartextSignedMessage::from_string(text).map_err(|_| unsigned())?;
    if message.signatures().is_empty() {
        return Err(unsigned());
    }
    let signed = message.signed_text();
    let mut worst = Verdict::UnknownKey;
    for signature in message.signatures() {
        for certificate in &keys.certificates {
            match certificate.judge(signature, &signed, now) {
                Verdict::Good(signed_by) => {
                    return Ok(Signed { text: signed.replace("\r\n", "\n"), signed_by });
                }
                verdict => worst = worst.worse(verdict),
            }
        }
    }
    Err(match worst {
        Verdict::Bad(reason) => {
            Error::new(Id::BadSignature, format!("the signature of {what} is bad: {reason}")).hint(
                "the mirror, or somebody between, has changed it: use another, `--mirror URL`",
            )
        }
        Verdict::Expired(reason) => {
            Error::new(Id::ExpiredKey, format!("cannot believe the signature of {what}: {reason}"))
        }
        Verdict::UnknownKey | Verdict::Good(_) => wrong_key(what, message.signatures(), keys),
    })
}

fn wrong_key(what: &str, signatures: &[Signature], keys: &Keys) -> Error {
    let issuer = |signature: &Signature| match signature.issuer_fingerprint().first() {
        Some(fingerprint) => format!("{fingerprint:X}"),
        None => signature
            .issuer_key_id()
            .first()
            .map_or("an unnamed key".into(), |id| format!("{id}").to_uppercase()),
    };
    let issuers: Vec<_> = signatures.iter().map(issuer).collect();
    let error = Error::new(
        Id::WrongKey,
        format!("{what} is signed by {}, which the recipe does not pin", issuers.join(", ")),
    );
    if keys.missing.is_empty() {
        return error;
    }
    error.hint(format!("these pinned keys are in no keyring: {}", keys.missing.join(", ")))
}

/// The crate's own words are about its code.
const ALTERED: &str = "it does not fit the text, which was changed on its way or at the mirror";

/// What became of one signature and one certificate.
#[derive(Debug)]
enum Verdict {
    /// By this pin.
    Good(String),
    /// Made by another key.
    UnknownKey,
    /// Good, but of the past.
    Expired(String),
    /// Claims to be by this key, and is not good.
    Bad(String),
}

impl Verdict {
    fn worse(self, other: Self) -> Self {
        let rank = |verdict: &Self| match verdict {
            Self::Good(_) => 0,
            Self::UnknownKey => 1,
            Self::Expired(_) => 2,
            Self::Bad(_) => 3,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// A key with its subkeys, of which at least one is pinned.
#[derive(Debug)]
struct Certificate {
    key: SignedPublicKey,
    pins: BTreeSet<String>,
}

impl Certificate {
    fn judge(&self, signature: &Signature, text: &str, now: u64) -> Verdict {
        if issued_by(signature, &self.key.primary_key) {
            let pin = hex(&self.key.primary_key);
            if !self.pins.contains(&pin) {
                return Verdict::UnknownKey;
            }
            if signature.verify(&self.key.primary_key, text.as_bytes()).is_err() {
                return Verdict::Bad(ALTERED.to_owned());
            }
            return sound(signature, now)
                .and_then(|()| self.primary_lives(now))
                .map_or_else(|verdict| verdict, |()| Verdict::Good(pin));
        }
        let mut subkeys = self.key.public_subkeys.iter();
        let Some(subkey) = subkeys.find(|subkey| issued_by(signature, &subkey.key)) else {
            return Verdict::UnknownKey;
        };
        let (primary, own) = (hex(&self.key.primary_key), hex(&subkey.key));
        let Some(pin) = [primary, own].into_iter().find(|pin| self.pins.contains(pin)) else {
            return Verdict::UnknownKey;
        };
        if signature.verify(&subkey.key, text.as_bytes()).is_err() {
            return Verdict::Bad(ALTERED.to_owned());
        }
        sound(signature, now)
            .and_then(|()| self.primary_lives(now))
            .and_then(|()| self.subkey_lives(subkey, now))
            .map_or_else(|verdict| verdict, |()| Verdict::Good(pin))
    }

    /// The primary key says of itself, by its newest signature, until when it is good.
    fn primary_lives(&self, now: u64) -> std::result::Result<(), Verdict> {
        let primary = &self.key.primary_key;
        let details = &self.key.details;
        if details.revocation_signatures.iter().any(|sig| sig.verify_key(primary).is_ok()) {
            return Err(Verdict::Expired(format!("key `{}` is revoked", hex(primary))));
        }
        let direct = details
            .direct_signatures
            .iter()
            .filter(|sig| sig.typ() == Some(SignatureType::Key) && sig.verify_key(primary).is_ok());
        let of_users = details.users.iter().flat_map(|user| {
            user.signatures.iter().filter(|sig| {
                sig.typ() != Some(SignatureType::CertRevocation)
                    && sig.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            })
        });
        let newest = direct.chain(of_users).max_by_key(|sig| seconds(sig.created()));
        let newest = newest.ok_or_else(|| {
            Verdict::Bad(format!("key `{}` does not certify itself", hex(primary)))
        })?;
        lives(primary, newest, now)
    }

    /// A subkey is good if the primary key binds it for signing and it agrees to that: else
    /// anybody's key could be taken in.
    fn subkey_lives(
        &self,
        subkey: &SignedPublicSubKey,
        now: u64,
    ) -> std::result::Result<(), Verdict> {
        let primary = &self.key.primary_key;
        let bindings = || {
            subkey
                .signatures
                .iter()
                .filter(|sig| sig.verify_subkey_binding(primary, &subkey.key).is_ok())
        };
        if bindings().any(|sig| sig.typ() == Some(SignatureType::SubkeyRevocation)) {
            return Err(Verdict::Expired(format!("key `{}` is revoked", hex(&subkey.key))));
        }
        let newest = bindings().max_by_key(|sig| seconds(sig.created()));
        let agreed = newest.filter(|binding| {
            let back = binding.embedded_signature();
            binding.key_flags().sign()
                && back
                    .is_some_and(|sig| sig.verify_primary_key_binding(&subkey.key, primary).is_ok())
        });
        match agreed {
            Some(binding) => lives(&subkey.key, binding, now),
            None => Err(Verdict::Bad(format!(
                "key `{}` is not a signing subkey of `{}`",
                hex(&subkey.key),
                hex(primary)
            ))),
        }
    }
}

/// Whether the signature itself is of a kind that may be believed at `now`.
fn sound(signature: &Signature, now: u64) -> std::result::Result<(), Verdict> {
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err(Verdict::Bad("its hash algorithm is too weak".to_owned()));
    }
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err(Verdict::Bad("it is not a signature of a document".to_owned()));
    }
    let packets = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    for packet in packets.filter(|packet| packet.is_critical) {
        if matches!(packet.data, SubpacketData::Other(..) | SubpacketData::Experimental(..)) {
            return Err(Verdict::Bad("it has a critical part that is not known".to_owned()));
        }
    }
    let made = seconds(signature.created());
    if made > now.saturating_add(CLOCK_SKEW) {
        return Err(Verdict::Expired("it was made in the future".to_owned()));
    }
    match signature.signature_expiration_time().map(|duration| u64::from(duration.as_secs())) {
        Some(lasts) if lasts > 0 && made + lasts < now => {
            Err(Verdict::Expired("the signature has expired".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether `key`, by the words of its newest self-signature, has not expired.
fn lives(
    key: &impl KeyDetails,
    self_signature: &Signature,
    now: u64,
) -> std::result::Result<(), Verdict> {
    let lasts = self_signature.key_expiration_time().map(|duration| u64::from(duration.as_secs()));
    match lasts {
        Some(lasts) if lasts > 0 && seconds(Some(key.created_at())) + lasts < now => {
            Err(Verdict::Expired(format!("key `{}` has expired", hex(key))))
        }
        _ => Ok(()),
    }
}

/// Whether the signature names this key. (One that names none is of no use to us: gpg and all
/// that signs archives name it.)
fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        let id = key.legacy_key_id();
        return signature.issuer_key_id().into_iter().any(|issuer| *issuer == id);
    }
    let own = key.fingerprint();
    fingerprints.into_iter().any(|fingerprint| *fingerprint == own)
}

fn seconds(time: Option<Timestamp>) -> u64 {
    time.map_or(0, |time| u64::from(time.as_secs()))
}

fn hex(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

/// People copy fingerprints with blanks and in either case.
fn plain_hex(pin: &str) -> String {
    pin.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect()
}

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

fn parse_keyring(bytes: &[u8]) -> Vec<SignedPublicKey> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(ARMOR)) else {
        let keys = SignedPublicKey::from_bytes_many(bytes);
        return keys.into_iter().flatten().take(MAX_KEYS).flatten().collect();
    };
    let block = |block: &str| {
        let block = format!("{ARMOR}{block}");
        let keys = SignedPublicKey::from_string_many(&block)
            .map(|(keys, _)| keys.take(MAX_KEYS).flatten().collect::<Vec<_>>());
        keys.unwrap_or_default()
    };
    text.split(ARMOR).skip(1).flat_map(block).collect()
}

/// Whether a keyring has one of these keys.
pub(super) fn holds(keyring: &[u8], pinned: &BTreeSet<String>) -> bool {
    !Keys::find(pinned, &[keyring.to_vec()]).certificates.is_empty()
}

/// The keyrings of apt and of package `debian-archive-keyring`, but for that of removed keys.
fn host_keyrings(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (directory, prefix) in
        [("usr/share/keyrings", "debian-archive-"), ("etc/apt/trusted.gpg.d", "")]
    {
        let directory = root.join(directory);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error)
                    .or_fail(Id::Read, || format!("cannot list `{}`", directory.display()));
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let keyring = [".gpg", ".pgp", ".asc"].iter().any(|end| name.ends_with(end));
            if keyring && name.starts_with(prefix) && !name.contains("removed-keys") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
