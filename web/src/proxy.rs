//! The proxy that an address is fetched by, from the variables of the environment that `orlop-node`
//! makes of the node config: a line `NAME=VALUE` each. The names and what they mean are those of Go's
//! `golang.org/x/net/http/httpproxy`.

use formats::node_config::{Exempt, Host, ProxyUrl, Scheme, Url};

/// In memory, for root alone: there may be a password in it.
pub const PATH: &str = "/run/orlop/proxy.env";

/// The proxy for addresses with `http`.
pub const HTTP: &str = "HTTP_PROXY";
/// The proxy for addresses with `https`.
pub const HTTPS: &str = "HTTPS_PROXY";
/// What is asked directly.
pub const DIRECT: &str = "NO_PROXY";

/// The proxy that an address is fetched by if these are the variables; `None` if it is asked directly.
pub fn proxy_for(variables: &str, address: &str) -> Option<ProxyUrl> {
    let value =
        |name: &str| variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let url: Url = address[..end].parse().ok()?;
    let name = match url.scheme() {
        Scheme::Http => HTTP,
        Scheme::Https => HTTPS,
    };
    let proxy = value(name)?.parse().ok()?;
    let direct = value(DIRECT).unwrap_or_default().split(',');
    let mut direct = direct.filter_map(|exempt| exempt.parse::<Exempt>().ok());
    let host: &Host = url.host();
    (!direct.any(|exempt| exempt.covers(host, url.port()))).then_some(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_by_the_proxy_of_its_scheme_unless_it_is_asked_directly() {
        let variables = "HTTP_PROXY=http://p.example:1\nNO_PROXY=a.example,10.0.0.0/8\n";
        let by = |address: &str| proxy_for(variables, address).map(|proxy| proxy.expose());
        assert_eq!(by("http://b.example/x?y=z").as_deref(), Some("http://p.example:1"));
        for direct in ["https://b.example", "http://a.example/x", "http://10.1.1.1", "nonsense"] {
            assert_eq!(by(direct), None, "{direct}");
        }
    }
}
