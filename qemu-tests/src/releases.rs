//! Releases for tests: images that differ from the one under test in what a test wants, published with
//! keys of the test's own. [`variant`] says how images differ, [`bad`] lists those that must be left.

pub mod bad;
pub mod variant;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::run;
use crate::{Orlop, Report};

pub use bad::Bad;
pub use variant::{Base, Older, Variant};

/// A channel, its keys, and the images of its releases. All of it goes when it is dropped.
#[derive(Debug)]
pub struct Releases {
    place: TempDir,
}

/// A release of the channel.
#[derive(Debug, Clone)]
pub struct Released {
    /// Its version.
    pub version: String,
    /// The directory of its image.
    pub image: PathBuf,
    /// The root hash of its image, in hexadecimal.
    pub root_hash: String,
}

impl Releases {
    /// A channel without releases.
    ///
    /// # Errors
    /// Its keys cannot be made.
    pub fn new(orlop: &Orlop) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("orlop-releases-").tempdir()?;
        let releases = Self { place };
        let mut command = orlop.command();
        command.args(["keys", "init", "--no-passphrase"]).arg(releases.keys());
        run(&mut command)?;
        Ok(releases)
    }

    fn keys(&self) -> PathBuf {
        self.place.path().join("keys")
    }

    /// The file of the channel's first root.
    pub fn root_file(&self) -> PathBuf {
        self.keys().join("1.root.json")
    }

    /// The files of the channel, for a server.
    pub fn site(&self) -> PathBuf {
        self.place.path().join("site")
    }

    /// The channel's first root, for the node config.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn root(&self) -> Result<String> {
        let path = self.root_file();
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// The table `[update]` of a node config. `channel` is an address as the guest sees it, `more` more
    /// lines.
    ///
    /// # Errors
    /// As [`Releases::root`].
    pub fn config(&self, channel: &str, more: &str) -> Result<String> {
        let root = self.root()?;
        Ok(format!("[update]\nchannel = \"{channel}\"\nroot = '''\n{root}'''\n{more}"))
    }

    /// Builds an image. Of two of one version the second takes the place of the first.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn build(&self, orlop: &Orlop, variant: &Variant) -> Result<Released> {
        let version = variant.version.clone();
        let recipe = variant.write(orlop, &self.place.path().join("recipes").join(&version))?;
        let image = self.place.path().join("images").join(&version);
        if variant.is_to_be_fetched() {
            run(orlop.command().arg("fetch").arg(&recipe))?;
        }
        let mut command = orlop.command();
        command.args(["build", "--offline", "--no-commit"]).arg(recipe).arg("-o").arg(&image);
        run(&mut command)?;
        let report = fs::read(image.join("build.json"))?;
        let report: Report = serde_json::from_slice(&report).context("`build.json`")?;
        Ok(Released { version, image, root_hash: report.root.hash })
    }

    /// Publishes it, with deltas from so many releases before it.
    ///
    /// # Errors
    /// It cannot be published.
    pub fn publish(
        &self,
        orlop: &Orlop,
        release: &Released,
        epoch: u64,
        deltas: usize,
    ) -> Result<()> {
        let mut command = orlop.command();
        command.arg("publish").arg(&release.image).args(["--keep", "40"]);
        command.args(["--epoch", &epoch.to_string(), "--deltas", &deltas.to_string()]);
        run(command.arg("--to").arg(self.site()).arg("--keys").arg(self.keys())).map(drop)
    }

    /// Builds it and publishes it in the epoch of the channel without deltas.
    ///
    /// # Errors
    /// As [`Releases::build`] and [`Releases::publish`].
    pub fn release(&self, orlop: &Orlop, variant: &Variant) -> Result<Released> {
        let release = self.build(orlop, variant)?;
        self.publish(orlop, &release, 0, 0)?;
        Ok(release)
    }

    /// Checks the newest release as a node would, by what `orlop` says of it.
    ///
    /// # Errors
    /// It is refused.
    pub fn verify(&self, orlop: &Orlop, place: &Path) -> Result<String> {
        let mut command = orlop.command();
        command.arg("verify").arg(place).arg("--root").arg(self.root_file());
        run(&mut command)
    }
}
