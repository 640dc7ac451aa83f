//! What is wrong between the node and the world, in words. Pure: each line is there while its cause
//! is, and stays the same text, so that it is told once.

use std::time::Duration;

use super::server::Unreachable;
use crate::net::{Lack, LinkStatus};
use crate::network::time::keeper::Keeper;

/// A switch takes a moment to let a new link through, and a card to find its speed.
const NO_LINK: Duration = Duration::from_secs(5);
/// A DHCP server that checks its address first takes a second or two.
const NO_ANSWER: Duration = Duration::from_secs(5);
/// By then the network has said what it offers.
const NO_TIME_SERVER: Duration = Duration::from_secs(15);

/// All that the words are made of.
pub(super) struct Facts<'a> {
    /// `None` without a network: that was told at the start.
    pub(super) links: Option<&'a [LinkStatus]>,
    /// Links of the config that there are not.
    pub(super) missing: &'a [String],
    /// What was wrong with the clock at the start, until a time server has spoken.
    pub(super) clock: Option<&'a str>,
    pub(super) keeper: &'a Keeper,
    pub(super) server: Option<&'a Unreachable>,
    pub(super) awaits_url: Option<&'a str>,
    /// Whether there is a name server, or the config says that there is none.
    pub(super) names: bool,
    /// When the network was started.
    pub(super) began: Duration,
    pub(super) now: Duration,
}

/// All that is wrong now.
pub(super) fn all(facts: &Facts<'_>) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Some(links) = facts.links
        && facts.now >= facts.began + NO_LINK
    {
        troubles.extend(without_link(links));
        let missing = facts.missing.iter();
        troubles.extend(missing.map(|name| {
            format!("the node config is about the link `{name}`, and there is no such link")
        }));
    }
    for link in facts.links.unwrap_or_default() {
        if let Some(since) = link.asking_since.filter(|since| facts.now >= *since + NO_ANSWER) {
            let (name, since) = (&link.name, since.as_secs());
            troubles.push(format!(
                "no DHCP server gives an address on {name}, asked since second {since} of this boot"
            ));
        }
    }
    troubles.extend(
        facts.links.unwrap_or_default().iter().filter_map(|link| without_ipv6(facts, link)),
    );
    let keeper = facts.keeper;
    if let Some(clock) = facts.clock {
        let nobody = !keeper.has_servers() && facts.now >= facts.began + NO_TIME_SERVER;
        let waiting =
            if nobody { "and no time server is known" } else { "waiting for a time server" };
        troubles.push(format!("{clock}, {waiting}"));
    }
    troubles.extend(keeper.trouble());
    troubles.extend(facts.server.map(ToString::to_string));
    if let Some(url) = facts.awaits_url {
        troubles.push(format!("the node config at {url} is not here yet"));
    }
    troubles
}

/// When time alone will make another word of it: at the soonest after `now`.
pub(super) fn next_change(
    links: &[LinkStatus],
    began: Duration,
    now: Duration,
) -> Option<Duration> {
    let asking = links.iter().filter_map(|link| link.asking_since);
    let asking = asking.chain(links.iter().filter_map(|link| Some(link.dhcpv6?.since)));
    let times =
        asking.map(|since| since + NO_ANSWER).chain([began + NO_LINK, began + NO_TIME_SERVER]);
    times.filter(|time| *time > now).min()
}

/// What a router leaves to DHCPv6, no server of it gives, and nothing else does.
fn without_ipv6(facts: &Facts<'_>, link: &LinkStatus) -> Option<String> {
    let asked = link.dhcpv6.filter(|asked| facts.now >= asked.since + NO_ANSWER)?;
    let has_one = link.addresses.iter().any(|(own, _)| own.is_ipv6());
    let name = &link.name;
    let lacks = match asked.lacks {
        Lack::Other(address) if !has_one => {
            return Some(format!("another node has {address}, which DHCPv6 gives on {name}"));
        }
        Lack::Address if !has_one => "an address",
        Lack::Address | Lack::Names if !facts.names => "name servers",
        _ => return None,
    };
    let since = asked.since.as_secs();
    Some(format!(
        "no DHCPv6 server gives {lacks} on {name}, asked since second {since} of this boot"
    ))
}

