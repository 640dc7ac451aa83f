//! What tests of whole nodes share: a channel with good releases, and the server that gives it to guests.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use qemu_tests::Orlop;
use qemu_tests::releases::{Base, Released, Releases, Variant};

use crate::full;
use crate::server::Server;

/// A channel, its server, and images that are good.
pub(crate) struct World {
    pub(crate) releases: Releases,
    pub(crate) server: Server,
    /// In the order in which they were published; the second has a delta from the first. A third, without
    /// one, with `--full`.
    pub(crate) good: Vec<Released>,
}

/// Images take time, so all tests share them.
static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);

/// Removes it.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

pub(crate) fn world(orlop: &Orlop) -> Result<Arc<World>> {
    let mut shared = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = &*shared {
        return Ok(Arc::clone(world));
    }
    let releases = Releases::new(orlop)?;
    let build = |version| releases.build(orlop, &Variant::new(Base::Base, version));
    let versions = if full() { &["1.1", "1.2", "1.3"][..] } else { &["1.1", "1.2"] };
    let good = versions.iter().map(|version| build(version)).collect::<Result<Vec<_>>>()?;
    for (release, deltas) in good.iter().zip([0, 1, 0]) {
        releases.publish(orlop, release, 0, deltas)?;
    }
    let server = Server::start(&releases.site());
    let world = Arc::new(World { releases, server, good });
    *shared = Some(Arc::clone(&world));
    Ok(world)
}

impl World {
    /// The node config; `more` are lines of `[update]`.
    pub(crate) fn config(&self, more: &str) -> Result<String> {
        self.releases.config(&seen_by_guests(&self.server)?, more)
    }
}

/// The address of a server as a guest sees it.
pub(crate) fn seen_by_guests(server: &Server) -> Result<String> {
    let url = server.url();
    let port = url.rsplit(':').next().context("an address has a port")?;
    Ok(format!("http://10.0.2.2:{port}"))
}
