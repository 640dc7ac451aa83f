//! What a node has to do with the world around it: its links, its name, its clock, and whether its
//! API server is there. Brings all of it in line with the node config, and says in words what is
//! missing, for as long as it is.
//!
//! One descriptor and one deadline, as [`crate::net`]; what must wait (DNS, time servers, the API
//! server) does so in threads of its own, which end by themselves.

mod kept;
mod server;
mod trouble;

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use formats::system::{NameServer, System};
use rustix::event::{EventfdFlags, epoll, eventfd};

use crate::clock::monotonic;
use crate::message::View;
use crate::net::{Lack, LinkStatus, Network, dns};
use crate::network::identity::{self, DEFAULT_HOSTNAME};
use crate::network::time::Clock;
use crate::network::time::ask::{self, Again, Question, Silence, Survey};
use crate::network::time::keeper::{Change, Keeper, Known};
use crate::{log, time};
pub use kept::Kept;
use server::{Check, UNREACHABLE, Unreachable};
use trouble::Facts;

/// With an address, so long is waited for the other links; also for a first link to appear.
const OTHER_LINKS: Duration = Duration::from_secs(3);
/// Without any address, units that come after the network start all the same after this time.
const NO_ADDRESS: Duration = Duration::from_secs(15);

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// For console and log.
    Line(String),
    /// A boot mark.
    Mark(&'static str),
    /// The node has its address and its name, or it is clear that it gets no address for now.
    /// Comes once.
    Up,
}

/// What a thread has found out.
#[derive(Debug)]
enum Report {
    Time(Survey),
    Server(String, Result<(), Unreachable>),
}

/// What it is made of.
#[derive(Debug)]
pub struct Start {
    /// Where `hosts` and `resolv.conf` are.
    pub etc: PathBuf,
    /// What the node config says.
    pub system: System,
    /// The links, if the kernel lets us have any.
    pub network: Option<Network>,
    /// What was wrong with the clock when the system started, from [`crate::pid1::floor::raise`].
    pub wrong: Option<String>,
    /// The clock.
    pub clock: Clock,
    /// What an earlier run knew of it.
    pub known: Known,
    /// What the node is called already: an earlier run has said so.
    pub hostname: Option<String>,
    /// Tells the kernel the node's name.
    pub set_hostname: fn(&str) -> io::Result<()>,
}

/// The node's place in the world.
#[derive(Debug)]
pub struct Connectivity {
    etc: PathBuf,
    system: System,
    network: Option<Network>,
    wrong: Option<String>,
    clock: Clock,
    set_hostname: fn(&str) -> io::Result<()>,
    /// Watches the network and `wake`.
    epoll: OwnedFd,
    /// Raised by threads when they have sent a report.
    wake: Arc<OwnedFd>,
    reports: Receiver<Report>,
    sender: Sender<Report>,
    keeper: Keeper,
    server: Check,
    began: Duration,
    up: bool,
    /// It has had an address.
    was_online: bool,
    links: Vec<LinkStatus>,
    hostname: String,
    /// The node is known by its name.
    named: bool,
    /// The texts of `hosts` and `resolv.conf` as they were written last.
    written: Option<(String, String)>,
    troubles: Vec<String>,
    /// When time alone will change them. Kept, for a time that is over must stay due until
    /// [`Connectivity::turn`] has come to it.
    words_change: Option<Duration>,
}

impl Connectivity {
    /// Sets the host name and writes `hosts` and `resolv.conf` as far as all is known by now.
    ///
    /// # Errors
    /// When the kernel has no descriptors for us.
    pub fn new(start: Start) -> io::Result<Self> {
        let Start { etc, system, network, wrong, clock, known, hostname, set_hostname } = start;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let data = epoll::EventData::new_u64(0);
        epoll::add(&epoll, &wake, data, epoll::EventFlags::IN)?;
        if let Some(network) = &network {
            epoll::add(&epoll, network.fd(), data, epoll::EventFlags::IN)?;
        }
        let (sender, reports) = channel();
        let mut this = Self {
            etc,
            system,
            network,
            wrong,
            clock,
            set_hostname,
            epoll,
            wake,
            reports,
            sender,
            keeper: Keeper::new(known, clock.is_set),
            server: Check::default(),
            began: monotonic(),
            up: false,
            was_online: false,
            links: Vec::new(),
            named: hostname.is_some(),
            hostname: hostname.unwrap_or_default(),
            written: None,
            troubles: Vec::new(),
            words_change: None,
        };
        // Of links that are as an earlier run has left them.
        this.links = this.network.as_ref().map(Network::status).unwrap_or_default();
        this.identify();
        Ok(this)
    }

