//! Which way a new image comes: the one with the fewest bytes, of those that this node can go.

use crate::digest::Sha256;

/// What a release has for those who want its image.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Bytes of `root.zst`, the whole image.
    pub whole: u64,
    /// Bytes of `root.tree.zst`.
    pub tree: u64,
    /// The deltas: the root hash of what each reads, and its bytes.
    pub deltas: &'a [(Sha256, u64)],
}

/// What is known of the way by blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// It was not looked at: the tree has not been read.
    NotPlanned,
    /// The tree is there, and the plan fetches so many bytes.
    Planned(u64),
    /// It cannot be gone: what the node has is not readable, the server knows no ranges, or the
    /// tree or the table was refused.
    Closed,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Fetch the delta from this root hash: so many bytes.
    Delta(Sha256, u64),
    /// Fetch the tree, of so many bytes, plan, and choose again.
    ReadTree(u64),
    /// Go by the plan of blocks: so many bytes.
    Blocks(u64),
    /// Fetch the whole image: so many bytes.
    Whole(u64),
}

/// The next step for a node that can read the images with the root hashes `have`. A delta for one
/// of them is taken without a look at the tree: whoever publishes has seen that it is smaller than
/// what blocks would take. Among equals the simplest is taken: the whole, blocks, a delta.
pub fn choose(offer: Offer<'_>, have: &[Sha256], blocks: Blocks) -> Choice {
    let deltas = offer.deltas.iter().filter(|(from, _)| have.contains(from));
    let delta = deltas.min_by_key(|(_, bytes)| *bytes);
    let delta = delta.map(|(from, bytes)| Choice::Delta(*from, *bytes));
    let by_blocks = match blocks {
        Blocks::Planned(bytes) => Some(Choice::Blocks(bytes)),
        Blocks::NotPlanned if delta.is_none() && !have.is_empty() => {
            Some(Choice::ReadTree(offer.tree))
        }
        Blocks::NotPlanned | Blocks::Closed => None,
    };
    let ways = [Some(Choice::Whole(offer.whole)), by_blocks, delta];
    let cheapest = ways.into_iter().flatten().min_by_key(Choice::bytes);
    cheapest.unwrap_or(Choice::Whole(offer.whole))
}

impl Choice {
    /// How many bytes it fetches.
    pub fn bytes(&self) -> u64 {
        let (Self::Delta(_, bytes)
        | Self::ReadTree(bytes)
        | Self::Blocks(bytes)
        | Self::Whole(bytes)) = self;
        *bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_with_the_fewest_bytes_is_taken_of_those_that_can_be_gone() {
        let [a, b, c] = ["a", "b", "c"].map(Sha256::of);
        let deltas = [(a, 30), (b, 5), (c, 900)];
        let offer = Offer { whole: 100, tree: 1, deltas: &deltas };
        let (unknown, closed) = (Blocks::NotPlanned, Blocks::Closed);
        let other = Sha256::of("other");
        for (have, blocks, want) in [
            (&[a][..], unknown, Choice::Delta(a, 30)),
            (&[a, b], unknown, Choice::Delta(b, 5)),
            // With the tree at hand blocks can be the better way.
            (&[a], Blocks::Planned(20), Choice::Blocks(20)),
            (&[a], Blocks::Planned(40), Choice::Delta(a, 30)),
            (&[a], Blocks::Planned(30), Choice::Blocks(30)),
            (&[a], closed, Choice::Delta(a, 30)),
            // A delta that is no good.
            (&[c], unknown, Choice::Whole(100)),
            (&[c], Blocks::Planned(20), Choice::Blocks(20)),
            // None for what there is.
            (&[other], unknown, Choice::ReadTree(1)),
            (&[other], Blocks::Planned(20), Choice::Blocks(20)),
            (&[other], Blocks::Planned(100), Choice::Whole(100)),
            (&[other], closed, Choice::Whole(100)),
            // Nothing to copy from; a slot that was filled in part has been planned with.
            (&[], unknown, Choice::Whole(100)),
            (&[], Blocks::Planned(7), Choice::Blocks(7)),
        ] {
            assert_eq!(choose(offer, have, blocks), want, "{have:?} {blocks:?}");
        }
        let no_use = Offer { whole: 1, tree: 1, deltas: &[] };
        assert_eq!(choose(no_use, &[other], unknown), Choice::Whole(1));
    }
}
