//! What the tests share: one control plane, one registry with their images, and one node that
//! nobody harms. Whoever harms a node has one of his own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use formats::oci::Files;
use qemu_tests::images::{add, add_on, busybox, read, with_libraries};
use qemu_tests::registry::{Content, Registry};
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::{Value, json};

use crate::plugs::Plugs;

/// What a step in the cluster may take on a busy machine without KVM.
pub(crate) const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The image with the tools of a shell.
pub(crate) const BUSYBOX: &str = "registry.test/busybox:1";
/// The image with what sets up networks and loads modules, and the tools of a shell.
pub(crate) const NETWORK: &str = "registry.test/network:1";
/// The image with kube-proxy and `nft`.
pub(crate) const PROXY: &str = "registry.test/kube-proxy:1";
/// The image of `flannel.yaml`: flannel's daemon and its CNI plugin, `nft`, and the tools of a shell.
const FLANNEL: &str = "registry.test/flannel:1";

/// Two images on one layer, which has the file `/share/base`.
pub(crate) const SHARING: [&str; 2] = ["registry.test/one:1", "registry.test/two:1"];

/// The shared part.
#[derive(Debug)]
pub(crate) struct World {
    /// The control plane.
    pub(crate) cluster: Cluster,
    /// The port of the registry.
    pub(crate) registry: u16,
    /// Where disks can be plugged into the node that is shared.
    pub(crate) plugs: Plugs,
    /// Serves for as long as the world stands.
    images: Registry,
    worker: Mutex<Option<Node>>,
    battered: Mutex<Option<Node>>,
}

static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);

/// Ends the shared nodes and the control plane.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The one and only, made by whoever comes first.
pub(crate) fn world(orlop: &Orlop) -> Result<Arc<World>> {
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = &*world {
        return Ok(Arc::clone(world));
    }
    // Client certificates live so short that a test sees one being rotated.
    let cluster = Cluster::start(orlop, &["--certificate-life", "4m", "--with", "flannel"])?;
    let registry = Registry::serve(images(&cluster)?).context("cannot serve a registry")?;
    cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;
    let made = Arc::new(World {
        cluster,
        registry: registry.port(),
        plugs: Plugs::new()?,
        images: registry,
        worker: Mutex::new(None),
        battered: Mutex::new(None),
    });
    *world = Some(Arc::clone(&made));
    Ok(made)
}

impl World {
    /// A node of that name that pulls from our registry.
    pub(crate) fn setup<'a>(&self, name: &'a str) -> Setup<'a> {
        Setup { registry: Some(self.registry), ..Setup::new(name) }
    }

    /// What the registry was asked as a proxy.
    pub(crate) fn proxied(&self) -> usize {
        self.images.proxied()
    }

    /// The node that is shared: started by whoever comes first, Ready when this returns.
    pub(crate) fn worker(&self, orlop: &Orlop) -> Result<&'static str> {
        const NAME: &str = "worker";
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_none() {
            let kubernetes = "labels = { zone = \"a\", \"example.com/disk\" = \"fast\" }\n\
                              taints = [\"dedicated=tests:NoSchedule\"]\n";
            let args = self.plugs.args();
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let tables = "[hugepages]\n2Mi = 16\n\
                          [[network.links.eth0.routes]]\nto = \"198.51.100.0/24\"\n\
                          via = \"10.0.2.9\"\nmetric = 7\n\
                          [sysctl]\n\"vm.max_map_count\" = 262144\n\
                          \"net.ipv4.conf.eth0.log_martians\" = \"1\"\n";
            let setup =
                Setup { kubernetes, tables, args: &args, by_proxy: true, ..self.setup(NAME) };
            let mut node = Node::start(orlop, &self.cluster, &setup)?;
            node.ready(&self.cluster)?;
            *worker = Some(node);
        }
        Ok(NAME)
    }
}

/// A pod of one container on a node, which tolerates the node's taints and is not restarted.
pub(crate) fn pod(name: &str, node: &str, container: Value, more: Value) -> Value {
    let mut main = json!({ "name": "main", "image": BUSYBOX });
    merge(&mut main, container);
    let mut spec = json!({
        "nodeSelector": { "kubernetes.io/hostname": node },
        "tolerations": [{ "operator": "Exists" }],
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "containers": [main],
    });
    merge(&mut spec, more);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": spec,
    })
}

/// A pod whose container runs a shell script.
pub(crate) fn script(name: &str, node: &str, script: &str) -> Value {
    pod(name, node, json!({ "command": ["/bin/sh", "-c", script] }), json!({}))
}

