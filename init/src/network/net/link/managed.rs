//! What routers leave to DHCPv6 for a link: its client there, and the socket which that needs at the
//! moment.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_multicast_hops;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use super::{Kernel, PACKET, SECOND, Wired, watch};
use crate::net::dhcp6::message::{Address, Answer, CLIENT_PORT, SERVER_PORT, SERVERS};
use crate::net::dhcp6::{Action, Event, Want};
use crate::net::netlink::{self, Change, Query};
use crate::net::{Dhcpv6, Lack};

/// All routers on the link.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The kernel counts its sum.
const ROUTER_SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
/// An address of DHCPv6 is given alone: what is on the link, routers say (RFC 5942, section 4).
const LEASED_PREFIX: u8 = 128;

impl Wired {
    /// What routers leave to DHCPv6, as the kernel has it; whether that is news.
    pub(in crate::network::net) fn router_leaves(
        &mut self,
        managed: bool,
        other: bool,
        kernel: &mut Kernel<'_>,
    ) -> bool {
        let leave = match (managed, other) {
            (true, _) => Want::Address,
            (_, true) => Want::Names,
            _ => Want::Nothing,
        };
        let before = std::mem::replace(&mut self.leave, leave);
        if self.settings.slaac {
            self.step6(Event::Routers(self.leave), kernel);
        }
        before != leave
    }

    /// It need not be asked to.
    pub(in crate::network::net) fn router_has_spoken(&mut self) {
        self.ask_routers = None;
    }

    /// The kernel asks routers to speak when a link is switched on, and not when a cable is back,
    /// at whose other end there may be others, nor when this program is started again and knows
    /// nothing of what they said before. Longer and longer, as in RFC 7559, for a switch may
    /// let nothing through at first.
    pub(super) fn solicit_routers(&mut self, now: Duration) {
        let Some((at, pause)) = self.ask_routers else { return };
        if !self.settings.slaac {
            self.ask_routers = None;
        } else if at <= now {
            self.ask_routers = Some((now.saturating_add(pause), (pause * 2).min(SECOND * 3600)));
            // Refused while the kernel still checks the link-local address, after which it asks.
            let _ = solicit(self.index);
        }
    }

    /// Whether no router has spoken since the cable is in, or since this program runs.
    pub(in crate::network::net) fn asks_routers(&self) -> bool {
        self.ask_routers.is_some()
    }

    /// The kernel says of an address, which may be one that DHCPv6 has given.
    pub(super) fn leased(&mut self, news: netlink::Address, kernel: &mut Kernel<'_>) {
        let address = news.address;
        if news.taken && self.client6.addresses().contains(&address) {
            self.refused = Some(address);
            self.step6(Event::Taken(address), kernel);
        } else if news.gone {
            self.step6(Event::Gone(address), kernel);
        } else {
            self.look6(kernel.now);
        }
    }

    /// The kernel tells of the addresses that come and go by it.
    pub(super) fn step6(&mut self, event: Event, kernel: &mut Kernel<'_>) {
        let actions = self.client6.step(kernel.now, event);
        if !self.client6.listens() {
            self.port6 = None;
        }
        let link = self.index;
        for action in actions {
            let query = match action {
                // What the config gives for ever is nobody's to take.
                Action::Give(Address { address, .. }) | Action::Take(address)
                    if self.is_static(address) =>
                {
                    continue;
                }
                Action::Send(question) => {
                    let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, link);
                    let message = question.encode(kernel.hostname);
                    let sent = match &self.port6 {
                        Some(port) => port.send_to(&message, to),
                        None => open6(link, kernel.epoll).and_then(|port| {
                            let sent = port.send_to(&message, to);
                            self.port6 = Some(port);
                            sent
                        }),
                    };
                    self.warn_if_failed(Some(sent.map(|_| ())));
                    continue;
                }
                Action::Give(Address { address, preferred, valid }) => {
                    Query::Leased { link, address, preferred, valid }
                }
                Action::Take(address) => Query::Address {
                    link,
                    address: address.into(),
                    prefix: LEASED_PREFIX,
                    change: Change::Remove,
                },
            };
            if !self.ask(&query, kernel)
                && let Query::Leased { address, .. } = query
            {
                // It is given again later.
                self.client6.step(kernel.now, Event::Gone(address));
            }
        }
        self.look6(kernel.now);
    }

    fn is_static(&self, address: Ipv6Addr) -> bool {
        self.settings.addresses.iter().any(|(own, _)| *own == IpAddr::from(address))
    }

    /// What DHCPv6 shall give and the link does not have.
    fn look6(&mut self, now: Duration) {
        let leased = self.client6.addresses();
        let lacks = match self.client6.lacks() {
            Some(Want::Address) => Some(Lack::Address),
            Some(_) => Some(Lack::Names),
            None => (self.carrier
                && !leased.is_empty()
                && !leased.iter().any(|address| self.seen.contains_key(address)))
            .then_some(Lack::Usable),
        };
        if matches!(lacks, None | Some(Lack::Names)) {
            self.refused = None;
        }
        let since = self.dhcpv6.map_or(now, |before| before.since);
        let lacks = lacks.map(|lacks| self.refused.map_or(lacks, Lack::Other));
        self.dhcpv6 = lacks.map(|lacks| Dhcpv6 { since, lacks });
    }

    /// The next datagram that waits; nothing in it, if it is no answer to us.
    pub(super) fn answer6(&self) -> Option<Option<Answer>> {
        let mut buffer = [0; PACKET];
        let (length, _) = self.port6.as_ref()?.recv_from(&mut buffer).ok()?;
        Some(Answer::parse(&buffer[..length], self.mac))
    }
}

