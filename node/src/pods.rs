//! `orlop-node stop-pods`: at a shutdown, after kubelet has ended and while containerd still runs.
//!
//! Each container's `preStop` hook runs ([`hook`]), then it gets its stop signal and what is left of
//! the time that its pod asks for (`terminationGracePeriodSeconds`, which kubelet notes with every
//! container), all at once; then the sandboxes go, and with them the pods' networks. kubelet would
//! do that itself only with an inhibitor lock of systemd's.

mod hook;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cri::runtime::{Container, Sandbox};
use formats::node_config::LONGEST_SHUTDOWN_GRACE;

use crate::arguments::{Arguments, Failure};
use crate::images::{SOCKET, connect};
use hook::Hook;

/// What a container has after its hook, however long that took, as kubelet has it.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// What a pod has that does not say (`DefaultTerminationGracePeriodSeconds` of Kubernetes).
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// For the runtime to end a container whose grace is over, and to take a pod down.
const WORK: Duration = Duration::from_secs(10);
/// For a list.
const LIST: Duration = Duration::from_secs(5);
/// Between two attempts at one.
const PAUSE: Duration = Duration::from_millis(200);
/// All of it, one after the other. A test holds it below what PID 1 gives this command.
const WHOLE: Duration = LIST
    .saturating_add(LONGEST_SHUTDOWN_GRACE)
    .saturating_add(hook::QUESTION)
    .saturating_add(LEAST_GRACE)
    .saturating_add(WORK)
    .saturating_add(LIST)
    .saturating_add(WORK);
/// What is kept for the pods while the containers are listed and stopped.
const PODS: Duration = LIST.saturating_add(WORK);
/// What is kept for the containers besides their grace while they are listed.
const CONTAINERS: Duration =
    hook::QUESTION.saturating_add(LEAST_GRACE).saturating_add(WORK).saturating_add(PODS);
/// kubelet's notes (`pkg/kubelet/kuberuntime/labels.go`): seconds, and whose the container is.
const GRACE_NOTE: &str = "io.kubernetes.pod.terminationGracePeriod";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// What a container may have at most, hook and all, in seconds: `orlop-node configure` writes it if
/// the node config has one.
pub(crate) const GRACE_FILE: &str = "/run/orlop/shutdown-grace";

/// The command.
///
/// # Errors
/// If it is called wrongly, containerd cannot be asked, or something does not stop.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let socket = arguments.option("--socket")?.unwrap_or_else(|| SOCKET.to_owned());
    let longest = match arguments.option("--grace")? {
        // Without a file, or with one that says nothing, there is no limit but our own.
        None => std::fs::read_to_string(GRACE_FILE).ok().and_then(|text| seconds(&text)),
        Some(text) => Some(
            seconds(&text)
                .ok_or_else(|| Failure::Usage(format!("`{text}` is not a number of seconds")))?,
        ),
    };
    arguments.finish()?;
    let longest = longest.map_or(LONGEST_SHUTDOWN_GRACE, |grace| grace.min(LONGEST_SHUTDOWN_GRACE));
    stop_pods(Path::new(&socket), longest, &mut io::stderr()).map_err(Failure::Failed)
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn stop_pods(socket: &Path, longest: Duration, out: &mut impl Write) -> Result<(), String> {
    let began = Instant::now();
    // Where nobody listens nothing can be done. PID 1 ends what runs.
    connect(socket)?;
    stop_all(&Socket { path: socket, began }, longest, began, out)
}

/// What is done with a runtime, each time on a connection of its own.
trait Runtime: Sync {
    /// Those that run.
    fn containers(&self) -> Result<Vec<Container>, NoList>;
    /// Runs the hook of a container and stops it, both within `grace`.
    fn stop_container(&self, container: &Container, grace: Duration) -> Result<(), String>;
    /// Those that are ready.
    fn sandboxes(&self) -> Result<Vec<Sandbox>, NoList>;
    /// Stops a pod, within `time`.
    fn stop_sandbox(&self, sandbox: &Sandbox, time: Duration) -> Result<(), String>;
}

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoList {
    /// Nobody listens any more: at a shutdown PID 1 does not start containerd again.
    Gone(String),
    /// Another attempt may bring one.
    Failed(String),
}

struct Socket<'a> {
    path: &'a Path,
    began: Instant,
}

impl Runtime for Socket<'_> {
    fn containers(&self) -> Result<Vec<Container>, NoList> {
        let mut client = connect(self.path).map_err(NoList::Gone)?;
        client.running_containers(LIST).map_err(|error| NoList::Failed(error.to_string()))
    }

    fn stop_container(&self, container: &Container, grace: Duration) -> Result<(), String> {
        let hook_began = Instant::now();
        if let Err(why) = run_hook(container, self.path, grace) {
            // If stderr is closed there is nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "orlop-node: the preStop hook of container {} failed: {why}",
                name(container)
            );
        }
        let left = left(grace, hook_began.elapsed());
        connect(self.path)?
            .stop_container(&container.id, left, patience(left, self.began.elapsed()))
            .map_err(|error| error.to_string())
    }

    fn sandboxes(&self) -> Result<Vec<Sandbox>, NoList> {
        let mut client = connect(self.path).map_err(NoList::Gone)?;
        client.ready_sandboxes(LIST).map_err(|error| NoList::Failed(error.to_string()))
    }

    fn stop_sandbox(&self, sandbox: &Sandbox, time: Duration) -> Result<(), String> {
        connect(self.path)?.stop_sandbox(&sandbox.id, time).map_err(|error| error.to_string())
    }
}

