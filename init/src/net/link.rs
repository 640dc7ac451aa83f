//! One wired link: its DHCP client, the sockets which that needs at the moment, and what has been
//! configured.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::Change;
use super::dhcp::message::{Answer, CLIENT_PORT, SERVER_PORT};
use super::dhcp::{Action, Client, Event, Lease, Listen};
use super::netlink::{self, Query, Route};
use super::route_socket::Requests;
use crate::log;
use crate::sys::packet;

/// Routes of a link have the metric 100 + its index: with several links the first one wins.
const METRIC: u32 = 100;
/// Longer than any DHCP message that we ask for.
const PACKET: usize = 2048;

/// A link that we look after.
#[derive(Debug)]
pub(super) struct Wired {
    index: u32,
    name: String,
    carrier: bool,
    client: Client,
    /// Open only while an answer may come: it gets every packet of the link.
    packets: Option<OwnedFd>,
    /// Open only while the lease is renewed.
    port: Option<(Ipv4Addr, UdpSocket)>,
    configured: Option<Lease>,
}

/// What a link needs to act.
pub(super) struct Kernel<'a> {
    pub(super) epoll: &'a OwnedFd,
    pub(super) requests: &'a mut Requests,
    pub(super) now: Duration,
}

/// Whether a link is a network card: it hangs on a device, which bridges, veth pairs and tunnels
/// do not, and it is not wireless. `class_net` is `/sys/class/net`.
pub(super) fn is_wired(class_net: &Path, name: &str) -> bool {
    let link = class_net.join(name);
    let wireless = link.join("wireless").exists() || link.join("phy80211").exists();
    link.join("device").exists() && !wireless
}

