//! A DHCPv6 client as a pure state machine: RFC 8415, for the addresses of a link and what is told
//! beside them, or for that alone (sections 18.2 and 15). Time, carrier, what routers say and messages
//! in, what to send and to configure out; who has sockets and a clock sits above ([`super`]).
//!
//! Left out on purpose: prefixes, `RELEASE` (a node comes back and wants the same address),
//! `RECONFIGURE`, which needs keys, and keeping a lease over a restart.

mod lease;
pub(crate) mod message;
#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;
use std::time::Duration;

use super::dhcp::{chance, finite};
use lease::{Lease, later, times};
use message::{Address, Answer, Kind, NO_BINDING, NOT_ON_LINK, Offered, Question, SUCCESS};

const SECOND: Duration = Duration::from_secs(1);
/// How long servers may be asked for a first address in vain before they are asked this seldom;
/// a server may say another time (section 7.6).
const LIMIT: Duration = Duration::from_secs(3600);
/// What a server may say of that.
const LIMITS: std::ops::RangeInclusive<u32> = 60..=86_400;
/// How often an offer is asked for, and that an address was taken is told.
const REQUESTS: u32 = 10;
const DECLINES: u32 = 4;
/// So long is asked whether an address is still good here.
const CONFIRMATION: Duration = Duration::from_secs(10);
/// So many addresses of a server are used.
const MOST_ADDRESSES: usize = 4;
/// What was told before the cable was out, or what should be asked for anew, is good for so long
/// if nobody answers.
const GRACE: Duration = Duration::from_secs(60);
/// When who has no address asks again, if the server says nothing, and at the soonest.
const REFRESH: u32 = 86_400;
const SOONEST_REFRESH: u32 = 600;
/// No other server is waited for.
const SURE: u8 = 255;

/// What routers leave to DHCPv6 (RFC 4861, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    Nothing,
    /// Who knows names and the time (flag O).
    Names,
    /// Addresses too (flag M).
    Address,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The cable is in, or out.
    Carrier(bool),
    /// A router says so. Another one may say less: while the cable is in, the most counts.
    Routers(Want),
    /// The time of [`Client::deadline`] has come.
    Timer,
    /// A server said something.
    Answer(Answer),
    /// Another node on the link has this address.
    Taken(Ipv6Addr),
    /// The link has this address no more, or could not be given it.
    Gone(Ipv6Addr),
    /// Nothing is wanted any more, not even what there is.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// To all servers on the link.
    Send(Question),
    /// The link gets this address, or has it for so much longer.
    Give(Address),
    /// The link loses this address.
    Take(Ipv6Addr),
}

/// The client of one link.
#[derive(Debug)]
pub(crate) struct Client {
    mac: [u8; 6],
    transaction: u32,
    carrier: bool,
    want: Want,
    state: State,
    retry: Retry,
    /// How often in a row a server gave no address that could be used: the next one is asked for
    /// later each time.
    failures: u32,
    /// They survive a cable that is out, and a server that has forgotten them.
    leases: Vec<Lease>,
    /// Who gave them, and when more time is asked for, of it and of all.
    server: Vec<u8>,
    renew_at: Duration,
    rebind_at: Duration,
    offered: Offered,
    offered_until: Duration,
    solicit_limit: Duration,
    inform_limit: Duration,
}

#[derive(Debug)]
enum State {
    /// Nothing is wanted, or the cable is out.
    Idle,
    /// Looking for a server; this is the best offer so far.
    Soliciting(Option<Offer>),
    /// Asked a server for the address that it has offered.
    Requesting(Offer),
    /// The cable was out: asked whether the address is still good here.
    Confirming,
    /// All is well until the time of renewal.
    Bound,
    /// Asks the server that gave the lease.
    Renewing,
    /// Asks any server.
    Rebinding,
    /// Tells the server that an address which it gave is another's.
    Declining(Offer),
    /// Asks for all but an address.
    Informing,
    /// Has it, until it is time to ask again.
    Informed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    server: Vec<u8>,
    preference: u8,
    addresses: Vec<Ipv6Addr>,
}

