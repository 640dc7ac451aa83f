//! The one place that starts child processes: the whole command line and the tail of stderr are
//! kept for the error, and a child dies with its parent.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::{Error, Id, Result};

/// How many lines of stderr an error repeats.
const STDERR_LINES: usize = 20;

/// A program and its arguments, not yet started.
#[derive(Debug)]
pub struct Command(std::process::Command);

impl Command {
    /// `program` is looked up in `PATH` unless it holds a `/`. Standard input is empty.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = std::process::Command::new(program);
        command.stdin(Stdio::null());
        die_with_parent(&mut command);
        Self(command)
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Forgets the caller's environment: what the child sees is only what `env` adds.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.0.env_clear();
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// Runs to the end and returns what was written to standard output.
    ///
    /// # Errors
    /// [`Id::MissingTool`] if there is no such program, [`Id::ToolFailed`] if it ends with
    /// anything but success; the error holds the command line and the end of its stderr.
    pub fn run(mut self) -> Result<Vec<u8>> {
        let line = self.line();
        let output = self.0.output().map_err(|error| self.start_error(error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(&line, &output))
    }

    /// Starts it and returns at once; streams are as the closure sets them.
    ///
    /// # Errors
    /// [`Id::MissingTool`] if there is no such program.
    pub fn spawn(mut self, streams: impl FnOnce(&mut std::process::Command)) -> Result<Child> {
        streams(&mut self.0);
        self.0.spawn().map_err(|error| self.start_error(error))
    }

    /// The command line as a person could type it.
    pub fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        let quoted = words.map(|word| {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    fn start_error(&self, error: std::io::Error) -> Error {
        let program = self.0.get_program().to_string_lossy().into_owned();
        if error.kind() == ErrorKind::NotFound {
            return Error::new(Id::MissingTool, format!("`{program}` is not on this host"))
                .hint("`orlop doctor` names the package to install");
        }
        Error::new(Id::ToolFailed, format!("cannot start `{program}`")).caused_by(error)
    }
}

/// A compiler that outlives an interrupted build would go on writing into its output directory.
fn die_with_parent(command: &mut std::process::Command) {
    let parent_dies = || Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: the closure makes one system call and neither allocates nor takes a lock, which is
    // all that may be done between fork and exec. There is no safe way to set the death signal.
    #[expect(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
    unsafe {
        command.pre_exec(parent_dies);
    }
}

fn failed(line: &str, output: &Output) -> Error {
    let stderr = without_passwords(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = stderr.lines().collect();
    let tail = lines[lines.len().saturating_sub(STDERR_LINES)..].join("\n  ");
    let message = format!("`{line}` failed with {}", output.status);
    if tail.is_empty() {
        Error::new(Id::ToolFailed, message)
    } else {
        Error::new(Id::ToolFailed, format!("{message}\n  {tail}"))
    }
}

/// The text with `***` for users and passwords in addresses: not every program leaves them out of
/// its messages.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| c.is_whitespace() || "/'\"`<>".contains(c);
        let host = &part[..part.find(ends).unwrap_or(part.len())];
        plain.push_str("://");
        match host.rfind('@') {
            Some(at) => {
                plain.push_str("***");
                plain.push_str(&part[at..]);
            }
            None => plain.push_str(part),
        }
    }
    plain
}

/// Writes a program that can be started at once. Another process does it: a child that a test
/// beside this one starts would for a moment share our descriptor, and what is open for writing
/// cannot be executed.
#[cfg(test)]
pub(crate) fn write_program(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    let write = Command::new("sh").args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path);
    let mut shell = write.spawn(|command| _ = command.stdin(Stdio::piped())).unwrap();
    shell.stdin.take().unwrap().write_all(content).unwrap();
    assert!(shell.wait().unwrap().success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_line_and_the_end_of_stderr() {
        let error = Command::new("sh").args(["-c", "echo sorry >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.id(), Id::ToolFailed);
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo sorry >&2; exit 3'` failed with exit status: 3\n  sorry"
        );
    }

    #[test]
    fn a_failure_shows_no_password() {
        let words = "fatal: 'https://me:pa@ss@git.example/x' and ssh://git@h/, not a@b://c";
        let sh = Command::new("sh").env("WORDS", words).args(["-c", "echo $WORDS >&2; exit 1"]);
        let error = sh.run().unwrap_err().to_string();
        let shown = "\n  fatal: 'https://***@git.example/x' and ssh://***@h/, not a@b://c";
        assert!(error.ends_with(shown), "{error}");
    }

    #[test]
    fn a_missing_program_is_named_with_the_cure() {
        let error = Command::new("no-such-program").run().unwrap_err();
        assert_eq!(error.id(), Id::MissingTool);
        assert_eq!(error.to_string(), "`no-such-program` is not on this host");
        assert_eq!(error.hints(), ["`orlop doctor` names the package to install"]);
    }
}
