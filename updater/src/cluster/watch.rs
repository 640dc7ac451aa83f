//! Follows the own Node object: a list once, then one watch after the other from where the last one ended, so
//! that a fleet does not poll. A list again only if the API server no longer knows what has happened since.
//! After failures it waits longer and longer, each node for another time.

use std::time::{Duration, Instant};

use formats::digest::Sha256;

use super::api::{Api, Trouble};
use super::objects::{Line, Seen};
use super::report::PATIENCE;
use crate::cancel::Cancel;

/// What a list may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a watch lasts at least. The API server ends it then, and the next one has the credentials of
/// then.
const SHORTEST: Duration = Duration::from_secs(4 * 60);
/// As much longer at most, so that nodes do not come back together.
const SPREAD: u64 = 120;
/// A watch that ends sooner and has said nothing has failed.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// What is heard of the own Node object.
#[derive(Debug)]
pub(super) enum News {
    /// It is so; nothing if there is none.
    Is(Option<Seen>),
    /// Nothing is heard, and why.
    Trouble(Trouble),
}

/// What is to be asked next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    List,
    /// From this version on.
    Watch(String),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As it should.
    Well,
    /// Too soon, or not at all; when the server wants to be asked again, if it says so.
    Badly(Option<Duration>),
    /// What was asked for is too long ago.
    Expired,
}

/// Where it is.
#[derive(Debug)]
struct Follower {
    next: Next,
    failures: u32,
    seed: u64,
    /// Counts exchanges, for other numbers each time.
    count: u64,
}

impl Follower {
    fn new(seed: u64) -> Self {
        Self { next: Next::List, failures: 0, seed, count: 0 }
    }

    /// The object is known as of this version.
    fn at(&mut self, version: String) {
        // Without a version there is nothing to go on from.
        self.next = if version.is_empty() { Next::List } else { Next::Watch(version) };
        self.failures = 0;
    }

    /// How long to wait before what comes next.
    fn ended(&mut self, how: Ended) -> Duration {
        self.count += 1;
        match how {
            Ended::Well => {
                self.failures = 0;
                return Duration::from_millis(self.share(1000));
            }
            // All nodes hear it at once, when an API server starts anew.
            Ended::Expired => self.next = Next::List,
            Ended::Badly(_) => {}
        }
        self.failures = self.failures.saturating_add(1);
        let told = match how {
            Ended::Badly(told) => told.map(|told| told.min(PATIENCE.told)),
            _ => None,
        };
        PATIENCE.delay(self.failures, self.seed, told).unwrap_or(PATIENCE.most)
    }

    /// How long the next watch lasts.
    fn length(&self) -> Duration {
        SHORTEST + Duration::from_secs(self.share(SPREAD))
    }

    /// A number below `most`, of this node and this exchange.
    fn share(&self, most: u64) -> u64 {
        let hash = Sha256::of([self.seed.to_le_bytes(), self.count.to_le_bytes()].concat());
        hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes) % most
    }
}

/// Follows until it is cancelled, which is looked at between exchanges. `tell` hears what changes, and each
/// trouble.
pub(super) fn follow(api: &Api, seed: u64, cancel: &Cancel, tell: &dyn Fn(News)) {
    let mut follower = Follower::new(seed);
    let mut last = None;
    let mut told = |seen: Option<Seen>| {
        // kubelet changes its Node every few minutes.
        if last.as_ref() != Some(&seen) {
            last = Some(seen.clone());
            tell(News::Is(seen));
        }
    };
    loop {
        let result = match follower.next.clone() {
            Next::List => api.look(LIMIT).map(|(version, seen)| {
                told(seen);
                follower.at(version);
                Ended::Well
            }),
            Next::Watch(version) => watch(api, &version, &mut follower, cancel, &mut told),
        };
        let how = match result {
            Ok(how) => how,
            Err(trouble) if trouble.is_expired() => Ended::Expired,
            Err(trouble) => {
                let again = trouble.again();
                tell(News::Trouble(trouble));
                Ended::Badly(again)
            }
        };
        if cancel.pause(follower.ended(how)).is_err() {
            return;
        }
    }
}

fn watch(
    api: &Api,
    version: &str,
    follower: &mut Follower,
    cancel: &Cancel,
    told: &mut impl FnMut(Option<Seen>),
) -> Result<Ended, Trouble> {
    let began = Instant::now();
    let mut watch = api.watch(version, follower.length())?;
    let mut said = false;
    while let Some(line) = watch.next()? {
        said = true;
        match line {
            Line::Is(version, seen) => {
                told(Some(seen));
                follower.at(version);
            }
            Line::Gone(version) => {
                told(None);
                follower.at(version);
            }
            Line::Until(version) => follower.at(version),
            Line::Failed(..) | Line::Other => {}
        }
        if cancel.check().is_err() {
            break;
        }
    }
    let too_short = !said && began.elapsed() < TOO_SHORT;
    Ok(if too_short { Ended::Badly(None) } else { Ended::Well })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_watch_goes_on_where_the_last_one_ended() {
        let mut follower = Follower::new(1);
        assert_eq!(follower.next, Next::List);
        follower.at("7".into());
        assert!(follower.ended(Ended::Well) < s(1));
        assert_eq!(follower.next, Next::Watch("7".into()));
        follower.at("9".into());
        follower.ended(Ended::Badly(None));
        assert_eq!(follower.next, Next::Watch("9".into()), "a cut costs no list");
        let delay = follower.ended(Ended::Expired);
        assert_eq!(follower.next, Next::List);
        assert!(delay >= s(1), "all nodes hear it at once");
        follower.at(String::new());
        assert_eq!(follower.next, Next::List);
    }

    #[test]
    fn failures_in_a_row_make_it_wait_for_a_minute_at_most_and_as_the_server_says() {
        let mut follower = Follower::new(5);
        let delays: Vec<_> = (0..10).map(|_| follower.ended(Ended::Badly(None))).collect();
        assert!(delays[0] <= s(1) && delays[9] >= s(30) && delays[9] <= s(60), "{delays:?}");
        assert_eq!(follower.ended(Ended::Badly(Some(s(120)))), s(120));
        assert!(follower.ended(Ended::Badly(Some(s(100_000)))) <= PATIENCE.told);
        follower.at("1".into());
        assert!(follower.ended(Ended::Badly(None)) <= s(1), "it has spoken meanwhile");
    }

    #[test]
    fn nodes_do_not_come_back_together() {
        let lengths: std::collections::BTreeSet<_> =
            (0..1000).map(|seed| Follower::new(seed).length()).collect();
        assert!(lengths.len() > 100, "{} lengths", lengths.len());
        assert!(lengths.iter().all(|length| (s(240)..s(360)).contains(length)));
    }
}
