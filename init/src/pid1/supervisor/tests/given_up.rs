//! A boot that is given up because a unit was not ready in the time that the boot has.

use proptest::prelude::*;

use super::*;

/// A one-shot for which the machine is restarted after 600 s, and `other`, which comes before it if
/// that is said.
fn trial(after: &[&str]) -> Supervisor {
    let mut trial = unit("trial", after, "\"exit\"", "on-failure", "process");
    trial.restart_machine_after = Some(s(600));
    let other = unit("other", &[], SOCKET, "always", "process");
    let (units, refused) = Units::new(vec![trial, other]);
    assert_eq!(refused, []);
    Supervisor::new(&units)
}

fn given_up() -> [Action; 2] {
    let change = Change::GivenUp { unit: name("trial"), after: s(600) };
    [Action::Announce(change), Action::RestartMachine]
}

#[test]
fn the_machine_is_restarted_once_however_the_unit_is_not_ready() {
    type Story = fn(&mut Supervisor);
    let stories: [(&str, &[&str], Story); 4] = [
        ("it waits for another", &["other"], |_| {}),
        ("its process is never there", &[], |_| {}),
        ("it hangs", &[], |node| drop(node.step(s(5), spawned("trial", 10)))),
        ("its program is not there", &[], |node| {
            let reason = "No such file".to_owned();
            node.step(s(5), Event::SpawnFailed { unit: name("trial"), reason });
        }),
    ];
    for (story, after, tell) in stories {
        let mut node = trial(after);
        node.step(s(3), Event::Start);
        tell(&mut node);
        // Whatever else there is to do until then.
        while node.next_deadline().is_some_and(|at| at < s(603)) {
            let now = node.next_deadline().expect("one");
            for action in node.step(now, Event::Tick) {
                assert_ne!(action, Action::RestartMachine, "{story} {now:?}");
                if action == Action::Spawn(name("trial")) {
                    let reason = "No such file".to_owned();
                    node.step(now, Event::SpawnFailed { unit: name("trial"), reason });
                }
            }
        }
        assert_eq!(node.next_deadline(), Some(s(603)), "{story}");
        let actions = node.step(s(603), Event::Tick);
        assert!(actions.ends_with(&given_up()), "{story}: {actions:?}");
        assert!(!node.step(s(604), Event::Tick).contains(&Action::RestartMachine), "{story}");
        let began = Change::ShutdownBegan(ShutdownKind::Reboot);
        let actions = node.step(s(604), Event::Shutdown(ShutdownKind::Reboot));
        assert_eq!(actions.first(), Some(&Action::Announce(began)), "{story}");
    }
}

#[test]
fn it_is_not_if_the_unit_was_ready_is_not_wanted_or_the_machine_goes_down() {
    type Story = fn(&mut Supervisor);
    let stories: [(&str, Story); 3] = [
        ("ready", |node| {
            node.step(s(1), spawned("trial", 10));
            node.step(s(2), exited(10, 0));
        }),
        ("not wanted", |node| {
            let absent = "/run/orlop/trial".into();
            node.step(s(1), Event::NotWanted { unit: name("trial"), absent });
        }),
        ("going down", |node| {
            node.step(s(1), Event::Shutdown(ShutdownKind::PowerOff));
        }),
    ];
    for (story, tell) in stories {
        let mut node = trial(&[]);
        node.step(s(0), Event::Start);
        tell(&mut node);
        let actions = node.step(s(601), Event::Tick);
        assert!(!actions.contains(&Action::RestartMachine), "{story}: {actions:?}");
    }
}

proptest! {
    /// A unit that fails again and again has the same time as one that hangs.
    #[test]
    fn no_number_of_starts_makes_the_time_longer(ends in prop::collection::vec(1_u64..90, 0..40)) {
        let mut node = trial(&[]);
        let mut now = s(0);
        let mut actions = node.step(now, Event::Start);
        let mut lives = ends.iter();
        let mut pid = 10;
        while !actions.contains(&Action::RestartMachine) {
            prop_assert!(now <= s(600));
            if actions.contains(&Action::Spawn(name("trial"))) {
                pid += 1;
                node.step(now, spawned("trial", pid));
                if let Some(life) = lives.next() {
                    now = (now + s(*life)).min(s(600));
                    actions = node.step(now, exited(pid, 1));
                    continue;
                }
            }
            now = node.next_deadline().expect("one").max(now);
            actions = node.step(now, Event::Tick);
        }
        prop_assert_eq!(now, s(600));
    }
}
