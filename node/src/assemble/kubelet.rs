//! What kubelet reads: its configuration, arguments, bootstrap kubeconfig and static pods.
//!
//! Formats: KubeletConfiguration `kubelet.config.k8s.io/v1beta1` of Kubernetes 1.36, kubeconfig
//! `v1`; kubelet reads both as JSON.

use std::net::IpAddr;

use formats::kubelet::BOOTSTRAP;
use formats::node_config::{
    Api, HostName, Kubernetes, NodeConfig, SHUTDOWN_GRACE, ServingCertificate, Taint,
};
use serde_json::{Map, Value, json};

use super::cluster::{self, Cluster, Credentials};
use super::facts::{CERTIFICATES, Facts, MANIFESTS};
use super::file::File;
use super::plan::Plan;
use super::serving;
use crate::image_credentials::{self, Logins};
use crate::pods;

/// One argument a line; kubelet is started if this file exists.
pub(super) const ARGUMENTS: &str = "/run/orlop/kubelet/arguments";

const CONFIGURATION: &str = "/run/orlop/kubelet/config.json";
const CA: &str = "/run/orlop/kubelet/ca.crt";
/// Names the program that kubelet asks for passwords of registries.
const PROVIDERS: &str = "/run/orlop/kubelet/credential-providers.json";
/// Where that program is, and its name there.
const PROGRAMS: &str = "/usr/lib/orlop";
const PROGRAM: &str = "orlop-node";
/// Written by kubelet when it joins: names the server, the file [`CA`] and its own certificate.
const KUBECONFIG: &str = "/var/lib/kubelet/kubeconfig";
/// kubelet's default is in the read-only root.
const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volume-plugins";

/// Of TLS 1.2 what kubelet offers, of what fits its keys: forward secrecy and AEAD. In TLS 1.3 there is
/// nothing else. The last one's name is the older of the two that kubelet knows, the one of benchmarks.
const TLS_CIPHERS: [&str; 3] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
];

const MIB: u64 = 1024 * 1024;

pub(super) fn plan(config: &NodeConfig, facts: &Facts, plan: &mut Plan) {
    let Some(kubernetes) = &config.kubernetes else {
        let files = [ARGUMENTS, CONFIGURATION, BOOTSTRAP, CA, PROVIDERS];
        for path in files.into_iter().chain([image_credentials::PATH, pods::GRACE_FILE]) {
            plan.remove(path);
        }
        return;
    };
    plan.directory(MANIFESTS);
    plan.directory(VOLUME_PLUGINS);
    // In standalone mode too: kubelet makes an RSA pair if it is named none.
    if kubernetes.serving_certificate == ServingCertificate::SelfSigned
        && let Some(wanted) =
            serving::wanted(names(config, kubernetes), facts.serving.as_ref(), facts.now)
    {
        plan.make_serving_pair(wanted);
    }
    // A fragment may hold anything, and benchmarks look at the mode.
    plan.write_file(File::secret(CONFIGURATION, configuration(config, kubernetes, facts)));
    match config.shutdown_grace() {
        Some(grace) => {
            plan.write_file(File::public(pods::GRACE_FILE, format!("{}\n", grace.as_secs())));
        }
        None => plan.remove(pods::GRACE_FILE),
    }
    join(config.hostname.as_ref(), &kubernetes.api, facts, plan);
    for (name, manifest) in &kubernetes.static_pods {
        // kubelet takes YAML and JSON under either name. A pod may hold passwords.
        let path = format!("{MANIFESTS}/{}.yaml", name.as_str());
        plan.write_file(File::secret(path, manifest));
    }
    let logins = Logins::of(&config.containerd);
    let hosts = logins.hosts();
    if hosts.is_empty() {
        plan.remove(PROVIDERS);
        plan.remove(image_credentials::PATH);
    } else {
        plan.write_file(File::secret(image_credentials::PATH, logins.text()));
        plan.write_file(File::public(PROVIDERS, providers(&hosts)));
    }
    plan.write_file(File::public(ARGUMENTS, arguments(config, kubernetes, &hosts)));
}

/// CredentialProviderConfig `kubelet.config.k8s.io/v1`: for images of these registries kubelet asks
/// this program's [`image_credentials`].
fn providers(hosts: &[&str]) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1",
        "kind": "CredentialProviderConfig",
        "providers": [{
            "name": PROGRAM,
            "apiVersion": image_credentials::VERSION,
            "args": [image_credentials::COMMAND],
            "matchImages": hosts,
            "defaultCacheDuration": "0s",
        }],
    });
    format!("{config:#}\n")
}

/// Host name and addresses of the serving certificate, as far as the config has them: what DHCP
/// says is not known yet.
fn names(config: &NodeConfig, kubernetes: &Kubernetes) -> Vec<String> {
    let own = |address: &&IpAddr| !address.is_unspecified();
    let mut addresses: Vec<IpAddr> = kubernetes.node_ips.iter().filter(own).copied().collect();
    for cidr in config.network.links.values().flat_map(|link| &link.addresses) {
        if !addresses.contains(&cidr.address()) {
            addresses.push(cidr.address());
        }
    }
    let hostname = config.hostname.iter().map(ToString::to_string);
    hostname.chain(addresses.iter().map(ToString::to_string)).collect()
}

