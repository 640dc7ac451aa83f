//! The proof of the updater: its real code on a disk that records every write and flush. What the disk
//! holds after a power cut at any moment, with any part of what was not flushed, is handed to a model of
//! firmware, loader and PID 1, and then to the real code again: there is always exactly one version that
//! starts and is good, a bad one is never promoted, and nothing that was remembered is lost.
//!
//! `ORLOP_MODEL_RANDOM` is how many random subsets are tried where not all are; `ORLOP_TEST_SEED`
//! repeats them. With `ORLOP_MODEL_TWICE` the power is cut again while the node recovers.

#[allow(dead_code, reason = "not every test that shares these modules needs all of them")]
mod disk;
mod fat;
#[path = "../../../formats/src/boot_entries/firmware.rs"]
mod firmware;
mod half;
mod longer;
#[allow(dead_code, reason = "as above")]
mod node;
#[path = "../shared/uki.rs"]
#[expect(unreachable_pub, reason = "other tests share it")]
mod uki;
mod unread;
mod world;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::meta::{Found, MetaError, Method, choose};
use updater::device::Device as _;
use updater::firmware::NoVariables;
use updater::plan::{Asked, Refusal};
use updater::steps::{How, Machine, Partitions, StepError, Take};

use crate::disk::{Image, Numbers, cuts};
use crate::node::{Booted, Manner, Node, Variables, Version};
use crate::world::{Act, History, NEXT, SEED, Story, TRIED, begin, settle, tell, upgrade};

/// Random subsets at each moment that has too many.
fn random() -> usize {
    let given = std::env::var("ORLOP_MODEL_RANDOM").ok();
    given.map_or(10, |text| text.parse().expect("ORLOP_MODEL_RANDOM is a number"))
}

fn numbers() -> Numbers {
    let given = std::env::var("ORLOP_TEST_SEED").ok();
    Numbers(given.map_or(0x0123_4567_89AB_CDEF, |text| text.parse().expect("a number")))
}

/// What was found in META, by the digest of its records: the same ones come again and again.
type Records = HashMap<Sha256, Result<Found, MetaError>>;

fn records(node: &Node, known: &mut Records) -> Result<Found, MetaError> {
    let [one, two] = node.records();
    let digest = Sha256::of([&one[..], &two].concat());
    known.entry(digest).or_insert_with(|| choose([&one, &two])).clone()
}

/// What the disk says, where it makes a difference.
fn meaning(node: &Node, found: &Found) -> Sha256 {
    let roots = Slot::BOTH.map(|slot| node.root_of(slot));
    let one_shot = node.disk.borrow().now.one_shot.clone();
    let (meta, mirrored, new) = (&found.meta, found.mirrored, found.is_new());
    let listed = node.listed_versions();
    let text = format!("{meta:?} {mirrored} {new} {listed:?} {roots:?} {one_shot:?}");
    Sha256::of([text.as_bytes(), &node.directory()].concat())
}

/// What must be so at any moment, before anything recovers: what it means.
fn check(node: &Node, story: &Story, known: &mut Records, what: &dyn Fn() -> String) -> Sha256 {
    let found = records(node, known).unwrap_or_else(|error| panic!("{}: {error}", what()));
    let meta = &found.meta;
    if story.history == History::Veteran {
        assert!(meta.epoch >= 1 && meta.good.iter().flatten().count() >= 1, "{}", what());
        let seed = node.versions[SEED].root_hash;
        assert!(meta.failure(&seed).is_some(), "{}: what failed is forgotten", what());
    }
    for release in meta.good.iter().flatten() {
        let version = node.versions.iter().find(|version| version.root_hash == release.root_hash);
        assert_eq!(version.unwrap().manner, Manner::Good, "{}: bad, and counts as good", what());
    }
    // Below what starts by itself stands nothing that a person could not start.
    for slot in Slot::BOTH {
        let listed = node.listed_versions()[slot.index()];
        let whole = listed
            .is_none_or(|version| version.is_ok_and(|version| node.holds_root(slot, version)));
        assert!(whole, "{}: what the loader lists of slot {slot} is not whole", what());
    }
    let start = node.default_start();
    let (slot, version) = start.unwrap_or_else(|| panic!("{}: nothing would start", what()));
    let version = version.unwrap_or_else(|()| panic!("{}: damaged {slot} would start", what()));
    let good = node.versions[version].manner == Manner::Good;
    let held = Slot::BOTH.into_iter().any(|slot| node.holds_root(slot, version));
    let once = node.is_counted_trial();
    assert!(held && (good || once), "{}: {} would start", what(), node.versions[version].name);
    meaning(node, &found)
}

