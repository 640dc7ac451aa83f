//! The configuration that the guest finds in QEMU's firmware configuration device.

use std::fs;
use std::path::{Path, PathBuf};

use formats::node_config::EXAMPLE;

use crate::error::{Context as _, Id, Result};
use crate::node_config;
use crate::progress::Progress;
use crate::run::Options;
use crate::run::disk::Image;

/// Writes what the guest is to read into `scratch`: the file that was named, else the demonstration
/// if the image has a kubelet, which would have nothing to do. A disk kept by an earlier run has a
/// configuration of its own.
///
/// # Errors
/// Those of [`node_config::load`].
pub(super) fn prepare(
    options: &Options,
    image: &Image,
    scratch: &Path,
    progress: &Progress,
) -> Result<Option<PathBuf>> {
    let text = match &options.config {
        Some(path) => node_config::load(path)?.text,
        None if is_demonstration(options, image) => {
            progress.note(
                "no --config: the node gets the demonstration that `orlop config example` prints",
            );
            EXAMPLE.to_owned()
        }
        None => return Ok(None),
    };
    let path = scratch.join("node.toml");
    fs::write(&path, text).or_fail(Id::Write, || format!("cannot write `{}`", path.display()))?;
    Ok(Some(path))
}

fn is_demonstration(options: &Options, image: &Image) -> bool {
    let kept = options.disk.as_deref().is_some_and(Path::exists);
    !options.no_config && !kept && image.has_kubelet()
}
