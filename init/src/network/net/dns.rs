//! DNS, as much as a node's own questions need: the addresses of one name (RFC 1035, RFC 3596).
//!
//! Not the C library's: in a static binary it would look for plug-ins that the image does not
//! have. Answers are anybody's bytes: every length is checked. [`resolve`] blocks, so it is called
//! by threads; the rest is pure.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Where name servers listen.
pub const PORT: u16 = 53;
/// For one answer of one server; glibc waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the whole list is asked.
const ROUNDS: u32 = 2;
/// Without EDNS no answer over UDP is longer.
const LONGEST: usize = 512;

const HEADER: usize = 12;
const RECURSION_DESIRED: u16 = 0x0100;
const RESPONSE: u16 = 0x8000;
const INTERNET: u16 = 1;
const NO_SUCH_NAME: u8 = 3;
/// A name has at most 255 bytes, so at most this many labels; a pointer leads to one more.
const STEPS: usize = 128;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// No name server is known.
    NoServers,
    /// None of these said anything.
    Silent(Vec<IpAddr>),
    /// The servers know that there is no such name, or that it has no address.
    NoSuchName(String),
    /// A server refused, with this code of RFC 1035, 4.1.1.
    Refused(IpAddr, u8),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers => f.write_str("no name server is known"),
            Self::Silent(servers) => {
                f.write_str("no name server answers:")?;
                servers.iter().try_for_each(|server| write!(f, " {server}"))
            }
            Self::NoSuchName(name) => write!(f, "DNS knows no address of `{name}`"),
            Self::Refused(server, code) => {
                write!(f, "the name server {server} refuses to answer (code {code})")
            }
        }
    }
}

/// What kind of address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    A = 1,
    Aaaa = 28,
}

/// The addresses of `name`, those of IPv4 if it has any; blocks for seconds at most. A name
/// without a dot is looked for in the `search` domains first.
///
/// # Errors
/// [`Unresolved`].
pub fn resolve(
    name: &str,
    search: &[String],
    servers: &[SocketAddr],
) -> Result<Vec<IpAddr>, Unresolved> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    if servers.is_empty() {
        return Err(Unresolved::NoServers);
    }
    let plain = name.trim_end_matches('.');
    let domains = search.iter().filter(|_| !name.contains('.'));
    let names = domains.map(|domain| format!("{plain}.{domain}"));
    for name in names.chain([plain.to_owned()]) {
        match ask_all(&name, servers) {
            Err(Unresolved::NoSuchName(_)) => {}
            answered => return answered,
        }
    }
    Err(Unresolved::NoSuchName(name.to_owned()))
}

fn ask_all(name: &str, servers: &[SocketAddr]) -> Result<Vec<IpAddr>, Unresolved> {
    let mut refused = None;
    for server in std::iter::repeat_n(servers, ROUNDS as usize).flatten() {
        let asked = [Kind::A, Kind::Aaaa].into_iter().try_fold(None, |found, kind| match found {
            None => match ask(name, kind, *server)? {
                Answer::Addresses(addresses) if addresses.is_empty() => Ok(None),
                other => Ok(Some(other)),
            },
            found => Ok(found),
        });
        match asked {
            Ok(Some(Answer::Addresses(addresses))) => return Ok(addresses),
            Ok(None) => return Err(Unresolved::NoSuchName(name.to_owned())),
            Ok(Some(Answer::Refused(NO_SUCH_NAME))) => {
                return Err(Unresolved::NoSuchName(name.to_owned()));
            }
            Ok(Some(Answer::Refused(code))) => refused = Some((server.ip(), code)),
            Err::<_, io::Error>(_) => {}
        }
    }
    Err(match refused {
        Some((server, code)) => Unresolved::Refused(server, code),
        None => Unresolved::Silent(servers.iter().map(SocketAddr::ip).collect()),
    })
}

/// One question to one server.
fn ask(name: &str, kind: Kind, server: SocketAddr) -> io::Result<Answer> {
    let own: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
    // From here on the kernel gives us this server's packets only.
    socket.connect(server)?;
    let id = super::random::<2>().map(u16::from_ne_bytes)?;
    let question = question(id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a host name"))?;
    socket.send(&question)?;
    let began = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; LONGEST];
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = answer(&buffer[..length], &question) {
            return Ok(answer);
        }
    }
}

fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    if !is_host_name(name) {
        return None;
    }
    let mut bytes = Vec::from(id.to_be_bytes());
    for word in [RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend((kind as u16).to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    Some(bytes)
}

/// What a server says to a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// May be none: the name has other records.
    Addresses(Vec<IpAddr>),
    Refused(u8),
}

/// Reads the answer to `question`; `None` if it is not one.
pub(crate) fn answer(message: &[u8], question: &[u8]) -> Option<Answer> {
    let flags = u16_at(message, 2)?;
    let asked = question.get(HEADER..)?;
    let same = message.get(HEADER..HEADER + asked.len())?.eq_ignore_ascii_case(asked);
    let one_question = u16_at(message, 4)? == 1;
    if message.get(..2) != question.get(..2) || flags & RESPONSE == 0 || !one_question || !same {
        return None;
    }
    let code = u8::try_from(flags & 0xf).ok()?;
    if code != 0 {
        return Some(Answer::Refused(code));
    }
    let mut at = HEADER + asked.len();
    let mut addresses = Vec::new();
    for _ in 0..u16_at(message, 6)? {
        // What is cut off ends the list: an answer that is too long for UDP is cut anywhere.
        let Some((kind, data, next)) = record_at(message, at) else { break };
        at = next;
        match kind {
            1 => addresses.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            28 => addresses.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            // Aliases stand before what they lead to.
            _ => {}
        }
    }
    Some(Answer::Addresses(addresses))
}

