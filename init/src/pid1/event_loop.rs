//! The body around the supervisor: waits for the kernel, turns what it says into events, and does
//! what the supervisor asks for. One thread, one epoll set; nothing in here waits for a disk or the
//! network, polls or sleeps. It knows no unit by its name: who makes something of a change beside
//! the supervisor is told of all of them ([`marks`], the built-in units).

mod channels;
mod outputs;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal as ToSend};

use crate::console::{self, Console, Screen};
use crate::message::{FromUnit, Happened, ToUnit};
use crate::pid1::built_in::BuiltIn;
use crate::power::Button;
use crate::readiness::{Answer, Probe};
use crate::supervisor::{Action, Change, Event, Next, ShutdownKind, State, Supervisor};
use crate::sys::signals::{self, Signal};
use crate::sys::timespec;
use crate::unit::{Ready, Unit, UnitName};
use crate::{clock, log, marks, process};
use channels::Channels;
use outputs::Outputs;

/// What the loop works on; a test gives it a directory of its own.
#[derive(Debug)]
pub struct Surroundings {
    /// From [`signals::block_and_open`].
    pub signals: OwnedFd,
    /// Where people look.
    pub console: Console,
    /// What is known for the screen before anything runs.
    pub screen: Screen,
    /// Where the control groups are mounted.
    pub cgroups: PathBuf,
    /// Where the unit `log`, whose output nobody reads, writes: the kernel's log.
    pub kernel_log: PathBuf,
    /// What was wrong with the clock at the start.
    pub clock: Option<String>,
    /// What units that end have to tell people: a file of the unit's name, read when it is done.
    pub problems: PathBuf,
    /// The power buttons: none, or one for each device with a power key.
    pub buttons: Vec<Button>,
    /// Called first of all when the system is to go down: sets the time by which it is.
    pub arm: fn(ShutdownKind),
}

/// What remains when all units have stopped.
#[derive(Debug)]
pub struct Finished {
    /// What was asked for.
    pub kind: ShutdownKind,
    /// As in [`Surroundings`].
    pub signals: OwnedFd,
    /// As in [`Surroundings`].
    pub console: Console,
}

/// Runs until the supervisor has brought everything down.
///
/// # Errors
/// Only if epoll itself fails: what a unit, the network or the console does is no reason to stop.
pub fn run(supervisor: Supervisor, surroundings: Surroundings) -> io::Result<Finished> {
    EventLoop::new(supervisor, surroundings)?.run()
}

/// Which descriptor an epoll event is about. The lower half of the token says which one of many.
const SIGNALS: u64 = 1 << 32;
const PROBES: u64 = 2 << 32;
const BUTTON: u64 = 3 << 32;
const CONSOLE: u64 = 4 << 32;
const CHANNEL: u64 = 5 << 32;
const KIND: u64 = !0 << 32;

/// So long the screen of a failure waits for the last lines of the unit.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Between two tries to give `log` what it had no room for.
const NO_ROOM: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct EventLoop {
    supervisor: Supervisor,
    around: Surroundings,
    epoll: OwnedFd,
    /// Raised by probes when they sent an answer.
    wake: Arc<OwnedFd>,
    answers: Receiver<Answer>,
    answer_sender: Sender<Answer>,
    probes: BTreeMap<UnitName, Probe>,
    outputs: Outputs,
    channels: Channels,
    console_registered: bool,
    /// Units that failed, whose last lines are awaited until then, to show them on the screen.
    awaited: BTreeMap<UnitName, Duration>,
    finished: Option<ShutdownKind>,
}

