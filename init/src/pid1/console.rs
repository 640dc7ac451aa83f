//! What people see on `/dev/console`, a serial line as a rule: one line per change, and the whole
//! state when the boot is complete or something failed. Plain text, no cursor movement: the same
//! bytes are somebody's log file.
//!
//! Rendering is pure. Writing never waits: a terminal server that stops the line must not stop
//! PID 1, so what the line does not take is queued, and dropped beyond a limit.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::clock;
use crate::supervisor::{Change, Next, State};
use crate::unit::UnitName;

/// Bytes that wait for the line at most: some screens.
const QUEUE: usize = 64 * 1024;
/// Characters of a line, of which terminals make several: a cause is told whole.
const WIDTH: usize = 600;
/// Of a line that is longer still, so many stay of its beginning, and the rest of its end, where
/// Go programs have the cause.
const BEGINNING: usize = 150;

/// What the whole screen shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// Name and version of the system, from `os-release`.
    pub system: String,
    /// The slot that runs: `a`, `b` or `none`.
    pub slot: String,
    /// The node's name.
    pub hostname: String,
    /// By link: address with prefix length, and gateway.
    pub addresses: Vec<(String, String)>,
    /// Each unit and where it stands.
    pub units: Vec<(UnitName, State)>,
    /// Of each unit that waits: for which others.
    pub waits: Vec<(UnitName, String)>,
    /// The last lines that units wrote which did not work.
    pub output: Vec<(UnitName, Vec<String>)>,
    /// What is wrong with the node itself: unit files, kernel command line, modules.
    pub problems: Vec<String>,
}

/// The whole state as text, at `now` since the kernel started.
pub fn render(screen: &Screen, now: Duration) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = writeln!(text, "\n--- {}, slot {}, up {}", screen.system, screen.slot, seconds(now));
    let _ = writeln!(text, "    hostname  {}", plain(&screen.hostname));
    if screen.addresses.is_empty() {
        text.push_str("    address   none yet\n");
    }
    for (link, address) in &screen.addresses {
        let _ = writeln!(text, "    address   {} {}", plain(link), plain(address));
    }
    let is_shown = |(_, state): &&(UnitName, State)| !matches!(state, State::NotWanted { .. });
    let shown = || screen.units.iter().filter(is_shown);
    let width = shown().map(|(name, _)| name.as_str().len()).max().unwrap_or(0);
    for (name, state) in shown() {
        let described = match screen.waits.iter().find(|(unit, _)| unit == name) {
            Some((_, others)) if *state == State::Waiting => format!("waits for {others}"),
            _ => describe(state, now),
        };
        let _ = writeln!(text, "    unit      {name:width$}  {described}");
        let output = screen.output.iter().filter(|(unit, _)| unit == name);
        for line in output.flat_map(|(_, lines)| lines) {
            let _ = writeln!(text, "              | {}", plain(line));
        }
    }
    // Most of these are what another node would need, so they share a line.
    let unwanted = screen.units.iter().filter_map(|(name, state)| match state {
        State::NotWanted { absent } => Some(format!("{name} (no {})", absent.display())),
        _ => None,
    });
    let unwanted: Vec<_> = unwanted.collect();
    if !unwanted.is_empty() {
        let _ = writeln!(text, "    unwanted  {}", plain(&unwanted.join(", ")));
    }
    for problem in &screen.problems {
        let mut lines = problem.lines();
        let _ = writeln!(text, "    problem   {}", plain(lines.next().unwrap_or_default()));
        for line in lines {
            let _ = writeln!(text, "              {}", plain(line));
        }
    }
    text.push_str("---\n");
    text
}

