//! Whole files: what is read, and all that is found wrong.

mod round_trip;
mod wrong;

use expect_test::{Expect, expect};

use super::*;

/// A sequence of one integer: the least that has the form of a certificate.
const CA: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";

/// A file with every key.
const FULL: &str = r#"
schema = 1
hostname = "worker-1"
[network]
dns = ["192.0.2.53", "2001:db8::53"]
search = ["Example.Internal."]
[network.links.eth0]
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateways = ["192.0.2.1", "fe80::1"]
slaac = false
mtu = 9000
[network.links."the fast one"]
mac = "52-54-00-12-34-AB"
dhcp = true
addresses = ["198.51.100.7/31"]
[[network.links."the fast one".routes]]
to = "10.96.0.0/12"
via = "198.51.100.6"
metric = 50
[[network.links."the fast one".routes]]
to = "2001:db8:9::/48"
[proxy]
http = "http://proxy.example:3128"
https = "http://me:s%40cret@proxy.example:3128"
no-proxy = ["Example.Internal", "10.0.0.0/8"]
[sysctl]
"vm.max_map_count" = 262144
"net/ipv4/conf/eth0.100/rp_filter" = "2"
[time]
servers = ["192.0.2.123", "time.example.internal"]
[kubernetes]
server = "HTTPS://10.0.2.2:6443/"
ca = """
-----BEGIN CERTIFICATE-----
MAMCAQE=
-----END CERTIFICATE-----
"""
token = "abcdef.0123456789abcdef"
labels = { zone = "a", "example.com/rack" = "" }
taints = ["dedicated=gpu:NoSchedule", "dedicated=gpu:NoExecute", "new:PreferNoSchedule"]
node-ip = "192.0.2.10"
serving-certificate = "bootstrap"
[kubernetes.static-pods]
hello = "kind: Pod\n"
[kubelet]
maxPods = 50
evictionHard = { "memory.available" = "100Mi" }
systemReserved.memory = "64Mi"
reservedMemory = [{ numaNode = 0, limits = { memory = "100Mi" } }]
memoryThrottlingFactor = 0.5
authentication.webhook.cacheTTL = "1m"
[cni]
bridge = "10.88.0.0/16"
[hugepages]
2Mi = 128
"1024Mi" = 0
[containerd.registries."docker.io"]
mirrors = ["http://10.0.2.2:5000", "https://mirror.example/v2/"]
ca = """
-----BEGIN CERTIFICATE-----
MAMCAQE=
-----END CERTIFICATE-----
"""
[containerd.registries."registry.example:5000"]
skip-verify = true
[security]
lockdown = "none"
kexec = true
[update]
channel = "https://updates.example/stable, http://192.0.2.5/stable"
policy = "stage"
window = ["Sat 02:00-06:00", "22:00-04:00"]
check-interval = "120m"
rate-limit = 4096
root = '{"signed": {}}'
deadline = 120
node-ready = true
kexec = true
[config]
volumes = "any"
[state]
when-damaged = "reset"
"#;

#[test]
fn an_empty_configuration_is_the_default() {
    assert_eq!(parse("schema = 1"), Ok(NodeConfig::default()));
    let text = "schema = 1\n[network]\n[network.links]\n[time]\n[kubelet]\n[containerd]\n[security]\n[update]\n\
         [config]\n[state]\n";
    assert_eq!(parse(text), Ok(NodeConfig::default()));
}

