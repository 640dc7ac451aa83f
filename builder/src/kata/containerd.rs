//! What containerd is told of Kata: a file of its `imports`.
//!
//! Format: containerd's configuration, version 4. The judge is `containerd config dump`.

use std::fmt::Write as _;

use super::{Handler, SHIM, placed};
use crate::recipe::model::Kata;

/// Where it lies: the configuration of the base image imports `conf.d/*.toml`.
pub const PATH: &str = "/etc/containerd/conf.d/kata.toml";

/// The file. `configurations` are handlers with the absolute paths of their configurations.
pub fn drop_in(kata: &Kata, configurations: &[(Handler, String)]) -> String {
    let mut text = "# Made of `[kata]` of the recipe.\nversion = 4\n".to_owned();
    let quoted = |text: &str| toml::Value::from(text).to_string();
    for (Handler { name, .. }, configuration) in configurations {
        let table = format!("plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.{name}");
        let shim = quoted(&placed(kata, SHIM));
        let configuration = quoted(configuration);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[{table}]\nruntime_type = \"io.containerd.kata.v2\"\nruntime_path = {shim}\n\
             # A privileged container is privileged in its virtual machine, and has no device of the host.\n\
             privileged_without_host_devices = true\n\
             pod_annotations = [\"io.katacontainers.*\"]\n"
        );
        if let Some(snapshotter) = &kata.snapshotter {
            let _ = writeln!(text, "snapshotter = {}", quoted(snapshotter.as_str()));
        }
        let _ = write!(text, "\n[{table}.options]\nConfigPath = {configuration}\n");
        if let Some(snapshotter) = &kata.snapshotter {
            // Images are unpacked by another plugin, which has to be told as well.
            let _ = write!(
                text,
                "\n[plugins.\"io.containerd.cri.v1.images\".runtime_platforms.{name}]\n\
                 snapshotter = {}\n",
                quoted(snapshotter.as_str())
            );
        }
    }
    text
}
