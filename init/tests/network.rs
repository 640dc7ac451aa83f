//! The network with the real kernel: links, addresses and routes in a network namespace of its
//! own, with a router and DHCP servers at the other end of a virtual cable. Nothing leaves the
//! namespace.
//!
//! The namespace is this process's from its first thread on, so it cannot share one with other
//! tests; who is not root gets a user namespace around it.
#![expect(clippy::disallowed_methods, reason = "sets up and reads its own namespace with ip(8)")]

use std::cell::Cell;
use std::fs;
use std::net::IpAddr;
use std::panic::{catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use formats::system::System;
use init::connectivity::{Connectivity, Kept, Notice, Start};
use init::message::View;
use init::net::{self, Places};
use init::pid1::built_in::{self, BuiltIn};
use init::sandbox::Prepared;
use init::sys::packet;
use init::unit::Sandbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[path = "network/clock.rs"]
mod clock;
#[path = "network/dhcp.rs"]
mod dhcp;
#[path = "network/dhcp6.rs"]
mod dhcp6;
#[path = "network/namespace.rs"]
mod namespace;
#[path = "network/router.rs"]
mod router;
#[path = "network/server.rs"]
mod server;

use dhcp::Server;
use router::{advertisement, hear};

fn main() -> ExitCode {
    let tests: &[(&str, fn())] = &[
        ("a_link_gets_what_dhcp_offers", a_link_gets_what_dhcp_offers),
        ("a_lease_is_renewed_by_its_server", a_lease_is_renewed_by_its_server),
        ("a_refused_renewal_is_heard_at_once", a_refused_renewal_is_heard),
        ("a_server_that_refuses_what_it_offers_is_asked_in_peace", who_refuses_is_asked_in_peace),
        ("the_kernel_drops_what_is_no_answer_of_a_dhcp_server", the_kernel_drops_the_rest),
        (
            "a_process_that_is_killed_leaves_its_address_to_the_next",
            the_next_process_has_the_address,
        ),
        ("a_lease_without_a_time_is_taken", a_lease_without_a_time_is_taken),
        ("static_addresses_need_no_server", static_addresses_need_no_server),
        ("settings_change_at_run_time", settings_change_at_run_time),
        ("a_silent_server_is_named_until_it_answers", a_silent_server_is_named),
        ("what_is_missing_is_told_in_time", what_is_missing_is_told_in_time),
        ("a_link_that_goes_and_comes_back", a_link_that_goes_and_comes_back),
        ("a_router_gives_addresses_and_name_servers", router::a_router_gives_addresses),
        ("a_managed_network_gives_an_address", dhcp6::a_managed_network_gives_an_address),
        ("an_address_of_dhcpv6_is_renewed", dhcp6::an_address_of_dhcpv6_is_renewed),
        ("an_address_of_dhcpv6_that_is_lost_is_given_again", dhcp6::a_lost_address_is_given_again),
        ("where_only_names_are_left_to_it_only_they_are_asked", dhcp6::names_alone_are_asked_for),
        ("an_address_of_another_node_is_declined", dhcp6::an_address_of_another_node_is_declined),
        ("a_silent_dhcpv6_server_is_named", dhcp6::a_silent_server_is_named),
        ("a_majority_of_time_servers_sets_the_clock", clock::a_majority_sets_the_clock),
        ("dnsmasq_gives_an_address_and_confirms_it", dhcp6::dnsmasq_gives_an_address),
    ];
    namespace::main(tests)
}

/// From now on this thread has the capabilities and the system calls of the unit `network`, and so has
/// what it starts, but not [`Outside`].
fn become_the_unit() {
    thread_local!(static IS_UNIT: Cell<bool> = const { Cell::new(false) });
    if IS_UNIT.replace(true) {
        return;
    }
    OUTSIDE.with(|_| ());
    let mut units = built_in::units().expect("good").into_iter();
    let unit = units.find(|unit| unit.built_in == Some(BuiltIn::Network)).unwrap();
    let sandbox = Sandbox { private_tmp: false, visible: None, writable: None, ..unit.sandbox };
    let (mut prepared, _) = Prepared::new(&sandbox).expect("a pipe");
    prepared.enter().expect("confined");
}

/// What a thread does that stays what it was: ip(8) asks the kernel by `sendmsg`, which the unit may
/// not call.
struct Outside(Sender<Question>);

/// The arguments of ip(8), and where its answer goes.
type Question = (String, Sender<std::thread::Result<String>>);

thread_local!(static OUTSIDE: Outside = Outside::start());

impl Outside {
    fn start() -> Self {
        let (questions, asked) = channel::<Question>();
        std::thread::spawn(move || {
            for (arguments, answer) in asked {
                // Nobody waits for it any more when this fails.
                let _ = answer.send(catch_unwind(|| namespace::run("ip", &arguments)));
            }
        });
        Self(questions)
    }

    fn ip(&self, arguments: &str) -> std::thread::Result<String> {
        let (answer, answered) = channel();
        self.0.send((arguments.to_owned(), answer)).expect("it takes questions");
        answered.recv().expect("it answers")
    }
}

/// Runs ip(8) and gives what it says.
fn ip(arguments: &str) -> String {
    OUTSIDE.with(|outside| outside.ip(arguments)).unwrap_or_else(|panic| resume_unwind(panic))
}

/// A virtual cable: `eth0` is ours, `far0` the other end. Gone with the value.
struct Cable;

impl Cable {
    fn new() -> Self {
        ip(
            "link add eth0 address 52:54:00:12:34:56 type veth peer name far0 address 52:54:00:09:08:01",
        );
        ip("link set far0 up");
        Self
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = OUTSIDE.with(|outside| outside.ip("link delete far0"));
    }
}

/// A node's network with directories of its own.
struct Node {
    directory: tempfile::TempDir,
    connectivity: Connectivity,
    lines: Vec<String>,
    up: bool,
}

impl Node {
    fn new(config: &str) -> Self {
        Self::again(config, &[])
    }

    /// As a new process, with what an earlier one has kept.
    fn again(config: &str, kept: &[String]) -> Self {
        become_the_unit();
        let directory = tempfile::tempdir().expect("a directory");
        let class_net = directory.path().join("class");
        // A veth hangs on no device: here it does.
        fs::create_dir_all(class_net.join("eth0/device")).expect("made");
        let places = Places { class_net, ..Places::default() };
        let system = System::parse(config).expect("good");
        let kept = Kept::of(kept);
        let network = net::start(places, &system, kept.network).expect("a network");
        let connectivity = Connectivity::new(Start {
            etc: directory.path().to_owned(),
            system,
            network: Some(network),
            wrong: None,
            clock: clock::CLOCK,
            known: kept.clock,
            hostname: kept.hostname,
            set_hostname: |_| Ok(()),
        });
        let connectivity = connectivity.expect("descriptors");
        let mut node = Self { directory, connectivity, lines: Vec::new(), up: false };
        node.turn();
        node
    }

    fn turn(&mut self) {
        let notices = self.connectivity.turn();
        self.take(notices);
    }

    fn take(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Line(line) => self.lines.push(line),
                Notice::Up => self.up = true,
                Notice::Mark(_) => {}
            }
        }
    }

    /// Runs as the event loop does until it is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:#?}", self.lines);
            let due = self.connectivity.next_deadline().unwrap_or(Duration::MAX);
            let wait = due.saturating_sub(init::clock::monotonic()).min(Duration::from_secs(60));
            let wait = Timespec::try_from(wait).expect("short");
            let mut fds = [PollFd::from_borrowed_fd(self.connectivity.fd(), PollFlags::IN)];
            let readable = poll(&mut fds, Some(&wait)).expect("polled") > 0;
            // Asked again, as the event loop does.
            let due = self.connectivity.next_deadline().unwrap_or(Duration::MAX);
            if readable || due <= init::clock::monotonic() {
                self.turn();
            }
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("written")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn said(&self, line: &str) -> bool {
        self.lines.iter().any(|said| said == line)
    }

    fn screen(&self) -> View {
        self.connectivity.view()
    }

    /// Of the one link, on the screen.
    fn shown(&self) -> String {
        let addresses = self.screen().addresses;
        let [(link, text)] = &addresses[..] else { panic!("{addresses:?}") };
        format!("{link} {text}")
    }
}

