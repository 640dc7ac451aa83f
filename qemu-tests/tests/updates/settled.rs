//! A node with one healthy boot behind it, which tests have copies of: what they do to a disk between two
//! boots then costs no boot before it.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use qemu_tests::Orlop;

use crate::node::Node;
use crate::world::World;

static SETTLED: Mutex<Option<Node>> = Mutex::new(None);

/// Removes it.
pub(crate) fn end() {
    drop(SETTLED.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// A node of one's own, on the first release, with this configuration.
pub(crate) fn settled(orlop: &Orlop, world: &World, config: &str) -> Result<Node> {
    let mut shared = SETTLED.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.is_none() {
        let first = world.good.first().context("there is a release")?;
        let mut node = Node::new(first, config)?;
        let mut on = node.start(orlop)?;
        on.boots(first)?;
        on.is_healthy(first)?;
        on.power_off()?;
        *shared = Some(node);
    }
    let node = shared.as_ref().context("it is there")?.like()?;
    node.configure(config)?;
    Ok(node)
}
