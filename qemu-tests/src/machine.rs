//! A guest under way: `orlop run` with its console on stdout and its events on stderr.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::agent::{Agent, Waiting};
use crate::process::command;
use crate::usage;

/// What `orlop run` will be told.
#[derive(Debug, Clone)]
pub struct Boot {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Boot {
    pub(crate) fn new(program: &Path, image: &Path) -> Self {
        let mut boot = Self { program: program.to_owned(), args: Vec::new() };
        boot.args.extend(["run", "--progress", "json"].map(OsString::from));
        boot.args.push(image.into());
        boot
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Waits until the guest has come this far, then powers it off.
    #[must_use]
    pub fn until(self, what: &str) -> Self {
        self.args(&["--until", what])
    }

    /// In a network namespace of its own, where every port of the loopback address is free and
    /// nothing leads out. Needs root, `unshare` and `ip`.
    #[must_use]
    pub fn in_own_network(self) -> Self {
        let script = "ip link set lo up && exec \"$0\" \"$@\"";
        let mut args = ["--net", "sh", "-c", script].map(OsString::from).to_vec();
        args.push(self.program.into());
        args.extend(self.args);
        Self { program: "unshare".into(), args }
    }

    /// Adds a path as an argument.
    #[must_use]
    pub fn path(mut self, path: &Path) -> Self {
        self.args.push(path.into());
        self
    }

    /// What the guest writes stays in `disk`.
    #[must_use]
    pub fn disk(mut self, disk: &Path) -> Self {
        self.args.push("--disk".into());
        self.args.push(disk.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&self) -> Result<Machine> {
        let mut command = command(&self.program);
        command.args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let (sender, events) = mpsc::channel();
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        read(stdout, sender.clone(), Event::Console, Event::ConsoleEnd);
        read(stderr, sender, Event::parse, Event::ReportEnd);
        let ended = Ended::default();
        Ok(Machine { child, events, ended, console_open: true, report_open: true })
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// It cannot be started or does not end in time.
    pub fn run(&self, deadline: Duration) -> Result<Ended> {
        self.start()?.finish(deadline)
    }

    /// Starts it, waits until the screen shows all that there is, and presses the power button. Each
    /// of the two halves may take until the deadline.
    ///
    /// # Errors
    /// As [`Boot::start`], [`Machine::wait_for_line`] and [`Machine::finish`].
    pub fn run_whole(&self, deadline: Duration) -> Result<Ended> {
        let mut machine = self.start()?;
        machine.wait_for_line(0, &["boot complete"], deadline)?;
        machine.press_power_button()?;
        machine.finish(deadline)
    }
}

#[derive(Debug)]
enum Event {
    Console(String),
    ConsoleEnd,
    /// A task of `--progress json` is done: its name and result.
    Done(String, String),
    /// A task has begun.
    Begun,
    /// Anything else on stderr.
    Report(String),
    ReportEnd,
}

impl Event {
    fn parse(line: String) -> Self {
        #[derive(Deserialize)]
        #[serde(tag = "event", rename_all = "kebab-case")]
        enum Json {
            Done { name: String, result: String },
            Start,
            Error { id: String, message: String, hints: Vec<String> },
        }
        match serde_json::from_str(&line) {
            Ok(Json::Done { name, result }) => Self::Done(name, result),
            Ok(Json::Start) => Self::Begun,
            // As people would read it.
            Ok(Json::Error { id, message, hints }) => {
                let hints: String = hints.iter().map(|hint| format!("\n  hint: {hint}")).collect();
                Self::Report(format!("error[{id}]: {message}{hints}"))
            }
            Err(_) => Self::Report(line),
        }
    }
}

/// Reads lines in a thread, which ends when the pipe does.
fn read(
    stream: impl Read + Send + 'static,
    events: Sender<Event>,
    event: fn(String) -> Event,
    end: Event,
) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            // A machine that was dropped reads no more.
            if events.send(event(text)).is_err() {
                return;
            }
        }
        let _dropped = events.send(end);
    });
}

/// A guest under way. Dropped, it is killed.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    events: Receiver<Event>,
    ended: Ended,
    console_open: bool,
    report_open: bool,
}

/// How it went.
#[derive(Debug, Default, Clone)]
pub struct Ended {
    /// The exit status of `orlop`.
    pub code: i32,
    /// The lines of the console.
    pub console: Vec<String>,
    /// The lines of stderr that are not about tasks.
    pub report: Vec<String>,
    /// The boot marks in order, each with guest time in seconds.
    pub marks: Vec<(String, f64)>,
    /// What QEMU cost, in seconds of processor time.
    pub cpu_seconds: Option<f64>,
    /// QEMU's largest resident set in MiB.
    pub memory_mib: Option<f64>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Harmless if it has ended. Asked to, `orlop` ends QEMU at once and removes its files.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.map(|pid| kill_process(pid, Signal::TERM));
        let (sender, done) = mpsc::channel::<()>();
        let patience = std::thread::spawn(move || {
            if done.recv_timeout(Duration::from_secs(30)) == Err(RecvTimeoutError::Timeout) {
                asked.and(pid.map(|pid| kill_process(pid, Signal::KILL)));
            }
        });
        drop(self.child.wait());
        drop(sender);
        drop(patience.join());
    }
}

