//! What cannot be read keeps nobody from updating, wherever writing may mend it or nothing depends on it.

use std::error::Error as _;

use formats::boot_entries::Slot;
use formats::meta::{Method, choose};
use updater::plan::Asked;
use updater::steps::{How, StepError};

use crate::node::{Manner, Node, Variables};
use crate::world::{Act, History, Story, TRIED, begin, settle, stage, upgrade};
use crate::{Records, recovers};

fn veteran(variables: Variables) -> (Node, Story, (Slot, usize)) {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    let (slot, version, _) = settle(&node).unwrap();
    (node, story, (slot, version))
}

#[test]
fn a_record_that_cannot_be_read_is_written_first_and_both_are_told() {
    for which in 0..2 {
        let (node, story, (slot, version)) = veteran(Variables::Kept);
        let meta = node.machine(slot, version).record().unwrap().clone();
        node.lose_record(which);
        assert_eq!(*node.machine(slot, version).record().unwrap(), meta);
        assert_eq!(settle(&node).unwrap(), (slot, version, 0));
        assert!(node.disk.borrow().unreadable.is_empty(), "a healthy boot writes it");
        let [one, two] = node.records();
        assert!(one == two && choose([&one, &two]).is_ok_and(|found| found.mirrored));
        recovers(&node, &story, &mut Records::new(), "a record could not be read");
    }
    let (node, _, (slot, version)) = veteran(Variables::Kept);
    node.lose_record(0);
    node.lose_record(1);
    let mut machine = node.machine(slot, version);
    let error = machine.take(node.versions[TRIED].offer(), Asked::Person).map(drop).unwrap_err();
    assert!(matches!(error, StepError::Unrecorded(_)), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "cannot read META");
    // That is no damage which somebody may have forgotten.
    assert!(machine.renew_record().is_err());
}

#[test]
fn a_spare_uki_that_cannot_be_read_is_written_anew_and_one_that_runs_is_needed() {
    let (node, story, (slot, version)) = veteran(Variables::Kept);
    node.lose_uki(slot.other());
    assert_eq!(settle(&node).unwrap(), (slot, version, 0));
    let refused = node.machine(slot, version).roll_back(1).unwrap_err();
    assert!(matches!(refused, StepError::Refused(_)), "{refused}");
    stage(&node, slot, version, TRIED, Asked::Policy).unwrap();
    assert!(node.disk.borrow().unreadable.is_empty());
    recovers(&node, &story, &mut Records::new(), "the spare UKI could not be read");

    let (node, _, (slot, version)) = veteran(Variables::Kept);
    node.lose_uki(slot);
    let error = stage(&node, slot, version, TRIED, Asked::Policy).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the UKI of slot {slot}"));
    assert!(node.root_of(slot.other()).is_some(), "nothing was written");
}

#[test]
fn firmware_that_does_not_say_what_it_keeps_has_trials_by_counted_entries() {
    let (node, story, (slot, version)) = veteran(Variables::Broken);
    let armed = upgrade(&node, slot, version, TRIED, How::Reboot, Asked::Policy).unwrap();
    assert_eq!(armed.trial.method, Method::Counted);
    assert_eq!(settle(&node).unwrap(), (slot.other(), TRIED, 0));
    recovers(&node, &story, &mut Records::new(), "the variable cannot be read");
}
