//! One wired link: what it shall have, its DHCP clients with the sockets which they need at the
//! moment, and what has been configured.

mod before;
mod managed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use formats::system::NameServer;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::dhcp::message::{Answer, CLIENT_PORT, SERVER_PORT};
use super::dhcp::{Action, Client, Event, Lease, Listen};
use super::dhcp6::message::{MOST_SERVERS, is_host};
use super::dhcp6::{self, Want};
use super::netlink::{self, NameServers, News, Query};
use super::route_socket::Requests;
use super::settings::Settings;
use super::{Change, Dhcpv6, LinkStatus};
use crate::log;
use crate::sys::packet;

pub(super) use before::{Before, Names};

/// Longer than any DHCP message that we ask for.
const PACKET: usize = 2048;
/// So many datagrams are read of a socket in one turn: who floods a link with what nobody reads does
/// not stop us. What is left makes the next turn.
const TURN: usize = 32;
const SECOND: Duration = Duration::from_secs(1);
/// So long counts what an earlier run of this program knew of names: routers and DHCPv6 are asked
/// anew, several times meanwhile.
const ASKED_ANEW: Duration = Duration::from_secs(60);

/// A link that we look after.
#[derive(Debug)]
pub(super) struct Wired {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    carrier: bool,
    settings: Settings,
    client: Client,
    /// Since when DHCP is asked for an address and there is none.
    asking_since: Option<Duration>,
    /// Open only while an answer may come: it gets what is for the client's port on the link,
    /// whoever's address it has.
    packets: Option<OwnedFd>,
    /// Open only while the lease is renewed: for what is sent to our address, and for a refusal,
    /// which is sent to everyone (RFC 2131, section 4.1).
    port: Option<(Ipv4Addr, [UdpSocket; 2])>,
    lease: Option<Lease>,
    configured: Vec<Query>,
    /// Those of IPv6 that the kernel has made of what routers announce, and our static ones.
    seen: BTreeMap<Ipv6Addr, u8>,
    client6: dhcp6::Client,
    /// Open only while an answer may come.
    port6: Option<UdpSocket>,
    /// What routers leave to DHCPv6, whether we listen to them or not: the kernel says it once.
    leave: Want,
    dhcpv6: Option<Dhcpv6>,
    /// What DHCPv6 gave last and another node has, until the link has an address of it.
    refused: Option<Ipv6Addr>,
    /// When routers are asked to speak, and what is waited then: until one does.
    ask_routers: Option<(Duration, Duration)>,
    /// Announced by routers in this order, each good until.
    name_servers: Vec<(Ipv6Addr, Duration)>,
    /// What an earlier run of this program knew of names, good until.
    before: Option<(Names, Duration)>,
}

