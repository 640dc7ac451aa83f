//! The whole of the node's side against a mock API server that keeps one Node, and a mock of what the node can
//! do. What is waited for has a deadline, and no test waits for time to pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use formats::fleet::{LOOK, Looked, Phase, RELEASE, REQUEST, STATUS, Status};
use serde_json::{Value, json};

use super::*;
use crate::cluster::NotArmed;
use crate::cluster::credentials::tests::{joined, pair_of, write};
use crate::cluster::mock_api::{Answer, Asked, MockApi};
use crate::cluster::{NotStaged, PATH, Spare, Staged};
use crate::transport::{self, Progress};

const DEADLINE: Duration = Duration::from_secs(60);

/// Something that the node has done.
#[derive(Debug, PartialEq)]
enum Did {
    Answered(Box<Status>),
    /// The reason.
    Told(String),
    /// Which version, and whether it is tried again.
    Staged(Option<String>, FailedBefore),
    Armed(String),
    Restarts,
    Said(String),
    /// A list instead of a watch.
    Listed,
    /// What its labels are changed by.
    Labelled(Value),
}

/// A Node object, as the mock keeps it.
#[derive(Default)]
struct Kept {
    annotations: BTreeMap<String, Value>,
    version: u64,
    watches: Vec<Sender<String>>,
    /// Answered to everything.
    refusal: Option<&'static str>,
    /// Answered to watches, once.
    expired: bool,
}

impl Kept {
    fn object(&self) -> Value {
        let Self { annotations, version, .. } = self;
        json!({ "metadata": {
            "name": "a", "uid": "u", "resourceVersion": version.to_string(),
            "annotations": annotations,
        }})
    }

    fn change(&mut self, name: &str, value: Value) {
        match value.is_null() {
            true => drop(self.annotations.remove(name)),
            false => drop(self.annotations.insert(name.to_owned(), value)),
        }
        self.version += 1;
        let line = json!({ "type": "MODIFIED", "object": self.object() }).to_string();
        self.watches.retain(|watch| watch.send(line.clone()).is_ok());
    }

    fn answer(&mut self, asked: &Asked, did: &Sender<Did>) -> Answer {
        if let Some(status) = self.refusal {
            return Answer::Whole(status, "application/json", "{}".into());
        }
        match (asked.method.as_str(), asked.path.contains("watch=true")) {
            ("GET", true) if std::mem::take(&mut self.expired) => {
                Answer::Whole("410 Gone", "application/json", "{}".into())
            }
            ("GET", true) => {
                let (watch, lines) = channel();
                // What has happened since the list.
                let line = json!({ "type": "MODIFIED", "object": self.object() }).to_string();
                watch.send(line).unwrap();
                self.watches.push(watch);
                Answer::Lines(lines)
            }
            ("GET", false) => {
                let _ = did.send(Did::Listed);
                let version = self.version.to_string();
                Answer::json(json!({
                    "metadata": { "resourceVersion": version }, "items": [self.object()],
                }))
            }
            ("PATCH", _) => {
                let patch: Value = serde_json::from_str(&asked.body).unwrap();
                let labels = &patch["metadata"]["labels"];
                if labels.is_object() {
                    let _ = did.send(Did::Labelled(labels.clone()));
                    return Answer::json(self.object());
                }
                let text = &patch["metadata"]["annotations"][STATUS];
                self.change(STATUS, text.clone());
                let status = Status::parse(text.as_str().unwrap()).unwrap();
                let _ = did.send(Did::Answered(Box::new(status)));
                Answer::json(self.object())
            }
            _ => {
                let event: Value = serde_json::from_str(&asked.body).unwrap();
                let _ = did.send(Did::Told(event["reason"].as_str().unwrap().to_owned()));
                Answer::json("{}")
            }
        }
    }
}

/// A mock of the node's slots and of its PID 1. What comes of staging is said by the test.
struct MockDesk {
    standing: Mutex<Standing>,
    did: Mutex<Sender<Did>>,
    results: Mutex<Receiver<Result<Staged, NotStaged>>>,
}

impl MockDesk {
    fn did(&self, did: Did) {
        let _ = self.did.lock().unwrap().send(did);
    }
}

impl Desk for MockDesk {
    fn standing(&self) -> Result<Standing, String> {
        Ok(self.standing.lock().unwrap().clone())
    }

