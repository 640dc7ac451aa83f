//! The network of a node: every wired link is switched on and gets what the node config says, by
//! default an address by DHCP and what routers announce, for as long as the node runs. Links may
//! come and go, and so may settings.
//!
//! One file descriptor tells when there is something to do, one deadline when there is something
//! to do without it; the caller waits for both, gets what has changed for people, and asks for
//! [`Network::status`].

pub(crate) mod dhcp;
pub(crate) mod dhcp6;
pub mod dns;
mod link;
pub(crate) mod netlink;
mod route_socket;
mod settings;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use formats::system::{self, NameServer, System};
use rustix::event::epoll;

use crate::clock::monotonic;
use crate::log;
use crate::sys::{Doing as _, Failure};
use link::{Before, Kernel, Wired, is_wired};
use netlink::{News, Query};
use route_socket::{Notifications, Requests};
use settings::{Settings, is_mac};

/// Why there can be no network at all.
pub type NetError = Failure;

/// What has changed, for people; the whole is in [`LinkStatus`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The cable is in.
    Connected {
        /// The link's name.
        link: String,
    },
    /// The cable is out.
    Disconnected {
        /// The link's name.
        link: String,
    },
    /// The link has this address now.
    Address {
        /// The link's name.
        link: String,
        /// The node's address on it.
        address: IpAddr,
        /// How many bits of it are the network's.
        prefix: u8,
    },
    /// The link does not have this address any more.
    Lost {
        /// The link's name.
        link: String,
        /// Which was the node's.
        address: IpAddr,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { link } => write!(f, "{link} is connected"),
            Self::Disconnected { link } => write!(f, "{link} is not connected any more"),
            Self::Address { link, address, prefix } => {
                write!(f, "{link} has address {address}/{prefix}")
            }
            Self::Lost { link, address } => write!(f, "{link} has lost its address {address}"),
        }
    }
}

/// One wired link and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The kernel's number.
    pub index: u32,
    /// The kernel's name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The cable is in.
    pub carrier: bool,
    /// It shall have an address by DHCP.
    pub dhcp: bool,
    /// Since when DHCP is asked in vain, on the clock of [`monotonic`].
    pub asking_since: Option<Duration>,
    /// Each with the length of its network's prefix, IPv4 first. Link-local ones are left out.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Of default routes, except those which the kernel has from routers.
    pub gateways: Vec<IpAddr>,
    /// What a router leaves to DHCPv6 is asked for in vain.
    pub dhcpv6: Option<Dhcpv6>,
    /// Name servers that the network offers.
    pub dns: Vec<NameServer>,
    /// Search domains that the network offers.
    pub search: Vec<String>,
    /// Time servers that the network offers.
    pub ntp: Vec<IpAddr>,
    /// The name that the DHCP server has for this node; one label.
    pub hostname: Option<String>,
}

/// What routers leave to DHCPv6 (RFC 4861, section 4.2) and no server has given yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dhcpv6 {
    /// Since when it is lacking, on the clock of [`monotonic`].
    pub since: Duration,
    /// What is.
    pub lacks: Lack,
}

/// What a link does not have yet of what DHCPv6 gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Who knows names.
    Names,
    /// An address.
    Address,
    /// An address: a server has given one, which the kernel does not let anybody use, or not yet.
    Usable,
    /// An address: the one that a server gives is another node's.
    Other(Ipv6Addr),
}

/// Where the kernel shows links; a test has directories of its own.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/sys/class/net`.
    pub class_net: PathBuf,
    /// `/proc/sys/net/ipv6/conf`.
    pub ipv6: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { class_net: "/sys/class/net".into(), ipv6: "/proc/sys/net/ipv6/conf".into() }
    }
}

