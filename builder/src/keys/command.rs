//! A key behind a program: a security module, a service of keys, a colleague's script.
//!
//! The program gets the bytes to sign on its standard input and writes the signature to its
//! standard output: 64 bytes, or their base64. Its standard error is shown line by line while it
//! runs. It has two minutes, which is enough for somebody to press a button. What it says counts
//! only after the public key that was declared has verified it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{PublicKey, Signature, Signer};
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::progress::Progress;

/// How long a program may take for one signature.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// More than any signature is, in bytes.
const LONGEST_ANSWER: u64 = 1024;
/// A line of standard error is shown up to here, in bytes.
const LONGEST_LINE: u64 = 1024;
/// So many lines are shown; the program may write more.
const MOST_LINES: usize = 200;
/// How many of them an error repeats.
const REPEATED: usize = 20;
/// Who has ended has this long for its last words to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program that signs with one key.
#[derive(Debug, Clone)]
pub struct CommandSigner {
    public: PublicKey,
    name: String,
    // Invariant: not empty.
    words: Vec<String>,
    directory: PathBuf,
    limit: Duration,
    progress: Progress,
}

impl CommandSigner {
    /// The program and arguments in `words`, of which there is one at least, for the key that
    /// people call `name`. It runs in `directory`; a path to it is relative to that.
    pub fn new(
        name: &str,
        public: PublicKey,
        words: Vec<String>,
        directory: &Path,
        progress: &Progress,
    ) -> Self {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        Self {
            public,
            name: name.to_owned(),
            words,
            directory: directory.to_owned(),
            limit: TIME_LIMIT,
            progress: progress.clone(),
        }
    }

    fn command(&self) -> Result<Command> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(Error::new(Id::Bug, "a program without a name"));
        };
        let cannot = || format!("cannot find the directory of `{}`", self.name);
        let program = if program.contains('/') {
            // Where a relative path begins is not the same everywhere once the directory is changed.
            let directory = std::path::absolute(&self.directory).or_fail(Id::Read, cannot)?;
            directory.join(program).into_os_string()
        } else {
            program.into()
        };
        Ok(Command::new(program).args(arguments).directory(&self.directory))
    }

    fn failed(&self, what: &str, said: &[String]) -> Error {
        let program = format!("the program that signs for `{}` {what}", self.name);
        let tail = said[said.len().saturating_sub(REPEATED)..].join("\n  ");
        let message = if tail.is_empty() { program } else { format!("{program}\n  {tail}") };
        Error::new(Id::SignerFailed, message)
    }

    /// Runs it to its end and gives what it wrote to standard output, up to one byte too much.
    fn answer(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.limit;
        let child = self.command()?.spawn(|command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })?;
        let mut running = Running::new(child, payload)?;
        let mut said = Vec::new();
        let show = |line: String, said: &mut Vec<String>| {
            if said.len() < MOST_LINES {
                self.progress.note(format!("{}: {line}", self.name));
                said.push(line);
            }
        };
        let (mut answer, mut ended) = (None, false);
        while answer.is_none() || !ended {
            let left = deadline.saturating_duration_since(Instant::now());
            match running.news.recv_timeout(left) {
                Ok(News::Said(line)) => show(line, &mut said),
                Ok(News::Silent) => {}
                Ok(News::Answer(bytes)) => answer = Some(bytes),
                Ok(News::Ended) => ended = true,
                Err(RecvTimeoutError::Timeout) => {
                    let what = format!("has not answered in {} s", self.limit.as_secs_f32());
                    return Err(self.failed(&what, &said));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // It was told that it has ended, so this waits for nothing.
        let status =
            running.child.wait().or_fail(Id::SignerFailed, || "cannot wait for a program")?;
        while let Ok(News::Said(line)) = running.news.recv_timeout(LAST_WORDS) {
            show(line, &mut said);
        }
        if status.success() {
            return Ok(answer.unwrap_or_default());
        }
        Err(self.failed(&format!("ended with {status}"), &said))
    }
}

impl Signer for CommandSigner {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature> {
        let answer = self.answer(payload)?;
        let Some(signature) = signature(&answer) else {
            let what = "wrote something else to its standard output than a signature";
            return Err(self
                .failed(what, &[])
                .hint("a signature is 64 bytes, or their base64 and nothing else"));
        };
        if self.public.verifies(payload, &signature) {
            return Ok(signature);
        }
        let message = format!(
            "the program that signs for `{}` signs with another key than its own",
            self.name
        );
        Err(Error::new(Id::OtherKey, message).hint(format!("its public key is {}", self.public)))
    }
}

/// The signature in what a program wrote.
fn signature(answer: &[u8]) -> Option<Signature> {
    if let Ok(bytes) = answer.try_into() {
        return Some(Signature(bytes));
    }
    let text = std::str::from_utf8(answer).ok()?.trim_ascii();
    BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(Signature)
}

/// What comes of a program.
enum News {
    /// A line of standard error.
    Said(String),
    /// The end of standard error.
    Silent,
    /// All of standard output.
    Answer(Vec<u8>),
    /// The program has ended.
    Ended,
}

/// A program that runs, and does so no longer than this is kept.
struct Running {
    child: Child,
    news: Receiver<News>,
}

impl Running {
    /// Lets threads write to it and read from it. They end when its streams do: whom it leaves
    /// behind may hold them for longer, and nobody waits for that.
    fn new(mut child: Child, payload: &[u8]) -> Result<Self> {
        let (sender, news) = mpsc::channel();
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let running = Self { child, news };
        let (Some(mut stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(Error::new(Id::Bug, "a program without streams"));
        };
        let ended = pidfd_open(Pid::from_child(&running.child), PidfdFlags::empty());
        let ended = ended.or_fail(Id::SignerFailed, || "cannot watch a program")?;
        let payload = payload.to_vec();
        // Who does not want to read it all may sign what it likes: the signature is verified.
        thread::spawn(move || _ = stdin.write_all(&payload));
        let to = sender.clone();
        thread::spawn(move || {
            let mut answer = Vec::new();
            // What cannot be read is missing, and no signature then.
            let _ = stdout.take(LONGEST_ANSWER).read_to_end(&mut answer);
            let _ = to.send(News::Answer(answer));
        });
        let to = sender.clone();
        thread::spawn(move || lines(stderr, &to));
        thread::spawn(move || {
            let readable = &mut [PollFd::new(&ended, PollFlags::IN)];
            while poll(readable, None).is_err_and(|error| error == rustix::io::Errno::INTR) {}
            let _ = sender.send(News::Ended);
        });
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads standard error to its end and tells its lines, as visible text.
fn lines(stream: impl Read, to: &Sender<News>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                let _ = to.send(News::Said(line.trim_end().replace(char::is_control, "?")));
            }
        }
    }
    let _ = to.send(News::Silent);
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
