//! Releases that must be left, each a real image: the node comes back to what it ran before, says why,
//! and does not try it again by itself.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Bad, Base, Released};
use serde_json::{Value, json};

use crate::full;
use crate::node::{LIMIT, Node, Running};
use crate::slow::Slow;
use crate::world::{World, seen_by_guests, world};

/// Memory for what a kernel leaves when it panics, as servers have it. It lasts as long as the machine has
/// power.
pub(crate) const KEEPS_PANICS: [&str; 4] =
    ["-object", "memory-backend-ram,id=erst,size=64K", "-device", "acpi-erst,memdev=erst"];

/// Bytes a second of a disk that is slow: a release reads some 30 MB until containerd answers.
const SLOW: u64 = 256 << 10;

/// On the base image, as they are tried one after the other. The first two are a good release of the
/// channel, which has nothing newer then.
const ON_BASE: [Bad; 7] = [
    Bad::RootDamaged,
    Bad::DiskSlow,
    Bad::KernelPanics,
    Bad::InitEnds,
    Bad::InitHangs,
    Bad::NoNetworkDriver,
    Bad::ContainerdEnds,
];

/// Those that are tried with each commit, for one release is published and no more. The rest with `--full`:
/// a guest without KVM takes minutes.
const OFTEN: usize = 3;

/// How a bad release is seen.
struct Signs {
    /// What the console says while it runs.
    console: &'static [&'static str],
    /// Whether it comes so far that its agent runs.
    comes: Comes,
    /// What is in the reason.
    reason: &'static str,
}

/// How far it comes.
#[derive(PartialEq, Eq)]
enum Comes {
    /// Not to its units.
    Nowhere,
    /// To its units, among which that one may be the first which ends it.
    Perhaps,
    /// To its units.
    Up,
}

fn signs(bad: Bad) -> Signs {
    let (console, comes, reason): (&'static [&'static str], _, _) = match bad {
        Bad::KernelPanics => (
            &["Kernel panic - not syncing"],
            Comes::Nowhere,
            "it ended before its updater ran: panic, hang, reset or power cut",
        ),
        Bad::InitEnds => (
            &["Attempted to kill init!"],
            Comes::Nowhere,
            "its kernel panicked: Attempted to kill init!",
        ),
        // Who hangs says nothing.
        Bad::InitHangs => (&[], Comes::Up, "it hung, and the watchdog has reset the machine"),
        Bad::RootDamaged => (
            &["Kernel panic - not syncing: dm-verity device corrupted"],
            Comes::Perhaps,
            "its kernel panicked: dm-verity device corrupted",
        ),
        Bad::NoNetworkDriver => {
            (&["the trial has failed: check:network: 10.0.2.2:"], Comes::Up, "check:network: ")
        }
        Bad::ContainerdEnds => (&["containerd FAILED"], Comes::Up, "cri: "),
        Bad::KubeletEnds => (&["kubelet FAILED"], Comes::Up, "kubelet: "),
        Bad::NeverReady => (
            &["the trial has failed: node-ready: "],
            Comes::Up,
            "node-ready: the node's condition Ready is False",
        ),
        Bad::DiskSlow => (&["the trial has failed: cri"], Comes::Up, "cri"),
    };
    Signs { console, comes, reason }
}

/// What the node must remember of a release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    version: String,
    root_hash: String,
    reason: String,
}

/// A node that is given bad releases.
pub(crate) struct Patient<'a> {
    pub(crate) orlop: &'a Orlop,
    pub(crate) node: Node,
    pub(crate) on: Running,
    /// What it runs, and comes back to.
    pub(crate) first: &'a Released,
    slow: Slow,
    left: Vec<Left>,
}

impl<'a> Patient<'a> {
    /// Starts one, and waits until it is healthy.
    pub(crate) fn new(orlop: &'a Orlop, first: &'a Released, config: &str) -> Result<Self> {
        let slow = Slow::new()?;
        let monitor = slow.arguments();
        let monitor = monitor.each_ref().map(String::as_str);
        let mut node = Node::new(first, config)?;
        let mut on = node.start_with(orlop, &[&KEEPS_PANICS[..], &monitor].concat())?;
        on.boots(first)?;
        on.is_healthy(first)?;
        Ok(Self { orlop, node, on, first, slow, left: Vec::new() })
    }

