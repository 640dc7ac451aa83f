//! When the first pod runs: a boot mark for PID 1, learnt from the runtime's events.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cri::runtime::ContainerEvent;
use cri::{Client, Error, Transport};

use crate::log;
use crate::message::{self, FromUnit};

/// Bytes of an event: it holds the state of a whole pod.
const LONGEST_EVENT: usize = 1 << 20;

/// Watches runtimes until one has started a container that is no sandbox.
#[derive(Debug, Default)]
pub struct FirstPod {
    seen: Arc<AtomicBool>,
}

impl FirstPod {
    /// The runtime behind this socket answers: watches it, in a thread which ends with the runtime
    /// or when the mark is set. Kubelet starts after that, so no container comes too early.
    pub fn watch(&self, socket: PathBuf, channel: OwnedFd) {
        if self.seen.load(Ordering::Relaxed) {
            return;
        }
        let seen = Arc::clone(&self.seen);
        let work = move || match wait(&socket) {
            Ok(true) => {
                if !seen.swap(true, Ordering::Relaxed) {
                    // If there is no room for it there is no mark.
                    let _ = message::send(&channel, &FromUnit::Mark("pod-running".into()).encode());
                }
            }
            Ok(false) => {}
            // It has ended, or has no events to tell; the mark is for measurements only.
            Err(error) => log::info(&format!("no container events: {error}")),
        };
        if let Err(error) = crate::thread::start("first pod", Box::new(work)) {
            log::warn(&format!("cannot watch for the first pod: {error}"));
        }
    }
}

fn wait(socket: &Path) -> Result<bool, Error> {
    first_container(Client::connect(socket, LONGEST_EVENT)?)
}

/// Whether a container of a pod was started before the runtime ended. The sandbox's own has the
/// sandbox's id.
fn first_container<T: Transport>(mut client: Client<T>) -> Result<bool, Error> {
    let mut events = client.container_events()?;
    while let Some(event) = events.next_event()? {
        let ContainerEvent { container, kind, sandbox } = event;
        if kind == ContainerEvent::STARTED && !sandbox.is_empty() && container != sandbox {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::time::Duration;

    use cri::protobuf::Message;

    use super::*;

    /// A runtime that says these bytes, whatever it is asked.
    struct Said(io::Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Transport for Said {
        fn limit(&mut self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// What comes of these events: container, kind, sandbox.
    fn outcome(events: &[(&str, u64, &str)]) -> bool {
        let mut said = frame(4, 0, 0, &[]);
        for (container, kind, sandbox) in events {
            let status = Message::new().text(1, sandbox);
            let event = Message::new().text(1, container).number(2, *kind).message(4, &status);
            let bytes = event.as_bytes();
            let length = u8::try_from(bytes.len()).expect("short");
            said.extend(frame(0, 0, 1, &[&[0, 0, 0, 0, length], bytes].concat()));
        }
        said.extend(frame(1, 5, 1, b"\x00\x0bgrpc-status\x010"));
        first_container(Client::new(Said(io::Cursor::new(said)), 1000)).expect("a good runtime")
    }

    #[test]
    fn only_the_start_of_a_container_beside_the_sandbox_counts() {
        for (events, want) in [
            (&[("pod", 0, "pod"), ("pod", 1, "pod"), ("c", 0, "pod"), ("c", 1, "pod")][..], true),
            (&[("pod", 1, "pod"), ("c", 0, "pod"), ("c", 2, "pod")], false),
            (&[("c", 1, "")], false),
            (&[], false),
        ] {
            assert_eq!(outcome(events), want, "{events:?}");
        }
    }
}
