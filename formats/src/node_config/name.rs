//! Names of hosts and domains: RFC 952, RFC 1123 section 2.1 and what Linux and Kubernetes make of
//! them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// What a node is called: lower-case letters, digits, `-` and `.`, each part as a DNS label
/// (RFC 1123); also the name of its `Node` object. At most 63 characters: Linux would take 64, but
/// kubelet sets the name as the value of the label `kubernetes.io/hostname`, which holds no more,
/// and a node with a longer one never registers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// A domain of DNS, in lower case, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// A machine, by address or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// By address.
    Address(IpAddr),
    /// By name.
    Name(DomainName),
}

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DomainName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<Ipv4Addr>().is_ok();
        if text.len() > 63 || !is_subdomain(text) || address || is_everybody(text) {
            return Err(format!(
                "`{text}` cannot be a host name: use lower-case letters, digits, `-` and `.`, at \
                 most 63, each part with a letter or digit at both ends"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        // The last label of a name on the internet is never a number (RFC 3696 section 2), and
        // `10.0.0.300` is a slip in an address.
        let number = name.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_ok());
        if !is_subdomain(name) || number {
            return Err(format!(
                "`{text}` is not the name of a domain, such as `example.internal`"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let refused = |_| format!("`{text}` is neither an IP address nor the name of a host");
        text.parse().map(Self::Name).map_err(refused)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A name that machines have which nobody has named.
fn is_everybody(name: &str) -> bool {
    name.split('.').next() == Some("localhost")
}

/// Kubernetes' "DNS subdomain" (RFC 1123): labels between dots, at most 253 characters.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// 1 to 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends.
pub(super) fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_that_linux_and_kubernetes_take() {
        let long = "a".repeat(63);
        for good in ["a", "worker-1", "1a", "worker-1.example.internal", &long] {
            assert_eq!(good.parse::<HostName>().unwrap().as_str(), good);
        }
        let longer = "a".repeat(64);
        let many = ["abcdefgh"; 8].join(".");
        for bad in [
            "",
            "-a",
            "a-",
            "Worker",
            "a_b",
            "a..b",
            ".a",
            "a.",
            "ä",
            "a b",
            "10.0.0.1",
            "localhost",
            "localhost.localdomain",
            &longer,
            &many,
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name_and_a_mistyped_address_is_neither() {
        for (text, want) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("Time.Example.", "time.example"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), want);
        }
        for bad in ["", ".", "10.0.0.300", "10.0.0", "2001:db8::g", "[2001:db8::1]", "a b"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
