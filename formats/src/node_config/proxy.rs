//! `[proxy]`: who fetches for the node what lies beyond its own network. The rules for what is asked
//! directly are those of Go's `golang.org/x/net/http/httpproxy`, by which kubelet and containerd go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::address::{shares, split};
use super::name::{DomainName, Host};
use super::section::Section;
use super::url::{Url, host_port};

/// Who is asked instead of the servers themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// For addresses with `http`.
    pub http: Option<ProxyUrl>,
    /// For addresses with `https`.
    pub https: Option<ProxyUrl>,
    /// What is asked directly, beside what the node adds itself.
    pub no_proxy: Vec<Exempt>,
}

/// The address of a proxy: `http://proxy.example:3128`, perhaps with a user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    // Invariant: without a path.
    url: Url,
    /// As it was written, percent-encoded. Private, so that it is shown by nobody who does not say
    /// that he does.
    user: Option<String>,
}

impl ProxyUrl {
    /// The address with the password.
    pub fn expose(&self) -> String {
        self.with(self.user.as_deref())
    }

    fn with(&self, user: Option<&str>) -> String {
        let url = self.url.to_string();
        match (user, url.split_once("://")) {
            (Some(user), Some((scheme, rest))) => format!("{scheme}://{user}@{rest}"),
            _ => url,
        }
    }
}

/// Without the password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.user.as_deref().map(|user| match user.split_once(':') {
            Some((name, _)) => format!("{name}:***"),
            None => user.to_owned(),
        });
        f.write_str(&self.with(hidden.as_deref()))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let without =
            if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") };
        let url: Url = without.parse()?;
        if !url.path().is_empty() {
            return Err(format!("`{without}` is not the address of a proxy: it has a path"));
        }
        // RFC 3986, section 3.2.1. The text itself is not repeated: it may be a password.
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte);
        if user.is_some_and(|user| user.is_empty() || !user.bytes().all(good)) {
            return Err(format!(
                "the user or password before `@{rest}` holds a character that must be written as \
                 `%XX`, or nothing at all"
            ));
        }
        Ok(Self { url, user: user.map(str::to_owned) })
    }
}

/// What is asked directly: `*`, an address, a range of them, a domain with all that is below it,
/// `.example` for only that; perhaps with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt(String);

impl Exempt {
    /// As Go reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Exempt {
    /// Whether this host is asked directly at this port.
    pub fn covers(&self, host: &Host, port: u16) -> bool {
        let text = self.0.as_str();
        if text == "*" {
            return true;
        }
        if let (Some((network, prefix)), Host::Address(own)) = (split(text), host) {
            return shares(network, *own, prefix);
        }
        let all = Host::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let below = text.strip_prefix("*.").or(text.strip_prefix('.'));
        let domain = below.unwrap_or(text);
        let (wanted, at) = match domain.parse::<IpAddr>() {
            Ok(address) => (Host::Address(address), None),
            Err(_) => host_port(domain).unwrap_or((all, None)),
        };
        if at.is_some_and(|at| at != port) {
            return false;
        }
        match (&wanted, host) {
            (Host::Name(wanted), Host::Name(own)) => {
                let (wanted, own) = (wanted.as_str(), own.as_str());
                let within = own.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.'));
                within || (below.is_none() && own == wanted)
            }
            (wanted, own) => wanted == own,
        }
    }
}

impl fmt::Display for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Exempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let domain = lower.strip_prefix("*.").or(lower.strip_prefix('.')).unwrap_or(&lower);
        let good = lower == "*"
            || lower.parse::<IpAddr>().is_ok()
            || split(&lower).is_some()
            || domain.parse::<DomainName>().is_ok()
            || host_port(domain).is_some();
        if !good {
            return Err(format!(
                "`{text}` is not what a proxy can be left out for: an address, a range such as \
                 `10.0.0.0/8`, a domain, or `*`"
            ));
        }
        Ok(Self(lower))
    }
}

