//! Whether the API server can be reached: its name is resolved and a connection made, nothing is
//! said. What goes wrong after that (certificates, tokens) kubelet says itself.

use std::fmt;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::net::dns::{self, Unresolved};

/// For one connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried at most.
const ADDRESSES: usize = 3;
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// One connection costs little, and people wait to hear that it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A server waits for our first word much longer. One that has hung up by then has nobody behind
/// it: so do balancers and tunnels.
const HANGING_UP: Duration = Duration::from_secs(2);

/// How all that says why begins.
pub(super) const UNREACHABLE: &str = "the API server cannot be reached";

/// Why the API server cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// What the config names is no `HOST:PORT`.
    NoAddress(String),
    /// Its name has no address.
    Name(Unresolved),
    /// Nobody accepts connections there.
    Refused(SocketAddr),
    /// Connections end as soon as they are made.
    HangsUp(SocketAddr),
    /// Nothing comes back from there.
    Silent(SocketAddr),
    /// The network itself says no, for example that there is no route.
    Network(SocketAddr, String),
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNREACHABLE}: ")?;
        match self {
            Self::NoAddress(text) => write!(f, "`{text}` is no HOST:PORT"),
            Self::Name(unresolved) => unresolved.fmt(f),
            Self::Refused(address) => write!(f, "{address} refuses connections"),
            Self::HangsUp(address) => write!(f, "{address} ends connections at once"),
            Self::Silent(address) => write!(f, "{address} does not answer"),
            Self::Network(address, reason) => write!(f, "{address}: {reason}"),
        }
    }
}

/// Tries once; blocks for seconds.
///
/// # Errors
/// Why it cannot be reached, of the last address that was tried.
pub(super) fn reach(
    server: &str,
    search: &[String],
    servers: &[SocketAddr],
) -> Result<(), Unreachable> {
    let no_address = || Unreachable::NoAddress(server.to_owned());
    let (host, port) = server.rsplit_once(':').ok_or_else(no_address)?;
    let port: u16 = port.parse().map_err(|_| no_address())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = dns::resolve(host, search, servers).map_err(Unreachable::Name)?;
    let mut result = Err(no_address());
    for address in addresses.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(address, port);
        result = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(connection) if hangs_up(&connection) => Err(Unreachable::HangsUp(address)),
            Ok(_) => return Ok(()),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::ConnectionRefused => Unreachable::Refused(address),
                io::ErrorKind::TimedOut => Unreachable::Silent(address),
                _ => Unreachable::Network(address, error.to_string()),
            }),
        };
    }
    result
}

/// Whether the other end closes the connection without a word from us.
fn hangs_up(mut connection: &TcpStream) -> bool {
    if connection.set_read_timeout(Some(HANGING_UP)).is_err() {
        return false;
    }
    match connection.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// When to try: once when the network is there, again whenever somebody suspects that the server
/// is away, and then until it is back. Pure.
#[derive(Debug, Default)]
pub(super) struct Check {
    server: Option<String>,
    at: Option<Duration>,
    asking: bool,
    wait: Duration,
    trouble: Option<Unreachable>,
}

impl Check {
    /// This is the server now.
    pub(super) fn server(&mut self, now: Duration, server: Option<&String>) {
        if self.server.as_ref() != server {
            let at = server.is_some().then_some(now);
            *self = Self { server: server.cloned(), at, asking: self.asking, ..Self::default() };
        }
    }

    /// It may be away, or back.
    pub(super) fn suspect(&mut self, now: Duration) {
        if self.server.is_some() && !self.asking {
            self.at = Some(self.at.map_or(now, |at| at.min(now)));
        }
    }

    /// When [`Check::ask`] should be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.at.filter(|_| !self.asking)
    }

    /// The server to try, if it is time.
    pub(super) fn ask(&mut self, now: Duration) -> Option<String> {
        self.deadline().filter(|at| *at <= now)?;
        (self.at, self.asking) = (None, true);
        self.server.clone()
    }

    /// Takes the answer to [`Check::ask`].
    pub(super) fn answered(
        &mut self,
        now: Duration,
        server: &str,
        result: Result<(), Unreachable>,
    ) {
        self.asking = false;
        if self.server.as_deref() != Some(server) {
            return;
        }
        self.trouble = result.err();
        if self.trouble.is_some() {
            self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            self.at = Some(now + self.wait);
        } else {
            (self.wait, self.at) = (Duration::ZERO, None);
        }
    }

    /// Why it cannot be reached, as far as is known.
    pub(super) fn trouble(&self) -> Option<&Unreachable> {
        self.trouble.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

    use rustix::net::{self, AddressFamily, SocketType};

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_is_reached_or_the_reason_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        assert_eq!(reach(&address, &[], &[]), Ok(()));
        // A port that is taken and not listened on: nobody else can begin to.
        let held = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let closed = SocketAddrV4::try_from(net::getsockname(&held).expect("an address"));
        let closed = closed.expect("an IPv4 address").to_string();
        for (server, want) in [
            (closed.as_str(), format!("{closed} refuses connections")),
            ("api", "`api` is no HOST:PORT".to_owned()),
            ("api.lan:6443", "no name server is known".to_owned()),
        ] {
            let error = reach(server, &[], &[]).expect_err(server).to_string();
            assert_eq!(error, format!("the API server cannot be reached: {want}"));
        }
    }

    #[test]
    fn one_that_hangs_up_before_a_word_was_said_is_not_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("an address");
        let balancer = std::thread::spawn(move || drop(listener.accept().expect("a connection")));
        assert_eq!(reach(&address.to_string(), &[], &[]), Err(Unreachable::HangsUp(address)));
        balancer.join().expect("ended");
    }

    #[test]
    fn it_is_tried_until_it_is_there_and_then_only_on_suspicion() {
        let server = "192.0.2.1:6443".to_owned();
        let gone = || Err(Unreachable::Silent(SocketAddr::from(([192, 0, 2, 1], 6443))));
        let mut check = Check::default();
        check.suspect(at(0));
        assert_eq!(check.deadline(), None, "there is no server");
        check.server(at(1), Some(&server));
        let mut waits = Vec::new();
        let mut now = at(1);
        for _ in 0..6 {
            assert_eq!(check.ask(now).as_ref(), Some(&server));
            assert_eq!(check.ask(now), None, "one at a time");
            check.answered(now, &server, gone());
            let next = check.deadline().expect("again");
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 15, 15, 15, 15]);
        assert!(check.trouble().is_some());
        check.suspect(at(2000));
        assert!(check.deadline().is_some_and(|deadline| deadline <= now));
        check.ask(now);
        check.answered(now, &server, Ok(()));
        assert_eq!((check.trouble(), check.deadline()), (None, None));
        check.suspect(now);
        assert_eq!(check.deadline(), Some(now));
    }

    #[test]
    fn an_answer_about_an_earlier_server_does_not_count() {
        let (first, second) = ("a:1".to_owned(), "b:1".to_owned());
        let mut check = Check::default();
        check.server(at(1), Some(&first));
        check.ask(at(1));
        check.server(at(2), Some(&second));
        check.answered(at(3), &first, Err(Unreachable::NoAddress(first.clone())));
        assert_eq!(check.trouble(), None);
        assert_eq!(check.ask(at(3)), Some(second));
    }
}
