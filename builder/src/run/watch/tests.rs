//! Runs as the watcher sees them: console, marks and QMP in, decisions out.

use proptest::prelude::*;

use super::*;

const PANIC: &[u8] = b"[    1.5] Kernel panic - not syncing: no root\r\n";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn watch(until: Option<Until>) -> Watch {
    Watch::new(until, OnReset::End, Limits::new(Some(s(100))))
}

fn mark(name: &str, ns: u64) -> Event {
    Event::Marks(format!("{{\"mark\":\"{name}\",\"ns\":{ns}}}\n").into_bytes())
}

fn shutdown(reason: &str) -> Event {
    Event::Shutdown(reason.to_owned())
}

fn finish(watch: Watch) -> Result<Option<Ending>> {
    watch.finish().map(|(ending, _)| ending)
}

#[test]
fn what_is_waited_for_presses_the_power_button_and_success_is_an_orderly_end() {
    let mut watch = watch(Some(Until::Cri));
    let init = Mark { name: "root-init-start".into(), ns: 1 };
    let cri = Mark { name: "cri-answers".into(), ns: 2 };
    assert_eq!(watch.step(mark("root-init-start", 1), s(1)), [Action::Show(init.clone())]);
    assert_eq!(
        watch.step(mark("cri-answers", 2), s(2)),
        [Action::Show(cri.clone()), Action::PowerOff]
    );
    assert_eq!(watch.deadline(), Some(s(7)));
    assert_eq!(watch.step(shutdown("guest-shutdown"), s(3)), [Action::Quit]);
    assert!(!watch.is_over());
    for event in [Event::ConsoleEnd, Event::MarksEnd, Event::ControlEnd] {
        assert_eq!(watch.step(event, s(3)), []);
    }
    assert!(watch.is_over());
    assert_eq!(watch.finish().unwrap(), (Some(Ending::Reached), vec![init, cri]));
}

#[test]
fn what_is_seen_from_outside_is_a_mark_at_the_guests_time() {
    let mut watch = watch(Some(Until::Ready));
    let mark_at = |name: &str, ns| Mark { name: name.into(), ns };
    let early = watch.step(Event::Seen("early".into()), s(1));
    assert_eq!(early, [Action::Show(mark_at("early", 1_000_000_000))]);
    watch.step(mark("cri-answers", 7_500_000_000), s(20));
    assert_eq!(
        watch.step(Event::Seen("ready".into()), s(22)),
        [Action::Show(mark_at("ready", 9_500_000_000)), Action::PowerOff]
    );
    let told = watch.step(Event::Told("a line".into()), s(23));
    assert_eq!(told, [Action::Note("a line".into())]);
    watch.step(shutdown("guest-shutdown"), s(25));
    let (ending, marks) = watch.finish().unwrap();
    assert_eq!(ending, Some(Ending::Reached));
    assert_eq!(marks.last(), Some(&mark_at("ready", 9_500_000_000)));
}

#[test]
fn a_mark_cut_in_two_counts_once_and_one_read_after_the_end_still_counts() {
    let mut watch = watch(Some(Until::Init));
    assert_eq!(watch.step(shutdown("guest-shutdown"), s(1)), [Action::Quit]);
    assert_eq!(watch.step(Event::Marks(b"{\"mark\":\"root-init".to_vec()), s(1)), []);
    let rest = watch.step(Event::Marks(b"-start\",\"ns\":7}\n".to_vec()), s(1));
    assert_eq!(rest, [Action::Show(Mark { name: "root-init-start".into(), ns: 7 })]);
    assert_eq!(finish(watch).unwrap(), Some(Ending::Reached));
}

