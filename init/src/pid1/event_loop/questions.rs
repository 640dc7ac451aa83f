//! What units are asked, to know whether they work. `log` asks them, for PID 1 opens no connection:
//! here is what it is to ask and has not answered.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::Signal;

use super::EventLoop;
use crate::message::{self, About, ToUnit};
use crate::pid1::built_in::BuiltIn;
use crate::question::Question;
use crate::supervisor::{Event, State};
use crate::unit::{Asked, Ready, UnitName};
use crate::{log, process};

/// What an exchange may take by which a unit becomes ready. It is tried again.
const EXCHANGE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Open {
    unit: UnitName,
    about: About,
    question: Question,
    limit: Duration,
    /// The present run of `log` has it.
    given: bool,
}

impl Open {
    fn is_of(&self, unit: &UnitName, kind: Kind) -> bool {
        self.unit == *unit && Kind::of(self.about) == kind
    }
}

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// To find out whether a unit is ready.
    Ready,
    /// To find out whether it still works.
    Works,
}

impl Kind {
    fn of(about: About) -> Self {
        match about {
            About::Run(_) => Self::Ready,
            About::Question(_) => Self::Works,
        }
    }
}

/// Those without an answer; of each unit at most one of a kind.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Vec<Open>,
    /// These are not to be asked any more, and `log` does not know that yet.
    left: Vec<UnitName>,
}

impl Questions {
    /// In the place of an earlier one of its kind.
    fn ask(&mut self, unit: UnitName, about: About, question: Question, limit: Duration) {
        self.open.retain(|open| !open.is_of(&unit, Kind::of(about)));
        self.open.push(Open { unit, about, question, limit, given: false });
    }

    /// Nobody wants to know any more whether this unit becomes ready.
    pub(super) fn leave(&mut self, unit: &UnitName) {
        let before = self.open.len();
        self.open.retain(|open| !open.is_of(unit, Kind::Ready));
        if self.open.len() < before {
            self.left.push(unit.clone());
        }
    }

    /// Whether this is a question that was asked; of a good answer, or one to what is asked only once,
    /// it is over.
    fn answered(&mut self, unit: &UnitName, about: About, good: bool) -> bool {
        let asked = |open: &Open| open.unit == *unit && open.about == about;
        let known = self.open.iter().any(asked);
        if good || matches!(about, About::Question(_)) {
            self.open.retain(|open| !asked(open));
        }
        known
    }

    /// Whether this unit was asked if it still works, and nobody has said what became of that.
    fn owed(&self, unit: &UnitName) -> bool {
        self.open.iter().any(|open| open.is_of(unit, Kind::Works))
    }

    /// There is no `log`: who was asked whether it still works has not failed to answer.
    pub(super) fn give_up(&mut self) -> Vec<Event> {
        let given_up = self.open.iter().filter_map(|open| match open.about {
            About::Question(number) => {
                Some(Event::Answered { unit: open.unit.clone(), number, result: Ok(()) })
            }
            About::Run(_) => None,
        });
        let given_up = given_up.collect();
        self.open.retain(|open| matches!(open.about, About::Run(_)));
        given_up
    }

    /// A new run of `log` has none.
    pub(super) fn take_back(&mut self) {
        self.open.iter_mut().for_each(|open| open.given = false);
        self.left.clear();
    }

    /// Gives `log` what it does not have, as far as there is room in its channel.
    pub(super) fn give(&mut self, log: &OwnedFd) {
        let given = |message: &ToUnit| matches!(message::send(log, &message.encode()), Ok(true));
        while let Some(unit) = self.left.first() {
            if !given(&ToUnit::Leave(unit.to_string())) {
                return;
            }
            self.left.remove(0);
        }
        for open in self.open.iter_mut().filter(|open| !open.given) {
            let (unit, about, limit) = (open.unit.to_string(), open.about, open.limit);
            let question = open.question.clone();
            if !given(&ToUnit::Ask { unit, about, question, limit }) {
                return;
            }
            open.given = true;
        }
    }

    /// Whether something is still to be given.
    pub(super) fn waits(&self) -> bool {
        !self.left.is_empty() || self.open.iter().any(|open| !open.given)
    }
}

impl EventLoop {
    /// Finds out when this run of a unit is ready.
    pub(super) fn await_ready(&mut self, unit: UnitName, run: u32) {
        match self.supervisor.unit(&unit).map(|unit| &unit.ready) {
            Some(Ready::Said) => self.channels.began(&unit, run),
            Some(Ready::Answers(question)) => {
                let question = question.clone();
                self.questions.ask(unit, About::Run(run), question, EXCHANGE);
            }
            _ => {}
        }
    }