/// Type and data of a record, and where the next begins.
fn record_at(message: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let (_, at) = name_at(message, at)?;
    let data = at + 10;
    let next = data + usize::from(u16_at(message, at + 8)?);
    Some((u16_at(message, at)?, message.get(data..next)?, next))
}

/// The name that begins at `at`, in lower case without a dot at the end, and where what follows
/// begins. Pointers are to places in `bytes` (RFC 1035, 4.1.4).
pub(crate) fn name_at(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut after = None;
    for _ in 0..STEPS {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some((name, after.unwrap_or(at + 1))),
            1..=63 => {
                let end = at + 1 + usize::from(length);
                if !name.is_empty() {
                    name.push('.');
                }
                let label = String::from_utf8_lossy(bytes.get(at + 1..end)?);
                name.push_str(&label.to_ascii_lowercase());
                at = end;
            }
            0xc0.. => {
                after = after.or(Some(at + 2));
                at = usize::from(u16_at(bytes, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

/// Whether this can be a host's or a domain's name: labels of letters, digits, `-` and `_`.
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_known);
    name.len() <= 253 && name.split('.').all(is_label)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with these records: type and data each, the name being a pointer.
    fn reply(question: &[u8], code: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn a_question_is_as_rfc_1035_says() {
        let bytes = question(0x1234, "api.lan", Kind::A).unwrap();
        assert_eq!(bytes[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..], *b"\x03api\x03lan\0\0\x01\0\x01");
        for bad in ["", "a..b", "a b", &"a".repeat(64)] {
            assert_eq!(question(1, bad, Kind::A), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let question = question(7, "API.lan", Kind::A).unwrap();
        let message = reply(&question, 0, &[(5, b"\x01b\xc0\x10"), (1, &[10, 0, 2, 2]), (1, &[9])]);
        let want = Answer::Addresses(vec![IpAddr::from([10, 0, 2, 2])]);
        assert_eq!(answer(&message, &question), Some(want));
        assert_eq!(answer(&reply(&question, 3, &[]), &question), Some(Answer::Refused(3)));
        let cut = &message[..message.len() - 20];
        assert!(matches!(answer(cut, &question), Some(Answer::Addresses(_))));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_ignored() {
        let asked = question(7, "api.lan", Kind::A).unwrap();
        let good = reply(&asked, 0, &[(1, &[10, 0, 2, 2])]);
        for (at, value) in [(1, 8), (2, 0), (5, 2), (13, b'x'), (22, 28)] {
            let mut message = good.clone();
            message[at] = value;
            assert_eq!(answer(&message, &asked), None, "byte {at}");
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_or_in_a_circle_end() {
        assert_eq!(name_at(b"\x01a\xc0\x00", 0), None, "a circle");
        assert_eq!(name_at(b"\xc0\x09", 0), None);
        assert_eq!(name_at(b"\x03lan\0\x01a\xc0\x00\xff", 5), Some(("a.lan".to_owned(), 9)));
    }

    /// A name server which answers the questions for `api.lan` and is silent else.
    fn serve() -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; LONGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = &buffer[..length];
                let (name, end) = name_at(question, HEADER).unwrap();
                let answer = match (name.as_str(), question[end + 1]) {
                    ("api.lan", 1) => reply(question, 0, &[(1, &[192, 0, 2, 7])]),
                    ("six.lan", 28) => reply(question, 0, &[(28, &[1; 16])]),
                    ("six.lan", _) => reply(question, 0, &[]),
                    _ => reply(question, 3, &[]),
                };
                // A forged one first: it must be passed over.
                let mut forged = answer.clone();
                forged[0] ^= 1;
                socket.send_to(&forged, from).unwrap();
                socket.send_to(&answer, from).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_name_is_resolved_by_the_first_server_that_answers() {
        let server = serve();
        // Refused at once by the kernel: nobody listens there.
        let silent = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let servers = [silent, server];
        let search = ["lan".to_owned()];
        let found = |name| resolve(name, &search, &servers);
        assert_eq!(found("api.lan"), Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        assert_eq!(found("api"), Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        assert_eq!(found("six.lan"), Ok(vec![IpAddr::from([1; 16])]));
        assert_eq!(found("192.0.2.9"), Ok(vec![IpAddr::from([192, 0, 2, 9])]));
        assert_eq!(found("none.lan"), Err(Unresolved::NoSuchName("none.lan".to_owned())));
        assert_eq!(resolve("a.b", &[], &[]), Err(Unresolved::NoServers));
        let error = resolve("api.lan", &[], &[silent]).unwrap_err();
        assert_eq!(error.to_string(), "no name server answers: 127.0.0.1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..300,
        ) {
            let _ = name_at(&bytes, at);
            let question = question(1, "api.lan", Kind::A).unwrap();
            let _ = answer(&bytes, &question);
            let mut message = reply(&question, 0, &[]);
            message[7] = 9;
            message.extend(bytes);
            let _ = answer(&message, &question);
        }
    }
}
