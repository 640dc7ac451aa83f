//! From any root image to any other without a delta: the leaves of the new hash tree say which
//! blocks of 4096 bytes the node has already, wherever they stand, and the frames of `root.zst`
//! with the others are fetched by ranges.
//!
//! The salt of a hash tree is its volume's own, so the leaves of two trees are never alike: what
//! the node has is hashed anew, after the salt of the image that is wanted
//! ([`crate::verity::block_digest`]). That is also how a slot that was filled in part is gone on
//! with.
//!
//! A plan is a value: how many bytes it fetches is known before the first one is.

mod choose;

use std::collections::HashMap;
use std::ops::Range;

use crate::digest::Sha256;
use crate::seekable::SeekTable;
use crate::verity::BLOCK;

pub use choose::{Blocks, Choice, Offer, choose};

/// What a request is worth in bytes, if nothing better is known: what comes in the 20 ms of an answer
/// at 50 Mbit/s.
pub const REQUEST: u64 = 128 << 10;

/// What a node has: the digests of all blocks, each hashed after the new image's salt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Have<'a> {
    /// Of an image that stays as it is while the new one is written: the one that runs.
    pub running: &'a [Sha256],
    /// Of the slot that is written. A block of it counts where it stands only, for another place
    /// may be overwritten by then.
    pub spare: &'a [Sha256],
}

/// Where the next blocks of the new image come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// They are in the slot already.
    Keep(Range<u64>),
    /// They stand in the image that runs, the first one there.
    Copy(Range<u64>, u64),
    /// They are in the frames that are fetched.
    Fetch(Range<u64>),
}

impl Step {
    /// Which blocks of the new image they are.
    pub fn blocks(&self) -> &Range<u64> {
        let (Self::Keep(blocks) | Self::Copy(blocks, _) | Self::Fetch(blocks)) = self;
        blocks
    }
}

/// One range of `root.zst` that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whole frames.
    pub frames: Range<usize>,
    /// Their bytes in the file.
    pub bytes: Range<u64>,
}

/// How a new image is made of blocks. Made only by [`plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    // Invariant: one behind the other, from the first block to the last.
    steps: Vec<Step>,
    // Invariant: in the order of the file, apart; they hold every block that is fetched.
    requests: Vec<Request>,
}

/// The table is of another image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the seek table is of an image of {table} bytes, the hash tree of one of {tree}")]
pub struct PlanError {
    /// Bytes of the image that the table is of.
    pub table: u64,
    /// Bytes of the image that the tree is of.
    pub tree: u64,
}

/// Plans the image with these leaves, whose frames `table` describes. Two frames that are wanted
/// are asked for at once, with what lies between them, if that is no more than `request` bytes:
/// as much as could come while another request is on its way.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(
    leaves: &[Sha256],
    have: Have<'_>,
    table: &SeekTable,
    request: u64,
) -> Result<Plan, PlanError> {
    let tree = leaves.len() as u64 * BLOCK;
    if table.size() != tree {
        return Err(PlanError { table: table.size(), tree });
    }
    let steps = steps(leaves, have);
    let requests = requests(&steps, table, request);
    Ok(Plan { steps, requests })
}

impl Plan {
    /// What is done, in the order in which the image is written.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is asked for, in the order in which it is needed.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// How many bytes are fetched.
    pub fn fetched(&self) -> u64 {
        self.requests.iter().map(|request| request.bytes.end - request.bytes.start).sum()
    }

    /// How many blocks are written.
    pub fn written(&self) -> u64 {
        let written = self.steps.iter().filter(|step| !matches!(step, Step::Keep(_)));
        written.map(|step| step.blocks().end - step.blocks().start).sum()
    }
}

fn steps(leaves: &[Sha256], have: Have<'_>) -> Vec<Step> {
    // Of equal blocks the first: what is copied does not depend on the order of a table.
    let mut places = HashMap::with_capacity(have.running.len());
    for (place, digest) in (0_u64..).zip(have.running) {
        places.entry(digest).or_insert(place);
    }
    let running = |place: u64| usize::try_from(place).ok().and_then(|at| have.running.get(at));
    let mut steps: Vec<Step> = Vec::new();
    for (at, digest) in (0_u64..).zip(leaves) {
        let kept = usize::try_from(at).ok().and_then(|at| have.spare.get(at)) == Some(digest);
        // Where the run before goes on is as good as the first, and one read more of it.
        let next = match steps.last() {
            Some(Step::Copy(blocks, from)) => Some(from + (blocks.end - blocks.start)),
            _ => None,
        };
        let next = next.filter(|place| running(*place) == Some(digest));
        let copied = next.or_else(|| places.get(digest).copied());
        match (steps.last_mut(), kept, copied) {
            (Some(Step::Keep(blocks)), true, _) => blocks.end += 1,
            (Some(Step::Copy(blocks, from)), false, Some(place))
                if *from + (blocks.end - blocks.start) == place =>
            {
                blocks.end += 1;
            }
            (Some(Step::Fetch(blocks)), false, None) => blocks.end += 1,
            (_, true, _) => steps.push(Step::Keep(at..at + 1)),
            (_, false, Some(place)) => steps.push(Step::Copy(at..at + 1, place)),
            (_, false, None) => steps.push(Step::Fetch(at..at + 1)),
        }
    }
    steps
}

fn requests(steps: &[Step], table: &SeekTable, request: u64) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for step in steps {
        let Step::Fetch(blocks) = step else { continue };
        let frames = table.covering(blocks.start * BLOCK..blocks.end * BLOCK);
        let bytes = table.in_file(frames.clone());
        match requests.last_mut() {
            // The last frame of the one before can be the first of this one.
            Some(last) if bytes.start <= last.bytes.end.saturating_add(request) => {
                last.frames.end = last.frames.end.max(frames.end);
                last.bytes.end = last.bytes.end.max(bytes.end);
            }
            _ => requests.push(Request { frames, bytes }),
        }
    }
    requests
}

#[cfg(test)]
mod tests;