/// From any content of the disk the node comes to a good version and stays there, what failed is not
/// taken again, and the next upgrade works.
fn recovers(node: &Node, story: &Story, known: &mut Records, what: &str) {
    // Somebody resets it before its updater runs, more often than the loader counts.
    let tired = node.with(node.disk.borrow().now.clone());
    for _ in 0..4 {
        if let Booted::Dead(why) = tired.boot() {
            panic!("{what}, and resets: {why}");
        }
    }
    let (_, version, _) = settle(&tired).unwrap_or_else(|error| panic!("{what}, resets: {error}"));
    assert_eq!(node.versions[version].manner, Manner::Good, "{what}, and resets");
    let (slot, version, bad) = settle(node).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(bad <= 1, "{what}: a bad version was started {bad} times");
    assert_eq!(node.versions[version].manner, Manner::Good, "{what}");
    for _ in 0..4 {
        let again = settle(node).unwrap_or_else(|error| panic!("{what}, later: {error}"));
        assert_eq!(again, (slot, version, 0), "{what}: the node does not stay");
        check(node, story, known, &|| what.to_owned());
    }
    let mut machine = node.machine(slot, version);
    let tried = &node.versions[TRIED];
    let failed = machine.record().unwrap().failure(&tried.root_hash).is_some();
    assert!(!failed || version != TRIED, "{what}");
    if failed {
        let refused = machine.take(tried.offer(), Asked::Policy);
        let refused = refused.map(drop).unwrap_err();
        assert!(matches!(refused, StepError::Refused(Refusal::Failed { .. })), "{what}: {refused}");
    }
    drop(machine);
    let armed = upgrade(node, slot, version, NEXT, How::Reboot, Asked::Policy);
    armed.unwrap_or_else(|error| panic!("{what}: the next upgrade fails: {error}"));
    let after = settle(node).unwrap_or_else(|error| panic!("{what}, next: {error}"));
    assert_eq!((after.1, after.2), (NEXT, 0), "{what}: the next upgrade does not come through");
    check(node, story, known, &|| what.to_owned());
}

/// Plays a story and cuts the power everywhere in it. How many contents of the disk were judged.
fn judge(story: &Story, numbers: &mut Numbers) -> (usize, usize) {
    let node = begin(story);
    let before = node.disk.borrow().now.settled();
    node.disk.borrow_mut().now = before.clone();
    node.disk.borrow_mut().log.clear();
    tell(&node, story);
    let log = node.disk.borrow().log.clone();
    let (mut seen, mut known) = (HashSet::new(), Records::new());
    let (mut judged, mut twice) = (0, Vec::new());
    let more = std::env::var_os("ORLOP_MODEL_TWICE").is_some();
    cuts(&before, &log, random(), numbers, |at, image| {
        judged += 1;
        let what = || format!("{story:?}, cut after event {at} of {}", log.len());
        let cut = node.with(image);
        if seen.insert(check(&cut, story, &mut known, &what)) {
            let image = cut.disk.borrow().now.clone();
            recovers(&cut, story, &mut known, &what());
            if more {
                twice.push((what(), image));
            }
        }
    });
    for (what, image) in twice {
        judged += judge_recovery(&node, image, story, &what, numbers, (&mut seen, &mut known));
    }
    (judged, seen.len())
}

