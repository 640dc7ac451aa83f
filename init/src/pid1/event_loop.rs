//! The body around the supervisor: waits for the kernel, turns what it says into events, and does
//! what the supervisor asks for. One thread, one epoll set; nothing in here waits for a disk or the
//! network, polls or sleeps. It knows no unit by its name: who makes something of a change beside
//! the supervisor is told of all of them ([`marks`], the built-in units).

mod channels;
mod loading;
mod outputs;
mod people;
mod questions;
mod starting;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::Signal as ToSend;

use crate::console::{Console, Screen};
use crate::message::{FromUnit, ToUnit};
use crate::power::Button;
use crate::supervisor::{Action, Event, ShutdownKind, Supervisor};
use crate::sys::signals::{self, Signal};
use crate::sys::timespec;
use crate::unit::UnitName;
use crate::watchdog::Watchdog;
use crate::{clock, log, marks, process};
use channels::Channels;
use loading::{Load, Which};
use outputs::Outputs;
use questions::Questions;

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
    /// Why the machine is asked to go down, if who asks has left word: a file, read when that happens.
    pub reason: PathBuf,
    /// The power buttons: none, or one for each device with a power key.
    pub buttons: Vec<Button>,
    /// The machine's watchdog, which is fed from this loop only.
    pub watchdog: Option<Watchdog>,
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
    /// As in [`Surroundings`].
    pub watchdog: Option<Watchdog>,
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
const BUTTON: u64 = 2 << 32;
const CONSOLE: u64 = 3 << 32;
const CHANNEL: u64 = 4 << 32;
const LOADING: u64 = 5 << 32;
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
    outputs: Outputs,
    questions: Questions,
    channels: Channels,
    /// Programs that are being loaded.
    loads: Vec<Load>,
    console_registered: bool,
    /// Units that failed, whose last lines are awaited until then, to show them on the screen.
    awaited: Vec<(UnitName, Duration)>,
    finished: Option<ShutdownKind>,
}

