//! What a pod is kept from when nobody says so, what others may read of a node, and what kubelet is
//! set to (docs/security-pods.md).

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Orlop};
use serde_json::{Value, json};

use crate::world::{LIMIT, pod, privileged, removed, runs, world};

/// The profile of AppArmor under which a container runs by default, as the kernel writes it.
const CONFINED: &str = "cri-containerd.apparmor.d (enforce)";
const STAYS: &str = "tail -f /dev/null";

/// A pod whose only container has these settings, and may mount what it is let.
fn with(name: &str, node: &str, context: Value) -> Value {
    let container = json!({ "command": ["/bin/sh", "-c", STAYS], "securityContext": context });
    pod(name, node, container, json!({}))
}

/// The mode of seccomp, 0 or 2, and AppArmor's profile of a container.
fn kept(cluster: &Cluster, pod: &str) -> Result<(String, String)> {
    let status = cluster.exec(pod, &["cat", "/proc/1/status"])?;
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    let seccomp = seccomp.with_context(|| status.clone())?;
    let profile = cluster.exec(pod, &["cat", "/proc/1/attr/current"])?;
    Ok((seccomp.trim().to_owned(), profile.trim().to_owned()))
}

pub(crate) fn pods_are_kept(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let profile = |kind: &str| json!({ "type": kind });
    let localhost = |name: &str| json!({ "type": "Localhost", "localhostProfile": name });
    let mounts = json!({ "add": ["SYS_ADMIN"] });
    let by_name = localhost("cri-containerd.apparmor.d");
    for (name, context, seccomp, apparmor) in [
        ("by-default", json!({}), "2", CONFINED),
        (
            "asked-for",
            json!({
                "seccompProfile": profile("RuntimeDefault"),
                "appArmorProfile": profile("RuntimeDefault"),
                "allowPrivilegeEscalation": false,
            }),
            "2",
            CONFINED,
        ),
        (
            "seccomp-only",
            json!({ "appArmorProfile": profile("Unconfined"), "capabilities": mounts }),
            "2",
            "unconfined",
        ),
        (
            "apparmor-only",
            json!({
                "seccompProfile": profile("Unconfined"),
                "appArmorProfile": by_name,
                "capabilities": mounts,
            }),
            "0",
            CONFINED,
        ),
        ("privileged-one", json!({ "privileged": true }), "0", "unconfined"),
    ] {
        let pod = runs(cluster, &with(name, node, context))?;
        let is = kept(cluster, &pod)?;
        ensure!(is == (seccomp.to_owned(), apparmor.to_owned()), "{name}: {is:?}");
    }

    let may = |pod: &str, what: &[&str]| cluster.exec(pod, what).is_ok();
    // Both may mount by their capabilities, and seccomp follows those.
    let mount = ["mount", "-t", "tmpfs", "none", "/tmp"];
    ensure!(may("seccomp-only", &mount), "nothing but AppArmor denies a mount");
    ensure!(!may("apparmor-only", &mount), "AppArmor denies mounts");
    // A user namespace needs no capability, and AppArmor's profile knows nothing of them.
    let unshare = ["unshare", "-r", "true"];
    ensure!(may("apparmor-only", &unshare), "nothing but seccomp denies a user namespace");
    ensure!(!may("by-default", &unshare), "seccomp denies user namespaces");

    let unknown = with("of-nobody", node, json!({ "appArmorProfile": localhost("nobodys") }));
    cluster.apply(&unknown.to_string())?;
    cluster.watch(
        &["pod", "of-nobody"],
        LIMIT,
        "a profile that is not loaded is named",
        |pod| {
            let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            let message = state["message"].as_str().unwrap_or_default();
            message.contains("apparmor profile not found nobodys")
        },
    )?;

    // Somebody unloads the profile: the next container has it again.
    let unloader = runs(cluster, &privileged("unloads", node, STAYS))?;
    let unload = "cd /proc/1/root/sys/kernel/security/apparmor && \
                  printf cri-containerd.apparmor.d > .remove && cat profiles";
    let loaded = cluster.exec(&unloader, &["sh", "-c", unload])?;
    ensure!(!loaded.contains("cri-containerd"), "{loaded}");
    let again = runs(cluster, &with("again", node, json!({})))?;
    let is = kept(cluster, &again)?;
    ensure!(is == ("2".to_owned(), CONFINED.to_owned()), "{is:?}");

    let pods = ["by-default", "asked-for", "seccomp-only", "apparmor-only", "privileged-one"];
    let others = ["of-nobody", &unloader, &again];
    pods.iter().chain(&others).try_for_each(|pod| removed(cluster, pod))
}