    fn stage(
        &self,
        version: Option<&str>,
        failed_before: FailedBefore,
        cancel: &Cancel,
        tell: &(dyn Fn(Progress) + Sync),
    ) -> Result<Staged, NotStaged> {
        self.did(Did::Staged(version.map(str::to_owned), failed_before));
        let phase = transport::Phase::Fill;
        tell(Progress { phase, done: 1, total: 2, fetched: 7, written: 1 });
        let results = self.results.lock().unwrap();
        loop {
            if cancel.check().is_err() {
                return Err(NotStaged::Cancelled);
            }
            match results.recv_timeout(Duration::from_millis(20)) {
                Ok(Ok(Staged::InSpare(version))) => {
                    let spare = Some(Spare { version: version.clone(), attempts: 0 });
                    self.standing.lock().unwrap().spare = spare;
                    return Ok(Staged::InSpare(version));
                }
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(NotStaged::Cancelled),
            }
        }
    }

    fn look(&self, _: &Cancel) -> Result<String, NotStaged> {
        Ok("3".to_owned())
    }

    fn arm(&self, version: &str) -> Result<(), NotArmed> {
        self.did(Did::Armed(version.to_owned()));
        Ok(())
    }

    fn restart(&self, _: &str) -> Result<(), String> {
        self.did(Did::Restarts);
        Ok(())
    }
}

struct World {
    kept: Arc<Mutex<Kept>>,
    server: Option<MockApi>,
    did: Receiver<Did>,
    stage_ends: Sender<Result<Staged, NotStaged>>,
    /// All that was done so far.
    log: Vec<Did>,
}

impl World {
    /// Waits for the first thing from here on for which `is` has something.
    fn until<T>(&mut self, what: &str, is: impl Fn(&Did) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(did) = self.did.recv_timeout(left) else {
                panic!("no {what}; so far {:#?}", self.log);
            };
            let found = is(&did);
            self.log.push(did);
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn answer(&mut self, phase: Phase) -> Status {
        self.until(phase.name(), |did| match did {
            Did::Answered(status) if status.phase == phase => Some(Status::clone(status)),
            _ => None,
        })
    }

    fn said(&mut self, words: &str) {
        self.until(words, |did| {
            matches!(did, Did::Said(line) if line.contains(words)).then_some(())
        });
    }

    fn ask(&self, release: &str, request: Option<&str>) {
        let mut kept = self.kept.lock().unwrap();
        kept.annotations.insert(REQUEST.to_owned(), json!(request));
        kept.change(RELEASE, json!(release));
    }

    fn look(&self, question: &str) {
        self.kept.lock().unwrap().change(LOOK, json!(question));
    }

    fn refuse(&self, status: Option<&'static str>) {
        let mut kept = self.kept.lock().unwrap();
        kept.refusal = status;
        kept.watches.clear();
    }
}

/// Runs the node's side until `test` has ended.
fn node(test: impl FnOnce(&mut World, &Path)) {
    let kept = Arc::<Mutex<Kept>>::default();
    let (sender, did) = channel();
    let (stage_ends, results) = channel();
    let (state, news) = (Arc::clone(&kept), Mutex::new(sender.clone()));
    let server = MockApi::new(move |asked| {
        let news = news.lock().unwrap().clone();
        state.lock().unwrap().answer(asked, &news)
    });
    let root = joined(&server.url(), "a");
    let standing = Standing {
        version: "1".into(),
        root_hash: Sha256::of("1"),
        boot_id: Some("this boot".into()),
        trial: false,
        spare: None,
        fallback: None,
        failed: Vec::new(),
    };
    let desk = MockDesk {
        standing: Mutex::new(standing),
        did: Mutex::new(sender.clone()),
        results: Mutex::new(results),
    };
    let said = Mutex::new(sender);
    let say = |line: &str| drop(said.lock().unwrap().send(Did::Said(line.to_owned())));
    let cancel = Cancel::new();
    let setup = Setup {
        root: root.path().to_owned(),
        desk: &desk,
        machine_id: "m".into(),
        now: || 0,
        cancel: cancel.clone(),
        say: &say,
    };
    let mut world = World { kept, server: Some(server), did, stage_ends, log: Vec::new() };
    thread::scope(|scope| {
        scope.spawn(|| run(&setup));
        /// Ends the node's side, however the test ends.
        struct Ends<'w>(&'w mut World, Cancel);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.1.cancel();
                self.0.server = None;
            }
        }
        let ends = Ends(&mut world, cancel);
        test(ends.0, root.path());
    });
}

