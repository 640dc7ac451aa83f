//! Each way, and what each costs.

use updater::cancel::Cancel;
use updater::transport::{Arrived, Phase, Way};

use crate::shared::disk::Disk;
use crate::shared::server::{Odd, Server};
use crate::shared::world::{Made, Ran, World, directory, run, run_told, two_images, web};

const SLOT: usize = 2 << 20;

/// Two releases, the second with a delta from the first.
fn world() -> (World, [Made; 2]) {
    let [old, new] = two_images();
    let mut world = World::new();
    world.add("1.0", &old, &[]);
    world.add("2.0", &new, &[("1.0", &old)]);
    world.publish();
    (world, [old, new])
}

fn arrived(ran: &Ran) -> Arrived {
    *ran.result.as_ref().unwrap_or_else(|error| panic!("{error}: {:?}", ran.notices))
}

fn assert_holds(disk: &Disk, made: &Made) {
    let slot = made.slot();
    assert!(disk.bytes[..slot.len()] == slot, "the slot holds another image");
    assert!(disk.bytes[slot.len()..].iter().all(|byte| *byte == 0xee), "written beyond the image");
}

/// Blocks in which two slots differ.
fn differing(from: &[u8], to: &Made) -> u64 {
    let to = to.slot();
    let differs = |(at, block): (usize, &[u8])| from[at * 4096..at * 4096 + block.len()] != *block;
    to.chunks(4096).enumerate().filter(|(at, block)| differs((*at, block))).count() as u64
}

#[test]
fn a_delta_is_taken_where_there_is_one_and_only_what_differs_is_written() {
    let (world, [old, new]) = world();
    let server = Server::start(&world.place());
    let running = Disk::of(&old.slot(), SLOT);
    // The slot holds the image of before: half of it is right already.
    let mut spare = Disk::of(&old.slot(), SLOT);
    let before = spare.bytes.clone();
    let ran = run(&world, vec![web(&server.url())], None, Some((&old, &running)), &mut spare);
    let Arrived { way, fetched, written } = arrived(&ran);
    assert_eq!(way, Way::Delta, "{:?}", ran.notices);
    // 33 new blocks, metadata not counted.
    assert!((33 * 4096..36 * 4096).contains(&fetched), "{fetched}");
    assert_eq!(written, differing(&before, &new));
    assert_eq!(spare.written, written * 4096);
    let mut want = before;
    want[..new.slot().len()].copy_from_slice(&new.slot());
    assert!(spare.bytes == want && running.bytes == Disk::of(&old.slot(), SLOT).bytes);

    // It stands there: nothing is fetched, and nothing is written.
    let ran = run(&world, vec![web(&server.url())], None, Some((&old, &running)), &mut spare);
    assert_eq!(arrived(&ran), Arrived { way: Way::There, fetched: 0, written: 0 });
}

#[test]
fn without_a_delta_the_blocks_that_are_missing_come_by_ranges() {
    let (world, [old, new]) = world();
    let server = Server::start(&world.place());
    let running = Disk::of(&new.slot(), SLOT);
    let mut spare = Disk::of(&[], SLOT);
    // Back to the first: no release has a delta for that.
    let ran =
        run(&world, vec![web(&server.url())], Some("1.0"), Some((&new, &running)), &mut spare);
    let Arrived { way, fetched, .. } = arrived(&ran);
    assert_eq!(way, Way::Blocks, "{:?}", ran.notices);
    assert!(fetched < 1_400_000, "{fetched}");
    assert_holds(&spare, &old);
    let requests = server.take_requests();
    let ranges = requests.iter().filter(|it| it.contains("root.zst ")).count();
    assert!((2..=4).contains(&ranges), "{requests:?}");
}

#[test]
fn without_an_image_that_runs_the_whole_comes() {
    let (world, [_, new]) = world();
    let mut spare = Disk::of(&[], SLOT);
    let ran = run(&world, vec![directory(&world.place())], None, None, &mut spare);
    assert_eq!(arrived(&ran).way, Way::Whole);
    assert_holds(&spare, &new);
}

