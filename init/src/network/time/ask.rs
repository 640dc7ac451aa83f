//! The exchange with time servers; it waits, so it runs in a thread of its own.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::sntp::{self, LENGTH, Refusal, Reply};
use crate::net::{self, dns};
use crate::time;

/// For one answer of one address.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses of one name that are asked at most.
const ADDRESSES: usize = 2;

/// What a server's clock says of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// As the config or DHCP names it.
    pub server: String,
    /// How far our clock is behind, in nanoseconds.
    pub offset: i128,
}

/// Why a server did not tell the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// As the config or DHCP names it.
    pub server: String,
    /// The reason, for people.
    pub reason: String,
    /// It must not be asked again.
    pub for_good: bool,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.server, self.reason)
    }
}

/// Asks the servers one after another until one tells the time.
///
/// # Errors
/// The reason of each.
pub fn ask(
    servers: &[String],
    search: &[String],
    resolvers: &[SocketAddr],
) -> Result<Measurement, Vec<Silence>> {
    let mut silences = Vec::new();
    for server in servers {
        let silence =
            |reason: String, for_good: bool| Silence { server: server.clone(), reason, for_good };
        let (host, port) = host_and_port(server);
        let addresses = match dns::resolve(host, search, resolvers) {
            Ok(addresses) => addresses,
            Err(error) => {
                silences.push(silence(format!("has no address: {error}"), false));
                continue;
            }
        };
        for address in addresses.into_iter().take(ADDRESSES) {
            match exchange(SocketAddr::new(address, port), PATIENCE) {
                Ok(Ok(offset)) => return Ok(Measurement { server: server.clone(), offset }),
                Ok(Err(refusal)) => {
                    let for_good = matches!(refusal, Refusal::Kiss([b'D', ..] | [b'R', b'S', ..]));
                    silences.push(silence(refusal.to_string(), for_good));
                }
                Err(error) if is_timeout(&error) => {
                    silences.push(silence("does not answer".to_owned(), false));
                }
                Err(error) => silences.push(silence(error.to_string(), false)),
            }
        }
    }
    Err(silences)
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`, as `formats::node_config` has let through.
fn host_and_port(server: &str) -> (&str, u16) {
    let alone = (server, sntp::PORT);
    if server.parse::<IpAddr>().is_ok() {
        return alone;
    }
    let Some((host, port)) = server.rsplit_once(':') else { return alone };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    port.parse().map_or(alone, |port| (host, port))
}

/// One question to one address: how far our clock is behind.
fn exchange(server: SocketAddr, patience: Duration) -> io::Result<Result<i128, Refusal>> {
    let own: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
    socket.connect(server)?;
    let nonce = net::random()?;
    // Another thread may set the clock meanwhile; how long we wait must not depend on it.
    let (asked, began) = (time::now(), Instant::now());
    socket.send(&sntp::question(nonce))?;
    loop {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; LENGTH];
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let took = i128::try_from(began.elapsed().as_nanos()).map_err(io::Error::other)?;
        if let Some(answer) = sntp::answer(&buffer[..length], nonce) {
            return Ok(answer.map(|reply: Reply| reply.offset(asked, asked + took).0));
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::time::sntp::tests::reply;

    /// A server whose clock shows always the same; forged answers come first.
    fn serve(time: i128) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 128];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(length, LENGTH);
            let forged = reply(&[0; LENGTH], time + 1_000_000_000_000);
            socket.send_to(&forged, from).unwrap();
            socket.send_to(&reply(&buffer[..length], time), from).unwrap();
        });
        address
    }

    #[test]
    fn a_server_may_listen_elsewhere() {
        for (text, want) in [
            ("192.0.2.1", ("192.0.2.1", 123)),
            ("192.0.2.1:1123", ("192.0.2.1", 1123)),
            ("time.example", ("time.example", 123)),
            ("time.example:1123", ("time.example", 1123)),
            ("2001:db8::1", ("2001:db8::1", 123)),
            ("[2001:db8::1]:1123", ("2001:db8::1", 1123)),
        ] {
            assert_eq!(host_and_port(text), want);
        }
    }

    #[test]
    fn a_server_is_asked_over_the_network_and_forged_answers_are_passed_over() {
        let year = 31_556_952_000_000_000;
        let before = time::now();
        let offset = exchange(serve(before + year), Duration::from_secs(60)).unwrap().unwrap();
        let passed = time::now() - before;
        assert!((offset - year).abs() <= passed, "{offset} {passed}");
    }

    #[test]
    fn a_port_where_nobody_listens_is_an_error_at_once() {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let error = exchange(server, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_the_reason_that_is_told() {
        let silences = ask(&["time.example".to_owned()], &[], &[]).unwrap_err();
        let texts: Vec<_> = silences.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["time.example has no address: no name server is known"]);
    }
}
