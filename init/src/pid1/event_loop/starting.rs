//! How a unit is started: its output goes to `log`, and what is built in gets a channel to us.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::process::Pid;

use super::loading::Which;
use super::{CHANNEL, EventLoop, watch};
use crate::message::{Happened, ToUnit};
use crate::pid1::built_in::BuiltIn;
use crate::supervisor::{Event, State};
use crate::unit::{Unit, UnitName};
use crate::{log, process};

impl EventLoop {
    /// Starts a unit if it is wanted. What becomes of its program is told later.
    pub(super) fn spawn(&mut self, name: UnitName) -> Event {
        let Some(unit) = self.supervisor.unit(&name).cloned() else {
            return Event::SpawnFailed { unit: name, reason: "there is no such unit".to_owned() };
        };
        if let Some(path) = &unit.only_if_exists
            && !path.0.exists()
        {
            let absent = path.0.clone();
            return Event::NotWanted { unit: name, absent };
        }
        let started = process::command_line(&unit).and_then(|exec| match unit.built_in {
            Some(kind) => self.start_built_in(&unit, kind, &exec),
            None => self.start(&unit, Which::Exec, &exec, None),
        });
        match started {
            Ok(pid) => Event::Forked { unit: name, pid },
            Err(reason) => Event::SpawnFailed { unit: name, reason },
        }
    }

    /// Starts a unit that speaks with us, and tells it what happened before.
    fn start_built_in(
        &mut self,
        unit: &Unit,
        kind: BuiltIn,
        exec: &[String],
    ) -> Result<Pid, String> {
        let no_channel = |error: io::Error| format!("cannot open its channel: {error}");
        let (id, theirs) = self.channels.open(unit, kind).map_err(no_channel)?;
        if let Some(socket) = self.channels.socket(id) {
            let token = CHANNEL | u64::from(id);
            watch(&self.epoll, socket, token, epoll::EventFlags::IN).map_err(no_channel)?;
        }
        let (clock, kept) = (self.around.clock.clone(), self.channels.kept(&unit.name));
        self.channels.tell(id, &ToUnit::Begin { clock, kept });
        let works =
            self.supervisor.states().filter(|(_, state)| matches!(state, State::Ready { .. }));
        let works: Vec<UnitName> = works.map(|(name, _)| name.clone()).collect();
        for name in works {
            for message in self.news(&name, Happened::Ready) {
                self.channels.tell(id, &message);
            }
        }
        if kind == BuiltIn::Log {
            if let Some(Ok(log)) = self.channels.log().map(OwnedFd::try_clone) {
                log::send_to(log);
            }
            self.outputs.take_back();
            self.questions.take_back();
        }
        self.start(unit, Which::Exec, exec, Some(theirs))
    }

    /// Starts a program of a unit.
    pub(super) fn start(
        &mut self,
        unit: &Unit,
        which: Which,
        exec: &[String],
        channel: Option<OwnedFd>,
    ) -> Result<Pid, String> {
        let no_pipe = |error: io::Error| format!("cannot take its output: {error}");
        // It cannot read what it writes itself.
        if unit.built_in == Some(BuiltIn::Log) {
            let kernel = File::options().write(true).open(&self.around.kernel_log);
            let output = kernel.or_else(|_| File::options().write(true).open("/dev/null"));
            let output = output.map_err(no_pipe)?.into();
            let started = process::spawn(unit, exec, &self.around.cgroups, output, channel)?;
            return self.watch_load(&unit.name, which, started, None);
        }
        let (id, writer) = self.outputs.open(unit).map_err(no_pipe)?;
        let started = process::spawn(unit, exec, &self.around.cgroups, writer, channel);
        let pid = started.and_then(|started| self.watch_load(&unit.name, which, started, Some(id)));
        match self.channels.log() {
            _ if pid.is_err() => self.outputs.close(id),
            Some(log) => self.outputs.give(log),
            None => {}
        }
        pid
    }
}
