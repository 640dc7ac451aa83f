//! What an earlier run of this program knew of a link, as lines of text: the lease that it had by
//! DHCP, and who knew names by IPv6, so that `resolv.conf` is right before anybody has spoken.

use std::net::Ipv6Addr;

use crate::net::dhcp::Lease;
use crate::net::dhcp::kept::{list, parsed};

const LEASE: &str = "lease";
const NAMES: &str = "names";

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::network::net) struct Before {
    pub(in crate::network::net) lease: Option<Lease>,
    pub(in crate::network::net) names: Names,
}

/// Who knows names, as routers and DHCPv6 have said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::network::net) struct Names {
    pub(in crate::network::net) servers: Vec<Ipv6Addr>,
    /// Domains for short names.
    pub(in crate::network::net) search: Vec<String>,
}

impl Before {
    /// The lines, of which [`Before::take`] makes the same again.
    pub(in crate::network::net) fn lines(&self) -> Vec<String> {
        let Self { lease, names } = self;
        let lease = lease.iter().map(|lease| format!("{LEASE} {}", lease.to_line()));
        let said = Some(names).filter(|names| **names != Names::default());
        let names = said
            .map(|Names { servers, search }| format!("{NAMES} {} {}", list(servers), list(search)));
        lease.chain(names).collect()
    }

    /// Takes one line; one that is none says nothing.
    pub(in crate::network::net) fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            Some((LEASE, line)) => self.lease = Lease::from_line(line),
            Some((NAMES, line)) => self.names = Names::from_line(line).unwrap_or_default(),
            _ => {}
        }
    }
}

impl Names {
    fn from_line(line: &str) -> Option<Self> {
        let (servers, search) = line.split_once(' ')?;
        Some(Self { servers: parsed(servers)?, search: parsed(search)? })
    }

    /// Adds what is not among them yet.
    pub(in crate::network::net) fn add(&mut self, more: &Self) {
        for server in &more.servers {
            if !self.servers.contains(server) {
                self.servers.push(*server);
            }
        }
        for domain in &more.search {
            if !self.search.contains(domain) {
                self.search.push(domain.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_was_known_of_a_link_is_known_after_the_program_has_started_again() {
        let lease = Lease::for_test(Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        let servers = ["2001:db8::53", "fe80::1"].map(|text| text.parse().unwrap()).to_vec();
        let search = vec!["lan".to_owned(), "a.example".to_owned()];
        let names = Names { servers, search };
        assert_eq!(
            Before { lease: None, names: names.clone() }.lines(),
            ["names 2001:db8::53,fe80::1 lan,a.example"]
        );
        for before in [
            Before { lease: Some(lease.clone()), names: names.clone() },
            Before { lease: Some(lease), names: Names::default() },
            Before { lease: None, names: Names { search: Vec::new(), ..names } },
            Before::default(),
        ] {
            let mut read = Before::default();
            before.lines().iter().for_each(|line| read.take(line));
            assert_eq!(read, before);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(text in ".{0,60}", names in "[-:a-f0-9., ]{0,60}") {
            let mut before = Before::default();
            before.take(&text);
            before.take(&format!("{NAMES} {names}"));
            before.take(&format!("{LEASE} {names}"));
        }
    }
}