#[test]
fn a_way_that_is_refused_is_followed_by_the_next_one() {
    let [old, new] = two_images();
    let mut world = World::new();
    world.add("1.0", &old, &[]);
    world.add("2.0", &new, &[("1.0", &old)]);
    // Whoever signed this delta has made a mistake.
    world.target("2.0/delta/1.0.delta", b"orlop-d1, and what follows is none".to_vec(), None);
    world.publish();
    let running = Disk::of(&old.slot(), SLOT);
    let mut spare = Disk::of(&[], SLOT);
    let place = || vec![directory(&world.place())];
    let ran = run(&world, place(), None, Some((&old, &running)), &mut spare);
    assert_eq!(arrived(&ran).way, Way::Blocks);
    assert!(ran.notices[0].starts_with("the delta is given up: "), "{:?}", ran.notices);
    assert_holds(&spare, &new);

    // A server that knows no ranges either.
    let server = Server::start(&world.place());
    server.odd("root.zst", Odd::NoRanges);
    let mut spare = Disk::of(&[], SLOT);
    let ran = run(&world, vec![web(&server.url())], None, Some((&old, &running)), &mut spare);
    assert_eq!(arrived(&ran).way, Way::Whole);
    let notice = ran.notices.iter().find(|it| it.starts_with("the way by blocks is given up"));
    assert!(notice.is_some_and(|it| it.contains("whole file where a part")), "{:?}", ran.notices);
    assert_holds(&spare, &new);

    // The image that runs cannot be read: what is fetched does not need it.
    let running = Disk { unreadable: Some(4096..8192), ..running };
    let mut spare = Disk::of(&[], SLOT);
    let ran = run(&world, place(), None, Some((&old, &running)), &mut spare);
    assert_eq!(arrived(&ran).way, Way::Whole, "{:?}", ran.notices);
    assert_holds(&spare, &new);
}

#[test]
fn a_slot_that_is_too_small_or_takes_no_more_is_told_and_one_that_cannot_be_read_is_mended() {
    let (world, [old, new]) = world();
    let place = || vec![directory(&world.place())];
    let mut small = Disk::of(&[], new.slot().len() - 1);
    let untouched = small.bytes.clone();
    let ran = run(&world, place(), None, None, &mut small);
    let (needs, has) = (new.slot().len(), new.slot().len() - 1);
    let want = format!("the image has {needs} bytes with its hash tree, and the slot {has}");
    assert_eq!(ran.result.unwrap_err(), want);
    assert_eq!(small.bytes, untouched);

    let running = Disk::of(&old.slot(), SLOT);
    let mut broken = Disk { writes_left: Some(3), ..Disk::of(&[], SLOT) };
    let ran = run(&world, place(), None, Some((&old, &running)), &mut broken);
    let error = ran.result.unwrap_err();
    assert!(error.starts_with("the spare slot cannot be written at byte "), "{error}");
    assert!(error.ends_with(": this disk takes no more"), "{error}");
    assert!(ran.notices.is_empty(), "no other way helps: {:?}", ran.notices);

    let mut bad = Disk { unreadable: Some(40_960..45_056), ..Disk::of(&new.slot(), SLOT) };
    let ran = run(&world, place(), None, Some((&old, &running)), &mut bad);
    arrived(&ran);
    assert_holds(&bad, &new);
}

#[test]
fn whoever_waits_hears_how_far_it_is_and_may_stop_it() {
    let (world, [old, new]) = world();
    let running = Disk::of(&old.slot(), SLOT);
    let mut spare = Disk::of(&[], SLOT);
    let cancel = Cancel::new();
    let seen = std::cell::RefCell::new(Vec::new());
    let place = || vec![directory(&world.place())];
    let told = |progress: updater::transport::Progress| {
        seen.borrow_mut().push(progress);
        if progress.phase == Phase::Fill && progress.done > 500_000 {
            cancel.cancel();
        }
    };
    let ran = run_told(&world, place(), None, Some((&old, &running)), &mut spare, &cancel, &told);
    assert_eq!(ran.result.unwrap_err(), "it was cancelled");
    assert!(ran.notices.is_empty(), "{:?}", ran.notices);
    let seen = seen.into_inner();
    assert!(seen.windows(2).all(|pair| pair[0].fetched <= pair[1].fetched));
    assert!(seen.iter().all(|it| it.done <= it.total && it.total == new.root.size));
    assert_eq!(seen.last().unwrap().phase, Phase::Fill);
    let ran = run(&world, place(), None, Some((&old, &running)), &mut spare);
    arrived(&ran);
    assert_holds(&spare, &new);
}