impl Machine {
    /// Waits until the guest has sent a boot mark and returns its guest time in seconds.
    ///
    /// # Errors
    /// The mark does not come within `deadline`, or never can; the console is quoted.
    pub fn wait_for_mark(&mut self, name: &str, deadline: Duration) -> Result<f64> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(seconds) = self.ended.mark(name) {
                return Ok(seconds);
            }
            ensure!(self.take_one(end)?, "the guest ended without `{name}`{}", self.ended.tail());
        }
    }

    /// How often a boot mark has come so far, in all boots of the machine.
    pub fn marks_of(&mut self, name: &str) -> usize {
        self.console();
        self.ended.marks.iter().filter(|(mark, _)| mark == name).count()
    }

    /// Waits until a boot mark has come more than `before` times, for machines that start again, and
    /// returns its guest time in seconds: since that boot's kernel began.
    ///
    /// # Errors
    /// As [`Machine::wait_for_mark`].
    pub fn wait_for_mark_after(
        &mut self,
        name: &str,
        before: usize,
        deadline: Duration,
    ) -> Result<f64> {
        let end = Instant::now() + deadline;
        loop {
            let mut marks = self.ended.marks.iter().filter(|(mark, _)| mark == name);
            if let Some(&(_, seconds)) = marks.nth(before) {
                return Ok(seconds);
            }
            ensure!(self.take_one(end)?, "the guest ended without `{name}`{}", self.ended.tail());
        }
    }

    /// What QEMU has taken of this host's processors until now, seconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn qemu_cpu_seconds(&self) -> Result<f64> {
        usage::of_qemu(self.child.id())
    }

    /// Waits until a line of the console, from line `from` on, holds all of `words`, whatever
    /// their case; returns its number.
    ///
    /// # Errors
    /// None does within `deadline`; the console is quoted.
    pub fn wait_for_line(
        &mut self,
        from: usize,
        words: &[&str],
        deadline: Duration,
    ) -> Result<usize> {
        let end = Instant::now() + deadline;
        let mut next = from;
        loop {
            while let Some(line) = self.ended.console.get(next) {
                let line = line.to_lowercase();
                if words.iter().all(|word| line.contains(&word.to_lowercase())) {
                    return Ok(next);
                }
                next += 1;
            }
            let more = self.take_one(end).with_context(|| format!("no line with {words:?}"))?;
            ensure!(more, "the guest ended without a line with {words:?}{}", self.ended.tail());
        }
    }

    /// Takes in what has come without waiting, and quotes the end of it.
    pub fn so_far(&mut self) -> String {
        // The only error is that nothing has come yet.
        while matches!(self.take_one(Instant::now()), Ok(true)) {}
        self.ended.tail()
    }

    /// Whether `orlop run` has not ended.
    pub fn is_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its agent.
    ///
    /// # Errors
    /// As [`Waiting::accept`]; the console and what `orlop run` says are quoted.
    pub fn agent(&mut self, waiting: Waiting, deadline: Duration) -> Result<Agent> {
        waiting.accept(deadline, || self.is_on()).with_context(|| self.so_far())
    }

    /// The lines of the console so far.
    pub fn console(&mut self) -> &[String] {
        while matches!(self.take_one(Instant::now()), Ok(true)) {}
        &self.ended.console
    }

    /// Its network namespace, for [`Boot::in_own_network`] once it has said something.
    ///
    /// # Errors
    /// It has ended.
    pub fn network_namespace(&self) -> Result<File> {
        let path = format!("/proc/{}/ns/net", self.child.id());
        File::open(&path).with_context(|| path)
    }

    /// Cuts the power: the guest stops where it is and is told nothing.
    pub fn cut_power(self) {
        // That is what it means to drop it.
        drop(self);
    }

    /// Cuts the power from wherever it is called, as long as the machine is there; who has the machine
    /// then calls [`Self::cut_power`].
    pub fn power(&self) -> impl FnOnce() + Send + use<> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        move || {
            // One that has gone needs no more.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
    }

    /// Asks the guest to power off, as Ctrl-C on a terminal does.
    ///
    /// # Errors
    /// `orlop` has ended.
    pub fn press_power_button(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a child has a process id")?, Signal::INT)?)
    }

    /// Waits for the end of `orlop`.
    ///
    /// # Errors
    /// It does not end within `deadline`; the console is quoted.
    pub fn finish(mut self, deadline: Duration) -> Result<Ended> {
        let end = Instant::now() + deadline;
        while self.take_one(end)? {}
        // Its pipes are closed: it is ending.
        let status = self.child.wait()?;
        self.ended.code = status.code().with_context(|| format!("`orlop` ended with {status}"))?;
        Ok(std::mem::take(&mut self.ended))
    }

    /// Takes in one event; says whether there can be more.
    fn take_one(&mut self, end: Instant) -> Result<bool> {
        if !self.console_open && !self.report_open {
            return Ok(false);
        }
        let event = match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => bail!("it took too long{}", self.ended.tail()),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        match event {
            Event::Console(line) => self.ended.console.push(line),
            Event::Report(line) => self.ended.report.push(line),
            Event::Begun => {}
            Event::Done(name, result) => self.ended.note(&name, &result)?,
            Event::ConsoleEnd => self.console_open = false,
            Event::ReportEnd => self.report_open = false,
        }
        Ok(true)
    }
}

