//! Stories: what happens to a node, step by step, as it does in the world.

use std::rc::Rc;

use formats::boot_entries::Slot;
use formats::fat::File;
use formats::meta::Method;
use updater::plan::{Asked, Boot, Unhealthy};
use updater::steps::{Armed, How, SpareError, Start, StepError, Take};

use crate::node::{Booted, Manner, Node, Variables, Version};

/// What the clock says.
pub(crate) const NOW: u64 = 1_796_000_000;

/// Versions by number: of the disk, of a veteran, the one that is tried, the one after it, and one that
/// a veteran has tried before.
pub(crate) const FIRST: usize = 0;
pub(crate) const SECOND: usize = 1;
pub(crate) const TRIED: usize = 2;
pub(crate) const NEXT: usize = 3;
pub(crate) const SEED: usize = 4;

/// Their names are so long that a record of META does not fit into one sector.
pub(crate) fn versions(tried: Manner, epoch: u64) -> Vec<Version> {
    vec![
        Version::new(
            "first-with-a-version-as-long-as-one-can-be-so-that-records-tear",
            Manner::Good,
            0,
        ),
        Version::new(
            "second-with-a-version-as-long-as-one-can-be-so-that-records-tear",
            Manner::Good,
            1,
        ),
        Version::new(
            "tried-with-a-version-as-long-as-one-can-be-so-that-records-tear",
            tried,
            epoch,
        ),
        Version::new(
            "next-with-a-version-as-long-as-one-can-be-so-that-records-tear",
            Manner::Good,
            2,
        ),
        Version::new(
            "seed-with-a-version-as-long-as-one-can-be-so-that-records-tear",
            Manner::Unhealthy,
            1,
        ),
    ]
}

/// What the node is at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// As the builder made it: entries without counts, META empty.
    New,
    /// One upgrade behind it and one that failed.
    Veteran,
}

