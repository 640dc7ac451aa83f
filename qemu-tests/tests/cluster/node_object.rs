//! The node's side of updates against a real API server, with the credentials of a node: what Node authorizer
//! and NodeRestriction let it do with its own Node object, and that they let it do no more.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use formats::digest::Sha256;
use formats::fleet::{Phase, RELEASE, REQUEST, STATUS, Status};
use formats::kubelet::{BOOTSTRAP, CURRENT};
use qemu_tests::Orlop;
use qemu_tests::cluster::Cluster;
use qemu_tests::process::{command, run};
use rustix::process::Signal;
use serde_json::{Value, json};
use updater::cancel::Cancel;
use updater::cluster::run::{Setup, run as look_after};
use updater::cluster::{Api, Desk, FailedBefore, NotArmed, NotStaged, Spare, Staged, Standing};
use updater::health::probe::Cluster as _;
use updater::transport::Progress;

const LIMIT: Duration = Duration::from_secs(60);

/// A certificate of a node and its key, signed by the cluster's CA as its controller would: so many days
/// long, from now on.
fn pair(cluster: &Cluster, place: &Path, node: &str, days: &str) -> Result<String> {
    let at = |name: &str| place.join(format!("{node}.{name}"));
    let pki = |name: &str| cluster.facts.directory.join("pki").join(name);
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"];
    let mut request = command("openssl");
    request.args(["req", "-new", "-subj", &subject]).args(key).arg(at("key"));
    run(request.arg("-out").arg(at("csr")))?;
    let mut sign = command("openssl");
    sign.args(["x509", "-req", "-set_serial", "7", "-days", days, "-in"]).arg(at("csr"));
    sign.arg("-CA").arg(pki("ca.crt")).arg("-CAkey").arg(pki("ca.key"));
    // Without an extension it would be of version 1, which nobody takes.
    std::fs::write(at("ext"), "extendedKeyUsage = clientAuth\n")?;
    sign.arg("-extfile").arg(at("ext"));
    run(sign.arg("-out").arg(at("crt")))?;
    Ok(std::fs::read_to_string(at("crt"))? + &std::fs::read_to_string(at("key"))?)
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    let path = root.join(path.trim_start_matches('/'));
    let beside = path.with_extension("new");
    std::fs::create_dir_all(path.parent().context("a directory")?)?;
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(beside, path)?)
}

/// The files by which a node that has joined knows its cluster, below a directory.
fn joined(cluster: &Cluster, root: &Path, pair: &str) -> Result<()> {
    let ca = "/run/orlop/kubelet/ca.crt";
    let of = json!({ "server": cluster.facts.server, "certificate-authority": ca });
    let bootstrap = json!({ "clusters": [{ "name": "cluster", "cluster": of }] });
    write(root, BOOTSTRAP, &bootstrap.to_string())?;
    write(root, ca, &cluster.facts.ca)?;
    write(root, CURRENT, pair)
}

fn create_node(cluster: &Cluster, name: &str) -> Result<()> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    cluster.apply(&node.to_string())
}

/// Slots and PID 1 of the node, which this test does not have.
struct MockDesk {
    standing: Mutex<Standing>,
    did: Mutex<Sender<String>>,
}

impl MockDesk {
    fn did(&self, line: impl Into<String>) {
        let did = self.did.lock().unwrap_or_else(PoisonError::into_inner);
        // The test may have ended.
        let _ = did.send(line.into());
    }
}