    /// Readable when [`Connectivity::turn`] should be called. It stays the same one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When [`Connectivity::turn`] should be called at the latest, on the clock of [`monotonic`].
    pub fn next_deadline(&self) -> Option<Duration> {
        let network = self.network.as_ref().and_then(Network::next_deadline);
        let online = self.is_online();
        let waiting = (!self.up).then(|| {
            let wait = if online || self.links.is_empty() { OTHER_LINKS } else { NO_ADDRESS };
            self.began + wait
        });
        let asking = [self.keeper.deadline(), self.server.deadline()].into_iter().flatten();
        let asking = asking.filter(|_| online);
        let others = [self.keeper.forgets_at(), self.words_change].into_iter().flatten();
        network.into_iter().chain(waiting).chain(asking).chain(others).min()
    }

    /// Takes all that waits and does all that is due, without blocking.
    pub fn turn(&mut self) -> Vec<Notice> {
        // Only to lower it: one that is not raised says `EAGAIN`.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        let mut notices = Vec::new();
        if let Some(network) = &mut self.network {
            let mut changes = network.handle_readable();
            changes.extend(network.on_deadline());
            notices.extend(changes.iter().map(|change| Notice::Line(change.to_string())));
        }
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Time(survey) => {
                    let before = self.keeper.is_set();
                    notices.extend(self.set_clock(survey).map(Notice::Line));
                    if self.keeper.is_set() && !before {
                        notices.push(Notice::Mark("clock-set"));
                    }
                }
                Report::Server(server, result) => {
                    self.server.answered(monotonic(), &server, result);
                }
            }
        }
        if let Some(lost) = self.keeper.forget(monotonic()) {
            notices.extend(self.change_clock(&lost).map(Notice::Line));
        }
        self.update(&mut notices);
        notices
    }

    /// Takes another configuration, at run time.
    pub fn apply(&mut self, system: System) -> Vec<Notice> {
        let changes = match &mut self.network {
            Some(network) => network.apply(&system),
            None => Vec::new(),
        };
        self.system = system;
        let mut notices = changes.iter().map(|change| Notice::Line(change.to_string())).collect();
        self.update(&mut notices);
        notices
    }

    /// Somebody cannot reach the API server: look whether it is the network.
    pub fn suspect_server(&mut self) {
        self.server.suspect(monotonic());
    }

    /// What is wrong at the moment, for people, one line each.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// What the next run of this program should know, for [`Kept::of`].
    pub fn keep(&self) -> Vec<String> {
        let name = if self.named { self.hostname.as_str() } else { "" };
        let network = self.network.as_ref().map(Network::keep).unwrap_or_default();
        kept::lines(name, self.keeper.known(), network)
    }

    /// What is known here, for the screen.
    pub fn view(&self) -> View {
        View {
            hostname: self.hostname.clone(),
            addresses: self.links.iter().filter_map(describe).collect(),
            problems: [self.system.problems.as_slice(), &self.troubles].concat(),
        }
    }

    /// Brings all that follows from the links in line with them.
    fn update(&mut self, notices: &mut Vec<Notice>) {
        let now = monotonic();
        let before = std::mem::take(&mut self.links);
        self.links = self.network.as_ref().map(Network::status).unwrap_or_default();
        let addresses = |links: &[LinkStatus]| -> Vec<(IpAddr, u8)> {
            links.iter().flat_map(|link| link.addresses.clone()).collect()
        };
        if addresses(&before) != addresses(&self.links) {
            self.keeper.retry(now);
            if self.server.trouble().is_some() {
                self.server.suspect(now);
            }
        }
        self.identify();
        if self.is_online() {
            if !std::mem::replace(&mut self.was_online, true) {
                notices.push(Notice::Mark("network-up"));
            }
            self.keeper.servers(now, self.time_servers());
            self.server.server(now, self.system.server.as_ref());
            self.start_threads(now, notices);
        }
        if !self.up && self.is_settled(now) {
            (self.up, self.named) = (true, true);
            notices.push(Notice::Up);
        }
        self.tell_troubles(now, notices);
    }

    /// The node's name, and the files which tell it and the name servers.
    fn identify(&mut self) {
        let hostname = self.choose_hostname();
        if hostname != self.hostname {
            if let Err(error) = (self.set_hostname)(&hostname) {
                log::error(&format!("cannot set the host name {hostname}: {error}"));
            }
            log::info(&format!("the host name is {hostname}"));
            self.hostname = hostname;
        }
        let texts = (
            identity::hosts(&self.hostname, &identity::addresses(&self.links)),
            identity::resolv_conf(&self.name_servers(), &self.search()),
        );
        if self.written.as_ref() != Some(&texts) {
            match identity::write_network_files(&self.etc, &texts.0, &texts.1) {
                Ok(()) => self.written = Some(texts),
                Err(error) => log::error(&format!("cannot write hosts and resolv.conf: {error}")),
            }
        }
    }

    /// The config's, else that of DHCP, else one of the first link. What kubelet has registered
    /// the node by stays: only a config changes it later.
    fn choose_hostname(&self) -> String {
        if let Some(configured) = &self.system.hostname {
            return configured.clone();
        }
        if self.named {
            return self.hostname.clone();
        }
        let given = self.links.iter().find_map(|link| link.hostname.clone());
        let made = || self.links.first().map(|link| identity::hostname_of(link.mac));
        given.or_else(made).unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned())
    }

    fn name_servers(&self) -> Vec<NameServer> {
        match &self.system.network.dns {
            Some(configured) => identity::first_nameservers(configured),
            None => {
                let offered = self.links.iter().flat_map(|link| link.dns.clone());
                identity::first_nameservers(&offered.collect::<Vec<_>>())
            }
        }
    }

    /// Where a name server listens. One on a link that there is not is asked nothing.
    fn resolver(&self, server: &NameServer) -> Option<SocketAddr> {
        let scope = match &server.link {
            Some(name) => self.links.iter().find(|link| link.name == *name)?.index,
            None => 0,
        };
        Some(match server.address {
            IpAddr::V4(address) => (address, dns::PORT).into(),
            IpAddr::V6(address) => SocketAddrV6::new(address, dns::PORT, 0, scope).into(),
        })
    }

    fn search(&self) -> Vec<String> {
        if let Some(configured) = &self.system.network.search {
            return configured.clone();
        }
        let mut search: Vec<String> = Vec::new();
        for domain in self.links.iter().flat_map(|link| &link.search) {
            if !search.contains(domain) {
                search.push(domain.clone());
            }
        }
        search
    }

    fn time_servers(&self) -> Vec<String> {
        let configured = &self.system.time.servers;
        if !configured.is_empty() {
            return configured.clone();
        }
        self.links.iter().flat_map(|link| &link.ntp).map(ToString::to_string).collect()
    }

    fn is_online(&self) -> bool {
        self.links.iter().any(|link| !link.addresses.is_empty())
    }

    /// Whether what comes after the network need not wait any longer.
    fn is_settled(&self, now: Duration) -> bool {
        let waited = now.saturating_sub(self.began);
        if self.network.is_none() || waited >= NO_ADDRESS {
            return true;
        }
        let asks = |link: &LinkStatus| {
            link.asking_since.is_some()
                || link.dhcpv6.is_some_and(|asked| !matches!(asked.lacks, Lack::Names))
        };
        let pending = self.links.iter().any(asks);
        let online = self.is_online();
        (online && !pending) || ((online || self.links.is_empty()) && waited >= OTHER_LINKS)
    }

    fn start_threads(&mut self, now: Duration, notices: &mut Vec<Notice>) {
        let resolvers: Vec<SocketAddr> =
            self.name_servers().iter().filter_map(|server| self.resolver(server)).collect();
        let search = self.search();
        if let Some(servers) = self.keeper.ask(now) {
            let (search, resolvers) = (search.clone(), resolvers.clone());
            let question = Question { servers, search, resolvers, floor: self.clock.floor };
            let started = self.start_thread("time", move || Report::Time(ask::ask(&question)));
            if let Err(error) = started {
                let reason = format!("cannot be asked: {error}");
                let silence = Silence { server: "anybody".to_owned(), reason, again: Again::Usual };
                let silences = vec![silence];
                self.keeper.answered(now, Survey { silences, ..Survey::default() });
            }
        }
        if let Some(server) = self.server.ask(now) {
            let asked = server.clone();
            let started = self.start_thread("server", move || {
                let result = server::reach(&server, &search, &resolvers);
                Report::Server(server, result)
            });
            if let Err(error) = started {
                self.server.answered(now, &asked, Ok(()));
                notices.push(Notice::Line(format!("cannot try the API server: {error}")));
            }
        }
    }

    fn start_thread(
        &self,
        name: &str,
        work: impl FnOnce() -> Report + Send + 'static,
    ) -> io::Result<()> {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        let work = move || {
            // Without a receiver nobody wants to know any more.
            if sender.send(work()).is_ok() {
                let _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
            }
        };
        crate::thread::start(name, Box::new(work)).map(drop)
    }

    /// Does what follows from the time servers' answers; what people should know of it.
    fn set_clock(&mut self, survey: Survey) -> Option<String> {
        let change = self.keeper.answered(monotonic(), survey)?;
        self.change_clock(&change)
    }

    /// Does it; what people should know of it.
    fn change_clock(&self, change: &Change) -> Option<String> {
        let done = (self.clock.change)(change);
        let say = self.keeper.believed();
        let (by, at_once) = match *change {
            Change::Step { by, .. } => (time::difference(by), true),
            Change::Slew { by, .. } => (time::difference(by), false),
            Change::Lost => {
                let what = "no time server was heard for hours";
                match done {
                    Ok(()) => log::warn(&format!("{what}: the clock counts as unsynchronised")),
                    Err(error) => {
                        log::error(&format!("{what}, and the kernel cannot be told: {error}"))
                    }
                }
                return None;
            }
        };
        match done {
            Err(error) => Some(format!("cannot set the clock by {by}, as {say}: {error}")),
            Ok(()) if at_once => Some(format!("the clock was set by {by}, as {say}")),
            Ok(()) => {
                log::info(&format!("{say} {by}: the clock is slewed"));
                None
            }
        }
    }

    /// Tells what is newly wrong, and what is so no longer.
    fn tell_troubles(&mut self, now: Duration, notices: &mut Vec<Notice>) {
        let missing = self.network.as_ref().map(Network::missing).unwrap_or_default();
        let troubles = trouble::all(&Facts {
            links: self.network.as_ref().map(|_| self.links.as_slice()),
            missing: &missing,
            clock: self.wrong.as_deref().filter(|_| !self.keeper.is_set()),
            keeper: &self.keeper,
            server: self.server.trouble(),
            awaits_url: self.system.awaits_url.as_deref(),
            names: self.system.network.dns.is_some() || !self.name_servers().is_empty(),
            began: self.began,
            now,
        });
        for new in troubles.iter().filter(|trouble| !self.troubles.contains(trouble)) {
            notices.push(Notice::Line(new.clone()));
        }
        // Another reason is no end of it.
        let reached = self.server.trouble().is_none();
        // That a time server has set the clock was told already.
        let of_clock = |trouble: &str| self.wrong.as_ref().is_some_and(|c| trouble.starts_with(c));
        let over = self.troubles.iter().filter(|trouble| !troubles.contains(trouble));
        for over in over.filter(|trouble| !of_clock(trouble)) {
            if !over.starts_with(UNREACHABLE) {
                notices.push(Notice::Line(format!("no longer: {over}")));
            } else if let Some(server) = self.system.server.as_ref().filter(|_| reached) {
                notices.push(Notice::Line(format!("the API server is reached again: {server}")));
            }
        }
        self.troubles = troubles;
        self.words_change = trouble::next_change(&self.links, self.began, now);
    }
}

/// A link's addresses on the screen.
fn describe(link: &LinkStatus) -> Option<(String, String)> {
    let addresses: Vec<String> =
        link.addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
    let gateways: String =
        link.gateways.iter().map(|gateway| format!(", gateway {gateway}")).collect();
    (!addresses.is_empty()).then(|| (link.name.clone(), addresses.join(", ") + &gateways))
}