/// Cuts the power while the node recovers from a cut.
fn judge_recovery(
    node: &Node,
    image: Image,
    story: &Story,
    what: &str,
    numbers: &mut Numbers,
    (seen, known): (&mut HashSet<Sha256>, &mut Records),
) -> usize {
    let before = image.settled();
    let node = node.with(before.clone());
    settle(&node).unwrap();
    let log = node.disk.borrow().log.clone();
    let mut judged = 0;
    cuts(&before, &log, 2, numbers, |at, image| {
        judged += 1;
        let what = || format!("{what}, and again after event {at}");
        let cut = node.with(image);
        if seen.insert(check(&cut, story, known, &what)) {
            recovers(&cut, story, known, &what());
        }
    });
    judged
}

#[expect(clippy::print_stdout, reason = "how much was judged is worth seeing with --nocapture")]
/// Every story of a history and a way to start trials: at least so many contents of the disk.
fn judge_all(history: History, how: How, variables: Variables, least: usize) {
    let (mut judged, mut different, mut stories) = (0, 0, 0);
    let mut numbers = numbers();
    for manner in [Manner::Good, Manner::Panics, Manner::Hangs, Manner::Unhealthy] {
        let acts: &[Act] = match manner {
            Manner::Good => &[
                Act::Upgrade,
                Act::Interrupt,
                Act::PutOff,
                Act::Cancel,
                Act::Unarm,
                Act::Return,
                Act::Stay,
                Act::Decay,
            ],
            _ => &[Act::Upgrade],
        };
        for act in acts {
            let story = Story { history, how, variables, manner, act: *act };
            let (more, kinds) = judge(&story, &mut numbers);
            judged += more;
            different += kinds;
            stories += 1;
        }
    }
    println!(
        "{judged} contents of the disk, {different} of different meaning, in {stories} stories"
    );
    assert!(judged >= least, "{judged}");
}

#[test]
fn no_power_cut_in_the_first_upgrade_of_a_disk_leaves_a_node_that_does_not_start_or_forgets() {
    judge_all(History::New, How::Reboot, Variables::Kept, 4_000);
}

#[test]
fn no_power_cut_on_firmware_that_refuses_variables_does_so() {
    judge_all(History::Veteran, How::Reboot, Variables::Refused, 4_000);
}

#[test]
fn no_power_cut_on_firmware_that_forgets_variables_does_so() {
    judge_all(History::New, How::Reboot, Variables::Dropped, 4_000);
}

#[test]
fn no_power_cut_on_a_node_that_was_upgraded_before_does_so() {
    judge_all(History::Veteran, How::Reboot, Variables::Kept, 3_000);
}

#[test]
fn no_power_cut_around_kexec_does_so() {
    judge_all(History::Veteran, How::Kexec, Variables::Kept, 3_000);
}

#[test]
fn a_story_without_power_cuts_ends_as_it_should() {
    for history in [History::New, History::Veteran] {
        for (manner, end) in [
            (Manner::Good, TRIED),
            (Manner::Panics, history.base()),
            (Manner::Hangs, history.base()),
            (Manner::Unhealthy, history.base()),
        ] {
            for how in [How::Reboot, How::Kexec] {
                let act = Act::Upgrade;
                let story = Story { history, how, variables: Variables::Kept, manner, act };
                let node = begin(&story);
                let (_, version, _) = tell(&node, &story);
                assert_eq!(version, end, "{story:?}");
                let (slot, again, _) = settle(&node).unwrap();
                assert_eq!(again, end);
                let mut machine = node.machine(slot, version);
                let meta = machine.record().unwrap().clone();
                let hash = node.versions[TRIED].root_hash;
                assert_eq!(meta.failure(&hash).is_some(), manner != Manner::Good);
                assert_eq!(meta.fallback.is_some(), manner != Manner::Good);
                let epoch = if manner == Manner::Good { 2 } else { node.versions[end].epoch };
                assert_eq!((meta.epoch, meta.trial), (epoch, None), "{story:?}");
            }
        }
    }
}

