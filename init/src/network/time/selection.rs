//! Which of several time servers are believed: those whose times a majority shares, after the
//! selection of RFC 5905, section 11.2.1. Pure.
//!
//! Each server's time is right to within its distance, so the times of all that are right have a
//! point in common. If more than half of the servers are, what is found lies within the result's
//! own error of the truth, whatever the others say.

/// What a server's clock says of ours, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// As the config or DHCP names it.
    pub server: String,
    /// How far our clock is behind.
    pub offset: i128,
    /// How far that may be off.
    pub distance: i128,
}

/// What a majority says of our clock, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// How far it is behind: what the surest of them says, as far as the others agree.
    pub offset: i128,
    /// How far that may be off, if one of them is right.
    pub error: i128,
    /// Who says so.
    pub servers: Vec<String>,
}

/// What more than half of the servers agree on.
pub fn select(candidates: &[Candidate]) -> Option<Agreement> {
    let liars = 0..candidates.len().div_ceil(2);
    liars.into_iter().find_map(|liars| without(candidates, liars))
}

/// What all but so many agree on.
fn without(candidates: &[Candidate], liars: usize) -> Option<Agreement> {
    let is_common = |point: &i128| {
        let near = candidates.iter().filter(|one| (point - one.offset).abs() <= one.distance);
        near.count() >= candidates.len() - liars
    };
    let low = candidates.iter().map(Candidate::low).filter(is_common).min()?;
    let high = candidates.iter().map(Candidate::high).filter(is_common).max()?;
    let is_near = |one: &&Candidate| one.high() >= low && one.low() <= high;
    let agreed: Vec<&Candidate> = candidates.iter().filter(is_near).collect();
    // One that is sure of nothing agrees with two that do not agree with each other.
    let (from, to) = (agreed.iter().map(|one| one.low()), agreed.iter().map(|one| one.high()));
    let (from, to) = (from.max()?, to.min()?);
    if from > to {
        return None;
    }
    let surest = agreed.iter().min_by_key(|one| one.distance)?;
    let offset = surest.offset.clamp(from, to);
    let error = agreed.iter().map(|one| (one.offset - offset).abs() + one.distance).max()?;
    let servers = agreed.iter().map(|one| one.server.clone()).collect();
    Some(Agreement { offset, error, servers })
}

impl Candidate {
    fn low(&self) -> i128 {
        self.offset - self.distance
    }

    fn high(&self) -> i128 {
        self.offset + self.distance
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(all: &[(i128, i128)]) -> Vec<Candidate> {
        let named = all.iter().enumerate();
        named
            .map(|(at, &(offset, distance))| Candidate { server: at.to_string(), offset, distance })
            .collect()
    }

    #[test]
    fn a_majority_is_believed_and_nobody_else() {
        type Case<'a> = (&'a [(i128, i128)], Option<(i128, i128, &'a str)>);
        let cases: &[Case<'_>] = &[
            (&[], None),
            (&[(70, 5)], Some((70, 5, "0"))),
            // Two agree, or nobody knows who is wrong.
            (&[(70, 5), (74, 2)], Some((74, 9, "0 1"))),
            (&[(70, 2), (75, 2)], None),
            (&[(70, 5), (900, 1), (72, 3)], Some((72, 7, "0 2"))),
            (&[(70, 5), (900, 1), (72, 3), (901, 1)], None),
            (&[(70, 5), (900, 1), (72, 3), (901, 1), (71, 1)], Some((71, 6, "0 2 4"))),
            (&[(0, 1), (10, 1), (20, 1)], None),
            // One that could be right with everybody does not say who is.
            (&[(70, 5), (900, 5), (485, 1000)], None),
            (&[(70, 5), (485, 1000)], Some((70, 1415, "0 1"))),
        ];
        for (all, want) in cases {
            let found = select(&candidates(all));
            let found = found.map(|one| (one.offset, one.error, one.servers.join(" ")));
            let want = want.map(|(offset, error, who)| (offset, error, who.to_owned()));
            assert_eq!(found, want, "{all:?}");
        }
    }

    proptest! {
        /// More than half are right; the others say anything.
        #[test]
        fn no_minority_moves_the_clock_further_than_the_result_admits(
            truth in -1_000_000_i128..1_000_000,
            right in prop::collection::vec((-100_i128..=100, 0_i128..200), 1..6),
            wrong in prop::collection::vec((-2000_i128..2000, 0_i128..3000), 0..5),
            turn in 0_usize..9,
        ) {
            let wrong = &wrong[..wrong.len().min(right.len() - 1)];
            let honest = right.iter().map(|(off, more)| (truth + off, off.abs() + more));
            let liars = wrong.iter().map(|(off, distance)| (truth + off, *distance));
            let mut all: Vec<_> = honest.chain(liars).collect();
            let middle = turn % all.len();
            all.rotate_left(middle);
            if let Some(found) = select(&candidates(&all)) {
                prop_assert!((found.offset - truth).abs() <= found.error, "{found:?} {all:?}");
                prop_assert!(found.servers.len() * 2 > all.len());
            }
        }

        /// Servers that are all right are believed, if each says what the others can mean.
        #[test]
        fn those_that_mean_the_same_are_believed(
            all in prop::collection::vec((-100_i128..=100, 100_i128..300), 1..9),
        ) {
            let all: Vec<_> = all.iter().map(|(offset, more)| (*offset, 100 + more)).collect();
            let found = select(&candidates(&all)).unwrap();
            prop_assert_eq!(found.servers.len(), all.len());
        }

        /// Nobody is believed because of the place in the list.
        #[test]
        fn the_order_does_not_matter(
            all in prop::collection::vec((-50_i128..50, 0_i128..40), 1..8),
            turn in 0_usize..8,
        ) {
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            let found = |all: &[_]| select(&candidates(all)).map(|one| one.servers.len());
            prop_assert_eq!(found(&all), found(&turned));
        }
    }
}