/// When to send again (section 15).
#[derive(Debug)]
struct Retry {
    /// When the exchange began.
    began: Duration,
    at: Duration,
    wait: Duration,
    /// How often it was sent; 0 when no answer is expected.
    count: u32,
}

impl Client {
    /// A client for a link with this address. `seed` is different on every node and each boot: it
    /// begins the transactions' numbers and spreads the retries.
    pub(crate) fn new(mac: [u8; 6], seed: u32) -> Self {
        let began = Duration::ZERO;
        Self {
            mac,
            transaction: seed,
            carrier: false,
            want: Want::Nothing,
            state: State::Idle,
            retry: Retry { began, at: Duration::MAX, wait: began, count: 0 },
            failures: 0,
            leases: Vec::new(),
            server: Vec::new(),
            renew_at: Duration::MAX,
            rebind_at: Duration::MAX,
            offered: Offered::default(),
            offered_until: Duration::MAX,
            solicit_limit: LIMIT,
            inform_limit: LIMIT,
        }
    }

    /// When [`Event::Timer`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let mut due = self.due().min(self.offered_until);
        for lease in &self.leases {
            due = due.min(lease.due());
        }
        finite(due)
    }

    /// When something is to be asked.
    fn due(&self) -> Duration {
        match self.state {
            State::Renewing => self.retry.at.min(self.rebind_at),
            _ => self.retry.at,
        }
    }

    /// Whether an answer may come before the next step.
    pub(crate) fn listens(&self) -> bool {
        self.retry.count > 0
    }

    /// What the link does not have, of what servers are asked for.
    pub(crate) fn lacks(&self) -> Option<Want> {
        match &self.state {
            State::Idle => None,
            State::Informing => Some(Want::Names),
            _ if self.leases.iter().any(Lease::is_preferred) => None,
            _ => Some(self.want).filter(|want| *want == Want::Address),
        }
    }

    /// Those of the link that servers have given.
    pub(crate) fn addresses(&self) -> Vec<Ipv6Addr> {
        self.leases.iter().map(|lease| lease.address).collect()
    }

    /// What was told beside them.
    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Takes one event at the time `now` and says what is to be done, in order.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = self.pass(now);
        actions.extend(match event {
            Event::Carrier(carrier) if carrier != self.carrier => {
                self.carrier = carrier;
                self.failures = 0;
                if !carrier {
                    // Other routers may be at the other end when it is back.
                    self.want = Want::Nothing;
                } else if self.leases.is_empty() && self.offered != Offered::default() {
                    self.offered_until = self.offered_until.min(now.saturating_add(GRACE));
                }
                self.settle(now)
            }
            Event::Routers(want) if want > self.want => {
                self.want = want;
                self.failures = 0;
                self.settle(now)
            }
            Event::Timer if self.due() <= now => self.timer(now),
            Event::Answer(answer) => self.answer(now, answer),
            Event::Taken(address) => self.taken(now, address),
            Event::Gone(address) => {
                self.gone(now, address);
                Vec::new()
            }
            Event::Stop => {
                self.want = Want::Nothing;
                self.lose(now)
            }
            Event::Carrier(_) | Event::Routers(_) | Event::Timer => Vec::new(),
        });
        let given = self.leases.iter_mut().filter_map(|lease| lease.give(now));
        actions.extend(given.map(Action::Give));
        actions
    }

    /// What time alone ends.
    fn pass(&mut self, now: Duration) -> Vec<Action> {
        if self.offered_until <= now {
            self.forget_offered();
        }
        let mut actions = Vec::new();
        self.leases.retain_mut(|lease| {
            lease.pass(now);
            if lease.ends_at <= now {
                actions.push(Action::Take(lease.address));
            }
            lease.ends_at > now
        });
        if !actions.is_empty() && self.leases.is_empty() {
            actions.extend(self.lose(now));
        }
        actions
    }

    fn forget_offered(&mut self) {
        (self.offered, self.offered_until) = (Offered::default(), Duration::MAX);
    }

    /// Does what carrier and routers ask for now. An address that we have is kept up although no
    /// router asks for it any more: another one may.
    fn settle(&mut self, now: Duration) -> Vec<Action> {
        let state = match self.want {
            _ if !self.carrier => State::Idle,
            _ if !self.leases.is_empty() => match self.state {
                State::Idle => State::Confirming,
                _ => return Vec::new(),
            },
            Want::Address => State::Soliciting(None),
            Want::Names => State::Informing,
            Want::Nothing => State::Idle,
        };
        if matches!(state, State::Idle) {
            return self.rest(state, Duration::MAX);
        }
        // Nodes that get power together do not ask together.
        let delay = match self.failures {
            0 => SECOND * (self.chance() % 1024) / 1024,
            _ => self.pause(SECOND),
        };
        self.begin(state, now, delay.max(Duration::from_millis(1)))
    }

    /// Nothing is asked until then.
    fn rest(&mut self, state: State, until: Duration) -> Vec<Action> {
        self.state = state;
        self.retry.count = 0;
        self.retry.at = until;
        Vec::new()
    }

    /// Begins to ask, after a delay.
    fn begin(&mut self, state: State, now: Duration, delay: Duration) -> Vec<Action> {
        self.transaction = self.transaction.wrapping_add(1);
        self.state = state;
        let began = now.saturating_add(delay);
        self.retry = Retry { began, at: began, wait: Duration::ZERO, count: 0 };
        if delay.is_zero() { self.send(now) } else { Vec::new() }
    }

    fn timer(&mut self, now: Duration) -> Vec<Action> {
        let rebinds = self.rebind_at <= now;
        match &mut self.state {
            State::Idle => Vec::new(),
            State::Soliciting(best) => match best.take() {
                Some(offer) => self.begin(State::Requesting(offer), now, Duration::ZERO),
                None => self.send(now),
            },
            State::Requesting(_) if self.retry.count >= REQUESTS => self.fail(now),
            State::Declining(_) if self.retry.count >= DECLINES => self.declined(now),
            // Nobody knows better: it is ours until it ends.
            State::Confirming if self.retry.count > 0 && now >= self.retry.began + CONFIRMATION => {
                self.confirmed(now)
            }
            State::Bound | State::Renewing if rebinds => {
                self.begin(State::Rebinding, now, Duration::ZERO)
            }
            State::Bound => self.begin(State::Renewing, now, Duration::ZERO),
            State::Informed => self.begin(State::Informing, now, Duration::ZERO),
            _ => self.send(now),
        }
    }

    /// Sends the question that belongs to the state.
    fn send(&mut self, now: Duration) -> Vec<Action> {
        let (kind, first, most) = match &self.state {
            State::Idle | State::Bound | State::Informed => return Vec::new(),
            State::Soliciting(_) => (Kind::Solicit, 1, self.solicit_limit),
            State::Requesting(_) => (Kind::Request, 1, SECOND * 30),
            State::Declining(_) => (Kind::Decline, 1, LIMIT),
            State::Confirming => (Kind::Confirm, 1, SECOND * 4),
            State::Renewing => (Kind::Renew, 10, SECOND * 600),
            State::Rebinding => (Kind::Rebind, 10, SECOND * 600),
            State::Informing => (Kind::Inform, 1, self.inform_limit),
        };
        let (server, addresses) = match &self.state {
            State::Requesting(offer) | State::Declining(offer) => {
                (Some(offer.server.clone()), offer.addresses.clone())
            }
            State::Renewing => (Some(self.server.clone()), self.addresses()),
            // None, where there is none yet.
            _ => (None, self.addresses()),
        };
        let before = self.retry.wait;
        let wait = match self.retry.count {
            // Longer than a server takes that answers within the second.
            0 if kind == Kind::Solicit => SECOND + SECOND / 10 * (self.chance() % 1024 + 1) / 1024,
            0 => self.around(SECOND * first),
            _ => (before + self.around(before)).min(self.around(most)),
        };
        let waited = now.saturating_sub(self.retry.began);
        self.retry.wait = wait;
        self.retry.at = now.saturating_add(wait);
        self.retry.count = self.retry.count.saturating_add(1);
        let (transaction, mac) = (self.transaction, self.mac);
        vec![Action::Send(Question { kind, transaction, mac, waited, server, addresses })]
    }

    fn answer(&mut self, now: Duration, answer: Answer) -> Vec<Action> {
        if !self.listens() || answer.transaction != self.transaction & 0xff_ffff {
            return Vec::new();
        }
        for (said, limit) in [
            (answer.solicit_limit, &mut self.solicit_limit),
            (answer.inform_limit, &mut self.inform_limit),
        ] {
            if let Some(seconds) = said.filter(|said| LIMITS.contains(said)) {
                *limit = Duration::from_secs(seconds.into());
            }
        }
        match &mut self.state {
            State::Soliciting(best) if answer.is_advertise => {
                // The first wait is for the best of several servers, later any will do.
                let first = self.retry.count == 1;
                let preference = answer.preference;
                let new = answer.addresses.iter().filter(|given| given.preferred > 0);
                let addresses: Vec<Ipv6Addr> =
                    new.take(MOST_ADDRESSES).map(|given| given.address).collect();
                if addresses.is_empty() || answer.status != SUCCESS {
                    // It has none, and may know names.
                    if answer.offered != Offered::default() {
                        self.offered = answer.offered;
                        self.offered_until = later(now, answer.refresh.unwrap_or(REFRESH));
                    }
                } else if best.as_ref().is_none_or(|best| preference > best.preference) {
                    *best = Some(Offer { server: answer.server, preference, addresses });
                    if !first || preference == SURE {
                        return self.timer(now);
                    }
                }
                Vec::new()
            }
            _ if answer.is_advertise => Vec::new(),
            State::Soliciting(_) if !answer.rapid => Vec::new(),
            State::Requesting(offer) if offer.server != answer.server => Vec::new(),
            State::Declining(_) => self.declined(now),
            State::Confirming => match answer.status {
                SUCCESS => self.confirmed(now),
                NOT_ON_LINK => self.lose(now),
                _ => Vec::new(),
            },
            State::Informing if answer.status == SUCCESS => {
                self.offered = answer.offered;
                let seconds = answer.refresh.unwrap_or(REFRESH).max(SOONEST_REFRESH);
                let until = later(now, seconds);
                self.offered_until = until.saturating_add(GRACE);
                self.rest(State::Informed, until)
            }
            State::Soliciting(_) | State::Requesting(_) | State::Renewing | State::Rebinding => {
                self.address_answered(now, answer)
            }
            State::Idle | State::Bound | State::Informing | State::Informed => Vec::new(),
        }
    }

    /// A server gives addresses, or does not.
    fn address_answered(&mut self, now: Duration, answer: Answer) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut given = false;
        // What an answer is silent about stays as it was (section 18.2.10.1).
        for said in answer.addresses.iter().filter(|_| answer.status == SUCCESS) {
            let Address { address, preferred, valid } = *said;
            let known = self.leases.iter().position(|lease| lease.address == address);
            match known {
                Some(at) if valid == 0 => {
                    self.leases.remove(at);
                    actions.push(Action::Take(address));
                    continue;
                }
                Some(at) => {
                    self.leases.remove(at);
                    if preferred > 0 {
                        self.failures = 0;
                    }
                }
                None if preferred == 0 || self.leases.len() >= MOST_ADDRESSES => continue,
                None => {}
            }
            given = true;
            self.leases.push(Lease::new(now, *said));
        }
        if given {
            let (renewal, rebinding) = times(&answer);
            (self.renew_at, self.rebind_at) = (later(now, renewal), later(now, rebinding));
            if !self.leases.iter().any(Lease::is_preferred) {
                // The server wants it no more. It is asked for another one, but not all the time.
                self.failures = self.failures.saturating_add(1);
                self.renew_at = self.renew_at.max(now.saturating_add(self.pause(SECOND * 10)));
                self.rebind_at = self.rebind_at.max(self.renew_at);
            }
            self.server = answer.server;
            (self.offered, self.offered_until) = (answer.offered, Duration::MAX);
            actions.extend(self.bound(now));
            return actions;
        }
        if matches!(self.state, State::Requesting(_)) {
            actions.extend(self.fail(now));
        } else if self.leases.is_empty() {
            // It has taken back all that there was; who solicits hears others too.
            if !actions.is_empty() {
                actions.extend(self.refused(now));
            }
        } else if answer.status == NO_BINDING {
            // It has lost its list, and is asked to write us into it again.
            let addresses = self.addresses();
            let offer = Offer { server: answer.server, preference: 0, addresses };
            actions.extend(self.begin(State::Requesting(offer), now, Duration::ZERO));
        } else if answer.status == NOT_ON_LINK {
            actions.extend(self.refused(now));
        }
        // Else another server may know better, and this one later.
        actions
    }

    /// The kernel has found that another node has our address.
    fn taken(&mut self, now: Duration, address: Ipv6Addr) -> Vec<Action> {
        let Some(at) = self.leases.iter().position(|lease| lease.address == address) else {
            return Vec::new();
        };
        self.leases.remove(at);
        self.failures = self.failures.saturating_add(1);
        let mut actions = vec![Action::Take(address)];
        if self.carrier {
            let (server, addresses) = (self.server.clone(), vec![address]);
            let offer = Offer { server, preference: 0, addresses };
            actions.extend(self.begin(State::Declining(offer), now, Duration::ZERO));
        }
        actions
    }

    /// The server knows that an address is another's, or does not listen.
    fn declined(&mut self, now: Duration) -> Vec<Action> {
        if self.leases.is_empty() { self.lose(now) } else { self.bound(now) }
    }

    /// Somebody took our address away, or the kernel, as it does when a link is switched off.
    fn gone(&mut self, now: Duration, address: Ipv6Addr) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.address == address) {
            // While the cable is out nobody knows whether it is good.
            lease.lost(self.carrier.then_some(now));
        }
    }

    /// What we have is good here; the link may have lost it meanwhile.
    fn confirmed(&mut self, now: Duration) -> Vec<Action> {
        self.leases.iter_mut().for_each(|lease| lease.give_at = now);
        self.bound(now)
    }

    fn bound(&mut self, now: Duration) -> Vec<Action> {
        self.rest(State::Bound, self.renew_at);
        if self.renew_at <= now { self.timer(now) } else { Vec::new() }
    }

    /// Who has offered something gives nothing. What there is is good until its end all the same.
    fn fail(&mut self, now: Duration) -> Vec<Action> {
        self.failures = self.failures.saturating_add(1);
        if self.leases.is_empty() {
            return self.settle(now);
        }
        self.begin(State::Rebinding, now, self.pause(SECOND * 10))
    }

    /// Who gave what we had takes it back, as it may with the next: that is asked for later each
    /// time.
    fn refused(&mut self, now: Duration) -> Vec<Action> {
        self.failures = self.failures.saturating_add(1);
        self.lose(now)
    }

    /// What we had is gone: say so and look for something new.
    fn lose(&mut self, now: Duration) -> Vec<Action> {
        self.forget_offered();
        self.state = State::Idle;
        let taken = std::mem::take(&mut self.leases).into_iter();
        let mut actions: Vec<Action> = taken.map(|lease| Action::Take(lease.address)).collect();
        actions.extend(self.settle(now));
        actions
    }

    /// Longer with each failure.
    fn pause(&self, first: Duration) -> Duration {
        let times = 2_u32.saturating_pow(self.failures);
        self.around(first.saturating_mul(times).min(self.solicit_limit))
    }

    /// From nine to eleven tenths of it.
    fn around(&self, wait: Duration) -> Duration {
        wait / 10 * 9 + wait / 5 * (self.chance() % 1024) / 1024
    }

    fn chance(&self) -> u32 {
        chance(self.mac, self.transaction, self.retry.count)
    }
}