#[test]
fn every_key_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.hostname.unwrap().as_str(), "worker-1");
    let eth0 = &config.network.links["eth0"];
    assert_eq!((eth0.mac, eth0.dhcp, eth0.slaac, eth0.mtu), (None, false, false, Some(9000)));
    let fast = &config.network.links["the fast one"];
    assert_eq!(fast.mac.unwrap().to_string(), "52:54:00:12:34:ab");
    assert_eq!((fast.dhcp, fast.slaac, fast.mtu), (true, true, None));
    assert_eq!(config.network.search.unwrap()[0].as_str(), "example.internal");
    assert_eq!(config.time.servers[1].to_string(), "time.example.internal");
    let kubernetes = config.kubernetes.unwrap();
    let Api::Server { server, ca, token } = kubernetes.api else { panic!("there is a server") };
    assert_eq!(server.host_port(), "10.0.2.2:6443");
    assert_eq!((ca.pem(), token.id()), (CA, "abcdef"));
    assert_eq!(kubernetes.taints[0].to_string(), "dedicated=gpu:NoSchedule");
    assert_eq!(kubernetes.serving_certificate, ServingCertificate::Bootstrap);
    assert_eq!(config.kubelet["maxPods"].as_integer(), Some(50));
    assert_eq!(config.containerd.registries.len(), 2);
    assert_eq!(config.update.policy, Policy::Stage);
    assert_eq!((config.volumes, config.when_damaged), (Volumes::Any, WhenDamaged::Reset));
}

#[test]
fn the_time_that_pods_have_when_a_node_goes_down_is_read_as_kubelet_reads_it() {
    for (value, want) in [
        ("'20s'", Some(Duration::from_secs(20))),
        ("'1m20s'", Some(LONGEST_SHUTDOWN_GRACE)),
        ("'0.5m'", Some(Duration::from_secs(30))),
        ("'1500ms'", Some(Duration::from_millis(1500))),
        // Whoever writes it means no time at all, or kubelet's default, which is to stop no pod.
        ("'0s'", None),
        ("'0'", None),
        ("'999ms'", None),
        ("'81s'", None),
    ] {
        let text = format!(
            "schema = 1\n[kubernetes]\nstandalone = true\n[kubelet]\nshutdownGracePeriod = {value}"
        );
        let parsed = parse(&text);
        assert_eq!(parsed.is_ok(), want.is_some(), "{value}");
        match parsed {
            Ok(config) => assert_eq!(config.shutdown_grace(), want, "{value}"),
            Err(problems) => {
                let told = problems[0].to_string();
                assert!(told.contains("from \"1s\" to \"80s\""), "{value}: {told}");
            }
        }
    }
    assert_eq!(NodeConfig::example().unwrap().shutdown_grace(), None);
}

#[test]
fn the_example_is_a_node_on_its_own_with_one_pod() {
    let config = NodeConfig::example().unwrap();
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.api, Api::Standalone);
    let (name, manifest) = kubernetes.static_pods.iter().next().unwrap();
    assert_eq!((name.as_str(), kubernetes.static_pods.len()), ("hello", 1));
    assert!(manifest.contains("image: orlop.dev/pause:1\n"), "{manifest}");
    assert_eq!(config.cni.unwrap().bridge.to_string(), "10.88.0.0/16");
}

