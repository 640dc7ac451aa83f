//! The unit `log`: reads what all units write and what PID 1 says of itself, and never waits for the
//! disk, to which another thread writes. It asks units whether they work, in a thread for each. When PID 1 says that a unit has failed it answers with
//! that unit's last lines; of what kubelet and containerd write it makes causes.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::diagnosis::Diagnosis;
use super::first_pod::FirstPod;
use super::output::Output;
use super::probes::{self, Probe, Tell};
use super::ring::{Ring, Target};
use super::writer;
use crate::clock::monotonic;
use crate::log;
use crate::message::{self, About, Ending, FromUnit, Happened, Received, ToUnit, View};
use crate::question::Question;
use crate::sys::signals::{self, Signal};

/// Of each of the two files of PID 1's own log.
const INIT_LIMIT: u64 = 1024 * 1024;
/// Between two looks at the API server because of what kubelet says: it says so many times.
const SUSPICION: Duration = Duration::from_secs(10);
/// The unit whose health decides what its silence means.
const KUBELET: &str = "kubelet";
/// Messages that are taken in one turn.
const TURN: usize = 64;

/// Runs until PID 1 asks for the end; the files are in `logs`. All that was written before the end
/// was asked for is in them then.
///
/// # Errors
/// When the kernel gives no descriptors or no thread.
pub fn run(logs: &Path) -> io::Result<()> {
    // Before there is a thread.
    let signals = signals::block_and_open()?;
    let ring = Arc::new(Ring::default());
    let service = Service::new(logs, Arc::clone(&ring), Ending::of_standard_input()?);
    let (shared, own) = (Arc::clone(&ring), Arc::clone(&service.own));
    let channel = service.channel.as_fd().try_clone_to_owned()?;
    let work = move || writer::write_all(&shared, &own, &channel);
    let writer = crate::thread::start("writer", Box::new(work))?;
    service.run(&signals)?;
    ring.close();
    // PID 1 has set a time for that.
    let _ = writer.join();
    Ok(())
}

/// Runs it with the directory that is its one argument.
pub fn main(logs: &Path) -> ExitCode {
    crate::told("log", run(logs))
}

struct Service {
    logs: PathBuf,
    ring: Arc<Ring>,
    channel: Ending,
    /// PID 1's own.
    own: Arc<Target>,
    outputs: Vec<Output>,
    diagnosis: Diagnosis,
    /// When the API server was suspected last.
    suspected: Option<Duration>,
    first_pod: FirstPod,
    causes: Vec<String>,
    /// Units that are asked whether they are ready.
    probes: Vec<(String, Probe)>,
}

