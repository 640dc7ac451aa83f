//! Contents of disks after power cuts, as the model of them makes them, one for each that differs for
//! the loader.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use formats::boot_entries::Slot;
use formats::fat::File;
use qemu_tests::random::Random;
use updater::steps::How;

use crate::disk::{Numbers, SECTOR, cuts};
use crate::node::{Manner, Node, UKI_SIZE, Variables};
use crate::world::{Act, History, Story, TRIED, begin_beside, tell, versions};

/// A content, and how it came about.
pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) what: String,
}

/// A number in the environment.
pub(crate) fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    Ok(Some(text.parse().with_context(|| format!("`{name}` is no number"))?))
}

/// What makes a difference to firmware and loader: the directory, the heads of the UKIs and what is
/// behind them, and the variable.
fn key(node: &Node) -> Vec<u8> {
    let disk = node.disk.borrow();
    let mut key = node.directory();
    for slot in Slot::BOTH {
        let head = disk.now.read(node.uki(slot), SECTOR);
        // What stands behind a head of zeros is not read by anybody.
        if head.iter().any(|byte| *byte != 0) {
            let length = usize::try_from(UKI_SIZE).expect("a size in memory");
            key.extend(disk.now.read(node.uki(slot), length));
        }
    }
    key.extend(format!("{:?}", disk.now.one_shot).bytes());
    key
}

/// All contents that differ, of all stories, in an order by chance: as many with a variable as without
/// come first.
pub(crate) fn sample(files: &[File], random: &mut Random) -> Result<Vec<State>> {
    let mut found = BTreeMap::new();
    let good = [Act::Upgrade, Act::Interrupt, Act::Cancel, Act::Return, Act::Decay];
    let bad = [Manner::Panics, Manner::Unhealthy].map(|manner| (manner, Act::Upgrade));
    let ways = [
        (History::New, Variables::Kept),
        (History::New, Variables::Dropped),
        (History::Veteran, Variables::Refused),
        (History::Veteran, Variables::Kept),
    ];
    let mut numbers = Numbers(random.number().max(1));
    for (history, variables) in ways {
        for (manner, act) in good.map(|act| (Manner::Good, act)).into_iter().chain(bad) {
            let story = Story { history, how: How::Reboot, variables, manner, act };
            let node = begin_beside(&story, files);
            let before = node.disk.borrow().now.settled();
            node.disk.borrow_mut().now = before.clone();
            node.disk.borrow_mut().log.clear();
            tell(&node, &story);
            let log = node.disk.borrow().log.clone();
            cuts(&before, &log, 4, &mut numbers, |at, image| {
                let node = node.with(image);
                let what = format!("{story:?}, cut after event {at} of {}", log.len());
                found.entry(key(&node)).or_insert(State { node, what });
            });
        }
    }
    let mut states: Vec<State> = found.into_values().collect();
    for at in (1..states.len()).rev() {
        let other = usize::try_from(random.number() % (at as u64 + 1))?;
        states.swap(at, other);
    }
    let is_once = |state: &State| state.node.disk.borrow().now.one_shot.is_some();
    let (once, other): (Vec<_>, Vec<_>) = states.into_iter().partition(is_once);
    let (mut once, mut other) = (once.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    loop {
        let next = [once.next(), other.next(), other.next()];
        if next.iter().all(Option::is_none) {
            return Ok(mixed);
        }
        mixed.extend(next.into_iter().flatten());
    }
}

/// A disk whose slots hold different versions.
pub(crate) fn two_versions(files: &[File]) -> Node {
    let versions = Rc::new(versions(Manner::Good, 2));
    let node = Node::beside(&versions, Variables::Kept, files);
    let uki = node.uki(Slot::B);
    node.disk.borrow_mut().now.write(uki, &versions[TRIED].uki);
    node
}