fn a_link_gets_what_dhcp_offers() {
    let _cable = Cable::new();
    let server = Server::new(false);
    let mut node = Node::new("");
    assert!(node.read("hosts").ends_with("127.0.1.1 orlop-525400123456\n"), "while it waits");
    node.until("it is up", |node| node.up);
    assert!(node.said("eth0 is connected") && node.said("eth0 has address 10.9.8.7/24"));
    assert_eq!(node.read("hosts"), "127.0.0.1 localhost\n::1 localhost\n10.9.8.7 worker\n");
    assert_eq!(node.read("resolv.conf"), "search lan\nnameserver 10.9.8.3\n");
    let screen = node.screen();
    assert_eq!(screen.hostname, "worker");
    assert_eq!(node.shown(), "eth0 10.9.8.7/24, gateway 10.9.8.1");
    assert!(ip("-4 address show eth0").contains("mtu 1400"));
    assert!(ip("-4 address show eth0").contains("inet 10.9.8.7/24 brd 10.9.8.255"));
    assert!(ip("-4 route").contains("default via 10.9.8.1 dev eth0"), "{}", ip("-4 route"));
    let mut asked = server.served.lock().unwrap().asked.clone();
    // A slow host asks again.
    asked.dedup();
    assert_eq!(asked, [1, 3]);
}