/// What is done with a link.
type Act<'a> = &'a mut dyn FnMut(&mut Wired, &mut Kernel<'_>) -> Vec<Change>;

/// All wired links.
#[derive(Debug)]
pub struct Network {
    places: Places,
    config: system::Network,
    /// What the node is called by its config, or by the cluster that it has joined.
    hostname: Option<String>,
    /// Watches all sockets; sockets come and go inside it, so that its own descriptor never does.
    epoll: OwnedFd,
    notifications: Notifications,
    requests: Requests,
    // In the order of their indices, which is the order in which the kernel found them.
    links: BTreeMap<u32, Wired>,
    /// What changed while the first list was taken, until the caller asks.
    untold: Vec<Change>,
    /// What was known of links that were not seen yet, from [`Network::keep`].
    kept: BTreeMap<u32, Before>,
}

/// Switches on the loopback and all wired links that there are; others follow when they appear.
/// Does not wait for anything. `kept` is what [`Network::keep`] of an earlier run has given: a link
/// keeps the address that it has, and its server is asked whether that is still good.
///
/// # Errors
/// When the kernel refuses the sockets.
pub fn start(places: Places, system: &System, kept: &[String]) -> Result<Network, NetError> {
    let (config, hostname) = (system.network.clone(), system.hostname.clone());
    let open = "open a netlink socket";
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "watch sockets")?;
    // News first, then the list: nothing is missed between.
    let notifications = Notifications::open().doing(|| open)?;
    let data = epoll::EventData::new_u64(0);
    epoll::add(&epoll, &notifications, data, epoll::EventFlags::IN).doing(|| "watch sockets")?;
    let requests = Requests::open().doing(|| open)?;
    let (links, untold) = (BTreeMap::new(), Vec::new());
    let mut before: BTreeMap<u32, Before> = BTreeMap::new();
    for (index, line) in kept.iter().filter_map(|line| line.split_once(' ')) {
        if let Ok(index) = index.parse() {
            before.entry(index).or_default().take(line);
        }
    }
    let kept = before;
    let mut network =
        Network { places, config, hostname, epoll, notifications, requests, links, untold, kept };
    network.untold = network.list().doing(|| "list the network links")?;
    Ok(network)
}

