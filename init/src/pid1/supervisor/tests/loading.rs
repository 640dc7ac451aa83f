//! Programs on their way into memory.

use super::*;

fn forked(unit: &str, number: i32) -> Event {
    Event::Forked { unit: name(unit), pid: pid(number) }
}

#[test]
fn what_is_loaded_for_too_long_is_told_and_holds_up_nobody() {
    let mut node = node();
    node.step(s(0), Event::Start);
    assert_eq!(node.step(s(0), forked("containerd", 10)), []);
    let reason = Some("its program is not loaded: a disk does not answer".to_owned());
    let late = Change::Late { unit: name("containerd"), deadline: s(10), reason };
    assert_eq!(node.step(s(10), Event::Tick), [Action::Announce(late)]);
    assert_eq!(node.next_deadline(), None);
    let actions = node.step(s(50), spawned("containerd", 10));
    assert_eq!(actions[0], Action::Announce(Change::Started(name("containerd"))));
    assert_eq!(node.next_deadline(), None, "it is told once");
    let Action::Announce(Change::Ready { after, .. }) =
        &node.step(s(60), ready("containerd", 1))[0]
    else {
        panic!("not ready");
    };
    assert_eq!(*after, s(60), "since its start");
}

#[test]
fn what_is_still_being_loaded_is_stopped_in_its_turn() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    node.step(s(0), forked("a", 10));
    let actions = node.step(s(1), Event::Shutdown(ShutdownKind::PowerOff));
    assert_eq!(actions[1], Action::Terminate { unit: name("a"), pid: pid(10) });
    // Its program comes too late.
    assert_eq!(node.step(s(2), spawned("a", 10)), []);
    assert_eq!(node.step(s(4), Event::Tick).last(), Some(&Action::Kill(pid(10))));
    let last = node.step(s(9), Event::Tick);
    assert_eq!(last.last(), Some(&Action::Finish(ShutdownKind::PowerOff)));
}

#[test]
fn what_cannot_be_loaded_is_tried_again() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    node.step(s(0), forked("a", 10));
    let failed = Event::SpawnFailed { unit: name("a"), reason: "no such file".into() };
    assert_eq!(node.step(s(1), failed).len(), 1);
    assert_eq!(node.step(s(1), exited(10, 1)), []);
    assert_eq!(node.step(s(1) + ms(100), Event::Tick), [Action::Spawn(name("a"))]);
}