impl Proxy {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let [http, https] =
            ["http", "https"].map(|key| section.parsed::<ProxyUrl>(key).map(|url| url.value));
        let written = ["http", "https"].iter().any(|key| section.place(key).is_some());
        if !written && let Some(span) = section.place("no-proxy") {
            section.notes.note(span, "`proxy.no-proxy` has no effect without `http` or `https`");
        }
        let no_proxy = section.one_or_list::<Exempt>("no-proxy");
        Self { http, https, no_proxy: no_proxy.into_iter().map(|exempt| exempt.value).collect() }
    }

    /// Whether anybody is asked instead.
    pub fn is_set(&self) -> bool {
        self.http.is_some() || self.https.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTPS://Proxy.Example/", "https://proxy.example"),
            ("http://us%40er:p%3Aw@[2001:db8::1]:8080", "http://us%40er:***@[2001:db8::1]:8080"),
            ("http://user@10.0.0.1:80", "http://user@10.0.0.1"),
        ] {
            let proxy: ProxyUrl = text.parse().unwrap();
            assert_eq!(
                (proxy.to_string().as_str(), format!("{proxy:?}")),
                (shown, format!("ProxyUrl({shown})"))
            );
            assert_eq!(proxy.expose().parse::<ProxyUrl>().unwrap(), proxy);
            assert_eq!(proxy.expose().contains('@'), text.contains('@'));
        }
    }

    #[test]
    fn what_is_no_proxy_says_why_without_the_password() {
        for (text, want) in [
            ("proxy.example:3128", "must begin with"),
            ("socks5://proxy.example", "must begin with"),
            ("http://proxy.example/pac", "it has a path"),
            ("http://user:secret@", "a host"),
            ("http://user:secret\"@proxy.example", "%XX"),
            ("http://user:secret @proxy.example", "%XX"),
            ("http://@proxy.example", "nothing at all"),
            ("user:secret@proxy.example", "must begin with"),
        ] {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert!(error.contains(want) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_are_asked_directly_by_the_rules_of_go() {
        for (exempt, host, port, want) in [
            ("*", "a.example", 80, true),
            ("example", "example", 80, true),
            ("example", "a.example", 80, true),
            ("example", "anexample", 80, false),
            (".example", "example", 80, false),
            ("*.example", "a.example", 80, true),
            ("a.example:8080", "a.example", 8080, true),
            ("a.example:8080", "a.example", 80, false),
            ("10.0.0.5/8", "10.9.9.9", 80, true),
            ("10.0.0.0/8", "11.9.9.9", 80, false),
            ("::/0", "10.9.9.9", 80, false),
            ("fe80::/10", "fe80::7", 80, true),
            ("192.0.2.1", "192.0.2.1", 80, true),
            ("192.0.2.1:8080", "192.0.2.1", 80, false),
            ("[2001:db8::1]:80", "2001:db8::1", 80, true),
            ("0.0.0.0", "192.0.2.1", 80, false),
        ] {
            let (exempt, host): (Exempt, Host) = (exempt.parse().unwrap(), host.parse().unwrap());
            assert_eq!(exempt.covers(&host, port), want, "{exempt} {host}:{port}");
        }
    }

    #[test]
    fn what_is_asked_directly_is_named_as_go_reads_it() {
        for good in [
            "*",
            "10.0.0.0/8",
            "10.0.0.5/8",
            "fd00::/8",
            "192.0.2.1",
            "192.0.2.1:8080",
            "2001:db8::1",
            "[2001:db8::1]:80",
            ".example",
            "*.Example",
            "registry.example:5000",
        ] {
            assert!(good.parse::<Exempt>().is_ok(), "{good}");
        }
        for bad in ["", "http://a", "10.0.0.0/33", "a b", "a*.example", "10.0.0.300"] {
            assert!(bad.parse::<Exempt>().is_err(), "{bad}");
        }
    }
}