    /// Finds out whether a unit still works. If nobody can find out, it is not its fault.
    pub(super) fn ask(&mut self, unit: UnitName, number: u32) -> Option<Event> {
        let probe = self.supervisor.unit(&unit)?.probe.clone()?;
        let question = match probe.asked {
            Asked::Question(question) => question,
            Asked::Channel => {
                self.channels.ask(&unit, number);
                return None;
            }
        };
        if self.channels.log().is_some() && !self.questions.owed(&unit) {
            self.questions.ask(unit, About::Question(number), question, probe.timeout);
            return None;
        }
        self.nobody_asked(&unit);
        Some(Event::Answered { unit, number, result: Ok(()) })
    }

    /// A question has a limit that is over long before the next one: who says nothing at all to it
    /// hangs, and that is `log`.
    fn nobody_asked(&mut self, unit: &UnitName) {
        self.questions.open.retain(|open| !open.is_of(unit, Kind::Works));
        for (name, state) in self.supervisor.states() {
            let is_log = self.supervisor.unit(name).and_then(|unit| unit.built_in);
            if let (Some(BuiltIn::Log), State::Ready { pid, .. }) = (is_log, state) {
                log::warn(&format!("{name} does not say what became of {unit}: it is killed"));
                process::signal(*pid, Signal::KILL);
            }
        }
    }

    /// What became of a question; `None` if it was none of ours.
    pub(super) fn answer(
        &mut self,
        unit: String,
        about: About,
        result: Result<String, String>,
    ) -> Option<Event> {
        let unit = UnitName::try_from(unit).ok()?;
        if !self.questions.answered(&unit, about, result.is_ok()) {
            return None;
        }
        Some(match (about, result) {
            (About::Run(run), Ok(detail)) => Event::Ready { unit, run, detail },
            (About::Run(run), Err(reason)) => Event::ProbeFailed { unit, run, reason },
            (About::Question(number), result) => {
                Event::Answered { unit, number, result: result.map(drop) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Received;

    fn name(text: &str) -> UnitName {
        UnitName::try_from(text.to_owned()).expect("a name")
    }

    fn question() -> Question {
        Question::SocketAnswers("/run/x".into())
    }

    fn received(log: &OwnedFd) -> Vec<(String, Option<About>)> {
        let mut all = Vec::new();
        while let Received::Packet(packet, None) = message::receive(log) {
            match ToUnit::parse(&packet) {
                Some(ToUnit::Ask { unit, about, .. }) => all.push((unit, Some(about))),
                Some(ToUnit::Leave(unit)) => all.push((unit, None)),
                other => panic!("{other:?}"),
            }
        }
        all
    }

    #[test]
    fn each_run_of_log_is_asked_what_has_no_answer_and_once() {
        let mut questions = Questions::default();
        let (first, theirs) = message::pair().expect("a pair");
        questions.ask(name("a"), About::Run(1), question(), EXCHANGE);
        questions.ask(name("a"), About::Run(2), question(), EXCHANGE);
        questions.ask(name("b"), About::Question(7), question(), EXCHANGE);
        assert!(questions.waits());
        questions.give(&first);
        questions.give(&first);
        assert!(!questions.waits());
        let (a, b) =
            (("a".to_owned(), Some(About::Run(2))), ("b".to_owned(), Some(About::Question(7))));
        assert_eq!(received(&theirs), [a.clone(), b]);

        // A reason why it is not ready yet, and answers to what nobody has asked.
        assert!(questions.answered(&name("a"), About::Run(2), false));
        assert!(!questions.answered(&name("a"), About::Run(1), true));
        assert!(!questions.answered(&name("c"), About::Run(2), true));
        assert!(questions.owed(&name("b")));
        assert!(questions.answered(&name("b"), About::Question(7), false));
        assert!(!questions.owed(&name("b")));

        questions.ask(name("b"), About::Question(8), question(), EXCHANGE);
        let nobody_asked = Event::Answered { unit: name("b"), number: 8, result: Ok(()) };
        assert_eq!(questions.give_up(), [nobody_asked]);
        let (second, theirs) = message::pair().expect("a pair");
        questions.take_back();
        questions.give(&second);
        assert_eq!(received(&theirs), [a]);
        questions.leave(&name("a"));
        questions.leave(&name("b"));
        questions.give(&second);
        assert_eq!(received(&theirs), [("a".to_owned(), None)]);
        assert!(!questions.waits() && questions.open.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_asked_later() {
        let mut questions = Questions::default();
        let (ours, theirs) = message::pair().expect("a pair");
        while let Ok(true) = message::send(&ours, &ToUnit::Suspect.encode()) {}
        questions.ask(name("a"), About::Run(1), question(), EXCHANGE);
        questions.give(&ours);
        assert!(questions.waits());
        while let Received::Packet(..) = message::receive(&theirs) {}
        questions.give(&ours);
        assert_eq!(received(&theirs), [("a".to_owned(), Some(About::Run(1)))]);
    }
}
