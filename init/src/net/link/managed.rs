//! What routers leave to DHCPv6 for a link: its client there, and the socket which that needs at the
//! moment.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::{Kernel, PACKET, Wired, watch};
use crate::net::Dhcpv6;
use crate::net::dhcp6::message::{Address, Answer, CLIENT_PORT, SERVER_PORT, SERVERS};
use crate::net::dhcp6::{Action, Event, Want};
use crate::net::netlink::{Change, Query};

/// An address of DHCPv6 is given alone: what is on the link, routers say (RFC 5942, section 4).
const LEASED_PREFIX: u8 = 128;

impl Wired {
    /// A router says what is asked for by DHCPv6.
    pub(in crate::net) fn router_leaves(
        &mut self,
        managed: bool,
        other: bool,
        kernel: &mut Kernel<'_>,
    ) {
        self.leave = match (managed, other) {
            (true, _) => Want::Address,
            (_, true) => Want::Names,
            _ => Want::Nothing,
        };
        if self.settings.slaac {
            self.step6(Event::Routers(self.leave), kernel);
        }
    }

    /// The kernel tells of the addresses that come and go by it.
    pub(super) fn step6(&mut self, event: Event, kernel: &mut Kernel<'_>) {
        let actions = self.client6.step(kernel.now, event);
        if !self.client6.listens() {
            self.port6 = None;
        }
        let link = self.index;
        // What the config gives for ever is nobody's to take.
        let is_static = |address: Ipv6Addr| {
            self.settings.addresses.iter().any(|(own, _)| *own == IpAddr::from(address))
        };
        for action in actions {
            let query = match action {
                Action::Give(Address { address, .. }) | Action::Take(address)
                    if is_static(address) =>
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
            self.ask(&query, kernel);
        }
        self.dhcpv6 = self.client6.lacks().map(|want| Dhcpv6 {
            since: self.dhcpv6.map_or(kernel.now, |before| before.since),
            addresses: want == Want::Address,
        });
    }

    /// The next datagram that waits; nothing in it, if it is no answer to us.
    pub(super) fn answer6(&self) -> Option<Option<Answer>> {
        let mut buffer = [0; PACKET];
        let (length, _) = self.port6.as_ref()?.recv_from(&mut buffer).ok()?;
        Some(Answer::parse(&buffer[..length], self.mac))
    }
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
