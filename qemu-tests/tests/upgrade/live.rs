//! `orlop upgrade` with machines: two nodes with firmware, a watchdog and one disk each, in a control plane
//! whose controllers count a budget, and releases of whole images in a channel.

mod available;
mod node;
mod world;

use anyhow::{Context as _, Result, bail, ensure};
use formats::fleet::{self, Phase, Status};
use qemu_tests::Orlop;
use qemu_tests::releases::Released;
use rustix::process::Signal;
use serde_json::Value;

use crate::call::{Call, Ended, Speaks};
use crate::outcomes;
use available::{Available, Daemon, LEAST};
use node::{Facts, LIMIT, LiveNode};
pub(crate) use world::end;
use world::{World, world};

/// Where containerd keeps what it knows of images and containers.
const DATABASE: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
/// The log of who copies databases and puts them back.
const LOG: &str = "/var/log/orlop/databases.log";
/// What the databases of a newer containerd can be to an older one.
const UNREADABLE: &str = "this is no database of the release before";
const MARK: &str = "orlop.dev/cordoned-by-upgrade";

fn status(node: &Value) -> Result<Status> {
    let text = node["metadata"]["annotations"][fleet::STATUS].as_str().unwrap_or_default();
    Status::parse(text).with_context(|| format!("the status is `{text}`"))
}

fn is_free(node: &Value) -> bool {
    node["spec"]["unschedulable"] != true && node["metadata"]["annotations"][MARK].is_null()
}

/// What its updater told of a node by Events with this reason, once one begins so: an Event comes after the
/// status that people wait for.
fn told(world: &World, node: &str, reason: &str, start: &str) -> Result<Vec<String>> {
    let of = format!("--field-selector=involvedObject.name={node},reason={reason}");
    let what = format!("{node}: an Event {reason}");
    world.cluster.watch(&["events", &of], LIMIT, &what, |event| {
        event["message"].as_str().is_some_and(|message| message.starts_with(start))
    })?;
    let events = world.cluster.get(&["events", &of])?;
    let events = events["items"].as_array().context("a list")?;
    let message = |event: &Value| event["message"].as_str().map(str::to_owned);
    Ok(events.iter().filter_map(message).collect())
}

/// The release has a newer containerd and a newer kubelet, which run pods until it is found that it is bad.
/// While it is tried, the database of containerd becomes what the older one cannot read; and no registry is
/// there any more.
pub(crate) fn falls_back(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let mut nodes = world.nodes();
    let [one, two] = &mut nodes[..] else { bail!("there are two nodes") };
    let before = [one.facts(&world.cluster)?, two.facts(&world.cluster)?];
    let daemon = Daemon::on(&world.cluster, one.name())?;
    let available = Available::watch(&world.cluster)?;
    let bad = &world.bad(orlop)?;
    let mut call = Step { orlop, world: &world }.call(&bad.version, Speaks::Lines)?;

    call.wait_for(one.name(), Phase::Restarting.name())?;
    one.boots(bad)?;
    let daemon = daemon.runs_again(&world.cluster)?;
    let tried = one.facts(&world.cluster)?;
    ensure!(tried.version == bad.version, "{tried:?}");
    let changed = tried.kubelet != before[0].kubelet && tried.containerd != before[0].containerd;
    ensure!(changed, "{before:?} became {tried:?}");
    one.agent.request(&format!("write {DATABASE} {UNREADABLE}"), LIMIT)?;

    one.boots(&world.first)?;
    let ended = call.end()?;
    let log = one.agent.request(&format!("read {LOG}"), LIMIT)?;
    let words = "databases of containerd and kubelet are as before the trial";
    ensure!(log.iter().any(|line| line.contains(words)), "{log:#?}");
    shown(orlop, &ended);
    let start = format!("error[E0881]: node `{}` fell back from {}: ", one.name(), bad.version);
    let mut failures = ended.said.iter().filter_map(|line| line.strip_prefix(&start));
    let reason = failures.next().with_context(|| format!("{ended:#?}"))?;
    ensure!(ended.code == Some(8) && reason.contains("check:nobody"), "{ended:#?}");
    let came = format!("{}  fell back: {reason}\n{}  not begun\n", one.name(), two.name());
    ensure!(ended.text == came, "{ended:#?}");

    // The node says the same, and is as it was.
    let object = world.cluster.get(&["node", one.name()])?;
    let said = status(&object)?;
    ensure!(said.phase == Phase::FellBack && said.reason.as_deref() == Some(reason), "{said:?}");
    let fallback = said.fallback.context("it has fallen back")?;
    ensure!(fallback.version == bad.version && fallback.reason == reason, "{fallback:?}");
    let start = format!("release {} was left", bad.version);
    let events = told(&world, one.name(), "UpdateFellBack", &start)?;
    let [event] = &events[..] else { bail!("{events:?}") };
    ensure!(event.contains(&bad.version) && event.contains(reason), "{event}");
    ensure!(is_free(&object), "{object:#}");
    let after = one.facts(&world.cluster)?;
    after.is_the_same_node(&before[0])?;
    ensure!(after.versions() == before[0].versions(), "{before:?} became {after:?}");
    ensure!(after.boot != before[0].boot && after.boot != tried.boot, "{tried:?}, {after:?}");

    // What was pulled before is there: nobody could pull it now.
    daemon.runs_again(&world.cluster)?;
    is_kept(available)?;

    // Nobody has touched the other one.
    let object = world.cluster.get(&["node", two.name()])?;
    ensure!(object["metadata"]["annotations"][fleet::RELEASE].is_null(), "{object:#}");
    ensure!(is_free(&object) && two.facts(&world.cluster)? == before[1], "{object:#}");
    Ok(())
}

