//! Private keys, and PKCS#8 (RFC 5958, RFC 8410) without a passphrase: what a file decrypts to.

use std::fmt;

use pkcs8::{PrivateKeyInfo, SecretDocument};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::public::ED25519;
use super::{PublicKey, Signature, Signer};
use crate::error::Result;

/// The start of an OCTET STRING of 32 bytes: PKCS#8 has the seed within another one.
const SEED: [u8; 2] = [0x04, 0x20];

/// A private key. Its `Debug` shows the public one.
pub struct PrivateKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// Why PKCS#8 is no private key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurs {
    #[error("it is not PKCS#8")]
    Format,
    #[error("it is a key of another algorithm than ed25519")]
    Algorithm,
    #[error("its public key is not that of its private key")]
    Public,
}

impl PrivateKey {
    /// The key of a seed, which is all that there is of it: 32 random bytes.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .expect("32 bytes are a seed of ed25519");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { seed, pair, public: PublicKey::new(public) }
    }

    /// Reads PKCS#8, in the first version or in the second, which has the public key too.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, NotOurs> {
        let info = PrivateKeyInfo::try_from(der).map_err(|_| NotOurs::Format)?;
        if info.algorithm != ED25519 {
            return Err(NotOurs::Algorithm);
        }
        let seed = info.private_key.strip_prefix(&SEED).and_then(|seed| seed.try_into().ok());
        let key = Self::from_seed(Zeroizing::new(seed.ok_or(NotOurs::Format)?));
        match info.public_key {
            Some(public) if public != key.public.bytes() => Err(NotOurs::Public),
            _ => Ok(key),
        }
    }

    /// Hands its PKCS#8, in the version that every reader knows, to `take`.
    pub(super) fn with_pkcs8<T>(
        &self,
        take: impl FnOnce(PrivateKeyInfo<'_>) -> pkcs8::Result<T>,
    ) -> pkcs8::Result<T> {
        let octets = Zeroizing::new([&SEED, &self.seed[..]].concat());
        take(PrivateKeyInfo::new(ED25519, &octets))
    }

    pub(super) fn to_der(&self) -> pkcs8::Result<SecretDocument> {
        self.with_pkcs8(|info| SecretDocument::try_from(info))
    }
}

impl Signer for PrivateKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature> {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(payload).as_ref());
        Ok(Signature(signature))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::from_seed(Zeroizing::new([42; 32]))
    }

    #[test]
    fn pkcs8_is_read_back_in_both_versions_and_with_the_right_public_key_only() {
        let first = key().to_der().unwrap();
        assert_eq!(PrivateKey::from_der(first.as_bytes()).unwrap().public(), key().public());
        let octets = [&SEED[..], &[42; 32]].concat();
        for (public, want) in [(*key().public().bytes(), None), ([1; 32], Some(NotOurs::Public))] {
            let info = PrivateKeyInfo {
                algorithm: ED25519,
                private_key: &octets,
                public_key: Some(&public),
            };
            let second = SecretDocument::try_from(info).unwrap();
            assert_eq!(PrivateKey::from_der(second.as_bytes()).err(), want);
        }
    }

    #[test]
    fn what_is_not_a_key_of_ed25519_is_refused() {
        let good = key().to_der().unwrap();
        let good = good.as_bytes();
        let short = SecretDocument::try_from(PrivateKeyInfo::new(ED25519, &[4, 1, 9])).unwrap();
        // X25519, which signs nothing.
        let mut other = good.to_vec();
        let oid = other.windows(3).position(|bytes| bytes == [0x2b, 0x65, 0x70]).unwrap();
        other[oid + 2] = 0x6e;
        for (der, want) in [
            (&[][..], NotOurs::Format),
            (&good[1..], NotOurs::Format),
            (&good[..good.len() - 1], NotOurs::Format),
            (short.as_bytes(), NotOurs::Format),
            (&other, NotOurs::Algorithm),
        ] {
            assert_eq!(PrivateKey::from_der(der).unwrap_err(), want, "{der:?}");
        }
    }

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let shown = format!("{:?}", key());
        assert_eq!(shown, format!("PrivateKey {{ public: {}, .. }}", key().public()));
    }
}
