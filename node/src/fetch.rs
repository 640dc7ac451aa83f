//! Gets the node config from an address, by HTTP or HTTPS: one attempt, limited in time, size and
//! redirects. Who calls again after a failure is PID 1.
//!
//! Over HTTPS the server must have a certificate which an authority of the image's bundle signed.
//! Over HTTP anybody on the way can read the config, which has a token in it, and change it.

use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use formats::node_config::ProxyUrl;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{Response, StatusCode};
pub use web::Reason;
use web::{CA_BUNDLE, Certificate, Secrecy};

use crate::assemble::proxy;
use crate::root::Root;
use crate::source::{self, Origin};

const MOST_CA_BYTES: u64 = 16 * 1024 * 1024;

/// What an attempt may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first packet to the last byte.
    pub total: Duration,
    /// Until a name server has answered.
    pub resolve: Duration,
    /// Until there is a connection, with TLS.
    pub connect: Duration,
    /// Bytes of the config.
    pub size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            // glibc's resolver gives up after ten seconds with one name server.
            resolve: Duration::from_secs(12),
            connect: Duration::from_secs(15),
            size: source::LIMIT,
        }
    }
}

impl Limits {
    fn of_exchange(self) -> web::Limits {
        let Self { total, resolve, connect, .. } = self;
        web::Limits { total: Some(total), resolve, connect, silence: None }
    }
}

/// Why there is no config, and where it was to come from.
#[derive(Debug)]
pub struct FetchError {
    /// The address.
    pub address: Origin,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch the node config from `{}`: {}", self.address, self.reason)
    }
}

impl std::error::Error for FetchError {}

/// Gets the text at `address`.
///
/// # Errors
/// See [`Reason`].
pub fn fetch(root: &Root, address: &str, limits: Limits) -> Result<String, FetchError> {
    let failed = |reason| FetchError { address: Origin::new(address), reason };
    let Some(proxy) = proxy::proxy_for(root, address) else {
        return get(root, address, None, limits).map_err(failed);
    };
    // The proxy is that of the config at hand, which may be an old one: the next must not be out of
    // reach for that.
    get(root, address, Some(&proxy), limits).or_else(|by_proxy| {
        get(root, address, None, limits).map_err(|directly| {
            let proxy = proxy.to_string();
            failed(Reason::Twice { proxy, by_proxy: by_proxy.into(), directly: directly.into() })
        })
    })
}

fn get(
    root: &Root,
    address: &str,
    proxy: Option<&ProxyUrl>,
    limits: Limits,
) -> Result<String, Reason> {
    let authorities = authorities(root);
    let trusts_none = authorities.is_empty();
    let transport = |error| Reason::of(error, limits.of_exchange(), trusts_none);
    let name = concat!("orlop-node/", env!("CARGO_PKG_VERSION"));
    let secrecy = Secrecy::of(address);
    let agent = web::agent(name, authorities, secrecy, proxy, limits.of_exchange());
    let response = agent.map_err(transport)?.get(address).call().map_err(transport)?;
    if response.status() != StatusCode::OK {
        return Err(Reason::Status(response.status().as_u16(), response.status().to_string()));
    }
    let html = web::is_web_page(content_type(&response));
    let mut bytes = Vec::new();
    let body = response.into_body().into_reader();
    let read = body.take(limits.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| transport(error.into()))?;
    if html || web::begins_as_web_page(&bytes) {
        return Err(Reason::WebPage);
    }
    if bytes.len() as u64 > limits.size {
        return Err(Reason::TooLarge(limits.size));
    }
    source::text(bytes).map_err(Reason::NoText)
}

/// The certificates of the bundle. Those that cannot be read are skipped, as every TLS client
/// does; so is a bundle that is missing: then the handshake fails and says so.
fn authorities(root: &Root) -> Vec<Certificate<'static>> {
    let bundle = root.read(CA_BUNDLE, MOST_CA_BYTES).ok().flatten().unwrap_or_default();
    web::authorities(&bundle)
}

fn content_type(response: &Response<ureq::Body>) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests;
