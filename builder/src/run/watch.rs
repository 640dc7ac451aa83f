//! When a run is over and how it ended: events in, actions out, no I/O and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use formats::system::LONGEST_SHUTDOWN;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Id, Result};
use crate::run::Until;

/// How many lines of the console an error repeats.
const TAIL: usize = 15;
/// A line longer than this is cut: firmware draws whole screens without a line's end.
const LONGEST_LINE: usize = 4096;

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes of the console.
    Console(Vec<u8>),
    /// QEMU has closed the console.
    ConsoleEnd,
    /// Bytes of the boot mark port.
    Marks(Vec<u8>),
    /// QEMU has closed the boot mark port.
    MarksEnd,
    /// The guest is gone; QEMU waits to be ended.
    Shutdown(String),
    /// QEMU does not do what it was told.
    Refused(String),
    /// QEMU has closed the control channel: it has ended.
    ControlEnd,
    /// Somebody outside the guest sees that it has come as far as the mark of this name.
    Seen(String),
    /// Somebody outside the guest has something to tell the user.
    Told(String),
    /// The user pressed Ctrl-C.
    Interrupt,
    /// We are to end at once: by the signal of this name, or because nobody reads the console any
    /// more.
    Terminate(Option<&'static str>),
    /// The time that [`Watch::deadline`] gave is here.
    Deadline,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Press the guest's power button.
    PowerOff,
    /// Note what QEMU has cost and end it.
    Quit,
    /// End QEMU the hard way.
    Kill,
    /// Tell the user that the guest has come this far.
    Show(Mark),
    /// Tell the user.
    Note(String),
    /// Tell the user that something is odd.
    Warn(String),
}

/// A boot mark: the guest has come so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name, such as `cri-answers`.
    #[serde(rename = "mark")]
    pub name: String,
    /// Nanoseconds of the guest's monotonic clock since its kernel started.
    pub ns: u64,
}

impl Mark {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mark: Self = serde_json::from_str(line).ok()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        let good = !mark.name.is_empty() && mark.name.len() <= 64 && mark.name.chars().all(plain);
        good.then_some(mark)
    }

    /// Guest time in seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.ns).as_secs_f64()
    }
}

/// How a run ended that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The guest did what was waited for, and then powered off in order.
    Reached,
    /// The guest powered itself off.
    PoweredOff,
    /// The user ended it.
    EndedByUser,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the start to the guest's end, or to what is waited for.
    pub(super) run: Option<Duration>,
    /// From the power button to the guest's end.
    pub(super) power_off: Duration,
    /// From one press of the power button to the next: what is pressed before the guest watches
    /// its button is lost, and the mark `root-init-start` comes that early.
    pub(super) press_again: Duration,
    /// From a panic to the reset that follows it.
    pub(super) panic: Duration,
    /// From our asking QEMU to end to its end.
    pub(super) quit: Duration,
}

impl Limits {
    /// What a person would allow, with this limit of the run itself.
    pub(super) fn new(run: Option<Duration>) -> Self {
        let s = Duration::from_secs;
        Self { run, power_off: LONGEST_SHUTDOWN, press_again: s(5), panic: s(15), quit: s(10) }
    }
}

/// Whether a reset ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnReset {
    /// It does.
    End,
    /// The guest goes on.
    Continue,
}

/// The state of a run.
#[derive(Debug)]
pub(super) struct Watch {
    until: Option<Until>,
    on_reset: OnReset,
    limits: Limits,
    phase: Phase,
    cause: Option<Cause>,
    reached: bool,
    marks: Vec<Mark>,
    /// When the last mark of the guest came, and the guest's time in it.
    last_time: Option<(Duration, u64)>,
    mark_lines: Lines,
    console: Lines,
    tail: VecDeque<String>,
    open: Open,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// Its kernel has panicked and is about to reset the machine.
    Panicked(Duration),
    /// Its power button was pressed, first and last.
    PoweringOff(Duration, Duration),
    /// QEMU was asked to end.
    Quitting(Duration),
    Killed,
}

/// What decided the run; the first one counts.
#[derive(Debug, PartialEq)]
enum Cause {
    PoweredOff,
    Panic(String),
    Reset,
    TimedOut,
    KeptRunning,
    /// By the signal of this name, if it was one.
    User(Option<&'static str>),
}

/// What QEMU has not closed yet.
#[derive(Debug)]
struct Open {
    console: bool,
    marks: bool,
    control: bool,
}

impl Watch {
    pub(super) fn new(until: Option<Until>, on_reset: OnReset, limits: Limits) -> Self {
        Self {
            until,
            on_reset,
            limits,
            phase: Phase::Running,
            cause: None,
            reached: false,
            marks: Vec::new(),
            last_time: None,
            mark_lines: Lines::default(),
            console: Lines::default(),
            tail: VecDeque::new(),
            open: Open { console: true, marks: true, control: true },
        }
    }