#[test]
fn what_is_shown_has_the_defaults_and_no_secret() {
    check_shown(
        "schema = 1",
        expect![[r#"
            schema = 1
            # hostname: from DHCP, else from the hardware address

            [network]
            # dns: from DHCP and routers
            # search: from DHCP
            # links: DHCP and router advertisements on every wired link

            [time]
            servers = []

            # kubernetes: none, so kubelet is not started

            # cni: left to the cluster

            [security]
            lockdown = "integrity"
            kexec = false

            [update]
            # channel: none
            policy = "manual"
            # window: at any time
            # check-interval: the node does not look by itself
            # rate-limit: none
            # root: the image's
            # deadline: 300
            node-ready = false
            kexec = false

            [config]
            volumes = "pinned"

            [state]
            when-damaged = "wait"
        "#]],
    );
    check_shown(
        FULL,
        expect![[r#"
            schema = 1
            hostname = "worker-1"

            [network]
            dns = ["192.0.2.53", "2001:db8::53"]
            search = ["example.internal"]

            [network.links.eth0]
            dhcp = false
            addresses = ["192.0.2.10/24", "2001:db8::10/64"]
            gateways = ["192.0.2.1", "fe80::1"]
            slaac = false
            mtu = 9000

            [network.links."the fast one"]
            mac = "52:54:00:12:34:ab"
            dhcp = true
            addresses = ["198.51.100.7/31"]
            gateways = []
            slaac = true
            # mtu: as the driver or the network says

            [[network.links."the fast one".routes]]
            to = "10.96.0.0/12"
            via = "198.51.100.6"
            metric = 50

            [[network.links."the fast one".routes]]
            to = "2001:db8:9::/48"
            # metric: that of the link's gateways

            [proxy]
            http = "http://proxy.example:3128"
            https = "http://me:***@proxy.example:3128"
            no-proxy = ["example.internal", "10.0.0.0/8"]

            [sysctl]
            "net.ipv4.conf.eth0/100.rp_filter" = "2"
            "vm.max_map_count" = "262144"

            [time]
            servers = ["192.0.2.123", "time.example.internal"]

            [kubernetes]
            server = "https://10.0.2.2:6443"
            ca = """
            -----BEGIN CERTIFICATE-----
            MAMCAQE=
            -----END CERTIFICATE-----
            """
            token = "abcdef.***"
            taints = ["dedicated=gpu:NoSchedule", "dedicated=gpu:NoExecute", "new:PreferNoSchedule"]
            node-ip = "192.0.2.10"
            serving-certificate = "bootstrap"

            [kubernetes.labels]
            "example.com/rack" = ""
            zone = "a"

            [kubernetes.static-pods]
            hello = """
            kind: Pod
            """

            [kubelet]
            authentication = { webhook = { cacheTTL = "1m" } }
            evictionHard = { "memory.available" = "100Mi" }
            maxPods = 50
            memoryThrottlingFactor = 0.5
            reservedMemory = [{ limits = { memory = "100Mi" }, numaNode = 0 }]
            systemReserved = { memory = "64Mi" }

            [cni]
            bridge = "10.88.0.0/16"

            [hugepages]
            2Mi = 128
            1Gi = 0

            [containerd.registries."docker.io"]
            mirrors = ["http://10.0.2.2:5000", "https://mirror.example/v2"]
            ca = """
            -----BEGIN CERTIFICATE-----
            MAMCAQE=
            -----END CERTIFICATE-----
            """
            skip-verify = false
            override-path = false
            skip-fallback = false

            [containerd.registries."registry.example:5000"]
            mirrors = []
            skip-verify = true
            override-path = false
            skip-fallback = false

            [security]
            lockdown = "none"
            kexec = true

            [update]
            channel = ["https://updates.example/stable", "http://192.0.2.5/stable"]
            policy = "stage"
            window = ["Sat 02:00-06:00", "22:00-04:00"]
            check-interval = "2h"
            rate-limit = 4096
            root = "{\"signed\": {}}"
            deadline = 120
            node-ready = true
            kexec = true

            [config]
            volumes = "any"

            [state]
            when-damaged = "reset"
        "#]],
    );
}

#[test]
fn what_is_wrong_with_an_update_is_told_at_its_place() {
    let text = "schema = 1\n[update]\nchannel = ['https://a', 'https://a/']\nwindow = 'Sat'\n\
                check-interval = '1s'\nrate-limit = 0";
    let problems: Vec<_> = parse(text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "3:25: `update.channel` has `https://a/` twice",
            "4:10: `Sat` is no time of the week: it is written as `Sat 02:00-06:00`, \
             `Mon-Fri 22:00-04:00` or `22:00-04:00`, in UTC",
            "4:10: `update.window` has no effect while `policy` is `manual`",
            "5:18: `1s` is no interval: it is written as `30m`, `6h` or `1d`, from a minute to seven days",
            "5:18: `update.check-interval` has no effect while `policy` is `manual`",
            "6:14: `update.rate-limit` must be a whole number from 1 to 1048576, not 0",
        ]
    );
}

fn check_shown(text: &str, want: Expect) {
    want.assert_eq(&parse(text).unwrap().to_toml(Secrets::Hidden));
}