/// The second and the third release, the third by two calls since the first one is stopped; and back to the
/// second.
pub(crate) fn there_and_back(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let mut nodes = world.nodes();
    let available = Available::watch(&world.cluster)?;
    for node in nodes.iter_mut() {
        node.agent.request("write /var/lib/orlop/kept by the first", LIMIT)?;
    }
    let step = Step { orlop, world: &world };
    let [second, third] = &world.good(orlop)?;
    let first = step.facts(&mut nodes)?;

    let ended = step.call(&second.version, Speaks::Json)?.end()?;
    let at_second = step.upgraded(&mut nodes, &ended, second, &first)?;
    for (was, is) in first.iter().zip(&at_second) {
        ensure!(was.kubelet != is.kubelet && was.containerd != is.containerd, "{was:?}, {is:?}");
        orlop.measured(format!("{} and {} became {}", was.kubelet, was.containerd, is.versions()));
    }

    let mut stopped = step.call(&third.version, Speaks::Json)?;
    stopped.wait_for(nodes[0].name(), Phase::Restarting.name())?;
    stopped.signal(Signal::INT)?;
    let stopped = stopped.end()?;
    ensure!(stopped.code == Some(8) && stopped.failure()["id"] == "E0889", "{stopped:?}");
    let ended = step.call(&third.version, Speaks::Json)?.end()?;
    let at_third = step.upgraded(&mut nodes, &ended, third, &at_second)?;

    let ended = step.call(&second.version, Speaks::Lines)?.end()?;
    let back = step.upgraded(&mut nodes, &ended, second, &at_third)?;
    shown(orlop, &ended);

    for ((node, first), last) in nodes.iter_mut().zip(&first).zip(&back) {
        last.is_the_same_node(first)?;
        let kept = node.agent.request("read /var/lib/orlop/kept", LIMIT)?;
        ensure!(kept == ["by the first"], "{kept:?}");
    }
    is_kept(available)?;
    nodes.drain(..).try_for_each(|node| node.power_off(orlop))
}

/// What somebody saw, for the report.
fn shown(orlop: &Orlop, ended: &Ended) {
    ended.said.iter().for_each(|line| orlop.measured(line.clone()));
    ended.text.lines().for_each(|line| orlop.measured(line.to_owned()));
}

/// The budget allows one pod to be away, and one was.
fn is_kept(available: Available) -> Result<()> {
    let (ready, told) = available.end()?;
    ensure!((ready, told) == (LEAST, LEAST), "{ready} pods were ready, and {told} available");
    Ok(())
}

/// An upgrade of both nodes.
struct Step<'a> {
    orlop: &'a Orlop,
    world: &'a World,
}

impl Step<'_> {
    /// A call by who has the role that `orlop manifests updater` prints, and no other.
    fn call(&self, release: &str, speaks: Speaks) -> Result<Call> {
        let [one, two] = world::NODES;
        // By its files, so that the server counts what nodes fetch alone.
        let [channel, root] = [self.world.releases.site(), self.world.releases.root_file()];
        let (channel, root) = channel.to_str().zip(root.to_str()).context("a path is text")?;
        let words = [one, two, "--to", release, "--channel", channel, "--root", root];
        Call::by(self.orlop, &self.world.kubeconfig, &words, speaks, LIMIT)
    }

    fn facts(&self, nodes: &mut [LiveNode]) -> Result<Vec<Facts>> {
        nodes.iter_mut().map(|node| node.facts(&self.world.cluster)).collect()
    }

    /// Holds what came of a call against what has to be, and returns what the nodes are now.
    fn upgraded(
        &self,
        nodes: &mut [LiveNode],
        ended: &Ended,
        release: &Released,
        before: &[Facts],
    ) -> Result<Vec<Facts>> {
        ensure!(ended.code == Some(0), "{ended:#?}");
        let (cluster, to) = (&self.world.cluster, &release.version);
        let mut after = Vec::new();
        for (node, was) in nodes.iter_mut().zip(before) {
            node.boots(release)?;
            let (name, from) = (node.name().to_owned(), &was.version);
            let one = outcomes(ended).contains(&(name.clone(), "upgraded".to_owned()));
            let line = format!("{name}  {from} -> {to}");
            ensure!(one || ended.text.lines().any(|it| it == line), "{ended:#?}");
            let object = cluster.get(&["node", &name])?;
            let said = status(&object)?;
            ensure!(said.phase == Phase::Idle && said.version == *to, "{said:?}");
            ensure!(said.fallback.is_none() && is_free(&object), "{object:#}");
            for reason in ["UpdateStaged", "UpdatePromoted"] {
                told(self.world, &name, reason, &format!("release {to} "))?;
            }
            let now = node.facts(cluster)?;
            now.is_the_same_node(was)?;
            ensure!(now.boot != was.boot && now.version == *to, "{was:?} became {now:?}");
            after.push(now);
        }
        let given = self.world.given();
        self.orlop.measured(format!("to {to}: {given} bytes were fetched by both nodes"));
        Ok(after)
    }
}
