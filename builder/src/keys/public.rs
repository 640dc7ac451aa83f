//! Public keys: 32 bytes (RFC 8032), as 64 digits or as SubjectPublicKeyInfo in PEM (RFC 8410).

use std::fmt;

use pkcs8::der::asn1::BitStringRef;
use pkcs8::der::{Decode as _, Document};
use pkcs8::{AlgorithmIdentifierRef, LineEnding, ObjectIdentifier, SubjectPublicKeyInfoRef};
use serde::Deserialize;

use super::Signature;

/// `id-Ed25519` of RFC 8410.
pub(super) const ED25519: AlgorithmIdentifierRef<'static> =
    AlgorithmIdentifierRef { oid: ObjectIdentifier::new_unwrap("1.3.101.112"), parameters: None };

const LABEL: &str = "PUBLIC KEY";

/// A public key. Shown as 64 lower-case hexadecimal digits, as the metadata of TUF has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey([u8; 32]);

/// What should be a public key is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a public key: use its 32 bytes as 64 of 0-9 and a-f")]
pub struct NotAPublicKey;

impl PublicKey {
    /// The key with these bytes. Whether they are a point of the curve is seen when it verifies.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
    pub fn to_pem(&self) -> String {
        let key = BitStringRef::from_bytes(&self.0).map(|subject_public_key| {
            SubjectPublicKeyInfoRef { algorithm: ED25519, subject_public_key }
        });
        key.and_then(|key| Document::encode_msg(&key)?.to_pem(LABEL, LineEnding::LF))
            .expect("32 bytes can be encoded")
    }

    /// The key in a text that is SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// The text has another form, or is a key of another algorithm.
    pub fn from_pem(text: &str) -> Result<Self, NotAPublicKey> {
        let (label, document) = Document::from_pem(text).map_err(|_| NotAPublicKey)?;
        let key = SubjectPublicKeyInfoRef::from_der(document.as_bytes());
        let key = key.ok().filter(|key| label == LABEL && key.algorithm == ED25519);
        let bytes = key.and_then(|key| key.subject_public_key.as_bytes());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotAPublicKey)
    }

    /// Whether this is a signature of these bytes by this key.
    pub fn verifies(&self, payload: &[u8], signature: &Signature) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.0);
        key.verify(payload, &signature.0).is_ok()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NotAPublicKey;

    fn try_from(text: String) -> Result<Self, NotAPublicKey> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAPublicKey),
        };
        let digits = text.bytes().map(|byte| digit(&byte)).collect::<Result<Vec<_>, _>>()?;
        let bytes: Vec<_> =
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[pair.len() - 1]).collect();
        if digits.len() != 64 {
            return Err(NotAPublicKey);
        }
        bytes.try_into().map(Self).map_err(|_| NotAPublicKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_pem_are_the_same_key() {
        let digits = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let key = PublicKey::try_from(digits.to_owned()).unwrap();
        assert_eq!((key.bytes()[0], key.bytes()[31]), (0xd7, 0x1a));
        assert_eq!(key.to_string(), digits);
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"), "{pem}");
        assert_eq!(PublicKey::from_pem(&pem), Ok(key));
    }

    #[test]
    fn what_is_not_a_key_of_ed25519_is_refused() {
        let digits = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        for text in ["", "d7", &digits[1..], &format!("{digits}0"), &digits.to_uppercase()] {
            assert_eq!(PublicKey::try_from(text.to_owned()), Err(NotAPublicKey), "{text}");
        }
        let pem = PublicKey::new([7; 32]).to_pem();
        // Of the same size: X25519 (1.3.101.110), which signs nothing.
        let other = pem.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu");
        for text in ["", &pem[1..], &pem.replace("PUBLIC", "PRIVATE"), &other] {
            assert_eq!(PublicKey::from_pem(text), Err(NotAPublicKey), "{text}");
        }
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn a_signature_of_the_standard_is_verified_and_no_other() {
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let key = PublicKey::try_from(key.to_owned()).unwrap();
        let digits = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                      085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
        let signature = Signature(std::array::from_fn(byte));
        assert!(key.verifies(&[0x72], &signature));
        assert!(!key.verifies(&[0x73], &signature));
        assert!(!PublicKey::new([7; 32]).verifies(&[0x72], &signature));
    }
}
