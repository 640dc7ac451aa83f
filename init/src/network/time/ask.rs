//! The exchange with time servers, all at once; it waits, so it runs in a thread of its own.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use formats::moment::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::selection::{Candidate, select};
use super::sntp::{self, LENGTH, Refusal, Sample};
use crate::net::{self, dns};
use crate::time;

/// For the answers of one address of each.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses of one name that are asked at most, one after the other.
const ADDRESSES: usize = 2;

/// Whom to ask, and what is believed of nobody.
#[derive(Debug)]
pub struct Question {
    /// As the config or DHCP names them: a voice each.
    pub servers: Vec<String>,
    /// Where names without a domain are looked for.
    pub search: Vec<String>,
    /// Who knows the names.
    pub resolvers: Vec<SocketAddr>,
    /// In nanoseconds since 1970.
    pub floor: i128,
}

/// What they say, each one thing or another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those that tell the time.
    pub candidates: Vec<Candidate>,
    /// Those that do not.
    pub silences: Vec<Silence>,
}

/// Why a server did not tell the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// As the config or DHCP names it.
    pub server: String,
    /// The reason, for people.
    pub reason: String,
    /// What it says of being asked again.
    pub again: Again,
}

/// Whether a server wants to be asked again (RFC 5905, section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It has said nothing of that.
    Usual,
    /// Not so often.
    Seldom,
    /// Not at all.
    Never,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.server, self.reason)
    }
}

/// Asks all servers at the same time, and waits no longer than until more than half of them agree.
pub fn ask(question: &Question) -> Survey {
    ask_within(question, PATIENCE)
}

fn ask_within(question: &Question, patience: Duration) -> Survey {
    // Somebody else may set the clock meanwhile; what we measure must not depend on it.
    let start = Start { wall: time::now(), began: Instant::now() };
    let mut voices = voices(question);
    for _ in 0..ADDRESSES {
        let mut exchanges = Vec::new();
        for (at, voice) in voices.iter_mut().enumerate() {
            if voice.candidate.is_some() || voice.addresses.is_empty() {
                continue;
            }
            let address = voice.addresses.remove(0);
            match Exchange::begin(address, &start) {
                Ok(exchange) => exchanges.push((at, exchange)),
                Err(error) => voice.says_nothing(error.to_string(), Again::Usual),
            }
        }
        listen(&mut voices, exchanges, &start, question.floor, patience);
        if is_decided(&voices) {
            break;
        }
    }
    let mut survey = Survey::default();
    for voice in voices {
        survey.silences.extend(voice.silence.filter(|_| voice.candidate.is_none()));
        survey.candidates.extend(voice.candidate);
    }
    survey
}

/// Waits for the answers to these questions.
fn listen(
    voices: &mut [Voice],
    mut exchanges: Vec<(usize, Exchange)>,
    start: &Start,
    floor: i128,
    patience: Duration,
) {
    let began = Instant::now();
    while !exchanges.is_empty() && !is_decided(voices) {
        let left = patience.saturating_sub(began.elapsed());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut fds: Vec<PollFd<'_>> =
            exchanges.iter().map(|(_, one)| PollFd::new(&one.socket, PollFlags::IN)).collect();
        let polled = poll(&mut fds, Some(&timeout));
        let readable: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        match polled {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(count) if count > 0 => {}
            _ => break,
        }
        let mut readable = readable.into_iter();
        exchanges.retain(|(at, exchange)| {
            !readable.next().unwrap_or(false) || exchange.answer(start, floor, &mut voices[*at])
        });
    }
    // Who need not be waited for might have answered.
    if !is_decided(voices) {
        for (at, _) in exchanges {
            voices[at].says_nothing("does not answer".to_owned(), Again::Usual);
        }
    }
}

/// Those who have not spoken yet cannot change the majority.
fn is_decided(voices: &[Voice]) -> bool {
    let candidates: Vec<Candidate> =
        voices.iter().filter_map(|voice| voice.candidate.clone()).collect();
    select(&candidates).is_some_and(|agreed| agreed.servers.len() * 2 > voices.len())
}

/// A server, and what it says.
struct Voice {
    server: String,
    addresses: Vec<SocketAddr>,
    candidate: Option<Candidate>,
    silence: Option<Silence>,
}

