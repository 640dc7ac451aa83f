//! A router at the other end: what it says, what the node makes of that, and how it is asked.

use super::*;

/// A router advertisement with these flags, a prefix, name servers and a default route (RFC 4861,
/// RFC 8106).
pub(super) fn advertisement(flags: u8) -> Vec<u8> {
    let mut bytes = vec![134, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0]);
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([25, 5, 0, 0, 0, 0, 2, 88]);
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53]);
    bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes
}

/// The other end is a router that says `advertisement`, until it has come to this.
pub(super) fn hear(
    node: &mut Node,
    advertisement: &[u8],
    what: &str,
    is_so: impl Fn(&Node) -> bool,
) {
    // The router needs its link-local address, which the kernel checks for a second owner first.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::RAW,
        Some(rustix::net::ipproto::ICMPV6),
    )
    .expect("a raw socket");
    rustix::net::sockopt::set_ipv6_multicast_hops(&socket, 255).expect("set");
    let index = far_index();
    rustix::net::sockopt::set_ipv6_multicast_if(&socket, index).expect("set");
    let everyone = std::net::SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    let began = Instant::now();
    let mut due = began;
    while !is_so(node) {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:?}", node.lines);
        if due <= Instant::now() {
            // Refused until the address is there.
            let flags = rustix::net::SendFlags::empty();
            let _ = rustix::net::sendto(&socket, advertisement, flags, &everyone);
            due = Instant::now() + Duration::from_millis(200);
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        poll(&mut [PollFd::from_borrowed_fd(node.connectivity.fd(), PollFlags::IN)], Some(&tick))
            .expect("polled");
        node.turn();
    }
}

pub(super) fn a_router_gives_addresses() {
    // As on a node, where packets of pods are forwarded; links take part that appear later.
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("set");
    let _cable = Cable::new();
    let mut node = Node::new("[network.links.eth0]\ndhcp = false\n");
    hear(&mut node, &advertisement(0), "an address and name servers", |node| {
        node.said("eth0 has address 2001:db8:9:0:5054:ff:fe12:3456/64")
            && !node.read("resolv.conf").is_empty()
    });
    let names = "nameserver 2001:db8:9::53\nnameserver fe80::1%eth0\n";
    assert_eq!(node.read("resolv.conf"), names);
    let own: IpAddr = "2001:db8:9:0:5054:ff:fe12:3456".parse().unwrap();
    assert!(node.read("hosts").contains(&format!("{own} orlop-525400123456\n")));
    assert!(ip("-6 route show default dev eth0").contains("via fe80::"));

    // A process that is started again knows the names, and asks routers whether that is still so.
    let kept = node.connectivity.keep();
    drop(node);
    let heard = listen_for_solicitations();
    let mut node = Node::again("[network.links.eth0]\ndhcp = false\n", &kept);
    assert_eq!(node.read("resolv.conf"), names);
    let mut packet = [0; 64];
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    while packet[0] != ROUTER_SOLICITATION {
        let mut fds = [PollFd::new(&heard, PollFlags::IN)];
        assert!(poll(&mut fds, Some(&minute)).expect("polled") > 0, "routers are not asked");
        rustix::net::recv(&heard, &mut packet[..], rustix::net::RecvFlags::empty()).expect("read");
    }

    // A static link does not listen to routers, and forgets what it has heard.
    let off = "[network.links.eth0]\ndhcp = false\nslaac = false\n";
    let notices = node.connectivity.apply(System::parse(off).expect("good"));
    node.take(notices);
    assert!(node.said(&format!("eth0 has lost its address {own}")), "{:?}", node.lines);
    assert!(!ip("-6 address show eth0").contains("2001:db8:9"));
    assert_eq!(node.read("resolv.conf"), "");
}

const ROUTER_SOLICITATION: u8 = 133;

/// What all that are routers on the cable's other end hear from now on.
fn listen_for_solicitations() -> std::os::fd::OwnedFd {
    let protocol = Some(rustix::net::ipproto::ICMPV6);
    let (family, kind) = (rustix::net::AddressFamily::INET6, rustix::net::SocketType::RAW);
    let socket = rustix::net::socket(family, kind, protocol).expect("a raw socket");
    let routers = "ff02::2".parse().unwrap();
    rustix::net::sockopt::set_ipv6_add_membership(&socket, &routers, far_index()).expect("joined");
    socket
}
