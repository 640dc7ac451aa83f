//! How often a server is asked again, and when: twice as late each time, and nodes that failed together do
//! not come back together.

use std::time::Duration;

use formats::digest::Sha256;

/// How often, and when.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Failures in a row, without progress, after which a server is given up.
    pub tries: u32,
    /// After the first failure, at most.
    pub first: Duration,
    /// After any failure, at most.
    pub most: Duration,
    /// The longest `Retry-After` that is waited for, and of one piece of work all of them together.
    pub told: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
            told: Duration::from_secs(300),
        }
    }
}

impl Patience {
    /// What is left of this patience after so much was waited because of `Retry-After`.
    pub fn after(self, waited: Duration) -> Self {
        Self { told: self.told.saturating_sub(waited), ..self }
    }

    /// How long to wait after the failure with this number, 1 for the first: between half of what is due
    /// and all of it, by `seed`. `told` is what the server asks for. Nothing: it is given up.
    pub fn delay(&self, failure: u32, seed: u64, told: Option<Duration>) -> Option<Duration> {
        if failure >= self.tries || told.is_some_and(|told| told > self.told) {
            return None;
        }
        let due = self
            .first
            .saturating_mul(1_u32.checked_shl(failure.saturating_sub(1)).unwrap_or(u32::MAX));
        let due = due.min(self.most);
        let half = due / 2;
        let hash = Sha256::of([seed.to_le_bytes(), u64::from(failure).to_le_bytes()].concat());
        let share = u32::from(hash.as_bytes()[0]);
        Some((half + half * share / 255).max(told.unwrap_or_default()))
    }
}

/// `Retry-After` as a number of seconds (RFC 9110, section 10.2.3). A date says nothing to a node whose
/// clock may be wrong.
pub fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = (1..=9).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().ok().map(Duration::from_secs)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_up_to_a_limit_and_differs_between_nodes() {
        let patience = Patience { tries: 12, ..Patience::default() };
        let second = Duration::from_secs(1);
        for (failure, most) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (11, 60)] {
            for seed in 0..50 {
                let delay = patience.delay(failure, seed, None).expect("not given up");
                assert!(delay >= second * most / 2 && delay <= second * most, "{delay:?}");
            }
        }
        assert_ne!(patience.delay(3, 1, None), patience.delay(3, 2, None));
        assert_eq!(patience.delay(12, 1, None), None);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_unless_it_is_too_long() {
        let patience = Patience::default();
        let told = |seconds| patience.delay(1, 7, Some(Duration::from_secs(seconds)));
        assert_eq!(told(20), Some(Duration::from_secs(20)));
        assert!(told(0) < told(20));
        assert_eq!(told(301), None);
        // However often it is asked for.
        let told = Some(Duration::from_secs(200));
        let after = |seconds| patience.after(Duration::from_secs(seconds)).delay(1, 7, told);
        assert_eq!((after(100), after(101), after(400)), (told, None, None));
        for (value, want) in [("120", Some(120)), (" 0", Some(0)), ("-1", None), ("", None)] {
            assert_eq!(retry_after(value), want.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after("99999999999999999999"), None);
    }
}
