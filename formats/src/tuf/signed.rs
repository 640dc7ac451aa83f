//! A file of metadata: what a role says, and who has signed it. Specification section 4.2.1.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Reason;
use super::fields::{Fields, object};
use super::json::{Json, Object};
use super::key::{Key, KeyId, Keys, PublicKey, RoleKeys, hex, unhex};
use super::metadata::Metadata;

/// A file whose signatures nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    signed: Json,
    // By key, in the order of their names.
    signatures: BTreeMap<KeyId, Signature>,
    more: Object,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    /// Hexadecimal digits, or whatever stands there: then it is of nobody.
    digits: String,
    more: Object,
}

/// Who can sign: a key in memory, a program, a device.
pub trait Signer {
    /// Why it did not.
    type Error;

    /// Its public key.
    fn key(&self) -> Key;

    /// Its signature of these bytes: of ed25519 64 bytes, of P-256 in ASN.1, of RSA PSS over SHA-256.
    ///
    /// # Errors
    /// It cannot, or nobody lets it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Self::Error>;
}

impl Signed {
    /// What a role says, not signed yet.
    pub fn new(metadata: &impl Metadata) -> Self {
        Self { signed: metadata.to_json(), signatures: BTreeMap::new(), more: Object::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no JSON, has not this shape, or two signatures of one key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut fields = Fields::of(Json::parse(bytes)?, "")?;
        let mut signatures = BTreeMap::new();
        for item in fields.list("signatures")? {
            let mut item = Fields::of(item, "signatures.")?;
            let id = item.text("keyid")?;
            let signature = Signature { digits: item.text("sig")?, more: item.rest() };
            if signatures.insert(id.clone(), signature).is_some() {
                return Err(Reason::SignedTwice(id));
            }
        }
        let signed = Json::Object(fields.object("signed")?);
        Ok(Self { signed, signatures, more: fields.rest() })
    }

    /// The file, for people to read and for others to sign.
    pub fn to_file(&self) -> Vec<u8> {
        let signature = |(id, signature): (&KeyId, &Signature)| {
            let known = [("keyid", id.as_str().into()), ("sig", signature.digits.as_str().into())];
            object(known, &signature.more)
        };
        let signatures = Json::List(self.signatures.iter().map(signature).collect());
        object([("signatures", signatures), ("signed", self.signed.clone())], &self.more).to_file()
    }

    /// The bytes that are signed.
    pub fn message(&self) -> Vec<u8> {
        self.signed.to_canonical()
    }

    /// Adds a signature, in place of one that this key has made before. What others have signed stays
    /// as it is, also what was not understood of it.
    ///
    /// # Errors
    /// The signer did not sign.
    pub fn sign<S: Signer + ?Sized>(&mut self, signer: &S) -> Result<(), S::Error> {
        let signature = signer.sign(&self.message())?;
        let signature = Signature { digits: hex(&signature), more: Object::new() };
        self.signatures.insert(signer.key().id(), signature);
        Ok(())
    }

    /// What the role says. Whoever asks for it before [`check`](Self::check) believes anybody.
    ///
    /// # Errors
    /// See [`Metadata::read`].
    pub fn metadata<M: Metadata>(&self) -> Result<M, Reason> {
        M::read(self.signed.clone())
    }

    /// The same, of a file that is needed no more.
    ///
    /// # Errors
    /// See [`Metadata::read`].
    pub fn into_metadata<M: Metadata>(self) -> Result<M, Reason> {
        M::read(self.signed)
    }

    /// Those of a role's keys that have signed, each once, whatever names it has.
    pub fn signers(&self, keys: &Keys, role: &RoleKeys) -> BTreeSet<PublicKey> {
        let message = self.message();
        let signer = |id: &KeyId| {
            let signature = unhex(&self.signatures.get(id)?.digits)?;
            let key = keys.get(id)?;
            key.verifies(&message, &signature).then_some(key)
        };
        role.ids.iter().filter_map(signer).collect()
    }

    /// That enough of a role's keys have signed.
    ///
    /// # Errors
    /// They have not.
    pub fn check(&self, keys: &Keys, role: &RoleKeys, name: &str) -> Result<(), Reason> {
        let valid = self.signers(keys, role).len();
        let threshold = role.threshold;
        if threshold > 0 && valid as u64 >= threshold {
            return Ok(());
        }
        Err(Reason::Signatures { role: name.to_owned(), valid, threshold })
    }
}

/// An ed25519 key in memory.
#[derive(Debug)]
pub struct Ed25519(ring::signature::Ed25519KeyPair);

/// A private key that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no private key of ed25519")]
pub struct NoKey;

impl Ed25519 {
    /// That of 32 secret bytes: RFC 8032 section 5.1.5.
    ///
    /// # Errors
    /// They are not 32.
    pub fn from_seed(seed: &[u8]) -> Result<Self, NoKey> {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(Self).map_err(|_| NoKey)
    }

    /// That of a file in PKCS #8 (RFC 8410), with the public key in it or without.
    ///
    /// # Errors
    /// It is another file, or the public key in it is another.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NoKey> {
        let pair = ring::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        pair.map(Self).map_err(|_| NoKey)
    }
}

impl Signer for Ed25519 {
    type Error = std::convert::Infallible;

    fn key(&self) -> Key {
        use ring::signature::KeyPair as _;
        Key::new(&PublicKey::Ed25519(self.0.public_key().as_ref().to_vec()))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Self::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}
