//! The body around the supervisor: waits for the kernel, turns what it says into events, and does
//! what the supervisor asks for. One thread, one epoll set; nothing in here blocks, polls or
//! sleeps.

mod output;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::process::Signal as ToSend;

use crate::connectivity::{Connectivity, Notice};
use crate::console::{self, Console, Screen};
use crate::log::diagnosis::Diagnosis;
use crate::log::first_pod::FirstPod;
use crate::power::Button;
use crate::readiness::{Answer, Probe};
use crate::supervisor::{Action, Change, Event, ShutdownKind, State, Supervisor};
use crate::sys::signals::{self, Signal};
use crate::unit::{Ready, UnitName};
use crate::{clock, configure, log, marks, memory, process};
use output::Output;

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
    /// Where the units' logs go, `NAME.log` each.
    pub logs: PathBuf,
    /// The network, the node's name, its clock.
    pub connectivity: Connectivity,
    /// What `orlop-node` writes for us, read again when the unit `configure` is ready.
    pub system: PathBuf,
    /// What units that end have to tell people: a file of the unit's name, read when it is done.
    pub problems: PathBuf,
    /// The power buttons: none, or one for each device with a power key.
    pub buttons: Vec<Button>,
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
const NETWORK: u64 = 5 << 32;
const OUTPUT: u64 = 6 << 32;
const KIND: u64 = !0 << 32;