#[test]
fn a_request_at_the_node_object_ends_in_a_restart() {
    node(|world, root| {
        let idle = world.answer(Phase::Idle);
        let boot_id = Some("this boot".to_owned());
        assert_eq!(idle, Status { boot_id, ..Status::new("1", Sha256::of("1"), Phase::Idle) });
        world.ask("2", Some("x"));
        let asked = world.until("staging", |did| match did {
            Did::Staged(version, before) => Some((version.clone(), *before)),
            _ => None,
        });
        assert_eq!(asked, (Some("2".to_owned()), FailedBefore::TriedAgain));
        let staging = world.answer(Phase::Staging);
        assert_eq!(
            (staging.release.as_deref(), staging.request.as_deref()),
            (Some("2"), Some("x"))
        );
        world.stage_ends.send(Ok(Staged::InSpare("2".into()))).unwrap();
        world.until("armed", |did| {
            matches!(did, Did::Armed(version) if version == "2").then_some(())
        });
        // By then it is on STATE, so that no boot begins it anew.
        let served = Served::read(root).unwrap().unwrap();
        assert_eq!((served.version.as_deref(), served.end), (Some("2"), None));
        world.answer(Phase::Restarting);
        world.until("restart", |did| matches!(did, Did::Restarts).then_some(()));
        assert!(world.log.contains(&Did::Told("UpdateStaged".into())), "{:?}", world.log);
    });
}

#[test]
fn what_the_node_has_found_that_it_can_do_becomes_labels() {
    node(|world, root| {
        // The image has Kata, and its check has not ended.
        write(root, formats::kata::PATH, "{}");
        world.answer(Phase::Idle);
        write(root, formats::kata::FOUND, r#"{"runs":true,"tee":"snp"}"#);
        world.ask("1", None);
        let labels = world.until("labels", |did| match did {
            Did::Labelled(labels) => Some(labels.clone()),
            _ => None,
        });
        let want = json!({
            "orlop.dev/kata": "true", "katacontainers.io/kata-runtime": "true",
            "orlop.dev/tee": "snp",
        });
        assert_eq!(labels, want);
        let early = world.log.iter().filter(|did| matches!(did, Did::Labelled(_))).count();
        assert_eq!(early, 1, "{:?}", world.log);
    });
}

#[test]
fn a_fleet_does_not_poll() {
    node(|world, _| {
        world.answer(Phase::Idle);
        // A connection that is cut costs no list.
        world.server.as_ref().unwrap().cut();
        world.kept.lock().unwrap().watches.clear();
        world.ask("../x", None);
        world.answer(Phase::Refused);
        let lists = world.log.iter().filter(|did| **did == Did::Listed).count();
        assert_eq!(lists, 1, "{:?}", world.log);
        // What is too long ago does.
        let mut kept = world.kept.lock().unwrap();
        kept.expired = true;
        kept.watches.clear();
        drop(kept);
        world.until("list", |did| (*did == Did::Listed).then_some(()));
        world.ask("/", None);
        assert_eq!(world.answer(Phase::Refused).release.as_deref(), Some("/"));
    });
}

#[test]
fn an_api_server_that_refuses_costs_a_line_and_is_asked_again() {
    node(|world, root| {
        world.answer(Phase::Idle);
        for status in ["401 Unauthorized", "403 Forbidden", "500 Internal Server Error"] {
            world.refuse(Some(status));
            world.said(status);
        }
        // kubelet's certificate is about to be replaced.
        write(root, formats::kubelet::CURRENT, "cut");
        world.refuse(None);
        world.said("kubelet-client-current.pem` is damaged");
        write(root, formats::kubelet::CURRENT, &pair_of("a"));
        world.ask("../x", None);
        let refused = world.answer(Phase::Refused);
        assert!(refused.reason.unwrap().starts_with("`../x` is neither"));
        world.until("an Event", |did| (*did == Did::Told("UpdateRefused".into())).then_some(()));
    });
}

#[test]
fn the_api_server_is_not_needed_to_restart() {
    node(|world, _| {
        world.ask("2", None);
        world.until("staging", |did| matches!(did, Did::Staged(..)).then_some(()));
        world.refuse(Some("503 Service Unavailable"));
        world.stage_ends.send(Ok(Staged::InSpare("2".into()))).unwrap();
        world.until("restart", |did| matches!(did, Did::Restarts).then_some(()));
    });
}

#[test]
fn what_is_staged_when_it_ends_is_stopped() {
    node(|world, root| {
        world.ask("2", None);
        world.until("staging", |did| matches!(did, Did::Staged(..)).then_some(()));
        // Nothing came of it, and the next start goes on.
        assert!(!crate::files::below(root, PATH).exists());
    });
}

#[test]
fn who_asks_what_is_the_newest_hears_that_and_nothing_else_is_done() {
    node(|world, _| {
        world.answer(Phase::Idle);
        world.look("q");
        let looked = world.until("looked", |did| match did {
            Did::Answered(status) => status.looked.clone().map(|it| (it, status.phase)),
            _ => None,
        });
        let want = Looked { look: "q".into(), newest: Some("3".into()), reason: None };
        assert_eq!(looked, (want, Phase::Idle));
        let touched = |did: &Did| matches!(did, Did::Staged(..) | Did::Armed(_) | Did::Restarts);
        assert!(!world.log.iter().any(touched), "{:?}", world.log);
    });
}