fn stop_all(
    runtime: &impl Runtime,
    longest: Duration,
    began: Instant,
    out: &mut impl Write,
) -> Result<(), String> {
    let left = || WHOLE.saturating_sub(began.elapsed());
    let mut failures = Vec::new();
    let mut told = |what: &str, error: String| failures.push(format!("cannot {what}: {error}"));

    let containers = again(|| left() > LIST + CONTAINERS, PAUSE, || runtime.containers());
    let containers = containers.unwrap_or_else(|error| {
        told("list the containers", error);
        Vec::new()
    });
    // A list that was long in coming costs graces, not the end of all.
    let longest = longest.min(left().saturating_sub(CONTAINERS));
    let stops = containers.iter().map(|container| {
        let grace = grace(container, longest);
        move || {
            runtime
                .stop_container(container, grace)
                .map_err(|error| format!("cannot stop container {}: {error}", name(container)))
        }
    });
    let not_stopped = in_parallel(stops.collect());

    // Of containers that could not be listed, or stopped: their pods' end kills them.
    let sandboxes = again(|| left() > PODS, PAUSE, || runtime.sandboxes());
    let sandboxes = sandboxes.unwrap_or_else(|error| {
        told("list the pods", error);
        Vec::new()
    });
    // Many networks to take down are much work: they get what the containers did not need.
    let time = left().max(WORK);
    let stops = sandboxes.iter().map(|sandbox| {
        move || {
            runtime.stop_sandbox(sandbox, time).map_err(|error| {
                format!("cannot stop pod {}/{}: {error}", sandbox.namespace, sandbox.name)
            })
        }
    });
    failures.extend(not_stopped);
    failures.extend(in_parallel(stops.collect()));
    if !failures.is_empty() {
        return Err(failures.join("\n"));
    }
    let took = began.elapsed();
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(
        out,
        "orlop-node: stopped {} containers and {} pods in {}.{} s",
        containers.len(),
        sandboxes.len(),
        took.as_secs(),
        took.subsec_millis() / 100
    );
    Ok(())
}

/// Asks, and while there is time again, until there is an answer; the last error.
fn again<V>(
    there_is_time: impl Fn() -> bool,
    pause: Duration,
    ask: impl Fn() -> Result<V, NoList>,
) -> Result<V, String> {
    loop {
        match ask() {
            Err(NoList::Failed(_)) if there_is_time() => thread::sleep(pause),
            Err(NoList::Failed(why) | NoList::Gone(why)) => return Err(why),
            Ok(list) => return Ok(list),
        }
    }
}

/// Runs the hook of a container within its grace, if it has both. On a connection of its own, which
/// a hook that hangs or says too much may leave in any state.
fn run_hook(container: &Container, socket: &Path, grace: Duration) -> Result<(), String> {
    match Hook::of(container)? {
        Some(hook) if !grace.is_zero() => hook.run(container, &mut hook::connect(socket)?, grace),
        _ => Ok(()),
    }
}

/// What a container has from its stop signal on.
fn left(grace: Duration, hook: Duration) -> Duration {
    grace.saturating_sub(hook).max(LEAST_GRACE)
}

/// How long the runtime may take to stop a container that has `left`, when so much of the whole has
/// passed: on a busy machine its work takes longer, and graces that others did not need are time.
fn patience(left: Duration, passed: Duration) -> Duration {
    WHOLE.saturating_sub(LIST + WORK).saturating_sub(passed).max(left + WORK)
}

/// For people: names of containers are those of their kind.
fn name(container: &Container) -> String {
    let label = |key| container.labels.get(key).map_or("", String::as_str);
    format!("{}/{}/{}", label(POD_NAMESPACE), label(POD_NAME), container.name)
}

/// Runs all at once; the failures.
fn in_parallel<F>(work: Vec<F>) -> Vec<String>
where
    F: FnOnce() -> Result<(), String> + Send,
{
    thread::scope(|scope| {
        let mut failures = Vec::new();
        let mut threads = Vec::new();
        for work in work {
            let thread = thread::Builder::new().stack_size(1024 * 1024);
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => failures.push(format!("cannot start a thread: {error}")),
            }
        }
        for thread in threads {
            match thread.join() {
                Ok(result) => failures.extend(result.err()),
                Err(_) => failures.push("a thread panicked".to_owned()),
            }
        }
        failures
    })
}

/// What its pod asks for, within the limit.
fn grace(container: &Container, longest: Duration) -> Duration {
    let noted = container.annotations.get(GRACE_NOTE).and_then(|seconds| seconds.parse().ok());
    noted.map_or(DEFAULT_GRACE, Duration::from_secs).min(longest)
}

#[cfg(test)]
mod tests;
