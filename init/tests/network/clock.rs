//! Time servers on the loopback address, and a clock that nobody lives by: that of the machine is not
//! the namespace's own.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::thread::JoinHandle;

use init::network::time::Clock;
use init::network::time::keeper::Change;
use init::time;

use super::{Cable, Node, Server};

/// And a bit, so that it is told as an hour.
const HOUR: i128 = 3_630_000_000_000;

/// What the clock was told to do.
static CHANGES: Mutex<Vec<Change>> = Mutex::new(Vec::new());

pub(crate) const CLOCK: Clock = Clock {
    floor: 0,
    is_set: false,
    change: |change| {
        CHANGES.lock().unwrap().push(*change);
        Ok(())
    },
};

/// A server whose clock is ahead by so much. Ends with the value.
struct TimeServer {
    socket: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    fn ahead(by: i128) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let own = socket.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || {
            let mut question = [0; 48];
            while let Ok((48, from)) = own.recv_from(&mut question) {
                // From 1900 on, 32 bits of seconds and of fraction.
                let now = (time::now() + by) * (1 << 32) / 1_000_000_000 + (2_208_988_800 << 32);
                let now = u64::try_from(now & i128::from(u64::MAX)).expect("64 bits").to_be_bytes();
                let mut answer = [0; 48];
                (answer[0], answer[1]) = (0x24, 1);
                answer[24..32].copy_from_slice(&question[40..]);
                answer[32..40].copy_from_slice(&now);
                answer[40..].copy_from_slice(&now);
                own.send_to(&answer, from).expect("sent");
            }
        });
        Self { socket, thread: Some(thread) }
    }

    fn name(&self) -> String {
        self.socket.local_addr().expect("an address").to_string()
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        let address = self.socket.local_addr().expect("an address");
        let _ = self.socket.send_to(b"end", address);
        self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) fn a_majority_sets_the_clock() {
    let _cable = Cable::new();
    let _server = Server::new(false);
    super::ip("link set lo up");
    CHANGES.lock().unwrap().clear();
    let [liar, first, second] = [5 * HOUR, HOUR, HOUR].map(TimeServer::ahead);
    let config = |servers: &[&TimeServer]| {
        let names: Vec<String> = servers.iter().map(|server| server.name()).collect();
        format!("[time]\nservers = {names:?}\n")
    };
    // Two that do not agree do nothing, whoever is right.
    let mut node = Node::new(&config(&[&liar, &first]));
    let apart = format!("the time servers do not agree: {}, {}", liar.name(), first.name());
    node.until("they do not agree", |node| node.said(&apart));
    assert_eq!(node.screen().problems, [apart.as_str()]);
    assert_eq!(*CHANGES.lock().unwrap(), []);

    let all = formats::system::System::parse(&config(&[&liar, &first, &second])).expect("good");
    let notices = node.connectivity.apply(all);
    node.take(notices);
    let set = |node: &Node| {
        let said = node.lines.iter().find(|line| line.starts_with("the clock was set by "));
        said.cloned()
    };
    node.until("the clock is set", |node| set(node).is_some());
    let said = set(&node).expect("said");
    assert!(said.starts_with("the clock was set by +60 minutes, as the time servers "), "{said}");
    assert!(!said.contains(&liar.name()), "{said}");
    let changes = CHANGES.lock().unwrap().clone();
    let [Change::Step { by, error }] = changes[..] else { panic!("{changes:?}") };
    assert!((by - HOUR).abs() <= error && error < 10 * 1_000_000_000, "{changes:?}");
    assert_eq!(node.screen().problems, [""; 0]);
}