impl Desk for MockDesk {
    fn standing(&self) -> Result<Standing, String> {
        Ok(self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn stage(
        &self,
        version: Option<&str>,
        failed_before: FailedBefore,
        _: &Cancel,
        _: &(dyn Fn(Progress) + Sync),
    ) -> Result<Staged, NotStaged> {
        self.did(format!("stage {version:?} {failed_before:?}"));
        let version = version.unwrap_or("3").to_owned();
        if version == "bad" {
            return Err(NotStaged::Failed("no place has it".to_owned()));
        }
        let spare = Some(Spare { version: version.clone(), attempts: 0 });
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).spare = spare;
        Ok(Staged::InSpare(version))
    }

    fn look(&self, _: &Cancel) -> Result<String, NotStaged> {
        self.did("look");
        Ok("3".to_owned())
    }

    fn arm(&self, version: &str) -> Result<(), NotArmed> {
        self.did(format!("arm {version}"));
        Ok(())
    }

    fn restart(&self, _: &str) -> Result<(), String> {
        self.did("restart");
        Ok(())
    }
}

/// A boot of the node: from here on its Node object is looked after, until this is dropped.
struct Boot {
    cancel: Cancel,
    said: Receiver<String>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Boot {
    fn new(root: PathBuf, version: &str, trial: bool) -> Self {
        let (sender, said) = channel();
        let standing = Standing {
            version: version.to_owned(),
            root_hash: Sha256::of(version),
            boot_id: None,
            trial,
            spare: None,
            fallback: None,
            failed: Vec::new(),
        };
        let desk = MockDesk { standing: Mutex::new(standing), did: Mutex::new(sender.clone()) };
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let thread = std::thread::spawn(move || {
            let sender = Mutex::new(sender);
            let say = |line: &str| {
                let said = sender.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = said.send(format!("said: {line}"));
            };
            look_after(&Setup {
                root,
                desk: &desk,
                machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
                now: || 1_800_000_000,
                cancel: stop,
                say: &say,
            });
        });
        Self { cancel, said, thread: Some(thread) }
    }

    /// Waits for a line that holds `text`.
    fn until(&self, text: &str) -> Result<()> {
        let (end, mut so_far) = (Instant::now() + LIMIT, Vec::new());
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(line) => so_far.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("no `{text}` in time: {so_far:#?}")
                }
            }
        }
    }

    /// Ends it. Its watch ends with the API server.
    fn ends(mut self, cluster: Cluster) -> Result<()> {
        self.cancel.cancel();
        cluster.stop()?;
        self.thread.take().map(std::thread::JoinHandle::join);
        Ok(())
    }
}

/// Waits until the node answers with this phase, and returns the answer.
fn answer(cluster: &Cluster, phase: Phase) -> Result<Status> {
    let of = |node: &Value| {
        let text = node["metadata"]["annotations"][STATUS].as_str()?;
        Status::parse(text).ok()
    };
    let what = format!("an answer `{}`", phase.name());
    let node = cluster.watch(&["node/worker-1"], LIMIT, &what, |node| {
        of(node).is_some_and(|status| status.phase == phase)
    })?;
    of(&node).context("an answer")
}

fn ask(cluster: &Cluster, release: &str, request: &str) -> Result<()> {
    let (release, request) = (format!("{RELEASE}={release}"), format!("{REQUEST}={request}"));
    let words = ["annotate", "--overwrite", "node/worker-1", &release, &request];
    cluster.kubectl(words).map(drop)
}

fn event(cluster: &Cluster, reason: &str) -> Result<()> {
    let of = format!("involvedObject.name=worker-1,reason={reason}");
    let words = ["events", "--namespace=default", "--field-selector", &of];
    cluster.watch(&words, LIMIT, reason, |event| event["reason"] == reason).map(drop)
}

/// Asks, answers and tells as a node does; then with credentials that are renewed, and an API server that
/// hangs.
pub(super) fn life(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &[])?;
    let place = tempfile::tempdir()?;
    let root = place.path().join("root");
    create_node(&cluster, "worker-1")?;
    let good = pair(&cluster, place.path(), "worker-1", "1")?;
    joined(&cluster, &root, &good)?;
    let boot = Boot::new(root.clone(), "1", false);
    let idle = answer(&cluster, Phase::Idle)?;
    ensure!(idle == Status::new("1", Sha256::of("1"), Phase::Idle), "{idle:?}");
    ask(&cluster, "bad", "a")?;
    let failed = answer(&cluster, Phase::Failed)?;
    ensure!(failed.reason.as_deref() == Some("no place has it"), "{failed:?}");
    event(&cluster, "UpdateFailed")?;
    // A certificate that has ended is no node's; the next one is used at once.
    let ended = pair(&cluster, place.path(), "worker-1", "0")?;
    let certificate = place.path().join("worker-1.crt");
    // It ends in the second in which it was made.
    let is_good =
        || run(command("openssl").args(["x509", "-checkend", "0", "-in"]).arg(&certificate));
    while is_good().is_ok() {}
    write(&root, CURRENT, &ended)?;
    cluster.kubectl(["annotate", "node/worker-1", &format!("{STATUS}-")])?;
    ask(&cluster, "bad", "b")?;
    boot.until("answers `401 Unauthorized`")?;
    write(&root, CURRENT, &good)?;
    let failed = answer(&cluster, Phase::Failed)?;
    ensure!(failed.request.as_deref() == Some("b"), "{failed:?}");
    cluster.signal("kube-apiserver", Signal::STOP)?;
    let hangs = Api::new(&root).condition("Ready", Duration::from_secs(2));
    cluster.signal("kube-apiserver", Signal::CONT)?;
    let hangs = hangs.err().unwrap_or_default();
    ensure!(hangs.ends_with("within 2s"), "{hangs}");
    ask(&cluster, "2", "c")?;
    boot.until("arm 2")?;
    boot.until("restart")?;
    let restarting = answer(&cluster, Phase::Restarting)?;
    ensure!(restarting.request.as_deref() == Some("c"), "{restarting:?}");
    event(&cluster, "UpdateStaged")?;
    boot.cancel.cancel();
    // The machine has started again.
    let trial = Boot::new(root, "2", true);
    ensure!(answer(&cluster, Phase::Trial)?.version == "2");
    event(&cluster, "UpdateTrial")?;
    boot.cancel.cancel();
    trial.ends(cluster)?;
    boot.thread.map(std::thread::JoinHandle::join);
    Ok(())
}