impl Voice {
    fn says_nothing(&mut self, reason: String, again: Again) {
        // That it does not want to be asked is not forgotten for another address of it.
        if self.silence.as_ref().is_none_or(|before| before.again == Again::Usual) {
            self.silence = Some(Silence { server: self.server.clone(), reason, again });
        }
    }
}

/// The servers with their addresses. Who has only addresses of those before it is no other voice.
fn voices(question: &Question) -> Vec<Voice> {
    let mut taken: Vec<SocketAddr> = Vec::new();
    let mut voices = Vec::new();
    // If no name server answers for one name, none does for the next.
    let mut no_names = None;
    for server in &question.servers {
        let (host, port) = host_and_port(server);
        let mut voice =
            Voice { server: server.clone(), addresses: Vec::new(), candidate: None, silence: None };
        let found = match &no_names {
            Some(error) if host.parse::<IpAddr>().is_err() => Err(dns::Unresolved::clone(error)),
            _ => dns::resolve(host, &question.search, &question.resolvers),
        };
        match found {
            Ok(addresses) => {
                let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port));
                let own = addresses.filter(|address| !taken.contains(address)).take(ADDRESSES);
                voice.addresses.extend(own);
                if voice.addresses.is_empty() {
                    continue;
                }
                taken.extend(&voice.addresses);
            }
            Err(error) => {
                voice.says_nothing(format!("has no address: {error}"), Again::Usual);
                if let dns::Unresolved::NoServers | dns::Unresolved::Silent(_) = error {
                    no_names = Some(error);
                }
            }
        }
        voices.push(voice);
    }
    voices
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

/// The clock when the first was asked; later times are counted from there.
struct Start {
    wall: i128,
    began: Instant,
}

impl Start {
    fn now(&self) -> i128 {
        let elapsed = i128::try_from(self.began.elapsed().as_nanos());
        self.wall.saturating_add(elapsed.unwrap_or(i128::MAX))
    }
}

/// One question to one address.
struct Exchange {
    socket: UdpSocket,
    nonce: [u8; 8],
    asked: i128,
}

impl Exchange {
    fn begin(server: SocketAddr, start: &Start) -> io::Result<Self> {
        let own: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.set_nonblocking(true)?;
        // From here on the kernel gives us this server's packets only.
        socket.connect(server)?;
        let nonce = net::random()?;
        let asked = start.now();
        socket.send(&sntp::question(nonce))?;
        Ok(Self { socket, nonce, asked })
    }

    /// Reads one packet; whether more is to be waited for. What is no answer is passed over.
    fn answer(&self, start: &Start, floor: i128, voice: &mut Voice) -> bool {
        let mut buffer = [0; LENGTH];
        let length = match self.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_nothing(&error) => return true,
            Err(error) => {
                voice.says_nothing(error.to_string(), Again::Usual);
                return false;
            }
        };
        let now = start.now();
        let Some(answer) = sntp::answer(&buffer[..length], self.nonce) else { return true };
        match answer.and_then(|reply| reply.sample(self.asked, now)) {
            Ok(Sample { offset, distance }) if now + offset + distance < floor => {
                let says = i64::try_from((now + offset).div_euclid(1_000_000_000)).unwrap_or(0);
                let reason = format!("says {}, before this system was made", Moment::at(says));
                voice.says_nothing(reason, Again::Usual);
            }
            Ok(Sample { offset, distance }) => {
                let server = voice.server.clone();
                voice.candidate = Some(Candidate { server, offset, distance });
            }
            Err(refusal) => voice.says_nothing(refusal.to_string(), again(refusal)),
        }
        false
    }
}

