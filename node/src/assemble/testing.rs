//! Configs for tests.

/// A certificate as far as a config is concerned: DER sequences which nobody verifies here.
pub(crate) const CA: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
/// Another.
pub(crate) const OTHER_CA: &str =
    "-----BEGIN CERTIFICATE-----\nMAMCAQI=\n-----END CERTIFICATE-----\n";

/// A node of a cluster with all that a config can say.
pub(crate) const CLUSTER: &str = r#"
schema = 1
hostname = "worker-1"

[network]
dns = ["192.0.2.53"]
search = ["example.internal"]

[network.links.eth0]
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateways = ["192.0.2.1"]
mtu = 1400

[network.links.storage]
mac = "52:54:00:12:34:56"
slaac = false

[time]
servers = ["192.0.2.123"]

[kubernetes]
server = "https://10.0.2.2:6443"
ca = """
-----BEGIN CERTIFICATE-----
MAMCAQE=
-----END CERTIFICATE-----
"""
token = "abcdef.0123456789abcdef"
labels = { zone = "a", "example.com/rack" = "7" }
taints = ["dedicated=gpu:NoSchedule", "spot:PreferNoSchedule"]
node-ip = "192.0.2.10"

[kubelet]
maxPods = 50
clusterDNS = ["10.96.0.10"]
shutdownGracePeriod = "1m5.5s"

[containerd.registries."docker.io"]
mirrors = ["http://10.0.2.2:5000"]

[containerd.registries."registry.example:5000"]
username = "builder"
password = "secret of the registry"
"#;

/// A node on its own.
pub(crate) const STANDALONE: &str = r#"
schema = 1

[kubernetes]
standalone = true

[kubernetes.static-pods]
hello = "kind: Pod\n"

[cni]
bridge = "10.88.0.0/16"
"#;