/// Files of a node that hold secrets or say who may do what: section 4.1 of the benchmark, and all
/// others that have a password or a key.
const FILES: &[(&str, &str)] = &[
    ("/usr/lib/orlop/units/kubelet.toml", "600"),
    ("/run/orlop/kubelet/config.json", "600"),
    ("/run/orlop/kubelet/bootstrap-kubeconfig", "600"),
    ("/run/orlop/kubelet/registry-logins.json", "600"),
    ("/run/orlop/kubelet/ca.crt", "644"),
    ("/run/orlop/proxy.env", "600"),
    ("/var/lib/kubelet/kubeconfig", "600"),
    ("/var/lib/kubelet/pki/kubelet-client-2*.pem", "600"),
    ("/var/lib/kubelet/pki/orlop-serving.key", "600"),
    ("/var/lib/kubelet/pki/orlop-serving.crt", "644"),
    ("/var/lib/orlop/node.toml", "600"),
    ("/run/containerd/containerd.sock", "660"),
];

pub(crate) fn files_and_settings(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let pod = runs(cluster, &privileged("auditor", node, STAYS))?;
    let mut wrong = Vec::new();
    for (file, mode) in FILES {
        let stat = format!("stat -c '%a %u:%g' /proc/1/root{file}");
        let is = cluster.exec(&pod, &["sh", "-c", &stat])?;
        if is.lines().any(|line| line != format!("{mode} 0:0")) {
            wrong.push(format!("{file} is {}", is.trim()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    let raw = format!("/api/v1/nodes/{node}/proxy/configz");
    let config: Value = serde_json::from_str(&cluster.kubectl(["get", "--raw", &raw])?)?;
    for (number, setting, want) in [
        ("4.2.1", "/authentication/anonymous/enabled", json!(false)),
        ("4.2.2", "/authorization/mode", json!("Webhook")),
        ("4.2.3", "/authentication/x509/clientCAFile", json!("/run/orlop/kubelet/ca.crt")),
        ("4.2.4", "/readOnlyPort", Value::Null),
        ("4.2.5", "/streamingConnectionIdleTimeout", json!("4h0m0s")),
        ("4.2.8", "/eventRecordQPS", json!(50)),
        ("4.2.9", "/tlsCertFile", json!("/var/lib/kubelet/pki/orlop-serving.crt")),
        ("4.2.9", "/tlsPrivateKeyFile", json!("/var/lib/kubelet/pki/orlop-serving.key")),
        ("4.2.10", "/rotateCertificates", json!(true)),
        ("4.2.11", "/featureGates/RotateKubeletServerCertificate", Value::Null),
        ("4.2.12", "/tlsMinVersion", json!("VersionTLS12")),
        (
            "4.2.12",
            "/tlsCipherSuites",
            json!([
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
            ]),
        ),
        ("4.2.13", "/podPidsLimit", json!(4096)),
        ("4.2.14", "/seccompDefault", json!(true)),
        ("protect-kernel-defaults", "/protectKernelDefaults", json!(true)),
    ] {
        let is = config["kubeletconfig"].pointer(setting).cloned().unwrap_or_default();
        // What is 0 is left out.
        let same = is == want || want.is_null() && is == 0;
        ensure!(same, "{number}: `{setting}` is {is}, not {want}");
    }
    removed(cluster, &pod)
}