/// One change as one line, without the line break.
pub fn line(change: &Change, now: Duration) -> String {
    let text = match change {
        Change::Started(unit) => format!("{unit} started"),
        Change::Ready { unit, after, detail } if detail.is_empty() => {
            format!("{unit} ready after {}", seconds(*after))
        }
        Change::Ready { unit, after, detail } => {
            format!("{unit} ready, {detail} after {}", seconds(*after))
        }
        Change::Ended { unit, ending, next } => match next {
            Next::RestartIn(wait) => {
                format!("{unit} FAILED: {ending}; restart in {}", seconds(*wait))
            }
            Next::Done => format!("{unit} done"),
            Next::Failed => format!("{unit} FAILED: {ending}; its unit forbids a restart"),
        },
        Change::Late { unit, deadline, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{unit} LATE: not ready after {}{reason}", seconds(*deadline))
        }
        Change::GivenUp { unit, after } => {
            format!("{unit} was not ready in {}: the machine is restarted", seconds(*after))
        }
        Change::Hangs { unit, failures, reason } => {
            format!("{unit} HANGS: no good answer {failures} times in a row: {reason}; killed")
        }
        Change::LeftBehind(unit) => {
            format!("{unit} was killed and does not end: a new one takes its place")
        }
        Change::NotWanted { unit, absent } => {
            format!("{unit} not wanted: there is no {}", absent.display())
        }
        Change::BootComplete => "boot complete".to_owned(),
        Change::ShutdownBegan(kind) => format!("going down to {kind}"),
        Change::StopExecBegan(unit) => format!("{unit}: its stop-exec runs"),
        Change::StopExecEnded { unit, ending } => format!("{unit}: its stop-exec {ending}"),
        Change::StopExecLate(unit) => {
            format!("{unit}: its stop-exec did not end in time: killed")
        }
        Change::Stopped(unit) => format!("{unit} stopped"),
        Change::Killed(unit) => format!("{unit} did not stop in time: killed"),
        Change::Abandoned(unit) => format!("{unit} cannot be killed: going on without it"),
        Change::ShutdownLate => "the shutdown takes too long: killing what is left".to_owned(),
    };
    stamped(&text, now)
}

/// Whether a change is a failure, for which people want to see why.
pub fn is_failure(change: &Change) -> Option<&UnitName> {
    match change {
        Change::Ended { unit, next: Next::RestartIn(_) | Next::Failed, .. }
        | Change::Late { unit, .. } => Some(unit),
        _ => None,
    }
}

fn stamped(text: &str, now: Duration) -> String {
    format!("[{:6}.{:02}] {}", now.as_secs(), now.subsec_millis() / 10, plain(text))
}

