//! Keys and what they have signed: specification section 4.2.1 and 4.2.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};

use super::error::Reason;
use super::fields::{Fields, object};
use super::json::{Json, Object};
use super::spki::Spki;
use crate::digest::Sha256;

/// The name of a key: the SHA-256 of its canonical form, in hexadecimal digits.
pub type KeyId = String;

/// A public key as metadata has it. One of a kind that is not known is kept, and has signed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    keytype: String,
    scheme: String,
    public: String,
    /// Members that were not understood, of the key and of its value.
    more: Object,
    more_value: Object,
}

/// The part of a key that verifies. Two keys with the same value are one key, whatever their names and
/// forms are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublicKey {
    /// RFC 8032: 32 bytes.
    Ed25519(Vec<u8>),
    /// A point of P-256, uncompressed; signatures are of ASN.1, over SHA-256.
    P256(Vec<u8>),
    /// RSAPublicKey in DER, of 2048 to 8192 bits; PSS with SHA-256.
    Rsa(Vec<u8>),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Ed25519(bytes) => ("ed25519", bytes),
            Self::P256(bytes) => ("p256", bytes),
            Self::Rsa(bytes) => ("rsa", bytes),
        };
        write!(f, "{kind}:{}", hex(bytes))
    }
}

impl PublicKey {
    /// Whether this key has signed `message` so.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&'static dyn signature::VerificationAlgorithm, _) = match self {
            Self::Ed25519(key) => (&ED25519, key),
            Self::P256(key) => (&ECDSA_P256_SHA256_ASN1, key),
            Self::Rsa(key) => (&RSA_PSS_2048_8192_SHA256, key),
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

impl Key {
    /// The form that metadata has of a key.
    pub fn new(key: &PublicKey) -> Self {
        let (keytype, scheme, public) = match key {
            PublicKey::Ed25519(bytes) => ("ed25519", "ed25519", hex(bytes)),
            PublicKey::P256(point) => {
                ("ecdsa", "ecdsa-sha2-nistp256", Spki::P256(point.clone()).to_pem())
            }
            PublicKey::Rsa(key) => ("rsa", "rsassa-pss-sha256", Spki::Rsa(key.clone()).to_pem()),
        };
        Self {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            public,
            more: Object::new(),
            more_value: Object::new(),
        }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        Sha256::of(self.to_json().to_canonical()).to_string()
    }

    /// Whether this may be its name. Some publishers add members to a key and keep the name that it had
    /// before; these say nothing of what it verifies.
    fn is_named(&self, id: &str) -> bool {
        let bare = Self { more: Object::new(), ..self.clone() };
        self.id() == id || bare.id() == id
    }

    /// What verifies; nothing if it is of a kind that is not known, or is damaged.
    pub fn public(&self) -> Option<PublicKey> {
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                unhex(&self.public).filter(|key| key.len() == 32).map(PublicKey::Ed25519)
            }
            // The second is what the first implementations wrote.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                match Spki::parse(&self.public)? {
                    Spki::P256(point) => Some(PublicKey::P256(point)),
                    Spki::Rsa(_) => None,
                }
            }
            ("rsa", "rsassa-pss-sha256") => match Spki::parse(&self.public)? {
                Spki::Rsa(key) => Some(PublicKey::Rsa(key)),
                Spki::P256(_) => None,
            },
            _ => None,
        }
    }

    pub(super) fn read(json: Json, path: &str) -> Result<Self, Reason> {
        let mut fields = Fields::of(json, path)?;
        let mut value = fields.fields("keyval")?;
        Ok(Self {
            keytype: fields.text("keytype")?,
            scheme: fields.text("scheme")?,
            public: value.text("public")?,
            more_value: value.rest(),
            more: fields.rest(),
        })
    }

    pub(super) fn to_json(&self) -> Json {
        let value = object([("public", self.public.as_str().into())], &self.more_value);
        let members = [
            ("keytype", self.keytype.as_str().into()),
            ("keyval", value),
            ("scheme", self.scheme.as_str().into()),
        ];
        object(members, &self.more)
    }
}

/// Keys by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<KeyId, Key>);

impl Keys {
    /// These keys, each by its name.
    pub fn of(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut all = Self::default();
        all.add(keys);
        all
    }