/// A pod that sees the node's processes and may do everything to them.
pub(crate) fn privileged(name: &str, node: &str, script: &str) -> Value {
    let container = json!({
        "command": ["/bin/sh", "-c", script],
        "securityContext": { "privileged": true },
    });
    pod(name, node, container, json!({ "hostPID": true, "hostNetwork": true }))
}

/// Makes a pod and waits until it is ready.
pub(crate) fn runs(cluster: &Cluster, pod: &Value) -> Result<String> {
    let name = name(pod)?;
    cluster.apply(&pod.to_string())?;
    let ready = cluster.wait(&[&format!("pod/{name}"), "--for=condition=Ready"], LIMIT);
    ready.with_context(|| {
        let events = cluster.kubectl(["describe", "pod", &name]);
        events.unwrap_or_else(|error| error.to_string())
    })?;
    Ok(name)
}

/// Removes a pod and waits until it is gone.
pub(crate) fn removed(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.kubectl(["delete", "pod", name, "--wait", "--timeout=300s"]).map(drop)
}

fn name(object: &Value) -> Result<String> {
    Ok(object["metadata"]["name"].as_str().context("an object has a name")?.to_owned())
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// Busybox from the host's static binary; the host's `ip`, `tc`, `nft` and `modprobe`; kube-proxy and
/// flannel from the cluster's programs with the host's `nft`.
fn images(cluster: &Cluster) -> Result<Content> {
    let mut content = Content::default();
    let program = |name: &str| read(&cluster.facts.bin.join(name));
    add(&mut content, BUSYBOX, "/bin/sh", &busybox()?)?;

    let mut files = busybox()?;
    for program in ["ip", "tc", "nft", "modprobe"] {
        with_libraries(&mut files, program, &format!("/usr/sbin/{program}"))?;
    }
    add(&mut content, NETWORK, "/bin/sh", &files)?;

    let mut files = Files::new();
    files.directory("/tmp", 0o1777)?;
    files.file("/usr/bin/kube-proxy", 0o755, program("kube-proxy")?)?;
    with_libraries(&mut files, "nft", "/usr/bin/nft")?;
    add(&mut content, PROXY, "/usr/bin/kube-proxy", &files)?;

    let mut lower = busybox()?;
    lower.file("/share/base", 0o644, b"of both".to_vec())?;
    for name in SHARING {
        let mut upper = Files::new();
        upper.file("/share/name", 0o644, name.into())?;
        add_on(&mut content, name, &lower, &upper)?;
    }

    let mut files = busybox()?;
    files.file("/flannel", 0o755, program("flannel")?)?;
    files.file("/opt/bin/flanneld", 0o755, program("flanneld")?)?;
    with_libraries(&mut files, "nft", "/usr/sbin/nft")?;
    add(&mut content, FLANNEL, "/opt/bin/flanneld", &files)?;
    Ok(content)
}

/// The node that may be harmed, for one test at a time.
#[derive(Debug)]
pub(crate) struct PatientNode<'a>(MutexGuard<'a, Option<Node>>);

impl PatientNode<'_> {
    /// The node.
    pub(crate) fn node(&mut self) -> Result<&mut Node> {
        self.0.as_mut().context("it was started")
    }
}

/// Waits for the turn and, for the first one, starts the node.
pub(crate) fn battered<'a>(orlop: &Orlop, world: &'a World) -> Result<PatientNode<'a>> {
    let mut battered = world.battered.lock().unwrap_or_else(PoisonError::into_inner);
    if battered.is_none() {
        // Little room, and a short memory of pressure, so that filling it takes no long time.
        let setup = Setup {
            kubelet: "evictionPressureTransitionPeriod = \"10s\"\n",
            disk_size: "2200 MiB",
            ..world.setup("battered")
        };
        let mut node = Node::start(orlop, &world.cluster, &setup)?;
        node.ready(&world.cluster)?;
        *battered = Some(node);
    }
    Ok(PatientNode(battered))
}

/// The API server has it as Ready now.
pub(crate) fn ensure_ready(cluster: &Cluster, node: &Node) -> Result<()> {
    let node = cluster.get(&["node", node.name()])?;
    ensure!(is_ready(&node), "{:#?}", node["status"]["conditions"]);
    Ok(())
}

/// Waits until a node is Ready in another boot than this.
pub(crate) fn comes_back(cluster: &Cluster, name: &str, boot: &str) -> Result<()> {
    cluster.watch(&["node", name], LIMIT, "the node comes back", |node| {
        is_ready(node) && node["status"]["nodeInfo"]["bootID"] != boot
    })?;
    Ok(())
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