fn a_lease_is_renewed_by_its_server() {
    let _cable = Cable::new();
    let server = Server::new(false);
    server.served.lock().unwrap().renewal = Some(1);
    let mut node = Node::new("");
    node.until("it is up", |node| node.up);
    // Both ends are in one namespace, so nobody answers for the server's address.
    ip("neigh replace 10.9.8.1 lladdr 52:54:00:09:08:01 dev eth0 nud permanent");
    // More than an offer is asked for on a slow host. Had one answer not been taken, the next
    // question would come after a minute.
    let requests = || server.served.lock().unwrap().asked.iter().filter(|kind| **kind == 3).count();
    node.until("renewed", |_| requests() > 5);
    assert!(ip("-4 address show eth0").contains("inet 10.9.8.7/24"));
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

/// A server that has lost its list refuses a renewal to everyone on the link, not to the address.
fn a_refused_renewal_is_heard() {
    let _cable = Cable::new();
    let server = Server::new(false);
    server.served.lock().unwrap().renewal = Some(1);
    let mut node = Node::new("hostname = \"n1.example\"");
    node.until("it is up", |node| node.up);
    ip("neigh replace 10.9.8.1 lladdr 52:54:00:09:08:01 dev eth0 nud permanent");
    server.served.lock().unwrap().host = 8;
    // Had the refusal not been heard, the server would be asked again after a minute, and
    // everybody else long after.
    node.until("the other address", |node| node.said("eth0 has address 10.9.8.8/24"));
    assert!(node.said("eth0 has lost its address 10.9.8.7"), "{:?}", node.lines);
    let mut names = server.served.lock().unwrap().names.clone();
    names.dedup();
    assert_eq!(names, ["n1"], "the server is told who asks");
}

fn who_refuses_is_asked_in_peace() {
    let _cable = Cable::new();
    let server = Server::new(false);
    server.served.lock().unwrap().refuses = true;
    let began = Instant::now();
    let mut node = Node::new("");
    // The first refusal is free, then there are pauses of a second and of two, or a quarter less.
    let asked = || server.served.lock().unwrap().asked.len();
    node.until("it was asked eight times", |_| asked() >= 8);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    server.served.lock().unwrap().refuses = false;
    node.until("it is up", |node| node.up && node.said("eth0 has address 10.9.8.7/24"));
}

fn the_kernel_drops_the_rest() {
    let _cable = Cable::new();
    ip("link set eth0 up");
    let index = |name: &str| {
        let line = ip(&format!("-o link show {name}"));
        line.split(':').next().expect("an index").parse::<u32>().expect("a number")
    };
    let (own, far) = (index("eth0"), index("far0"));
    let ours = packet::open(own, 68).expect("a packet socket");
    let sender = packet::open(far, 67).expect("a packet socket");
    let datagram = |changes: &[(usize, u8)]| {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 8, 1];
        packet.extend([255, 255, 255, 255, 0, 67, 0, 68, 0, 12, 0, 0, 0, 0, 0, 0]);
        changes.iter().for_each(|(at, value)| packet[*at] = *value);
        packet
    };
    let rest: &[&[(usize, u8)]] = &[&[(23, 67)], &[(22, 1)], &[(9, 6)], &[(6, 0x20)], &[(7, 9)]];
    for changes in rest {
        packet::broadcast(&sender, far, &datagram(changes)).expect("sent");
    }
    // Its options are ours to read: the port is behind them.
    let mut long = datagram(&[(0, 0x46), (3, 36)]);
    long.splice(20..20, [1; 4]);
    let ours_to_read = [datagram(&[]), long];
    for packet in &ours_to_read {
        packet::broadcast(&sender, far, packet).expect("sent");
    }
    for want in &ours_to_read {
        let mut fds = [PollFd::new(&ours, PollFlags::IN)];
        let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&minute)).expect("polled"), 1, "it comes");
        let mut buffer = [0; 64];
        let flags = rustix::net::RecvFlags::empty();
        let (length, _) = rustix::net::recv(&ours, &mut buffer[..], flags).expect("read");
        assert_eq!(&buffer[..length], want);
    }
}

