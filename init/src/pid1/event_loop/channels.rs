//! What PID 1 and the built-in units say to each other: nobody here waits, and each unit is told all
//! that happens, whatever it makes of that.
//!
//! What a unit shows and keeps is kept here, and outlives its run.

use std::io;
use std::os::fd::OwnedFd;

use crate::console::Screen;
use crate::log;
use crate::message::{self, FromUnit, Received, ToUnit, View};
use crate::pid1::built_in::BuiltIn;
use crate::unit::{Unit, UnitName};

/// Messages that are taken of one unit in one turn.
const TURN: usize = 64;

/// Addresses, and problems, of one unit that the screen has room for.
const SHOWN: usize = 64;

/// The channel of one run of a unit.
#[derive(Debug)]
struct Channel {
    id: u32,
    unit: UnitName,
    kind: BuiltIn,
    socket: OwnedFd,
    /// So many messages found no room.
    dropped: u64,
    /// As [`crate::supervisor::Action::StartProbe`] names it.
    run: u32,
}

/// What outlives the runs of a unit.
#[derive(Debug)]
struct Known {
    unit: UnitName,
    /// What it has shown.
    view: View,
    /// What it wants its next run to know.
    kept: Vec<String>,
}

/// Those that are open, and what is known of their units.
#[derive(Debug, Default)]
pub(super) struct Channels {
    open: Vec<Channel>,
    next: u32,
    known: Vec<Known>,
}

