//! A lease as a line of text, for the next run of this program: its words in the order of the fields,
//! lists with commas, `-` for nothing, times in milliseconds since the kernel started.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use super::Lease;
use super::message::Route;

/// What stands for "for ever".
const NEVER: &str = "-";

impl Lease {
    /// The line.
    pub(crate) fn to_line(&self) -> String {
        let routes = self.routes.iter().map(|Route { destination, prefix, gateway }| {
            format!("{destination}/{prefix}/{gateway}")
        });
        [
            self.address.to_string(),
            self.prefix.to_string(),
            time(self.renew_at),
            time(self.rebind_at),
            time(self.ends_at),
            list(self.server),
            list(self.mtu),
            list(&self.hostname),
            list(routes),
            list(&self.dns),
            list(&self.search),
            list(&self.ntp),
        ]
        .join(" ")
    }

    /// Out of a line; `None` if it is none.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [address, prefix, renew, rebind, ends, server, mtu, host, routes, dns, search, ntp] =
            words[..]
        else {
            return None;
        };
        Some(Self {
            address: address.parse().ok()?,
            prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)?,
            routes: items(routes).map(route).collect::<Option<_>>()?,
            dns: parsed(dns)?,
            hostname: items(host).next().map(str::to_owned),
            search: parsed(search)?,
            ntp: parsed(ntp)?,
            mtu: parsed(mtu)?.first().copied(),
            server: parsed(server)?.first().copied(),
            renew_at: instant(renew)?,
            rebind_at: instant(rebind)?,
            ends_at: instant(ends)?,
        })
    }
}

fn time(instant: Duration) -> String {
    match instant {
        Duration::MAX => NEVER.to_owned(),
        instant => instant.as_millis().to_string(),
    }
}

fn instant(text: &str) -> Option<Duration> {
    match text {
        NEVER => Some(Duration::MAX),
        text => text.parse().ok().map(Duration::from_millis),
    }
}

pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(",") }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !["-", ""].contains(item))
}

pub(crate) fn parsed<T: FromStr>(text: &str) -> Option<Vec<T>> {
    items(text).map(|item| item.parse().ok()).collect()
}

fn route(text: &str) -> Option<Route> {
    let mut parts = text.split('/');
    let destination: Ipv4Addr = parts.next()?.parse().ok()?;
    let prefix = parts.next()?.parse().ok().filter(|prefix| *prefix <= 32)?;
    let gateway = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Route { destination, prefix, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let address = |last| Ipv4Addr::new(10, 0, 2, last);
        Lease {
            dns: vec![address(3), address(4)],
            hostname: Some("worker-1".to_owned()),
            search: vec!["lan".to_owned(), "a.example".to_owned()],
            ntp: Vec::new(),
            server: Some(address(2)),
            renew_at: Duration::from_millis(1_800_250),
            ..Lease::for_test(address(15), address(2))
        }
    }

    #[test]
    fn a_lease_is_the_same_after_the_program_has_started_again() {
        let line = "10.0.2.15 24 1800250 - - 10.0.2.2 1460 worker-1 0.0.0.0/0/10.0.2.2 \
                    10.0.2.3,10.0.2.4 lan,a.example -";
        assert_eq!(lease().to_line(), line);
        assert_eq!(Lease::from_line(line), Some(lease()));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(text in ".{0,80}", at in 0..120_usize, new in "[-0-9a-z./, ]{0,3}") {
            let _ = Lease::from_line(&text);
            let mut line = lease().to_line();
            if line.is_char_boundary(at.min(line.len())) {
                line.insert_str(at.min(line.len()), &new);
            }
            let _ = Lease::from_line(&line);
        }
    }
}
