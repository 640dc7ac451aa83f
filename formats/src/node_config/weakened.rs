//! What of a node's protection its config gives up. It may have its reasons; people are to see it.

use formats::node_config::{Lockdown, NodeConfig};

/// Whether a value of a setting gives up what it protects.
type GivesUp = fn(i64) -> bool;

/// Settings of the kernel that protect it and its processes from each other.
const SETTINGS: &[(&str, GivesUp)] = &[
    ("fs.protected_fifos", |value| value < 1),
    ("fs.protected_hardlinks", |value| value < 1),
    ("fs.protected_regular", |value| value < 1),
    ("fs.protected_symlinks", |value| value < 1),
    ("fs.suid_dumpable", |value| value == 1),
    ("kernel.randomize_va_space", |value| value < 2),
    ("kernel.unprivileged_bpf_disabled", |value| value < 1),
    ("vm.mmap_min_addr", |value| value < 4096),
];

/// A line for each key that does so.
pub(super) fn by(config: &NodeConfig) -> Vec<String> {
    let mut lines = Vec::new();
    if config.security.lockdown == Lockdown::None {
        lines.push("the kernel is open to privileged pods: `security.lockdown` is `none`".into());
    }
    if config.security.kexec {
        lines.push("privileged pods may start another kernel: `security.kexec` is true".into());
    }
    for (name, value) in &config.sysctl {
        let gives_up =
            SETTINGS.iter().find(|(known, _)| *known == name.as_str()).map(|(_, test)| test);
        if gives_up.is_some_and(|test| value.trim().parse::<i64>().is_ok_and(test)) {
            lines.push(format!(
                "a protection of the kernel is off: `sysctl` sets `{name}` to {value}"
            ));
        }
    }
    for (host, registry) in &config.containerd.registries {
        if registry.skip_verify {
            let host = host.as_str();
            lines.push(format!("whoever answers for registry `{host}` is believed: `skip-verify`"));
        }
    }
    let port = config.kubelet.get("readOnlyPort").and_then(toml::Value::as_integer);
    if let Some(port) = port.filter(|port| *port != 0) {
        lines.push(format!(
            "whoever reaches port {port} sees the pods: `kubelet.readOnlyPort` asks nobody who it is"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use formats::node_config::parse;

    use super::*;

    #[test]
    fn each_key_that_gives_up_a_protection_is_named() {
        let config = "schema = 1
[security]
lockdown = 'none'
kexec = true
[sysctl]
'kernel.randomize_va_space' = 1
'fs/protected_symlinks' = '0'
'kernel.unprivileged_bpf_disabled' = 2
[kubernetes]
standalone = true
[kubelet]
readOnlyPort = 10255
[containerd.registries.'registry.example']
skip-verify = true
[containerd.registries.'docker.io']
mirrors = ['http://192.0.2.5:5000']";
        let want = [
            "the kernel is open to privileged pods: `security.lockdown` is `none`",
            "privileged pods may start another kernel: `security.kexec` is true",
            "a protection of the kernel is off: `sysctl` sets `fs.protected_symlinks` to 0",
            "a protection of the kernel is off: `sysctl` sets `kernel.randomize_va_space` to 1",
            "whoever answers for registry `registry.example` is believed: `skip-verify`",
            "whoever reaches port 10255 sees the pods: `kubelet.readOnlyPort` asks nobody who it is",
        ];
        assert_eq!(by(&parse(config).unwrap()), want);
        let config = "schema = 1\n[security]\nlockdown = 'integrity'\n[kubernetes]\n\
                      standalone = true\n[kubelet]\nreadOnlyPort = 0";
        assert_eq!(by(&parse(config).unwrap()), [""; 0]);
    }
}