fn describe(state: &State, now: Duration) -> String {
    match state {
        State::Waiting => "waits for others".to_owned(),
        State::Spawning => "is being started".to_owned(),
        State::Loading { since, late, .. } => {
            let late = if *late { ", LATE" } else { "" };
            format!("its program is loaded for {}{late}", seconds(now.saturating_sub(*since)))
        }
        State::Starting { since, late, reason, .. } => {
            let late = if *late { ", LATE" } else { "" };
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("starting for {}{late}{}", seconds(now.saturating_sub(*since)), plain(&reason))
        }
        State::Ready { took, detail, .. } => {
            let detail = if detail.is_empty() { String::new() } else { format!(", {detail}") };
            format!("ready after {}{}", seconds(*took), plain(&detail))
        }
        State::Hung { .. } => "HANGS: killed, and has not ended".to_owned(),
        State::Backoff { until, ending } => {
            let wait = seconds(until.saturating_sub(now));
            format!("FAILED: {}; restart in {wait}", plain(&ending.to_string()))
        }
        State::NotWanted { .. } => "not wanted".to_owned(),
        State::Done => "done".to_owned(),
        State::Failed(ending) => format!("FAILED: {}", plain(&ending.to_string())),
        State::StopExecDue => "waits to be stopped".to_owned(),
        State::StopExec { killed: false, .. } => "stopping, its stop-exec runs".to_owned(),
        State::StopExec { killed: true, .. } => "stopping, its stop-exec is killed".to_owned(),
        State::Stopping { killed: false, .. } => "stopping".to_owned(),
        State::Stopping { killed: true, .. } => "killed".to_owned(),
        State::Stopped => "stopped".to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}

/// What others wrote must neither move the cursor nor flood the line.
fn plain(text: &str) -> String {
    let mut plain: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = plain.len();
    if length > WIDTH {
        plain.splice(BEGINNING..BEGINNING + length - WIDTH, " ... ".chars());
    }
    plain.into_iter().collect()
}

/// The console and what is to be written to it.
#[derive(Debug, Default)]
pub struct Console {
    file: Option<File>,
    queue: VecDeque<u8>,
    dropped: bool,
    /// Units whose failure was shown in full and which were not ready since.
    shown: Vec<UnitName>,
}

impl Console {
    /// Opens `device`. Without one all output is lost, which stops nothing: a machine may have
    /// no console.
    pub fn open(device: &Path) -> Self {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(flags).open(device).ok();
        Self { file, ..Self::default() }
    }

    /// Shows a line of our own.
    pub fn say(&mut self, text: &str, now: Duration) {
        for text in text.lines() {
            self.write(&format!("{}\n", stamped(text, now)));
        }
    }

    /// Shows a change. Whether it is the time for the whole screen: the boot is complete, or a unit
    /// failed which worked before or for the first time. A unit that fails again and again gets a
    /// line each time.
    pub fn change(&mut self, change: &Change, now: Duration) -> bool {
        self.write(&format!("{}\n", line(change, now)));
        if let Change::Ready { unit, .. } = change {
            self.shown.retain(|shown| shown != unit);
        }
        let first = is_failure(change).filter(|unit| !self.shown.contains(unit));
        self.shown.extend(first.cloned());
        first.is_some() || *change == Change::BootComplete
    }

    /// Shows the whole screen.
    pub fn show(&mut self, screen: &Screen, now: Duration) {
        self.write(&render(screen, now));
    }

    /// The device.
    pub fn device(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// The device, if there is something left which it did not take.
    pub fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        self.device().filter(|_| !self.queue.is_empty())
    }

    /// Writes as much as the line takes now.
    pub fn flush(&mut self) {
        let Some(file) = &self.file else { return self.queue.clear() };
        while !self.queue.is_empty() {
            match rustix::io::write(file, self.queue.as_slices().0) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(length) => drop(self.queue.drain(..length)),
                Err(Errno::INTR) => {}
                // It hung up. The kernel's log has it all.
                Err(_) => return self.queue.clear(),
            }
        }
        if std::mem::take(&mut self.dropped) {
            self.write("(the console was too slow: lines are missing, the log has them)\n");
        }
    }

    /// Writes all that is left, for at most `limit`: only for the end, when nothing else is to do.
    pub fn drain(&mut self, limit: Duration) {
        let end = clock::monotonic() + limit;
        loop {
            self.flush();
            let left = end.saturating_sub(clock::monotonic());
            let Some(device) = self.wants_to_write().filter(|_| !left.is_zero()) else { return };
            let mut fds = [PollFd::from_borrowed_fd(device, PollFlags::OUT)];
            let timeout = Timespec::try_from(left).ok();
            if poll(&mut fds, timeout.as_ref()).is_err_and(|error| error != Errno::INTR) {
                return;
            }
        }
    }

    fn write(&mut self, text: &str) {
        if self.queue.len() + text.len() > QUEUE {
            self.dropped = true;
        } else {
            self.queue.extend(text.as_bytes());
        }
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use expect_test::{Expect, expect};
    use rustix::process::Pid;

    use super::*;
    use crate::process::Exit;
    use crate::supervisor::{Ending, ShutdownKind};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn name(text: &str) -> UnitName {
        UnitName::try_from(text.to_owned()).expect("a name")
    }

    fn pid() -> Pid {
        Pid::from_raw(7).expect("not 0")
    }

    fn screen() -> Screen {
        let detail = "CRI v1 containerd v2.4.2".to_owned();
        let containerd = State::Ready { pid: pid(), since: MS(3420), took: MS(1930), detail };
        Screen {
            system: "OrlopOS 0.1.0".into(),
            slot: "a".into(),
            hostname: "orlop".into(),
            addresses: [("eth0".into(), "10.0.2.15/24, gateway 10.0.2.2".into())].into(),
            units: vec![(name("containerd"), containerd)],
            ..Screen::default()
        }
    }

    #[test]
    fn a_line_is_shown_whole_and_a_very_long_one_with_both_its_ends() {
        let whole = "x".repeat(WIDTH);
        assert_eq!(plain(&whole), whole);
        let long = plain(&format!("begins {}\tthe cause é", "x".repeat(5000)));
        assert!(long.starts_with("begins xx") && long.ends_with("x the cause é"), "{long}");
        assert!(long.contains("x ... x") && long.chars().count() == WIDTH + 5, "{long}");
    }

    #[track_caller]
    fn check(screen: &Screen, now: Duration, want: &Expect) {
        want.assert_eq(&render(screen, now));
    }

    #[test]
    fn a_node_that_works_is_shown_in_few_lines() {
        check(
            &screen(),
            MS(3456),
            &expect![[r#"

                --- OrlopOS 0.1.0, slot a, up 3.4 s
                    hostname  orlop
                    address   eth0 10.0.2.15/24, gateway 10.0.2.2
                    unit      containerd  ready after 1.9 s, CRI v1 containerd v2.4.2
                ---
            "#]],
        );
    }

    #[test]
    fn a_node_that_does_not_work_says_why() {
        let mut screen = screen();
        screen.addresses.clear();
        let ending = Ending::Exit(Exit::Status(1));
        screen.units = vec![
            (name("containerd"), State::Backoff { until: MS(12_000), ending }),
            (
                name("kubelet"),
                State::Starting {
                    pid: pid(),
                    since: MS(1000),
                    late: true,
                    reason: Some("connection refused".into()),
                },
            ),
            (name("x"), State::Failed(Ending::NotStarted("no such file".into()))),
            (name("y"), State::Waiting),
            (name("zz"), State::NotWanted { absent: "/run/orlop/zz".into() }),
            (name("zzz"), State::NotWanted { absent: "/run/orlop/zzz".into() }),
        ];
        screen.waits.push((name("y"), "containerd, network".into()));
        let lines =
            vec!["level=error msg=\"\u{1b}[31mno overlay\u{1b}[0m\"".into(), "no device".into()];
        screen.output.push((name("containerd"), lines));
        screen.problems.push("cannot use unit `z.toml`: line 1,\ncolumn 2".into());
        check(
            &screen,
            MS(10_000),
            &expect![[r#"

                --- OrlopOS 0.1.0, slot a, up 10.0 s
                    hostname  orlop
                    address   none yet
                    unit      containerd  FAILED: ended with status 1; restart in 2.0 s
                              | level=error msg=" [31mno overlay [0m"
                              | no device
                    unit      kubelet     starting for 9.0 s, LATE: connection refused
                    unit      x           FAILED: no such file
                    unit      y           waits for containerd, network
                    unwanted  zz (no /run/orlop/zz), zzz (no /run/orlop/zzz)
                    problem   cannot use unit `z.toml`: line 1,
                              column 2
                ---
            "#]],
        );
    }

    #[test]
    fn each_change_is_a_line() {
        let unit = || name("containerd");
        let exit = |exit| Ending::Exit(exit);
        let changes = [
            Change::Started(unit()),
            Change::Ready {
                unit: unit(),
                after: MS(1930),
                detail: "CRI v1 containerd v2.4.2".into(),
            },
            Change::Ready { unit: unit(), after: MS(30), detail: String::new() },
            Change::Ended {
                unit: unit(),
                ending: exit(Exit::Signal(11)),
                next: Next::RestartIn(MS(200)),
            },
            Change::Ended { unit: unit(), ending: exit(Exit::Status(0)), next: Next::Done },
            Change::Ended { unit: unit(), ending: exit(Exit::Status(2)), next: Next::Failed },
            Change::Late { unit: unit(), deadline: MS(90_000), reason: None },
            Change::Late { unit: unit(), deadline: MS(90_000), reason: Some("refused".into()) },
            Change::Hangs { unit: unit(), failures: 3, reason: "no answer in 20 s".into() },
            Change::LeftBehind(unit()),
            Change::Ended { unit: unit(), ending: Ending::Hung, next: Next::RestartIn(MS(200)) },
            Change::BootComplete,
            Change::ShutdownBegan(ShutdownKind::Reboot),
            Change::Stopped(unit()),
            Change::Killed(unit()),
            Change::Abandoned(unit()),
            Change::NotWanted { unit: unit(), absent: "/run/x".into() },
            Change::StopExecBegan(unit()),
            Change::StopExecEnded { unit: unit(), ending: exit(Exit::Status(0)) },
            Change::StopExecLate(unit()),
            Change::ShutdownLate,
        ];
        let lines: Vec<_> = changes.iter().map(|change| line(change, MS(3429)) + "\n").collect();
        expect![[r#"
            [     3.42] containerd started
            [     3.42] containerd ready, CRI v1 containerd v2.4.2 after 1.9 s
            [     3.42] containerd ready after 0.0 s
            [     3.42] containerd FAILED: crashed (SIGSEGV); restart in 0.2 s
            [     3.42] containerd done
            [     3.42] containerd FAILED: ended with status 2; its unit forbids a restart
            [     3.42] containerd LATE: not ready after 90.0 s
            [     3.42] containerd LATE: not ready after 90.0 s: refused
            [     3.42] containerd HANGS: no good answer 3 times in a row: no answer in 20 s; killed
            [     3.42] containerd was killed and does not end: a new one takes its place
            [     3.42] containerd FAILED: hung and was killed; restart in 0.2 s
            [     3.42] boot complete
            [     3.42] going down to restart
            [     3.42] containerd stopped
            [     3.42] containerd did not stop in time: killed
            [     3.42] containerd cannot be killed: going on without it
            [     3.42] containerd not wanted: there is no /run/x
            [     3.42] containerd: its stop-exec runs
            [     3.42] containerd: its stop-exec ended with status 0
            [     3.42] containerd: its stop-exec did not end in time: killed
            [     3.42] the shutdown takes too long: killing what is left
        "#]]
        .assert_eq(&lines.concat());
    }

    /// A console whose other end is a pipe.
    fn pipe() -> (Console, File) {
        let flags = rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC;
        let (reader, writer): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(flags).expect("a pipe");
        (Console { file: Some(writer.into()), ..Console::default() }, reader.into())
    }

    fn read(file: &mut File) -> String {
        let mut bytes = Vec::new();
        // It ends with `WouldBlock` while the other end is open.
        let _ = file.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_unit_that_fails_again_and_again_gets_the_screen_once_until_it_was_ready() {
        let mut console = Console::default();
        let ending = Ending::Exit(Exit::Status(1));
        let next = Next::RestartIn(MS(100));
        let failed = Change::Ended { unit: name("a"), ending, next };
        let ready = Change::Ready { unit: name("a"), after: MS(1), detail: String::new() };
        let screens = [&failed, &failed, &ready, &failed].map(|c| console.change(c, MS(0)));
        assert_eq!(screens, [true, false, false, true]);
    }

    #[test]
    fn a_line_that_takes_nothing_neither_blocks_nor_grows_the_queue() {
        let (mut console, mut output) = pipe();
        for _ in 0..10_000 {
            console.say("a line of some length, many times", MS(0));
        }
        assert!(console.wants_to_write().is_some());
        assert!(console.queue.len() <= QUEUE);
        let mut text = String::new();
        while console.wants_to_write().is_some() {
            text.push_str(&read(&mut output));
            console.flush();
        }
        text.push_str(&read(&mut output));
        assert!(text.ends_with("lines are missing, the log has them)\n"));
    }
}