/// What a link needs to act.
pub(super) struct Kernel<'a> {
    pub(super) epoll: &'a OwnedFd,
    pub(super) requests: &'a mut Requests,
    /// `/proc/sys/net/ipv6/conf`.
    pub(super) ipv6: &'a Path,
    /// What DHCP servers are told that the node is called.
    pub(super) hostname: Option<&'a str>,
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
    /// The link with the settings that it shall have; nothing is done to it before
    /// [`Wired::prepare`]. `lease` is what an earlier run of this program has given it.
    pub(super) fn new(
        link: &netlink::Link,
        mac: [u8; 6],
        seed: u32,
        settings: Settings,
        lease: Option<Lease>,
    ) -> Self {
        let configured = match &lease {
            Some(lease) => settings.queries(link.index, Some(lease)),
            None => Vec::new(),
        };
        let lease = lease.filter(|_| settings.dhcp);
        let client = match &lease {
            Some(lease) => Client::with_lease(mac, seed, lease.clone()),
            None => Client::new(mac, seed),
        };
        Self {
            index: link.index,
            name: link.name.clone(),
            mac,
            carrier: false,
            settings,
            client,
            asking_since: None,
            packets: None,
            port: None,
            lease,
            configured,
            seen: BTreeMap::new(),
            client6: dhcp6::Client::new(mac, seed),
            port6: None,
            leave: Want::Nothing,
            dhcpv6: None,
            refused: None,
            ask_routers: None,
            name_servers: Vec::new(),
            before: None,
        }
    }

    /// What must be set before the link is switched on, when the kernel asks for routers.
    pub(super) fn prepare(&self, kernel: &Kernel<'_>) {
        let conf = kernel.ipv6.join(&self.name);
        // 2, because with forwarding on, as a node has it, 1 does not count.
        let values = if self.settings.slaac { ["2", "1"] } else { ["0", "0"] };
        for (key, value) in ["accept_ra", "autoconf"].iter().zip(values) {
            match std::fs::write(conf.join(key), value) {
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn(&format!("{}: cannot set {key}: {error}", self.name)),
                Ok(()) => {}
            }
        }
    }

    /// The link is on: gives it what does not wait for anything. `names` is what an earlier run of
    /// this program knew.
    pub(super) fn begin(&mut self, names: Names, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let until = kernel.now.saturating_add(ASKED_ANEW);
        self.before = Some((names, until)).filter(|_| self.settings.slaac);
        self.sync(kernel)
    }

    /// Takes new settings; what stays the same is not touched.
    pub(super) fn apply(&mut self, settings: Settings, kernel: &mut Kernel<'_>) -> Vec<Change> {
        if settings == self.settings {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.settings, settings);
        let mut changes = Vec::new();
        if before.slaac != self.settings.slaac {
            self.prepare(kernel);
            if before.slaac {
                changes.extend(self.forget_routers(kernel));
            } else {
                self.ask_routers = Some((kernel.now, SECOND)).filter(|_| self.carrier);
                self.step6(dhcp6::Event::Routers(self.leave), kernel);
            }
        }
        if before.dhcp && !self.settings.dhcp {
            self.client = Client::new(self.mac, self.index);
            (self.packets, self.port, self.lease, self.asking_since) = (None, None, None, None);
        } else if !before.dhcp && self.settings.dhcp && self.carrier {
            changes.extend(self.step(Event::CarrierUp, kernel));
        }
        changes.extend(self.sync(kernel));
        changes
    }

    /// What was taken from routers goes when IPv6 is off for a moment; our own is set again.
    fn forget_routers(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        self.step6(dhcp6::Event::Stop, kernel);
        let disable = kernel.ipv6.join(&self.name).join("disable_ipv6");
        for value in ["1", "0"] {
            if let Err(error) = std::fs::write(&disable, value) {
                log::warn(&format!("{}: cannot set disable_ipv6: {error}", self.name));
            }
        }
        self.name_servers.clear();
        self.before = None;
        // All at once, and the kernel's own news of it changes nothing more.
        let seen = std::mem::take(&mut self.seen);
        seen.into_keys().map(|address| self.lost(address.into())).collect()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let servers = self.name_servers.iter().map(|(_, until)| *until);
        let routers = self.ask_routers.map(|(at, _)| at);
        let before = self.before.as_ref().map(|(_, until)| *until);
        let clients = self.client.deadline().into_iter().chain(self.client6.deadline());
        servers.chain(clients).chain(routers).chain(before).min()
    }

    /// Takes what the kernel says about the link.
    pub(super) fn carrier(&mut self, has_carrier: bool, kernel: &mut Kernel<'_>) -> Vec<Change> {
        if self.carrier == has_carrier {
            return Vec::new();
        }
        self.carrier = has_carrier;
        let link = self.name.clone();
        let mut changes = vec![if has_carrier {
            Change::Connected { link }
        } else {
            Change::Disconnected { link }
        }];
        if self.settings.dhcp {
            let event = if has_carrier { Event::CarrierUp } else { Event::CarrierDown };
            changes.extend(self.step(event, kernel));
        }
        self.ask_routers = Some((kernel.now, SECOND)).filter(|_| has_carrier);
        self.step6(dhcp6::Event::Carrier(has_carrier), kernel);
        changes
    }

    /// Its deadline may have come.
    pub(super) fn timer(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        self.name_servers.retain(|(_, until)| *until > kernel.now);
        self.before.take_if(|(_, until)| *until <= kernel.now);
        self.solicit_routers(kernel.now);
        self.step6(dhcp6::Event::Timer, kernel);
        if self.settings.dhcp { self.step(Event::Timer, kernel) } else { Vec::new() }
    }

    /// Reads the answers that wait on its sockets.
    pub(super) fn receive(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        for answer in self.answers() {
            changes.extend(self.step(Event::Answer(answer), kernel));
        }
        for _ in 0..TURN {
            match self.answer6() {
                Some(Some(answer)) => self.step6(dhcp6::Event::Answer(answer), kernel),
                Some(None) => {}
                None => break,
            }
        }
        changes
    }

    /// The kernel says of an IPv6 address.
    pub(super) fn address(
        &mut self,
        news: netlink::Address,
        kernel: &mut Kernel<'_>,
    ) -> Vec<Change> {
        if news.taken {
            log::warn(&format!("{}: another node has the address {}", self.name, news.address));
        }
        let change = self.address_changed(news);
        self.leased(news, kernel);
        change.into_iter().collect()
    }

    fn address_changed(&mut self, news: netlink::Address) -> Option<Change> {
        let address = news.address;
        if news.usable {
            let new = self.seen.insert(address, news.prefix).is_none();
            new.then(|| self.got(address.into(), news.prefix))
        } else {
            self.seen.remove(&address).map(|_| self.lost(address.into()))
        }
    }

    /// All IPv6 addresses there are, after news were lost.
    pub(super) fn addresses(&mut self, all: &[News], kernel: &mut Kernel<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let own = all.iter().filter_map(|news| match news {
            News::Address(address) if address.link == self.index => Some(*address),
            _ => None,
        });
        let own: Vec<netlink::Address> = own.collect();
        let is_there = |seen: &Ipv6Addr| own.iter().any(|address| address.address == *seen);
        let mut gone = self.client6.addresses();
        gone.retain(|address| !self.seen.contains_key(address));
        gone.extend(self.seen.keys());
        gone.retain(|address| !is_there(address));
        for address in gone {
            let (link, prefix) = (self.index, 0);
            let (usable, taken, gone) = (false, false, true);
            let news = netlink::Address { link, address, prefix, usable, taken, gone };
            changes.extend(self.address(news, kernel));
        }
        changes.extend(own.into_iter().flat_map(|news| self.address(news, kernel)));
        changes
    }

    /// A router says who knows names.
    pub(super) fn router_says(&mut self, news: &NameServers, now: Duration) {
        for server in news.servers.iter().filter(|server| is_host(**server)) {
            let until = now.saturating_add(Duration::from_secs(news.lifetime.into()));
            let known = self.name_servers.iter().position(|(known, _)| known == server);
            if news.lifetime == 0
                && let Some((before, _)) = &mut self.before
            {
                before.servers.retain(|before| before != server);
            }
            match known {
                _ if !self.settings.slaac => {}
                Some(at) if news.lifetime == 0 => drop(self.name_servers.remove(at)),
                Some(at) => self.name_servers[at].1 = until,
                None if news.lifetime == 0 => {}
                None if self.name_servers.len() >= MOST_SERVERS => {}
                None => self.name_servers.push((*server, until)),
            }
        }
    }

    /// It is no longer ours: it has gone, or became a part of another link.
    pub(super) fn release(mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        self.step6(dhcp6::Event::Stop, kernel);
        (self.lease, self.settings) = (None, Settings::default());
        let mut changes = self.sync(kernel);
        let seen = std::mem::take(&mut self.seen);
        changes.extend(seen.into_keys().map(|address| self.lost(address.into())));
        changes
    }

    /// For the next run of this program.
    pub(super) fn known(&self) -> Before {
        Before { lease: self.lease.clone(), names: self.names() }
    }

    /// Who knows names by IPv6.
    fn names(&self) -> Names {
        let offered = self.client6.offered();
        // A server of DHCPv6 goes before routers (RFC 8106, section 5.3.1).
        let routers = self.name_servers.iter().map(|(server, _)| server);
        let servers = offered.dns.iter().chain(routers).copied().collect();
        let mut names = Names { servers, search: offered.search.clone() };
        if let Some((before, _)) = &self.before {
            names.add(before);
        }
        names
    }

    /// What is known of it.
    pub(super) fn status(&self) -> LinkStatus {
        let mut addresses: Vec<(IpAddr, u8)> = Vec::new();
        let mut gateways: Vec<IpAddr> = Vec::new();
        for query in &self.configured {
            match query {
                Query::Address { address: IpAddr::V4(address), prefix, .. } => {
                    addresses.push(((*address).into(), *prefix));
                }
                Query::Route { route, .. } if route.prefix == 0 => gateways.extend(route.gateway),
                _ => {}
            }
        }
        addresses.extend(self.seen.iter().map(|(address, prefix)| ((*address).into(), *prefix)));
        let lease = self.lease.as_ref();
        let leased = lease.iter().flat_map(|lease| &lease.dns);
        let mut dns: Vec<NameServer> = leased.map(|server| IpAddr::from(*server).into()).collect();
        let offered = self.client6.offered();
        let Names { servers, search } = self.names();
        dns.extend(servers.into_iter().map(|server| NameServer {
            address: server.into(),
            link: server.is_unicast_link_local().then(|| self.name.clone()),
        }));
        let leased_ntp = lease.iter().flat_map(|lease| &lease.ntp).copied().map(IpAddr::from);
        LinkStatus {
            index: self.index,
            name: self.name.clone(),
            mac: self.mac,
            carrier: self.carrier,
            dhcp: self.settings.dhcp,
            asking_since: self.asking_since,
            addresses,
            gateways,
            dhcpv6: self.dhcpv6,
            dns,
            search: lease.iter().flat_map(|l| &l.search).cloned().chain(search).collect(),
            ntp: leased_ntp.chain(offered.ntp.iter().copied().map(IpAddr::from)).collect(),
            hostname: lease.and_then(|lease| lease.hostname.clone()),
        }
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
                    let packet = question.encode_packet(kernel.hostname);
                    let socket = self.packets.as_ref();
                    let sent = socket.map(|socket| packet::broadcast(socket, self.index, &packet));
                    self.warn_if_failed(sent);
                }
                Action::Unicast(question, server) => {
                    let to = (server, SERVER_PORT);
                    let socket = self.port.as_ref();
                    let message = question.encode(kernel.hostname);
                    let sent = socket.map(|(_, [port, _])| port.send_to(&message, to));
                    self.warn_if_failed(sent.map(|sent| sent.map(|_| ())));
                }
                Action::Configure(lease) => {
                    self.lease = Some(lease);
                    changes.extend(self.sync(kernel));
                }
                Action::Deconfigure => {
                    self.lease = None;
                    changes.extend(self.sync(kernel));
                }
            }
        }
        self.asking_since = match (self.client.lease(), self.carrier) {
            (None, true) => self.asking_since.or(Some(kernel.now)),
            _ => None,
        };
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
                let socket = packet::open(self.index, CLIENT_PORT)?;
                watch(epoll, &socket)?;
                self.packets = Some(socket);
            }
            Listen::Nowhere | Listen::Port(_) => self.packets = None,
        }
        match (listen, &self.port) {
            (Listen::Port(address), Some((bound, _))) if address == *bound => {}
            (Listen::Port(address), _) => {
                self.port = None;
                let sockets = [listen_at(address, epoll)?, listen_at(Ipv4Addr::BROADCAST, epoll)?];
                self.port = Some((address, sockets));
            }
            (Listen::Nowhere | Listen::Link, _) => self.port = None,
        }
        Ok(())
    }

    fn answers(&self) -> Vec<Answer> {
        let mut buffer = [0; PACKET];
        let mut answers = Vec::new();
        if let Some(socket) = &self.packets {
            for _ in 0..TURN {
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => answers.extend(Answer::parse_packet(&buffer[..length])),
                    Err(Errno::INTR) => {}
                    // Nothing more, or the link went down, which we are told elsewhere.
                    Err(_) => break,
                }
            }
        }
        for socket in self.port.iter().flat_map(|(_, sockets)| sockets) {
            for _ in 0..TURN {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
                if from.port() == SERVER_PORT {
                    answers.extend(Answer::parse(&buffer[..length]));
                }
            }
        }
        answers
    }

    /// Brings the kernel from what was configured to what shall be.
    fn sync(&mut self, kernel: &mut Kernel<'_>) -> Vec<Change> {
        let wanted = self.settings.queries(self.index, self.lease.as_ref());
        let before = std::mem::take(&mut self.configured);
        let mut changes = Vec::new();
        // What stays is not touched: taking an address away ends its connections.
        for query in before.iter().rev().filter(|query| !wanted.contains(query)) {
            self.ask(&removal(*query), kernel);
            // The kernel tells of those of IPv6.
            if let Query::Address { address: address @ IpAddr::V4(_), .. } = query {
                changes.push(self.lost(*address));
            }
        }
        for query in &wanted {
            self.ask(query, kernel);
            if let Query::Address { address: address @ IpAddr::V4(_), prefix, .. } = query
                && !before.contains(query)
            {
                changes.push(self.got(*address, *prefix));
            }
        }
        self.configured = wanted;
        changes
    }

    fn got(&self, address: IpAddr, prefix: u8) -> Change {
        Change::Address { link: self.name.clone(), address, prefix }
    }

    fn lost(&self, address: IpAddr) -> Change {
        Change::Lost { link: self.name.clone(), address }
    }

    /// Whether it is so now.
    fn ask(&self, query: &Query, kernel: &mut Kernel<'_>) -> bool {
        match kernel.requests.request(query) {
            Ok(()) => true,
            // The link went away with all it had, or a route went with its address.
            Err(error) if is_gone(&error) && is_removal(query) => true,
            Err(error) => {
                log::warn(&format!("{}: cannot set {query:?}: {error}", self.name));
                false
            }
        }
    }
}

/// A socket for answers to this address. Another link may have one for those to everyone.
fn listen_at(address: Ipv4Addr, epoll: &OwnedFd) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(address, CLIENT_PORT))?;
    watch(epoll, &socket)?;
    Ok(socket.into())
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

/// Whether something may be gone of itself already; an address that DHCPv6 gives must not be.
fn is_removal(query: &Query) -> bool {
    removal(*query) == *query && !matches!(query, Query::Leased { .. })
}

fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::SRCH))
}
