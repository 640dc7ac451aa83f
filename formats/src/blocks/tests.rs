//! Plans of blocks, and images that are made by them.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::incoming::Incoming;
use crate::incoming::testing::{Memory, root};
use crate::seekable::FRAME;
use crate::verity::{Verity, block_digest, leaves};

const SALT: [u8; 16] = [9; 16];
const BLOCK_BYTES: usize = 4096;
const BLOCKS_PER_FRAME: u64 = FRAME as u64 / BLOCK;

/// An image with one byte for each of its blocks.
fn image(blocks: &[u8]) -> Vec<u8> {
    blocks.iter().flat_map(|byte| [*byte; BLOCK_BYTES]).collect()
}

fn digests(blocks: &[u8]) -> Vec<Sha256> {
    image(blocks).chunks(BLOCK_BYTES).map(|block| block_digest(&SALT, block)).collect()
}

/// The table of an image whose frames are packed to so many bytes each.
fn table(blocks: u64, packed: u32) -> SeekTable {
    let mut table = SeekTable::new();
    let mut left = blocks * BLOCK;
    while left > 0 {
        let size = left.min(FRAME.into());
        table.push(packed, u32::try_from(size).unwrap()).unwrap();
        left -= size;
    }
    table
}

fn planned(new: &[u8], running: &[u8], spare: &[u8]) -> Plan {
    let [running, spare] = [running, spare].map(digests);
    let have = Have { running: &running, spare: &spare };
    plan(&digests(new), have, &table(new.len() as u64, 1000), 0).unwrap()
}

#[test]
fn what_is_there_is_kept_or_copied_in_runs_and_the_rest_is_fetched() {
    use Step::{Copy, Fetch, Keep};
    for (new, running, spare, want) in [
        (&[1, 2, 3][..], &[1, 2, 3][..], &[][..], vec![Copy(0..3, 0)]),
        (&[1, 2, 3], &[0, 1, 2, 3], &[], vec![Copy(0..3, 1)]),
        (&[2, 1, 3], &[1, 2, 3], &[], vec![Copy(0..1, 1), Copy(1..2, 0), Copy(2..3, 2)]),
        (&[1, 2, 3], &[], &[], vec![Fetch(0..3)]),
        (&[1, 2, 3], &[2], &[], vec![Fetch(0..1), Copy(1..2, 0), Fetch(2..3)]),
        // What is in the slot already costs nothing, if it is in its place.
        (&[1, 2, 3], &[1, 2, 3], &[1, 0, 3], vec![Keep(0..1), Copy(1..2, 1), Keep(2..3)]),
        (&[1, 2], &[], &[2, 1], vec![Fetch(0..2)]),
        // A run is gone on with, though the same block stands earlier too.
        (&[1, 5, 5], &[5, 1, 5, 5], &[], vec![Copy(0..3, 1)]),
    ] {
        let plan = planned(new, running, spare);
        assert_eq!(plan.steps(), want, "{new:?} from {running:?} and {spare:?}");
        let fetches = want.iter().any(|step| matches!(step, Fetch(_)));
        assert_eq!(plan.fetched(), if fetches { 1000 } else { 0 });
    }
    assert_eq!(planned(&[1, 2, 3], &[], &[1, 0, 3]).written(), 1);
}

#[test]
fn frames_are_asked_for_together_if_what_lies_between_costs_less_than_a_request() {
    let frames = 10;
    let mut new = vec![0; usize::try_from(frames * BLOCKS_PER_FRAME).unwrap()];
    // One block in each of these frames is new, and the first of 5 with the last of 4.
    let at = |frame: u64, block: u64| usize::try_from(frame * BLOCKS_PER_FRAME + block).unwrap();
    for (frame, block) in [(1, 0), (2, 3), (4, BLOCKS_PER_FRAME - 1), (5, 0), (9, 7)] {
        new[at(frame, block)] = 1;
    }
    let (leaves, running) = (digests(&new), digests(&[0]));
    let have = Have { running: &running, spare: &[] };
    let table = table(new.len() as u64, 1000);
    let asked = |request| plan(&leaves, have, &table, request).unwrap();
    let ranges = |plan: &Plan| -> Vec<(Range<usize>, Range<u64>)> {
        let requests = plan.requests().iter();
        requests.map(|request| (request.frames.clone(), request.bytes.clone())).collect()
    };
    let apart = [(1..3, 1000..3000), (4..6, 4000..6000), (9..10, 9000..10_000)];
    for request in [0, 999] {
        assert_eq!((ranges(&asked(request)), asked(request).fetched()), (apart.to_vec(), 5000));
    }
    let joined = [(1..6, 1000..6000), (9..10, 9000..10_000)];
    assert_eq!((ranges(&asked(1000)), asked(1000).fetched()), (joined.to_vec(), 6000));
    assert_eq!(ranges(&asked(u64::MAX)), [(1..10, 1000..10_000)]);
}

#[test]
fn a_table_of_another_image_is_refused() {
    let error = plan(&digests(&[1]), Have::default(), &table(2, 10), 0).unwrap_err();
    let text = "the seek table is of an image of 8192 bytes, the hash tree of one of 4096";
    assert_eq!(error.to_string(), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_made_by_a_plan_is_the_image(
        new in prop::collection::vec(0_u8..12, 1..200),
        running in prop::collection::vec(0_u8..12, 0..200),
        spare in prop::collection::vec(0_u8..12, 0..200),
        request in 0_u64..3000,
    ) {
        let wanted = root(9, &image(&new));
        let tree = Verity::of(&SALT, &image(&new)).unwrap().tree;
        let leaves = leaves(&SALT, &wanted.hash, wanted.blocks(), &tree).unwrap();
        prop_assert_eq!(&leaves, &digests(&new));
        let (there, in_slot) = (digests(&running), digests(&spare));
        let have = Have { running: &there, spare: &in_slot };
        let table = table(new.len() as u64, 1000);
        let plan = plan(&leaves, have, &table, request).unwrap();
        let mut incoming = Incoming::new(&wanted, Memory::default());
        let mut at = 0;
        let mut frames: Vec<usize> = Vec::new();
        for step in plan.steps() {
            let blocks = step.blocks().clone();
            prop_assert_eq!(blocks.start, at);
            at = blocks.end;
            for block in blocks.clone() {
                let number = usize::try_from(block).unwrap();
                let byte = match step {
                    Step::Keep(_) => spare[number],
                    Step::Copy(_, from) => {
                        running[usize::try_from(from + (block - blocks.start)).unwrap()]
                    }
                    Step::Fetch(_) => {
                        frames.extend(table.covering(block * BLOCK..(block + 1) * BLOCK));
                        new[number]
                    }
                };
                incoming.data(&[byte; BLOCK_BYTES]).unwrap();
            }
        }
        prop_assert_eq!(incoming.finish().unwrap().data, image(&new));
        // Each frame that is needed is asked for, and each byte once.
        let mut end = 0;
        for asked in plan.requests() {
            prop_assert!(asked.bytes.start >= end);
            end = asked.bytes.end;
            prop_assert_eq!(&asked.bytes, &table.in_file(asked.frames.clone()));
        }
        for frame in frames {
            prop_assert!(plan.requests().iter().any(|asked| asked.frames.contains(&frame)));
        }
    }
}
