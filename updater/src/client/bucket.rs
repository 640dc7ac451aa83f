//! The rate limit: a token bucket, told the time. A bucket that is full lets so many bytes pass at once;
//! it fills at the rate.

use std::time::Duration;

/// Bytes that may pass, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second, at least 1.
    per_second: u64,
    /// Bytes that may pass at once after a pause.
    burst: u64,
}

impl Rate {
    /// So many bytes a second, in bursts of as many: a second's worth. None would be no limit but an end,
    /// so at least 1.
    pub fn new(per_second: u64) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, burst: per_second }
    }

    /// How long so many bytes take.
    fn time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A bucket at some time.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// When it is full again if nothing more is taken, since the clock's beginning.
    full_at: Duration,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at: Duration::ZERO }
    }

    /// Takes so many bytes at `now`, and says how long to wait before any more are read.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        self.full_at = self.full_at.max(now).saturating_add(self.rate.time(bytes));
        let burst = self.rate.time(self.rate.burst);
        self.full_at.saturating_sub(now).saturating_sub(burst)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_within_the_burst_passes_and_what_is_beyond_waits() {
        let mut bucket = Bucket::new(Rate::new(1000));
        for (bytes, now, wait) in [
            (1000, 0, 0),
            (500, 0, 500),
            (0, 500, 0),
            (1, 500, 1),
            // After a long pause it is full, and not more than full.
            (1000, 60_000, 0),
            (1000, 60_000, 1000),
        ] {
            assert_eq!(bucket.take(bytes, ms(now)), ms(wait), "{bytes} at {now}");
        }
        assert_eq!(Bucket::new(Rate::new(0)).take(3, ms(0)), ms(2000));
        Bucket::new(Rate::new(1)).take(u64::MAX, Duration::MAX);
    }

    proptest! {
        #[test]
        fn who_waits_as_told_never_exceeds_rate_and_burst(
            rate in 1_u64..1_000_000, pieces in prop::collection::vec((0_u64..2_000_000, 0_u64..5000), 1..40)
        ) {
            let mut bucket = Bucket::new(Rate::new(rate));
            let (mut now, mut passed) = (ms(0), 0_u64);
            for (bytes, idle) in pieces {
                now += ms(idle);
                now += bucket.take(bytes, now);
                passed += bytes;
                let allowed = u128::from(rate) * (now.as_nanos() + 1_000_000_000) / 1_000_000_000;
                prop_assert!(u128::from(passed) <= allowed + 2, "{passed} of {allowed}");
            }
        }
    }
}