fn the_next_process_has_the_address() {
    let _cable = Cable::new();
    let server = Server::new(false);
    let mut first = Node::new("");
    first.until("it is up", |node| node.up);
    let kept = first.connectivity.keep();
    drop(first);
    let since = || ip("-o -4 address show eth0");
    let before = since();
    server.served.lock().unwrap().asked.clear();

    // Its name and name server are there before anybody has answered.
    let mut second = Node::again("", &kept);
    assert_eq!(second.read("hosts"), "127.0.0.1 localhost\n::1 localhost\n10.9.8.7 worker\n");
    assert_eq!(second.read("resolv.conf"), "search lan\nnameserver 10.9.8.3\n");
    assert_eq!(second.shown(), "eth0 10.9.8.7/24, gateway 10.9.8.1");
    second.until("the server confirms it", |_| {
        server.served.lock().unwrap().asked.first() == Some(&3)
    });
    second.until("it is up", |node| node.up);
    assert_eq!(since(), before);
    assert!(!second.said("eth0 has lost its address 10.9.8.7"), "{:?}", second.lines);

    // The server has another one for the third, which gives the first one up.
    let kept = second.connectivity.keep();
    drop(second);
    server.served.lock().unwrap().host = 8;
    let mut third = Node::again("", &kept);
    third.until("the other address", |node| node.said("eth0 has address 10.9.8.8/24"));
    assert!(third.said("eth0 has lost its address 10.9.8.7"), "{:?}", third.lines);
    assert!(!ip("-4 address show eth0").contains("10.9.8.7"));
    assert_eq!(third.screen().hostname, "worker");
    // One whose config has no DHCP any more takes away what the one before it has got.
    let kept = third.connectivity.keep();
    drop(third);
    let _fourth = Node::again("[network.links.eth0]\ndhcp = false\n", &kept);
    assert!(!ip("-4 address show eth0").contains("10.9.8.8"));
}

