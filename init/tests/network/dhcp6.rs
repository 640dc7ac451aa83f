//! Networks whose routers leave addresses or names to DHCPv6: the router of the other tests, and a
//! server at the far end that knows one client.

use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::server::Running;
use super::*;

/// The first byte of a message.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REPLY: u8 = 7;
const DECLINE: u8 = 9;
const INFORM: u8 = 11;

const CONFIG: &str = "hostname = \"n1.example\"\n[network.links.eth0]\ndhcp = false\n";
/// Announced by the router without leave to make addresses of it; the server gives them.
const NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0);

/// What the server is told, and what it was asked.
#[derive(Default)]
struct Served {
    silent: bool,
    /// T1, in seconds; T2 is an hour.
    renewal: u32,
    /// The last byte of the address that it gives.
    host: u8,
    /// The kinds of the messages in order.
    asked: Vec<u8>,
    /// What the clients say that they are called (option 39).
    names: Vec<Vec<u8>>,
}

/// Ends with the value.
struct Server {
    served: Arc<Mutex<Served>>,
    _running: Running,
}

impl Server {
    fn new(served: Served) -> Self {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 547)).expect("bound");
        let servers = "ff02::1:2".parse().unwrap();
        socket.join_multicast_v6(&servers, far_index()).expect("joined");
        let served = Arc::new(Mutex::new(served));
        let shared = Arc::clone(&served);
        let running = Running::start(socket, move |socket| {
            let mut buffer = [0; 2048];
            let (length, from) = socket.recv_from(&mut buffer).expect("received");
            let mut served = shared.lock().unwrap();
            let answer = serve(&buffer[..length], &mut served);
            if !served.silent {
                // One to another client first, and one that is cut off.
                let mut other = answer.clone();
                other[13] ^= 1;
                for answer in [&other, &answer[..answer.len() - 1], &answer] {
                    socket.send_to(answer, from).expect("sent");
                }
            }
        });
        Self { served, _running: running }
    }

    fn asked(&self) -> Vec<u8> {
        self.served.lock().unwrap().asked.clone()
    }
}

/// The value of an option in a message of our client.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [0, code, 0, length, rest @ ..] = options {
        let value = &rest[..usize::from(*length)];
        if *code == wanted {
            return Some(value);
        }
        options = &rest[value.len()..];
    }
    None
}

/// The answer to a client's message.
fn serve(question: &[u8], served: &mut Served) -> Vec<u8> {
    let (head, options) = question.split_at(4);
    served.asked.push(head[0]);
    served.names.extend(option(options, 39).map(<[u8]>::to_vec));
    let mut answer = head.to_vec();
    answer[0] = if head[0] == SOLICIT { ADVERTISE } else { REPLY };
    // The client's DUID comes first.
    answer.extend(&options[..14]);
    answer.extend(b"\0\x02\0\x06server");
    if let Some(association) = option(options, 3).filter(|_| head[0] != DECLINE) {
        answer.extend([0, 3, 0, 40]);
        answer.extend(&association[..4]);
        answer.extend([served.renewal, 3600].map(u32::to_be_bytes).as_flattened());
        answer.extend([0, 5, 0, 24]);
        answer.extend(NETWORK.octets().split_last().expect("bytes").1);
        answer.push(served.host);
        answer.extend([3600_u32, 7200].map(u32::to_be_bytes).as_flattened());
    }
    answer.extend([0, 23, 0, 16]);
    answer.extend(NETWORK.octets().split_last().expect("bytes").1);
    answer.push(0x53);
    answer.extend(b"\0\x18\0\x05\x03lan\0");
    answer
}

/// What a router says that leaves these to DHCPv6, and nothing of name servers.
fn leaving(flags: u8) -> Vec<u8> {
    let mut bytes = advertisement(flags)[..48].to_vec();
    // A prefix that is not even on the link, of which nobody makes an address.
    bytes[19] = 0;
    bytes
}

const MANAGED: u8 = 0xc0;
const NAMES: u8 = 0x40;
const RESOLV_CONF: &str = "search lan\nnameserver 2001:db8:9::53\n";

