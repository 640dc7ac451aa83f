//! A DHCP client as a pure state machine: RFC 2131, section 4.4. Time, carrier and messages in,
//! what to send and to configure out; who has sockets and a clock sits above ([`super`]).
//!
//! Left out on purpose: the ARP probe of a new address (servers probe it themselves, and it would
//! cost every boot seconds), `DECLINE`, `INFORM`, and keeping a lease over a restart of the machine.

pub(super) mod kept;
pub(crate) mod message;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use message::{Answer, Kind, Question, Route, mask_of};

/// The first wait for an answer. RFC 2131 suggests 4 s, made for a shared cable of its time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// How often an offer is asked for, or an old address is asked for after the cable was out,
/// before the client starts over.
const REQUESTS: u32 = 4;
/// No server is asked for a renewal more often (RFC 2131, 4.4.5).
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// A shorter lease would be renewed all the time; it is taken as this long.
const SHORTEST_LEASE: u32 = 60;
/// No lease is renewed sooner, and all servers are asked so much later, whatever a server says.
const SOONEST_RENEWAL: u32 = 1;
/// How long an address is ours if the server does not say, which it must (RFC 2131, table 3): some
/// small ones do not, and other clients take this or more.
const UNSAID_LEASE: u32 = 3600;
/// "For ever" in seconds, in option 51.
const FOREVER: u32 = u32::MAX;

/// What a server has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// The default gateway first, if there is one.
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) hostname: Option<String>,
    pub(crate) search: Vec<String>,
    pub(crate) ntp: Vec<Ipv4Addr>,
    pub(crate) mtu: Option<u16>,
    server: Option<Ipv4Addr>,
    renew_at: Duration,
    rebind_at: Duration,
    ends_at: Duration,
}

impl Lease {
    /// A lease of a network of 256 addresses, as the tests of other files need one.
    #[cfg(test)]
    pub(crate) fn for_test(address: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        Self {
            address,
            prefix: 24,
            routes: vec![Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway }],
            dns: Vec::new(),
            hostname: None,
            search: Vec::new(),
            ntp: Vec::new(),
            mtu: Some(1460),
            server: None,
            renew_at: Duration::MAX,
            rebind_at: Duration::MAX,
            ends_at: Duration::MAX,
        }
    }
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The cable is in.
    CarrierUp,
    /// The cable is out.
    CarrierDown,
    /// The time of [`Client::deadline`] has come.
    Timer,
    /// A server said something.
    Answer(Answer),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// To everyone on the link, from the address in the question.
    Broadcast(Question),
    /// To one server, from our own address.
    Unicast(Question, Ipv4Addr),
    /// The link gets this address, these routes; a different one from before is taken away.
    Configure(Lease),
    /// The link loses its address.
    Deconfigure,
}

/// Where answers can come from in the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// No answer is expected.
    Nowhere,
    /// Anything on the link.
    Link,
    /// The UDP port of our own address.
    Port(Ipv4Addr),
}

/// The client of one link.
#[derive(Debug)]
pub(crate) struct Client {
    mac: [u8; 6],
    transaction: u32,
    /// When the present attempt to get an address began.
    began: Duration,
    /// How often servers have refused since one has given more time for a lease. The first refusal
    /// is of one that has lost its list; who refuses what it offers is asked later each time.
    refusals: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The cable is out; an address from before is kept until it ends.
    Down { lease: Option<Lease> },
    /// Refused, not for the first time: nobody is asked before this time.
    Refused { until: Duration },
    /// Looking for a server.
    Selecting { retry: Retry },
    /// Asked a server for the address that it has offered.
    Requesting { retry: Retry, offered: Ipv4Addr, server: Ipv4Addr },
    /// The cable was out: asked whether the address is still good here.
    Rebooting { retry: Retry, lease: Lease },
    /// All is well until the time of renewal.
    Bound { lease: Lease },
    /// Asks the server that gave the lease.
    Renewing { lease: Lease, again_at: Duration },
    /// Asks any server.
    Rebinding { lease: Lease, again_at: Duration },
}

/// When to send again. The wait doubles each time, with a little chance in it, so that a thousand
/// nodes that get power together do not ask together.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Duration,
    count: u32,
}

impl Retry {
    fn first(now: Duration, chance: u32) -> Self {
        Self { at: now, count: 0 }.next(now, chance)
    }