/// One link that has a cable and an address is enough: others may be there for later.
fn without_link(links: &[LinkStatus]) -> Vec<String> {
    if links.is_empty() {
        return vec!["there is no network link: no card, or no driver for it".to_owned()];
    }
    if links.iter().any(|link| link.carrier || !link.addresses.is_empty()) {
        return Vec::new();
    }
    let lines = links.iter();
    lines.map(|link| format!("{} has no carrier: is its cable in?", link.name)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::net::Dhcpv6;
    use crate::network::time::ask::{Again, Silence, Survey};

    fn link(name: &str, carrier: bool, asking_since: Option<u64>) -> LinkStatus {
        LinkStatus {
            index: 2,
            name: name.to_owned(),
            mac: [2; 6],
            carrier,
            dhcp: true,
            asking_since: asking_since.map(Duration::from_secs),
            addresses: Vec::new(),
            gateways: Vec::new(),
            dhcpv6: None,
            dns: Vec::new(),
            search: Vec::new(),
            ntp: Vec::new(),
            hostname: None,
        }
    }

    fn troubles(links: Option<&[LinkStatus]>, now: u64) -> Vec<String> {
        all(&Facts {
            links,
            missing: &[],
            clock: None,
            keeper: &Keeper::default(),
            server: None,
            awaits_url: None,
            names: true,
            began: Duration::from_secs(2),
            now: Duration::from_secs(now),
        })
    }

    #[test]
    fn nothing_is_said_in_the_first_moments_nor_without_a_network() {
        assert_eq!(troubles(Some(&[]), 3), [""; 0]);
        assert_eq!(troubles(Some(&[link("eth0", false, None)]), 3), [""; 0]);
        assert_eq!(troubles(Some(&[link("eth0", true, Some(2))]), 6), [""; 0]);
        assert_eq!(troubles(None, 60), [""; 0]);
    }

    #[test]
    fn a_missing_card_a_missing_cable_and_a_missing_server_are_told_apart() {
        let none = "there is no network link: no card, or no driver for it";
        assert_eq!(troubles(Some(&[]), 7), [none]);
        let out = link("eth0", false, None);
        let want = "eth0 has no carrier: is its cable in?";
        assert_eq!(troubles(Some(std::slice::from_ref(&out)), 7), [want]);
        let asking = link("eth1", true, Some(4));
        let want = "no DHCP server gives an address on eth1, asked since second 4 of this boot";
        assert_eq!(troubles(Some(&[out, asking]), 9), [want]);
        let fine = LinkStatus {
            addresses: vec![([192, 0, 2, 10].into(), 24)],
            ..link("eth0", false, None)
        };
        assert_eq!(troubles(Some(&[fine]), 9), [""; 0]);
    }

    #[test]
    fn what_dhcpv6_does_not_give_is_told_when_it_is_lacking() {
        let told = |lacks, own: &[IpAddr], names| {
            let dhcpv6 = Some(Dhcpv6 { since: Duration::from_secs(4), lacks });
            let own = own.iter().map(|address| (*address, 64)).collect();
            let links = [LinkStatus { dhcpv6, addresses: own, ..link("eth0", true, None) }];
            let keeper = Keeper::default();
            let facts = |now| Facts {
                links: Some(&links),
                missing: &[],
                clock: None,
                keeper: &keeper,
                server: None,
                awaits_url: None,
                names,
                began: Duration::from_secs(2),
                now: Duration::from_secs(now),
            };
            assert_eq!(all(&facts(8)), [""; 0], "it may still come by another way");
            assert_eq!(
                next_change(&links, Duration::ZERO, Duration::from_secs(7)),
                Some(Duration::from_secs(9))
            );
            all(&facts(9)).concat()
        };
        let line = |lacks| {
            format!("no DHCPv6 server gives {lacks} on eth0, asked since second 4 of this boot")
        };
        let [four, six]: [IpAddr; 2] =
            [[192, 0, 2, 10].into(), "2001:db8::1".parse().expect("an address")];
        assert_eq!(told(Lack::Address, &[four], true), line("an address"));
        assert_eq!(told(Lack::Address, &[four, six], true), "");
        assert_eq!(told(Lack::Names, &[six], false), line("name servers"));
        assert_eq!(told(Lack::Names, &[], true), "");
        assert_eq!(told(Lack::Usable, &[four], false), "", "the server has done its part");
        let other = Lack::Other("2001:db8::77".parse().expect("an address"));
        let line = "another node has 2001:db8::77, which DHCPv6 gives on eth0";
        assert_eq!(told(other, &[four], true), line);
        assert_eq!(told(other, &[six], false), "");
    }

    #[test]
    fn time_alone_brings_a_word_once() {
        let second = Duration::from_secs;
        let links = [link("eth0", true, Some(4))];
        assert_eq!(next_change(&links, second(2), second(5)), Some(second(7)));
        assert_eq!(next_change(&links, second(2), second(7)), Some(second(9)));
        assert_eq!(next_change(&links, second(2), second(9)), Some(second(17)));
        assert_eq!(next_change(&links, second(2), second(17)), None);
    }

    #[test]
    fn the_clock_the_server_and_the_config_are_told_of_while_they_are_wrong() {
        let mut keeper = Keeper::default();
        let facts = |keeper: &Keeper| {
            all(&Facts {
                links: None,
                missing: &["uplink".to_owned()],
                clock: Some("the clock said 1970"),
                keeper,
                server: Some(&Unreachable::Refused(([10, 0, 2, 2], 6443).into())),
                awaits_url: Some("https://config.example/n"),
                names: true,
                began: Duration::ZERO,
                now: Duration::from_secs(60),
            })
        };
        let rest = [
            "the API server cannot be reached: 10.0.2.2:6443 refuses connections",
            "the node config at https://config.example/n is not here yet",
        ];
        let clock = "the clock said 1970, and no time server is known";
        assert_eq!(facts(&keeper), [&[clock], &rest[..]].concat());
        keeper.servers(Duration::ZERO, vec!["ntp".to_owned()]);
        keeper.ask(Duration::ZERO);
        let reason = "does not answer".to_owned();
        let silence = Silence { server: "ntp".to_owned(), reason, again: Again::Usual };
        let survey = Survey { silences: vec![silence], ..Survey::default() };
        keeper.answered(Duration::ZERO, survey);
        let clock = [
            "the clock said 1970, waiting for a time server",
            "no time server tells the time: ntp does not answer",
        ];
        assert_eq!(facts(&keeper), [&clock[..], &rest[..]].concat());
    }
}
