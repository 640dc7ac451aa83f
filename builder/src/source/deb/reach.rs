//! How Debian's mirrors are reached: as this host's apt reaches them. Its names and passwords, and
//! its proxies, are for package archives; nothing else that is fetched sees them.

use std::path::Path;

use super::apt::conf::Conf;
use super::mirror::{Mirrors, Search};
use crate::error::Result;
use crate::http::{Client, Disk};
use crate::progress::Progress;
use crate::recipe::model::Recipe;
use crate::settings::Settings;

/// The mirrors and the client that can ask them.
#[derive(Debug)]
pub struct Reach {
    /// Where.
    pub mirrors: Mirrors,
    /// How.
    pub client: Client,
}

impl Reach {
    /// Finds the mirrors for a recipe.
    ///
    /// # Errors
    /// Those of [`Mirrors::find`] and [`Client::new`].
    pub fn new(recipe: &Recipe, settings: &Settings, progress: &Progress) -> Result<Self> {
        let (root, debian) = (Path::new("/"), &recipe.debian);
        let snapshot = debian.snapshot.map(|snapshot| snapshot.0);
        let given = &settings.mirrors;
        let (architecture, pinned) = (recipe.arch, &debian.keys);
        let mirrors = Mirrors::find(&Search { given, root, architecture, pinned, snapshot })?;
        let conf = Conf::read(root);
        let mut access = settings.environment.access();
        if let Some(name) = conf.asks_a_program().filter(|_| access.proxies.http.is_none()) {
            progress.warn(format!(
                "apt's `{name}` is not run: name the proxy with `http_proxy` or `Acquire::http::Proxy`"
            ));
        }
        access.proxies = conf.proxies(access.proxies);
        access.logins = access.logins.with_apt(root);
        mirrors.logins().iter().for_each(|address| access.logins.give(address));
        access.disk = Disk::Allowed;
        Ok(Self { mirrors, client: Client::new(access)? })
    }
}
