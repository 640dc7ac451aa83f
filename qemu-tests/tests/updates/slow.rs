//! A disk that gets slow, and quick again, under a machine that runs.

use std::path::PathBuf;

use anyhow::Result;
use qemu_tests::monitor::Monitor;
use serde_json::json;
use tempfile::TempDir;

/// The disk of a machine that was started with [`Slow::arguments`].
pub(crate) struct Slow {
    directory: TempDir,
}

impl Slow {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("orlop-slow-").tempdir()? })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("monitor")
    }

    /// What QEMU is told.
    pub(crate) fn arguments(&self) -> [String; 2] {
        ["-qmp".into(), format!("unix:{},server=on,wait=off", self.socket().display())]
    }

    /// From now on so many bytes a second are read and written, or as many as the host's disk can.
    pub(crate) fn limit(&self, bytes: Option<u64>) -> Result<()> {
        let mut limits = json!({ "device": "disk", "bps": bytes.unwrap_or(0) });
        for free in ["bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"] {
            limits[free] = 0.into();
        }
        Monitor::connect(&self.socket())?.execute("block_set_io_throttle", &limits).map(drop)
    }
}