    /// Has a bad release tried: the node comes back to what it ran, and says why.
    pub(crate) fn falls_back(&mut self, bad: Bad, release: &Released) -> Result<()> {
        let Self { orlop, node, on, first, .. } = self;
        let from = on.machine.console().len();
        let upgrade = json!({ "do": "upgrade", "version": release.version });
        if bad == Bad::RootDamaged {
            let mut armed = upgrade;
            armed["restart"] = false.into();
            on.done(&armed)?;
            // The other slot is filled and verified, and its disk changes what it was given.
            node.damage("ROOT-B", release)?;
            on.restarts(&json!({ "do": "upgrade" }))?;
        } else {
            on.restarts(&upgrade)?;
        }
        let Signs { console, comes, reason } = signs(bad);
        if comes == Comes::Up {
            on.boots(release)?;
        }
        if bad == Bad::DiskSlow {
            self.slow.limit(Some(SLOW))?;
        }
        if !console.is_empty() {
            on.machine.wait_for_line(from, console, LIMIT)?;
        }
        if bad == Bad::DiskSlow {
            // It is slow until the release is left, and not one boot longer.
            on.machine.wait_for_line(from, &["all stopped, restart now"], LIMIT)?;
            self.slow.limit(None)?;
        }
        let mut start = on.starts()?;
        if comes == Comes::Perhaps && start.root_hash == release.root_hash {
            start = on.starts()?;
        }
        ensure!(start.root_hash == first.root_hash, "{} runs", start.root_hash);
        let slots = on.is_healthy(first)?;
        let fell_back = &slots["fell-back"];
        let said = fell_back["reason"].as_str().unwrap_or_default();
        ensure!(fell_back["version"] == *release.version && said.contains(reason), "{slots:#}");
        orlop.measured(format!("{bad:?}: {said}"));
        let told = format!("release {} was left: {said}", release.version);
        on.machine.wait_for_line(from, &[&told], LIMIT)?;
        let left = Left {
            version: release.version.clone(),
            root_hash: release.root_hash.clone(),
            reason: said.to_owned(),
        };
        // What failed twice is remembered once.
        self.left.retain(|before| before.root_hash != left.root_hash);
        self.left.push(left);
        ensure!(failed(&slots) == self.left, "{slots:#}");
        ensure!(slots["staged"].is_null() && slots["other"].is_null(), "{slots:#}");
        // By itself the node does not take it again.
        let check = on.done(&json!({ "do": "check" }))?;
        let against = check["against-by-policy"].as_str().unwrap_or_default();
        let refused = against.starts_with("it has failed on this node");
        ensure!(check["newest"] == *release.version && refused, "{check}");
        ensure!(check["against"].is_null(), "nor does a person: {check}");
        Ok(())
    }

    /// Powers it off, and reads what the disk has of all that.
    pub(crate) fn ends(self) -> Result<()> {
        self.on.machine.press_power_button()?;
        let ended = self.on.machine.finish(LIMIT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        let seconds = ended.cpu_seconds.unwrap_or_default();
        self.orlop.measured(format!("{seconds:.0} s of a processor in the guest, all told"));
        let meta = self.node.remembered()?;
        let of = |version: &str, hash: &dyn ToString, reason: &str| Left {
            version: version.to_owned(),
            root_hash: hash.to_string(),
            reason: reason.to_owned(),
        };
        let failed = meta.failed.iter().map(|it| of(&it.version, &it.root_hash, &it.reason));
        ensure!(failed.collect::<Vec<_>>() == self.left, "{meta:#?}");
        let last = meta.fallback.as_ref().map(|it| of(&it.version, &it.root_hash, &it.reason));
        ensure!(last.as_ref() == self.left.last(), "{meta:#?}");
        ensure!(meta.trial.is_none() && meta.staged.is_none(), "{meta:#?}");
        Ok(())
    }
}

/// What `status` says of all that failed.
fn failed(slots: &Value) -> Vec<Left> {
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let left = |it: &Value| Left {
        version: text(it, "version"),
        root_hash: text(it, "root-hash"),
        reason: text(it, "reason"),
    };
    slots["failed"].as_array().into_iter().flatten().map(left).collect()
}

pub(crate) fn left(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let tried = tried()?;
    // The watchdog takes a minute, and is to be the quicker one.
    let deadline = if tried.contains(&Bad::InitHangs) { 90 } else { 45 };
    let config = world.config(&format!("deadline = {deadline}\n"))?;
    let mut patient = Patient::new(orlop, &world.good[0], &config)?;
    for (number, bad) in tried.into_iter().enumerate() {
        let release = release(orlop, &world, bad, number)?;
        patient.falls_back(bad, &release).with_context(|| format!("{bad:?}"))?;
    }
    patient.ends()
}

/// Those that are asked for by their names, or those that it is the turn of.
fn tried() -> Result<Vec<Bad>> {
    let Ok(names) = std::env::var("ORLOP_TEST_BAD") else {
        let count = if full() { ON_BASE.len() } else { OFTEN };
        return Ok(ON_BASE[..count].to_vec());
    };
    let named = |name: &str| ON_BASE.into_iter().find(|bad| format!("{bad:?}") == name);
    let all = names.split(',').map(|name| named(name).with_context(|| format!("no `{name}`")));
    all.collect()
}

fn release(orlop: &Orlop, world: &World, bad: Bad, number: usize) -> Result<Released> {
    ensure!(bad.base() == Base::Base, "{bad:?}");
    if matches!(bad, Bad::RootDamaged | Bad::DiskSlow) {
        return world.good.last().cloned().context("there are good releases");
    }
    let channel = seen_by_guests(&world.server)?;
    let there = channel.trim_start_matches("http://");
    world.releases.release(orlop, &bad.variant(&format!("2.{number}"), there)?)
}
