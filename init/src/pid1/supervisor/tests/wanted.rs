//! Units that are not wanted, and may be later.

use super::*;

fn not_wanted(unit: &str) -> Event {
    Event::NotWanted { unit: name(unit), absent: "/run/arguments".into() }
}

#[test]
fn a_unit_that_is_not_wanted_is_told_once_and_satisfies_those_after_it() {
    let (units, _) = Units::new(vec![
        unit("a", &[], SOCKET, "always", "cgroup"),
        unit("b", &["a"], "\"exit\"", "on-failure", "cgroup"),
    ]);
    let mut node = Supervisor::new(&units);
    node.step(s(0), Event::Start);
    let (a, absent) = (name("a"), std::path::PathBuf::from("/run/arguments"));
    assert_eq!(
        node.step(s(0), not_wanted("a")),
        [Action::Announce(Change::NotWanted { unit: a, absent }), Action::Spawn(name("b"))]
    );
    assert_eq!(node.next_deadline(), None);
    node.step(s(0), spawned("b", 10));
    // A one-shot may have made what was not there, so it is looked at again.
    let actions = node.step(s(1), exited(10, 0));
    assert_eq!(actions[2..], [Action::Spawn(name("a"))], "{actions:?}");
    assert_eq!(node.step(s(1), not_wanted("a")), [Action::Announce(Change::BootComplete)]);
    assert_eq!(node.step(s(2), Event::Tick), []);
}

#[test]
fn what_becomes_wanted_after_a_one_shot_is_started() {
    let (units, _) = Units::new(vec![
        unit("configure", &[], "\"exit\"", "on-failure", "cgroup"),
        unit("kubelet", &[], SOCKET, "always", "cgroup"),
    ]);
    let mut node = Supervisor::new(&units);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("configure", 10));
    node.step(s(0), not_wanted("kubelet"));
    let actions = node.step(s(1), exited(10, 0));
    assert!(actions.contains(&Action::Spawn(name("kubelet"))), "{actions:?}");
    let actions = node.step(s(1), spawned("kubelet", 20));
    assert_eq!(actions[1], Action::StartProbe { unit: name("kubelet"), run: 2 });
    node.step(s(2), ready("kubelet", 2));
    let actions = node.step(s(2), Event::Shutdown(ShutdownKind::Reboot));
    assert!(actions.contains(&Action::Terminate { unit: name("kubelet"), pid: pid(20) }));
}

#[test]
fn what_becomes_wanted_comes_before_what_comes_after_it() {
    let one_shot =
        |name: &str, after: &[&str]| unit(name, after, "\"exit\"", "on-failure", "cgroup");
    let (units, _) = Units::new(vec![
        one_shot("configure-disks", &[]),
        one_shot("configure", &["configure-disks"]),
        one_shot("masquerade", &["configure"]),
        one_shot("sysctl", &["masquerade"]),
        unit("kubelet", &["configure", "containerd"], "\"started\"", "always", "cgroup"),
        unit("containerd", &[], SOCKET, "always", "process"),
        one_shot("other", &[]),
    ]);
    let mut node = Supervisor::new(&units);
    let spawns = |actions: &[Action]| -> Vec<String> {
        let units = actions.iter().filter_map(|action| match action {
            Action::Spawn(unit) => Some(unit.to_string()),
            _ => None,
        });
        units.collect()
    };
    let first = spawns(&node.step(s(0), Event::Start));
    assert_eq!(first, ["configure-disks", "containerd", "other"]);
    for unit in ["configure-disks", "configure", "masquerade", "sysctl"] {
        node.step(s(0), not_wanted(unit));
    }
    // A disk is to be looked at, and has the address of the config. Who comes after that waits
    // until the config is fetched, whether it was looked at before or not.
    node.step(s(0), spawned("other", 10));
    assert_eq!(spawns(&node.step(s(1), exited(10, 0))), ["configure-disks"]);
    node.step(s(1), spawned("configure-disks", 11));
    assert_eq!(spawns(&node.step(s(2), exited(11, 0))), ["configure"]);
    node.step(s(2), spawned("configure", 12));
    node.step(s(2), spawned("containerd", 13));
    assert_eq!(spawns(&node.step(s(3), ready("containerd", 1))), [""; 0]);
    // It fails at first.
    assert_eq!(spawns(&node.step(s(4), exited(12, 1))), [""; 0]);
    node.step(s(5), Event::Tick);
    node.step(s(5), spawned("configure", 14));
    assert_eq!(spawns(&node.step(s(6), exited(14, 0))), ["kubelet", "masquerade"]);
    assert_eq!(spawns(&node.step(s(6), not_wanted("masquerade"))), ["sysctl"]);
}
