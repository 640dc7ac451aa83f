//! `orlop-node stop-pods`: at a shutdown, after kubelet has ended and while containerd still runs.
//!
//! Each container gets its stop signal and then the time that its pod asks for
//! (`terminationGracePeriodSeconds`, which kubelet notes with every container), all at once; then
//! the sandboxes go, and with them the pods' networks. Hooks (`preStop`) are kubelet's and do not
//! run: it has no part in a shutdown, for it wants an inhibitor lock of systemd's.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cri::runtime::Container;

use crate::arguments::{Arguments, Failure};
use crate::images::{SOCKET, connect};

/// What a container may have at most unless `--grace` says otherwise.
const LONGEST_GRACE: Duration = Duration::from_secs(100);
/// What a pod has that does not say (`DefaultTerminationGracePeriodSeconds` of Kubernetes).
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// Beyond the grace: for the runtime's own work.
const WORK: Duration = Duration::from_secs(15);
/// kubelet's note (`pkg/kubelet/kuberuntime/labels.go`), in seconds.
const GRACE_NOTE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// The command.
///
/// # Errors
/// If it is called wrongly, containerd cannot be asked, or something does not stop.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let socket = arguments.option("--socket")?.unwrap_or_else(|| SOCKET.to_owned());
    let longest = match arguments.option("--grace")? {
        None => LONGEST_GRACE,
        Some(text) => text
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| Failure::Usage(format!("`{text}` is not a number of seconds")))?,
    };
    arguments.finish()?;
    stop_pods(Path::new(&socket), longest, &mut io::stderr()).map_err(Failure::Failed)
}

fn stop_pods(socket: &Path, longest: Duration, out: &mut impl Write) -> Result<(), String> {
    let began = Instant::now();
    let mut client = connect(socket)?;
    let containers = client
        .running_containers(WORK)
        .map_err(|error| format!("cannot list the containers: {error}"))?;
    let stops = containers.iter().map(|container| {
        let grace = grace(container, longest);
        move |socket: PathBuf| {
            connect(&socket)?
                .stop_container(&container.id, grace, grace + WORK)
                .map_err(|error| format!("cannot stop container {}: {error}", container.name))
        }
    });
    let mut failures = in_parallel(socket, stops.collect());
    let sandboxes =
        client.ready_sandboxes(WORK).map_err(|error| format!("cannot list the pods: {error}"))?;
    let stops = sandboxes.iter().map(|sandbox| {
        move |socket: PathBuf| {
            connect(&socket)?.stop_sandbox(&sandbox.id, WORK).map_err(|error| {
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
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
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

    fn seconds(note: Option<&str>, longest: u64) -> u64 {
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
            assert_eq!(seconds(note, longest), want, "{note:?} {longest}");
        }
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
        let error = stop_pods(&socket, LONGEST_GRACE, &mut Vec::new()).expect_err("nobody there");
        assert!(error.starts_with("cannot connect to "), "{error}");
    }
}
