//! Moments that differ between nodes and are always the same for one: of a machine's id.

use formats::digest::Sha256;

/// The moments of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread(Sha256);

impl Spread {
    /// Of the machine with this id.
    pub fn of(machine_id: &str) -> Self {
        Self(Sha256::of(format!("orlop moments\n{machine_id}\n")))
    }

    /// The first moment behind `after` that is this machine's, of which there is one in each interval. All
    /// in seconds.
    pub(super) fn next(&self, after: i64, interval: i64) -> i64 {
        let own = below(&self.0, interval);
        let since = after.saturating_sub(own).rem_euclid(interval.max(1));
        after.saturating_add(interval.max(1) - since)
    }

    /// A number below `range`, another one for each `of`.
    pub(super) fn share(&self, of: i64, range: i64) -> i64 {
        let digest = Sha256::of([&self.0.as_bytes()[..], &of.to_le_bytes()[..]].concat());
        below(&digest, range)
    }
}

fn below(digest: &Sha256, range: i64) -> i64 {
    let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    let range = u64::try_from(range).unwrap_or(0).max(1);
    i64::try_from(u64::from_le_bytes(first) % range).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_machine_has_one_moment_in_each_interval(
            id in "[0-9a-f]{32}",
            after in -1_000_000_000_i64..2_000_000_000,
            interval in 1_i64..1_000_000,
        ) {
            let spread = Spread::of(&id);
            let next = spread.next(after, interval);
            prop_assert!(next > after && next <= after + interval);
            prop_assert_eq!(spread.next(next - 1, interval), next);
            prop_assert_eq!(spread.next(next, interval), next + interval);
            prop_assert!((0..interval).contains(&spread.share(after, interval)));
        }
    }

    #[test]
    fn the_machines_of_a_fleet_are_apart() {
        // A fleet that is switched on at once looks as evenly as any other.
        let mut buckets = [0_u32; 60];
        for machine in 0..6000 {
            let next = Spread::of(&format!("{machine:032x}")).next(1_000_000, 3600);
            buckets[usize::try_from((next - 1_000_001) / 60).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|count| (50..=150).contains(count)), "{buckets:?}");
        let shares = |of| (0..100).map(move |id| Spread::of(&format!("{id}")).share(of, 3600));
        assert!(shares(1).ne(shares(2)), "nobody is always the first");
    }
}
