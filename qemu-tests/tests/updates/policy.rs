//! A node that takes releases by itself, and is given one that is bad.

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Bad, Releases};
use serde_json::json;

use crate::node::{LIMIT, Node};
use crate::server::Server;
use crate::world::{seen_by_guests, world};

/// What the updater says in its log, which is on STATE.
const LOG: &str = "/var/log/orlop/updater.log";

/// Nobody asks for anything: the node takes the release, leaves it, looks again, and lets it be.
pub(crate) fn once(orlop: &Orlop) -> Result<()> {
    let first = &world(orlop)?.good[0];
    let releases = Releases::new(orlop)?;
    let bad = releases.release(orlop, &Bad::KernelPanics.variant("2.0", "")?)?;
    let server = Server::start(&releases.site());
    let policy = "deadline = 90\npolicy = \"automatic\"\ncheck-interval = \"1m\"\n";
    let config = releases.config(&seen_by_guests(&server)?, policy)?;
    let mut node = Node::new(first, &config)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    let tried = on.machine.wait_for_line(0, &["release 2.0 is tried"], LIMIT)?;
    on.machine.wait_for_line(tried, &["Kernel panic - not syncing"], LIMIT)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    server.take_requests();
    let refused = "there is no release to take: the release 2.0: it has failed on this node";
    on.agent.request(&format!("line {LOG} {refused}"), LIMIT)?;
    let asked = server.take_requests();
    ensure!(asked.iter().any(|it| it.contains("timestamp.json")), "{asked:?}");
    let slots = on.slots()?;
    ensure!(slots["failed"][0]["root-hash"] == *bad.root_hash, "{slots:#}");
    ensure!(slots["staged"].is_null() && slots["trial"].is_null(), "{slots:#}");
    // The same release on a disk that was never told so is taken.
    let check = on.done(&json!({ "do": "check" }))?;
    ensure!(check["newest"] == "2.0" && check["against"].is_null(), "{check}");
    on.power_off()
}
