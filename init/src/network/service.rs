//! The unit `network`: a loop around [`Connectivity`] that tells PID 1 what has changed, what the
//! screen should show, and when the node has its address and its name.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::connectivity::{Connectivity, Kept, Notice, Start};
use super::net::Network;
use super::time::Clock;
use crate::clock::monotonic;
use crate::configure;
use crate::message::{self, Ending, FromUnit, Happened, Received, ToUnit, View};
use formats::system::System;

/// The units that bring a config which could not be had at first: it is somewhere in the network, or
/// its disk did not answer.
const CONFIGURE: [&str; 2] = ["configure", "configure-disks"];
/// Messages that are taken in one turn.
const TURN: usize = 64;

/// What it works on; a test gives it directories of its own.
#[derive(Debug)]
pub struct Surroundings {
    /// Where `hosts` and `resolv.conf` are.
    pub etc: PathBuf,
    /// What `orlop-node` writes for us, read again when one of the units [`CONFIGURE`] is ready.
    pub system: PathBuf,
    /// Switches on the links, with what an earlier run knew of them.
    pub start: fn(&System, &[String]) -> Result<Option<Network>, String>,
    /// The clock that is kept.
    pub clock: Clock,
    /// Tells the kernel the node's name.
    pub set_hostname: fn(&str) -> io::Result<()>,
}

/// Runs until PID 1 is gone.
///
/// # Errors
/// When the kernel has no descriptors for us.
pub fn run(around: &Surroundings) -> io::Result<()> {
    let mut channel = Ending::of_standard_input()?;
    let Some((wrong, kept)) = begin(&mut channel)? else { return Ok(()) };
    let Kept { hostname, clock: known, network: links } = Kept::of(&kept);
    let mut problems = Vec::new();
    let system = configure::read(&around.system).unwrap_or_else(|error| {
        // PID 1 has said already why there is none.
        if around.system.exists() {
            problems.push(error);
        }
        System::default()
    });
    let network = (around.start)(&system, links).unwrap_or_else(|error| {
        problems.push(format!("there is no network: {error}"));
        None
    });
    if hostname.is_none() {
        let told = problems.iter().chain(&system.problems);
        told.for_each(|problem| channel.send(&FromUnit::Say(problem.clone())));
    }
    let (etc, set_hostname, clock) = (around.etc.clone(), around.set_hostname, around.clock);
    let start = Start { etc, system, network, wrong, clock, known, hostname, set_hostname };
    let connectivity = Connectivity::new(start)?;
    Service { around, channel, connectivity, problems, view: View::default(), kept }.run()
}

/// What PID 1 says first: what was wrong with the clock, and what an earlier run has kept. `None` if
/// PID 1 is gone.
fn begin(channel: &mut Ending) -> io::Result<Option<(Option<String>, Vec<String>)>> {
    loop {
        match channel.receive() {
            Received::Packet(packet, _) => {
                if let Some(ToUnit::Begin { clock, kept }) = ToUnit::parse(&packet) {
                    return Ok(Some((clock, kept)));
                }
            }
            Received::Nothing => {
                let mut fds = [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)];
                if let Err(error) = poll(&mut fds, None)
                    && error != Errno::INTR
                {
                    return Err(error.into());
                }
            }
            Received::Ended => return Ok(None),
        }
    }
}

struct Service<'a> {
    around: &'a Surroundings,
    channel: Ending,
    connectivity: Connectivity,
    /// Why there is no config or no network.
    problems: Vec<String>,
    view: View,
    kept: Vec<String>,
}

impl Service<'_> {
    fn run(mut self) -> io::Result<()> {
        loop {
            // Links that were there from the start are no news that would wake us.
            let notices = self.connectivity.turn();
            self.tell(notices);
            self.wait()?;
            self.channel.flush();
            if !self.messages() {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        loop {
            let more = if self.channel.waits() { PollFlags::OUT } else { PollFlags::empty() };
            let mut fds = [
                PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN | more),
                PollFd::from_borrowed_fd(self.connectivity.fd(), PollFlags::IN),
            ];
            let timeout = message::until(self.connectivity.next_deadline());
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => {
                    // A deadline far away was waited for in parts.
                    let due = self.connectivity.next_deadline();
                    if due.is_some_and(|due| due <= monotonic()) {
                        return Ok(());
                    }
                }
                Ok(_) | Err(Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what PID 1 says; whether it can say more.
    fn messages(&mut self) -> bool {
        for _ in 0..TURN {
            match self.channel.receive() {
                Received::Packet(packet, _) => match ToUnit::parse(&packet) {
                    Some(ToUnit::Unit(unit, Happened::Ready))
                        if CONFIGURE.contains(&unit.as_str()) =>
                    {
                        self.reconfigure();
                    }
                    Some(ToUnit::Alive(number)) => self.channel.send(&FromUnit::Alive(number)),
                    Some(ToUnit::Suspect) => self.connectivity.suspect_server(),
                    _ => {}
                },
                Received::Nothing => return true,
                Received::Ended => return false,
            }
        }
        true
    }

    /// The unit `configure` has brought the config that was missing at the start.
    fn reconfigure(&mut self) {
        let notices = match configure::read(&self.around.system) {
            Ok(system) => {
                self.problems.clear();
                self.connectivity.apply(system)
            }
            Err(error) => vec![Notice::Line(error)],
        };
        self.tell(notices);
    }

    fn tell(&mut self, notices: Vec<Notice>) {
        // First what outlives this run: who hears that it is ready may end it.
        let mut view = self.connectivity.view();
        view.problems.splice(0..0, self.problems.iter().cloned());
        if view != self.view {
            self.channel.send(&FromUnit::View(view.clone()));
            self.view = view;
        }
        let kept = self.connectivity.keep();
        if kept != self.kept {
            self.channel.send(&FromUnit::Keep(kept.clone()));
            self.kept = kept;
        }
        for notice in notices {
            self.channel.send(&match notice {
                Notice::Line(text) => FromUnit::Say(text),
                Notice::Mark(name) => FromUnit::Mark(name.to_owned()),
                Notice::Up => FromUnit::Ready,
            });
        }
    }
}