/// The judge must see what is wrong: an updater that does not flush, and one that writes a UKI from its
/// beginning.
#[test]
fn the_model_finds_what_a_careless_updater_would_do() {
    let versions = Rc::new(world::versions(Manner::Good, 2));
    let node = Node::new(&versions, Variables::Kept);
    assert_eq!(node.boot(), Booted::Root(Slot::A, 0));
    // Head first: the loader starts what is half written.
    let uki = &versions[TRIED].uki;
    let careless = node.with(node.disk.borrow().now.clone());
    careless.disk.borrow_mut().now.write(careless.uki(Slot::A), &uki[..4096]);
    assert!(matches!(careless.boot(), Booted::Dead(_)));
    // Zeroed first: it is not listed, the other one starts.
    let careful = node.with(node.disk.borrow().now.clone());
    careful.disk.borrow_mut().now.write(careful.uki(Slot::A), &[0; 512]);
    assert_eq!(careful.boot(), Booted::Root(Slot::A, 0), "the other UKI, the same root");
    careful.disk.borrow_mut().now.write(careful.uki(Slot::B), &[0; 512]);
    assert!(matches!(careful.boot(), Booted::Dead(_)));
    // A root that is not the one that the UKI names.
    let rotten = node.with(node.disk.borrow().now.clone());
    for slot in Slot::BOTH {
        rotten.disk.borrow_mut().now.write(rotten.uki(slot), uki);
    }
    assert_eq!(rotten.boot(), Booted::Reset);
}

#[test]
fn both_records_damaged_keeps_the_node_and_refuses_updates_in_words() {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    for which in 0..2 {
        node.damage_record(which, &[0xAB; 512]);
    }
    let Booted::Root(slot, version) = node.boot() else { panic!("it boots") };
    let mut machine = node.machine(slot, version);
    let error = machine.healthy().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), "what this node remembers of its updates cannot be read");
    assert_eq!(source, "both records of META are damaged");
    assert!(machine.take(node.versions[TRIED].offer(), Asked::Person).is_err());
    // It is not counted any more, so it does not fall to what is not known.
    for _ in 0..6 {
        assert_eq!(node.boot(), Booted::Root(slot, version));
    }
    machine.renew_record().unwrap();
    assert_eq!(machine.record().unwrap().epoch, node.versions[version].epoch);
    assert_eq!(settle(&node).unwrap(), (slot, version, 0));
    upgrade(&node, slot, version, TRIED, How::Reboot, Asked::Policy).unwrap();
    assert_eq!(settle(&node).unwrap().1, TRIED);
}

#[test]
fn a_damaged_record_is_made_whole_again_at_the_next_healthy_boot() {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    settle(&node).unwrap();
    let [one, two] = node.records();
    assert!(one == two);
    for which in 0..2 {
        node.damage_record(which, &[0xAB; 512]);
        settle(&node).unwrap();
        let [one, two] = node.records();
        assert!(one == two && choose([&one, &two]).is_ok_and(|found| found.mirrored));
    }
    recovers(&node, &story, &mut Records::new(), "each record was damaged once");
}

/// The devices of the kernel are opened past the cache, here on files.
#[test]
fn the_steps_are_the_same_on_files_past_the_cache() {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let directory = tempfile::tempdir_in(target).unwrap();
    let versions = Rc::new(world::versions(Manner::Good, 2));
    let node = Node::new(&versions, Variables::Refused);
    let (slot, version, _) = settle(&node).unwrap();
    assert_eq!(slot, Slot::A);
    let files = node.to_files(directory.path());
    let [esp, meta, _, root] = files.clone();
    let partitions = Partitions::open(esp, meta, root).unwrap();
    let mut machine = Machine::open(partitions, NoVariables, node.running(slot, version)).unwrap();
    let Take::Spare(mut spare) = machine.take(versions[TRIED].offer(), Asked::Policy).unwrap()
    else {
        panic!("it is not there yet")
    };
    spare.root().write_at(0, &versions[TRIED].root).unwrap();
    let staged = spare.stage(&mut &versions[TRIED].uki[..]).unwrap();
    let armed = staged.arm(How::Reboot, Asked::Policy, 1).unwrap();
    assert_eq!(armed.trial.method, Method::Counted);
    let trouble = machine.take_trouble().unwrap().to_string();
    assert_eq!(trouble, "cannot set the boot loader's variable `LoaderEntryOneShot`");
    assert_eq!(settle(&node.with_files(&files)).unwrap(), (Slot::B, TRIED, 0));
}

