//! Signers and packages for tests. Nothing is random: a signer's keys come from its number.

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, SignedKeyDetails, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::{ed25519, eddsa_legacy};
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, PublicSubkey, SecretKey, SecretSubkey, Signature,
    SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    Duration, KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams,
    PublicParams, SecretParams, SignedUser, SigningKey, Tag, Timestamp,
};

/// The time of the tests: in November 2026.
pub(super) const NOW: u64 = 1_795_200_000;

/// Somebody who signs release files.
#[derive(Debug)]
pub(super) struct Signer {
    primary: SecretKey,
    subkey: Option<SecretSubkey>,
    expires: Option<u32>,
    revoked: bool,
    agrees: bool,
}

impl Signer {
    const MADE: u32 = 1_600_000_000;
    /// When all signatures are made.
    pub(super) const SIGNED: u32 = 1_700_000_000;

    pub(super) fn new(number: u8) -> Self {
        let (inner, secret) = key(number);
        let public = PublicKey::from_inner(inner).unwrap();
        let primary = SecretKey::new(public, secret).unwrap();
        Self { primary, subkey: None, expires: None, revoked: false, agrees: true }
    }

    /// Signs with a subkey from now on.
    pub(super) fn with_subkey(mut self, number: u8) -> Self {
        let (inner, secret) = key(number);
        let public = PublicSubkey::from_inner(inner).unwrap();
        self.subkey = Some(SecretSubkey::new(public, secret).unwrap());
        self
    }

    /// The subkey does not sign that it belongs to the primary key.
    pub(super) fn without_agreement(mut self) -> Self {
        self.agrees = false;
        self
    }

    /// The key in the keyring expires so many seconds after it was made.
    pub(super) fn expiring_after(mut self, seconds: u32) -> Self {
        self.expires = Some(seconds);
        self
    }

    /// The key in the keyring is revoked.
    pub(super) fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    pub(super) fn fingerprint(&self) -> String {
        format!("{:X}", self.primary.fingerprint())
    }

    pub(super) fn subkey_fingerprint(&self) -> String {
        format!("{:X}", self.subkey.as_ref().unwrap().fingerprint())
    }

    pub(super) fn sign(&self, text: &str) -> String {
        Self::sign_together(&[self], text)
    }

    /// One file with the signatures of all.
    pub(super) fn sign_together(signers: &[&Self], text: &str) -> String {
        let message = CleartextSignedMessage::new_many(text, |normalized| {
            // RFC 9580, 7.2: blanks at line ends are not signed. The crate forgets them only when
            // it verifies.
            let lines = normalized.split("\r\n").map(|line| line.trim_end_matches([' ', '\t']));
            let normalized = &lines.collect::<Vec<_>>().join("\r\n");
            let signature = |signer: &&Self| match &signer.subkey {
                Some(subkey) => document(subkey, normalized),
                None => document(&signer.primary, normalized),
            };
            Ok(signers.iter().map(signature).collect())
        });
        message.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// The public key, as `gpg --export` writes it.
    pub(super) fn keyring(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.public().to_writer(&mut bytes).unwrap();
        bytes
    }

    /// The public key, as `gpg --armor --export` writes it.
    pub(super) fn armored_keyring(&self) -> String {
        self.public().to_armored_string(ArmorOptions::default()).unwrap()
    }

    fn public(&self) -> SignedPublicKey {
        let (primary, none) = (self.primary.public_key(), Password::empty());
        let user =
            UserId::from_str(PacketHeaderVersion::New, "Test <test@mirror.example>").unwrap();
        let mut certify = config(&self.primary, SignatureType::CertPositive, Self::MADE);
        if let Some(seconds) = self.expires {
            certify.hashed_subpackets.push(
                Subpacket::regular(SubpacketData::KeyExpirationTime(Duration::from_secs(seconds)))
                    .unwrap(),
            );
        }
        certify.hashed_subpackets.push(flags(|flags| {
            flags.set_certify(true);
            flags.set_sign(true);
        }));
        let certificate =
            certify.sign_certification(&self.primary, primary, &none, Tag::UserId, &user).unwrap();
        let revocation = || {
            let config = config(&self.primary, SignatureType::KeyRevocation, Self::MADE + 1);
            config.sign_key(&self.primary, &none, primary).unwrap()
        };
        let details = SignedKeyDetails::new(
            self.revoked.then(revocation).into_iter().collect(),
            Vec::new(),
            vec![SignedUser::new(user, vec![certificate])],
            Vec::new(),
        );
        let subkeys = self.subkey.iter().map(|subkey| self.bind(subkey)).collect();
        SignedPublicKey::new(primary.clone(), details, subkeys)
    }

    fn bind(&self, subkey: &SecretSubkey) -> SignedPublicSubKey {
        let (primary, none) = (self.primary.public_key(), Password::empty());
        let mut binding = config(&self.primary, SignatureType::SubkeyBinding, Self::MADE);
        binding.hashed_subpackets.push(flags(|flags| flags.set_sign(true)));
        if self.agrees {
            let back = config(subkey, SignatureType::KeyBinding, Self::MADE)
                .sign_primary_key_binding(subkey, subkey.public_key(), &none, primary)
                .unwrap();
            binding.hashed_subpackets.push(
                Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(back))).unwrap(),
            );
        }
        let signature = binding
            .sign_subkey_binding(&self.primary, primary, &none, subkey.public_key())
            .unwrap();
        SignedPublicSubKey::new(subkey.public_key().clone(), vec![signature])
    }
}

/// In the older coding of Ed25519, which every gpgv reads.
fn key(number: u8) -> (PubKeyInner, SecretParams) {
    let secret =
        ed25519::SecretKey::try_from_bytes([number; 32], ed25519::Mode::EdDSALegacy).unwrap();
    let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
    let public = PublicParams::try_from(&secret).unwrap();
    let made = Timestamp::from_secs(Signer::MADE);
    let algorithm = PublicKeyAlgorithm::EdDSALegacy;
    let inner = PubKeyInner::new(KeyVersion::V4, algorithm, made, None, public).unwrap();
    (inner, SecretParams::Plain(secret))
}

fn config(key: &impl SigningKey, kind: SignatureType, made: u32) -> SignatureConfig {
    let mut config =
        SignatureConfig::v4(kind, PublicKeyAlgorithm::EdDSALegacy, HashAlgorithm::Sha256);
    let made = SubpacketData::SignatureCreationTime(Timestamp::from_secs(made));
    config.hashed_subpackets = vec![
        Subpacket::regular(made).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    let issuer = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).unwrap()];
    config
}

fn flags(set: impl FnOnce(&mut KeyFlags)) -> Subpacket {
    let mut flags = KeyFlags::default();
    set(&mut flags);
    Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap()
}

fn document(key: &impl SigningKey, text: &str) -> Signature {
    config(key, SignatureType::Text, Signer::SIGNED)
        .sign(key, &Password::empty(), text.as_bytes())
        .unwrap()
}

/// A paragraph of a `Packages` file, with `more` fields.
pub(super) fn package(name: &str, version: &str, more: &str) -> String {
    let sha256 = formats::digest::Sha256::of(format!("{name} {version}"));
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}\
         Filename: pool/{name}_{version}.deb\nSize: 1000\nSHA256: {sha256}\n"
    )
}
