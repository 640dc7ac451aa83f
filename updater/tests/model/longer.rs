//! A directory of entries that firmware makes longer, for six counted boots without a healthy one fill it,
//! and the power that is cut in it. It takes a person who chooses an entry again and again that is used
//! up: by itself an entry is started three times, and then the other one, which is not counted.

use formats::boot_entries::{DirectoryError, Name, SECTOR_BYTES, Slot};
use updater::esp::{Esp, EspError};
use updater::steps::How;

use crate::disk::cuts;
use crate::node::{Booted, Manner, Node, Variables};
use crate::world::{Act, History, Story, begin, settle, tell};
use crate::{Records, numbers, recovers};

/// A node with two good versions, and its story.
fn good() -> (Node, Story) {
    let story = Story {
        history: History::Veteran,
        how: How::Reboot,
        variables: Variables::Kept,
        manner: Manner::Good,
        act: Act::Upgrade,
    };
    let node = begin(&story);
    // Only with another good version is an entry counted.
    tell(&node, &story);
    (node, story)
}

/// A boot of the entry on top, which somebody chooses.
fn boot_top(node: &Node) {
    let top = node.listed().into_iter().map(|(name, _)| name).max_by_key(|name| name.generation());
    node.disk.borrow_mut().now.one_shot = top.map(Name::id);
    assert!(matches!(node.boot(), Booted::Root(..)));
}

#[test]
fn a_directory_that_firmware_has_made_longer_is_swept_and_works() {
    let (node, story) = good();
    let long = |node: &Node| node.directory().len() > SECTOR_BYTES;
    let mut boots = 0;
    while !long(&node) {
        boot_top(&node);
        boots += 1;
        assert!(boots < 12, "{boots}");
    }
    recovers(&node, &story, &mut Records::new(), "the directory is longer");
    let (_, second) = (settle(&node).unwrap(), node.directory().split_off(SECTOR_BYTES));
    assert!(second.iter().all(|byte| *byte == 0), "it was swept");
}

/// The firmware's rename over two sectors is not one write. If both names are there the next healthy boot
/// sweeps one away. If the old name is gone and the new one not there yet, the entry has no name any more:
/// the other one starts, and updates are refused in words.
#[test]
fn a_power_cut_while_it_gets_longer_leaves_a_node_that_starts() {
    let (node, story) = good();
    let before = node.disk.borrow().now.settled();
    node.disk.borrow_mut().now = before.clone();
    node.disk.borrow_mut().log.clear();
    for _ in 0..8 {
        boot_top(&node);
    }
    assert!(node.directory().len() > SECTOR_BYTES);
    let log = node.disk.borrow().log.clone();
    let (mut lost, mut whole) = (0, 0);
    let mut known = Records::new();
    cuts(&before, &log, 4, &mut numbers(), |at, image| {
        let cut = node.with(image);
        let what = format!("cut after event {at} of {}", log.len());
        match Esp::find(&cut.esp()) {
            Ok(_) => {
                recovers(&cut, &story, &mut known, &what);
                whole += 1;
            }
            Err(EspError::Directory(DirectoryError::Missing(slot))) => {
                let Booted::Root(runs, version) = cut.boot() else { panic!("{what}: it starts") };
                assert_eq!(cut.versions[version].manner, Manner::Good, "{what}");
                assert!(Slot::BOTH.contains(&runs) && runs != slot, "{what}");
                lost += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    });
    assert!(lost > 0 && whole > lost, "{lost}, {whole}");
}
