//! A cluster with one node: `orlop run --cluster`.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::cluster::events::Stdin;
use crate::cluster::follow::Follower;
use crate::cluster::ports::Port;
use crate::cluster::view::View;
use crate::cluster::{Cluster, Event, Events, Setup, start};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::{Board, Progress};
use crate::run::disk::Image;
use crate::run::{self, Forward, Options, Reporter, Serial, Summary};

/// Where kubelet serves logs, exec and port-forward.
const KUBELET: u16 = 10250;
/// The address that QEMU's user-mode network gives its first guest.
const GUEST: &str = "10.0.2.15";
/// Addresses of pods: there is one node, so no network plugin has to divide them.
const PODS: &str = "10.88.0.0/16";

/// Looks whether the image can join a cluster, before anything is built or started.
///
/// # Errors
/// [`Id::NoKubelet`], and those of opening the image.
pub fn check(options: &Options) -> Result<()> {
    let image = Image::open(&options.image)?;
    // A disk alone does not tell.
    if !image.is_build() || image.has_kubelet() {
        return Ok(());
    }
    let message =
        format!("the image `{}` has no kubelet to join a cluster", options.image.display());
    Err(Error::new(Id::NoKubelet, message)
        .hint("build a recipe that has one, such as one that extends `recipes/node.toml`"))
}

/// Starts a cluster, boots the image as its node, and shows nodes and pods until the guest is
/// gone; then the cluster is gone too. `None` if it was interrupted before the guest started.
///
/// Must be called from a thread that lives as long as both.
///
/// # Errors
/// Those of [`start`] and [`run::run`]; [`Id::ClusterEnded`] if a process of the cluster ends.
pub fn run(options: &Options, setup: &Setup<'_>, progress: &Progress) -> Result<Option<Summary>> {
    let events = Events::watch(Stdin::Ignored)?;
    let Some(mut cluster) = start(setup, &events, progress)? else { return Ok(None) };
    let kubelet = Port::reserve()?;
    cluster.register(&format!("{GUEST}:{KUBELET}"), kubelet.number())?;
    let (options, board) = prepare(options, &cluster, &kubelet, progress)?;
    progress.note(format!(
        "kubectl for this cluster: {} --kubeconfig {}",
        cluster.report().kubectl.display(),
        cluster.report().kubeconfig.display()
    ));

    let failed = Arc::new(Mutex::new(None));
    let shown = Arc::new(Mutex::new((board, View::default())));
    let mut follower = None;
    let outcome = run::run_beside(&options, progress, |reporter| {
        let (failed, told) = (Arc::clone(&failed), reporter.clone());
        let inbox = events.without_signals();
        // Ends with the cluster's processes.
        thread::spawn(move || forward(&inbox, &told, &failed));
        follower = Some(follow(&cluster, reporter, Arc::clone(&shown)));
    });
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let failed = failed.map(|name: &str| cluster.ended(name));
    drop(cluster);
    drop(follower);
    let (board, view) = &mut *shown.lock().unwrap_or_else(PoisonError::into_inner);
    if board.take().is_some() {
        progress.table(&view.table().join("\n"));
    }
    // That the guest was ended is then only a consequence.
    match failed {
        Some(failed) => Err(failed),
        None => outcome.map(Some),
    }
}

/// The options of the guest, and the place for the table if it has the terminal for itself.
fn prepare(
    options: &Options,
    cluster: &Cluster,
    kubelet: &Port,
    progress: &Progress,
) -> Result<(Options, Option<Board>)> {
    let report = cluster.report();
    let read = fs::read_to_string(&report.node_config);
    let text = read.or_fail(Id::Read, || format!("`{}`", report.node_config.display()))?;
    let path = report.directory.join("single-node.toml");
    fs::write(&path, alone(&text)).or_fail(Id::Write, || format!("`{}`", path.display()))?;
    let mut options = options.clone();
    options.config = Some(path);
    options.forward.push(Forward { host: kubelet.number(), guest: KUBELET });
    if options.serial == Serial::Auto && io::stderr().is_terminal() {
        options.serial = Serial::File(report.logs.join("console.log"));
    }
    let has_terminal = matches!(options.serial, Serial::File(_));
    let board = if has_terminal { progress.board() } else { None };
    if let (Serial::File(path), Some(_)) = (&options.serial, &board) {
        progress.note(format!("the guest's console goes to {}", path.display()));
    }
    Ok((options, board))
}

/// The node config of a cluster for its only node, which needs no network plugin of the cluster.
fn alone(config: &str) -> String {
    format!("{config}\n[cni]\nbridge = \"{PODS}\"\n")
}

/// Hands on what happens to the cluster.
fn forward(inbox: &Receiver<Event>, reporter: &Reporter, failed: &Mutex<Option<&'static str>>) {
    for event in inbox {
        match event {
            Event::Interrupted => reporter.interrupt(),
            Event::Ended(name) => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(name);
                reporter.end();
            }
        }
    }
}

/// Shows nodes and pods, and reports the first time that a node is Ready.
fn follow(
    cluster: &Cluster,
    reporter: Reporter,
    shown: Arc<Mutex<(Option<Board>, View)>>,
) -> Follower {
    let was_ready = AtomicBool::new(false);
    Follower::start(cluster.client(), move |before, now| {
        let (board, view) = &mut *shown.lock().unwrap_or_else(PoisonError::into_inner);
        match board {
            Some(board) => board.set(&now.table()),
            None => now.changes_since(before).into_iter().for_each(|line| reporter.tell(line)),
        }
        *view = now.clone();
        if now.has_ready_node() && !was_ready.swap(true, Ordering::Relaxed) {
            reporter.reached(run::Until::Ready.mark());
        }
    })
}

#[cfg(test)]
mod tests {
    use formats::node_config;

    use super::*;
    use crate::cluster::{Token, files};

    #[test]
    fn the_only_node_has_a_bridge_of_its_own() {
        let token = Token::draw(&mut &[0; 22][..]).unwrap();
        let pki = crate::cluster::pki::make(0, &[]).unwrap();
        let text = files::node_config("https://10.0.2.2:6443", &pki.ca.certificate, &token);
        let config = node_config::parse(&alone(&text)).unwrap();
        assert_eq!(config.cni.unwrap().bridge.to_string(), PODS);
        assert!(config.kubernetes.is_some());
    }

    #[test]
    fn an_image_without_a_kubelet_is_refused_and_a_disk_alone_is_not() {
        let build = tempfile::tempdir().unwrap();
        let options = Options::new(build.path());
        fs::write(build.path().join("disk.raw"), "").unwrap();
        let manifest = build.path().join("manifest.txt");
        fs::write(&manifest, "f 0755 0 0 /usr/bin/runc - 0\n").unwrap();
        let error = check(&options).unwrap_err();
        assert_eq!(error.id(), Id::NoKubelet);
        assert!(error.to_string().ends_with("has no kubelet to join a cluster"), "{error}");
        fs::write(&manifest, "f 0755 0 0 /usr/bin/kubelet - 0\n").unwrap();
        check(&options).unwrap();
        let none = build.path().join("none.raw");
        assert_eq!(check(&Options::new(none)).unwrap_err().id(), Id::Read);
    }
}
