//! Starts QEMU, carries bytes and events to [`Watch`], and does what it says.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;
use crate::progress::Progress;
use crate::run::Reporter;
use crate::run::console::{Console, PAUSE};
use crate::run::options::Options;
use crate::run::plan::{Parts, Plan};
use crate::run::qemu;
use crate::run::qmp::{Message, Messages, Qmp};
use crate::run::usage::Usage;
use crate::run::watch::{Action, Ending, Event, Limits, Mark, OnReset, Watch};
use crate::signals::{Heard, Signals};

/// Runs the guest to its end. `beside` is called when it is about to start.
pub(super) fn run(
    plan: &Plan,
    parts: &Parts,
    options: &Options,
    scratch: &Path,
    progress: &Progress,
    beside: impl FnOnce(Reporter),
) -> Result<(Ending, Vec<Mark>, Option<Usage>)> {
    let console = Console::open(options)?;
    let serial = listen(&parts.serial)?;
    let marks = listen(&parts.marks)?;
    let (control, theirs) =
        UnixStream::pair().or_fail(Id::QemuControl, || "cannot make a socket")?;
    let mut qemu = start(plan, theirs, scratch)?;
    let (mut qmp, messages) = match Qmp::open(control) {
        Ok(open) => open,
        Err(error) => return Err(qemu.failed_to_start(error)),
    };
    // QEMU has connected to both before it answers on the control channel.
    let serial = accept(&serial)?;
    let marks = accept(&marks)?;

    let (events, inbox) = mpsc::channel();
    let signals = watch_signals(&events)?;
    beside(Reporter(events.clone()));
    let on_reset = if options.reboot { OnReset::Continue } else { OnReset::End };
    let mut watch = Watch::new(options.until, on_reset, Limits::new(options.time_limit()));
    let mut usage = None;
    let result = thread::scope(|scope| {
        scope.spawn(|| read_console(serial, &console, &events));
        scope.spawn(|| read_marks(marks, &events));
        scope.spawn(|| read_control(messages, &events));
        let start = Instant::now();
        let mut said = qmp.execute("cont");
        while !watch.is_over() {
            let event = match watch.deadline() {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => inbox.recv_timeout(deadline.saturating_sub(start.elapsed())),
            };
            let event = match event {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => Event::Deadline,
                // We hold a sender ourselves, so this cannot be.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            for action in watch.step(event, start.elapsed()) {
                match action {
                    Action::PowerOff => said = said.and(qmp.execute("system_powerdown")),
                    Action::Quit => {
                        usage = Usage::of(qemu.child.id());
                        said = said.and(qmp.execute("quit"));
                    }
                    Action::Kill => drop(qemu.child.kill()),
                    Action::Show(mark) => {
                        let time = format!("{:.3} s", mark.seconds());
                        let record = || progress.record(&format!("mark {}", mark.name), &time);
                        console.between_lines(record);
                    }
                    Action::Note(text) => console.between_lines(|| progress.note(text)),
                    Action::Warn(text) => console.between_lines(|| progress.warn(text)),
                }
            }
        }
        // Whoever waits for a signal waits no longer.
        drop(signals);
        said
    });
    let status = qemu.child.wait().or_fail(Id::QemuControl, || "cannot wait for QEMU")?;
    console.between_lines(|| show(watch.marks_so_far(), usage, progress));
    let tail = watch.console_tail();
    match watch.finish()? {
        (Some(ending), marks) => Ok((ending, marks, usage)),
        (None, _) => Err(qemu.ended_by_itself(status, result.err(), &tail)),
    }
}

/// Tells what the run has measured, the marks excepted, of which machines know.
fn show(marks: &[Mark], usage: Option<Usage>, progress: &Progress) {
    if let Some(usage) = usage {
        progress.record("qemu cpu", &format!("{:.2} s", usage.cpu_seconds));
        progress.record("qemu memory", &format!("{} MiB", usage.peak_mib()));
    }
    progress.table(&table(marks, usage));
}

/// The marks with their guest times, and what QEMU cost.
fn table(marks: &[Mark], usage: Option<Usage>) -> String {
    let mut text = String::new();
    if !marks.is_empty() {
        text += "guest time  mark\n";
    }
    for mark in marks {
        text += &format!("{:8.3} s  {}\n", mark.seconds(), mark.name);
    }
    if let Some(usage) = usage {
        let (seconds, mib) = (usage.cpu_seconds, usage.peak_mib());
        text += &format!("QEMU took {seconds:.2} s of processor time and {mib} MiB of memory\n");
    }
    text
}

