//! What the tests with machines share: the channel and its releases, a control plane, two nodes that run the
//! release before all of the channel's.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use qemu_tests::process::run;
use qemu_tests::registry::{Content, Registry};
use qemu_tests::releases::{Base, Older, Released, Releases, Variant};
use qemu_tests::{Cluster, Orlop, Setup, images};
use serde_json::json;
use tempfile::TempDir;

use super::available::{self, IMAGE};
use super::node::{LIMIT, LiveNode};
use crate::server::Server;

/// In the order in which they are upgraded.
pub(crate) const NODES: [&str; 2] = ["live-1", "live-2"];
/// Nobody listens there. It leaves kubelet the time to run pods in the trial.
const CHECK: (&str, &str) =
    ("/usr/lib/orlop/health.d/nobody.toml", "ask = { tcp = \"127.0.0.1:9\" }\ndeadline = \"4m\"\n");
/// Who calls.
const CALLER: &str = "upgrader";

pub(crate) struct World {
    nodes: Mutex<Vec<LiveNode>>,
    pub(crate) cluster: Cluster,
    /// Of a service account that may do what `orlop manifests updater` says.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) releases: Releases,
    pub(crate) server: Server,
    /// What the nodes run at first, with an older containerd and an older kubelet.
    pub(crate) first: Released,
    /// What the server had given when it was asked last.
    given: AtomicU64,
    _place: TempDir,
}

static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);

/// Ends all of it.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The one and only, made by whoever comes first.
pub(crate) fn world(orlop: &Orlop) -> Result<Arc<World>> {
    let mut shared = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = &*shared {
        return Ok(Arc::clone(world));
    }
    let world = Arc::new(World::new(orlop)?);
    *shared = Some(Arc::clone(&world));
    Ok(world)
}

impl World {
    fn new(orlop: &Orlop) -> Result<Self> {
        let releases = Releases::new(orlop)?;
        let first = node("1.0", &releases)?.older(Older::Containerd).older(Older::Kubelet);
        let first = releases.build(orlop, &first)?;
        let server = Server::start(&releases.site());

        let cluster = Cluster::start(orlop, &[])?;
        cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;
        let place = tempfile::tempdir()?;
        let kubeconfig = caller(orlop, &cluster, &place)?;
        let mut content = Content::default();
        images::add(&mut content, IMAGE, "/bin/sh", &images::busybox()?)?;
        let registry = Registry::serve(content).context("cannot serve a registry")?;
        let url = server.url();
        let port = url.rsplit(':').next().context("an address has a port")?;
        let tables = format!("[update]\nchannel = \"http://10.0.2.2:{port}\"\ndeadline = 540\n");
        let start = |name| {
            let registry = Some(registry.port());
            let setup = Setup { registry, tables: &tables, ..Setup::new(name) };
            LiveNode::start(orlop, &cluster, &first, setup)
        };
        let mut nodes = NODES.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        for node in &mut nodes {
            node.boots(&first)?;
            node.is_up(&cluster)?;
        }
        available::start(&cluster)?;
        // From here on nobody can pull anything.
        drop(registry);
        let (nodes, given, _place) = (Mutex::new(nodes), AtomicU64::new(0), place);
        Ok(Self { nodes, cluster, kubeconfig, releases, server, first, given, _place })
    }

    /// Publishes today's image with a check that nothing can meet.
    pub(crate) fn bad(&self, orlop: &Orlop) -> Result<Released> {
        let bad = node("1.1", &self.releases)?.file(CHECK.0, CHECK.1);
        self.releases.release(orlop, &bad)
    }

    /// Publishes today's image, and the same with a file more, to which there is a delta.
    pub(crate) fn good(&self, orlop: &Orlop) -> Result<[Released; 2]> {
        let second = self.releases.release(orlop, &node("1.2", &self.releases)?)?;
        let more = node("1.3", &self.releases)?.file("/usr/share/news", "a file more\n");
        let third = self.releases.build(orlop, &more)?;
        self.releases.publish(orlop, &third, 0, 1)?;
        Ok([second, third])
    }

    /// Both nodes, until they are switched off.
    pub(crate) fn nodes(&self) -> MutexGuard<'_, Vec<LiveNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the channel that were given since this was asked last.
    pub(crate) fn given(&self) -> u64 {
        let now = self.server.given();
        now - self.given.swap(now, Ordering::SeqCst)
    }
}

/// An image of a node, as the owner of the keys would build it: the node config need not say whom to believe.
fn node(version: &str, releases: &Releases) -> Result<Variant> {
    let variant = Variant::new(Base::Node, version);
    Ok(variant.file("/usr/lib/orlop/updates/root.json", &releases.root()?))
}

/// Makes a service account with the role that is printed for it, and returns its kubeconfig.
fn caller(orlop: &Orlop, cluster: &Cluster, place: &TempDir) -> Result<PathBuf> {
    cluster.kubectl(["create", "serviceaccount", CALLER])?;
    let account = format!("serviceaccount:default/{CALLER}");
    let mut command = orlop.command();
    cluster.apply(&run(command.args(["manifests", "updater", "--for", &account]))?)?;
    let token = cluster.kubectl(["create", "token", CALLER, "--duration=12h"])?;
    let ca = place.path().join("ca.crt");
    std::fs::write(&ca, &cluster.facts.ca)?;
    let at = json!({ "server": cluster.facts.server, "certificate-authority": ca });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "live", "cluster": at }],
        "users": [{ "name": CALLER, "user": { "token": token.trim() } }],
        "contexts": [{ "name": "live", "context": { "cluster": "live", "user": CALLER } }],
        "current-context": "live",
    });
    let path = place.path().join("kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
