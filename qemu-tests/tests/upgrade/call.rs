//! `orlop upgrade`, as a program calls it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use qemu_tests::{Cluster, Orlop};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::LIMIT;

/// One under way. Dropped, it is killed.
pub(crate) struct Call {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    limit: Duration,
}

/// How it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// To programs.
    Json,
    /// To people, in lines.
    Lines,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it printed on stdout.
    pub(crate) text: String,
    /// The same, if it is JSON.
    pub(crate) result: Value,
    /// Each line of stderr.
    pub(crate) said: Vec<String>,
}

impl Ended {
    /// The failure on its last line.
    pub(crate) fn failure(&self) -> Value {
        self.said.last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }
}

impl Call {
    /// As an administrator.
    pub(crate) fn start(orlop: &Orlop, cluster: &Cluster, words: &[&str]) -> Result<Self> {
        Self::by(orlop, &cluster.facts.kubeconfig, words, Speaks::Json, LIMIT)
    }

    /// As whom this kubeconfig says. Nothing that is waited for may take longer than `limit`.
    pub(crate) fn by(
        orlop: &Orlop,
        kubeconfig: &Path,
        words: &[&str],
        speaks: Speaks,
        limit: Duration,
    ) -> Result<Self> {
        let mut command = orlop.command();
        command.arg("upgrade").args(words).arg("--kubeconfig").arg(kubeconfig);
        if speaks == Speaks::Json {
            command.args(["--json", "--progress", "json"]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        Ok(Self { child, lines, said: Vec::new(), limit })
    }

    /// Waits until it says of a node what holds this text.
    pub(crate) fn wait_for(&mut self, node: &str, text: &str) -> Result<()> {
        let end = Instant::now() + self.limit;
        loop {
            let line = match self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => line,
                Err(error) => {
                    bail!("it does not say `{text}` of {node} ({error}): {:#?}", self.said)
                }
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let result = event["result"].as_str().unwrap_or_default();
            let is_event = event["event"] == "node" && event["name"] == node;
            let is_line = line.strip_prefix(node).is_some_and(|rest| rest.contains(text));
            self.said.push(line);
            if is_event && result.contains(text) || is_line {
                return Ok(());
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a child has a process id")?, signal)?)
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let end = Instant::now() + self.limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("it does not end: {:#?}", self.said),
            }
        }
        let mut text = String::new();
        self.child.stdout.take().context("stdout is a pipe")?.read_to_string(&mut text)?;
        let code = self.child.wait()?.code();
        let result = serde_json::from_str(&text).unwrap_or_default();
        Ok(Ended { code, result, text, said: std::mem::take(&mut self.said) })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
