//! A machine of the cluster: firmware, a watchdog, a disk that stays, and an agent beside what a node has.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::agent::{Agent, Waiting};
use qemu_tests::disk::Disk;
use qemu_tests::releases::Released;
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::Value;
use tempfile::TempDir;

/// What a step may take without KVM on a busy machine: a boot, an upgrade of two nodes, a trial that fails by
/// its own time.
pub(crate) const LIMIT: Duration = Duration::from_secs(45 * 60);

/// A node under way. Dropped, its power is cut.
pub(crate) struct LiveNode {
    pub(crate) node: Node,
    pub(crate) agent: Agent,
    disk: Disk,
    _directory: TempDir,
}

/// What is known of a node from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The release, as its updater says.
    pub(crate) version: String,
    pub(crate) kubelet: String,
    pub(crate) containerd: String,
    /// The kernel's id of the boot.
    pub(crate) boot: String,
    /// Of the Node object.
    uid: String,
    /// The machine's id, as kubelet says.
    machine: String,
}

impl Facts {
    /// Another release of it.
    pub(crate) fn is_the_same_node(&self, other: &Self) -> Result<()> {
        let same = (&self.uid, &self.machine) == (&other.uid, &other.machine);
        ensure!(same, "{other:?} became {self:?}");
        Ok(())
    }

    /// Those that differ from release to release.
    pub(crate) fn versions(&self) -> String {
        format!("{}: {} and {}", self.version, self.kubelet, self.containerd)
    }
}

impl LiveNode {
    /// Switches a new disk with a release on.
    pub(crate) fn start(
        orlop: &Orlop,
        cluster: &Cluster,
        release: &Released,
        setup: Setup<'_>,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("orlop-live-").tempdir()?;
        let disk = directory.path().join("disk.raw");
        let disk = Disk::copy(&release.image.join("disk.raw"), &disk)?;
        disk.grow(6 << 30)?;
        let waiting = Waiting::at(&directory.path().join("agent"))?;
        let mut args = vec!["--reboot", "--", "-device", "i6300esb"];
        args.extend(waiting.arguments());
        let setup = Setup { disk: Some(disk.path()), firmware: true, args: &args, ..setup };
        let mut node = Node::start_image(orlop, &release.image, cluster, &setup)?;
        let agent = node.machine.agent(waiting, LIMIT)?;
        Ok(Self { node, agent, disk, _directory: directory })
    }

    pub(crate) fn name(&self) -> &str {
        self.node.name()
    }

    /// Waits until it has started once more, and holds its root against this one.
    pub(crate) fn boots(&mut self, release: &Released) -> Result<()> {
        let start = self.agent.new_boot(LIMIT);
        let start = start.with_context(|| self.node.machine.so_far())?;
        let (runs, want) = (&start.root_hash, &release.root_hash);
        let so_far = self.node.machine.so_far();
        ensure!(runs == want, "{runs} runs, and not {} of {want}{so_far}", release.version);
        Ok(())
    }

    /// Waits until the cluster has it as Ready, and its updater has found it healthy: it is what can be come
    /// back to.
    pub(crate) fn is_up(&mut self, cluster: &Cluster) -> Result<()> {
        self.node.ready(cluster)?;
        self.agent.request("healthy", LIMIT).with_context(|| self.node.machine.so_far())?;
        cluster.watch(&["node", self.name()], LIMIT, "its updater speaks", |node| {
            super::status(node).is_ok()
        })?;
        Ok(())
    }

    pub(crate) fn facts(&self, cluster: &Cluster) -> Result<Facts> {
        let node = cluster.get(&["node", self.name()])?;
        let info = &node["status"]["nodeInfo"];
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a string");
        Ok(Facts {
            version: super::status(&node)?.version,
            kubelet: text(&info["kubeletVersion"])?,
            containerd: text(&info["containerRuntimeVersion"])?,
            boot: text(&info["bootID"])?,
            uid: text(&node["metadata"]["uid"])?,
            machine: text(&info["machineID"])?,
        })
    }

    /// Powers it off in order, and judges its disk.
    pub(crate) fn power_off(self, orlop: &Orlop) -> Result<()> {
        let name = self.name().to_owned();
        let ended = self.node.power_off()?;
        let state = self.disk.judge()?;
        ensure!(self.disk.ext4(&state)?.is_clean, "STATE of {name} was not unmounted");
        let cost = ended.cpu_seconds.context("QEMU has a cost")?;
        orlop.measured(format!("{name}: {cost:.0} s of a processor for all of its boots"));
        Ok(())
    }
}