fn a_lease_without_a_time_is_taken() {
    let _cable = Cable::new();
    let server = Server::new(false);
    server.served.lock().unwrap().timeless = true;
    let mut node = Node::new("[network]\ndns = []\nsearch = []\n");
    node.until("it is up", |node| node.up);
    assert!(node.said("eth0 has address 10.9.8.7/24"), "{:?}", node.lines);
    assert_eq!(node.read("resolv.conf"), "", "the config says that there is none");
    assert!(server.served.lock().unwrap().names.is_empty(), "the config names nobody");
}

const STATIC: &str = "hostname = \"n1\"\n[network]\ndns = [\"192.0.2.53\"]\nsearch = [\"a.b\"]\n\
    [network.links.uplink]\nmac = \"52:54:00:12:34:56\"\ndhcp = false\nslaac = false\n\
    addresses = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\n\
    gateways = [\"192.0.2.1\", \"2001:db8::1\"]\nmtu = 1300\n\
    routes = [{ to = \"10.96.0.0/12\", via = \"192.0.2.9\" }, { to = \"198.51.100.0/24\", metric = 7 }, \
    { to = \"2001:db8:9::/48\", via = \"2001:db8:77::9\" }]\n";

fn static_addresses_need_no_server() {
    let _cable = Cable::new();
    let server = Server::new(false);
    let mut node = Node::new(STATIC);
    // The kernel looks for a second owner of an IPv6 address before it may be used.
    node.until("IPv6 is checked", |node| node.said("eth0 has address 2001:db8::10/64"));
    assert!(node.up && node.said("eth0 has address 192.0.2.10/24"));
    assert_eq!(
        node.read("hosts"),
        "127.0.0.1 localhost\n::1 localhost\n192.0.2.10 n1\n2001:db8::10 n1\n"
    );
    assert_eq!(node.read("resolv.conf"), "search a.b\nnameserver 192.0.2.53\n");
    assert!(ip("-4 route").contains("default via 192.0.2.1 dev eth0"));
    assert!(ip("-6 route").contains("default via 2001:db8::1 dev eth0"), "{}", ip("-6 route"));
    let routes = ip("-4 route");
    let index = ip("-o link show eth0").split(':').next().expect("an index").to_owned();
    let metric = 100 + index.parse::<u32>().expect("a number");
    for want in [
        format!("10.96.0.0/12 via 192.0.2.9 dev eth0 proto static src 192.0.2.10 metric {metric}"),
        "198.51.100.0/24 dev eth0 proto static scope link src 192.0.2.10 metric 7".to_owned(),
    ] {
        assert!(routes.contains(&want), "{routes}");
    }
    let routes = ip("-6 route");
    assert!(routes.contains("2001:db8:9::/48 via 2001:db8:77::9 dev eth0"), "{routes}");
    assert!(ip("link show eth0").contains("mtu 1300"));
    let conf = |key| fs::read_to_string(format!("/proc/sys/net/ipv6/conf/eth0/{key}")).unwrap();
    assert_eq!((conf("accept_ra").as_str(), conf("autoconf").as_str()), ("0\n", "0\n"));
    assert_eq!(server.served.lock().unwrap().asked, [0_u8; 0], "nobody was asked");
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

fn settings_change_at_run_time() {
    let _cable = Cable::new();
    let _server = Server::new(false);
    let mut node = Node::new(STATIC);
    node.until("IPv6 is checked", |node| node.said("eth0 has address 2001:db8::10/64"));
    let both = STATIC.replace("dhcp = false", "dhcp = true").replace("\"192.0.2.1\", ", "");
    let notices = node.connectivity.apply(System::parse(&both).expect("good"));
    node.take(notices);
    node.until("DHCP answers", |node| node.said("eth0 has address 10.9.8.7/24"));
    assert!(!node.said("eth0 has lost its address 192.0.2.10"), "{:?}", node.lines);
    let routes = ip("-4 route");
    assert!(routes.contains("default via 10.9.8.1 dev eth0"), "{routes}");
    assert!(!routes.contains("via 192.0.2.1 "), "{routes}");
    assert!(routes.contains("10.96.0.0/12 via 192.0.2.9"), "what stays is not touched: {routes}");
    assert_eq!(node.screen().hostname, "n1", "the config's, whatever DHCP says");

    let notices = node.connectivity.apply(System::parse("hostname = \"n2\"").expect("good"));
    node.take(notices);
    assert!(node.said("eth0 has lost its address 192.0.2.10"));
    node.until("the other is gone", |node| node.said("eth0 has lost its address 2001:db8::10"));
    assert!(!node.said("eth0 has lost its address 10.9.8.7"), "DHCP stays: {:?}", node.lines);
    assert!(!ip("-6 route").contains("2001:db8::1"), "{}", ip("-6 route"));
    assert!(!ip("-4 route").contains("10.96.0.0/12"), "{}", ip("-4 route"));
    assert_eq!(node.read("hosts"), "127.0.0.1 localhost\n::1 localhost\n10.9.8.7 n2\n");
}

fn a_silent_server_is_named() {
    let _cable = Cable::new();
    let server = Server::new(true);
    let mut node = Node::new("");
    node.until("it is named", |node| !node.connectivity.troubles().is_empty());
    let trouble = node.connectivity.troubles()[0].clone();
    assert!(trouble.starts_with("no DHCP server gives an address on eth0, asked since second "));
    assert_eq!(node.screen().problems, [trouble.as_str()]);
    assert_eq!(node.screen().hostname, "orlop-525400123456");
    assert!(!node.up, "the name may still come");
    server.served.lock().unwrap().silent = false;
    node.until("it answers", |node| node.up);
    assert!(node.said(&format!("no longer: {trouble}")), "{:?}", node.lines);
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

/// Nothing but time passes here: no packet and no link wakes anybody.
fn what_is_missing_is_told_in_time() {
    let mut node = Node::new("[network.links.lan1]\ndhcp = false\n");
    let none = "there is no network link: no card, or no driver for it";
    node.until("it is told", |node| node.said(none));
    assert!(node.up, "nobody waits for a link that is not there");
    let missing = "the node config is about the link `lan1`, and there is no such link";
    assert_eq!(node.connectivity.troubles(), [none, missing]);
}

fn a_link_that_goes_and_comes_back() {
    let cable = Cable::new();
    let server = Server::new(false);
    let mut node = Node::new("");
    node.until("it is up", |node| node.up);
    drop(server);
    drop(cable);
    node.until("it is gone", |node| node.said("eth0 has lost its address 10.9.8.7"));
    assert_eq!(node.screen().addresses.len(), 0);
    assert!(node.read("hosts").ends_with("127.0.1.1 worker\n"), "the name stays");
    node.lines.clear();
    let _cable = Cable::new();
    let _server = Server::new(false);
    node.until("it is back", |node| node.said("eth0 has address 10.9.8.7/24"));
    // Out and in again: the same address is asked for, and kept meanwhile.
    node.lines.clear();
    ip("link set far0 down");
    node.until("the cable is out", |node| node.said("eth0 is not connected any more"));
    assert_eq!(node.shown(), "eth0 10.9.8.7/24, gateway 10.9.8.1");
    ip("link set far0 up");
    node.until("the cable is in", |node| node.said("eth0 is connected"));
    assert!(!node.said("eth0 has lost its address 10.9.8.7"), "{:?}", node.lines);
}

fn far_index() -> u32 {
    let text = ip("-o link show far0");
    text.split(':').next().expect("an index").parse().expect("a number")
}
