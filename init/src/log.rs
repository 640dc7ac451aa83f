//! How a process of ours says what people may want to read later. PID 1's lines go to the kernel's
//! ring (`/dev/kmsg`), and to the unit `log` once that runs; those of others to standard error, which
//! `log` reads as it does that of every unit. The directory beside this file is what `log` runs.
//!
//! Works from the first instruction on: before `/dev` exists, lines go to standard error, which
//! the kernel opened on the console for us. What came before `log` is kept for it.
//! The record format of `/dev/kmsg` is `Documentation/ABI/testing/dev-kmsg` in the kernel.

pub mod diagnosis;
pub mod first_pod;
mod output;
mod probes;
mod ring;
pub mod rotated_file;
pub mod service;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::message::{self, ToUnit};

/// Lines kept for the unit `log` while it does not take them.
const KEPT: usize = 256;
/// Bytes of lines that go in one message.
const TOGETHER: usize = 16 * 1024;
/// The kernel cuts what is longer than `PRINTKRB_RECORD_MAX` less its prefix.
const LONGEST: usize = 900;

/// Facility `LOG_DAEMON`, so that these are told from the kernel's own; see syslog(3).
const DAEMON: u8 = 3 << 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// What goes its way.
pub fn info(text: &str) {
    write(Level::Info, text);
}

/// What is worth a look and stops nothing.
pub fn warn(text: &str) {
    write(Level::Warning, text);
}

/// What failed.
pub fn error(text: &str) {
    write(Level::Error, text);
}

/// From now on lines go to the unit at the other end too; what was logged before comes first.
pub fn send_to(unit: OwnedFd) {
    let mut log = lock();
    log.give(unit);
}

/// The unit is done with so many more lines: if it is killed now, they are not for the next.
pub fn done(count: u64) {
    lock().done(count);
}

/// Sends what the unit had no room for, if it has now; whether something still waits for that.
pub fn flush() -> bool {
    let mut log = lock();
    log.flush();
    log.unit.is_some() && !log.kept.is_empty()
}

#[derive(Debug)]
struct Log {
    kmsg: Option<File>,
    rate_limited: bool,
    unit: Option<OwnedFd>,
    kept: VecDeque<String>,
    /// What the unit has been given and is not done with: the newest.
    sent: VecDeque<String>,
    /// So many older lines it is not done with either.
    forgotten: u64,
    /// So many lines were not kept.
    lost: u64,
}

impl Log {
    const fn new() -> Self {
        Self {
            kmsg: None,
            rate_limited: true,
            unit: None,
            kept: VecDeque::new(),
            sent: VecDeque::new(),
            forgotten: 0,
            lost: 0,
        }
    }
}

static LOG: Mutex<Log> = Mutex::new(Log::new());

fn lock() -> MutexGuard<'static, Log> {
    // A thread that panicked while logging left at worst half a line.
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(level: Level, text: &str) {
    let mut log = lock();
    for line in text.lines() {
        log.line(level, line);
    }
}

impl Log {
    fn line(&mut self, level: Level, line: &str) {
        let record = record(level, line);
        if !self.write_to_kernel(&record) {
            // Nobody is left to tell if this fails.
            // At once, for it may be the kernel's log, where a write is a record.
            let _ = io::stderr().write_all(format!("orlop: {line}\n").as_bytes());
        }
        let time = clock::since_boot();
        let word = match level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info => "",
        };
        let stamp = format!("[{:5}.{:06}]", time.as_secs(), time.subsec_micros());
        self.keep(format!("{stamp} {word}{line}"));
    }

    fn write_to_kernel(&mut self, record: &str) -> bool {
        // A test must not write into its host's kernel log.
        if std::process::id() != 1 {
            return false;
        }
        if self.kmsg.is_none() {
            self.kmsg = File::options().write(true).open("/dev/kmsg").ok();
        }
        let Some(kmsg) = &mut self.kmsg else { return false };
        if self.rate_limited {
            // By default the kernel drops all but ten lines in five seconds of what a program
            // writes to it. /proc may not be there yet; any other failure is final.
            let lifted = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
            self.rate_limited = lifted.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        }
        // One write is one record.
        kmsg.write_all(record.as_bytes()).is_ok()
    }

    fn keep(&mut self, line: String) {
        self.kept.push_back(line);
        self.limit();
        self.flush();
    }

    fn limit(&mut self) {
        while self.kept.len() > KEPT {
            self.kept.pop_front();
            self.lost += 1;
        }
    }

    /// It is done with the oldest first.
    fn done(&mut self, count: u64) {
        let forgotten = count.min(self.forgotten);
        self.forgotten -= forgotten;
        let count = usize::try_from(count - forgotten).unwrap_or(usize::MAX);
        self.sent.drain(..count.min(self.sent.len()));
    }

    /// From now on this is the unit. What an earlier run of it had not done is for this one.
    fn give(&mut self, unit: OwnedFd) {
        self.forgotten = 0;
        self.sent.append(&mut self.kept);
        std::mem::swap(&mut self.sent, &mut self.kept);
        self.limit();
        self.unit = Some(unit);
        self.flush();
    }

    /// Gives the unit all that it has room for.
    fn flush(&mut self) {
        while let Some(unit) = &self.unit
            && !self.kept.is_empty()
        {
            let mut bytes = 0;
            let fit = |line: &&String| {
                bytes += line.len();
                bytes <= TOGETHER
            };
            let lines: Vec<String> = self.kept.iter().take_while(fit).cloned().collect();
            // One that is longer than all together is cut.
            let count = lines.len().max(1);
            let lines = ToUnit::Lines(self.kept.iter().take(count).cloned().collect());
            let lacking = Some(self.lost).filter(|lost| *lost > 0).map(ToUnit::Lacking);
            for message in lacking.into_iter().chain([lines]) {
                match message::send(unit, &message.encode()) {
                    Ok(true) if matches!(message, ToUnit::Lacking(_)) => self.lost = 0,
                    Ok(true) => {
                        self.sent.extend(self.kept.drain(..count));
                        // A unit that does not say what it has done.
                        let most = self.sent.len().min(KEPT);
                        self.forgotten += self.sent.drain(..self.sent.len() - most).len() as u64;
                    }
                    Ok(false) => return,
                    // It has ended.
                    Err(_) => return self.unit = None,
                }
            }
        }
    }
}