impl Wired {
    pub(super) fn new(link: &netlink::Link, mac: [u8; 6], seed: u32) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            carrier: false,
            client: Client::new(mac, seed),
            packets: None,
            port: None,
            configured: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.client.deadline()
    }

    /// Takes what the kernel says about the link.
    pub(super) fn carrier(&mut self, has_carrier: bool, kernel: &mut Kernel<'_>) -> Vec<Change> {
        if self.carrier == has_carrier {
            return Vec::new();
        }
        self.carrier = has_carrier;
        let mut changes = Vec::new();
        if has_carrier {
            changes.push(Change::LinkUp { link: self.name.clone() });
        }
        let event = if has_carrier { Event::CarrierUp } else { Event::CarrierDown };
        changes.extend(self.step(event, kernel));
        changes
    }

    /// Its deadline may have come.
    pub(super) fn timer(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        self.step(Event::Timer, kernel)
    }

    /// Reads the answers that wait on its sockets.
    pub(super) fn receive(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        for answer in self.answers() {
            changes.extend(self.step(Event::Answer(answer), kernel));
        }
        changes
    }

    /// It is no longer ours: it has gone, or became a part of another link.
    pub(super) fn release(mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.configured.is_some() {
            self.deconfigure(kernel, &mut changes);
        }
        changes
    }

    fn step(&mut self, event: Event, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let actions = self.client.step(kernel.now, event);
        if let Err(error) = self.open_sockets(kernel.epoll) {
            log::warn(&format!("{}: cannot open a socket for DHCP: {error}", self.name));
        }
        for action in actions {
            match action {
                Action::Broadcast(question) => {
                    let packet = question.encode_packet();
                    let socket = self.packets.as_ref();
                    let sent = socket.map(|socket| packet::broadcast(socket, self.index, &packet));
                    self.warn_if_failed(sent);
                }
                Action::Unicast(question, server) => {
                    let to = (server, SERVER_PORT);
                    let socket = self.port.as_ref();
                    let sent = socket.map(|(_, port)| port.send_to(&question.encode(), to));
                    self.warn_if_failed(sent.map(|sent| sent.map(|_| ())));
                }
                Action::Configure(lease) => self.configure(lease, kernel, &mut changes),
                Action::Deconfigure => self.deconfigure(kernel, &mut changes),
            }
        }
        changes
    }

    /// A question that could not be sent is asked again by the client's own clock.
    fn warn_if_failed(&self, sent: Option<io::Result<()>>) {
        if let Some(Err(error)) = sent {
            log::warn(&format!("{}: cannot send a DHCP message: {error}", self.name));
        }
    }

    /// Opens what the client's state listens to, and closes the rest.
    fn open_sockets(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        let listen = self.client.listen();
        match listen {
            Listen::Link if self.packets.is_some() => {}
            Listen::Link => {
                let socket = packet::open(self.index)?;
                watch(epoll, &socket)?;
                self.packets = Some(socket);
            }
            Listen::Nowhere | Listen::Port(_) => self.packets = None,
        }
        match (listen, &self.port) {
            (Listen::Port(address), Some((bound, _))) if address == *bound => {}
            (Listen::Port(address), _) => {
                self.port = None;
                let socket = UdpSocket::bind((address, CLIENT_PORT))?;
                socket.set_nonblocking(true)?;
                watch(epoll, &socket)?;
                self.port = Some((address, socket));
            }
            (Listen::Nowhere | Listen::Link, _) => self.port = None,
        }
        Ok(())
    }

    fn answers(&self) -> Vec<Answer> {
        let mut buffer = [0; PACKET];
        let mut answers = Vec::new();
        if let Some(socket) = &self.packets {
            loop {
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => answers.extend(Answer::parse_packet(&buffer[..length])),
                    Err(Errno::INTR) => {}
                    // Nothing more, or the link went down, which we are told elsewhere.
                    Err(_) => break,
                }
            }
        }
        if let Some((_, socket)) = &self.port {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if from.port() == SERVER_PORT {
                    answers.extend(Answer::parse(&buffer[..length]));
                }
            }
        }
        answers
    }

    fn configure(&mut self, lease: Lease, kernel: &mut Kernel<'_>, changes: &mut Vec<Change>) {
        let wanted = self.queries(&lease);
        let before = self.configured.take();
        let before = before.map(|lease| self.queries(&lease)).unwrap_or_default();
        // What stays is not touched: taking an address away ends its connections.
        for query in before.iter().rev().filter(|query| !wanted.contains(query)) {
            self.ask(&removal(*query), kernel);
        }
        for query in &wanted {
            self.ask(query, kernel);
        }
        changes.push(Change::Address {
            link: self.name.clone(),
            address: lease.address,
            prefix: lease.prefix,
            gateway: lease.gateway(),
            dns: lease.dns.clone(),
            hostname: lease.hostname.clone(),
            lease: lease.duration,
        });
        self.configured = Some(lease);
    }

    fn deconfigure(&mut self, kernel: &mut Kernel<'_>, changes: &mut Vec<Change>) {
        if let Some(lease) = self.configured.take() {
            let queries = self.queries(&lease);
            // Its routes go with the address.
            let address = queries.iter().find(|query| matches!(query, Query::Address { .. }));
            if let Some(address) = address {
                self.ask(&removal(*address), kernel);
            }
        }
        changes.push(Change::Lost { link: self.name.clone() });
    }

    fn ask(&self, query: &Query, kernel: &mut Kernel<'_>) {
        match kernel.requests.request(query) {
            Ok(()) => {}
            // The link went away with all it had, before we could take it back.
            Err(error) if is_gone(&error) && is_removal(query) => {}
            Err(error) => log::warn(&format!("{}: cannot set {query:?}: {error}", self.name)),
        }
    }

    /// What the kernel must be told for a lease, in order.
    fn queries(&self, lease: &Lease) -> Vec<Query> {
        let link = self.index;
        let Lease { address, prefix, .. } = *lease;
        let mtu = lease.mtu.map(|mtu| Query::SetMtu { link, mtu: mtu.into() });
        let change = netlink::Change::Add;
        let mut queries: Vec<Query> = mtu.into_iter().collect();
        queries.push(Query::Address { link, address, prefix, change });
        queries.extend(lease.routes.iter().map(|route| Query::Route {
            route: Route {
                link,
                destination: route.destination,
                prefix: route.prefix,
                gateway: (!route.gateway.is_unspecified()).then_some(route.gateway),
                source: address,
                metric: METRIC + link,
            },
            change,
        }));
        queries
    }
}

fn watch(epoll: &OwnedFd, socket: impl AsFd) -> io::Result<()> {
    epoll::add(epoll, socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    Ok(())
}

/// The query that takes back what another has given. A packet size is not taken back.
fn removal(query: Query) -> Query {
    let change = netlink::Change::Remove;
    match query {
        Query::Address { link, address, prefix, .. } => {
            Query::Address { link, address, prefix, change }
        }
        Query::Route { route, .. } => Query::Route { route, change },
        other => other,
    }
}

fn is_removal(query: &Query) -> bool {
    removal(*query) == *query
}

fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_hangs_on_a_device_and_has_a_cable_is_wired() {
        let class = tempfile::tempdir().unwrap();
        for directory in ["eth0/device", "veth0", "wlan0/device", "wlan0/phy80211"] {
            fs::create_dir_all(class.path().join(directory)).unwrap();
        }
        for (name, want) in [("eth0", true), ("veth0", false), ("wlan0", false), ("eth9", false)] {
            assert_eq!(is_wired(class.path(), name), want, "{name}");
        }
    }

    #[test]
    fn what_was_given_is_taken_back_by_its_removal() {
        let address = Query::Address {
            link: 2,
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            change: netlink::Change::Add,
        };
        assert!(!is_removal(&address) && is_removal(&removal(address)));
    }
}
