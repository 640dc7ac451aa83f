//! Drives whole nodes in QEMU, as a user does: through the `orlop` program.
//!
//! [`Orlop`] is that program and an image it has built, [`Machine`] a guest under way, and
//! [`disk`] looks at and damages copies of the image's disk. Everything is waited for with a
//! deadline, on pipes: nothing sleeps and nothing polls.

pub mod command;
pub mod disk;
pub mod machine;
pub mod process;
pub mod store;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

pub use machine::{Boot, Ended, Machine};

/// The program under test and the image it has built.
#[derive(Debug, Clone)]
pub struct Orlop {
    program: PathBuf,
    image: PathBuf,
}

impl Orlop {
    /// From the environment: `ORLOP` is the program, `ORLOP_IMAGE` a directory made by its `build`.
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
        let orlop = Self { program: path("ORLOP")?, image: path("ORLOP_IMAGE")? };
        for name in ["disk.raw", "root.img"] {
            let file = orlop.image(name);
            ensure!(file.is_file(), "`ORLOP_IMAGE` has no `{name}`: it must be a built image");
        }
        Ok(orlop)
    }

    /// A file of the image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.image.join(name)
    }

    /// Begins to describe `orlop run` of the image.
    pub fn boot(&self) -> Boot {
        self.boot_other(&self.image)
    }

    /// Begins to describe `orlop run` of something else.
    pub fn boot_other(&self, image: &Path) -> Boot {
        Boot::new(&self.program, image)
    }
}