impl Channels {
    /// A new channel in the place of an earlier run's: its number, and the unit's end of it.
    pub(super) fn open(&mut self, unit: &Unit, kind: BuiltIn) -> io::Result<(u32, OwnedFd)> {
        let (socket, theirs) = message::pair()?;
        self.open.retain(|channel| channel.unit != unit.name);
        if !self.known.iter().any(|known| known.unit == unit.name) {
            let (unit, view, kept) = (unit.name.clone(), View::default(), Vec::new());
            self.known.push(Known { unit, view, kept });
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let (unit, dropped, run) = (unit.name.clone(), 0, 0);
        self.open.push(Channel { id, unit, kind, socket, dropped, run });
        Ok((id, theirs))
    }

    pub(super) fn close(&mut self, id: u32) {
        // Its descriptor goes with it out of epoll's set.
        self.open.retain(|channel| channel.id != id);
    }

    pub(super) fn socket(&self, id: u32) -> Option<&OwnedFd> {
        self.open.iter().find(|channel| channel.id == id).map(|channel| &channel.socket)
    }

    /// The present run of this unit is the one that this number stands for.
    pub(super) fn began(&mut self, unit: &UnitName, run: u32) {
        let channel = self.open.iter_mut().find(|channel| channel.unit == *unit);
        channel.into_iter().for_each(|channel| channel.run = run);
    }

    /// That of `log`, if it runs.
    pub(super) fn log(&self) -> Option<&OwnedFd> {
        let channel = self.open.iter().find(|channel| channel.kind == BuiltIn::Log)?;
        Some(&channel.socket)
    }

    /// Tells one.
    pub(super) fn tell(&mut self, id: u32, message: &ToUnit) {
        let one = self.open.iter_mut().filter(|channel| channel.id == id);
        one.for_each(|channel| channel.tell(message));
    }

    /// Asks a unit whether it reads what it is told. If there is no room for that it does not.
    pub(super) fn ask(&mut self, unit: &UnitName, number: u32) {
        let one = self.open.iter_mut().filter(|channel| channel.unit == *unit);
        one.for_each(|channel| channel.tell(&ToUnit::Alive(number)));
    }

    /// Tells all.
    pub(super) fn tell_all(&mut self, message: &ToUnit) {
        self.open.iter_mut().for_each(|channel| channel.tell(message));
    }

    /// What a unit says, and who it is; and whether it can say more.
    pub(super) fn take(&mut self, id: u32) -> (Vec<FromUnit>, bool) {
        let mut messages = Vec::new();
        let Some(channel) = self.open.iter().find(|channel| channel.id == id) else {
            return (messages, true);
        };
        let Some(known) = self.known.iter_mut().find(|known| known.unit == channel.unit) else {
            return (messages, true);
        };
        for _ in 0..TURN {
            match message::receive(&channel.socket) {
                Received::Packet(packet, _) => match FromUnit::parse(&packet) {
                    Some(FromUnit::View(mut view)) => {
                        view.addresses.truncate(SHOWN);
                        view.problems.truncate(SHOWN);
                        known.view = view;
                    }
                    Some(FromUnit::Keep(kept)) => known.kept = kept,
                    message => messages.extend(message.filter(|said| may_say(channel.kind, said))),
                },
                Received::Nothing => break,
                Received::Ended => return (messages, false),
            }
        }
        (messages, true)
    }

    /// Which run of which unit it is.
    pub(super) fn run_of(&self, id: u32) -> Option<(UnitName, u32)> {
        let channel = self.open.iter().find(|channel| channel.id == id)?;
        Some((channel.unit.clone(), channel.run))
    }

    /// What an earlier run of this unit has kept.
    pub(super) fn kept(&self, unit: &UnitName) -> Vec<String> {
        let known = self.known.iter().find(|known| known.unit == *unit);
        known.map(|known| known.kept.clone()).unwrap_or_default()
    }

    /// Puts on the screen what the units have shown. It stays while one of them is started again.
    pub(super) fn show(&self, screen: &mut Screen) {
        // The network was opened last, and comes before what daemons complain of.
        for Known { view, .. } in self.known.iter().rev() {
            if !view.hostname.is_empty() {
                screen.hostname.clone_from(&view.hostname);
            }
            screen.addresses.extend(view.addresses.iter().cloned());
            screen.problems.extend(view.problems.iter().cloned());
        }
    }
}

/// What reads the network may be another's: it has no say in what is `log`'s.
fn may_say(kind: BuiltIn, message: &FromUnit) -> bool {
    match message {
        FromUnit::Answer { .. }
        | FromUnit::Written(_)
        | FromUnit::Closed(_)
        | FromUnit::Wrote { .. } => kind == BuiltIn::Log,
        _ => true,
    }
}

impl Channel {
    fn tell(&mut self, message: &ToUnit) {
        match message::send(&self.socket, &message.encode()) {
            Ok(true) if self.dropped > 0 => {
                let (dropped, unit) = (std::mem::take(&mut self.dropped), &self.unit);
                log::warn(&format!("{dropped} messages to {unit} found no room"));
            }
            Ok(true) => {}
            // Whoever is gone is told by its end.
            Ok(false) | Err(_) => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pid1::built_in;

    #[test]
    fn each_unit_says_only_what_is_its_own_and_what_it_keeps_outlives_its_run() {
        let units = built_in::units().expect("good");
        let mut channels = Channels::default();
        for unit in &units {
            let kind = unit.built_in.expect("built in");
            let (id, theirs) = channels.open(unit, kind).expect("descriptors");
            let kept = vec!["what it knows".to_owned()];
            let said = [FromUnit::Closed(7), FromUnit::Keep(kept.clone()), FromUnit::Suspect];
            for message in &said {
                assert!(message::send(&theirs, &message.encode()).expect("sent"));
            }
            assert!(message::send(&theirs, b"?nonsense").expect("sent"));
            let (messages, goes_on) = channels.take(id);
            let want = match kind {
                BuiltIn::Log => vec![FromUnit::Closed(7), FromUnit::Suspect],
                BuiltIn::Network => vec![FromUnit::Suspect],
            };
            assert_eq!((messages, goes_on), (want, true));
            drop(theirs);
            assert!(!channels.take(id).1);
            channels.close(id);
            assert_eq!(channels.kept(&unit.name), kept);
        }
    }

    #[test]
    fn who_reads_nothing_is_not_waited_for() {
        let units = built_in::units().expect("good");
        let mut channels = Channels::default();
        let (_, theirs) = channels.open(&units[0], BuiltIn::Log).expect("descriptors");
        for _ in 0..10_000 {
            channels.tell_all(&ToUnit::Suspect);
        }
        let dropped = channels.open[0].dropped;
        let mut read = 0;
        while let Received::Packet(..) = message::receive(&theirs) {
            read += 1;
        }
        assert_eq!(read + dropped, 10_000);
        assert!(dropped > 0);
        channels.tell_all(&ToUnit::Suspect);
        assert_eq!(channels.open[0].dropped, 0, "told, and counted anew");
    }
}
