//! A machine with firmware, a watchdog and an agent, whose disk stays when its power is cut.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use formats::meta::{Meta, OFFSETS, RECORD, choose};
use qemu_tests::agent::{Agent, Start, Waiting};
use qemu_tests::disk::{Disk, RootMap};
use qemu_tests::drive::Drive;
use qemu_tests::releases::Released;
use qemu_tests::{Machine, Orlop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a boot may take without KVM on a busy machine, or a trial that fails by its own time.
pub(crate) const LIMIT: Duration = Duration::from_secs(30 * 60);

/// A machine that is off.
pub(crate) struct Node {
    directory: TempDir,
    image: PathBuf,
    starts: u32,
}

/// A machine that is on.
pub(crate) struct Running {
    pub(crate) machine: Machine,
    pub(crate) agent: Agent,
}

impl Node {
    /// A new disk with an image, and a node config.
    pub(crate) fn new(release: &Released, config: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("orlop-node-").tempdir()?;
        let node = Self { directory, image: release.image.clone(), starts: 0 };
        let disk = Disk::copy(&node.image.join("disk.raw"), &node.path("disk.raw"))?;
        disk.grow(4 << 30)?;
        node.configure(config)?;
        Ok(node)
    }

    /// Another machine with the same content of its disk, and the same variables of its firmware.
    pub(crate) fn like(&self) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("orlop-node-").tempdir()?;
        let node = Self { directory, image: self.image.clone(), starts: 0 };
        Disk::copy(&self.disk(), &node.disk())?;
        for name in ["disk.raw.vars", "node.toml"] {
            std::fs::copy(self.path(name), node.path(name)).context(name)?;
        }
        Ok(node)
    }

    /// Gives it this node config from its next start on.
    pub(crate) fn configure(&self, config: &str) -> Result<()> {
        let path = self.path("node.toml");
        std::fs::write(&path, format!("schema = 1\n{config}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Switches it on; what resets it does not end it.
    pub(crate) fn start(&mut self, orlop: &Orlop) -> Result<Running> {
        self.start_with(orlop, &[])
    }

    /// The same, and QEMU is told this too.
    pub(crate) fn start_with(&mut self, orlop: &Orlop, more: &[&str]) -> Result<Running> {
        self.starts += 1;
        let waiting = Waiting::at(&self.path(&format!("agent-{}", self.starts)))?;
        let boot = orlop.boot_other(&self.image).args(&["--reboot", "--config"]);
        let boot = boot.path(&self.path("node.toml")).disk(&self.path("disk.raw"));
        let boot = boot.args(&["--", "-device", "i6300esb"]).args(&waiting.arguments());
        let mut machine = boot.args(more).start()?;
        let agent = machine.agent(waiting, LIMIT)?;
        Ok(Running { machine, agent })
    }

    /// Switches it on with a disk that the test is, and not QEMU.
    pub(crate) fn start_on_drive(&mut self, orlop: &Orlop) -> Result<(Running, Drive)> {
        let socket = self.path(&format!("drive-{}", self.starts));
        let drive = Drive::new(&self.disk(), &socket)?;
        let [set, file] = drive.arguments();
        let on = self.start_with(orlop, &[&set, &file])?;
        Ok((on, drive))
    }

    /// Its disk, a raw image; beside it the firmware's variables, with `.vars` behind the name.
    pub(crate) fn disk(&self) -> PathBuf {
        self.path("disk.raw")
    }

    /// Changes a bit in a slot, of a block that nothing but containerd needs and that it starts with. The
    /// machine may run: what it has not read yet it finds so.
    pub(crate) fn damage(&self, slot: &str, release: &Released) -> Result<()> {
        let path = self.path("disk.raw");
        let offset = Disk::open(&path)?.partition(slot)?.offset();
        let map = RootMap::of(&release.image.join("root.img"), &["/usr/bin/containerd"])?;
        Disk::to_change(&path)?.flip(offset + map.file_start)
    }

    /// What its META has, while it is off.
    pub(crate) fn remembered(&self) -> Result<Meta> {
        let path = self.path("disk.raw");
        let offset = Disk::open(&path)?.partition("META")?.offset();
        let disk = Disk::open(&path)?;
        let record = |at| disk.bytes(offset + at, RECORD as u64);
        let [one, two] = [record(OFFSETS[0])?, record(OFFSETS[1])?];
        Ok(choose([&one, &two])?.meta)
    }
}

impl Running {
    /// Waits until a boot has come so far that its agent runs: which root it has.
    pub(crate) fn starts(&mut self) -> Result<Start> {
        self.agent.new_boot(LIMIT).with_context(|| self.machine.so_far())
    }

    /// The same, and holds its root against this one.
    pub(crate) fn boots(&mut self, release: &Released) -> Result<()> {
        let start = self.starts()?;
        let (runs, want) = (&start.root_hash, &release.root_hash);
        let so_far = self.machine.so_far();
        ensure!(runs == want, "{runs} runs, and not {} of {want}{so_far}", release.version);
        Ok(())
    }

    /// Waits until what runs was found healthy: it is the release to come back to.
    pub(crate) fn is_healthy(&mut self, release: &Released) -> Result<Value> {
        self.agent.request("healthy", LIMIT).with_context(|| self.machine.so_far())?;
        let slots = self.slots()?;
        let healthy = &slots["healthy"]["root-hash"];
        ensure!(*healthy == *release.root_hash, "{} is not healthy: {slots:#}", release.version);
        ensure!(slots["trial"].is_null(), "there is a trial still: {slots:#}");
        Ok(slots)
    }

    /// What `status` says of the slots.
    pub(crate) fn slots(&mut self) -> Result<Value> {
        Ok(self.done(&json!({ "do": "status" }))?["slots"].take())
    }

    /// Asks for something, and returns what came of it.
    pub(crate) fn done(&mut self, request: &Value) -> Result<Value> {
        let mut event = self.agent.ask(request, LIMIT).with_context(|| self.machine.so_far())?;
        ensure!(event["event"] == "done", "{request}: {event}");
        Ok(event["result"].take())
    }

    /// Asks for something after which the machine restarts. That may come before the last word of it.
    pub(crate) fn restarts(&mut self, request: &Value) -> Result<()> {
        match self.done(request) {
            Err(_) if self.agent.was_started_again() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Asks for something that is not to be had, and returns why.
    pub(crate) fn refused(&mut self, request: &Value) -> Result<String> {
        let event = self.agent.ask(request, LIMIT).with_context(|| self.machine.so_far())?;
        match (event["event"].as_str(), event["why"].as_str()) {
            (Some("failed"), Some(why)) => Ok(why.to_owned()),
            _ => bail!("{request}: {event}"),
        }
    }

    /// Powers it off in order.
    pub(crate) fn power_off(self) -> Result<()> {
        self.power_off_and_tell().map(drop)
    }

    /// The same; returns what QEMU has taken of this host's processors in all, seconds.
    pub(crate) fn power_off_and_tell(self) -> Result<f64> {
        self.machine.press_power_button()?;
        let ended = self.machine.finish(LIMIT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        ended.cpu_seconds.context("`orlop run` says what QEMU took")
    }
}
