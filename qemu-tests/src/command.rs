//! The one place that starts programs, and what `cargo xtask test` tells the tests.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What the tests work with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The `orlop` command.
    pub orlop: PathBuf,
    /// The directory that `orlop build` made of `recipes/base.toml`.
    pub images: PathBuf,
}

impl Setting {
    /// Reads `ORLOP` and `ORLOP_IMAGE`.
    ///
    /// # Errors
    /// One of them is not set or names nothing.
    pub fn from_environment() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let path = std::env::var_os(name)
                .with_context(|| format!("`{name}` is not set: run `cargo xtask test`"))?;
            std::fs::canonicalize(&path).with_context(|| format!("`{name}` names nothing"))
        };
        Ok(Self { orlop: path("ORLOP")?, images: path("ORLOP_IMAGE")? })
    }

    /// A file of the base image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.images.join(name)
    }

    /// `build.json` of the base image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn report(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.image("build.json"))?)?)
    }

    /// The store that the base image was built from.
    ///
    /// # Errors
    /// `orlop` does not say.
    pub fn store(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(run(program(&self.orlop).args(["store", "path"]))?.trim()))
    }

    /// Where compilers keep what they have fetched.
    ///
    /// # Errors
    /// `orlop` does not say where the store is.
    pub fn caches(&self) -> Result<PathBuf> {
        let store = self.store()?;
        Ok(store.parent().context("the store has no parent")?.to_owned())
    }
}

/// The checkout.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// A program with empty standard input.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end and returns what it wrote to stdout.
///
/// # Errors
/// It cannot be started (then the package to install is named if we know it) or fails (then all
/// that it wrote is in the error).
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot start `{name}`: `cargo xtask setup` installs what the tests need")
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{command:?}` ended with {}:\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}
