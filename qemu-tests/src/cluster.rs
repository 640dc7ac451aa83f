//! A real control plane, started by `orlop cluster`, and `kubectl` to speak with it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use crate::Orlop;
use crate::process::{command, run};

/// From nothing compiled to a control plane that answers.
const START: Duration = Duration::from_secs(30 * 60);
/// From the request to stop to the end.
const STOP: Duration = Duration::from_secs(60);

/// A control plane under way. Dropped, it is asked to end, which removes what it made.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    /// The lines of its stderr.
    report: Mutex<mpsc::Receiver<String>>,
    /// What it said of itself.
    pub facts: Facts,
}

/// What `orlop cluster --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// All of its files.
    pub directory: PathBuf,
    /// For an administrator on this host.
    pub kubeconfig: PathBuf,
    /// A `kubectl` of the control plane's version.
    pub kubectl: PathBuf,
    /// The API server as this host sees it.
    pub server: String,
    /// The API server as a guest sees it.
    pub guest_server: String,
    /// The cluster's CA, PEM.
    pub ca: String,
    /// A bootstrap token.
    pub token: String,
    /// Where a node's address is said to lead to a port of this host.
    pub nodes: PathBuf,
    /// A directory with the programs: `kubectl`, `kube-proxy`, the control plane's.
    pub bin: PathBuf,
    /// Process ids by the name of the process.
    pub processes: BTreeMap<String, u32>,
}

impl Facts {
    /// Checks that no process, no socket and no directory of it is left.
    ///
    /// # Errors
    /// Something is: says what.
    pub fn are_gone(&self) -> Result<()> {
        for (name, id) in &self.processes {
            ensure!(!Path::new(&format!("/proc/{id}")).exists(), "process `{name}` is left");
        }
        ensure!(!self.directory.exists(), "`{}` is left", self.directory.display());
        Ok(())
    }
}