impl Network {
    /// Readable when [`Network::handle_readable`] should be called. It stays the same one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes all that waits on the sockets, without blocking.
    pub fn handle_readable(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.untold);
        match self.notifications.drain() {
            Ok(Some(news)) => changes.extend(self.take_all(news)),
            Ok(None) => match self.list() {
                Ok(more) => changes.extend(more),
                Err(error) => log::warn(&format!("cannot list the network links: {error}")),
            },
            Err(error) => log::warn(&format!("cannot read news of the network links: {error}")),
        }
        changes.extend(self.each_link(&mut Wired::receive));
        changes
    }

    /// When [`Network::on_deadline`] should be called, on the clock of [`monotonic`].
    pub fn next_deadline(&self) -> Option<Duration> {
        self.links.values().filter_map(Wired::deadline).min()
    }

    /// Does what is due by now; harmless when nothing is.
    pub fn on_deadline(&mut self) -> Vec<Change> {
        self.each_link(&mut Wired::timer)
    }

    /// Takes another configuration; links whose settings stay the same are not touched.
    pub fn apply(&mut self, system: &System) -> Vec<Change> {
        self.config = system.network.clone();
        self.hostname.clone_from(&system.hostname);
        self.each_link(&mut |wired, kernel| {
            let settings = Settings::of(&system.network, &wired.name, wired.mac);
            wired.apply(settings, kernel)
        })
    }

    /// What the next run of this program should know, a line each.
    pub fn keep(&self) -> Vec<String> {
        let lines = |(index, wired): (&u32, &Wired)| -> Vec<String> {
            let lines = wired.known().lines();
            lines.into_iter().map(|line| format!("{index} {line}")).collect()
        };
        self.links.iter().flat_map(lines).collect()
    }

    /// All wired links, in the order in which the kernel found them.
    pub fn status(&self) -> Vec<LinkStatus> {
        self.links.values().map(Wired::status).collect()
    }

    /// Entries of the configuration that no link belongs to.
    pub fn missing(&self) -> Vec<String> {
        let has_link = |name: &str, entry: &system::Link| {
            self.links.values().any(|wired| match entry.mac {
                Some(_) => is_mac(entry, wired.mac),
                None => wired.name == name,
            })
        };
        let entries = self.config.links.iter().filter(|(name, entry)| !has_link(name, entry));
        entries.map(|(name, _)| name.clone()).collect()
    }

    /// Takes the list of all links, at the start and when news were lost.
    fn list(&mut self) -> io::Result<Vec<Change>> {
        let links = self.requests.list(&Query::Links)?;
        let is_there = |index: &u32| {
            links.iter().any(|news| matches!(news, News::Link(link) if link.index == *index))
        };
        let gone = self.links.keys().copied().filter(|index| !is_there(index));
        let mut news: Vec<News> = gone.map(News::LinkGone).collect();
        news.extend(links);
        let mut changes = self.take_all(news);
        let addresses = self.requests.list(&Query::Addresses)?;
        changes.extend(self.each_link(&mut |wired, kernel| wired.addresses(&addresses, kernel)));
        // The kernel tells only when they change, which may have been before.
        changes.extend(self.list_routers(|_| true)?);
        Ok(changes)
    }

    /// What the kernel has heard of routers on these links, by now or long ago.
    fn list_routers(&mut self, of: impl Fn(u32) -> bool) -> io::Result<Vec<Change>> {
        let routers = self.requests.list(&Query::Routers)?;
        let mut changes = Vec::new();
        for news in routers {
            let News::Router { link, managed, other } = news else { continue };
            if of(link) {
                changes.extend(self.one_link(link, &mut |wired, kernel| {
                    wired.router_leaves(managed, other, kernel);
                    Vec::new()
                }));
            }
        }
        Ok(changes)
    }

    fn take_all(&mut self, news: Vec<News>) -> Vec<Change> {
        news.into_iter().flat_map(|news| self.take_news(news)).collect()
    }

    fn take_news(&mut self, news: News) -> Vec<Change> {
        match news {
            News::Link(link) => self.take_link(&link),
            News::LinkGone(index) => self.remove(index),
            News::Address(news) => {
                self.one_link(news.link, &mut |wired, kernel| wired.address(news, kernel))
            }
            News::NameServers(news) => {
                if let Some(wired) = self.links.get_mut(&news.link) {
                    wired.router_says(&news, monotonic());
                }
                self.router_speaks(news.link)
            }
            News::Prefix(link) => self.router_speaks(link),
            // The kernel tells also that a link was switched on, with what it knew of routers.
            News::Router { link, managed, other } => self.one_link(link, &mut |wired, kernel| {
                if wired.router_leaves(managed, other, kernel) {
                    wired.router_has_spoken();
                }
                Vec::new()
            }),
            News::Answer { .. } | News::Done { .. } => Vec::new(),
        }
    }

    /// A router is there. What it leaves to DHCPv6 the kernel tells when that changes, and not when
    /// the one behind a cable that was out says the same as the one before.
    fn router_speaks(&mut self, link: u32) -> Vec<Change> {
        if !self.links.get(&link).is_some_and(Wired::asks_routers) {
            return Vec::new();
        }
        match self.list_routers(|of| of == link) {
            Ok(changes) => {
                self.links.get_mut(&link).into_iter().for_each(Wired::router_has_spoken);
                changes
            }
            Err(error) => {
                log::warn(&format!("cannot list what routers say: {error}"));
                Vec::new()
            }
        }
    }

    fn take_link(&mut self, link: &netlink::Link) -> Vec<Change> {
        if link.name == "lo" && !link.is_up() {
            set_up(&mut self.requests, link);
            return Vec::new();
        }
        let ours = link.is_free_ethernet() && is_wired(&self.places.class_net, &link.name);
        let Some(mac) = link.mac.filter(|_| ours) else { return self.remove(link.index) };
        let Self { links, epoll, requests, places, config, hostname, kept, .. } = self;
        let (ipv6, hostname) = (&*places.ipv6, hostname.as_deref());
        let mut kernel = Kernel { epoll, requests, ipv6, hostname, now: monotonic() };
        let mut changes = Vec::new();
        let wired = match links.entry(link.index) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let seed = random().map(u32::from_ne_bytes).unwrap_or_else(|error| {
                    log::warn(&format!("cannot draw a random number: {error}"));
                    0
                });
                let settings = Settings::of(config, &link.name, mac);
                let Before { lease, names } = kept.remove(&link.index).unwrap_or_default();
                let wired = entry.insert(Wired::new(link, mac, seed, settings, lease));
                wired.prepare(&kernel);
                if !link.is_up() {
                    set_up(kernel.requests, link);
                }
                changes.extend(wired.begin(names, &mut kernel));
                wired
            }
        };
        changes.extend(wired.carrier(link.has_carrier(), &mut kernel));
        changes
    }

    fn remove(&mut self, index: u32) -> Vec<Change> {
        let Some(wired) = self.links.remove(&index) else { return Vec::new() };
        let Self { epoll, requests, places, hostname, .. } = self;
        let (ipv6, hostname) = (&*places.ipv6, hostname.as_deref());
        wired.release(&mut Kernel { epoll, requests, ipv6, hostname, now: monotonic() })
    }

    fn one_link(&mut self, index: u32, act: Act<'_>) -> Vec<Change> {
        self.some_links(index..=index, act)
    }

    fn each_link(&mut self, act: Act<'_>) -> Vec<Change> {
        self.some_links(0..=u32::MAX, act)
    }

    fn some_links(&mut self, which: RangeInclusive<u32>, act: Act<'_>) -> Vec<Change> {
        let Self { links, epoll, requests, places, hostname, .. } = self;
        let (ipv6, hostname) = (&*places.ipv6, hostname.as_deref());
        let mut kernel = Kernel { epoll, requests, ipv6, hostname, now: monotonic() };
        links.range_mut(which).flat_map(|(_, wired)| act(wired, &mut kernel)).collect()
    }
}

fn set_up(requests: &mut Requests, link: &netlink::Link) {
    if let Err(error) = requests.request(&Query::SetUp { link: link.index }) {
        log::warn(&format!("cannot switch on the link {}: {error}", link.name));
    }
}

/// From the pool that never blocks: what others cannot guess, not a key.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
