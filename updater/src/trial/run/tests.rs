//! Whole trials of a node whose files are in a directory and whose one check is a port.

use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use formats::health::DIRECTORY;

use super::*;
use crate::files::below;
use crate::trial::note::tests::note_of;

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(600);

/// The new release of [`note_of`], on a node without kubelet, whose runtime failed before.
struct OfATest {
    root: tempfile::TempDir,
    listener: Option<TcpListener>,
    promotions: RefCell<Vec<Result<(), String>>>,
}

impl OfATest {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mounts =
            "21 1 253:0 / / ro - erofs /dev/dm-0 ro\n28 21 254:5 / /var rw - ext4 /dev/vda5 rw\n";
        let check = format!("ask = {{ tcp = \"{}\" }}\n", listener.local_addr().unwrap());
        for (path, text) in [
            ("/proc/self/mountinfo".into(), mounts.to_owned()),
            ("/sys/dev/block/253:0/dm/name".into(), "orlop-root\n".to_owned()),
            (format!("{DIRECTORY}/port.toml"), check),
        ] {
            let path: PathBuf = below(root.path(), path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        note::write(root.path(), &Note { kubelet: false, ..note_of("new") }).unwrap();
        Self { root, listener: Some(listener), promotions: RefCell::default() }
    }

    fn run(&self, deadline: Duration, stopped: bool) -> (Ended, Vec<String>) {
        let root = self.root.path();
        let prober = Arc::new(Prober::new(root, None));
        let setup = Setup { root, own: Sha256::of("new"), deadline, node_ready: false, prober };
        let mut lines = Vec::new();
        let mut told = |line: &str| lines.push(line.to_owned());
        let stop = |heard: Sender<Heard>| {
            if stopped {
                heard.send(Heard::Stop).unwrap();
            }
        };
        let mut promote = || {
            let result =
                if self.root.path().join("full").exists() { Err("no room".into()) } else { Ok(()) };
            self.promotions.borrow_mut().push(result.clone());
            result
        };
        let ended = run(&setup, stop, &mut told, &mut promote).unwrap();
        (ended, lines)
    }

    fn kept(&self) -> Option<(Verdict, String)> {
        let outcome = note::outcome(self.root.path()).unwrap();
        outcome.map(|outcome| (outcome.verdict, outcome.reason))
    }
}

#[test]
fn a_healthy_release_is_promoted_and_forgotten() {
    let node = OfATest::new();
    let (ended, lines) = node.run(MINUTE, false);
    assert_eq!(ended, Ended::Promoted);
    assert_eq!(lines[0], "cri failed before the update and does not count");
    assert_eq!(*node.promotions.borrow(), [Ok(())]);
    assert_eq!((note::noted(node.root.path()).unwrap(), node.kept()), (None, None));
}

#[test]
fn one_that_is_not_healthy_in_time_has_failed_and_is_not_judged_twice() {
    let mut node = OfATest::new();
    node.listener = None;
    let (ended, _) = node.run(SOON, false);
    let Ended::Failed(reason) = ended else { panic!("{ended:?}") };
    assert!(reason.starts_with("check:port: 127.0.0.1:"), "{reason}");
    assert_eq!(node.kept(), Some((Verdict::Unhealthy, reason.clone())));
    // Whatever starts it again, the machine does not restart once more for it.
    assert_eq!(node.run(SOON, false).0, Ended::FailedBefore(reason));
    assert_eq!(*node.promotions.borrow(), []);
}

#[test]
fn kubelet_is_wanted_if_it_ran_before_whatever_the_new_release_makes_of_the_config() {
    let node = OfATest::new();
    note::write(node.root.path(), &note_of("new")).unwrap();
    let (ended, _) = node.run(SOON, false);
    // Nothing of this machine answers there.
    let Ended::Failed(reason) = ended else { panic!("{ended:?}") };
    assert!(reason.starts_with("kubelet"), "{reason}");
}

#[test]
fn a_power_cut_between_verdict_and_promotion_costs_no_second_trial() {
    let node = OfATest::new();
    let outcome =
        Outcome { root_hash: Sha256::of("new"), verdict: Verdict::Healthy, reason: String::new() };
    note::write_outcome(node.root.path(), &outcome).unwrap();
    assert_eq!(node.run(Duration::ZERO, false).0, Ended::Promoted);
    assert_eq!(*node.promotions.borrow(), [Ok(())]);
}

#[test]
fn who_is_stopped_is_judged_in_the_next_boot() {
    let node = OfATest::new();
    assert_eq!(node.run(MINUTE, true).0, Ended::Interrupted);
    assert_eq!(node.kept().unwrap().0, Verdict::Interrupted);
    assert_eq!(node.run(MINUTE, false).0, Ended::Promoted);
}

#[test]
fn one_that_cannot_be_promoted_has_failed() {
    let node = OfATest::new();
    fs::write(node.root.path().join("full"), "").unwrap();
    let reason = "it is healthy and cannot be promoted: no room".to_owned();
    assert_eq!(node.run(MINUTE, false).0, Ended::Failed(reason.clone()));
    assert_eq!(node.kept(), Some((Verdict::Unhealthy, reason)));
    assert!(note::noted(node.root.path()).unwrap().is_some(), "who comes after it wants to know");
}

#[test]
fn what_fails_once_and_then_holds_is_no_excuse() {
    let gate = Gate::new(&Node { kubelet: true, node_ready: false }, &[], &Default::default());
    let (mut looks, mut pauses) = (0, 0);
    let ask = |how: &How, _| {
        looks += 1;
        match how {
            How::Verity | How::State => Ok(()),
            // Fails in the first look only.
            How::Cri(_) if looks > 4 => Ok(()),
            _ => Err("no".to_owned()),
        }
    };
    let pause = || {
        pauses += 1;
        true
    };
    let failing = failing(&gate, 3, ask, pause);
    assert_eq!(failing, [Condition::Kubelet]);
    assert_eq!((looks, pauses), (4 + 2 + 1, 2));
}