impl Cluster {
    /// Starts one and waits until its API server is ready.
    ///
    /// # Errors
    /// It does not start in time; what it said is in the error.
    pub fn start(orlop: &Orlop, args: &[&str]) -> Result<Self> {
        let mut command = orlop.command();
        command.args(["cluster", "--json"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let (said, report) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end: a full pipe would stop it.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                drop(said.send(line));
            }
        });
        let (ready, answer) = mpsc::channel();
        std::thread::spawn(move || {
            // One object; then stdout stays open for as long as it runs.
            let mut objects = serde_json::Deserializer::from_reader(stdout).into_iter::<Facts>();
            drop(ready.send(objects.next()));
        });
        let facts = match answer.recv_timeout(START) {
            Ok(Some(Ok(facts))) => facts,
            other => {
                drop(child.kill());
                drop(child.wait());
                bail!("`orlop cluster` does not start ({other:?})\n{}", lines(&report));
            }
        };
        Ok(Self { child, report: Mutex::new(report), facts })
    }

    /// Runs `kubectl` as an administrator and returns its stdout.
    ///
    /// # Errors
    /// It fails: all that it said is in the error.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        run(self.kubectl_command().args(args))
    }

    /// `kubectl` as an administrator, to be given arguments.
    pub fn kubectl_command(&self) -> std::process::Command {
        let mut command = command(&self.facts.kubectl);
        command.arg("--kubeconfig").arg(&self.facts.kubeconfig);
        command
    }

    /// An object as the API server has it: `get(&["pod", "hello"])`.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        let text = self.kubectl(all)?;
        serde_json::from_str(&text).with_context(|| format!("`kubectl get` printed `{text}`"))
    }

    /// Makes or changes objects.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.kubectl_command();
        command.args(["apply", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut stdin = child.stdin.take().context("stdin is a pipe")?;
        stdin.write_all(manifest.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`kubectl apply` refused: {said}\n{manifest}");
        Ok(())
    }

    /// Waits until `kubectl wait` sees what is asked for: `&["node/a", "--for=condition=Ready"]`.
    /// An object that does not exist yet is waited for too.
    ///
    /// # Errors
    /// It does not come within `limit`.
    pub fn wait(&self, args: &[&str], limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let left = || {
            format!("--timeout={}s", end.saturating_duration_since(Instant::now()).as_secs().max(1))
        };
        let named = args.first().copied().unwrap_or_default();
        if !args.contains(&"--for=delete") {
            let mut exists = vec!["wait", named, "--for=create"];
            exists.extend(args[1..].iter().filter(|arg| !arg.starts_with("--for")));
            self.kubectl(exists.into_iter().map(str::to_owned).chain([left()]))?;
        }
        let words = ["wait"].into_iter().chain(args.iter().copied());
        self.kubectl(words.map(str::to_owned).chain([left()])).map(drop)
    }

    /// Waits until an object, watched, is as `want` says. `what` names it in the error.
    ///
    /// # Errors
    /// It is not within `limit`; its last form is in the error.
    pub fn watch(
        &self,
        args: &[&str],
        limit: Duration,
        what: &str,
        want: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut command = self.kubectl_command();
        command.args(["get", "-o", "json", "--watch"]).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Killed(command.spawn().with_context(|| format!("{command:?}"))?);
        let stdout = child.0.stdout.take().context("stdout is a pipe")?;
        let (sender, objects) = mpsc::channel();
        std::thread::spawn(move || {
            let stream = serde_json::Deserializer::from_reader(BufReader::new(stdout));
            for object in stream.into_iter::<Value>().map_while(Result::ok) {
                if sender.send(object).is_err() {
                    return;
                }
            }
        });
        let end = Instant::now() + limit;
        let mut last = Value::Null;
        loop {
            match objects.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(object) => last = object,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{what}: not in time; the last was {last:#}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{what}: the watch ended; the last was {last:#}")
                }
            }
            if want(&last) {
                return Ok(last);
            }
        }
    }

    /// Runs a command in a pod's container and returns its stdout.
    ///
    /// # Errors
    /// It fails: all that it said is in the error.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let words = ["exec", pod, "--"].into_iter().chain(command.iter().copied());
        self.kubectl(words)
    }

    /// Follows a pod's log until a line holds `text`, and returns the lines so far.
    ///
    /// # Errors
    /// None does within `limit`.
    pub fn log_line(&self, pod: &str, text: &str, limit: Duration) -> Result<Vec<String>> {
        let mut command = self.kubectl_command();
        command.args(["logs", "--follow", pod]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Killed(command.spawn().with_context(|| format!("{command:?}"))?);
        let stdout = child.0.stdout.take().context("stdout is a pipe")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let end = Instant::now() + limit;
        let mut so_far = Vec::new();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => so_far.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no `{text}` in the log of {pod} in time: {so_far:?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let mut said = String::new();
                    if let Some(mut stderr) = child.0.stderr.take() {
                        stderr.read_to_string(&mut said)?;
                    }
                    bail!("the log of {pod} ended without `{text}`: {said}{so_far:?}")
                }
            }
            if so_far.last().is_some_and(|line| line.contains(text)) {
                return Ok(so_far);
            }
        }
    }

    /// Lets the API server reach a node: its address and port as it reports them, and the port of
    /// this host's loopback address that leads there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn lead(&self, node: &str, port: u16) -> Result<()> {
        let path = self.facts.nodes.join(node);
        std::fs::write(&path, port.to_string()).with_context(|| path.display().to_string())
    }

    /// Sends a signal to one of its processes.
    ///
    /// # Errors
    /// There is none of this name, or it has ended.
    pub fn signal(&self, process: &str, signal: Signal) -> Result<()> {
        let id = self.facts.processes.get(process);
        let id = id.with_context(|| format!("the cluster has no process `{process}`"))?;
        let pid = i32::try_from(*id).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id is positive")?, signal)?)
    }

    /// Waits until it has ended by itself, and returns its exit status and what it reported.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn ended(mut self) -> Result<(Option<i32>, String)> {
        let end = Instant::now() + STOP;
        let mut said = Vec::new();
        loop {
            let report = self.report.get_mut().unwrap_or_else(PoisonError::into_inner);
            match report.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("it does not end: {said:?}"),
            }
        }
        // Its pipe is closed: it is ending.
        Ok((self.child.wait()?.code(), said.join("\n")))
    }

    /// Ends it and waits for that.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub fn stop(mut self) -> Result<()> {
        self.ask_to_end()
    }

    fn ask_to_end(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        // Once it was waited for, its process id may be another's.
        if let Some(status) = self.child.try_wait()? {
            ensure!(status.success(), "`orlop cluster` ended with {status}");
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended by itself.
        let _gone = kill_process(pid.context("a child has a process id")?, Signal::TERM);
        let (sender, done) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if done.recv_timeout(STOP) == Err(RecvTimeoutError::Timeout) {
                let _gone = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
        });
        let status = self.child.wait()?;
        drop(sender);
        drop(watchdog.join());
        ensure!(status.success(), "`orlop cluster` ended with {status}");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that cares calls `stop`.
        drop(self.ask_to_end());
    }
}

/// A child that does not outlive its value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn lines(report: &mpsc::Receiver<String>) -> String {
    report.try_iter().collect::<Vec<_>>().join("\n")
}