#[test]
fn a_device_that_fails_at_any_write_leaves_a_node_that_starts() {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    for writes in 0.. {
        let node = begin(&story);
        let (slot, version, _) = settle(&node).unwrap();
        node.disk.borrow_mut().fails_after = Some(writes);
        let armed = world::try_upgrade(&node, slot, version, TRIED, How::Reboot, Asked::Policy);
        node.disk.borrow_mut().fails_after = None;
        let done = armed.is_ok();
        recovers(
            &node,
            &story,
            &mut Records::new(),
            &format!("the device fails after {writes} writes"),
        );
        if done {
            assert!(writes > 10, "{writes}");
            break;
        }
    }
}

#[test]
fn a_staged_release_is_not_fetched_again_and_another_one_takes_its_place() {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    let (slot, version, _) = settle(&node).unwrap();
    world::stage(&node, slot, version, TRIED, Asked::Policy).unwrap();
    assert_eq!(settle(&node).unwrap(), (slot, version, 0), "staged, not armed");
    let mut machine = node.machine(slot, version);
    let take = machine.take(node.versions[TRIED].offer(), Asked::Policy).unwrap();
    assert!(matches!(take, Take::Staged(_)));
    drop(take);
    assert!(machine.staged().unwrap().is_some());
    let events = node.disk.borrow().log.len();
    drop(machine.take(node.versions[TRIED].offer(), Asked::Policy).unwrap());
    assert_eq!(node.disk.borrow().log.len(), events, "nothing is written");
    let take = machine.take(node.versions[NEXT].offer(), Asked::Policy).unwrap();
    assert!(matches!(take, Take::Spare(_)));
    drop(take);
    assert!(machine.staged().unwrap().is_none());
    drop(machine);
    recovers(&node, &story, &mut Records::new(), "another release was begun");
}

#[test]
fn what_is_wrong_with_what_was_fetched_is_said_and_never_listed() {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    let (slot, version, _) = settle(&node).unwrap();
    let Version { uki, root_hash, .. } = node.versions[TRIED].clone();
    let said = |fill: &dyn Fn(&mut disk::Handle), uki: &[u8]| {
        let mut machine = node.machine(slot, version);
        let offer = node.versions[TRIED].offer();
        let Take::Spare(mut spare) = machine.take(offer, Asked::Policy).unwrap() else {
            panic!("it is not there yet")
        };
        fill(spare.root());
        let error = spare.stage(&mut &*uki).map(drop).unwrap_err().to_string();
        assert!(node.listed().iter().all(|(name, _)| name.slot() == slot), "{error}");
        error
    };
    let good = |device: &mut disk::Handle| node.fill(device, TRIED);
    let other = |device: &mut disk::Handle| node.fill(device, NEXT);
    let seen = node.versions[NEXT].root_hash;
    assert_eq!(
        said(&other, &uki),
        format!(
            "root slot {} holds an image with root hash {seen}, and the release has {root_hash}",
            slot.other()
        )
    );
    let tree = |device: &mut disk::Handle| {
        node.fill(device, TRIED);
        device.write_at(8192, &[1; 512]).unwrap();
    };
    let place = slot.other();
    let want = format!("the hash tree in root slot {place} is not that of the image before it");
    assert_eq!(said(&tree, &uki), want);
    let mut bad = uki.clone();
    bad[5000] ^= 1;
    let digest = "the UKI is not the one of the release: its digest is wrong";
    assert_eq!(said(&good, &bad), digest);
    bad[5000] ^= 1;
    bad[0] ^= 1;
    assert_eq!(said(&good, &bad), digest);
    assert_eq!(said(&good, &uki[..7000]), "cannot read the UKI of the release");
    recovers(&node, &story, &mut Records::new(), "nothing came of it");
}
