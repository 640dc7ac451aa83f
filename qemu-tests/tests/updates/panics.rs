//! What the kernel of a release on trial says when it panics is the reason of the fall-back: it goes through
//! the variables of the firmware, on a machine that keeps it nowhere else.

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Base, Variant};
use serde_json::json;

use crate::node::{LIMIT, Node};
use crate::world::world;

pub(crate) fn told(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let first = &world.good[0];
    let panics = Variant::new(Base::Base, "3.1").at_start("write /proc/sysrq-trigger c");
    let panics = world.releases.release(orlop, &panics)?;
    let mut node = Node::new(first, &world.config("deadline = 540\n")?)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    on.restarts(&json!({ "do": "upgrade", "version": panics.version }))?;
    on.boots(first)?;
    let slots = on.is_healthy(first)?;
    let fell_back = &slots["fell-back"];
    let reason = "its kernel panicked: sysrq triggered crash";
    ensure!(fell_back["version"] == *panics.version, "{slots:#}");
    ensure!(fell_back["reason"] == *reason, "{slots:#}{}", on.machine.so_far());
    // It is removed, for there is not much room.
    let names = on.agent.request("list /sys/fs/pstore", LIMIT)?;
    ensure!(names.is_empty(), "{names:?}");
    on.power_off()
}