/// The files by which kubelet finds its API server. A token is for joining: another one alone does
/// not make a node join again. Another name does: the API server lets a certificate speak for the
/// node that it names, and for no other.
fn join(name: Option<&HostName>, api: &Api, facts: &Facts, plan: &mut Plan) {
    let Api::Server { server, ca, token } = api else {
        plan.remove(BOOTSTRAP);
        plan.remove(CA);
        return;
    };
    let wanted = Cluster::new(server, ca);
    let mut credentials = wanted.credentials_of(facts.cluster.as_ref());
    if credentials != Credentials::OtherCluster
        && let (Some(name), Some(was)) = (name, &facts.registered)
        && name != was
    {
        credentials = Credentials::OtherCluster;
        plan.tell(format!(
            "the node was `{was}` in its cluster and is `{name}` now: it joins anew, and the Node \
             `{was}` stays there until somebody deletes it"
        ));
    }
    if credentials != Credentials::Good {
        plan.remove(KUBECONFIG);
    }
    if credentials == Credentials::OtherCluster {
        for path in &facts.client_certificates {
            plan.remove(path);
        }
    }
    plan.write_file(File::public(CA, ca.pem()));
    plan.write_file(File::secret(BOOTSTRAP, bootstrap(&server.to_string(), token.expose())));
    plan.write_file(File::public(cluster::PATH, wanted.text()));
}

fn bootstrap(server: &str, token: &str) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        // By its path, so that kubelet's own kubeconfig, made after this one, follows a change.
        "clusters": [{
            "name": "cluster",
            "cluster": { "server": server, "certificate-authority": CA },
        }],
        "users": [{ "name": "bootstrap", "user": { "token": token } }],
        "contexts": [{
            "name": "bootstrap",
            "context": { "cluster": "cluster", "user": "bootstrap" },
        }],
        "current-context": "bootstrap",
    });
    format!("{kubeconfig:#}\n")
}

/// Without `--v`: an argument would win over `kubelet.logging` of the config.
fn arguments(config: &NodeConfig, kubernetes: &Kubernetes, logins: &[&str]) -> String {
    let mut arguments = vec![format!("--config={CONFIGURATION}")];
    // Else kubelet takes the name that PID 1 has given the machine by then.
    if let Some(name) = &config.hostname {
        arguments.push(format!("--hostname-override={name}"));
    }
    if !kubernetes.node_ips.is_empty() {
        let addresses: Vec<_> = kubernetes.node_ips.iter().map(ToString::to_string).collect();
        arguments.push(format!("--node-ip={}", addresses.join(",")));
    }
    if matches!(kubernetes.api, Api::Server { .. }) {
        if !kubernetes.labels.is_empty() {
            let labels = kubernetes.labels.iter();
            let labels: Vec<_> =
                labels.map(|(key, value)| format!("{}={}", key.as_str(), value.as_str())).collect();
            arguments.push(format!("--node-labels={}", labels.join(",")));
        }
        arguments.extend([
            format!("--bootstrap-kubeconfig={BOOTSTRAP}"),
            format!("--kubeconfig={KUBECONFIG}"),
        ]);
    }
    if !logins.is_empty() {
        arguments.extend([
            format!("--image-credential-provider-config={PROVIDERS}"),
            format!("--image-credential-provider-bin-dir={PROGRAMS}"),
        ]);
    }
    arguments.push(format!("--cert-dir={CERTIFICATES}"));
    arguments.join("\n") + "\n"
}

/// KubeletConfiguration: what a node without systemd needs, then what the config adds.
fn configuration(config: &NodeConfig, kubernetes: &Kubernetes, facts: &Facts) -> String {
    let mut configuration = base(facts.memory);
    merge(&mut configuration, by_api(kubernetes));
    let own = config.kubelet.iter().filter(|(key, _)| *key != SHUTDOWN_GRACE);
    merge(&mut configuration, own.map(|(key, value)| (key.clone(), json(value))).collect());
    format!("{:#}\n", Value::Object(configuration))
}

fn base(memory: Option<u64>) -> Map<String, Value> {
    let base = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // PID 1 makes the cgroups and there is no systemd to ask.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "failSwapOn": false,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "readOnlyPort": 0,
        "resolvConf": "/etc/resolv.conf",
        "staticPodPath": MANIFESTS,
        "volumePluginDir": VOLUME_PLUGINS,
        // PID 1 sets what kubelet would set; a difference is to be seen.
        "protectKernelDefaults": true,
        // There is no iptables on the node; kube-proxy brings its own.
        "makeIPTablesUtilChains": false,
        // It would ask systemd for a delay. `stop-pods` gives pods their grace.
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        // All pods together leave the daemons this much (the cgroup `/kubepods` is limited to the
        // rest), so a memory hog or a fork bomb ends in its pod.
        "enforceNodeAllocatable": ["pods"],
        "kubeReserved": { "cpu": "50m", "memory": format!("{}Mi", reserved(memory) / MIB) },
        "systemReserved": { "memory": "64Mi", "pid": "1000" },
        "podPidsLimit": 4096,
        // What containerd thinks that no container needs is refused to those that do not say more.
        "seccompDefault": true,
        // kubelet's keys are P-256 (`serving`), and those that it makes itself are too.
        "tlsMinVersion": "VersionTLS12",
        "tlsCipherSuites": TLS_CIPHERS,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "10%",
            "imagefs.inodesFree": "5%",
            "pid.available": "5%",
        },
        // STATE is all the disk there is.
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
    });
    object(base)
}

