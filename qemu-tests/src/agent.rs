//! The agent of images of tests (`qemu-tests/agent`): a line to a node that has no shell. It is reached
//! through a virtio port, which a reboot of the guest does not close.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The port's name.
const PORT: &str = "org.orlop.test";
/// Between two looks whether the machine is on.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for the machine that was told of it.
#[derive(Debug)]
pub struct Waiting {
    listener: UnixListener,
    arguments: [String; 4],
}

impl Waiting {
    /// Listens on a socket at this path.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let character = format!("socket,id=agent,path={}", socket.display());
        let device = format!("virtserialport,chardev=agent,name={PORT}");
        Ok(Self { listener, arguments: ["-chardev".into(), character, "-device".into(), device] })
    }

    /// What QEMU is told.
    pub fn arguments(&self) -> [&str; 4] {
        self.arguments.each_ref().map(String::as_str)
    }

    /// Takes the connection of a machine that was started with these arguments, for as long as it is on.
    ///
    /// # Errors
    /// It does not come in time, or not any more.
    pub fn accept(self, deadline: Duration, mut is_on: impl FnMut() -> bool) -> Result<Agent> {
        let (sender, lines) = mpsc::channel();
        let (connected, stream) = mpsc::channel();
        let listener = self.listener;
        // Both threads end when the machine does.
        std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let Ok(copy) = stream.try_clone() else { return };
            if connected.send(copy).is_ok() {
                let lines = BufReader::new(stream).lines();
                let mut lines = lines.map_while(io::Result::ok);
                // An agent that was dropped hears no more.
                lines.all(|line| sender.send(line).is_ok());
            }
        });
        let end = Instant::now() + deadline;
        let stream = loop {
            match stream.recv_timeout(LOOK) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end && is_on() => {}
                Err(error) => return Err(error).context("the machine has no port for us"),
            }
        };
        Ok(Agent { stream, lines, next: 1, seen: Vec::new(), unseen: None })
    }
}

/// The agent of a machine that runs.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    lines: Receiver<String>,
    next: u64,
    /// Boots that somebody has waited for.
    seen: Vec<String>,
    /// A start that came while something else was waited for.
    unseen: Option<Start>,
}

/// The agent has started, and so has the machine if the boot is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The kernel's id of the boot.
    pub boot: String,
    /// The root hash on its command line.
    pub root_hash: String,
}

impl Start {
    fn parse(line: &str) -> Option<Self> {
        let (boot, root_hash) = line.strip_prefix("hello ")?.split_once(' ')?;
        Some(Self { boot: boot.to_owned(), root_hash: root_hash.to_owned() })
    }
}

impl Agent {
    /// Waits until it has started in a boot that is not among those that were seen.
    ///
    /// # Errors
    /// It does not in time.
    pub fn new_boot(&mut self, deadline: Duration) -> Result<Start> {
        let end = Instant::now() + deadline;
        loop {
            let start = match self.unseen.take() {
                Some(start) => Some(start),
                None => Start::parse(&self.line(end)?),
            };
            if let Some(start) = start.filter(|start| !self.seen.contains(&start.boot)) {
                self.seen.push(start.boot.clone());
                return Ok(start);
            }
        }
    }

    /// Whether it has started again while a request was under way, which then has failed.
    pub fn was_started_again(&self) -> bool {
        self.unseen.is_some()
    }

    /// Carries out a request and returns the lines of its answer.
    ///
    /// # Errors
    /// It fails, or is not done in time.
    pub fn request(&mut self, request: &str, deadline: Duration) -> Result<Vec<String>> {
        let end = Instant::now() + deadline;
        let number = self.send(request)?;
        let mut answer = Vec::new();
        loop {
            let line = self.line(end).with_context(|| format!("`{request}`: {answer:?}"))?;
            match line.strip_prefix(&format!("{number} ")) {
                Some(".") => return Ok(answer),
                Some(text) => match text.strip_prefix("! ") {
                    Some(why) => bail!("`{request}` fails: {why}"),
                    None => answer.push(text.to_owned()),
                },
                None => {
                    self.unseen = Start::parse(&line);
                    let gone = self.was_started_again();
                    ensure!(!gone, "the agent was started again in `{request}`");
                }
            }
        }
    }

    /// Begins with a request, of which nothing is waited for.
    ///
    /// # Errors
    /// The machine has gone.
    pub fn send(&mut self, request: &str) -> Result<u64> {
        let number = self.next;
        self.next += 1;
        writeln!(self.stream, "{number} {request}").context("the machine has gone")?;
        Ok(number)
    }

    /// Asks the updater, and returns the last of its events.
    ///
    /// # Errors
    /// It does not answer, or not in time.
    pub fn ask(&mut self, request: &Value, deadline: Duration) -> Result<Value> {
        let answer = self.request(&format!("ask {request}"), deadline)?;
        let last = answer.last().context("the updater says nothing")?;
        serde_json::from_str(last).with_context(|| format!("the updater says `{last}`"))
    }

    fn line(&mut self, end: Instant) -> Result<String> {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(line.trim_end().to_owned()),
            Err(RecvTimeoutError::Timeout) => bail!("the agent took too long"),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine has gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// An agent that says these lines to a request, whatever it is.
    fn pair(says: &'static str) -> (Agent, std::thread::JoinHandle<()>) {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent");
        let waiting = Waiting::at(&socket).unwrap();
        let guest = std::thread::spawn(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(b"hello one abc\n").unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(says.as_bytes()).unwrap();
            drop(place);
        });
        (waiting.accept(LIMIT, || true).unwrap(), guest)
    }

    #[test]
    fn an_answer_ends_with_its_number_and_a_point() {
        let (mut agent, guest) = pair("1 a\n1 {\"event\":\"done\"}\n1 .\n");
        let want = Start { boot: "one".to_owned(), root_hash: "abc".to_owned() };
        assert_eq!(agent.new_boot(LIMIT).unwrap(), want);
        let said = agent.ask(&serde_json::json!({ "do": "status" }), LIMIT).unwrap();
        assert_eq!(said["event"], "done");
        guest.join().unwrap();
    }

    #[test]
    fn what_fails_and_who_goes_is_told() {
        for (says, why) in [
            ("1 ! no such file\n", "`read /x` fails: no such file"),
            ("hello two abc\n", "the agent was started again in `read /x`"),
            ("", "`read /x`: []: the machine has gone"),
        ] {
            let (mut agent, guest) = pair(says);
            agent.new_boot(LIMIT).unwrap();
            let error = format!("{:#}", agent.request("read /x", LIMIT).unwrap_err());
            assert_eq!(error, why);
            guest.join().unwrap();
            let again = agent.new_boot(LIMIT).map(|start| start.boot).ok();
            assert_eq!(again, says.starts_with("hello").then(|| "two".to_owned()));
        }
    }
}