impl EventLoop {
    fn new(supervisor: Supervisor, around: Surroundings) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, &around.signals, SIGNALS, epoll::EventFlags::IN)?;
        for (index, button) in (0_u32..).zip(&around.buttons) {
            let token = BUTTON | u64::from(index);
            if let Err(error) = watch(&epoll, button.fd(), token, epoll::EventFlags::IN) {
                log::warn(&format!("cannot watch a power button: {error}"));
            }
        }
        Ok(Self {
            supervisor,
            around,
            epoll,
            outputs: Outputs::default(),
            questions: Questions::default(),
            channels: Channels::default(),
            loads: Vec::new(),
            console_registered: false,
            awaited: Vec::new(),
            finished: None,
        })
    }

    fn run(mut self) -> io::Result<Finished> {
        self.feed(Event::Start);
        loop {
            if let Some(kind) = self.finished {
                let Surroundings { signals, console, watchdog, .. } = self.around;
                return Ok(Finished { kind, signals, console, watchdog });
            }
            self.watch_console();
            for token in self.wait()? {
                self.take(token);
            }
            self.feed(Event::Tick);
            if let Some(log) = self.channels.log() {
                self.outputs.give(log);
                self.questions.give(log);
            }
            self.show_what_waited_too_long();
            self.feed_watchdog();
        }
    }

    /// Last in a turn: all that a turn does has been done.
    fn feed_watchdog(&mut self) {
        let due = |watchdog: &&mut Watchdog| watchdog.due() <= clock::monotonic();
        if let Some(watchdog) = self.around.watchdog.as_mut().filter(due) {
            watchdog.feed();
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
        let room = self
            .channels
            .log()
            .filter(|_| log::flush() || self.outputs.waits() || self.questions.waits());
        let deadlines =
            self.awaited.iter().map(|(_, until)| *until).chain(room.map(|_| now + NO_ROOM));
        let watchdog = self.around.watchdog.as_ref().map(Watchdog::due);
        let deadlines = deadlines.chain(self.supervisor.next_deadline()).chain(watchdog);
        let soonest = deadlines.min()?;
        // An hour is far below what epoll can count to.
        Some(soonest.saturating_sub(now).min(Duration::from_secs(3600)))
    }

    fn take(&mut self, token: u64) {
        let which = u32::try_from(token & !KIND).unwrap_or(0);
        match token & KIND {
            SIGNALS => self.signals(),
            BUTTON => self.button(which),
            CONSOLE => self.around.console.flush(),
            CHANNEL => self.channel(which),
            LOADING => self.look_at_what_loads(),
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
                Some(match self.start(&known, Which::StopExec, exec, None) {
                    Ok(pid) => Event::StopSpawned { unit, pid },
                    Err(reason) => Event::StopSpawnFailed { unit, reason },
                })
            }
            Action::StartProbe { unit, run } => {
                self.await_ready(unit, run);
                None
            }
            Action::StopProbe(unit) => {
                self.questions.leave(&unit);
                None
            }
            Action::Ask { unit, number } => self.ask(unit, number),
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
            Action::RestartMachine => {
                (self.around.arm)(ShutdownKind::Reboot);
                Some(Event::Shutdown(ShutdownKind::Reboot))
            }
            Action::Finish(kind) => {
                self.finished = Some(kind);
                None
            }
        }
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
                Signal::RealTime(number) => self.asked_as_systemd(number),
            }
        }
    }

    /// `SIGRTMIN` and a number, as systemd(1) has them: 3 to 6, and 10 more for who does not wait for
    /// units.
    fn asked_as_systemd(&mut self, number: u8) {
        let kind = match number % 10 {
            3 => ShutdownKind::Halt,
            4 => ShutdownKind::PowerOff,
            6 => ShutdownKind::Kexec,
            _ => ShutdownKind::Reboot,
        };
        let why = format!("SIGRTMIN+{number}: {kind}");
        if number < 10 {
            return self.go_down(kind, &why);
        }
        if self.finished.is_none() {
            self.prepare_to_go_down(kind, &format!("{why}, at once"));
            self.finished = Some(kind);
        }
    }

    /// The first request counts.
    fn go_down(&mut self, kind: ShutdownKind, why: &str) {
        self.prepare_to_go_down(kind, why);
        // Who asks may be a program whose start was not told yet.
        self.look_at_what_loads();
        self.feed(Event::Shutdown(kind));
    }

    /// The time of the way down is set before anything else that could take long.
    fn prepare_to_go_down(&mut self, kind: ShutdownKind, why: &str) {
        log::info(why);
        if !self.supervisor.going_down() {
            (self.around.arm)(kind);
            self.tell_why();
        }
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
            self.look_at_what_loads();
            self.feed(Event::Exited { pid, exit });
        }
    }

    /// Takes what a built-in unit says.
    fn channel(&mut self, id: u32) {
        self.look_at_what_loads();
        let (messages, goes_on) = self.channels.take(id);
        for message in messages {
            match message {
                FromUnit::Ready => {
                    if let Some((unit, run)) = self.channels.run_of(id) {
                        self.feed(Event::Ready { unit, run, detail: String::new() });
                    }
                }
                FromUnit::Say(line) => {
                    // One line, whatever is in it: each is written to the console and the log.
                    let line = line.replace(char::is_control, " ");
                    log::info(&line);
                    self.around.console.say(&line, clock::monotonic());
                }
                FromUnit::Mark(name) => marks::told(name),
                FromUnit::Suspect => self.channels.tell_all(&ToUnit::Suspect),
                FromUnit::Answer { unit, about, result } => {
                    if let Some(event) = self.answer(unit, about, result) {
                        self.feed(event);
                    }
                }
                FromUnit::Alive(number) => {
                    if let Some((unit, _)) = self.channels.run_of(id) {
                        self.feed(Event::Answered { unit, number, result: Ok(()) });
                    }
                }
                FromUnit::Written(count) => log::done(count),
                FromUnit::Closed(id) => self.outputs.close(id),
                FromUnit::Wrote { unit, lines } => self.wrote(unit, lines),
                // They are kept where they are received.
                FromUnit::View(_) | FromUnit::Keep(_) => {}
            }
        }
        if !goes_on {
            if let Some(socket) = self.channels.socket(id) {
                // The log has a duplicate of it, which would keep it in the set.
                let _ = epoll::delete(&self.epoll, socket);
            }
            self.channels.close(id);
            if self.channels.log().is_none() {
                for event in self.questions.give_up() {
                    self.feed(event);
                }
            }
        }
    }
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags)?;
    Ok(())
}
