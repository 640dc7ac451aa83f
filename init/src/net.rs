//! The network of a node: every wired link is switched on and asks for an address by DHCP, for as
//! long as the node runs. Links may come and go.
//!
//! One file descriptor tells when there is something to do, one deadline when there is something
//! to do without it; the caller waits for both and gets what has changed for the node.

mod dhcp;
mod link;
mod netlink;
mod route_socket;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::epoll;

use crate::clock::monotonic;
use crate::log;
use crate::sys::{Doing as _, Failure};
use link::{Kernel, Wired, is_wired};
use netlink::{News, Query};
use route_socket::{Notifications, Requests};

/// Why there can be no network at all.
pub type NetError = Failure;

/// What has changed for the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The cable is in.
    LinkUp {
        /// The link's name.
        link: String,
    },
    /// The link has this address now. Told again at each renewal.
    Address {
        /// The link's name.
        link: String,
        /// The node's address on it.
        address: Ipv4Addr,
        /// How many bits of it are the network's.
        prefix: u8,
        /// Where the default route leads.
        gateway: Option<Ipv4Addr>,
        /// Name servers, the first one is asked first.
        dns: Vec<Ipv4Addr>,
        /// The name that the server has for this node; one label.
        hostname: Option<String>,
        /// How long the address was given for; [`Duration::MAX`] for ever.
        lease: Duration,
    },
    /// The link has no address any more.
    Lost {
        /// The link's name.
        link: String,
    },
}

/// All wired links.
#[derive(Debug)]
pub struct Network {
    /// Watches all sockets; sockets come and go inside it, so that its own descriptor never does.
    epoll: OwnedFd,
    notifications: Notifications,
    requests: Requests,
    links: BTreeMap<u32, Wired>,
    /// What changed while the first list was taken, until the caller asks.
    untold: Vec<Change>,
}

/// Switches on the loopback and all wired links that there are; others follow when they appear.
/// Does not wait for anything.
///
/// # Errors
/// When the kernel refuses the sockets.
pub fn start() -> Result<Network, NetError> {
    let open = "open a netlink socket";
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "watch sockets")?;
    // News first, then the list: nothing is missed between.
    let notifications = Notifications::open().doing(|| open)?;
    let data = epoll::EventData::new_u64(0);
    epoll::add(&epoll, &notifications, data, epoll::EventFlags::IN).doing(|| "watch sockets")?;
    let requests = Requests::open().doing(|| open)?;
    let links = BTreeMap::new();
    let mut network = Network { epoll, notifications, requests, links, untold: Vec::new() };
    network.untold = network.list().doing(|| "list the network links")?;
    Ok(network)
}

impl Network {
    /// Readable when [`Network::handle_readable`] should be called. They stay the same ones.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.epoll.as_fd()]
    }

    /// Takes all that waits on the sockets, without blocking.
    pub fn handle_readable(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.untold);
        match self.notifications.drain() {
            Ok(Some(news)) => {
                for news in news {
                    changes.extend(self.take_news(news));
                }
            }
            Ok(None) => match self.list() {
                Ok(more) => changes.extend(more),
                Err(error) => log::warn(&format!("cannot list the network links: {error}")),
            },
            Err(error) => log::warn(&format!("cannot read news of the network links: {error}")),
        }
        self.each_link(&mut changes, |wired, kernel| wired.receive(kernel));
        changes
    }

    /// When [`Network::on_deadline`] should be called, on the clock of [`monotonic`].
    pub fn next_deadline(&self) -> Option<Duration> {
        self.links.values().filter_map(Wired::deadline).min()
    }

    /// Does what is due by now; harmless when nothing is.
    pub fn on_deadline(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.each_link(&mut changes, |wired, kernel| wired.timer(kernel));
        changes
    }

    /// Takes the list of all links, at the start and when news were lost.
    fn list(&mut self) -> io::Result<Vec<Change>> {
        let links = self.requests.links()?;
        let is_there = |index: &u32| links.iter().any(|link| link.index == *index);
        let gone: Vec<u32> = self.links.keys().copied().filter(|index| !is_there(index)).collect();
        let gone = gone.into_iter().map(News::LinkGone);
        let news = gone.chain(links.into_iter().map(News::Link)).collect::<Vec<_>>();
        Ok(news.into_iter().flat_map(|news| self.take_news(news)).collect())
    }

    fn take_news(&mut self, news: News) -> Vec<Change> {
        let link = match news {
            News::Link(link) => link,
            News::LinkGone(index) => return self.remove(index),
            News::Answer { .. } | News::Done { .. } => return Vec::new(),
        };
        if link.name == "lo" && !link.is_up() {
            self.set_up(&link);
            return Vec::new();
        }
        let ours = link.is_free_ethernet() && is_wired(Path::new("/sys/class/net"), &link.name);
        let Some(mac) = link.mac.filter(|_| ours) else { return self.remove(link.index) };
        if let Entry::Vacant(entry) = self.links.entry(link.index) {
            let seed = random_seed().unwrap_or_else(|error| {
                log::warn(&format!("cannot draw a random number: {error}"));
                0
            });
            entry.insert(Wired::new(&link, mac, seed));
            if !link.is_up() {
                self.set_up(&link);
            }
        }
        let Self { links, epoll, requests, .. } = self;
        let mut kernel = Kernel { epoll, requests, now: monotonic() };
        links
            .get_mut(&link.index)
            .map(|wired| wired.carrier(link.has_carrier(), &mut kernel))
            .unwrap_or_default()
    }

    fn set_up(&mut self, link: &netlink::Link) {
        if let Err(error) = self.requests.request(&Query::SetUp { link: link.index }) {
            log::warn(&format!("cannot switch on the link {}: {error}", link.name));
        }
    }

    fn remove(&mut self, index: u32) -> Vec<Change> {
        let Some(wired) = self.links.remove(&index) else { return Vec::new() };
        let Self { epoll, requests, .. } = self;
        wired.release(&mut Kernel { epoll, requests, now: monotonic() })
    }

    fn each_link(
        &mut self,
        changes: &mut Vec<Change>,
        mut act: impl FnMut(&mut Wired, &mut Kernel<'_>) -> Vec<Change>,
    ) {
        let Self { links, epoll, requests, .. } = self;
        let mut kernel = Kernel { epoll, requests, now: monotonic() };
        for wired in links.values_mut() {
            changes.extend(act(wired, &mut kernel));
        }
    }
}

/// From the pool that never blocks: a number that another node does not have, not a secret.
fn random_seed() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
