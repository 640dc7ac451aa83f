//! What a unit's processes write: into a log file of limited size, its end kept for people.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::log;
use crate::log::diagnosis::Diagnosis;
use crate::log::rotated_file::RotatedFile;
use crate::unit::{Unit, UnitName};

/// Lines kept to show why it failed.
const LAST_LINES: usize = 5;
/// A longer line is split: somebody writes without line breaks.
const LONGEST_LINE: usize = 8 * 1024;
/// Bytes taken at once, so that one unit which only writes does not keep us from the others.
const AT_ONCE: usize = 256 * 1024;

/// The reading end of one run's standard output and error. It outlives the pipe: when a process
/// ends, its pipe is closed before we hear of the end, and only then are its last lines wanted.
#[derive(Debug)]
pub(super) struct Output {
    unit: UnitName,
    /// `None` when nobody can write any more. Dropping it also takes it out of epoll's set.
    pipe: Option<OwnedFd>,
    log: Option<RotatedFile>,
    line: Vec<u8>,
    last: VecDeque<String>,
    /// Lines that [`Output::take_lines`] will give; `None` if nobody asks for them.
    fresh: Option<Vec<String>>,
}

impl Output {
    /// A new pipe, and its writing end for the process. A log that cannot be opened is no reason
    /// not to start it.
    pub(super) fn new(unit: &Unit, logs: &Path) -> io::Result<(Self, OwnedFd)> {
        let (name, limit) = (&unit.name, unit.log_limit);
        let (pipe, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: programs do not expect `EAGAIN` on their standard output.
        rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK)?;
        let log = RotatedFile::open(&logs.join(format!("{name}.log")), limit);
        let log =
            log.map_err(|error| log::warn(&format!("cannot open the log of {name}: {error}")));
        let (line, last) = (Vec::new(), VecDeque::new());
        let fresh = Diagnosis::follows(name.as_str()).then(Vec::new);
        Ok((
            Self { unit: name.clone(), pipe: Some(pipe), log: log.ok(), line, last, fresh },
            writer,
        ))
    }

    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Whether nobody can write any more.
    pub(super) fn has_ended(&self) -> bool {
        self.pipe.is_none()
    }

    pub(super) fn unit(&self) -> &UnitName {
        &self.unit
    }

    /// The last lines, oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let unfinished = Some(&self.line).filter(|line| !line.is_empty());
        let unfinished = unfinished.map(|line| String::from_utf8_lossy(line).into_owned());
        self.last.iter().cloned().chain(unfinished).collect()
    }

    /// The lines that came since this was asked last, if the unit is one that is understood.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what there is.
    pub(super) fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let mut taken = 0;
        while taken < AT_ONCE
            && let Some(pipe) = &self.pipe
        {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => {
                    self.end_line();
                    self.pipe = None;
                }
                Ok(length) => {
                    taken += length;
                    for &byte in &buffer[..length] {
                        if byte == b'\n' || self.line.len() == LONGEST_LINE {
                            self.end_line();
                        }
                        if byte != b'\n' {
                            self.line.push(byte);
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    log::warn(&format!("cannot read what {} writes: {error}", self.unit));
                    self.pipe = None;
                }
            }
        }
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        if let Some(file) = &mut self.log
            && let Err(error) = file.append(&self.line)
        {
            log::error(&format!("cannot write the log of {}, so it ends here: {error}", self.unit));
            self.log = None;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        let line = String::from_utf8_lossy(&self.line).into_owned();
        if let Some(fresh) = &mut self.fresh {
            fresh.push(line.clone());
        }
        self.last.push_back(line);
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        let text = "exec = [\"/x\"]\nready = \"exit\"\ncgroup = \"/x\"\nkill = \"process\"\n\
                    deadline = \"1s\"\nlog-limit = \"16KiB\"\n";
        Unit::parse(Path::new("x.toml"), text).expect("a good unit")
    }

    #[test]
    fn lines_go_to_the_log_and_the_last_five_are_kept() {
        let logs = tempfile::tempdir().expect("a directory");
        let (mut output, writer) = Output::new(&unit(), logs.path()).expect("a pipe");
        let write = |text: &str| {
            assert_eq!(rustix::io::write(&writer, text.as_bytes()), Ok(text.len()));
        };
        for number in 0..12 {
            write(&format!("line {number}\n\n"));
        }
        write("unfinish");
        output.read();
        assert!(!output.has_ended());
        let lines = output.last_lines();
        assert_eq!((lines[0].as_str(), lines[4].as_str()), ("line 7", "line 11"));
        assert_eq!(lines[5], "unfinish");
        // Nobody makes anything of what this unit writes.
        assert_eq!(output.take_lines(), [""; 0]);
        write("ed");
        drop(writer);
        output.read();
        assert!(output.has_ended());
        let log = std::fs::read_to_string(logs.path().join("x.log")).expect("readable");
        assert!(
            log.starts_with("line 0\nline 1\n") && log.ends_with("line 11\nunfinished\n"),
            "{log}"
        );
    }

    #[test]
    fn a_line_without_end_is_split_and_bytes_that_are_no_text_do_no_harm() {
        let logs = tempfile::tempdir().expect("a directory");
        let (mut output, writer) = Output::new(&unit(), logs.path()).expect("a pipe");
        let bytes = vec![0xff; LONGEST_LINE + 1];
        assert_eq!(rustix::io::write(&writer, &bytes), Ok(bytes.len()));
        output.read();
        assert!(!output.has_ended());
        let lengths: Vec<_> = output.last_lines().iter().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [LONGEST_LINE, 1]);
    }

    #[test]
    fn the_two_files_of_a_log_stay_below_the_units_limit() {
        let logs = tempfile::tempdir().expect("a directory");
        let (mut output, writer) = Output::new(&unit(), logs.path()).expect("a pipe");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..100 {
            assert_eq!(rustix::io::write(&writer, &line), Ok(line.len()));
            output.read();
        }
        for name in ["x.log", "x.log.1"] {
            let length = std::fs::metadata(logs.path().join(name)).expect("there").len();
            assert!(0 < length && length <= 16 * 1024, "{name}: {length}");
        }
    }

    #[test]
    fn the_lines_of_kubelet_are_handed_on_once() {
        let logs = tempfile::tempdir().expect("a directory");
        let kubelet =
            Unit { name: UnitName::try_from("kubelet".to_owned()).expect("a name"), ..unit() };
        let (mut output, writer) = Output::new(&kubelet, logs.path()).expect("a pipe");
        assert_eq!(rustix::io::write(&writer, b"one\ntwo\nthr"), Ok(11));
        output.read();
        assert_eq!(output.take_lines(), ["one", "two"]);
        assert_eq!(rustix::io::write(&writer, b"ee\n"), Ok(3));
        output.read();
        assert_eq!(output.take_lines(), ["three"]);
    }
}
