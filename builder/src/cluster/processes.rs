//! The processes of a cluster: started with a log each, watched, and killed at the end.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::cluster::Event;
use crate::cluster::plan::Process;
use crate::error::{Context as _, Error, Id, Result};
use crate::process::Command;

/// How many lines of its log an error repeats of a process that has ended.
const LAST_LINES: usize = 12;
/// Bytes of a log that are searched for those lines.
const LOG_END: u64 = 64 * 1024;
/// A line of a log is cut here: etcd's are long objects.
const LONGEST_LINE: usize = 400;

/// Processes that run. Dropped, they are killed and gone.
#[derive(Debug)]
pub struct Processes {
    directory: PathBuf,
    logs: PathBuf,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    child: Child,
    /// Tells when the process has ended, and leaves it to be waited for.
    watcher: Option<JoinHandle<()>>,
}

impl Processes {
    /// None yet. They will run in `directory`; logs are `NAME.log` in `logs`.
    pub fn new(directory: &Path, logs: &Path) -> Self {
        Self { directory: directory.to_owned(), logs: logs.to_owned(), running: Vec::new() }
    }

    /// Starts a process with nothing of our environment. When it ends, `events` gets
    /// [`Event::Ended`]. Must be called from a thread that lives as long as the process: it gets
    /// a signal when that thread ends.
    ///
    /// # Errors
    /// [`Id::Write`] without its log, [`Id::ToolFailed`] if it cannot be started.
    pub fn start(
        &mut self,
        process: &Process,
        program: &Path,
        events: &Sender<Event>,
    ) -> Result<()> {
        let log = self.log(process.name);
        let cannot = || format!("cannot write `{}`", log.display());
        let stdout = File::create(&log).or_fail(Id::Write, cannot)?;
        let stderr = stdout.try_clone().or_fail(Id::Write, cannot)?;
        let command =
            Command::new(program).args(&process.args).directory(&self.directory).env_clear();
        let child = command.spawn(|command| {
            // Ctrl-C on the terminal is for us: its own process group keeps it from the child.
            command.process_group(0).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        })?;
        let (name, events) = (process.name, events.clone());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let watcher = thread::spawn(move || {
            if let Some(pid) = pid {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while waitid(WaitId::Pid(pid), options).is_err_and(|error| error == Errno::INTR) {}
            }
            // Nobody listens any more if the cluster is being stopped.
            let _ = events.send(Event::Ended(name));
        });
        self.running.push(Running { name, child, watcher: Some(watcher) });
        Ok(())
    }

    /// Names and process ids.
    pub fn ids(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.running.iter().map(|running| (running.name, running.child.id()))
    }

    /// The error of kind `id` for a process that has ended: its status and its last words.
    pub fn ended(&mut self, id: Id, name: &str) -> Error {
        let running = self.running.iter_mut().find(|running| running.name == name);
        let status = running.and_then(|running| running.child.wait().ok());
        let status = status.map_or("ended".to_owned(), |status| format!("ended with {status}"));
        Error::new(id, format!("`{name}` {status}{}", self.last_lines(name)))
    }

    /// The end of a process's log, each line on a line of its own and indented.
    pub fn last_lines(&self, name: &str) -> String {
        match last_lines(&self.log(name)) {
            Ok(lines) if lines.is_empty() => "; its log is empty".to_owned(),
            Ok(lines) => lines.iter().map(|line| format!("\n  {line}")).collect(),
            Err(error) => format!("; its log cannot be read: {error}"),
        }
    }

    /// Ends all, in no order and at once: nothing of what they hold is kept.
    pub fn kill(&mut self) {
        for running in &mut self.running {
            // It fails for one that has ended and was waited for.
            drop(running.child.kill());
        }
        for running in &mut self.running {
            if let Some(watcher) = running.watcher.take() {
                drop(watcher.join());
            }
            drop(running.child.wait());
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill();
    }
}

fn last_lines(log: &Path) -> std::io::Result<Vec<String>> {
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    Ok(last.iter().map(|line| shortened(line)).collect())
}

fn shortened(line: &str) -> String {
    let plain = |c: char| if c == '\t' { ' ' } else { c };
    let mut chars = line.chars().map(plain).filter(|c| !c.is_control());
    let mut short: String = chars.by_ref().take(LONGEST_LINE).collect();
    if chars.next().is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    fn shell(script: &str) -> Process {
        Process { name: "kube-apiserver", args: vec!["-c".to_owned(), script.to_owned()] }
    }

    fn started(script: &str) -> (tempfile::TempDir, Processes, Receiver<Event>) {
        let directory = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(directory.path(), directory.path());
        let (events, inbox) = mpsc::channel();
        processes.start(&shell(script), Path::new("/bin/sh"), &events).unwrap();
        (directory, processes, inbox)
    }

    #[test]
    fn a_process_that_ends_is_told_with_its_last_lines() {
        let script =
            "echo first >&2; i=0; while [ $i -lt 12 ]; do i=$((i+1)); echo line $i; done; exit 3";
        let (_directory, mut processes, inbox) = started(script);
        assert_eq!(inbox.recv().unwrap(), Event::Ended("kube-apiserver"));
        let error = processes.ended(Id::ClusterEnded, "kube-apiserver");
        assert_eq!(error.id(), Id::ClusterEnded);
        let want = "`kube-apiserver` ended with exit status: 3\n  line 1\n  line 2\n";
        assert!(error.to_string().starts_with(want), "{error}");
        assert!(error.to_string().ends_with("\n  line 12"), "{error}");
    }

    #[test]
    fn a_process_that_says_nothing_is_told_too_and_long_lines_are_cut() {
        let (_directory, mut processes, inbox) = started("kill -9 $$");
        inbox.recv().unwrap();
        let error = processes.ended(Id::ClusterStart, "kube-apiserver").to_string();
        assert_eq!(error, "`kube-apiserver` ended with signal: 9 (SIGKILL); its log is empty");
        let line = format!("a\tb\x1b{}", "x".repeat(1000));
        assert_eq!(shortened(&line), format!("a b{}...", "x".repeat(LONGEST_LINE - 3)));
    }

    #[test]
    fn dropped_processes_are_gone() {
        let (_directory, processes, inbox) = started("exec sleep 1000");
        let (_, pid) = processes.ids().next().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(processes);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(inbox.recv().unwrap(), Event::Ended("kube-apiserver"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(directory.path(), directory.path());
        let (events, _inbox) = mpsc::channel();
        let error = processes.start(&shell(""), Path::new("/no/such"), &events).unwrap_err();
        assert_eq!(error.id(), Id::MissingTool);
    }
}
