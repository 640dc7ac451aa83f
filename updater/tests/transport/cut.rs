//! Wherever a run is cut off, the next one comes to the end, and the image that runs is as it was.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::shared::disk::Disk;
use crate::shared::world::{World, directory, run, two_images};

const SLOT: usize = 2 << 20;

/// The disk takes so many writes and no more, and the power goes; so several times.
#[test]
fn a_run_goes_on_where_others_were_cut_off() {
    let [old, new] = two_images();
    let worlds = [true, false].map(|with_delta| {
        let mut world = World::new();
        let from = [("1.0", &old)];
        world.add("2.0", &new, if with_delta { &from } else { &[] });
        world.publish();
        world
    });
    let clean = Disk::of(&old.slot(), SLOT);
    let case = (
        0..2_usize,
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec((0_u64..14, any::<u64>()), 1..4),
    );
    let mut runner = TestRunner::new(Config { cases: 40, ..Config::default() });
    let done = runner.run(&case, |(world, runs, spare_is_old, cuts)| {
        let world = &worlds[world];
        let running = clean.clone();
        let mut spare = if spare_is_old { clean.clone() } else { Disk::of(&[], SLOT) };
        let beyond = spare.bytes[new.slot().len()..].to_vec();
        let place = || vec![directory(&world.place())];
        let own = runs.then_some((&old, &running));
        for (writes, seed) in cuts {
            spare.writes_left = Some(writes);
            let ran = run(world, place(), None, own, &mut spare);
            if ran.result.is_ok() {
                prop_assert!(spare.bytes.starts_with(&new.slot()));
            }
            spare.power_cut(seed);
        }
        let ran = run(world, place(), None, own, &mut spare);
        prop_assert!(ran.result.is_ok(), "{:?}", ran.result);
        prop_assert!(spare.bytes.starts_with(&new.slot()));
        prop_assert!(spare.bytes[new.slot().len()..] == beyond);
        prop_assert!(running.bytes == clean.bytes);
        // What was flushed stays, whatever comes.
        spare.power_cut(1);
        prop_assert!(spare.bytes.starts_with(&new.slot()));
        Ok(())
    });
    done.unwrap();
}
