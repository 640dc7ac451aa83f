//! What one run of a unit writes: into its log file, its end kept for people.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::ring::{Ring, Target};
use crate::log;

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
    /// PID 1's number for it.
    pub(super) id: u32,
    pub(super) unit: String,
    /// `None` when nobody can write any more.
    pipe: Option<OwnedFd>,
    file: Arc<Target>,
    line: Vec<u8>,
    last: VecDeque<String>,
}

impl Output {
    pub(super) fn new(id: u32, unit: String, pipe: OwnedFd, file: Arc<Target>) -> Self {
        Self { id, unit, pipe: Some(pipe), file, line: Vec::new(), last: VecDeque::new() }
    }

    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// The last lines, oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let unfinished = Some(&self.line).filter(|line| !line.is_empty());
        let unfinished = unfinished.map(|line| String::from_utf8_lossy(line).into_owned());
        self.last.iter().cloned().chain(unfinished).collect()
    }

    /// Takes what there is, and tells each line; whether there may be more.
    pub(super) fn read(&mut self, ring: &Ring, mut tell: impl FnMut(&str)) -> bool {
        let mut buffer = [0; 16 * 1024];
        let mut taken = 0;
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => {
                    self.end_line(ring, &mut tell);
                    self.pipe = None;
                }
                Ok(length) => {
                    for &byte in &buffer[..length] {
                        if byte == b'\n' || self.line.len() == LONGEST_LINE {
                            self.end_line(ring, &mut tell);
                        }
                        if byte != b'\n' {
                            self.line.push(byte);
                        }
                    }
                    taken += length;
                    if taken >= AT_ONCE {
                        return true;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(error) => {
                    log::warn(&format!("cannot read what {} writes: {error}", self.unit));
                    self.pipe = None;
                }
            }
        }
        false
    }

    fn end_line(&mut self, ring: &Ring, tell: &mut impl FnMut(&str)) {
        if self.line.is_empty() {
            return;
        }
        ring.push(&self.file, &self.line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        let line = String::from_utf8_lossy(&self.line).into_owned();
        tell(&line);
        self.last.push_back(line);
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn output(ring: &Ring) -> (Output, OwnedFd, impl Fn() -> String + '_) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        let file = Target::new("x.log".into(), 1 << 20);
        let written = || {
            ring.close();
            let texts: Vec<u8> =
                std::iter::from_fn(|| ring.take()).flat_map(|batch| batch.text).collect();
            String::from_utf8_lossy(&texts).into_owned()
        };
        (Output::new(1, "x".into(), reader, file), writer, written)
    }

    #[test]
    fn lines_go_to_the_log_and_the_last_five_are_kept() {
        let ring = Ring::default();
        let (mut output, writer, written) = output(&ring);
        let write = |text: &str| {
            assert_eq!(rustix::io::write(&writer, text.as_bytes()), Ok(text.len()));
        };
        for number in 0..12 {
            write(&format!("line {number}\n\n"));
        }
        write("unfinish");
        let mut told = Vec::new();
        assert!(!output.read(&ring, |line| told.push(line.to_owned())));
        assert!(output.pipe().is_some() && told.len() == 12 && told[11] == "line 11", "{told:?}");
        let lines = output.last_lines();
        assert_eq!((lines[0].as_str(), lines[4].as_str()), ("line 7", "line 11"));
        assert_eq!(lines[5], "unfinish");
        write("ed");
        drop(writer);
        assert!(!output.read(&ring, |line| told.push(line.to_owned())));
        assert!(output.pipe().is_none());
        assert_eq!(told.last().map(String::as_str), Some("unfinished"));
        let log = written();
        assert!(
            log.starts_with("line 0\nline 1\n") && log.ends_with("line 11\nunfinished\n"),
            "{log}"
        );
    }

    #[test]
    fn a_line_without_end_is_split_and_bytes_that_are_no_text_do_no_harm() {
        let ring = Ring::default();
        let (mut output, writer, _) = output(&ring);
        let bytes = vec![0xff; LONGEST_LINE + 1];
        assert_eq!(rustix::io::write(&writer, &bytes), Ok(bytes.len()));
        output.read(&ring, |_| {});
        assert!(output.pipe().is_some());
        let lengths: Vec<_> = output.last_lines().iter().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [LONGEST_LINE, 1]);
    }
}