    /// Adds keys, each by its name.
    pub fn add(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.0.extend(keys.into_iter().map(|key| (key.id(), key)));
    }

    /// Keeps those whose names are wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(&KeyId) -> bool) {
        self.0.retain(|id, _| wanted(id));
    }

    /// The key of this name, if it is its name and it verifies.
    pub fn get(&self, id: &str) -> Option<PublicKey> {
        self.0.get(id).filter(|key| key.is_named(id))?.public()
    }

    /// All of them, as they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &Key)> {
        self.0.iter()
    }

    /// Those of some names, without those that can verify nothing. One with two names is there once.
    pub fn values<'a>(&self, ids: impl IntoIterator<Item = &'a KeyId>) -> BTreeSet<PublicKey> {
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    pub(super) fn read(members: Object, path: &str) -> Result<Self, Reason> {
        let key = |(id, json): (KeyId, Json)| {
            let key = Key::read(json, &format!("{path}.{id}."))?;
            Ok((id, key))
        };
        members.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn to_json(&self) -> Json {
        Json::Object(self.0.iter().map(|(id, key)| (id.clone(), key.to_json())).collect())
    }
}

/// Whose signatures a role needs, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Names of its keys.
    pub ids: BTreeSet<KeyId>,
    /// How many of them must have signed: 1 or more.
    pub threshold: u64,
    /// Members that were not understood.
    pub more: Object,
}