/// For kubelet, containerd and the shims, of which each pod has one: a sixteenth of the memory, at
/// least 160 MiB, which is what a node with two pods uses and some more, and at most 2 GiB.
fn reserved(memory: Option<u64>) -> u64 {
    (memory.unwrap_or(0) / 16).clamp(160 * MIB, 2048 * MIB)
}

/// Who may speak to kubelet, and which certificate it shows.
fn by_api(kubernetes: &Kubernetes) -> Map<String, Value> {
    let mut part = match kubernetes.api {
        Api::Server { .. } => object(json!({
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": CA },
            },
            "authorization": { "mode": "Webhook" },
            "rotateCertificates": true,
            "registerWithTaints": kubernetes.taints.iter().map(taint).collect::<Vec<_>>(),
        })),
        // Nobody: there is nobody to ask who somebody is. kubelet still demands one way to tell
        // (`no authentication method configured`) and a mode other than `Webhook`; so it is to
        // trust the clients of a certificate that is no client's, for a server it does not start.
        Api::Standalone => object(json!({
            "enableServer": false,
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": false },
                "x509": { "clientCAFile": serving::CERTIFICATE },
            },
            "authorization": { "mode": "AlwaysAllow" },
        })),
    };
    let certificate = match kubernetes.serving_certificate {
        ServingCertificate::SelfSigned => json!({
            "tlsCertFile": serving::CERTIFICATE,
            "tlsPrivateKeyFile": serving::KEY,
        }),
        ServingCertificate::Bootstrap => json!({ "serverTLSBootstrap": true }),
    };
    merge(&mut part, object(certificate));
    part
}

fn taint(taint: &Taint) -> Value {
    json!({
        "key": taint.key.as_str(),
        "value": taint.value.as_str(),
        "effect": taint.effect.name(),
    })
}

/// Tables merge, all else is replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A value of the config. It holds no dates and no infinite numbers; they would become text and
/// null, which kubelet refuses by name.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(boolean) => json!(boolean),
        toml::Value::Datetime(date) => json!(date.to_string()),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use formats::node_config::parse;

    use super::*;

    fn with_fragment(fragment: &str) -> Value {
        let text = format!(
            "schema = 1\n[kubernetes]\nstandalone = true\n[kubernetes.static-pods]\na = 'a'\n\
             [kubelet]\n{fragment}"
        );
        let config = parse(&text).unwrap();
        let kubernetes = config.kubernetes.as_ref().unwrap();
        serde_json::from_str(&configuration(&config, kubernetes, &Facts::default())).unwrap()
    }

    #[test]
    fn the_fragment_is_merged_table_by_table_and_replaces_the_rest() {
        let merged = with_fragment(
            "maxPods = 50\nenforceNodeAllocatable = []\nevictionHard.'memory.available' = '5%'\n\
             systemReserved = { cpu = '100m' }\nmemoryThrottlingFactor = 0.5\nfailSwapOn = true\n\
             seccompDefault = false\ntlsMinVersion = 'VersionTLS13'\ntlsCipherSuites = []",
        );
        assert_eq!(merged["maxPods"], 50);
        assert_eq!(merged["enforceNodeAllocatable"], json!([]));
        assert_eq!(merged["evictionHard"]["memory.available"], "5%");
        assert_eq!(merged["evictionHard"]["nodefs.available"], "10%");
        let reserved = json!({ "cpu": "100m", "memory": "64Mi", "pid": "1000" });
        assert_eq!(merged["systemReserved"], reserved);
        assert_eq!(merged["memoryThrottlingFactor"], 0.5);
        assert_eq!(merged["failSwapOn"], true);
        assert_eq!(merged["seccompDefault"], false);
        assert_eq!(merged["tlsMinVersion"], "VersionTLS13");
        assert_eq!(merged["tlsCipherSuites"], json!([]));
    }

    #[test]
    fn the_daemons_share_of_memory_grows_with_the_memory() {
        const GIB: u64 = 1024 * MIB;
        for (memory, want) in [
            (None, 160),
            (Some(GIB), 160),
            (Some(4 * GIB), 256),
            (Some(16 * GIB), 1024),
            (Some(512 * GIB), 2048),
        ] {
            assert_eq!(reserved(memory) / MIB, want, "{memory:?}");
        }
    }

    #[test]
    fn the_certificate_is_for_what_the_config_says_of_name_and_addresses() {
        let config = parse(super::super::testing::CLUSTER).unwrap();
        let names = names(&config, config.kubernetes.as_ref().unwrap());
        assert_eq!(names, ["worker-1", "192.0.2.10", "2001:db8::10"]);
    }
}
