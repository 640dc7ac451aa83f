//! The pair of certificate and key that kubelet shows to those who connect to it.
//!
//! Left alone kubelet makes one with RSA keys, which took 3 of the 4 seconds from its start to its
//! health. A P-256 pair takes a millisecond. It is kept on STATE with a note of what is in it, so
//! that nothing here must read certificates.

use std::fmt;

use formats::digest::Sha256;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use serde::{Deserialize, Serialize};

use super::file::File;

/// The certificate, self-signed.
pub(super) const CERTIFICATE: &str = "/var/lib/kubelet/pki/orlop-serving.crt";
/// Its key.
pub(super) const KEY: &str = "/var/lib/kubelet/pki/orlop-serving.key";
/// What is known of both.
pub(super) const NOTE: &str = "/var/lib/kubelet/pki/orlop-serving.json";

const DAY: u64 = 24 * 60 * 60;
/// A new one is made at the first boot in the certificate's last 30 days.
const RENEWAL: u64 = 30 * DAY;
/// Nodes run for years, and only a boot makes a new pair.
const LIFE: u64 = 3650 * DAY;
/// For clocks of others that are behind this one.
const EARLIER: u64 = DAY;

/// A pair to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    names: Vec<String>,
    not_before: u64,
    not_after: u64,
}

/// A pair that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Kept {
    /// Host names and addresses in the certificate.
    names: Vec<String>,
    /// Seconds since 1970.
    not_before: u64,
    /// Seconds since 1970.
    not_after: u64,
    /// SHA-256 of certificate and key, one after the other: a power cut between the two would leave
    /// a pair that is none.
    sha256: String,
}

impl Kept {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether the note is about these two files.
    pub(super) fn is_of(&self, certificate: &str, key: &str) -> bool {
        self.sha256 == digest(certificate, key)
    }
}

fn digest(certificate: &str, key: &str) -> String {
    Sha256::of([certificate, key].concat()).to_string()
}

/// The pair that must be made for these names, if `kept` will not do at the time `now`.
pub(super) fn wanted(names: Vec<String>, kept: Option<&Kept>, now: u64) -> Option<Wanted> {
    let good = kept.is_some_and(|kept| {
        kept.names == names
            && kept.not_before <= now
            && now < kept.not_after.saturating_sub(RENEWAL)
    });
    (!good).then(|| Wanted {
        names,
        not_before: now.saturating_sub(EARLIER),
        not_after: now.saturating_add(LIFE),
    })
}

/// Draws a key and signs. The note comes last: without it the pair is made again.
pub(super) fn make(wanted: &Wanted) -> Result<[File; 3], rcgen::Error> {
    let epoch = date_time_ymd(1970, 1, 1);
    // As far as certificates reach (RFC 5280 section 4.1.2.5); a clock may say anything.
    let latest = 253_402_300_799;
    let time = |seconds: u64| epoch + std::time::Duration::from_secs(seconds.min(latest));
    let mut parameters = CertificateParams::new(wanted.names.clone())?;
    parameters.not_before = time(wanted.not_before);
    parameters.not_after = time(wanted.not_after);
    let name = wanted.names.first().map_or("orlop-node", String::as_str);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Not of clients: in standalone mode it is the only certificate that kubelet trusts, and is
    // trusted by it for nothing.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let (certificate, key) = (parameters.self_signed(&key)?.pem(), key.serialize_pem());
    let note = Kept {
        names: wanted.names.clone(),
        not_before: wanted.not_before,
        not_after: wanted.not_after,
        sha256: digest(&certificate, &key),
    };
    let note = format!("{}\n", serde_json::json!(note));
    Ok([File::secret(KEY, key), File::public(CERTIFICATE, certificate), File::public(NOTE, note)])
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, not_before, not_after } = self;
        write!(f, "serving pair for {names:?}, good from {not_before} to {not_after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000;

    fn kept(names: &[&str], now: u64) -> Kept {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let [_, _, note] = make(&wanted(names, None, now).unwrap()).unwrap();
        Kept::parse(&note.content).unwrap()
    }

    #[test]
    fn a_pair_is_kept_until_its_names_or_the_time_are_others() {
        let kept = kept(&["a"], NOW);
        for (names, now, keep) in [
            (vec!["a"], NOW, true),
            (vec!["a"], NOW - DAY, true),
            (vec!["a"], NOW - DAY - 1, false),
            (vec!["a"], NOW + 3619 * DAY, true),
            (vec!["a"], NOW + 3620 * DAY, false),
            (vec!["b"], NOW, false),
            (vec![], NOW, false),
        ] {
            let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            let wanted = wanted(names.clone(), Some(&kept), now);
            assert_eq!(wanted.is_none(), keep, "{names:?} {now}");
        }
    }

    #[test]
    fn the_note_is_of_its_pair_and_no_other() {
        let wanted = wanted(vec!["a".to_owned()], None, NOW).unwrap();
        let [key, certificate, note] = make(&wanted).unwrap();
        let [other_key, ..] = make(&wanted).unwrap();
        let kept = Kept::parse(&note.content).unwrap();
        assert!(kept.is_of(&certificate.content, &key.content));
        assert!(!kept.is_of(&certificate.content, &other_key.content));
        assert!(!kept.is_of(&certificate.content, ""));
    }

    #[test]
    fn a_pair_is_of_p_256_and_its_key_is_secret() {
        let names = ["worker-1", "192.0.2.10", "2001:db8::10"].map(str::to_owned).to_vec();
        let [key, certificate, _] = make(&wanted(names, None, NOW).unwrap()).unwrap();
        assert_eq!((key.mode, certificate.mode), (crate::root::SECRET, crate::root::PUBLIC));
        let pair = KeyPair::from_pem(&key.content).unwrap();
        assert_eq!(pair.algorithm(), &PKCS_ECDSA_P256_SHA256);
        assert!(certificate.content.starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn any_clock_makes_a_pair() {
        for now in [0, NOW, u64::MAX] {
            let wanted = wanted(Vec::new(), None, now).unwrap();
            assert!(make(&wanted).is_ok(), "{now}");
        }
    }
}
