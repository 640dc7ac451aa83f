//! The guest's console on its way to the user, in whole lines: notes of ours that appear on the
//! same terminal stand between two lines and never inside one.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Context as _, Id, Result};
use crate::run::options::{Options, Serial};

/// How long a guest may pause inside a line before the user sees what there is of it.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a line that are held back at most: firmware draws whole screens without a line's end.
const LONGEST_LINE: usize = 4096;

/// Where the console goes. Shared by the thread that reads it and the one that has notes.
pub(super) struct Console {
    target: Target,
    output: Mutex<Output>,
}

/// What the console goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Our notes appear there too.
    Terminal,
    /// A file or a pipe: gets the guest's bytes and nothing else.
    Stream,
}

struct Output {
    target: Target,
    to: Box<dyn Write + Send>,
    /// The beginning of a line.
    held: Vec<u8>,
    /// What was written last is not the end of a line.
    inside_line: bool,
}

impl Console {
    /// Opens what the options name.
    ///
    /// # Errors
    /// [`Id::Write`] if the file cannot be made.
    pub(super) fn open(options: &Options) -> Result<Self> {
        let target = |is_terminal| if is_terminal { Target::Terminal } else { Target::Stream };
        Ok(match &options.serial {
            Serial::Auto | Serial::Terminal if options.json => {
                Self::new(target(io::stderr().is_terminal()), Box::new(io::stderr()))
            }
            Serial::Auto | Serial::Terminal => {
                Self::new(target(io::stdout().is_terminal()), Box::new(io::stdout()))
            }
            Serial::File(path) => {
                let file = File::create(path)
                    .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
                Self::new(Target::Stream, Box::new(file))
            }
        })
    }

    fn new(target: Target, to: Box<dyn Write + Send>) -> Self {
        let output = Output { target, to, held: Vec::new(), inside_line: false };
        Self { target, output: Mutex::new(output) }
    }

    /// Writes the lines that end in `bytes`; the rest is held back.
    ///
    /// # Errors
    /// Nobody takes it any more.
    pub(super) fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = self.lock();
        output.held.extend_from_slice(bytes);
        let whole = match output.held.iter().rposition(|&byte| byte == b'\n') {
            None if output.held.len() >= LONGEST_LINE => output.held.len(),
            last => last.map_or(0, |at| at + 1),
        };
        output.write(whole)
    }

    /// Writes what is held back: more will not come soon.
    ///
    /// # Errors
    /// Nobody takes it any more.
    pub(super) fn pause(&self) -> io::Result<()> {
        let mut output = self.lock();
        let all = output.held.len();
        output.write(all)
    }

    /// Whether the beginning of a line is held back.
    pub(super) fn holds_back(&self) -> bool {
        !self.lock().held.is_empty()
    }

    /// Lets `tell` write to the terminal, at the beginning of a line.
    pub(super) fn between_lines(&self, tell: impl FnOnce()) {
        // A reader of a pipe that does not read must not stop us.
        if self.target == Target::Stream {
            return tell();
        }
        let mut output = self.lock();
        if std::mem::take(&mut output.inside_line) {
            // If it fails, so will the next write of the console, which is what ends the run.
            drop(output.to.write_all(b"\r\n").and_then(|()| output.to.flush()));
        }
        tell();
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        // Whoever panicked has left whole bytes.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output {
    fn write(&mut self, length: usize) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let bytes: Vec<u8> = self.held.drain(..length).collect();
        self.inside_line = bytes.last() != Some(&b'\n');
        let bytes = if self.target == Target::Terminal { calm(&bytes) } else { bytes };
        self.to.write_all(&bytes)?;
        self.to.flush()
    }
}

/// Without what clears the screen, moves the cursor or sets a mode (ECMA-48 `ED`, `CUP`, `SM`):
/// firmware does all that, and would wipe away what the user's terminal shows.
fn calm(bytes: &[u8]) -> Vec<u8> {
    let mut calm = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let sequence = rest.strip_prefix(b"\x1b[").and_then(|parameters| {
            let end = parameters.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
            matches!(parameters[end], b'J' | b'H' | b'h').then(|| &parameters[end + 1..])
        });
        rest = sequence.unwrap_or_else(|| {
            calm.push(first);
            after
        });
    }
    calm
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a terminal shows.
    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shown {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn note(&self, text: &str) {
            writeln!(self.clone(), "{text}").unwrap();
        }
    }

    #[test]
    fn firmware_does_not_wipe_the_terminal() {
        for (bytes, want) in [
            ("\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading\r\n", "BdsDxe: loading\r\n"),
            ("\x1b[32mready\x1b[0m\n", "\x1b[32mready\x1b[0m\n"),
            ("cut \x1b[2", "cut \x1b[2"),
        ] {
            assert_eq!(String::from_utf8(calm(bytes.as_bytes())).unwrap(), want);
            let (console, shown) = console(Target::Stream);
            console.push(bytes.as_bytes()).unwrap();
            console.pause().unwrap();
            assert_eq!(shown.text(), bytes);
        }
    }

    fn console(target: Target) -> (Console, Shown) {
        let shown = Shown::default();
        (Console::new(target, Box::new(shown.clone())), shown)
    }

    #[test]
    fn a_note_never_stands_inside_a_line() {
        let (console, shown) = console(Target::Terminal);
        console.push(b"[ 4.03] co").unwrap();
        assert!(console.holds_back());
        console.between_lines(|| shown.note("a note"));
        console.push(b"ntainerd started\r\nnext").unwrap();
        assert_eq!(shown.text(), "a note\n[ 4.03] containerd started\r\n");
    }

    #[test]
    fn a_line_that_stops_is_shown_and_a_note_begins_a_new_one() {
        let (console, shown) = console(Target::Terminal);
        console.push(b"waits for").unwrap();
        console.pause().unwrap();
        assert!(!console.holds_back());
        assert_eq!(shown.text(), "waits for");
        console.between_lines(|| shown.note("a note"));
        console.between_lines(|| shown.note("another"));
        console.push(b" ever\n").unwrap();
        assert_eq!(shown.text(), "waits for\r\na note\nanother\n ever\n");
    }

    #[test]
    fn a_stream_gets_every_byte_of_the_guest_and_no_other() {
        let (console, shown) = console(Target::Stream);
        let screen = vec![b'x'; LONGEST_LINE];
        console.push(&screen).unwrap();
        assert!(!console.holds_back());
        console.between_lines(|| {});
        console.push(b"\na").unwrap();
        console.pause().unwrap();
        assert_eq!(shown.text().as_bytes(), [&screen[..], b"\na"].concat());
    }
}