    fn next(self, now: Duration, chance: u32) -> Self {
        let wait = (FIRST_WAIT * 2_u32.pow(self.count.min(10))).min(LONGEST_WAIT);
        // From three to five quarters of it.
        let quarter = wait / 4;
        let part = quarter * 2 * (chance % 1024) / 1024;
        Self { at: now + wait - quarter + part, count: self.count + 1 }
    }
}

impl Client {
    /// A client for a link with this address. `seed` is different on every node and each boot: it
    /// begins the transactions' numbers and spreads the retries.
    pub(crate) fn new(mac: [u8; 6], seed: u32) -> Self {
        let state = State::Down { lease: None };
        Self { mac, transaction: seed, began: Duration::ZERO, refusals: 0, state }
    }

    /// A client for a link that has this lease already: it asks first whether that is still good.
    pub(crate) fn with_lease(mac: [u8; 6], seed: u32, lease: Lease) -> Self {
        Self { state: State::Down { lease: Some(lease) }, ..Self::new(mac, seed) }
    }

    /// When [`Event::Timer`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Down { lease: None } => None,
            State::Down { lease: Some(lease) } => finite(lease.ends_at),
            State::Refused { until } => Some(*until),
            State::Selecting { retry } | State::Requesting { retry, .. } => Some(retry.at),
            State::Rebooting { retry, lease } => Some(retry.at.min(lease.ends_at)),
            State::Bound { lease } => finite(lease.renew_at),
            State::Renewing { lease, again_at } => Some((*again_at).min(lease.rebind_at)),
            State::Rebinding { lease, again_at } => Some((*again_at).min(lease.ends_at)),
        }
    }

    /// Where to listen until the next step.
    pub(crate) fn listen(&self) -> Listen {
        match &self.state {
            State::Down { .. } | State::Refused { .. } | State::Bound { .. } => Listen::Nowhere,
            State::Renewing { lease, .. } => Listen::Port(lease.address),
            State::Selecting { .. }
            | State::Requesting { .. }
            | State::Rebooting { .. }
            | State::Rebinding { .. } => Listen::Link,
        }
    }

    /// The lease that the link has now.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Down { lease } => lease.as_ref(),
            State::Refused { .. } | State::Selecting { .. } | State::Requesting { .. } => None,
            State::Rebooting { lease, .. }
            | State::Bound { lease }
            | State::Renewing { lease, .. }
            | State::Rebinding { lease, .. } => Some(lease),
        }
    }

    /// Takes one event at the time `now` and says what is to be done, in order.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let ended = self.lease().is_some_and(|lease| lease.ends_at <= now);
        let mut actions = if ended { self.end_lease(now) } else { Vec::new() };
        actions.extend(match event {
            Event::CarrierUp => self.carrier_up(now),
            Event::CarrierDown => {
                let lease = self.lease().cloned();
                self.state = State::Down { lease };
                // There may be another network at the other end when it is back.
                self.refusals = 0;
                Vec::new()
            }
            Event::Timer if self.deadline().is_some_and(|deadline| deadline <= now) => {
                self.timer(now)
            }
            Event::Timer => Vec::new(),
            Event::Answer(answer) => self.answer(now, &answer),
        });
        actions
    }

    fn carrier_up(&mut self, now: Duration) -> Vec<Action> {
        let State::Down { lease } = &self.state else { return Vec::new() };
        match lease.clone() {
            None => self.discover(now),
            Some(lease) => {
                self.new_transaction();
                self.began = now;
                self.state = State::Rebooting { retry: Retry::first(now, self.chance(0)), lease };
                vec![self.ask()]
            }
        }
    }

    fn timer(&mut self, now: Duration) -> Vec<Action> {
        match &mut self.state {
            State::Down { .. } => Vec::new(),
            State::Refused { .. } => self.discover(now),
            State::Requesting { retry, .. } if retry.count >= REQUESTS => self.discover(now),
            State::Rebooting { retry, lease } if retry.count >= REQUESTS => {
                // Nobody knows better: it is ours until it ends (RFC 2131, 3.2).
                let lease = lease.clone();
                self.state = State::Bound { lease };
                Vec::new()
            }
            State::Selecting { .. } | State::Requesting { .. } | State::Rebooting { .. } => {
                let chance = self.retry_count().map_or(0, |count| self.chance(count));
                if let Some(retry) = self.retry_mut() {
                    *retry = retry.next(now, chance);
                }
                vec![self.ask_at(now)]
            }
            State::Bound { lease } => {
                let lease = lease.clone();
                if now >= lease.rebind_at {
                    self.rebind(now, lease)
                } else {
                    self.renew(now, lease)
                }
            }
            State::Renewing { lease, .. } => {
                let lease = lease.clone();
                if now >= lease.rebind_at {
                    self.rebind(now, lease)
                } else {
                    self.renew(now, lease)
                }
            }
            State::Rebinding { lease, .. } => {
                let lease = lease.clone();
                self.rebind(now, lease)
            }
        }
    }

    fn answer(&mut self, now: Duration, answer: &Answer) -> Vec<Action> {
        if answer.transaction != self.transaction || answer.mac != self.mac {
            return Vec::new();
        }
        match (&self.state, answer.kind) {
            (State::Selecting { .. }, Kind::Offer) => {
                let (Some(server), true) = (answer.server, is_usable(answer.address)) else {
                    return Vec::new();
                };
                self.state = State::Requesting {
                    retry: Retry::first(now, self.chance(0)),
                    offered: answer.address,
                    server,
                };
                vec![self.ask_at(now)]
            }
            (
                State::Selecting { .. }
                | State::Down { .. }
                | State::Refused { .. }
                | State::Bound { .. },
                _,
            )
            | (_, Kind::Offer) => Vec::new(),
            (_, Kind::Ack) => match self.granted(answer) {
                Some(lease) => {
                    if self.lease().is_some() {
                        self.refusals = 0;
                    }
                    self.state = State::Bound { lease: lease.clone() };
                    vec![Action::Configure(lease)]
                }
                None => Vec::new(),
            },
            (_, Kind::Nak) => {
                if self.refused_by_another(answer) {
                    Vec::new()
                } else {
                    self.refusals = self.refusals.saturating_add(1);
                    self.end_lease(now)
                }
            }
            (_, Kind::Discover | Kind::Request | Kind::Release) => Vec::new(),
        }
    }

    /// A refusal counts only from the server that we have chosen, when we have chosen one.
    fn refused_by_another(&self, answer: &Answer) -> bool {
        match &self.state {
            State::Requesting { server, .. } => answer.server.is_some_and(|from| from != *server),
            _ => false,
        }
    }

    /// The lease in an `Ack`. Its times run from when it was asked for, not from when the answer
    /// came (RFC 2131, 4.4.1): the server's clock is the one that counts.
    fn granted(&self, answer: &Answer) -> Option<Lease> {
        if !is_usable(answer.address) {
            return None;
        }
        let seconds = answer.lease.unwrap_or(UNSAID_LEASE).max(SHORTEST_LEASE);
        let prefix = match answer.mask {
            Some(mask) => prefix_of(mask)?,
            // The classes are gone; a host alone is the only guess that cuts nobody off.
            None => 32,
        };
        let at = |seconds: u32| match seconds {
            FOREVER => Duration::MAX,
            seconds => self.began.saturating_add(Duration::from_secs(seconds.into())),
        };
        let forever = seconds == FOREVER;
        let half = if forever { FOREVER } else { seconds / 2 };
        let most = if forever { FOREVER } else { seconds / 8 * 7 };
        let rebinding = answer.rebinding.filter(|time| *time < seconds).unwrap_or(most);
        let rebinding = rebinding.max(2 * SOONEST_RENEWAL);
        let renewal =
            answer.renewal.filter(|time| *time < rebinding).unwrap_or(half.min(rebinding));
        let renewal = renewal.max(SOONEST_RENEWAL);
        let routes = if answer.routes.is_empty() {
            let default =
                |gateway| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway };
            answer.routers.iter().take(1).map(|gateway| default(*gateway)).collect()
        } else {
            let (default, others): (Vec<_>, Vec<_>) =
                answer.routes.iter().copied().partition(|route| route.prefix == 0);
            [default, others].concat()
        };
        Some(Lease {
            address: answer.address,
            prefix,
            routes,
            dns: answer.dns.clone(),
            hostname: answer.hostname.clone(),
            search: answer.search.clone(),
            ntp: answer.ntp.clone(),
            // IPv4's least and IPv6's least: below, something would break.
            mtu: answer.mtu.filter(|mtu| *mtu >= 1280),
            server: answer.server,
            renew_at: at(renewal),
            rebind_at: at(rebinding),
            ends_at: at(seconds),
        })
    }

    /// The address is gone: say so and, if the cable is in, look for a new one, at once or, where
    /// servers go on to refuse, after a pause that doubles (RFC 2131, section 4.1).
    fn end_lease(&mut self, now: Duration) -> Vec<Action> {
        let had = self.lease().is_some();
        let mut actions: Vec<Action> = had.then_some(Action::Deconfigure).into_iter().collect();
        if matches!(self.state, State::Down { .. }) {
            self.state = State::Down { lease: None };
        } else if let Some(count) = self.refusals.checked_sub(2) {
            // Also if what ended is a lease that was given since: its server may refuse again.
            let until = Retry { at: now, count }.next(now, self.chance(count)).at;
            self.state = State::Refused { until };
        } else {
            actions.extend(self.discover(now));
        }
        actions
    }

    fn discover(&mut self, now: Duration) -> Vec<Action> {
        self.new_transaction();
        self.began = now;
        self.state = State::Selecting { retry: Retry::first(now, self.chance(0)) };
        vec![self.ask()]
    }

    /// Each question is a new transaction: a lease is counted from the question that it answers,
    /// and one counted from an earlier question would have to be renewed at once.
    fn renew(&mut self, now: Duration, lease: Lease) -> Vec<Action> {
        let Some(server) = lease.server else { return self.rebind(now, lease) };
        self.new_transaction();
        self.began = now;
        let again_at = again_at(now, lease.rebind_at);
        self.state = State::Renewing { lease, again_at };
        match self.ask_at(now) {
            Action::Broadcast(question) => vec![Action::Unicast(question, server)],
            other => vec![other],
        }
    }

    fn rebind(&mut self, now: Duration, lease: Lease) -> Vec<Action> {
        self.new_transaction();
        self.began = now;
        let again_at = again_at(now, lease.ends_at);
        self.state = State::Rebinding { lease, again_at };
        vec![self.ask_at(now)]
    }

    fn ask(&self) -> Action {
        self.ask_at(self.began)
    }

    /// The question that belongs to the state (RFC 2131, table 4).
    fn ask_at(&self, now: Duration) -> Action {
        let waited = now.saturating_sub(self.began).as_secs();
        let mut question = Question {
            kind: Kind::Request,
            transaction: self.transaction,
            mac: self.mac,
            seconds: u16::try_from(waited).unwrap_or(u16::MAX),
            own: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
        };
        match &self.state {
            State::Requesting { offered, server, .. } => {
                question.wanted = Some(*offered);
                question.server = Some(*server);
            }
            State::Rebooting { lease, .. } => question.wanted = Some(lease.address),
            State::Bound { lease }
            | State::Renewing { lease, .. }
            | State::Rebinding { lease, .. } => question.own = lease.address,
            State::Selecting { .. } | State::Down { .. } | State::Refused { .. } => {
                question.kind = Kind::Discover;
            }
        }
        Action::Broadcast(question)
    }

    fn retry_mut(&mut self) -> Option<&mut Retry> {
        match &mut self.state {
            State::Selecting { retry }
            | State::Requesting { retry, .. }
            | State::Rebooting { retry, .. } => Some(retry),
            _ => None,
        }
    }

    fn retry_count(&mut self) -> Option<u32> {
        self.retry_mut().map(|retry| retry.count)
    }

    fn new_transaction(&mut self) {
        self.transaction = self.transaction.wrapping_add(1);
    }

    fn chance(&self, count: u32) -> u32 {
        chance(self.mac, self.transaction, count)
    }
}

/// A number that differs between nodes and between retries. Not for secrets.
pub(super) fn chance(mac: [u8; 6], transaction: u32, count: u32) -> u32 {
    let mac = mac.iter().fold(0_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
    let mixed = (transaction ^ mac).wrapping_add(count).wrapping_mul(0x9e37_79b1);
    mixed >> 16
}

/// Half of what is left until the next state, but not too often.
fn again_at(now: Duration, until: Duration) -> Duration {
    let left = until.saturating_sub(now);
    now.saturating_add((left / 2).max(RENEWAL_PAUSE)).min(until)
}

pub(super) fn finite(time: Duration) -> Option<Duration> {
    (time != Duration::MAX).then_some(time)
}

/// Whether a host can have this address.
fn is_usable(address: Ipv4Addr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !special && !address.is_broadcast()
}

/// The number of leading ones; `None` if others follow.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let prefix = u8::try_from(mask.to_bits().leading_ones()).ok()?;
    (mask_of(prefix) == mask.to_bits()).then_some(prefix)
}