/// Asks all routers on a link to speak (RFC 4861, section 4.1). The kernel hears what they say.
fn solicit(link: u32) -> io::Result<()> {
    let (family, kind) = (AddressFamily::INET6, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMPV6))?;
    set_ipv6_multicast_hops(&socket, 255)?;
    let routers = SocketAddrV6::new(ROUTERS, 0, 0, link);
    sendto(&socket, &ROUTER_SOLICITATION, SendFlags::DONTWAIT, &routers)?;
    Ok(())
}

/// A socket for DHCPv6 at the link-local address of a link, which the kernel chooses, as it does for
/// what is sent to all on it; an error while it still checks that address for another owner.
fn open6(link: u32, epoll: &OwnedFd) -> io::Result<UdpSocket> {
    let at = |address, port| SocketAddrV6::new(address, port, 0, link);
    let chosen = UdpSocket::bind(at(Ipv6Addr::UNSPECIFIED, 0))?;
    chosen.connect(at(SERVERS, SERVER_PORT))?;
    let own = match chosen.local_addr()?.ip() {
        IpAddr::V6(own) if own.is_unicast_link_local() => own,
        _ => return Err(Errno::ADDRNOTAVAIL.into()),
    };
    let socket = UdpSocket::bind(at(own, CLIENT_PORT))?;
    socket.set_nonblocking(true)?;
    watch(epoll, &socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::event::epoll;

    use super::*;
    use crate::net::route_socket::Requests;
    use crate::net::settings::Settings;

    const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

    fn news(usable: bool, taken: bool, gone: bool) -> netlink::Address {
        netlink::Address { link: 0, address: OWN, prefix: LEASED_PREFIX, usable, taken, gone }
    }

    /// A link that the kernel does not have, so it refuses what is given.
    #[test]
    fn an_address_is_lacking_until_the_kernel_lets_it_be_used_and_is_given_until_it_is_there() {
        let link = netlink::Link::default();
        let mut wired = Wired::new(&link, [2; 6], 1, Settings::default(), None);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut requests = Requests::open().unwrap();
        let (ipv6, hostname, now) = (Path::new(""), None, SECOND * 10);
        let mut kernel = Kernel { epoll: &epoll, requests: &mut requests, ipv6, hostname, now };
        wired.carrier = true;
        wired.step6(Event::Carrier(true), &mut kernel);
        assert_eq!(wired.dhcpv6, None, "no router has spoken");
        wired.step6(Event::Routers(Want::Address), &mut kernel);
        let lacks = |wired: &Wired| wired.dhcpv6.map(|lacking| lacking.lacks);
        assert_eq!(lacks(&wired), Some(Lack::Address));
        let sent = wired.client6.step(wired.client6.deadline().unwrap(), Event::Timer);
        let [Action::Send(question)] = &sent[..] else { panic!("{sent:?}") };
        let answer = Answer {
            transaction: question.transaction & 0xff_ffff,
            server: b"server".to_vec(),
            rapid: true,
            addresses: vec![Address { address: OWN, preferred: 1800, valid: 3600 }],
            ..Answer::default()
        };
        wired.step6(Event::Answer(answer), &mut kernel);
        assert_eq!(lacks(&wired), Some(Lack::Usable));
        assert_eq!(wired.client6.deadline(), Some(now + SECOND), "it was refused");

        wired.address(news(true, false, false), &mut kernel);
        assert_eq!(lacks(&wired), None);
        // News were lost, and it is not in the list of all.
        let lost = wired.addresses(&[], &mut kernel);
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!(lacks(&wired), Some(Lack::Usable));
        assert_eq!(wired.client6.deadline(), Some(now + SECOND * 2), "given later each time");
        wired.address(news(false, true, true), &mut kernel);
        assert_eq!(lacks(&wired), Some(Lack::Other(OWN)));
        wired.step6(Event::Carrier(false), &mut kernel);
        assert_eq!(lacks(&wired), None);
    }
}
