//! The program under test and the image it has built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::Boot;
use crate::process::{command, run};

/// The program under test, the image it has built, and what a test has measured with them.
#[derive(Debug)]
pub struct Orlop {
    program: PathBuf,
    image: PathBuf,
    node_image: Option<PathBuf>,
    figures: Mutex<Vec<String>>,
}

/// What `build.json` says, as far as tests need it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The recipe's version.
    pub version: String,
    /// The root image.
    pub root: RootReport,
}

/// The root image in `build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RootReport {
    /// The dm-verity root hash, in hexadecimal.
    pub hash: String,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// Bytes of the file system; the hash tree begins here.
    pub data_size: u64,
}

impl Orlop {
    /// From the environment: `ORLOP` is the program, `ORLOP_IMAGE` a directory made by its `build`
    /// of `recipes/base.toml`.
    ///
    /// # Errors
    /// One of them is not set, or names nothing: `cargo xtask test` sets both.
    pub fn from_env() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            let value = value.with_context(|| {
                format!("`{name}` is not set: run these tests with `cargo xtask test`")
            })?;
            let path = PathBuf::from(value);
            path.canonicalize().with_context(|| format!("`{name}` is `{}`", path.display()))
        };
        let (program, image) = (path("ORLOP")?, path("ORLOP_IMAGE")?);
        let node_image = path("ORLOP_NODE_IMAGE").ok();
        let orlop = Self { program, image, node_image, figures: Mutex::default() };
        for name in ["disk.raw", "root.img"] {
            let file = orlop.image(name);
            ensure!(file.is_file(), "`ORLOP_IMAGE` has no `{name}`: it must be a built image");
        }
        Ok(orlop)
    }

    /// The program, to be given arguments.
    pub fn command(&self) -> Command {
        command(&self.program)
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The directory of the image.
    pub fn image_directory(&self) -> &Path {
        &self.image
    }

    /// A file of the image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.image.join(name)
    }

    /// `build.json` of the image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn report(&self) -> Result<Report> {
        let path = self.image("build.json");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// The store that the image was built from.
    ///
    /// # Errors
    /// The program does not say.
    pub fn store(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(run(self.command().args(["store", "path"]))?.trim()))
    }

    /// Where compilers keep what they have fetched.
    ///
    /// # Errors
    /// The program does not say where the store is.
    pub fn caches(&self) -> Result<PathBuf> {
        let store = self.store()?;
        Ok(store.parent().context("the store has no parent")?.to_owned())
    }

    /// The directory of the image of `recipes/node.toml`: `ORLOP_NODE_IMAGE`.
    ///
    /// # Errors
    /// It is not set.
    pub fn node_image(&self) -> Result<&Path> {
        self.node_image
            .as_deref()
            .context("`ORLOP_NODE_IMAGE` is not set: run these tests with `cargo xtask test`")
    }

    /// Begins to describe `orlop run` of the image.
    pub fn boot(&self) -> Boot {
        self.boot_other(&self.image)
    }

    /// Begins to describe `orlop run` of something else.
    pub fn boot_other(&self, image: &Path) -> Boot {
        Boot::new(&self.program, image)
    }

    /// Keeps a figure for the report at the end of all tests.
    pub fn measured(&self, figure: String) {
        self.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(figure);
    }

    pub(crate) fn into_figures(self) -> Vec<String> {
        self.figures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The checkout.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