/// QEMU as a child which does not outlive this value.
struct Qemu {
    child: Child,
    line: String,
    stderr: std::path::PathBuf,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both are harmless if it has ended and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Qemu {
    fn failed_to_start(&mut self, error: io::Error) -> Error {
        drop(self.child.kill());
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        self.failure(Id::ToolFailed, &format!("QEMU did not start: {status}")).caused_by(error)
    }

    fn ended_by_itself(
        &self,
        status: std::process::ExitStatus,
        control: Option<io::Error>,
        tail: &str,
    ) -> Error {
        let error =
            self.failure(Id::ToolFailed, &format!("QEMU ended by itself with {status}{tail}"));
        match control {
            Some(control) => error.caused_by(control),
            None => error,
        }
    }

    fn failure(&self, id: Id, what: &str) -> Error {
        let stderr = fs::read(&self.stderr).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr);
        let said: String = stderr.lines().take(20).map(|line| format!("\n  {line}")).collect();
        Error::new(id, format!("{what}{said}\n  `{}`", self.line))
    }
}

fn start(plan: &Plan, control: UnixStream, scratch: &Path) -> Result<Qemu> {
    let stderr = scratch.join("stderr");
    let log = File::create(&stderr).or_fail(Id::Write, || format!("`{}`", stderr.display()))?;
    let command = Command::new(qemu::QEMU.program).args(&plan.args);
    let line = command.line();
    let child = command.spawn(|command| {
        // Ctrl-C on the terminal is for us: its own process group keeps it from QEMU.
        command.process_group(0);
        command.stdin(OwnedFd::from(control)).stdout(Stdio::null()).stderr(log);
    })?;
    Ok(Qemu { child, line, stderr })
}

fn listen(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path)
        .or_fail(Id::QemuControl, || format!("cannot listen on `{}`", path.display()))
        .map_err(|error| error.hint("set `TMPDIR` to a shorter path"))
}

fn accept(listener: &UnixListener) -> Result<UnixStream> {
    let stream = listener.accept().or_fail(Id::QemuControl, || "QEMU did not connect")?;
    Ok(stream.0)
}

/// Hands bytes to `take` until the other side closes. A stream that breaks has ended too.
fn read_all(mut stream: UnixStream, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(length) => take(&buffer[..length]),
        }
    }
}

fn read_console(mut stream: UnixStream, console: &Console, events: &Sender<Event>) {
    let mut buffer = [0; 4096];
    let mut open = true;
    let mut show = |shown: io::Result<()>| {
        if shown.is_err() && std::mem::take(&mut open) {
            drop(events.send(Event::Terminate(None)));
        }
    };
    loop {
        // It fails for a time of zero only.
        drop(stream.set_read_timeout(console.holds_back().then_some(PAUSE)));
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => show(console.pause()),
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let bytes = &buffer[..length];
                // An inbox that is gone means that the run is over.
                drop(events.send(Event::Console(bytes.to_vec())));
                show(console.push(bytes));
            }
        }
    }
    show(console.pause());
    drop(events.send(Event::ConsoleEnd));
}

fn read_marks(stream: UnixStream, events: &Sender<Event>) {
    read_all(stream, |bytes| drop(events.send(Event::Marks(bytes.to_vec()))));
    drop(events.send(Event::MarksEnd));
}

fn read_control(mut messages: Messages<UnixStream>, events: &Sender<Event>) {
    while let Ok(Some(message)) = messages.next() {
        match message {
            Message::Shutdown(reason) => drop(events.send(Event::Shutdown(reason))),
            Message::Refused(why) => drop(events.send(Event::Refused(why))),
            Message::Greeting | Message::Done | Message::Other => {}
        }
    }
    drop(events.send(Event::ControlEnd));
}

/// Turns signals into events for as long as it lives.
fn watch_signals(events: &Sender<Event>) -> Result<Signals> {
    let tell = |event: fn() -> Event| -> Heard {
        let events = events.clone();
        Box::new(move || drop(events.send(event())))
    };
    let kinds = [
        (&[SIGINT][..], tell(|| Event::Interrupt)),
        (&[SIGTERM], tell(|| Event::Terminate(Some("SIGTERM")))),
        (&[SIGHUP], tell(|| Event::Terminate(Some("SIGHUP")))),
    ];
    Signals::watch(kinds).or_fail(Id::QemuControl, || "cannot watch for signals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_guest_times_and_what_qemu_cost() {
        let mark = |name: &str, ns| Mark { name: name.to_owned(), ns };
        let marks = [mark("init-start", 1_921_400_000), mark("cri-answers", 12_000_000_000)];
        let usage = Usage { cpu_seconds: 15.625, peak_memory: 493 << 20 };
        expect_test::expect![[r#"
            guest time  mark
               1.921 s  init-start
              12.000 s  cri-answers
            QEMU took 15.62 s of processor time and 493 MiB of memory
        "#]]
        .assert_eq(&table(&marks, Some(usage)));
        assert_eq!(table(&[], None), "");
    }

    #[test]
    fn a_socket_that_cannot_be_made_is_an_error_of_the_control_channel() {
        let directory = tempfile::tempdir().unwrap();
        let error = listen(&directory.path().join("n".repeat(200))).unwrap_err();
        assert_eq!(error.id(), Id::QemuControl);
        assert_eq!(error.hints(), ["set `TMPDIR` to a shorter path"]);
    }
}
