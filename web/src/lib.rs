//! What programs of a node have in common when they fetch by HTTP or HTTPS: whom they trust, by which
//! proxy they go, how long they wait, and the words for what went wrong. What they fetch, and how often
//! they try, is theirs.

mod identity;
pub mod proxy;
mod reason;

use std::sync::Arc;
use std::time::Duration;

use formats::node_config::ProxyUrl;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Proxy};

pub use identity::{Identity, NoIdentity};
pub use reason::{Reason, Times};
pub use ureq::tls::Certificate;

/// The authorities that the image trusts.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// So many redirects are followed.
pub const REDIRECTS: u32 = 5;

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first packet to the last byte; nothing if only silence counts.
    pub total: Option<Duration>,
    /// Until a name server has answered.
    pub resolve: Duration,
    /// Until there is a connection, with TLS.
    pub connect: Duration,
    /// How long the server may say nothing, if that is limited.
    pub silence: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: None,
            // glibc's resolver gives up after ten seconds with one name server.
            resolve: Duration::from_secs(12),
            connect: Duration::from_secs(15),
            silence: Some(Duration::from_secs(30)),
        }
    }
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// What began in secret does not go on in the open: redirects to HTTP are refused.
    Https,
    /// As the address and the redirects say.
    Any,
}

impl Secrecy {
    /// What an address asks for.
    pub fn of(address: &str) -> Self {
        let secure = address.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        if secure { Self::Https } else { Self::Any }
    }
}

/// The certificates of a text of PEM. Those that cannot be read are skipped, as every TLS client does.
pub fn authorities(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// A client that calls itself `name`, trusts `authorities` and no others, and gives answers of every
/// status.
///
/// # Errors
/// The proxy has no address that can be used.
pub fn agent(
    name: &str,
    authorities: Vec<Certificate<'static>>,
    secrecy: Secrecy,
    proxy: Option<&ProxyUrl>,
    limits: Limits,
) -> Result<Agent, ureq::Error> {
    build(name, authorities, None, (secrecy, REDIRECTS), proxy, limits)
}

/// As [`agent`], for one server that knows who asks: it is shown `identity`, and follows no redirect.
///
/// # Errors
/// The proxy has no address that can be used.
pub fn agent_as(
    name: &str,
    authorities: Vec<Certificate<'static>>,
    identity: Option<&Identity>,
    secrecy: Secrecy,
    proxy: Option<&ProxyUrl>,
    limits: Limits,
) -> Result<Agent, ureq::Error> {
    build(name, authorities, identity, (secrecy, 0), proxy, limits)
}

fn build(
    name: &str,
    authorities: Vec<Certificate<'static>>,
    identity: Option<&Identity>,
    (secrecy, redirects): (Secrecy, u32),
    proxy: Option<&ProxyUrl>,
    limits: Limits,
) -> Result<Agent, ureq::Error> {
    let proxy = proxy.map(|proxy| Proxy::new(&proxy.expose())).transpose()?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(authorities))
        .client_cert(identity.map(Identity::certificate))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(redirects)
        .https_only(secrecy == Secrecy::Https)
        .timeout_global(limits.total)
        .timeout_resolve(Some(limits.resolve))
        .timeout_connect(Some(limits.connect))
        .timeout_recv_response(limits.silence)
        .timeout_per_read(limits.silence)
        .timeout_per_write(limits.silence)
        .user_agent(name)
        .accept_encoding("identity")
        .build();
    Ok(config.new_agent())
}

/// Whether this is the beginning of a page for people: login pages and error pages come with a cheerful
/// status too.
pub fn begins_as_web_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

/// Whether this is the type of a page for people.
pub fn is_web_page(content_type: &str) -> bool {
    content_type.trim_start().get(..9).is_some_and(|it| it.eq_ignore_ascii_case("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_known_by_its_type_and_its_beginning() {
        for page in ["\n <!DOCTYPE HTML>", "<HTML lang=en>"] {
            assert!(begins_as_web_page(page.as_bytes()), "{page}");
        }
        assert!(!begins_as_web_page(b"<htm") && !begins_as_web_page(b"schema = 1"));
        assert!(is_web_page("text/html; charset=utf-8") && is_web_page("Text/HTML"));
        assert!(!is_web_page("text/plain") && !is_web_page(""));
    }

    #[test]
    fn an_address_asks_for_secrecy_by_its_scheme() {
        assert_eq!(Secrecy::of("HTTPS://a.example"), Secrecy::Https);
        assert_eq!(Secrecy::of("http://a.example"), Secrecy::Any);
        assert_eq!(Secrecy::of(""), Secrecy::Any);
    }
}
