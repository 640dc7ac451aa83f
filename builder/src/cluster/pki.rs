//! A throw-away certificate authority and all that it certifies in a cluster
//! (<https://kubernetes.io/docs/setup/best-practices/certificates/>).
//!
//! Everything is P-256: keys are made in no time, on the node too. The time is an argument.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// How far before its making a certificate is valid already: clocks differ.
const BACKDATED: u64 = 3600;
/// How long a certificate of ours is valid: a cluster that is thrown away needs no renewal.
const VALID: u64 = 365 * 24 * 3600;

/// The names by which pods know the API server, beside its addresses.
const API_SERVER_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Pair {
    /// X.509.
    pub certificate: String,
    /// PKCS #8.
    pub key: String,
}

/// Everything that proves in a cluster who somebody is.
#[derive(Debug, Clone)]
pub struct Pki {
    /// Signs all others, and kubelets' certificates.
    pub ca: Pair,
    /// What all servers of the control plane show.
    pub serving: Pair,
    /// The cluster's administrator, in group `system:masters`.
    pub admin: Pair,
    /// kube-controller-manager as a client.
    pub controller_manager: Pair,
    /// kube-scheduler as a client.
    pub scheduler: Pair,
    /// The API server as a client of kubelets: [`KUBELET_CLIENT`].
    pub kubelet_client: Pair,
    /// Signs and verifies the tokens of service accounts; here `certificate` is the public key.
    pub service_account: Pair,
}

/// The user name of the API server where it is a client of kubelets.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// Makes a new authority at `now`, in seconds since 1970. `addresses` are those of the API server.
///
/// # Errors
/// There is no source of randomness, or an address is none.
pub fn make(now: u64, addresses: &[&str]) -> Result<Pki, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut params = subject("orlop-cluster", None, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let certificate = params.self_signed(&ca_key)?.pem();
    let ca = Pair { certificate, key: ca_key.serialize_pem() };
    let issuer = Issuer::new(params, ca_key);

    let client = |name: &str, group: Option<&str>| {
        let mut params = subject(name, group, now);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        signed(params, &issuer)
    };
    let names = API_SERVER_NAMES.iter().chain(addresses).map(|name| (*name).to_owned());
    let mut params = subject("kube-apiserver", None, now);
    params.subject_alt_names = CertificateParams::new(names.collect::<Vec<_>>())?.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let service_account = KeyPair::generate()?;
    Ok(Pki {
        serving: signed(params, &issuer)?,
        admin: client("orlop-admin", Some("system:masters"))?,
        controller_manager: client("system:kube-controller-manager", None)?,
        scheduler: client("system:kube-scheduler", None)?,
        kubelet_client: client(KUBELET_CLIENT, None)?,
        service_account: Pair {
            certificate: service_account.public_key_pem(),
            key: service_account.serialize_pem(),
        },
        ca,
    })
}

/// What stands in every certificate: whose it is and when it is valid.
fn subject(name: &str, group: Option<&str>, now: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(now.saturating_sub(BACKDATED));
    params.not_after = at(now.saturating_add(VALID));
    params
}

fn signed(
    mut params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Pair { certificate, key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn roots(pki: &Pki) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&pki.ca.certificate)).unwrap();
        Arc::new(roots)
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn accepts_server(ca: &Pki, shown: &Pair, name: &str, now: u64) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca), provider);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let shown = der(&shown.certificate);
        verifier.build().unwrap().verify_server_cert(&shown, &[], &name, &[], at(now)).is_ok()
    }

    fn accepts_client(ca: &Pki, shown: &Pair, now: u64) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca), provider);
        let shown = der(&shown.certificate);
        verifier.build().unwrap().verify_client_cert(&shown, &[], at(now)).is_ok()
    }

    #[test]
    fn the_serving_certificate_is_good_for_every_name_of_the_api_server_and_no_other() {
        let pki = make(NOW, &["127.0.0.1", "10.0.2.2", "10.96.0.1"]).unwrap();
        for name in API_SERVER_NAMES.iter().chain(&["127.0.0.1", "10.0.2.2", "10.96.0.1"]) {
            assert!(accepts_server(&pki, &pki.serving, name, NOW), "{name}");
        }
        for name in ["10.0.2.3", "kubernetes.example"] {
            assert!(!accepts_server(&pki, &pki.serving, name, NOW), "{name}");
        }
        assert!(!accepts_client(&pki, &pki.serving, NOW), "a server is no client");
    }

    #[test]
    fn every_client_is_accepted_by_its_own_authority_only() {
        let (pki, other) = (make(NOW, &[]).unwrap(), make(NOW, &[]).unwrap());
        for pair in [&pki.admin, &pki.controller_manager, &pki.scheduler, &pki.kubelet_client] {
            assert!(accepts_client(&pki, pair, NOW));
            assert!(!accepts_client(&other, pair, NOW));
            assert!(!accepts_server(&pki, pair, "localhost", NOW), "a client is no server");
        }
    }

    #[test]
    fn certificates_are_valid_for_a_year_from_the_time_that_was_given() {
        let pki = make(NOW, &[]).unwrap();
        for (now, want) in [
            (NOW - BACKDATED - 1, false),
            (NOW - BACKDATED, true),
            (NOW + VALID, true),
            (NOW + VALID + 1, false),
        ] {
            assert_eq!(accepts_server(&pki, &pki.serving, "localhost", now), want, "{now}");
            assert_eq!(accepts_client(&pki, &pki.admin, now), want, "{now}");
        }
    }

    #[test]
    fn keys_are_not_shown_by_accident() {
        let pki = make(NOW, &[]).unwrap();
        assert!(!format!("{pki:?}").contains("PRIVATE KEY"));
        assert!(pki.service_account.certificate.starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
