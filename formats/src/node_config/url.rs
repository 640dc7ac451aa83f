//! Web addresses, as far as a node has a use for them (RFC 3986, RFC 9110 section 4.2).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::name::{DomainName, Host};

/// An address of the web: scheme, host, perhaps a port and a path; no user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    scheme: Scheme,
    host: Host,
    port: Option<u16>,
    // Invariant: empty, or begins with `/`; visible ASCII without `?` and `#`; no `/` at its end.
    path: String,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the open.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant where none is written.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Url {
    /// How the server is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The server.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The server's port, that of the scheme if none is written.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.port())
    }

    /// Empty, or begins with `/` and does not end with it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `HOST:PORT`, as programs that connect take it; an IPv6 address stands in brackets.
    pub fn host_port(&self) -> String {
        format!("{}:{}", Bracketed(&self.host), self.port())
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| {
            // What stands before `@` is not repeated: it may be a password.
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            Err(format!("`{shown}` is not an address that a node can use: {why}"))
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            _ => return refused("it must begin with `https://` or `http://`"),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['"', '\\', '<', '>'])
        {
            return refused("there are characters in it that must be written as `%XX`");
        }
        if text.contains(['?', '#']) {
            return refused("it must not have a query or a fragment");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return refused("it must not have a user or password");
        }
        let Some((host, port)) = host_port(authority) else {
            return refused("after `//` must stand a host, and a port from 1 to 65535 if any");
        };
        let port = port.filter(|port| *port != scheme.port());
        Ok(Self { scheme, host, port, path: path.trim_end_matches('/').to_owned() })
    }
}

/// A host as it stands before a port.
pub(super) struct Bracketed<'a>(pub(super) &'a Host);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            host => host.fmt(f),
        }
    }
}

/// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn host_port(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        (Host::Address(address.parse::<Ipv6Addr>().ok()?.into()), rest)
    } else {
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        let name = |name: DomainName| Host::Name(name);
        let address = host.parse().map(Host::Address).ok();
        (address.or_else(|| host.parse().map(name).ok())?, rest)
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?;
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0)?;
    Some((host, Some(port)))
}

/// In its shortest form: no port that the scheme implies, no `/` at the end.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), Bracketed(&self.host))?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_its_shortest_form() {
        for (text, want, host_port) in [
            ("https://10.0.2.2:6443", "https://10.0.2.2:6443", "10.0.2.2:6443"),
            ("HTTPS://Api.Example:443/", "https://api.example", "api.example:443"),
            (
                "http://[2001:DB8::1]:8080/a/b/",
                "http://[2001:db8::1]:8080/a/b",
                "[2001:db8::1]:8080",
            ),
            ("http://registry:5000", "http://registry:5000", "registry:5000"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.host_port().as_str()), (want, host_port));
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, want) in [
            ("", "must begin with"),
            ("api.example:6443", "must begin with"),
            ("ftp://api.example", "must begin with"),
            ("https://", "a host"),
            ("https://:6443", "a host"),
            ("https:///x", "a host"),
            ("https://a:0", "a host"),
            ("https://a:", "a host"),
            ("https://a:+80", "a host"),
            ("https://a:65536", "a host"),
            ("https://10.0.0.300", "a host"),
            ("https://2001:db8::1", "a host"),
            ("https://[2001:db8::1", "a host"),
            ("https://[10.0.0.1]", "a host"),
            ("https://a b", "%XX"),
            ("https://a/ä", "%XX"),
            ("https://a?x", "query"),
            ("https://a/#x", "fragment"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        let error = "https://user:secret@a".parse::<Url>().unwrap_err();
        assert!(error.contains("password") && !error.contains("secret"), "{error}");
    }
}