impl History {
    pub(crate) fn base(self) -> usize {
        match self {
            Self::New => FIRST,
            Self::Veteran => SECOND,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Upgrade,
    /// The trial is shut down in good order before it is judged, and armed again.
    Interrupt,
    /// It is cancelled after it was armed.
    Cancel,
    /// It was armed by half, is taken back, and armed again.
    Unarm,
    /// The trial cannot begin, by no fault of the version, and is armed again.
    PutOff,
    /// After the promotion somebody goes back.
    Return,
    /// He takes that back before the restart.
    Stay,
    /// After the promotion the version never gets healthy again.
    Decay,
}

#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) history: History,
    pub(crate) how: How,
    pub(crate) variables: Variables,
    pub(crate) manner: Manner,
    pub(crate) act: Act,
}

/// The node before the story.
pub(crate) fn begin(story: &Story) -> Node {
    begin_beside(story, &[])
}

/// The same with these files beside the entries.
pub(crate) fn begin_beside(story: &Story, files: &[File]) -> Node {
    // Below a new epoch nobody goes back.
    let epoch = match (story.act, story.history) {
        (Act::Return | Act::Stay, History::New) => 0,
        (Act::Return | Act::Stay, History::Veteran) => 1,
        _ => 2,
    };
    let node = Node::beside(&Rc::new(versions(story.manner, epoch)), story.variables, files);
    if story.history == History::Veteran {
        let (slot, version, _) = settle(&node).unwrap();
        for next in [SECOND, SEED] {
            let (slot, version) =
                if next == SEED { (slot.other(), SECOND) } else { (slot, version) };
            upgrade(&node, slot, version, next, How::Reboot, Asked::Policy).unwrap();
            assert_eq!(settle(&node).unwrap().1, SECOND);
        }
    }
    node
}

/// The story, without power cuts: where it ends.
pub(crate) fn tell(node: &Node, story: &Story) -> (Slot, usize, usize) {
    let (slot, version, _) = settle(node).unwrap();
    assert_eq!(version, story.history.base());
    let armed = upgrade(node, slot, version, TRIED, story.how, Asked::Policy).unwrap();
    let method = match (story.how, story.variables) {
        (How::Kexec, _) => Method::Kexec,
        (How::Reboot, Variables::Kept) => Method::OneShot,
        (How::Reboot, _) => Method::Counted,
    };
    assert_eq!(armed.trial.method, method);
    match story.act {
        Act::Upgrade => {}
        Act::Interrupt => {
            let booted = start(node, story.how);
            assert_eq!(booted, Booted::Root(slot.other(), TRIED));
            let mut machine = node.machine(slot.other(), TRIED);
            assert!(matches!(machine.start(NOW, None).unwrap(), Start::Trial(_)));
            machine.stopping().unwrap();
            assert_eq!(node.boot(), Booted::Root(slot, version));
            let mut machine = node.machine(slot, version);
            let Start::Boot(Boot::NotJudged(staged)) = machine.start(NOW, None).unwrap() else {
                panic!("it was not judged")
            };
            assert_eq!(staged.release.root_hash, node.versions[TRIED].root_hash);
            machine.healthy().unwrap();
            let staged = machine.staged().unwrap().unwrap();
            staged.arm(story.how, Asked::Policy, NOW).unwrap();
        }
        Act::PutOff => {
            assert_eq!(start(node, story.how), Booted::Root(slot.other(), TRIED));
            let mut machine = node.machine(slot.other(), TRIED);
            assert!(matches!(machine.start(NOW, None).unwrap(), Start::Trial(_)));
            machine.put_off().unwrap();
            assert_eq!(node.boot(), Booted::Root(slot, version));
            let mut machine = node.machine(slot, version);
            let start = machine.start(NOW, Some("it was interrupted: no room")).unwrap();
            assert!(matches!(start, Start::Boot(Boot::NotJudged(_))), "{start:?}");
            machine.healthy().unwrap();
            let staged = machine.staged().unwrap().unwrap();
            staged.arm(story.how, Asked::Policy, NOW).unwrap();
        }
        Act::Unarm => {
            node.machine(slot, version).unarm().unwrap();
            assert_eq!(settle(node).unwrap(), (slot, version, 0));
            let mut machine = node.machine(slot, version);
            let staged = machine.staged().unwrap().unwrap();
            staged.arm(story.how, Asked::Policy, NOW).unwrap();
        }
        Act::Cancel => {
            node.machine(slot, version).cancel().unwrap();
            let end = settle(node).unwrap();
            assert_eq!(end, (slot, version, 0));
            return end;
        }
        Act::Return | Act::Stay | Act::Decay => {}
    }
    let mut end = match start(node, story.how) {
        Booted::Root(slot, version) => match run(node, slot, version).unwrap() {
            Some(version) => (slot, version, 0),
            None => settle(node).unwrap(),
        },
        other => panic!("{other:?}"),
    };
    if story.act == Act::Return {
        assert_eq!(end.1, TRIED);
        node.machine(end.0, end.1).roll_back(NOW).unwrap();
        end = settle(node).unwrap();
        assert_eq!((end.0, end.1), (slot, version));
    }
    if story.act == Act::Stay {
        let mut machine = node.machine(end.0, end.1);
        machine.roll_back(NOW).unwrap();
        // Whoever judges this boot comes later.
        machine.healthy().unwrap();
        assert!(machine.goes_back().unwrap().is_some());
        machine.cancel().unwrap();
        let (slot, version, _) = end;
        end = settle(node).unwrap();
        assert_eq!(end, (slot, version, 0));
        assert_eq!(
            node.machine(slot, version).record().unwrap().failure(&node.versions[TRIED].root_hash),
            None
        );
    }
    if story.act == Act::Decay {
        assert_eq!(end, (slot.other(), TRIED, 0));
        // The loader counts; nobody arms again.
        for _ in 0..3 {
            assert_eq!(node.boot(), Booted::Root(slot.other(), TRIED));
        }
        assert_eq!(node.boot(), Booted::Root(slot, version));
        let mut machine = node.machine(slot, version);
        let start = machine.start(NOW, None).unwrap();
        assert!(matches!(start, Start::Boot(Boot::FellBack(_))), "{start:?}");
        machine.healthy().unwrap();
        end = settle(node).unwrap();
        assert_eq!(end, (slot, version, 0));
    }
    end
}

/// The boot that the trial is.
fn start(node: &Node, how: How) -> Booted {
    match how {
        How::Reboot => node.boot(),
        How::Kexec => node.initrd(TRIED),
    }
}

/// Boots until a version is up to stay: which, and how many boots of bad versions it took.
pub(crate) fn settle(node: &Node) -> Result<(Slot, usize, usize), String> {
    let mut bad = 0;
    for _ in 0..8 {
        match node.boot() {
            Booted::Dead(why) => return Err(why),
            Booted::Reset => {}
            Booted::Root(slot, version) => {
                bad += usize::from(node.versions[version].manner != Manner::Good);
                if let Some(version) = run(node, slot, version)? {
                    return Ok((slot, version, bad));
                }
            }
        }
    }
    Err("eight boots, and none that stays".to_owned())
}

/// A boot, from its root on: nothing if it ends in another boot.
fn run(node: &Node, slot: Slot, version: usize) -> Result<Option<usize>, String> {
    let manner = node.versions[version].manner;
    if manner == Manner::Panics {
        return Ok(None);
    }
    let mut machine = node.machine(slot, version);
    let failed = |error: StepError| format!("{error}: {:?}", std::error::Error::source(&error));
    let trial = match machine.start(NOW, None).map_err(failed)? {
        Start::Trial(_) => true,
        // Whoever completes a promotion boots into it.
        Start::Boot(Boot::Promoted(other))
            if other.root_hash != node.versions[version].root_hash =>
        {
            return Ok(None);
        }
        Start::Boot(_) => false,
    };
    match manner {
        Manner::Panics | Manner::Hangs => Ok(None),
        Manner::Unhealthy => match machine.unhealthy("kubelet does not answer").map_err(failed)? {
            Unhealthy::Reboot => Ok(None),
            Unhealthy::Stay => Ok(Some(version)),
        },
        Manner::Good => {
            match machine.resume().map_err(failed)? {
                Some(on_trial) => drop(on_trial.promote().map_err(failed)?),
                None if trial => return Err("a trial that is none".to_owned()),
                None => drop(machine.healthy().map_err(failed)?),
            }
            Ok(Some(version))
        }
    }
}

/// Brings a version into the spare slot.
pub(crate) fn stage(
    node: &Node,
    slot: Slot,
    version: usize,
    next: usize,
    asked: Asked,
) -> Result<(), SpareError> {
    let mut machine = node.machine(slot, version);
    let Take::Spare(mut spare) = machine.take(node.versions[next].offer(), asked)? else {
        return Ok(());
    };
    assert_eq!(spare.slot(), slot.other());
    node.fill(spare.root(), next);
    spare.stage(&mut &node.versions[next].uki[..]).map(drop)
}

pub(crate) fn upgrade(
    node: &Node,
    slot: Slot,
    version: usize,
    next: usize,
    how: How,
    asked: Asked,
) -> Result<Armed, SpareError> {
    stage(node, slot, version, next, asked)?;
    let mut machine = node.machine(slot, version);
    let staged = machine.staged()?.expect("it was staged");
    Ok(staged.arm(how, asked, NOW)?)
}

/// The same on a device that may fail.
pub(crate) fn try_upgrade(
    node: &Node,
    slot: Slot,
    version: usize,
    next: usize,
    how: How,
    asked: Asked,
) -> Result<(), String> {
    let mut machine = node.machine(slot, version);
    let taken = machine.take(node.versions[next].offer(), asked);
    let Take::Spare(mut spare) = taken.map_err(|error| error.to_string())? else {
        return Err("it is there already".to_owned());
    };
    node.try_fill(spare.root(), next).map_err(|error| error.to_string())?;
    let staged = spare.stage(&mut &node.versions[next].uki[..]);
    let staged = staged.map_err(|error| error.to_string())?;
    staged.arm(how, asked, NOW).map(drop).map_err(|error| error.to_string())
}