/// The unit that fetches a config which is somewhere in the network.
const CONFIGURE: &str = "configure";
/// The unit whose health is a boot mark.
const KUBELET: &str = "kubelet";
/// Between two looks at the API server because of what kubelet says: it says so many times.
const SUSPICION: Duration = Duration::from_secs(10);

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
    outputs: BTreeMap<u32, Output>,
    next_output: u32,
    console_registered: bool,
    diagnosis: Diagnosis,
    /// When the API server was suspected last.
    suspected: Option<Duration>,
    first_pod: FirstPod,
    /// The unit [`CONFIGURE`] has done its work.
    reconfigure: bool,
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
        watch(&epoll, around.connectivity.fd(), NETWORK, epoll::EventFlags::IN)?;
        let (answer_sender, answers) = channel();
        Ok(Self {
            supervisor,
            around,
            epoll,
            wake,
            answers,
            answer_sender,
            probes: BTreeMap::new(),
            outputs: BTreeMap::new(),
            next_output: 0,
            console_registered: false,
            diagnosis: Diagnosis::default(),
            suspected: None,
            first_pod: FirstPod::default(),
            reconfigure: false,
            finished: None,
        })
    }

    fn run(mut self) -> io::Result<Finished> {
        // Links that were there from the start are no news that would wake us.
        self.connectivity();
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
            let due = self.around.connectivity.next_deadline();
            if due.is_some_and(|due| due <= clock::monotonic()) {
                self.connectivity();
            }
            if std::mem::take(&mut self.reconfigure) {
                self.reconfigure();
            }
            self.diagnose();
            self.feed(Event::Tick);
        }
    }

    /// The tokens of what is ready; none if only time has passed.
    fn wait(&self) -> io::Result<Vec<u64>> {
        let timeout = self.timeout().map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
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
        let supervisor = self.supervisor.next_deadline();
        let network = self.around.connectivity.next_deadline();
        let diagnosis = self.diagnosis.next_deadline();
        let soonest = [supervisor, network, diagnosis].into_iter().flatten().min()?;
        // An hour is far below what epoll can count to.
        Some(soonest.saturating_sub(clock::monotonic()).min(Duration::from_secs(3600)))
    }

    fn take(&mut self, token: u64) {
        let which = u32::try_from(token & !KIND).unwrap_or(0);
        match token & KIND {
            SIGNALS => self.signals(),
            PROBES => self.probe_answers(),
            BUTTON => self.button(which),
            CONSOLE => self.around.console.flush(),
            NETWORK => self.connectivity(),
            OUTPUT => {
                if let Some(output) = self.outputs.get_mut(&which) {
                    output.read();
                }
            }
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
                let exec = self.supervisor.unit(&unit)?.stop_exec.clone().unwrap_or_default();
                Some(match self.spawn_program(&unit, &exec) {
                    Ok(pid) => Event::StopSpawned { unit, pid },
                    Err(reason) => Event::StopSpawnFailed { unit, reason },
                })
            }
            Action::StartProbe { unit, run } => {
                let ready = self.supervisor.unit(&unit)?.ready.clone();
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
        let Some(unit) = self.supervisor.unit(&name) else {
            return Event::SpawnFailed { unit: name, reason: "there is no such unit".to_owned() };
        };
        if let Some(path) = &unit.only_if_exists
            && !path.0.exists()
        {
            let absent = path.0.clone();
            return Event::NotWanted { unit: name, absent };
        }
        let exec = process::command_line(unit);
        match exec.and_then(|exec| self.spawn_program(&name, &exec)) {
            Ok(pid) => Event::Spawned { unit: name, pid },
            Err(reason) => Event::SpawnFailed { unit: name, reason },
        }
    }

    fn spawn_program(
        &mut self,
        name: &UnitName,
        exec: &[String],
    ) -> Result<rustix::process::Pid, String> {
        let unit = self.supervisor.unit(name).ok_or_else(|| "there is no such unit".to_owned())?;
        let no_pipe = |error: io::Error| format!("cannot take its output: {error}");
        let (output, writer) = Output::new(unit, &self.around.logs).map_err(no_pipe)?;
        let id = self.next_output;
        self.next_output = self.next_output.wrapping_add(1);
        if let Some(pipe) = output.pipe() {
            let token = OUTPUT | u64::from(id);
            watch(&self.epoll, pipe, token, epoll::EventFlags::IN).map_err(no_pipe)?;
        }
        // What an earlier run wrote is of no interest any more, unless something still writes.
        self.outputs.retain(|_, output| output.unit() != name || !output.has_ended());
        let pid = process::spawn(unit, exec, &self.around.cgroups, writer)?;
        self.outputs.insert(id, output);
        Ok(pid)
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
                    log::info("SIGTERM: power off");
                    self.feed(Event::Shutdown(ShutdownKind::PowerOff));
                }
                Signal::Power => {
                    log::info("SIGPWR: power off");
                    self.feed(Event::Shutdown(ShutdownKind::PowerOff));
                }
                Signal::Interrupt => {
                    log::info("SIGINT or Ctrl-Alt-Del: restart");
                    self.feed(Event::Shutdown(ShutdownKind::Reboot));
                }
                Signal::User1 => {
                    let screen = self.screen();
                    self.around.console.show(&screen, clock::monotonic());
                }
            }
        }
    }

    fn button(&mut self, which: u32) {
        let index = usize::try_from(which).unwrap_or(usize::MAX);
        let Some(button) = self.around.buttons.get_mut(index) else { return };
        match button.pressed() {
            Ok(true) => {
                log::info("the power button was pressed");
                self.feed(Event::Shutdown(ShutdownKind::PowerOff));
            }
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
            // What it wrote last says why it ended; it is in the pipe by now.
            self.outputs.values_mut().for_each(Output::read);
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
        match console::is_failure(change) {
            Some(unit) => {
                log::warn(text);
                let lines = self.outputs.values().rev().find(|output| output.unit() == unit);
                let ended = self.around.screen.output.entry(unit.clone()).or_default();
                *ended = lines.map(Output::last_lines).unwrap_or_default();
            }
            None => log::info(text),
        }
        match change {
            Change::Started(unit) => marks::mark(format!("unit:{unit}:started")),
            Change::Ended { unit, .. } if unit.as_str() == KUBELET => {
                self.diagnosis.kubelet(now, false);
            }
            Change::Ready { unit, .. } => {
                self.around.screen.output.remove(unit);
                self.probes.remove(unit);
                marks::mark(format!("unit:{unit}:ready"));
                match self.supervisor.unit(unit).map(|unit| &unit.ready) {
                    Some(Ready::CriVersion(socket)) => {
                        marks::mark("cri-answers");
                        self.first_pod.watch(socket.0.clone());
                    }
                    Some(Ready::Exit) => self.take_problems(unit),
                    _ => {}
                }
                if unit.as_str() == KUBELET {
                    marks::mark("kubelet-healthy");
                    self.diagnosis.kubelet(now, true);
                }
                // Later, when nothing else is half done.
                self.reconfigure |= unit.as_str() == CONFIGURE;
            }
            Change::ShutdownBegan(_) => {
                marks::mark("shutdown-start");
                if let Some(kib) = memory::used(Path::new("/proc/meminfo")) {
                    marks::mark(format!("memory-used:{kib}"));
                }
            }
            _ => {}
        }
        let screen = self.screen();
        self.around.console.change(change, now, || screen);
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
        let mut screen = self.around.connectivity.screen(Screen {
            units: units.collect(),
            waits: waits.collect(),
            ..self.around.screen.clone()
        });
        screen.problems.extend(self.diagnosis.causes().map(str::to_owned));
        screen
    }

    /// Makes out of what kubelet and containerd write what is wrong, and tells it.
    fn diagnose(&mut self) {
        let now = clock::monotonic();
        let mut told = self.diagnosis.tick(now);
        let mut suspects_server = false;
        for line in self.outputs.values_mut().flat_map(Output::take_lines) {
            let outcome = self.diagnosis.line(now, &line);
            told.extend(outcome.told);
            suspects_server |= outcome.suspects_server;
        }
        if suspects_server && self.suspected.is_none_or(|last| now >= last + SUSPICION) {
            self.suspected = Some(now);
            self.around.connectivity.suspect_server();
        }
        self.notices(told.into_iter().map(Notice::Line).collect());
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

    /// Lets the network, the name and the clock do what is due.
    fn connectivity(&mut self) {
        let notices = self.around.connectivity.turn();
        self.notices(notices);
    }

    /// The unit `configure` has brought the config that was missing at the start.
    fn reconfigure(&mut self) {
        let notices = match configure::read(&self.around.system) {
            Ok(system) => self.around.connectivity.apply(system),
            Err(error) => vec![Notice::Line(error)],
        };
        self.notices(notices);
    }

    fn notices(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Line(text) => {
                    log::info(&text);
                    self.around.console.say(&text, clock::monotonic());
                }
                Notice::Up => self.feed(Event::NetworkUp),
            }
        }
    }
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags)?;
    Ok(())
}
