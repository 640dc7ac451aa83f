//! Keeps a [`View`] of a cluster up to date: lists, then watches, and begins anew when a watch
//! ends (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).

use std::io::BufRead as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::api::Client;
use crate::cluster::view::{Kind, View};

/// Before a list is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows nodes and pods in threads of its own. To be dropped after the cluster, whose end ends
/// the watches.
#[derive(Debug)]
pub struct Follower {
    /// One for each thread; none: stop.
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Calls `changed` with what was and what is, each time that the two differ.
    pub fn start(client: &Client, changed: impl Fn(&View, &View) + Send + Sync + 'static) -> Self {
        let shared = Arc::new((Mutex::new(View::default()), changed));
        let (mut stops, mut threads) = (Vec::new(), Vec::new());
        for kind in [Kind::Nodes, Kind::Pods] {
            let (stop, stopped) = mpsc::channel();
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            stops.push(stop);
            threads.push(thread::spawn(move || {
                let (view, changed) = &*shared;
                let change = |f: &mut dyn FnMut(&mut View)| {
                    // Whoever panicked has left a whole view.
                    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
                    let before = view.clone();
                    f(&mut view);
                    if before != *view {
                        changed(&before, &view);
                    }
                };
                follow(&client, kind, &stopped, change);
            }));
        }
        Self { stops, threads }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn follow(
    client: &Client,
    kind: Kind,
    stopped: &Receiver<()>,
    change: impl Fn(&mut dyn FnMut(&mut View)),
) {
    loop {
        if let Ok(list) = client.get(kind.path()) {
            change(&mut |view| view.replace(kind, &list));
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if let Ok(events) = client.watch(kind.path(), version) {
                for line in events.lines() {
                    // A line that breaks off, or is something else, ends the watch.
                    let Some(event) =
                        line.ok().and_then(|line| serde_json::from_str::<Value>(&line).ok())
                    else {
                        break;
                    };
                    let mut known = false;
                    change(&mut |view| known = view.apply(kind, &event));
                    if !known {
                        break;
                    }
                }
            }
        }
        // The API server may be away for a while; what is shown stays as it was.
        if stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}