impl Service {
    fn new(logs: &Path, ring: Arc<Ring>, channel: Ending) -> Self {
        let own = Target::new(logs.join("init.log"), INIT_LIMIT);
        Self {
            logs: logs.to_owned(),
            ring,
            channel,
            own,
            outputs: Vec::new(),
            diagnosis: Diagnosis::default(),
            suspected: None,
            first_pod: FirstPod::default(),
            causes: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn run(mut self, signals: &OwnedFd) -> io::Result<()> {
        self.channel.send(&FromUnit::Ready);
        loop {
            self.wait(signals)?;
            let asked = signals::read(signals)?.contains(&Signal::Terminate);
            self.channel.flush();
            let orphaned = !self.messages();
            self.read(None);
            if asked || orphaned {
                // All that was said before the end.
                while self.messages() && self.waits() {}
                while self.read(None) {}
                return Ok(());
            }
            self.diagnose();
        }
    }

    fn wait(&self, signals: &OwnedFd) -> io::Result<()> {
        let more = if self.channel.waits() { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN | more),
            PollFd::new(signals, PollFlags::IN),
        ];
        let pipes = self.outputs.iter().filter_map(Output::pipe);
        fds.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        match poll(&mut fds, message::until(self.diagnosis.next_deadline()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether PID 1 has said more than was taken.
    fn waits(&self) -> bool {
        let channel: BorrowedFd<'_> = self.channel.as_fd();
        let mut fds = [PollFd::from_borrowed_fd(channel, PollFlags::IN)];
        poll(&mut fds, Some(&crate::sys::timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
    }

    /// Takes what PID 1 says; whether it may say more.
    fn messages(&mut self) -> bool {
        for _ in 0..TURN {
            match self.channel.receive_with() {
                Received::Packet(packet, pipe) => {
                    if let Some(message) = ToUnit::parse(&packet) {
                        self.take(message, pipe);
                    }
                }
                Received::Nothing => return true,
                Received::Ended => return false,
            }
        }
        true
    }

    fn take(&mut self, message: ToUnit, pipe: Option<OwnedFd>) {
        match message {
            ToUnit::Lines(lines) => {
                lines.iter().for_each(|line| self.ring.push(&self.own, line.as_bytes()));
            }
            ToUnit::Lacking(count) => self.own.lacks(count),
            ToUnit::Output { id, unit, limit } => {
                let Some(pipe) = pipe else { return };
                // What an earlier run wrote is of no interest any more, unless something still
                // writes.
                self.outputs.retain(|output| output.unit != unit || output.pipe().is_some());
                let file = Target::new(self.logs.join(format!("{unit}.log")), limit);
                self.outputs.push(Output::new(id, unit, pipe, file));
            }
            ToUnit::Unit(unit, happened) => self.happened(unit, happened),
            ToUnit::Runtime(socket) => {
                if let Ok(channel) = self.channel.as_fd().try_clone_to_owned() {
                    self.first_pod.watch(socket.into(), channel);
                }
            }
            ToUnit::Ask { unit, about, question, limit } => {
                self.ask(unit, about, question, limit);
            }
            ToUnit::Alive(number) => self.channel.send(&FromUnit::Alive(number)),
            ToUnit::Leave(unit) => self.probes.retain(|(asked, _)| *asked != unit),
            ToUnit::Begin { .. } | ToUnit::Suspect => {}
        }
    }

    fn ask(&mut self, unit: String, about: About, question: Question, limit: Duration) {
        let name = unit.clone();
        let started = self.tell().and_then(|tell| match about {
            About::Run(run) => {
                self.probes.retain(|(asked, _)| *asked != unit);
                let probe = Probe::start(name, run, question, limit, tell)?;
                self.probes.push((unit.clone(), probe));
                Ok(())
            }
            About::Question(number) => probes::ask_once(name, number, question, limit, tell),
        });
        if let Err(error) = started {
            let reason = format!("it cannot be asked: {error}");
            log::warn(&format!("{unit}: {reason}"));
            // That nobody asks is not its fault; but it is not known to be ready either.
            let result = match about {
                About::Run(_) => Err(reason),
                About::Question(_) => Ok(String::new()),
            };
            self.channel.send(&FromUnit::Answer { unit, about, result });
        }
    }

    /// How a probe tells PID 1: it waits until there is room.
    fn tell(&self) -> io::Result<Tell> {
        let channel = self.channel.as_fd().try_clone_to_owned()?;
        Ok(Arc::new(move |answer| {
            let packet = answer.encode();
            while let Ok(false) = message::send(&channel, &packet) {
                let mut fds = [PollFd::new(&channel, PollFlags::OUT)];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        }))
    }

    fn happened(&mut self, unit: String, happened: Happened) {
        if unit == KUBELET && happened != Happened::Late {
            self.diagnosis.kubelet(monotonic(), happened == Happened::Ready);
        }
        if matches!(happened, Happened::Failed | Happened::Late) {
            // What it wrote last says why; it is in the pipe by now.
            self.read(Some(&unit));
            let output = self.outputs.iter().rev().find(|output| output.unit == unit);
            let lines = output.map(Output::last_lines).unwrap_or_default();
            self.channel.send(&FromUnit::Wrote { unit, lines });
        }
    }

    /// Reads what all units have written, or one; whether there may be more.
    fn read(&mut self, only: Option<&str>) -> bool {
        let now = monotonic();
        let mut more = false;
        let mut suspects = false;
        let Self { outputs, ring, channel, diagnosis, .. } = self;
        for output in outputs.iter_mut().filter(|output| only.is_none_or(|u| u == output.unit)) {
            if output.pipe().is_none() {
                continue;
            }
            let follows = Diagnosis::follows(&output.unit);
            more |= output.read(ring, |line| {
                if follows {
                    let outcome = diagnosis.line(now, line);
                    outcome.told.into_iter().for_each(|line| channel.send(&FromUnit::Say(line)));
                    suspects |= outcome.suspects_server;
                }
            });
            if output.pipe().is_none() {
                channel.send(&FromUnit::Closed(output.id));
            }
        }
        if suspects && self.suspected.is_none_or(|last| now >= last + SUSPICION) {
            self.suspected = Some(now);
            self.channel.send(&FromUnit::Suspect);
        }
        more
    }

    /// Takes back what nobody speaks of any more, and shows what is wrong now.
    fn diagnose(&mut self) {
        for line in self.diagnosis.tick(monotonic()) {
            self.channel.send(&FromUnit::Say(line));
        }
        let causes: Vec<String> = self.diagnosis.causes().map(str::to_owned).collect();
        if causes != self.causes {
            let problems = causes.clone();
            self.channel.send(&FromUnit::View(View { problems, ..View::default() }));
            self.causes = causes;
        }
    }
}