/// What the kiss of a server says: `DENY`, `RSTR` and `RATE` are those that a client must obey.
fn again(refusal: Refusal) -> Again {
    match refusal {
        Refusal::Kiss([b'D', ..] | [b'R', b'S', ..]) => Again::Never,
        Refusal::Kiss([b'R', b'A', ..]) => Again::Seldom,
        _ => Again::Usual,
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::time::sntp::tests::reply;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: i128 = 3_600_000_000_000;

    /// A server that answers each question with what `say` makes of it, after a forged answer.
    fn serve(mut say: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> String {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 128];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                assert_eq!(length, LENGTH);
                if let Some(answer) = say(&buffer[..length]) {
                    let forged = reply(&[0; LENGTH], time::now() + 1000 * HOUR);
                    socket.send_to(&forged, from).unwrap();
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        address.to_string()
    }

    /// One whose clock is ahead of ours by so much.
    fn ahead(by: i128) -> String {
        serve(move |question| Some(reply(question, time::now() + by).to_vec()))
    }

    /// Asks anew when this machine was so slow that an answer came too late to be of use.
    fn ask_all(servers: Vec<String>, floor: i128) -> Survey {
        let question = Question { servers, search: Vec::new(), resolvers: Vec::new(), floor };
        let began = Instant::now();
        loop {
            let survey = ask_within(&question, MINUTE);
            let late = Refusal::Vague.to_string();
            let is_late = survey.silences.iter().any(|silence| silence.reason == late);
            if !is_late || began.elapsed() > MINUTE {
                return survey;
            }
        }
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
    fn all_are_asked_and_forged_answers_are_passed_over() {
        let servers = vec![ahead(HOUR), ahead(HOUR * 2), ahead(HOUR * 3)];
        let survey = ask_all(servers.clone(), 0);
        assert_eq!(survey.silences, []);
        for (at, candidate) in (1..).zip(&survey.candidates) {
            assert_eq!(candidate.server, servers[at - 1]);
            let want = HOUR * i128::try_from(at).unwrap();
            assert!((candidate.offset - want).abs() <= candidate.distance, "{candidate:?}");
        }
        assert_eq!(survey.candidates.len(), 3);
    }

    #[test]
    fn nobody_waits_for_the_silent_when_most_agree_nor_counts_one_server_twice() {
        let (first, second) = (ahead(HOUR), ahead(HOUR));
        let silent = serve(|_| None);
        // Had it been waited for the silent one, it would be in the list.
        let survey = ask_all(vec![first.clone(), silent, second], 0);
        assert_eq!((survey.candidates.len(), survey.silences.len()), (2, 0));
        assert_eq!(ask_all(vec![first.clone(), first], 0).candidates.len(), 1);
    }

    #[test]
    fn a_time_before_the_images_own_is_no_time() {
        let now = time::now();
        let server = ahead(-2 * HOUR);
        let survey = ask_all(vec![server.clone()], now - HOUR);
        let [silence] = &survey.silences[..] else { panic!("{survey:?}") };
        assert!(silence.to_string().starts_with(&format!("{server} says 2")), "{silence}");
        assert!(silence.reason.ends_with(" UTC, before this system was made"), "{silence}");
        assert_eq!(ask_all(vec![server], now - 3 * HOUR).candidates.len(), 1);
    }

    #[test]
    fn who_does_not_want_to_be_asked_says_how_seldom() {
        for (code, want) in [
            (b"DENY", Again::Never),
            (b"RSTR", Again::Never),
            (b"RATE", Again::Seldom),
            (b"INIT", Again::Usual),
        ] {
            let server = serve(move |question| {
                let mut answer = reply(question, 0).to_vec();
                answer[1] = 0;
                answer[12..16].copy_from_slice(code);
                Some(answer)
            });
            let survey = ask_all(vec![server], 0);
            let again: Vec<_> = survey.silences.iter().map(|silence| silence.again).collect();
            assert_eq!(again, [want], "{survey:?}");
        }
    }

    #[test]
    fn a_port_where_nobody_listens_is_known_at_once() {
        let survey = ask_all(vec!["127.0.0.1:1".to_owned()], 0);
        let [silence] = &survey.silences[..] else { panic!("{survey:?}") };
        assert!(silence.reason.starts_with("Connection refused"), "{silence}");
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_the_reason_that_is_told() {
        let servers = vec!["time.example".to_owned(), "ntp.example".to_owned()];
        let survey = ask_all(servers, 0);
        let texts: Vec<_> = survey.silences.iter().map(ToString::to_string).collect();
        let reason = "has no address: no name server is known";
        assert_eq!(texts, [format!("time.example {reason}"), format!("ntp.example {reason}")]);
    }
}