#[test]
fn every_way_to_fail_has_its_own_error() {
    let c = |text: &[u8]| Event::Console(text.to_vec());
    for (until, events, id, text) in [
        (
            Some(Until::Cri),
            vec![mark("root-init-start", 2_500_000_000), c(b"bye\n"), shutdown("guest-shutdown")],
            Id::GuestEnded,
            "the guest ended before it reached `cri-answers`; its last mark was \
             `root-init-start` at 2.500 s\n  bye",
        ),
        (
            None,
            vec![c(b"bad root\n"), shutdown("guest-reset")],
            Id::GuestReset,
            "the guest reset itself; no mark came\n  bad root",
        ),
        (
            None,
            vec![c(b"no root\n"), c(PANIC), c(b"trace\n"), shutdown("guest-reset")],
            Id::GuestPanic,
            "the guest's kernel panicked: `[    1.5] Kernel panic - not syncing: no root`; no \
             mark came\n  no root\n  [    1.5] Kernel panic - not syncing: no root",
        ),
        (
            None,
            vec![shutdown("guest-reset"), c(PANIC)],
            Id::GuestPanic,
            "the guest's kernel panicked: `[    1.5] Kernel panic - not syncing: no root`; no \
             mark came\n  [    1.5] Kernel panic - not syncing: no root",
        ),
        (
            None,
            vec![c(PANIC), Event::Deadline],
            Id::GuestPanic,
            "the guest's kernel panicked: `[    1.5] Kernel panic - not syncing: no root`; no \
             mark came\n  [    1.5] Kernel panic - not syncing: no root",
        ),
        (
            Some(Until::Init),
            vec![Event::Deadline],
            Id::GuestTimeout,
            "the guest did not reach `root-init-start` within 100 s; no mark came; its console \
             is empty",
        ),
        (
            None,
            vec![Event::Deadline],
            Id::GuestTimeout,
            "the guest was still running after 100 s; no mark came; its console is empty",
        ),
        (
            Some(Until::Init),
            vec![mark("root-init-start", 1), Event::Deadline],
            Id::GuestKeptRunning,
            "the guest was still running 360 s after its power button was pressed; its last \
             mark was `root-init-start` at 0.000 s; its console is empty",
        ),
        (
            Some(Until::Init),
            vec![Event::Terminate(Some("SIGTERM"))],
            Id::GuestEnded,
            "SIGTERM ended the guest before it reached `root-init-start`; no mark came; its \
             console is empty",
        ),
        (
            Some(Until::Init),
            vec![shutdown("guest-shutdown"), Event::Terminate(Some("SIGTERM"))],
            Id::GuestEnded,
            "the guest ended before it reached `root-init-start`; no mark came; its console is \
             empty",
        ),
        (
            Some(Until::Init),
            vec![Event::Terminate(Some("SIGTERM")), shutdown("guest-shutdown")],
            Id::GuestEnded,
            "SIGTERM ended the guest before it reached `root-init-start`; no mark came; its \
             console is empty",
        ),
        (
            Some(Until::Init),
            vec![Event::Terminate(None)],
            Id::GuestEnded,
            "the guest ended before it reached `root-init-start`; no mark came; its console is \
             empty",
        ),
    ] {
        let mut watch = watch(until);
        let mut quits = 0;
        for event in events {
            let now = if matches!(event, Event::Deadline) { s(361) } else { s(1) };
            let actions = watch.step(event, now);
            quits += actions.iter().filter(|action| **action == Action::Quit).count();
        }
        assert_eq!(quits, 1, "{text}");
        let error = finish(watch).unwrap_err();
        assert_eq!((error.id(), error.chain().as_str()), (id, text));
    }
}

#[test]
fn ctrl_c_presses_the_power_button_and_a_second_one_ends_it() {
    let mut first = watch(None);
    assert_eq!(first.step(Event::Interrupt, s(1))[0], Action::PowerOff);
    assert_eq!(first.step(shutdown("guest-shutdown"), s(2)), [Action::Quit]);
    assert_eq!(finish(first).unwrap(), Some(Ending::PoweredOff));

    let mut second = watch(None);
    second.step(Event::Interrupt, s(1));
    assert_eq!(second.step(Event::Interrupt, s(2)), [Action::Quit]);
    assert_eq!(second.step(shutdown("host-qmp-quit"), s(2)), []);
    assert_eq!(finish(second).unwrap(), Some(Ending::EndedByUser));
}

#[test]
fn a_signal_that_ends_the_guest_is_named() {
    let mut watch = watch(None);
    let note = "SIGHUP ends the guest at once, as if its power were cut".to_owned();
    let want = [Action::Quit, Action::Note(note)];
    assert_eq!(watch.step(Event::Terminate(Some("SIGHUP")), s(1)), want);
    assert_eq!(finish(watch).unwrap(), Some(Ending::EndedByUser));
}