/// What the API server grants a node, and what it does not.
pub(super) fn rights(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &[])?;
    let place = tempfile::tempdir()?;
    let root = place.path().join("root");
    for name in ["worker-1", "worker-2"] {
        create_node(&cluster, name)?;
    }
    joined(&cluster, &root, &pair(&cluster, place.path(), "worker-1", "1")?)?;
    let api = Api::new(&root);
    ensure!(api.node()? == "worker-1");
    write(&root, "/proc/sys/kernel/random/boot_id", "this boot\n")?;
    let ready = |boot: &str, status: &str| {
        let condition =
            json!({ "type": "Ready", "status": status, "reason": "Test", "message": "-" });
        let info = json!({ "bootID": boot });
        let patch = json!({ "status": { "conditions": [condition], "nodeInfo": info } });
        let patch = patch.to_string();
        let words = ["patch", "node/worker-1", "--subresource=status", "--patch", &patch];
        cluster.kubectl(words).map(drop)
    };
    // What kubelet told in the boot before says nothing of this one.
    ready("the boot before", "True")?;
    let told = api.condition("Ready", LIMIT);
    ensure!(told.is_err_and(|why| why.contains("nothing in this boot")), "it was told before");
    for status in ["False", "True"] {
        ready("this boot", status)?;
        let told = api.condition("Ready", LIMIT);
        ensure!(told.as_deref() == Ok(status), "{told:?}");
    }
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("ca"), &cluster.facts.ca)?;
    let node = |words: &[&str]| {
        let mut kubectl = command(&cluster.facts.kubectl);
        kubectl.env("HOME", place.path()).args(["--kubeconfig", "/dev/null"]);
        kubectl.args(["--server", &cluster.facts.server, "--certificate-authority", &at("ca")]);
        kubectl.args(["--client-certificate", &at("worker-1.crt")]);
        run(kubectl.args(["--client-key", &at("worker-1.key")]).args(words))
    };
    for (words, want) in [
        (["annotate", "node/worker-1", "orlop.dev/status=x"], None),
        (["annotate", "node/worker-2", "orlop.dev/status=x"], Some("is forbidden")),
        (["get", "node/worker-2", "-o=name"], Some("is forbidden")),
        (["get", "nodes", "-o=name"], Some("is forbidden")),
        (["get", "nodes", "--field-selector=metadata.name=worker-1"], None),
        (["delete", "node/worker-1", "--wait=false"], Some("is forbidden")),
    ] {
        let answer = node(&words).map_err(|error| format!("{error:#}"));
        let as_wanted = match (&answer, want) {
            (Ok(_), None) => true,
            (Err(error), Some(text)) => error.contains(text),
            _ => false,
        };
        ensure!(as_wanted, "{words:?}: {answer:?}");
    }
    cluster.stop()
}

/// What `orlop manifests updater` prints is taken by an API server and grants what it says.
pub(super) fn manifests(orlop: &Orlop) -> Result<()> {
    let cluster = Cluster::start(orlop, &[])?;
    let mut print = orlop.command();
    let text = run(print.args(["manifests", "updater", "--for", "user:upgrader"]))?;
    cluster.apply(&text)?;
    for (words, want) in [
        (&["patch", "nodes"][..], "yes"),
        (&["watch", "nodes"], "yes"),
        (&["list", "pods", "--all-namespaces"], "yes"),
        (&["create", "pods", "--subresource=eviction"], "yes"),
        (&["list", "poddisruptionbudgets.policy"], "yes"),
        (&["list", "events"], "yes"),
        (&["delete", "nodes"], "no"),
        (&["delete", "pods"], "no"),
        (&["create", "pods"], "no"),
        (&["get", "secrets"], "no"),
    ] {
        let mut ask = cluster.kubectl_command();
        ask.args(["auth", "can-i", "--as=upgrader"]).args(words);
        // It fails where the answer is no.
        let output = ask.output()?;
        let answer = String::from_utf8_lossy(&output.stdout);
        ensure!(answer.trim() == want, "{words:?}: {answer}");
    }
    cluster.stop()
}
