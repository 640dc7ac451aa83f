//! A trial that is armed by half: the device fails in between, or the updater is killed.

use formats::boot_entries::Slot;
use formats::meta::Phase;
use updater::plan::Asked;
use updater::steps::{How, StepError};

use crate::node::{Booted, Manner, Node, Variables};
use crate::world::{self, Act, History, NOW, Story, TRIED, begin, settle};
use crate::{Records, recovers};

/// A node with a staged version, what runs on it, and its story.
fn staged(variables: Variables) -> (Node, (Slot, usize), Story) {
    let (history, how) = (History::Veteran, How::Reboot);
    let story = Story { history, how, variables, manner: Manner::Good, act: Act::Upgrade };
    let node = begin(&story);
    let (slot, version, _) = settle(&node).unwrap();
    world::stage(&node, slot, version, TRIED, Asked::Policy).unwrap();
    (node, (slot, version), story)
}

/// What the loader would start is what META has: no trial, or one.
#[test]
fn arming_that_fails_at_any_write_is_taken_back_or_known_to_be_armed_by_half() {
    for variables in [Variables::Kept, Variables::Refused] {
        let mut halves = 0;
        for writes in 0.. {
            let (node, (slot, version), story) = staged(variables);
            let mut machine = node.machine(slot, version);
            let staged = machine.staged().unwrap().unwrap();
            node.disk.borrow_mut().fails_after = Some(writes);
            let armed = staged.arm(How::Reboot, Asked::Policy, NOW);
            node.disk.borrow_mut().fails_after = None;
            let what = format!("{variables:?}, the device fails after {writes} writes: {armed:?}");
            let Err(error) = armed else {
                assert!(writes > 3 && halves > 0, "{what}");
                break;
            };
            assert_eq!(node.disk.borrow().now.one_shot, None, "{what}");
            // By another process, which finds what is on the disk.
            let mut machine = node.machine(slot, version);
            let meta = machine.record().unwrap().clone();
            match error {
                StepError::HalfArmed { .. } => halves += 1,
                _ => assert_eq!((meta.trial, meta.staged.is_some()), (None, true), "{what}"),
            }
            // The device works again, whoever asks.
            machine.unarm().unwrap();
            let meta = machine.record().unwrap().clone();
            assert_eq!((meta.trial, meta.staged.map(|it| it.attempts)), (None, Some(0)), "{what}");
            assert_eq!(node.boot(), Booted::Root(slot, version), "{what}");
            recovers(&node, &story, &mut Records::new(), &what);
        }
    }
}

#[test]
fn arming_that_was_cut_off_is_taken_back_by_the_next_process() {
    let (node, (slot, version), story) = staged(Variables::Kept);
    let mut machine = node.machine(slot, version);
    let staged = machine.staged().unwrap().unwrap();
    let armed = staged.arm(How::Reboot, Asked::Policy, NOW).unwrap();
    assert_eq!(armed.trial.phase, Phase::Armed);
    // The variable is set, and META has not come to the last record.
    let mut machine = node.machine(slot, version);
    assert!(node.disk.borrow().now.one_shot.is_some());
    machine.unarm().unwrap();
    assert_eq!(node.disk.borrow().now.one_shot, None);
    assert!(machine.record().unwrap().staged.is_some());
    assert_eq!(node.boot(), Booted::Root(slot, version));
    recovers(&node, &story, &mut Records::new(), "it was taken back");
}
