//! A DHCPv6 client as a pure state machine: RFC 8415, for one address of a link and what is told
//! beside it, or for that alone (sections 18.2 and 15). Time, carrier, what routers say and messages
//! in, what to send and to configure out; who has sockets and a clock sits above ([`super`]).
//!
//! Left out on purpose: prefixes, `RELEASE` (a node comes back and wants the same address),
//! `RECONFIGURE`, which needs keys, and keeping a lease over a restart.

pub(crate) mod message;
#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;
use std::time::Duration;

use super::dhcp::{chance, finite};
use message::{
    Address, Answer, FOREVER, Kind, NO_BINDING, NOT_ON_LINK, Offered, Question, SUCCESS,
};

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
/// When who has no address asks again, if the server says nothing, and at the soonest.
const REFRESH: u32 = 86_400;
const SOONEST_REFRESH: u32 = 600;
/// No other server is waited for.
const SURE: u8 = 255;

/// What routers leave to DHCPv6 (RFC 4861, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    /// Who knows names and the time (flag O).
    Names,
    /// Addresses too (flag M).
    Address,
}

/// The address that a server has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv6Addr,
    server: Vec<u8>,
    renew_at: Duration,
    rebind_at: Duration,
    ends_at: Duration,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The cable is in, or out.
    Carrier(bool),
    /// A router says so.
    Routers(Want),
    /// The time of [`Client::deadline`] has come.
    Timer,
    /// A server said something.
    Answer(Answer),
    /// Another node on the link has this address.
    Taken(Ipv6Addr),
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
    /// Survives a cable that is out, and a server that has forgotten it.
    lease: Option<Lease>,
    offered: Offered,
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
    /// Tells the server that the address which it gave is another's.
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
    address: Ipv6Addr,
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
            lease: None,
            offered: Offered::default(),
            solicit_limit: LIMIT,
            inform_limit: LIMIT,
        }
    }

    /// When [`Event::Timer`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let due = match (&self.state, &self.lease) {
            (State::Renewing, Some(lease)) => self.retry.at.min(lease.rebind_at),
            _ => self.retry.at,
        };
        finite(self.lease.as_ref().map_or(due, |lease| due.min(lease.ends_at)))
    }

    /// Whether an answer may come before the next step.
    pub(crate) fn listens(&self) -> bool {
        self.retry.count > 0
    }

    /// Servers are asked for what the link does not have.
    pub(crate) fn lacks(&self) -> Option<Want> {
        match &self.state {
            State::Soliciting(_) | State::Requesting(_) | State::Declining(_)
                if self.lease.is_none() =>
            {
                Some(Want::Address)
            }
            State::Informing => Some(Want::Names),
            _ => None,
        }
    }

    /// What was told beside it.
    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Takes one event at the time `now` and says what is to be done, in order.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let ended = self.lease.as_ref().is_some_and(|lease| lease.ends_at <= now);
        let mut actions = if ended { self.lose(now) } else { Vec::new() };
        actions.extend(match event {
            Event::Carrier(carrier) if carrier != self.carrier => {
                self.carrier = carrier;
                self.failures = 0;
                self.settle(now)
            }
            Event::Routers(want) if want != self.want => {
                self.want = want;
                self.failures = 0;
                self.settle(now)
            }
            Event::Timer if self.deadline().is_some_and(|deadline| deadline <= now) => {
                self.timer(now)
            }
            Event::Answer(answer) => self.answer(now, answer),
            Event::Taken(address) => self.taken(now, address),
            Event::Stop => {
                self.want = Want::Nothing;
                self.lose(now)
            }
            Event::Carrier(_) | Event::Routers(_) | Event::Timer => Vec::new(),
        });
        actions
    }

    /// Does what carrier and routers ask for now. An address that we have is kept up although no
    /// router asks for it any more: another one may.
    fn settle(&mut self, now: Duration) -> Vec<Action> {
        let state = match (&self.lease, self.want) {
            _ if !self.carrier => State::Idle,
            (Some(_), _) if matches!(self.state, State::Idle) => State::Confirming,
            (Some(_), _) => return Vec::new(),
            (None, Want::Address) => State::Soliciting(None),
            (None, Want::Names) => State::Informing,
            (None, Want::Nothing) => {
                self.offered = Offered::default();
                State::Idle
            }
        };
        if matches!(state, State::Idle) {
            return self.rest(state, Duration::MAX);
        }
        // Nodes that get power together do not ask together.
        let delay = match 2_u32.saturating_pow(self.failures) {
            1 => SECOND * (self.chance() % 1024) / 1024,
            seconds => self.around(SECOND.saturating_mul(seconds).min(self.solicit_limit)),
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
        let rebinds = self.lease.as_ref().is_some_and(|lease| lease.rebind_at <= now);
        match &mut self.state {
            State::Idle => Vec::new(),
            State::Soliciting(best) => match best.take() {
                Some(offer) => self.begin(State::Requesting(offer), now, Duration::ZERO),
                None => self.send(now),
            },
            State::Requesting(_) if self.retry.count >= REQUESTS => self.fail(now),
            State::Declining(_) if self.retry.count >= DECLINES => self.lose(now),
            // Nobody knows better: it is ours until it ends.
            State::Confirming if self.retry.count > 0 && now >= self.retry.began + CONFIRMATION => {
                self.bound(now)
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
        let lease = self.lease.as_ref();
        let own = lease.map(|lease| lease.address);
        let of_lease = lease.map(|lease| lease.server.clone());
        let (kind, first, most, server, address) = match &self.state {
            State::Idle | State::Bound | State::Informed => return Vec::new(),
            State::Soliciting(_) => (Kind::Solicit, 1, self.solicit_limit, None, None),
            State::Requesting(offer) => {
                let Offer { server, address, .. } = offer.clone();
                (Kind::Request, 1, SECOND * 30, Some(server), Some(address))
            }
            State::Declining(offer) => {
                let Offer { server, address, .. } = offer.clone();
                (Kind::Decline, 1, LIMIT, Some(server), Some(address))
            }
            State::Confirming => (Kind::Confirm, 1, SECOND * 4, None, own),
            State::Renewing => (Kind::Renew, 10, SECOND * 600, of_lease, own),
            State::Rebinding => (Kind::Rebind, 10, SECOND * 600, None, own),
            State::Informing => (Kind::Inform, 1, self.inform_limit, None, None),
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
        vec![Action::Send(Question { kind, transaction, mac, waited, server, address })]
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
                if let Some(Address { address, .. }) = usable(&answer, None)
                    && best.as_ref().is_none_or(|best| preference > best.preference)
                {
                    *best = Some(Offer { server: answer.server, preference, address });
                    if !first || preference == SURE {
                        return self.timer(now);
                    }
                }
                Vec::new()
            }
            _ if answer.is_advertise => Vec::new(),
            State::Soliciting(_) if !answer.rapid => Vec::new(),
            State::Requesting(offer) if offer.server != answer.server => Vec::new(),
            State::Declining(_) => self.lose(now),
            State::Confirming => match answer.status {
                SUCCESS => self.bound(now),
                NOT_ON_LINK => self.lose(now),
                _ => Vec::new(),
            },
            State::Informing if answer.status == SUCCESS => {
                self.offered = answer.offered;
                let seconds = answer.refresh.unwrap_or(REFRESH).max(SOONEST_REFRESH);
                self.rest(State::Informed, later(now, seconds))
            }
            State::Soliciting(_) | State::Requesting(_) | State::Renewing | State::Rebinding => {
                self.address_answered(now, answer)
            }
            State::Idle | State::Bound | State::Informing | State::Informed => Vec::new(),
        }
    }

    /// A server gives an address, or does not.
    fn address_answered(&mut self, now: Duration, answer: Answer) -> Vec<Action> {
        let own = self.lease.as_ref().map(|lease| lease.address);
        if let Some(given) = usable(&answer, own) {
            if own == Some(given.address) {
                self.failures = 0;
            }
            let left = own.filter(|own| *own != given.address).map(Action::Take);
            let mut actions: Vec<Action> = left.into_iter().collect();
            actions.push(Action::Give(given));
            self.lease = Some(lease_of(now, &answer, given));
            self.offered = answer.offered;
            actions.extend(self.bound(now));
            return actions;
        }
        match (&self.state, own) {
            (State::Requesting(_), _) => self.fail(now),
            // It has lost its list, and is asked to write us into it again.
            (State::Renewing | State::Rebinding, Some(address)) if answer.status == NO_BINDING => {
                let offer = Offer { server: answer.server, preference: 0, address };
                self.begin(State::Requesting(offer), now, Duration::ZERO)
            }
            (State::Renewing | State::Rebinding, Some(own))
                if answer.status == NOT_ON_LINK
                    || answer.addresses.iter().any(|given| given.address == own) =>
            {
                self.lose(now)
            }
            // Another server may know better, and this one later.
            _ => Vec::new(),
        }
    }

    /// The kernel has found that another node has our address.
    fn taken(&mut self, now: Duration, address: Ipv6Addr) -> Vec<Action> {
        let Some(lease) = self.lease.take_if(|lease| lease.address == address) else {
            return Vec::new();
        };
        self.failures = self.failures.saturating_add(1);
        let mut actions = vec![Action::Take(address)];
        if self.carrier {
            let offer = Offer { server: lease.server, preference: 0, address };
            actions.extend(self.begin(State::Declining(offer), now, Duration::ZERO));
        }
        actions
    }

    fn bound(&mut self, now: Duration) -> Vec<Action> {
        let renew_at = self.lease.as_ref().map_or(Duration::MAX, |lease| lease.renew_at);
        self.rest(State::Bound, renew_at);
        if renew_at <= now { self.timer(now) } else { Vec::new() }
    }

    fn fail(&mut self, now: Duration) -> Vec<Action> {
        self.failures = self.failures.saturating_add(1);
        self.lose(now)
    }

    /// What we had is gone: say so and look for something new.
    fn lose(&mut self, now: Duration) -> Vec<Action> {
        self.offered = Offered::default();
        self.state = State::Idle;
        let mut actions = Vec::new();
        actions.extend(self.lease.take().map(|lease| Action::Take(lease.address)));
        actions.extend(self.settle(now));
        actions
    }

    /// From nine to eleven tenths of it.
    fn around(&self, wait: Duration) -> Duration {
        wait / 10 * 9 + wait / 5 * (self.chance() % 1024) / 1024
    }

    fn chance(&self) -> u32 {
        chance(self.mac, self.transaction, self.retry.count)
    }
}

/// The address in an answer that a link can have: the one that it has, else the first.
fn usable(answer: &Answer, own: Option<Ipv6Addr>) -> Option<Address> {
    let good = || answer.addresses.iter().filter(|given| given.valid > 0);
    let known = good().find(|given| Some(given.address) == own).or_else(|| good().next());
    known.filter(|_| answer.status == SUCCESS).copied()
}

/// The times that a server leaves to us are half and four fifths of the time for which the address
/// is preferred (section 14.2).
fn lease_of(now: Duration, answer: &Answer, given: Address) -> Lease {
    let life = if given.preferred > 0 { given.preferred } else { given.valid };
    let or = |said: u32, part: u32| match (said, life) {
        (0, FOREVER) => FOREVER,
        (0, _) => part,
        _ => said,
    };
    let rebinding = or(answer.rebinding, (life - life / 5).max(answer.renewal)).min(given.valid);
    let renewal = or(answer.renewal, life / 2).min(rebinding).max(1);
    Lease {
        address: given.address,
        server: answer.server.clone(),
        renew_at: later(now, renewal),
        rebind_at: later(now, rebinding),
        ends_at: later(now, given.valid),
    }
}

fn later(now: Duration, seconds: u32) -> Duration {
    match seconds {
        FOREVER => Duration::MAX,
        _ => now.saturating_add(Duration::from_secs(seconds.into())),
    }
}