impl EventLoop {
    fn new(supervisor: Supervisor, around: Surroundings) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        watch(&epoll, &around.signals, SIGNALS, epoll::EventFlags::IN)?;
        watch(&epoll, &wake, PROBES, epoll::EventFlags::IN)?;
        for (index, button) in (0_u32..).zip(&around.buttons) {
            let token = BUTTON | u64::from(index);
            if let Err(error) = watch(&epoll, button.fd(), token, epoll::EventFlags::IN) {
                log::warn(&format!("cannot watch a power button: {error}"));
            }
        }
        let (answer_sender, answers) = channel();
        Ok(Self {
            supervisor,
            around,
            epoll,
            wake,
            answers,
            answer_sender,
            probes: BTreeMap::new(),
            outputs: Outputs::default(),
            channels: Channels::default(),
            console_registered: false,
            awaited: BTreeMap::new(),
            finished: None,
        })
    }

    fn run(mut self) -> io::Result<Finished> {
        self.feed(Event::Start);
        loop {
            if let Some(kind) = self.finished {
                let Surroundings { signals, console, .. } = self.around;
                return Ok(Finished { kind, signals, console });
            }
            self.watch_console();
            for token in self.wait()? {
                self.take(token);
            }
            self.feed(Event::Tick);
            if let Some(log) = self.channels.log() {
                self.outputs.give(log);
            }
            self.show_what_waited_too_long();
        }
    }

    /// The tokens of what is ready; none if only time has passed.
    fn wait(&self) -> io::Result<Vec<u64>> {
        let timeout = self.timeout().map(timespec);
        let mut events = Vec::with_capacity(32);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = clock::monotonic();
        let room = self.channels.log().filter(|_| log::flush() || self.outputs.waits());
        let deadlines = self.awaited.values().copied().chain(room.map(|_| now + NO_ROOM));
        let soonest = deadlines.chain(self.supervisor.next_deadline()).min()?;
        // An hour is far below what epoll can count to.
        Some(soonest.saturating_sub(now).min(Duration::from_secs(3600)))
    }

    fn take(&mut self, token: u64) {
        let which = u32::try_from(token & !KIND).unwrap_or(0);
        match token & KIND {
            SIGNALS => self.signals(),
            PROBES => self.probe_answers(),
            BUTTON => self.button(which),
            CONSOLE => self.around.console.flush(),
            CHANNEL => self.channel(which),
            _ => {}
        }
    }

    /// Gives an event to the supervisor, does what it asks for, and gives it the results.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.step(clock::monotonic(), event) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(unit) => Some(self.spawn(unit)),
            Action::SpawnStop(unit) => {
                let known = self.supervisor.unit(&unit)?.clone();
                let exec = known.stop_exec.as_deref().unwrap_or_default();
                Some(match self.start(&known, exec, None) {
                    Ok(pid) => Event::StopSpawned { unit, pid },
                    Err(reason) => Event::StopSpawnFailed { unit, reason },
                })
            }
            Action::StartProbe { unit, run } => {
                let ready = self.supervisor.unit(&unit)?.ready.clone();
                if ready == Ready::Said {
                    self.channels.began(&unit, run);
                    return None;
                }
                let (answers, wake) = (self.answer_sender.clone(), Arc::clone(&self.wake));
                match Probe::start(unit.clone(), run, ready, answers, wake) {
                    Ok(probe) => drop(self.probes.insert(unit, probe)),
                    // It will be late, and people are told why.
                    Err(error) => {
                        let reason = format!("cannot start its probe: {error}");
                        return Some(Event::ProbeFailed { unit, run, reason });
                    }
                }
                None
            }
            Action::StopProbe(unit) => {
                self.probes.remove(&unit);
                None
            }
            Action::Terminate { pid, .. } => {
                process::signal(pid, ToSend::TERM);
                None
            }
            Action::Kill(pid) => {
                process::signal(pid, ToSend::KILL);
                None
            }
            Action::KillGroup(unit) => {
                process::kill_group(self.supervisor.unit(&unit)?, &self.around.cgroups);
                None
            }
            Action::Announce(change) => {
                self.announce(&change);
                None
            }
            Action::Finish(kind) => {
                self.finished = Some(kind);
                None
            }
        }
    }

    fn spawn(&mut self, name: UnitName) -> Event {
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
            None => self.start(&unit, &exec, None),
        });
        match started {
            Ok(pid) => Event::Spawned { unit: name, pid },
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
        }
        self.start(unit, exec, Some(theirs))
    }

    /// Starts a program of a unit.
    fn start(
        &mut self,
        unit: &Unit,
        exec: &[String],
        channel: Option<OwnedFd>,
    ) -> Result<Pid, String> {
        let no_pipe = |error: io::Error| format!("cannot take its output: {error}");
        // It cannot read what it writes itself.
        if unit.built_in == Some(BuiltIn::Log) {
            let kernel = File::options().write(true).open(&self.around.kernel_log);
            let output = kernel.or_else(|_| File::options().write(true).open("/dev/null"));
            let output = output.map_err(no_pipe)?.into();
            return process::spawn(unit, exec, &self.around.cgroups, output, channel);
        }
        let (id, writer) = self.outputs.open(unit).map_err(no_pipe)?;
        let pid = process::spawn(unit, exec, &self.around.cgroups, writer, channel);
        match self.channels.log() {
            _ if pid.is_err() => self.outputs.close(id),
            Some(log) => self.outputs.give(log),
            None => {}
        }
        pid
    }

    fn signals(&mut self) {
        let pending = signals::read(&self.around.signals).unwrap_or_else(|error| {
            log::error(&format!("cannot read signals: {error}"));
            Vec::new()
        });
        for signal in pending {
            match signal {
                Signal::Child => self.reap(),
                Signal::Terminate => {
                    self.go_down(ShutdownKind::PowerOff, "SIGTERM: power off");
                }
                Signal::Power => {
                    self.go_down(ShutdownKind::PowerOff, "SIGPWR: power off");
                }
                Signal::Interrupt => {
                    self.go_down(ShutdownKind::Reboot, "SIGINT or Ctrl-Alt-Del: restart");
                }
                Signal::User1 => self.show(),
            }
        }
    }

    /// The first request counts. Its time is set before anything else that could take long.
    fn go_down(&mut self, kind: ShutdownKind, why: &str) {
        if !self.supervisor.going_down() {
            (self.around.arm)(kind);
        }
        log::info(why);
        self.feed(Event::Shutdown(kind));
    }

    fn button(&mut self, which: u32) {
        let index = usize::try_from(which).unwrap_or(usize::MAX);
        let Some(button) = self.around.buttons.get_mut(index) else { return };
        match button.pressed() {
            Ok(true) => self.go_down(ShutdownKind::PowerOff, "the power button was pressed"),
            Ok(false) => {}
            Err(error) => {
                log::warn(&format!("a power button is gone: {error}"));
                // Else it would stay readable for ever.
                let _ = epoll::delete(&self.epoll, button.fd());
            }
        }
    }

    /// Takes every child that has ended: one signal may stand for many.
    fn reap(&mut self) {
        while let Ok(Some((pid, exit))) = process::reap() {
            self.feed(Event::Exited { pid, exit });
        }
    }

    fn probe_answers(&mut self) {
        // Only to lower it: an eventfd that is not raised says `EAGAIN`.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        while let Ok(Answer { unit, run, result }) = self.answers.try_recv() {
            self.feed(match result {
                Ok(detail) => Event::Ready { unit, run, detail },
                Err(reason) => Event::ProbeFailed { unit, run, reason },
            });
        }
    }

    fn announce(&mut self, change: &Change) {
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
            self.around.screen.output.remove(unit);
            self.probes.remove(unit);
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
                    self.awaited.insert(unit.clone(), now + LAST_LINES);
                }
                _ => self.show(),
            }
        }
    }

    /// What the built-in units are told of a unit.
    fn news(&self, name: &UnitName, happened: Happened) -> Vec<ToUnit> {
        let mut news = vec![ToUnit::Unit(name.to_string(), happened)];
        if happened == Happened::Ready
            && let Some(Ready::CriVersion(socket)) = self.supervisor.unit(name).map(|u| &u.ready)
        {
            news.push(ToUnit::Runtime(socket.0.display().to_string()));
        }
        news
    }

    /// Takes what a built-in unit says.
    fn channel(&mut self, id: u32) {
        let (messages, goes_on) = self.channels.take(id);
        for message in messages {
            match message {
                FromUnit::Ready => {
                    if let Some((unit, run)) = self.channels.run_of(id) {
                        self.feed(Event::Ready { unit, run, detail: String::new() });
                    }
                }
                FromUnit::Say(line) => {
                    log::info(&line);
                    self.around.console.say(&line, clock::monotonic());
                }
                FromUnit::Mark(name) => marks::told(name),
                FromUnit::Suspect => self.channels.tell_all(&ToUnit::Suspect),
                FromUnit::Closed(id) => self.outputs.close(id),
                FromUnit::Wrote { unit, lines } => self.wrote(unit, lines),
                // They are kept where they are received.
                FromUnit::View(_) | FromUnit::Keep(_) => {}
            }
        }
        if !goes_on {
            self.channels.close(id);
        }
    }

    /// The last lines of a unit that failed have come.
    fn wrote(&mut self, unit: String, lines: Vec<String>) {
        let Ok(unit) = UnitName::try_from(unit) else { return };
        let failed = self.supervisor.states().any(|(name, state)| {
            *name == unit && !matches!(state, State::Ready { .. } | State::Done)
        });
        if failed {
            self.around.screen.output.insert(unit.clone(), lines);
        }
        if self.awaited.remove(&unit).is_some() {
            self.show();
        }
    }

    /// Without the last lines, for `log` does not send them.
    fn show_what_waited_too_long(&mut self) {
        let now = clock::monotonic();
        let all = self.finished.is_some();
        let before = self.awaited.len();
        self.awaited.retain(|_, until| *until > now && !all);
        if self.awaited.len() < before {
            self.show();
        }
    }

    fn show(&mut self) {
        let screen = self.screen();
        self.around.console.show(&screen, clock::monotonic());
    }

    /// What a unit has to tell people, now that it is done.
    fn take_problems(&mut self, unit: &UnitName) {
        let path = self.around.problems.join(unit.as_str());
        // Most have nothing to tell.
        for problem in std::fs::read_to_string(path).unwrap_or_default().lines() {
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
        screen
    }

    fn watch_console(&mut self) {
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

fn watch(epoll: &OwnedFd, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags)?;
    Ok(())
}
