//! What a client shows of itself to a server that asks: a certificate and its key, as kubelet keeps them.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey};

/// A certificate, those between it and its authority, and its key.
#[derive(Debug, Clone)]
pub struct Identity(ClientCert);

/// What should be certificate and key is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoIdentity(String);

impl std::fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoIdentity {}

impl Identity {
    /// Out of a text of PEM, the client's certificate before the others.
    ///
    /// # Errors
    /// One of both is missing or damaged, or they do not belong together. It is found here because the
    /// HTTP client would panic.
    pub fn of(pem: &[u8]) -> Result<Self, NoIdentity> {
        let cannot = |what: &str, why: String| NoIdentity(format!("{what}: {why}"));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| cannot("its certificates cannot be read", error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| cannot("its key cannot be read", error.to_string()))?;
        let certificates: Vec<_> =
            chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let of_ureq = PrivateKey::from_pem(pem)
            .map_err(|error| cannot("its key cannot be read", error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| cannot("certificate and key cannot be used", error.to_string()))?;
        Ok(Self(ClientCert::new_with_certs(&certificates, of_ureq)))
    }

    pub(crate) fn certificate(&self) -> ClientCert {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let parameters = CertificateParams::new(Vec::new()).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn certificate_and_key_must_be_whole_and_belong_together() {
        let [(certificate, key), (_, other)] = [pair(), pair()];
        assert!(Identity::of((certificate.clone() + &key).as_bytes()).is_ok());
        assert!(Identity::of((key.clone() + &certificate).as_bytes()).is_ok());
        for (text, words) in [
            (String::new(), "its key cannot be read: "),
            (certificate.clone(), "its key cannot be read: "),
            (key.clone(), "certificate and key cannot be used: "),
            (certificate.clone() + &other, "certificate and key cannot be used: "),
            (certificate.clone() + &key[..key.len() / 2], "its "),
            (certificate[..certificate.len() / 2].to_owned() + &key, "its "),
        ] {
            let error = Identity::of(text.as_bytes()).expect_err("no identity").to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
