//! Which way a request goes: straight to the server, or through which proxy. An `https` server is
//! reached by a tunnel (`CONNECT`, RFC 9110, 9.3.6); an `http` one by asking the proxy for the whole
//! address (RFC 9112, 3.2.2), for proxies in front of package archives permit no tunnel to port 80.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy, ProxyProtocol};

use super::forward;
use crate::credentials::{Address, Login, Logins, Scheme, Source, shown};
use crate::error::{Context as _, Id, Result};

/// Which proxy to go through, by the address's scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxy's address for `http:` addresses.
    pub http: Option<String>,
    /// The proxy's address for `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly: `host` (and all below it), `.domain`, `*`, or a range of
    /// numbers such as `10.0.0.0/8`.
    pub none_for: Vec<String>,
    /// By scheme and host, what is used instead; `None` is the direct way.
    pub by_host: BTreeMap<(Scheme, String), Option<String>>,
}

impl Proxies {
    fn all(&self) -> impl Iterator<Item = &String> {
        self.http.iter().chain(&self.https).chain(self.by_host.values().flatten())
    }

    /// That all of them are addresses of proxies.
    pub(super) fn check(&self) -> Result<()> {
        self.all().try_for_each(|address| proxy(address).map(drop))
    }

    /// The way to `address`.
    pub(super) fn route(&self, address: &Address) -> Result<Route> {
        if self.none_for.iter().any(|rule| excepts(rule, address)) {
            return Ok(Route::Direct);
        }
        let host = (address.scheme(), address.host().to_ascii_lowercase());
        let general = match address.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        let Some(text) = self.by_host.get(&host).unwrap_or(general) else {
            return Ok(Route::Direct);
        };
        let asks =
            address.scheme() == Scheme::Http && proxy(text)?.protocol() == ProxyProtocol::Http;
        Ok(if asks { Route::Ask(text.clone()) } else { Route::Tunnel(text.clone()) })
    }
}

/// The way of one request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    Direct,
    /// The proxy is asked for the address.
    Ask(String),
    /// The proxy connects us to the server.
    Tunnel(String),
}

impl Route {
    /// The agent whose connections go this way.
    pub(super) fn agent(
        &self,
        config: ConfigBuilder<AgentScope>,
        logins: &Logins,
    ) -> Result<Agent> {
        Ok(match self {
            Self::Direct => config.build().new_agent(),
            Self::Ask(text) => forward::agent(config.build(), proxy(text)?.uri().clone()),
            Self::Tunnel(text) => {
                let proxy = with_login(proxy(text)?, text, logins)?;
                config.proxy(Some(proxy)).build().new_agent()
            }
        })
    }

    /// The proxy, as it may be shown.
    pub(super) fn proxy(&self) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Ask(text) | Self::Tunnel(text) => Some(shown(text)),
        }
    }

    /// What the proxy itself wants to be told; in a tunnel that is said before.
    pub(super) fn authorization(&self, logins: &Logins) -> Result<Option<String>> {
        let Self::Ask(text) = self else { return Ok(None) };
        let proxy = with_login(proxy(text)?, text, logins)?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let login = || {
            let (user, password) = (text(proxy.username()), text(proxy.password()));
            Login::new(user, password, Source::Address).basic()
        };
        Ok(proxy.username().or(proxy.password()).map(|_| login()))
    }
}

/// Whether a rule of `no_proxy` is for this address. As for curl and Go, a host's name stands for
/// all below it too.
fn excepts(rule: &str, address: &Address) -> bool {
    let rule = rule.trim().to_ascii_lowercase();
    let host = address.host().to_ascii_lowercase();
    if let (Some((network, bits)), Ok(host)) = (rule.split_once('/'), host.parse::<IpAddr>()) {
        let (network, bits) = (network.parse::<IpAddr>(), bits.parse::<u32>());
        return network.is_ok_and(|network| bits.is_ok_and(|bits| in_network(host, network, bits)));
    }
    let (rule, port) = match rule.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
        _ => (rule.as_str(), None),
    };
    if port.is_some_and(|port| port != address.any_port()) {
        return false;
    }
    let name = rule.trim_start_matches("*.").trim_start_matches('.');
    let below = || host.strip_suffix(name).is_some_and(|start| start.ends_with('.'));
    rule == "*" || (!name.is_empty() && (host == name || below()))
}