    /// When [`Event::Deadline`] is due, counted from the start.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Running => self.limits.run,
            Phase::Panicked(at) => Some(at + self.limits.panic),
            Phase::PoweringOff(first, last) => {
                Some((first + self.limits.power_off).min(last + self.limits.press_again))
            }
            Phase::Quitting(at) => Some(at + self.limits.quit),
            Phase::Killed => None,
        }
    }

    /// Whether nothing more can come.
    pub(super) fn is_over(&self) -> bool {
        !(self.open.console || self.open.marks || self.open.control)
    }

    /// Takes in what happened at `now`, counted from the start.
    pub(super) fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Console(bytes) => return self.console(&bytes, now),
            Event::Marks(bytes) => return self.marks(&bytes, now),
            Event::Seen(name) => {
                let ns = self.guest_time(now);
                return self.mark(Mark { name, ns }, now);
            }
            Event::Told(text) => return vec![Action::Note(text)],
            Event::ConsoleEnd => self.open.console = false,
            Event::MarksEnd => self.open.marks = false,
            Event::ControlEnd => self.open.control = false,
            Event::Refused(why) => return vec![Action::Warn(format!("QEMU refused: {why}"))],
            Event::Shutdown(reason) => return self.shutdown(&reason, now),
            Event::Interrupt if matches!(self.phase, Phase::Running) => {
                self.phase = Phase::PoweringOff(now, now);
                let note = "the guest's power button was pressed; Ctrl-C again ends it at once";
                return vec![Action::PowerOff, Action::Note(note.to_owned())];
            }
            Event::Interrupt => return self.quit(Cause::User(None), now),
            Event::Terminate(signal) => {
                let decides = self.cause.is_none();
                let mut actions = self.quit(Cause::User(signal), now);
                if let Some(name) = signal.filter(|_| decides) {
                    let note = format!("{name} ends the guest at once, as if its power were cut");
                    actions.push(Action::Note(note));
                }
                return actions;
            }
            Event::Deadline => return self.too_late(now),
        }
        Vec::new()
    }

    /// What came of it; nothing if QEMU ended by itself.
    ///
    /// # Errors
    /// The guest did not do what it should.
    pub(super) fn finish(mut self) -> Result<(Option<Ending>, Vec<Mark>)> {
        if let Some(rest) = self.console.rest()
            && !matches!(self.cause, Some(Cause::Panic(_)))
        {
            self.remember(rest);
        }
        let mut by = String::from("the guest ended");
        let ending = match self.cause.take() {
            Some(Cause::Panic(line)) => {
                return Err(
                    self.failure(Id::GuestPanic, format!("the guest's kernel panicked: `{line}`"))
                );
            }
            Some(Cause::Reset) => {
                return Err(self.failure(Id::GuestReset, "the guest reset itself".to_owned()));
            }
            Some(Cause::KeptRunning) => {
                let seconds = self.limits.power_off.as_secs();
                let text = format!(
                    "the guest was still running {seconds} s after its power button was pressed"
                );
                return Err(self.failure(Id::GuestKeptRunning, text));
            }
            Some(Cause::TimedOut) => {
                let seconds = self.limits.run.unwrap_or_default().as_secs();
                let text = match self.until {
                    Some(until) => {
                        format!("the guest did not reach `{}` within {seconds} s", until.mark())
                    }
                    None => format!("the guest was still running after {seconds} s"),
                };
                return Err(self.failure(Id::GuestTimeout, text));
            }
            Some(Cause::User(signal)) => {
                by = signal.map_or(by, |name| format!("{name} ended the guest"));
                Some(Ending::EndedByUser)
            }
            Some(Cause::PoweredOff) if self.reached => Some(Ending::Reached),
            Some(Cause::PoweredOff) => Some(Ending::PoweredOff),
            None => None,
        };
        if let (Some(_), Some(until), false) = (ending, self.until, self.reached) {
            let text = format!("{by} before it reached `{}`", until.mark());
            return Err(self.failure(Id::GuestEnded, text));
        }
        Ok((ending, self.marks))
    }

    /// The marks that have come.
    pub(super) fn marks_so_far(&self) -> &[Mark] {
        &self.marks
    }

    /// The last lines of the console.
    pub(super) fn console_tail(&self) -> String {
        self.tail.iter().map(|line| format!("\n  {line}")).collect()
    }

    fn failure(&self, id: Id, what: String) -> Error {
        let last = match self.marks.last() {
            Some(mark) => format!("; its last mark was `{}` at {:.3} s", mark.name, mark.seconds()),
            None => "; no mark came".to_owned(),
        };
        let tail = self.console_tail();
        let console = if tail.is_empty() { "; its console is empty".to_owned() } else { tail };
        Error::new(id, format!("{what}{last}{console}"))
    }

    fn console(&mut self, bytes: &[u8], now: Duration) -> Vec<Action> {
        for line in self.console.push(bytes) {
            let panic = line.contains("Kernel panic - not syncing");
            // The reset that follows may be told on its own channel before this line is read.
            let first = matches!(self.cause, None | Some(Cause::Reset));
            if panic && first && self.on_reset == OnReset::End {
                self.cause = Some(Cause::Panic(line.clone()));
                if matches!(self.phase, Phase::Running | Phase::PoweringOff(..)) {
                    self.phase = Phase::Panicked(now);
                }
            }
            // What led to a panic stands before it; the trace behind it would push that out.
            if first || !matches!(self.cause, Some(Cause::Panic(_))) {
                self.remember(line);
            }
        }
        Vec::new()
    }

    fn remember(&mut self, line: String) {
        if line.is_empty() {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn marks(&mut self, bytes: &[u8], now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for line in self.mark_lines.push(bytes) {
            let Some(mark) = Mark::parse(&line) else {
                actions.push(Action::Warn(format!(
                    "the guest sent something that is no mark: `{line}`"
                )));
                continue;
            };
            self.last_time = Some((now, mark.ns));
            actions.extend(self.mark(mark, now));
        }
        actions
    }

    fn mark(&mut self, mark: Mark, now: Duration) -> Vec<Action> {
        let mut actions = vec![Action::Show(mark.clone())];
        if self.until.is_some_and(|until| until.mark() == mark.name) && !self.reached {
            self.reached = true;
            if matches!(self.phase, Phase::Running) {
                self.phase = Phase::PoweringOff(now, now);
                actions.push(Action::PowerOff);
            }
        }
        self.marks.push(mark);
        actions
    }

    /// The guest's clock at `now`, as far as it can be known from outside: its last mark's time
    /// and what has passed here since that came.
    fn guest_time(&self, now: Duration) -> u64 {
        let (came, ns) = self.last_time.unwrap_or_default();
        let since = u64::try_from(now.saturating_sub(came).as_nanos()).unwrap_or(u64::MAX);
        ns.saturating_add(since)
    }

    fn shutdown(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        let cause = match reason {
            "guest-reset" => Cause::Reset,
            "guest-panic" => Cause::Panic("told by its panic device".to_owned()),
            "host-qmp-quit" | "host-signal" | "host-ui" | "host-error" => Cause::User(None),
            _ => Cause::PoweredOff,
        };
        self.quit(cause, now)
    }

    fn too_late(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Running => self.quit(Cause::TimedOut, now),
            Phase::PoweringOff(first, _) if now < first + self.limits.power_off => {
                self.phase = Phase::PoweringOff(first, now);
                vec![Action::PowerOff]
            }
            Phase::PoweringOff(..) => self.quit(Cause::KeptRunning, now),
            // Its cause is known since it panicked.
            Phase::Panicked(_) => self.quit(Cause::User(None), now),
            Phase::Quitting(_) => {
                self.phase = Phase::Killed;
                vec![Action::Kill]
            }
            Phase::Killed => Vec::new(),
        }
    }

    fn quit(&mut self, cause: Cause, now: Duration) -> Vec<Action> {
        self.cause.get_or_insert(cause);
        if matches!(self.phase, Phase::Quitting(_) | Phase::Killed) {
            return Vec::new();
        }
        self.phase = Phase::Quitting(now);
        vec![Action::Quit]
    }
}

/// Cuts a stream of bytes into lines that are fit to be shown.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                lines.push(printable(&std::mem::take(&mut self.0)));
            } else {
                self.0.push(byte);
                if self.0.len() == LONGEST_LINE {
                    lines.push(printable(&std::mem::take(&mut self.0)));
                }
            }
        }
        lines
    }

    /// A last line that nothing ended.
    fn rest(&mut self) -> Option<String> {
        let rest = printable(&std::mem::take(&mut self.0));
        (!rest.is_empty()).then_some(rest)
    }
}

/// Text without control characters and without terminal sequences (`ESC [ ... letter`), with which
/// boot loaders draw.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            if chars.next() == Some('[') {
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
        } else if c == '\t' || !c.is_control() {
            plain.push(c);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
