//! What a link is, and what one turn of it does.

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

/// One turn of a link with all these sockets.
#[test]
fn a_turn_reads_no_more_than_it_may_of_what_floods_the_link() {
    let link = netlink::Link::default();
    let mut wired = Wired::new(&link, [2; 6], 1, Settings::default(), None);
    let socket = |at: &str| {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let four = [socket("127.0.0.1:0"), socket("127.0.0.1:0")];
    let link = socket("127.0.0.1:0");
    let own_link = link.local_addr().unwrap();
    let six = socket("[::1]:0");
    let (own, far) = (six.local_addr().unwrap(), UdpSocket::bind("[::1]:0").unwrap());
    let (own4, far4) = (four[0].local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    for _ in 0..=TURN {
        far.send_to(b"?", own).unwrap();
        far4.send_to(b"?", own4).unwrap();
        far4.send_to(b"?", own_link).unwrap();
    }
    (wired.port, wired.port6) = (Some((Ipv4Addr::LOCALHOST, four)), Some(six));
    wired.packets = Some(link.into());
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut requests = Requests::open().unwrap();
    let (ipv6, hostname, now) = (Path::new(""), None, Duration::ZERO);
    let mut kernel = Kernel { epoll: &epoll, requests: &mut requests, ipv6, hostname, now };
    assert_eq!(wired.receive(&mut kernel), []);
    let (_, [port, _]) = wired.port.as_ref().unwrap();
    assert!(port.recv(&mut [0]).is_ok(), "one is left");
    assert!(port.recv(&mut [0]).is_err(), "one is left");
    let port = wired.port6.as_ref().unwrap();
    assert!(port.recv(&mut [0]).is_ok(), "one is left");
    assert!(port.recv(&mut [0]).is_err(), "one is left");
    let packets = wired.packets.as_ref().unwrap();
    let read = || recv(packets, &mut [0_u8; 1][..], RecvFlags::empty()).is_ok();
    assert_eq!([read(), read()], [true, false], "one is left");
}

#[test]
fn what_was_given_is_taken_back_by_its_removal() {
    let address = Query::Address {
        link: 2,
        address: Ipv4Addr::new(10, 0, 2, 15).into(),
        prefix: 24,
        change: netlink::Change::Add,
    };
    assert!(!is_removal(&address) && is_removal(&removal(address)));
}

/// Routers that say nothing are not waited for for ever.
#[test]
fn what_an_earlier_run_knew_of_names_counts_for_a_minute_or_until_it_is_taken_back() {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut requests = Requests::open().unwrap();
    let (ipv6, hostname, now) = (Path::new(""), None, SECOND);
    let mut kernel = Kernel { epoll: &epoll, requests: &mut requests, ipv6, hostname, now };
    let [first, second]: [Ipv6Addr; 2] = ["2001:db8::53", "fe80::1"].map(|a| a.parse().unwrap());
    let names = Names { servers: vec![first, second], search: vec!["lan".to_owned()] };
    let slaac = || Settings { slaac: true, ..Settings::default() };
    let begun = |settings, kernel: &mut Kernel<'_>| {
        let mut wired = Wired::new(&netlink::Link::default(), [2; 6], 1, settings, None);
        wired.begin(names.clone(), kernel);
        wired
    };
    let deaf = begun(Settings { slaac: false, ..slaac() }, &mut kernel);
    assert_eq!((deaf.known(), deaf.deadline()), (Before::default(), None));

    let mut wired = begun(slaac(), &mut kernel);
    assert_eq!(wired.known(), Before { lease: None, names: names.clone() });
    let status = wired.status();
    assert_eq!((status.dns.len(), status.search), (2, names.search.clone()));
    let taken_back = NameServers { link: 0, lifetime: 0, servers: vec![second] };
    wired.router_says(&taken_back, SECOND);
    assert_eq!(wired.known().names.servers, [first]);
    // One that is announced anew counts once, and for as long as the router says.
    let announced = NameServers { lifetime: 600, servers: vec![first], ..taken_back };
    wired.router_says(&announced, SECOND);
    assert_eq!(wired.known().names.servers, [first]);
    kernel.now = ASKED_ANEW;
    wired.timer(&mut kernel);
    assert_eq!(wired.known().names.search, names.search);
    kernel.now += SECOND;
    wired.timer(&mut kernel);
    assert_eq!(wired.known().names, Names { servers: vec![first], search: Vec::new() });
}

/// The kernel lists what it has heard long ago as well.
#[test]
fn routers_are_asked_until_one_speaks_whatever_the_kernel_knows_of_them() {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut requests = Requests::open().unwrap();
    let (ipv6, hostname, now) = (Path::new(""), None, SECOND);
    let mut kernel = Kernel { epoll: &epoll, requests: &mut requests, ipv6, hostname, now };
    let settings = Settings { slaac: true, ..Settings::default() };
    let mut wired = Wired::new(&netlink::Link::default(), [2; 6], 1, settings, None);
    wired.carrier(true, &mut kernel);
    for news in [true, false] {
        assert_eq!(wired.router_leaves(false, true, &mut kernel), news);
        assert!(wired.asks_routers());
    }
    wired.router_has_spoken();
    assert!(!wired.asks_routers());
}
