//! An address that a server has given, with its times.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::message::{Address, Answer, FOREVER};
use super::{LIMIT, SECOND};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) address: Ipv6Addr,
    /// Zero when it is over: what is new takes another address then.
    preferred_until: Duration,
    pub(super) ends_at: Duration,
    /// When the link is to be given it, for the first time or again.
    pub(super) give_at: Duration,
    /// What is waited before it is given again to a link that has lost it, longer each time.
    pause: Duration,
}

impl Lease {
    pub(super) fn new(now: Duration, given: Address) -> Self {
        let mut lease = Self {
            address: given.address,
            preferred_until: later(now, given.preferred),
            ends_at: later(now, given.valid),
            give_at: now,
            pause: SECOND,
        };
        lease.pass(now);
        lease
    }

    /// When something of it changes by itself.
    pub(super) fn due(&self) -> Duration {
        let first = self.ends_at.min(self.give_at);
        if self.is_preferred() { first.min(self.preferred_until) } else { first }
    }

    /// What is new may take it.
    pub(super) fn is_preferred(&self) -> bool {
        !self.preferred_until.is_zero()
    }

    pub(super) fn pass(&mut self, now: Duration) {
        if self.preferred_until <= now {
            self.preferred_until = Duration::ZERO;
        }
    }

    /// The link does not have it any more; it is given again at some time after this one.
    pub(super) fn lost(&mut self, now: Option<Duration>) {
        self.give_at = now.map_or(Duration::MAX, |now| now.saturating_add(self.pause));
        self.pause = (self.pause * 2).min(LIMIT);
    }

    /// What the link is to be given of it now.
    pub(super) fn give(&mut self, now: Duration) -> Option<Address> {
        if self.give_at > now {
            return None;
        }
        self.give_at = Duration::MAX;
        let [preferred, valid] =
            [self.preferred_until, self.ends_at].map(|until| seconds_until(now, until));
        (valid > 0).then_some(Address { address: self.address, preferred, valid })
    }
}

/// T1 and T2 in seconds. What a server leaves to us, or says of a time when all is over, is half and
/// four fifths of the shortest time for which an address is preferred (section 14.2).
pub(super) fn times(answer: &Answer) -> (u32, u32) {
    let preferred = answer.addresses.iter().map(|given| given.preferred).filter(|life| *life > 0);
    let end = answer.addresses.iter().map(|given| given.valid).max().unwrap_or(0);
    let life = preferred.min().unwrap_or(end);
    let said = |said: u32| Some(said).filter(|said| (1..end).contains(said));
    let part = |part: u32| if life == FOREVER { FOREVER } else { part };
    let renewal = said(answer.renewal);
    let rebinding =
        said(answer.rebinding).unwrap_or_else(|| part(life - life / 5).max(renewal.unwrap_or(0)));
    (renewal.unwrap_or_else(|| part(life / 2)).min(rebinding).max(1), rebinding)
}

fn seconds_until(now: Duration, until: Duration) -> u32 {
    match until {
        Duration::MAX => FOREVER,
        _ => u32::try_from(until.saturating_sub(now).as_secs()).unwrap_or(FOREVER),
    }
}

pub(super) fn later(now: Duration, seconds: u32) -> Duration {
    match seconds {
        FOREVER => Duration::MAX,
        _ => now.saturating_add(Duration::from_secs(seconds.into())),
    }
}