#[test]
fn a_signal_to_a_guest_that_ends_by_itself_ends_nothing() {
    for (reason, ending) in [("guest-shutdown", true), ("guest-reset", false)] {
        let mut watch = watch(None);
        assert_eq!(watch.step(shutdown(reason), s(1)), [Action::Quit]);
        assert_eq!(watch.step(Event::Terminate(Some("SIGTERM")), s(2)), []);
        assert_eq!(finish(watch).ok(), ending.then_some(Some(Ending::PoweredOff)), "{reason}");
    }
    // Of two signals the first one.
    let mut watch = watch(Some(Until::Init));
    watch.step(Event::Terminate(Some("SIGHUP")), s(1));
    assert_eq!(watch.step(Event::Terminate(Some("SIGTERM")), s(2)), []);
    assert!(finish(watch).unwrap_err().chain().starts_with("SIGHUP ended the guest"));
}

#[test]
fn the_power_button_is_pressed_again_until_the_guest_sees_it() {
    let mut watch = watch(Some(Until::Init));
    watch.step(mark("root-init-start", 1), s(1));
    for now in (6..361).step_by(5) {
        assert_eq!(watch.deadline(), Some(s(now)));
        assert_eq!(watch.step(Event::Deadline, s(now)), [Action::PowerOff]);
    }
    assert_eq!(watch.deadline(), Some(s(361)));
    assert_eq!(watch.step(Event::Deadline, s(361)), [Action::Quit]);
    assert_eq!(finish(watch).unwrap_err().id(), Id::GuestKeptRunning);
}

#[test]
fn an_emulator_that_does_not_end_is_killed() {
    let mut watch = watch(None);
    watch.step(Event::Terminate(None), s(5));
    assert_eq!(watch.deadline(), Some(s(15)));
    assert_eq!(watch.step(Event::Deadline, s(15)), [Action::Kill]);
    assert_eq!(watch.deadline(), None);
}

#[test]
fn a_panic_is_part_of_life_where_resets_are_allowed() {
    let mut watch = Watch::new(Some(Until::Init), OnReset::Continue, Limits::new(None));
    watch.step(Event::Console(PANIC.to_vec()), s(1));
    assert_eq!(watch.deadline(), None);
    assert_eq!(watch.step(mark("root-init-start", 9), s(2))[1], Action::PowerOff);
    watch.step(shutdown("guest-shutdown"), s(3));
    assert_eq!(finish(watch).unwrap(), Some(Ending::Reached));
}

#[test]
fn an_emulator_that_ends_by_itself_is_no_ending_of_the_guest() {
    let mut watch = watch(None);
    for event in [Event::ConsoleEnd, Event::MarksEnd, Event::ControlEnd] {
        watch.step(event, s(1));
    }
    assert!(watch.is_over());
    assert_eq!(finish(watch).unwrap(), None);
}

#[test]
fn what_is_no_mark_is_shown_and_forgotten() {
    let mut watch = watch(None);
    for line in ["hello\n", "{\"mark\":\"a b\",\"ns\":1}\n", "{\"mark\":\"\",\"ns\":1}\n", "{}\n"] {
        let actions = watch.step(Event::Marks(line.as_bytes().to_vec()), s(1));
        assert!(matches!(&actions[..], [Action::Warn(_)]), "{line}: {actions:?}");
    }
    watch.step(shutdown("guest-shutdown"), s(1));
    assert_eq!(watch.finish().unwrap().1, []);
}

#[test]
fn drawing_is_taken_out_of_lines() {
    for (bytes, want) in [
        (&b"\x1b[2J\x1b[01;01H\x1b[0mBdsDxe: loading\r"[..], "BdsDxe: loading"),
        (b"a\tb\x07\x00c", "a\tbc"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"cut \x1b[31", "cut"),
        (b"lone \x1b", "lone"),
    ] {
        assert_eq!(printable(bytes), want);
    }
}

proptest! {
    #[test]
    fn any_bytes_of_the_guest_are_taken_in_pieces_of_bounded_length(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..4),
    ) {
        let mut watch = watch(Some(Until::Init));
        for piece in pieces {
            watch.step(Event::Console(piece.clone()), s(1));
            watch.step(Event::Marks(piece), s(1));
            prop_assert!(watch.console.0.len() < LONGEST_LINE);
            prop_assert!(watch.tail.len() <= TAIL);
        }
        drop(watch.finish());
    }
}
