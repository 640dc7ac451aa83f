//! Places of a machine that a disk can be plugged into while it runs, and pulled out of.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use qemu_tests::monitor::Monitor;
use serde_json::json;
use tempfile::TempDir;

/// So many there are.
const PLACES: usize = 2;

/// The places of one machine.
#[derive(Debug)]
pub(crate) struct Plugs(TempDir);

impl Plugs {
    /// Those of a machine that is yet to be started.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("qmp")
    }

    /// What the machine is to be started with.
    pub(crate) fn args(&self) -> Vec<String> {
        let mut args = vec!["--".to_owned()];
        for place in 0..PLACES {
            let port = format!("pcie-root-port,id=place{place},chassis={},slot={0}", place + 1);
            args.extend(["-device".to_owned(), port]);
        }
        let monitor = format!("unix:{},server=on,wait=off", self.socket().display());
        args.extend(["-qmp".to_owned(), monitor]);
        args
    }

    /// Plugs in an empty disk of 64 MiB with this serial number.
    pub(crate) fn plug_in(&self, place: usize, driver: &str, serial: &str) -> Result<()> {
        let path = self.0.path().join(serial);
        File::create(&path)?.set_len(64 << 20)?;
        let mut monitor = self.monitor()?;
        let drive = format!("drive-{serial}");
        let file = json!({ "driver": "file", "filename": path });
        monitor.execute(
            "blockdev-add",
            &json!({ "driver": "raw", "node-name": drive, "file": file }),
        )?;
        let device = json!({
            "driver": driver, "id": serial, "drive": drive, "serial": serial,
            "bus": format!("place{place}"),
        });
        monitor.execute("device_add", &device).map(drop)
    }

    /// Asks the machine to let a disk go.
    pub(crate) fn pull_out(&self, serial: &str) -> Result<()> {
        self.monitor()?.execute("device_del", &json!({ "id": serial })).map(drop)
    }

    fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.socket()).context("the machine has its places")
    }
}
