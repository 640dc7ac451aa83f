//! PID 1's log: the kernel's ring (`/dev/kmsg`), and a file on STATE once that is mounted.
//!
//! Works from the first instruction on: before `/dev` exists, lines go to standard error, which
//! the kernel opened on the console for us. What came before STATE is kept and written there.
//! The record format of `/dev/kmsg` is `Documentation/ABI/testing/dev-kmsg` in the kernel.

pub mod diagnosis;
pub mod first_pod;
pub mod rotated_file;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;
use rotated_file::RotatedFile;

/// Lines kept for the file while there is none.
const KEPT: usize = 256;
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

/// From now on the log is also kept in this file and the one before it, of `limit` bytes each;
/// what was logged before comes first.
///
/// # Errors
/// What the file system says.
pub fn keep_in(path: &Path, limit: u64) -> io::Result<()> {
    let file = RotatedFile::open(path, limit)?;
    let mut log = lock();
    log.file = Some(file);
    let kept = std::mem::take(&mut log.kept);
    for line in kept {
        log.keep(line);
    }
    Ok(())
}

/// Closes the file, so that what it is on can be unmounted.
pub fn close_file() {
    lock().file = None;
}

#[derive(Debug)]
struct Log {
    kmsg: Option<File>,
    rate_limited: bool,
    file: Option<RotatedFile>,
    kept: VecDeque<String>,
}

static LOG: Mutex<Log> =
    Mutex::new(Log { kmsg: None, rate_limited: true, file: None, kept: VecDeque::new() });

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
            let _ = writeln!(io::stderr(), "orlop: {line}");
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
        if let Some(file) = &mut self.file {
            let Err(error) = file.append(line.as_bytes()) else { return };
            self.file = None;
            self.write_to_kernel(&record(
                Level::Error,
                &format!("cannot write the log file, so it ends here: {error}"),
            ));
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
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

    #[test]
    fn what_was_logged_before_the_file_existed_comes_first_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("init.log");
        let mut log = Log { kmsg: None, rate_limited: true, file: None, kept: VecDeque::new() };
        log.line(Level::Info, "early");
        log.file = Some(RotatedFile::open(&path, 1000).expect("opened"));
        for line in std::mem::take(&mut log.kept) {
            log.keep(line);
        }
        log.line(Level::Error, "late");
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines: Vec<_> = text.lines().map(|line| &line[line.find(']').unwrap() + 2..]).collect();
        assert_eq!(lines, ["early", "error: late"]);
    }
}