pub(crate) fn a_managed_network_gives_an_address() {
    let _cable = Cable::new();
    let server = Server::new(Served { host: 0x77, ..Served::default() });
    let mut node = Node::new(CONFIG);
    hear(&mut node, &leaving(MANAGED), "an address", |node| {
        node.said("eth0 has address 2001:db8:9::77/128")
    });
    assert_eq!(node.read("resolv.conf"), RESOLV_CONF);
    assert!(node.read("hosts").contains("2001:db8:9::77 n1.example\n"));
    assert_eq!(node.connectivity.troubles(), [""; 0]);
    let shown = ip("-6 address show dev eth0 to 2001:db8:9::77");
    assert!(shown.contains("/128 scope global dynamic noprefixroute"), "{shown}");
    assert!(shown.contains("valid_lft 7") && shown.contains("preferred_lft 3"), "{shown}");
    let routes = ip("-6 route show dev eth0");
    assert!(!routes.contains("2001:db8:9:"), "nothing else is on the link: {routes}");
    assert!(routes.contains("default via fe80::"), "{routes}");
    let mut asked = server.asked();
    // A slow host asks again.
    asked.dedup();
    assert_eq!(asked, [SOLICIT, REQUEST]);
    let names = server.served.lock().unwrap().names.clone();
    assert!(names.iter().all(|name| name == b"\x01\x02n1"), "{names:?}");

    // A process that is started again knows who knows names before it has asked.
    let kept = node.connectivity.keep();
    drop(node);
    let mut node = Node::again(CONFIG, &kept);
    assert_eq!(node.read("resolv.conf"), RESOLV_CONF);

    // A static link does not listen to routers, and gives back what came of them.
    let off = format!("{CONFIG}slaac = false\n");
    let notices = node.connectivity.apply(System::parse(&off).expect("good"));
    node.take(notices);
    node.until("it is gone", |node| node.said("eth0 has lost its address 2001:db8:9::77"));
    assert_eq!(ip("-6 address show dev eth0 to 2001:db8:9::77"), "");
    assert_eq!(node.read("resolv.conf"), "");
    // The router says it no more, for nothing has changed; the kernel has told it before.
    node.lines.clear();
    let notices = node.connectivity.apply(System::parse(CONFIG).expect("good"));
    node.take(notices);
    node.until("it is back", |node| node.said("eth0 has address 2001:db8:9::77/128"));
}

