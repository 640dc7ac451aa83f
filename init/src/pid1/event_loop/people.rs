//! What people are told of a change, and who else is: marks, and the built-in units.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::event::epoll;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use super::{CONSOLE, EventLoop, LAST_LINES, watch};
use crate::console::{self, Screen};
use crate::message::{Happened, ToUnit};
use crate::question::Question;
use crate::supervisor::{Change, Next, State};
use crate::unit::{Ready, UnitName};
use crate::{clock, log, marks};

/// Bytes that a unit may have to tell people.
const LONGEST_TOLD: u64 = 64 * 1024;

impl EventLoop {
    pub(super) fn announce(&mut self, change: &Change) {
        let now = clock::monotonic();
        let line = console::line(change, now);
        // The log has stamps of its own.
        let text = line.split_once("] ").map_or(line.as_str(), |(_, text)| text);
        let failed = console::is_failure(change);
        if failed.is_some() {
            log::warn(text)
        } else {
            log::info(text)
        }
        if let Change::Ready { unit, .. } = change {
            self.around.screen.output.retain(|(other, _)| other != unit);
            self.questions.leave(unit);
            if self.supervisor.unit(unit).is_some_and(|unit| unit.ready == Ready::Exit) {
                self.take_problems(unit);
            }
        }
        marks::observe(change, &self.supervisor);
        let happened = match change {
            Change::Ready { unit, .. } => Some((unit, Happened::Ready)),
            Change::Ended { unit, next: Next::RestartIn(_) | Next::Failed, .. } => {
                Some((unit, Happened::Failed))
            }
            Change::Ended { unit, .. } => Some((unit, Happened::Ended)),
            Change::Late { unit, .. } => Some((unit, Happened::Late)),
            _ => None,
        };
        if let Some((unit, what)) = happened {
            self.news(unit, what).iter().for_each(|message| self.channels.tell_all(message));
        }
        if self.around.console.change(change, now) {
            match failed {
                Some(unit) if self.channels.log().is_some() => {
                    self.awaited.push((unit.clone(), now + LAST_LINES));
                }
                _ => self.show(),
            }
        }
    }

    /// What the built-in units are told of a unit.
    pub(super) fn news(&self, name: &UnitName, happened: Happened) -> Vec<ToUnit> {
        let mut news = vec![ToUnit::Unit(name.to_string(), happened)];
        if happened == Happened::Ready
            && let Some(Ready::Answers(Question::CriVersion(socket))) =
                self.supervisor.unit(name).map(|unit| &unit.ready)
        {
            news.push(ToUnit::Runtime(socket.display().to_string()));
        }
        news
    }

    /// The last lines of a unit that failed have come.
    pub(super) fn wrote(&mut self, unit: String, lines: Vec<String>) {
        let Ok(unit) = UnitName::try_from(unit) else { return };
        let failed = self.supervisor.states().any(|(name, state)| {
            *name == unit && !matches!(state, State::Ready { .. } | State::Done)
        });
        let awaited = self.awaited.iter().position(|(name, _)| *name == unit);
        self.around.screen.output.retain(|(other, _)| *other != unit);
        if failed || awaited.is_some() {
            self.around.screen.output.push((unit.clone(), lines));
        }
        if let Some(at) = awaited {
            self.awaited.swap_remove(at);
            self.show();
        }
        // It works again meanwhile: the lines were of its failure.
        if !failed {
            self.around.screen.output.retain(|(other, _)| *other != unit);
        }
    }

    /// Without the last lines, for `log` does not send them.
    pub(super) fn show_what_waited_too_long(&mut self) {
        let now = clock::monotonic();
        let all = self.finished.is_some();
        let before = self.awaited.len();
        self.awaited.retain(|(_, until)| *until > now && !all);
        if self.awaited.len() < before {
            self.show();
        }
    }

    pub(super) fn show(&mut self) {
        let screen = self.screen();
        self.around.console.show(&screen, clock::monotonic());
    }

    /// What who asks the machine to go down has left for people: a line.
    pub(super) fn tell_why(&mut self) {
        let reason = told(&self.around.reason).unwrap_or_default();
        if let Some(line) = reason.lines().next() {
            log::info(line);
            self.around.console.say(line, clock::monotonic());
        }
    }

    /// What a unit has to tell people, now that it is done.
    fn take_problems(&mut self, unit: &UnitName) {
        let path = self.around.problems.join(unit.as_str());
        // Most have nothing to tell.
        for problem in told(&path).unwrap_or_default().lines() {
            log::warn(problem);
            self.around.console.say(problem, clock::monotonic());
            self.around.screen.problems.push(problem.to_owned());
        }
    }

    /// What the screen shows.
    fn screen(&self) -> Screen {
        let units = self.supervisor.states().map(|(name, state)| (name.clone(), state.clone()));
        let waits = self.supervisor.states().filter(|(_, state)| **state == State::Waiting);
        let waits = waits.map(|(name, _)| {
            let names: Vec<_> = self.supervisor.waits_for(name).map(UnitName::as_str).collect();
            (name.clone(), names.join(", "))
        });
        let (units, waits) = (units.collect(), waits.collect());
        let mut screen = Screen { units, waits, ..self.around.screen.clone() };
        self.channels.show(&mut screen);
        for (name, pid) in self.supervisor.left_behind() {
            let pid = pid.as_raw_nonzero();
            screen.problems.push(format!("process {pid} of {name} was killed and does not end"));
        }
        screen
    }

    pub(super) fn watch_console(&mut self) {
        let wanted = self.around.console.wants_to_write();
        match (wanted, self.console_registered) {
            (Some(fd), false) => {
                // A console that cannot be watched gets the rest with the next line.
                self.console_registered =
                    watch(&self.epoll, fd, CONSOLE, epoll::EventFlags::OUT).is_ok();
            }
            (None, true) => {
                if let Some(fd) = self.around.console.device() {
                    let _ = epoll::delete(&self.epoll, fd);
                }
                self.console_registered = false;
            }
            _ => {}
        }
    }
}

/// What a unit has left in a file. Units write where this is, so it is read only if it is a file, and
/// no more of it than there is room for.
fn told(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    File::from(file).take(LONGEST_TOLD).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
