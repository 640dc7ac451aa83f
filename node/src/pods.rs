//! `orlop-node stop-pods`: at a shutdown, after kubelet has ended and while containerd still runs.
//!
//! Each container's `preStop` hook runs ([`hook`]), then it gets its stop signal and what is left of
//! the time that its pod asks for (`terminationGracePeriodSeconds`, which kubelet notes with every
//! container), all at once; then the sandboxes go, and with them the pods' networks. kubelet would
//! do that itself only with an inhibitor lock of systemd's.

mod hook;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cri::runtime::Container;
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
/// All of it, one after the other. A test holds it below what PID 1 gives this command.
const WHOLE: Duration = LIST
    .saturating_add(LONGEST_SHUTDOWN_GRACE)
    .saturating_add(hook::QUESTION)
    .saturating_add(LEAST_GRACE)
    .saturating_add(WORK)
    .saturating_add(LIST)
    .saturating_add(WORK);
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
    let mut client = connect(socket)?;
    let containers = client
        .running_containers(LIST)
        .map_err(|error| format!("cannot list the containers: {error}"))?;
    let stops = containers.iter().map(|container| {
        let grace = grace(container, longest);
        move |socket: PathBuf| {
            let hook_began = Instant::now();
            if let Err(why) = run_hook(container, &socket, grace) {
                // If stderr is closed there is nobody to tell.
                let _ = writeln!(
                    io::stderr(),
                    "orlop-node: the preStop hook of container {} failed: {why}",
                    name(container)
                );
            }
            let left = left(grace, hook_began.elapsed());
            connect(&socket)?
                .stop_container(&container.id, left, patience(left, began.elapsed()))
                .map_err(|error| format!("cannot stop container {}: {error}", name(container)))
        }
    });
    let mut failures = in_parallel(socket, stops.collect());
    let sandboxes =
        client.ready_sandboxes(LIST).map_err(|error| format!("cannot list the pods: {error}"))?;
    // Many networks to take down are much work: they get what the containers did not need.
    let time = WHOLE.saturating_sub(began.elapsed()).max(WORK);
    let stops = sandboxes.iter().map(|sandbox| {
        move |socket: PathBuf| {
            connect(&socket)?.stop_sandbox(&sandbox.id, time).map_err(|error| {
                format!("cannot stop pod {}/{}: {error}", sandbox.namespace, sandbox.name)
            })
        }
    });
    failures.extend(in_parallel(socket, stops.collect()));
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

/// Runs each with a connection of its own, all at once; the failures.
fn in_parallel<F>(socket: &Path, work: Vec<F>) -> Vec<String>
where
    F: FnOnce(PathBuf) -> Result<(), String> + Send,
{
    std::thread::scope(|scope| {
        let mut failures = Vec::new();
        let mut threads = Vec::new();
        for work in work {
            let socket = socket.to_owned();
            let thread = std::thread::Builder::new().stack_size(1024 * 1024);
            match thread.spawn_scoped(scope, move || work(socket)) {
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
mod tests {
    use super::*;

    fn graced(note: Option<&str>, longest: u64) -> u64 {
        let annotations =
            note.map(|note| (GRACE_NOTE.to_owned(), note.to_owned())).into_iter().collect();
        let container = Container { annotations, ..Container::default() };
        grace(&container, Duration::from_secs(longest)).as_secs()
    }

    #[test]
    fn a_container_gets_what_its_pod_asks_for_within_the_limit() {
        for (note, longest, want) in [
            (Some("5"), 100, 5),
            (Some("0"), 100, 0),
            (Some("3600"), 100, 100),
            (None, 100, 30),
            (None, 10, 10),
            (Some("-1"), 100, 30),
            (Some("soon"), 100, 30),
        ] {
            assert_eq!(graced(note, longest), want, "{note:?} {longest}");
        }
    }

    #[test]
    fn what_a_hook_took_is_lost_to_the_signal_but_for_the_least() {
        for (grace, hook, want) in
            [(30, 0, 30), (30, 10, 20), (30, 29, 2), (30, 3600, 2), (1, 0, 2), (0, 0, 2)]
        {
            let left = left(Duration::from_secs(grace), Duration::from_secs(hook));
            assert_eq!(left.as_secs(), want, "{grace} {hook}");
        }
    }

    #[test]
    fn all_that_it_may_take_fits_into_what_pid_1_gives_it() {
        let unit = include_str!("../../rootfs-overlays/node/usr/lib/orlop/units/images.toml");
        let unit: toml::Table = unit.parse().expect("a unit");
        let command = unit["stop-exec"].as_array().expect("a list");
        assert_eq!(command[1].as_str(), Some("stop-pods"), "{command:?}");
        let minutes = unit["stop-timeout"].as_str().and_then(|text| text.strip_suffix('m'));
        let given: u64 = minutes.and_then(|minutes| minutes.parse().ok()).expect("minutes");
        // A busy machine needs a moment to start it and to write its last line.
        let used = WHOLE + Duration::from_secs(3);
        assert!(used <= Duration::from_secs(60 * given), "{used:?} of {given} minutes");
    }

    #[test]
    fn a_runtime_that_is_slow_has_the_time_that_graces_leave() {
        let seconds = Duration::from_secs;
        for (left, passed) in [(2, 0), (2, 30), (80, 5), (2, 90)] {
            let (left, passed) = (seconds(left), seconds(passed));
            let patience = patience(left, passed);
            assert!(patience >= left + WORK, "{left:?} {passed:?}: {patience:?}");
            // The pods come after it.
            assert_eq!(passed + patience + LIST + WORK, WHOLE, "{left:?} {passed:?}");
        }
    }

    #[test]
    fn without_time_no_hook_runs() {
        let hook = ("io.kubernetes.container.preStopHandler", r#"{"exec":{"command":["x"]}}"#);
        let annotations = [(hook.0.to_owned(), hook.1.to_owned())].into();
        let container = Container { annotations, ..Container::default() };
        let nobody = Path::new("/nobody/listens");
        assert_eq!(run_hook(&container, nobody, Duration::ZERO), Ok(()));
        let error = run_hook(&container, nobody, Duration::from_secs(1)).expect_err("nobody");
        assert!(error.starts_with("cannot connect"), "{error}");
        assert_eq!(run_hook(&Container::default(), nobody, Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_container_is_told_with_its_pod() {
        let labels = [(POD_NAMESPACE, "default"), (POD_NAME, "web-0")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let container = Container { labels, name: "main".to_owned(), ..Container::default() };
        assert_eq!(name(&container), "default/web-0/main");
    }

    #[test]
    fn all_work_is_done_and_every_failure_told() {
        let done = std::sync::atomic::AtomicUsize::new(0);
        let done = &done;
        let work = (0..20).map(|number| {
            move |socket: PathBuf| {
                assert_eq!(socket, Path::new("/x"));
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number % 10 == 3 { Err(format!("number {number}")) } else { Ok(()) }
            }
        });
        let failures = in_parallel(Path::new("/x"), work.collect());
        assert_eq!(failures, ["number 3", "number 13"]);
        assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), 20);
    }

    #[test]
    fn without_containerd_it_fails() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("x.sock");
        let error =
            stop_pods(&socket, LONGEST_SHUTDOWN_GRACE, &mut Vec::new()).expect_err("nobody there");
        assert!(error.starts_with("cannot connect to "), "{error}");
    }
}