pub(crate) fn an_address_of_dhcpv6_is_renewed() {
    let _cable = Cable::new();
    let server = Server::new(Served { host: 0x77, renewal: 1, ..Served::default() });
    let mut node = Node::new(CONFIG);
    hear(&mut node, &leaving(MANAGED), "an address", |node| {
        node.said("eth0 has address 2001:db8:9::77/128")
    });
    let renewals = || server.asked().iter().filter(|kind| **kind == RENEW).count();
    // Had one answer not been taken, the next question would come after ten seconds.
    node.until("renewed", |_| renewals() > 2);
    assert!(!node.said("eth0 has lost its address 2001:db8:9::77"), "{:?}", node.lines);
    // Another one beside it, which the server does not name any more: connections have it.
    server.served.lock().unwrap().host = 0x78;
    node.until("the other address", |node| node.said("eth0 has address 2001:db8:9::78/128"));
    assert!(!node.said("eth0 has lost its address 2001:db8:9::77"), "{:?}", node.lines);
    assert_ne!(ip("-6 address show dev eth0 to 2001:db8:9::77"), "");
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

pub(crate) fn a_lost_address_is_given_again() {
    let _cable = Cable::new();
    let server = Server::new(Served { host: 0x77, ..Served::default() });
    let mut node = Node::new(CONFIG);
    let (has, lost) =
        ("eth0 has address 2001:db8:9::77/128", "eth0 has lost its address 2001:db8:9::77");
    hear(&mut node, &leaving(MANAGED), "an address", |node| node.said(has));
    node.lines.clear();
    ip("-6 address del 2001:db8:9::77/128 dev eth0");
    node.until("it is lost", |node| node.said(lost));
    node.until("it is back", |node| node.said(has));
    let shown = ip("-6 address show dev eth0 to 2001:db8:9::77");
    assert!(shown.contains("/128 scope global dynamic noprefixroute"), "{shown}");
    assert!(shown.contains("valid_lft 7") && shown.contains("preferred_lft 3"), "{shown}");
    assert!(!server.asked().contains(&CONFIRM), "{:?}", server.asked());
    // The kernel takes away what has an end when a link is switched off.
    node.lines.clear();
    ip("link set eth0 down");
    node.until("it is lost", |node| node.said(lost));
    ip("link set eth0 up");
    node.until("it is back", |node| node.said(has));
    assert!(server.asked().contains(&CONFIRM), "{:?}", server.asked());
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

pub(crate) fn names_alone_are_asked_for() {
    let _cable = Cable::new();
    let server = Server::new(Served::default());
    let mut node = Node::new(CONFIG);
    hear(&mut node, &leaving(NAMES), "name servers", |node| {
        node.read("resolv.conf") == RESOLV_CONF
    });
    assert!(server.asked().iter().all(|kind| *kind == INFORM), "{:?}", server.asked());
    assert!(!ip("-6 address show dev eth0").contains("2001:"));
}

pub(crate) fn an_address_of_another_node_is_declined() {
    let _cable = Cable::new();
    let server = Server::new(Served { host: 0x77, ..Served::default() });
    ip("-6 address add 2001:db8:9::77/128 dev far0 nodad");
    let mut node = Node::new(CONFIG);
    hear(&mut node, &leaving(MANAGED), "it is declined", |_| server.asked().contains(&DECLINE));
    assert_eq!(ip("-6 address show dev eth0 to 2001:db8:9::77"), "");
    server.served.lock().unwrap().host = 0x78;
    node.until("another address", |node| node.said("eth0 has address 2001:db8:9::78/128"));
    assert!(!node.said("eth0 has address 2001:db8:9::77/128"), "{:?}", node.lines);
}

pub(crate) fn a_silent_server_is_named() {
    let _cable = Cable::new();
    let server = Server::new(Served { host: 0x77, silent: true, ..Served::default() });
    let mut node = Node::new(CONFIG);
    let line = "no DHCPv6 server gives an address on eth0, asked since second ";
    hear(&mut node, &leaving(MANAGED), "it is named", |node| {
        node.lines.iter().any(|said| said.starts_with(line))
    });
    let trouble = node.connectivity.troubles().concat();
    assert_eq!(node.screen().problems, [trouble.as_str()]);
    ip("link set far0 down");
    node.until("it is over", |node| node.said(&format!("no longer: {trouble}")));
    ip("link set far0 up");
    // The kernel does not tell of what has not changed.
    server.served.lock().unwrap().silent = false;
    hear(&mut node, &leaving(MANAGED), "it answers", |node| {
        node.said("eth0 has address 2001:db8:9::77/128")
    });
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}

/// What is never sent.
enum Never {}

/// dnsmasq as router and server at the far end. Ends with the value.
struct Dnsmasq {
    /// It is killed when this goes, by a thread that may: what becomes the unit sends no signals.
    stop: Option<Sender<Never>>,
    keeper: Option<JoinHandle<()>>,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Dnsmasq {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let mut command = Command::new("dnsmasq");
        command
            .args("--conf-file=/dev/null --pid-file= --user=root --keep-in-foreground".split(' '));
        command.args("--port=0 --interface=far0 --bind-dynamic --log-dhcp --enable-ra".split(' '));
        command.arg("--dhcp-range=2001:db8:9::77,2001:db8:9::77,64,1h");
        command.arg("--dhcp-option=option6:dns-server,[2001:db8:9::53]");
        command.arg("--dhcp-option=option6:domain-search,lan");
        command.arg(format!("--dhcp-leasefile={}", directory.path().join("leases").display()));
        command.arg(format!("--log-facility={}", log.display()));
        let mut child = command.spawn().expect("dnsmasq, which `cargo xtask setup` installs");
        let (stop, stopped) = channel::<Never>();
        let keeper = std::thread::spawn(move || {
            let _ = stopped.recv();
            let _ = child.kill();
            let _ = child.wait();
        });
        Self { stop: Some(stop), keeper: Some(keeper), log, _directory: directory }
    }

    fn said(&self, word: &str) -> bool {
        self.count(word) > 0
    }

    fn count(&self, word: &str) -> usize {
        fs::read_to_string(&self.log).map_or(0, |log| log.matches(word).count())
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.stop = None;
        self.keeper.take().map(JoinHandle::join);
    }
}

/// Whatever we think of both ends, this one is not ours.
pub(crate) fn dnsmasq_gives_an_address() {
    let _cable = Cable::new();
    fs::write("/proc/sys/net/ipv6/conf/far0/keep_addr_on_down", "1").expect("set");
    ip("-6 address add 2001:db8:9::1/64 dev far0 nodad");
    let dnsmasq = Dnsmasq::new();
    let mut node = Node::new(CONFIG);
    node.until("an address", |node| node.said("eth0 has address 2001:db8:9::77/128"));
    assert_eq!(node.read("resolv.conf"), RESOLV_CONF);
    assert!(dnsmasq.said("DHCPREPLY(far0) 2001:db8:9::77"));
    assert!(dnsmasq.said(" n1"), "it has our name");
    ip("link set far0 down");
    node.until("the cable is out", |node| node.said("eth0 is not connected any more"));
    ip("link set far0 up");
    node.until("it is asked whether the address is good", |_| dnsmasq.said("DHCPCONFIRM(far0)"));
    // Nothing is due before the address is renewed: the answer was understood, for without one the
    // question would be asked four times.
    let far = || init::clock::monotonic() + Duration::from_secs(900);
    node.until("it is bound", |node| node.connectivity.next_deadline().is_none_or(|at| at > far()));
    assert!(dnsmasq.count("DHCPCONFIRM(far0)") < 4);
    assert!(!node.said("eth0 has lost its address 2001:db8:9::77"), "{:?}", node.lines);
    assert!(ip("-6 address show dev eth0 to 2001:db8:9::77").contains("/128 scope global dynamic"));
    assert_eq!(node.connectivity.troubles(), [""; 0]);
}
