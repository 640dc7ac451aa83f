//! The units that a node has, with their time limits as their files say them.

use std::collections::BTreeMap;

use formats::system::LONGEST_SHUTDOWN;

use super::*;
use crate::pid1::built_in;
use crate::shutdown;

/// All unit files of the overlays.
fn shipped() -> Units {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs-overlays");
    let mut units = built_in::units().expect("good units");
    for overlay in ["base", "node", "worker"] {
        let directory = overlays.join(overlay).join("usr/lib/orlop/units");
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            units.push(Unit::parse(&path, &text).expect("a good unit"));
        }
    }
    let (units, refused) = Units::new(units);
    assert_eq!(refused, []);
    units
}

/// A boot in which all goes well at once; the processes by their units.
fn boot(node: &mut Supervisor) -> BTreeMap<UnitName, i32> {
    let mut pids = BTreeMap::new();
    let mut todo = node.step(s(0), Event::Start);
    while let Some(action) = todo.pop() {
        match action {
            Action::Spawn(unit) => {
                let number = 10 + i32::try_from(pids.len()).expect("few");
                todo.extend(node.step(s(0), spawned(unit.as_str(), number)));
                if node.unit(&unit).map(|unit| &unit.ready) == Some(&Ready::Exit) {
                    todo.extend(node.step(s(0), exited(number, 0)));
                }
                pids.insert(unit, number);
            }
            Action::StartProbe { unit, run } => {
                todo.extend(node.step(s(0), ready(unit.as_str(), run)));
            }
            _ => {}
        }
    }
    pids
}

#[test]
fn a_shutdown_in_which_nothing_ends_is_over_before_anybody_gives_it_up() {
    let mut node = Supervisor::new(&shipped());
    let pids = boot(&mut node);
    assert!(pids.contains_key(&name("kubelet")) && pids.contains_key(&name("images")), "{pids:?}");
    let kind = ShutdownKind::PowerOff;
    let (mut now, mut next) = (s(0), 100);
    let mut stopped_by_exec = Vec::new();
    let mut actions = node.step(now, Event::Shutdown(kind));
    let end = loop {
        assert!(!actions.contains(&Action::Announce(Change::ShutdownLate)), "{now:?} {actions:?}");
        if actions.contains(&Action::Finish(kind)) {
            break now;
        }
        let stop = actions.iter().find_map(|action| match action {
            Action::SpawnStop(unit) => Some(unit.clone()),
            _ => None,
        });
        actions = if let Some(unit) = stop {
            next += 1;
            let event = Event::StopSpawned { unit: unit.clone(), pid: pid(next) };
            stopped_by_exec.push(unit);
            node.step(now, event)
        } else {
            now = node.next_deadline().expect("a deadline");
            node.step(now, Event::Tick)
        };
    };
    assert_eq!(stopped_by_exec, [name("images")]);
    let whole = end + shutdown::LONGEST;
    assert!(whole < LONGEST_SHUTDOWN, "the units take {end:?}, all of it {whole:?}");
}