impl RoleKeys {
    /// So many of these keys.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a Key>, threshold: u64) -> Self {
        let ids = keys.into_iter().map(Key::id).collect();
        Self { ids, threshold, more: Object::new() }
    }

    /// Those of a role that nobody can sign for.
    pub(super) const fn nobody() -> Self {
        Self { ids: BTreeSet::new(), threshold: u64::MAX, more: Object::new() }
    }

    /// Takes `keyids` and `threshold`; the rest stays.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, Reason> {
        // A name that is there twice is one key all the same.
        let ids = fields.texts("keyids")?.into_iter().collect();
        Ok(Self { ids, threshold: fields.positive("threshold")?, more: Object::new() })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of an even number of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    pairs.collect::<Option<_>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and its name in the specification, section 4.3.
    const KEY: &str = r#"{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":
        "72378e5bc588793e58f81c8533da64a2e8f1565c1fcc7f253496394ffc52542c"}}"#;
    const ID: &str = "1bf1c6e3cdd3d3a8420b19199e27511999850f4b376c4547b2f32fba7e80fca3";

    fn key(text: &str) -> Key {
        Key::read(Json::parse(text.as_bytes()).unwrap(), "").unwrap()
    }

    #[test]
    fn a_key_has_the_name_that_the_specification_gives_it() {
        let key = key(KEY);
        assert_eq!(key.id(), ID);
        assert_eq!(Key::new(&key.public().unwrap()), key);
        assert!(Keys([(ID.to_owned(), key.clone())].into()).get(ID).is_some());
        let other = ID.replace('1', "2");
        assert_eq!(Keys([(other.clone(), key)].into()).get(&other), None);
    }

    #[test]
    fn members_that_others_added_are_kept_and_the_name_may_be_without_them() {
        let more = KEY.replacen('{', r#"{"x-owner":"a","#, 1);
        let owned = key(&more);
        assert_ne!(owned.id(), ID);
        assert_eq!(owned.to_json(), Json::parse(more.as_bytes()).unwrap());
        for id in [owned.id(), ID.to_owned()] {
            assert!(Keys([(id.clone(), owned.clone())].into()).get(&id).is_some());
        }
    }

    #[test]
    fn a_key_that_is_not_known_or_damaged_is_kept_and_verifies_nothing() {
        for (from, to) in [
            ("\"keytype\":\"ed25519\"", "\"keytype\":\"ed448\""),
            ("\"scheme\":\"ed25519\"", "\"scheme\":\"rsa-pkcs1v15-sha256\""),
            ("52542c", "5254"),
            ("52542c", "52542g"),
            ("\"ed25519\"", "\"rsa\""),
        ] {
            let odd = key(&KEY.replace(from, to));
            assert_eq!(odd.public(), None, "{to}");
            assert_eq!(Keys::of([odd.clone()]).values(&[odd.id()]), BTreeSet::new());
        }
    }

    #[test]
    fn one_key_with_two_names_is_one_key() {
        let ours = key(KEY);
        let theirs = key(&KEY.replacen('{', r#"{"x":1,"#, 1));
        let keys = Keys::of([ours.clone(), theirs.clone()]);
        let ids: BTreeSet<_> = [ours.id(), theirs.id()].into();
        assert_eq!((ids.len(), keys.values(&ids).len()), (2, 1));
    }

    /// RFC 8032 section 7.1, test 2.
    #[test]
    fn ed25519_is_that_of_its_specification() {
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let public = PublicKey::Ed25519(unhex(public).unwrap());
        let signature = unhex(signature).unwrap();
        assert!(public.verifies(&[0x72], &signature));
        assert!(!public.verifies(&[0x73], &signature));
        assert!(!public.verifies(&[0x72], &signature[1..]));
        assert!(!public.verifies(&[0x72], &[]));
    }
    /// RFC 6979 section A.2.5: P-256 with SHA-256, message "sample". Its two numbers in ASN.1.
    #[test]
    fn p256_is_that_of_its_specification() {
        let point = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                     7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        let signature = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                         022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        let signature = unhex(signature).unwrap();
        let key = Key::new(&PublicKey::P256(unhex(point).unwrap()));
        for name in ["ecdsa", "ecdsa-sha2-nistp256"] {
            let key = Key { keytype: name.to_owned(), ..key.clone() }.public().unwrap();
            assert!(key.verifies(b"sample", &signature));
            assert!(!key.verifies(b"simple", &signature));
        }
    }

    /// A public key of `openssl genrsa 2048`, and what `openssl dgst -sha256 -sigopt
    /// rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32` made of "sample" with the private one.
    const RSA: (&str, &str) = (
        "-----BEGIN PUBLIC KEY-----\n\
         MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuHEct9zHzFtA06+CRR6q\n\
         2MNQwlXrP59v8TblN8rsWAZt6FQpcvyVJg7MSEFaMJ8IEl2ggrTgVQwcVeS2jNGA\n\
         BrmPKFx2umeDnbZeH0Spt8rghvwzKdRS0OsYC0M+dlN7ch+JZjDjw9QaTa3Vc18+\n\
         IPp4vn5g0RYkDOORfDwAbwg+L94c5Zb7nMFdewzAMNBw1tpsbI9B4LMjvReeNNG7\n\
         oDiUJ1a9m5i2TIc6pDOXAhgTdlyVRHx1ZZ56JdBMNQ7vu15otfmVXAvcAfZRUl79\n\
         MlCciBJ3qAxM81k77yV10rd0Ri17x7ym37sXZtQlqs3pRGBng9fxNdrJiFarX9i4\n\
         wwIDAQAB\n\
         -----END PUBLIC KEY-----\n",
        "14a9b93c28f44103abb8570ca537e38bd93fbf7cb9b815ca2bcb09aafe16135af1718fe36acb77ca\
         5e99d3c446e4d786729e729a6d707ab7db70b8e1a1c61567bef2e0fa102920665b8ac86e6abe5271\
         58a3ad9ce9f99cc54c1809b2c04dd1d2dc968f7ab3aaa62b360d102aa01bef8982544b8746be8086\
         09cf8ae33615431cd20b7812b75aefc5f1e63d145762a6e0917cee750dc822e1dda9ee1da4a11c0d\
         bced909fe6981cb54fe498794020ce0d564d8b094db008c19725f281c0a8c7d892f71bbc9d42df48\
         120a5ebde42d3b2c822c6d232cc581a2277faaee43e682242d9e6cabc62236d11f487a01755409d8\
         7f29d2858b1cc22f2423b65fef6bdc2f",
    );

    #[test]
    fn rsa_pss_is_that_of_openssl() {
        let text = format!(
            r#"{{"keytype":"rsa","scheme":"rsassa-pss-sha256","keyval":{{"public":"{}"}}}}"#,
            RSA.0.replace('\n', "\\n")
        );
        let key = key(&text);
        let public = key.public().unwrap();
        let signature = unhex(RSA.1).unwrap();
        assert!(public.verifies(b"sample", &signature));
        assert!(!public.verifies(b"simple", &signature));
        assert!(!public.verifies(b"sample", &signature[..255]));
        assert_eq!(Key::new(&public), key);
    }
}