impl Ended {
    /// The guest time of a mark in seconds, if it came.
    pub fn mark(&self, name: &str) -> Option<f64> {
        self.marks.iter().find(|(mark, _)| mark == name).map(|&(_, seconds)| seconds)
    }

    /// Whether a line of the console holds all of these, whatever their case.
    pub fn console_says(&self, words: &[&str]) -> bool {
        let holds = |line: &String| {
            let line = line.to_lowercase();
            words.iter().all(|word| line.contains(&word.to_lowercase()))
        };
        self.console.iter().any(holds)
    }

    /// Whether `orlop` reported this, such as an error's id.
    pub fn reported(&self, text: &str) -> bool {
        self.report.iter().any(|line| line.contains(text))
    }

    /// Everything there is to show when a test fails.
    pub fn tail(&self) -> String {
        let last = |lines: &[String]| {
            let from = lines.len().saturating_sub(30);
            lines[from..].iter().map(|line| format!("\n  {line}")).collect::<String>()
        };
        let marks: String =
            self.marks.iter().map(|(name, seconds)| format!("\n  {name} {seconds:.3} s")).collect();
        let (console, report) = (last(&self.console), last(&self.report));
        format!("\nmarks:{marks}\nconsole:{console}\nreport:{report}")
    }

    /// A task of `orlop run` that is done: a mark, or a figure.
    fn note(&mut self, name: &str, result: &str) -> Result<()> {
        let number = || -> Result<f64> {
            let number = result.split(' ').next().unwrap_or_default();
            number.parse().with_context(|| format!("`{name}` has the figure `{result}`"))
        };
        match name.strip_prefix("mark ") {
            Some(mark) => self.marks.push((mark.to_owned(), number()?)),
            None if name == "qemu cpu" => self.cpu_seconds = Some(number()?),
            None if name == "qemu memory" => self.memory_mib = Some(number()?),
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A machine whose `orlop` is a shell script.
    fn script(text: &str) -> Boot {
        Boot { program: "sh".into(), args: vec!["-c".into(), text.into()] }
    }

    #[test]
    fn console_marks_and_figures_are_told_apart() {
        let ended = script(
            r#"echo 'Verity: block 7 is Corrupted'
               echo '{"event":"start","name":"mark cri-answers","result":""}' >&2
               echo '{"event":"done","name":"mark cri-answers","result":"7.125 s"}' >&2
               echo '{"event":"done","name":"qemu cpu","result":"12.50 s"}' >&2
               echo '{"event":"done","name":"qemu memory","result":"264 MiB"}' >&2
               echo '{"event":"error","id":"E0122","message":"it reset","hints":["wait"]}' >&2
               exit 1"#,
        )
        .run(LIMIT)
        .unwrap();
        assert_eq!(ended.code, 1);
        assert_eq!(ended.mark("cri-answers"), Some(7.125));
        assert_eq!((ended.cpu_seconds, ended.memory_mib), (Some(12.5), Some(264.0)));
        assert!(ended.console_says(&["verity", "corrupted"]));
        assert!(!ended.console_says(&["verity", "fine"]));
        assert!(ended.reported("error[E0122]: it reset\n  hint: wait") && !ended.reported("E0121"));
    }

    #[test]
    fn a_mark_that_cannot_come_ends_the_wait_with_the_console() {
        let mut machine = script("echo last words").start().unwrap();
        let error = machine.wait_for_mark("cri-answers", LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("the guest ended without `cri-answers`"), "{error}");
        assert!(error.contains("last words"), "{error}");
    }

    #[test]
    fn a_machine_that_stands_still_is_given_up() {
        let mut machine = script("echo hello; exec sleep 1000").start().unwrap();
        let error = machine.wait_for_mark("x", Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().starts_with("it took too long"), "{error}");
    }

    #[test]
    fn the_power_button_is_an_interrupt() {
        let text = r#"sleep 1000 >/dev/null 2>&1 &
            trap 'kill $!; exit 0' INT
            echo '{"event":"done","name":"mark up","result":"1.0 s"}' >&2
            wait"#;
        let mut machine = script(text).start().unwrap();
        machine.wait_for_mark("up", LIMIT).unwrap();
        machine.press_power_button().unwrap();
        assert_eq!(machine.finish(LIMIT).unwrap().code, 0);
    }
}