fn in_network(host: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((host, width), (network, other)) = (number(host), number(network));
    width == other && bits <= width && (bits == 0 || (host ^ network) >> (128 - bits) == 0)
}

/// The proxy with the name and the password that apt has for it, if its address has none.
fn with_login(proxy: Proxy, text: &str, logins: &Logins) -> Result<Proxy> {
    let named = proxy.username().or(proxy.password()).is_some();
    let login = || logins.of_proxy(&Address::parse(text).ok()?);
    let Some(login) = Some(()).filter(|()| !named).and_then(|()| login()) else {
        return Ok(proxy);
    };
    let (user, password) = login.parts();
    let builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    builder
        .username(user)
        .password(password)
        .build()
        .or_fail(Id::ProxyFailed, || format!("`{}` is not the address of a proxy", shown(text)))
}

fn proxy(address: &str) -> Result<Proxy> {
    Proxy::new(address)
        .or_fail(Id::ProxyFailed, || format!("`{}` is not the address of a proxy", shown(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(proxies: &Proxies, url: &str) -> String {
        match proxies.route(&Address::parse(url).unwrap()).unwrap() {
            Route::Direct => "direct".to_owned(),
            Route::Ask(text) => format!("ask {text}"),
            Route::Tunnel(text) => format!("tunnel {text}"),
        }
    }

    #[test]
    fn each_scheme_and_each_host_may_have_its_own_way() {
        let by_host = |host: &str, way: Option<&str>| {
            ((Scheme::Http, host.to_owned()), way.map(str::to_owned))
        };
        let proxies = Proxies {
            http: Some("http://plain.example:3128".to_owned()),
            https: Some("http://secure.example:3128".to_owned()),
            none_for: vec!["direct.example".to_owned()],
            by_host: BTreeMap::from([
                by_host("near.example", None),
                by_host("far.example", Some("http://far.proxy.example")),
                by_host("direct.example", Some("http://far.proxy.example")),
                by_host("socks.example", Some("socks5h://far.proxy.example")),
            ]),
        };
        for (url, way) in [
            ("http://mirror.example/", "ask http://plain.example:3128"),
            ("https://mirror.example/", "tunnel http://secure.example:3128"),
            ("http://near.example/", "direct"),
            ("https://near.example/", "tunnel http://secure.example:3128"),
            ("http://FAR.example:8/", "ask http://far.proxy.example"),
            ("http://direct.example/", "direct"),
            ("http://socks.example/", "tunnel socks5h://far.proxy.example"),
        ] {
            assert_eq!(route(&proxies, url), way, "{url}");
        }
    }

    #[test]
    fn hosts_are_excepted_as_curl_and_go_do() {
        for (rule, url, direct) in [
            ("mirror.example", "http://mirror.example/", true),
            ("mirror.example", "http://a.Mirror.example/", true),
            ("mirror.example", "http://amirror.example/", false),
            (".example", "http://mirror.example/", true),
            ("*.example", "http://mirror.example/", true),
            ("*", "http://mirror.example/", true),
            ("", "http://mirror.example/", false),
            (".", "http://mirror.example/", false),
            ("mirror.example:80", "http://mirror.example/", true),
            ("mirror.example:81", "http://mirror.example/", false),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("0.0.0.0/0", "http://11.1.2.3/", true),
            ("10.0.0.0/33", "http://10.0.0.0/", false),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("fd00::1", "http://[fd00::1]/", true),
            ("::/0", "http://10.0.0.1/", false),
            ("10.0.0.0/8", "http://mirror.example/", false),
        ] {
            let proxy = Some("http://proxy.example".to_owned());
            let none_for = vec![rule.to_owned()];
            let proxies = Proxies { http: proxy, none_for, ..Proxies::default() };
            assert_eq!(route(&proxies, url) == "direct", direct, "{rule} {url}");
        }
    }
}