/// One record: priority, our name, and text without control characters, which would be shown
/// as escapes or, as a line break, begin a line of properties.
fn record(level: Level, line: &str) -> String {
    let mut text: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    format!("<{}>orlop: {text}", DAEMON | level as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_facility_and_level_and_no_control_character() {
        assert_eq!(record(Level::Info, "ready"), "<30>orlop: ready");
        assert_eq!(record(Level::Error, "a\tb\u{1b}[1m"), "<27>orlop: a b [1m");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = record(Level::Warning, &"é".repeat(600));
        assert_eq!(text, format!("<28>orlop: {}", "é".repeat(LONGEST / 2)));
    }

    fn received(unit: &OwnedFd) -> Vec<ToUnit> {
        let mut all = Vec::new();
        while let message::Received::Packet(packet, None) = message::receive(unit) {
            all.push(ToUnit::parse(&packet).unwrap());
        }
        all
    }

    /// Of all lines that came, without their time.
    fn lines(messages: &[ToUnit]) -> Vec<&str> {
        let lines = messages.iter().flat_map(|message| match message {
            ToUnit::Lines(lines) => lines.as_slice(),
            _ => &[],
        });
        lines.map(|line| &line[line.find(']').unwrap() + 2..]).collect()
    }

    #[test]
    fn what_was_logged_before_the_unit_ran_comes_first() {
        let mut log = Log::new();
        log.line(Level::Info, "early");
        let (ours, theirs) = message::pair().unwrap();
        log.give(ours);
        log.line(Level::Error, "late");
        assert_eq!(lines(&received(&theirs)), ["early", "error: late"]);
    }

    #[test]
    fn what_a_unit_had_not_done_when_it_ended_the_next_one_is_given_first() {
        let mut log = Log::new();
        let (ours, first) = message::pair().unwrap();
        log.give(ours);
        for line in ["done", "given", "not done"] {
            log.line(Level::Info, line);
        }
        assert_eq!(lines(&received(&first)), ["done", "given", "not done"]);
        log.sent.drain(..1);
        drop(first);
        log.line(Level::Info, "in between");
        let (ours, second) = message::pair().unwrap();
        log.give(ours);
        assert_eq!(lines(&received(&second)), ["given", "not done", "in between"]);
    }

    #[test]
    fn a_unit_that_is_late_to_say_what_it_has_done_has_not_done_what_came_later() {
        let mut log = Log::new();
        let (ours, first) = message::pair().unwrap();
        log.give(ours);
        let all = KEPT + 100;
        for number in 0..all {
            log.line(Level::Info, &format!("line {number}"));
            // It takes them, and its disk is slow.
            received(&first);
        }
        log.done(150);
        let (ours, second) = message::pair().unwrap();
        log.give(ours);
        let received = received(&second);
        let lines = lines(&received);
        assert_eq!((lines.len(), lines[0]), (all - 150, "line 150"));
    }

    #[test]
    fn what_the_unit_has_no_room_for_is_counted_and_nobody_waits() {
        let (ours, theirs) = message::pair().unwrap();
        let mut log = Log { unit: Some(ours), ..Log::new() };
        let all = 20_000;
        for number in 0..all {
            log.line(Level::Info, &format!("line {number}"));
        }
        let mut messages = received(&theirs);
        log.flush();
        messages.extend(received(&theirs));
        let lost: Vec<u64> = messages
            .iter()
            .filter_map(|message| match message {
                ToUnit::Lacking(lost) => Some(*lost),
                _ => None,
            })
            .collect();
        let [lost] = lost[..] else { panic!("{lost:?}") };
        let lines = lines(&messages);
        assert_eq!(lines.len() + usize::try_from(lost).unwrap(), all);
        assert_eq!(lines.last().copied(), Some("line 19999"));
    }
}
