//! What is wrong is said, all of it, where it stands.

use super::*;

fn check(text: &str, want: Expect) {
    let problems = parse(text).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| format!("{problem}\n")).collect();
    want.assert_eq(&lines.concat());
}

#[test]
fn another_schema_is_all_that_is_said() {
    check(
        "schema = 2\nnew-key = 1",
        expect![[r#"
        1:10: this is not schema 1; this version reads `schema = 1` and nothing before or after it
    "#]],
    );
    check(
        "schema = '1'",
        expect![[r#"
        1:10: this is not schema 1; this version reads `schema = 1` and nothing before or after it
    "#]],
    );
    check(
        "hostname = 'a'",
        expect![[r#"
        1:1: a node configuration lacks the key `schema`
    "#]],
    );
    check(
        "",
        expect![[r#"
        1:1: a node configuration lacks the key `schema`
    "#]],
    );
}

#[test]
fn unknown_keys_name_the_one_that_was_meant() {
    check(
        "schema = 1
hostnam = 'worker-1'
colour = 'red'
[network.links.eth0]
adresses = ['192.0.2.10/24']
[kubernetes]
sever = 'https://10.0.2.2:6443'
standalon = true
[Cni]
bridge = '10.88.0.0/16'
[containerd.registry]
[update]
policy = 'manual'
interval = 5",
        expect![[r#"
            2:1: `hostnam` is not a key of a node configuration; did you mean `hostname`?
            3:1: `colour` is not a key of a node configuration; its keys are `schema`, `hostname`, `network`, `proxy`, `sysctl`, `time`, `kubernetes`, `kubelet`, `cni`, `hugepages`, `containerd`, `security`, `update`, `config`, `state`
            5:1: `adresses` is not a key of `network.links.eth0`; did you mean `addresses`?
            6:1: `kubernetes` does not say which API server kubelet listens to; write `server`, `ca` and `token`, or `standalone = true`
            7:1: `sever` is not a key of `kubernetes`; did you mean `server`?
            8:1: `standalon` is not a key of `kubernetes`; did you mean `standalone`?
            9:2: `Cni` is not a key of a node configuration; did you mean `cni`?
            11:13: `registry` is not a key of `containerd`; did you mean `registries`?
            14:1: `interval` is not a key of `update`; its keys are `channel`, `policy`, `window`, `check-interval`, `rate-limit`, `ca`, `root`, `deadline`, `node-ready`, `kexec`
        "#]],
    );
}

#[test]
fn wrong_types_say_what_was_wanted_and_found() {
    check(
        "schema = 1
hostname = 7
time = 'now'
kubelet = 5
[network]
dns = '192.0.2.53'
search = ['example', 5]
links = [1]
[network.links]
eth0 = true
",
        expect![[r#"
            2:12: `hostname` must be a string, not 7
            3:8: `time` must be a table, not a string
            4:11: `kubelet` must be a table, not 5
            6:7: `network.dns` must be a list of strings, not a string
            7:22: `network.search` must be a list of strings, not 5
            9:10: `links` stands here for the second time
            10:8: `network.links.eth0` must be a table, not true
        "#]],
    );
    check(
        "schema = 1
[network.links.eth0]
dhcp = 'yes'
mtu = 70000
slaac = 1979-05-27
[network.links.eth1]
mtu = 1.5
[kubernetes]
standalone = true
labels = { zone = 1 }
static-pods.hello = ['x']
[containerd.registries]
'docker.io' = 'http://10.0.2.2'",
        expect![[r#"
            3:8: `network.links.eth0.dhcp` must be true or false, not a string
            4:7: `network.links.eth0.mtu` must be a whole number from 68 to 65535, not 70000
            5:9: `network.links.eth0.slaac` must be true or false, not a date
            7:7: `network.links.eth1.mtu` must be a whole number from 68 to 65535, not a fraction
            10:19: `kubernetes.labels.zone` must be a string, not 1
            11:21: `kubernetes.static-pods.hello` must be a string, not a list
            13:15: `containerd.registries.docker.io` must be a table, not a string
        "#]],
    );
}

#[test]
fn a_server_needs_its_certificate_and_token_and_excludes_a_node_alone() {
    check(
        "schema = 1\n[kubernetes]",
        expect![[r#"
        2:1: `kubernetes` does not say which API server kubelet listens to; write `server`, `ca` and `token`, or `standalone = true`
    "#]],
    );
    check(
        "schema = 1\n[kubernetes]\nstandalone = false",
        expect![[r#"
        2:1: `kubernetes` lacks the key `server`
        2:1: `kubernetes` lacks the key `ca`
        2:1: `kubernetes` lacks the key `token`
    "#]],
    );
    check(
        "schema = 1\nkubernetes.server = 'http://10.0.2.2:6443'",
        expect![[r#"
        2:1: `kubernetes` lacks the key `ca`
        2:1: `kubernetes` lacks the key `token`
        2:21: `http://10.0.2.2:6443` is not secure: an API server is reached by `https://`
    "#]],
    );
    check(
        "schema = 1
[kubernetes]
standalone = true
server = 'https://10.0.2.2:6443'
token = 'abcdef.0123456789abcdef'
serving-certificate = 'bootstrap'",
        expect![[r#"
            4:10: `kubernetes.server` and `standalone = true` exclude each other: a node alone has no API server
            5:9: `kubernetes.token` and `standalone = true` exclude each other: a node alone has no API server
            6:23: without an API server nobody signs a serving certificate
        "#]],
    );
}

#[test]
fn a_cluster_is_told_nothing_that_it_would_refuse() {
    check(
        "schema = 1
[kubernetes]
server = 'api.example:6443'
ca = 'MAMCAQE='
token = 'abcdef.0123456789ABCDEF'
labels = { 'node-role.kubernetes.io/worker' = '', 'kubernetes.io/os' = 'linux', '-a' = 'b c' }
taints = ['dedicated=gpu', 'a=b:NoSchedul', 'a=b:NoSchedule', 'a=c:NoSchedule', 'a=c:NoSchedule']
node-ip = '127.0.0.1'
serving-certificate = 'selfsigned'
[kubernetes.static-pods]
Hello = 'kind: Pod'
empty = ' '",
        expect![[r#"
            3:10: `api.example:6443` is not an address that a node can use: it must begin with `https://` or `http://`
            4:6: there is no certificate in PEM here, which begins with `-----BEGIN CERTIFICATE-----`
            5:9: this is not a bootstrap token: it has 6 lower-case letters or digits, a dot, and 16 more
            6:12: kubelet does not start with the label `node-role.kubernetes.io/worker`: a node may not give itself labels of Kubernetes; set it through the API
            6:51: kubelet does not start with the label `kubernetes.io/os`: kubelet sets it itself
            6:81: `-a` is not a key of Kubernetes: use at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends; a domain and `/` may stand before it
            6:88: `b c` is not a value of Kubernetes: use at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends
            7:11: `dedicated=gpu` is not a taint, such as `dedicated=gpu:NoSchedule` or `broken:NoExecute`
            7:28: `NoSchedul` is not the effect of a taint: did you mean `NoSchedule`?
            7:63: there is a taint `a` with the effect `NoSchedule` already
            7:81: `kubernetes.taints` has `a=c:NoSchedule` twice
            8:11: `127.0.0.1` is not an IP address that a node can have
            9:23: `selfsigned` is not a value of `kubernetes.serving-certificate`; did you mean `self-signed`?
            11:1: `Hello` cannot be the name of a static pod: use lower-case letters, digits, `-` and `.`
            12:9: the manifest of a static pod is empty
        "#]],
    );
}

#[test]
fn what_kubelet_takes_passes() {
    let text = "schema = 1
[kubernetes]
standalone = true
[kubelet]
maxPods = 0x40
port = 0
clusterDNS = ['10.96.0.10', '2001:db8::a']
syncFrequency = '1m30s'
cpuCFSQuotaPeriod = '100ms'
volumeStatsAggPeriod = '-1s'
systemReserved = { cpu = '1.5', memory = '1e9', ephemeral-storage = '1Gi', pid = '1000' }
evictionHard = { 'memory.available' = '5%', 'nodefs.inodesFree' = '12.5%', 'pid.available' = '100' }
evictionSoft = { 'memory.available' = '1Gi' }
evictionSoftGracePeriod = { 'memory.available' = '1m' }
featureGates = { AnyGate = true }
logging = { verbosity = 2, flushFrequency = '5s', vmodule = [{ filePattern = 'pod*', verbosity = 4 }], options = { json = { infoBufferSize = '64Ki' } } }
memorySwap = { swapBehavior = '' }
memoryThrottlingFactor = 1
enforceNodeAllocatable = ['none']
reservedSystemCPUs = '0-1,3'
memoryManagerPolicy = 'Static'
reservedMemory = [{ numaNode = 0, limits = { memory = '1Gi' } }]
serializeImagePulls = false
maxParallelImagePulls = 5
authentication.webhook.cacheTTL = '2m'
authorization.webhook.cacheAuthorizedTTL = '5m'
cloudProvider = 'external'
tlsCurvePreferences = [4588]";
    parse(text).unwrap();
}

#[test]
fn kubelet_is_told_nothing_that_would_break_the_node() {
    check(
        "schema = 1
[kubernetes]
standalone = true
[kubelet]
staticPodPath = '/x'
containerRuntimeEndpoint = 'unix:///x'
authentication.anonymous.enabled = true
authentication.webhook = { enabled = false, cacheTTL = '1m' }
authorization.mode = 'AlwaysAllow'
max-pods = 5
maxPod = 5
static-pod-path = 'x'
somethingNew = true
aLaterField = [1979-05-27, 1]
anotherOne = inf",
        expect![[r#"
            5:1: `kubelet.staticPodPath` cannot be set: write `kubernetes.static-pods`
            6:1: `kubelet.containerRuntimeEndpoint` cannot be set: the node's containerd is the only runtime
            7:16: `kubelet.authentication.anonymous` cannot be set: whoever may speak to kubelet is decided by the API server
            8:28: `kubelet.authentication.webhook.enabled` cannot be set: the node decides it by `kubernetes.server`
            9:15: `kubelet.authorization.mode` cannot be set: the node decides it by `kubernetes.server`
            10:1: `max-pods` is not a key that kubelet knows; did you mean `maxPods`?
            11:1: `maxPod` is not a key that kubelet knows; did you mean `maxPods`?
            12:1: `static-pod-path` is not a key that kubelet knows; did you mean `staticPodPath`?
            14:16: kubelet cannot be given a date: write it in quotes
            15:14: kubelet cannot be given an infinite number or none
        "#]],
    );
    check(
        "schema = 1
[kubernetes]
standalone = true
[kubelet]
maxPods = '50'
podPidsLimit = inf
failSwapOn = 'no'
clusterDNS = '10.96.0.10'
tlsCipherSuites = [5]
syncFrequency = 60
containerLogMonitorInterval = '1s'
cpuCFSQuotaPeriod = '2s'
cpuManagerPolicy = 'Static'
systemReserved = { cpu = 1, memry = '1Gi' }
evictionHard = { 'memory.available' = '5 %', 'nodefs.inodesFree' = '101%' }
featureGates = { SomeGate = 'true' }
logging = { verbosity = '2', flushFrequency = 5, vmodule = [{ filePattern = 1 }], formt = 'json' }
memorySwap = 'LimitedSwap'
memoryThrottlingFactor = 1.5
enforceNodeAllocatable = ['pods', 'kube-reserved']
reservedSystemCPUs = '3-0'
reservedMemory = [{ numaNode = '0', limits = { memory = '1GB' } }]
oomScoreAdj = -1001
shutdownGracePeriod = '90s'
shutdownGracePeriodCriticalPods = '10s'",
        expect![[r#"
            5:11: `kubelet.maxPods` must be a whole number from 0 to 2147483647, not "50"
            6:16: `kubelet.podPidsLimit` must be a whole number from -1, not a fraction
            7:14: `kubelet.failSwapOn` must be true or false, not "no"
            8:14: `kubelet.clusterDNS` must be a list of strings, not "10.96.0.10"
            9:20: `kubelet.tlsCipherSuites` must be a string, not 5
            10:17: `kubelet.syncFrequency` must be a duration in quotes, such as "1m30s", not 60
            11:31: `kubelet.containerLogMonitorInterval` must be a duration in quotes of at least "3s", not "1s"
            12:21: `kubelet.cpuCFSQuotaPeriod` must be a duration in quotes from "1ms" to "1s", not "2s"
            13:20: `Static` is not a value of `kubelet.cpuManagerPolicy`; did you mean `static`?
            14:26: `kubelet.systemReserved.cpu` must be an amount in quotes, such as "500m" or "1Gi", not 1
            14:29: `memry` is not a key of `kubelet.systemReserved`; did you mean `memory`?
            15:39: `kubelet.evictionHard."memory.available"` must be an amount in quotes, such as "1Gi" or "10%", not "5 %"
            15:68: `kubelet.evictionHard."nodefs.inodesFree"` must be an amount in quotes, such as "1Gi" or "10%", not "101%"
            16:29: `kubelet.featureGates.SomeGate` must be true or false, not "true"
            17:25: `kubelet.logging.verbosity` must be a whole number from 0 to 2147483647, not "2"
            17:77: `kubelet.logging.vmodule.filePattern` must be a string, not 1
            17:83: `formt` is not a key that kubelet knows; did you mean `format`?
            18:14: `kubelet.memorySwap` must be a table, not "LimitedSwap"
            19:26: `kubelet.memoryThrottlingFactor` must be a number above 0 and at most 1, not a fraction
            20:35: `kube-reserved` is not a value of `kubelet.enforceNodeAllocatable`; its values are `none`, `pods`
            21:22: `kubelet.reservedSystemCPUs` must be numbers of processors in quotes, such as "0-3,8", not "3-0"
            22:32: `kubelet.reservedMemory.numaNode` must be a whole number from 0 to 2147483647, not "0"
            22:57: `kubelet.reservedMemory.limits.memory` must be an amount in quotes, such as "500m" or "1Gi", not "1GB"
            23:15: `kubelet.oomScoreAdj` must be a whole number from -1000 to 1000, not -1001
            24:23: `kubelet.shutdownGracePeriod` must be a duration in quotes from "1s" to "80s", not "90s"
            25:1: `kubelet.shutdownGracePeriodCriticalPods` cannot be set: all pods are stopped at once
        "#]],
    );
    check(
        "schema = 1
[kubernetes]
standalone = true
[kubelet]
imageGCLowThresholdPercent = 90
maxParallelImagePulls = 5
memoryManagerPolicy = 'Static'
evictionSoft = { 'memory.available' = '1Gi' }
evictionSoftGracePeriod = { 'nodefs.available' = '1m' }",
        expect![[r#"
            4:1: `kubelet.imageGCLowThresholdPercent` (90) must be below `imageGCHighThresholdPercent` (85)
            4:1: `kubelet.maxParallelImagePulls` above 1 needs `serializeImagePulls = false`
            4:1: `kubelet.memoryManagerPolicy` "Static" needs `reservedMemory`
            4:1: `kubelet.evictionSoft` has `memory.available`, which `evictionSoftGracePeriod` lacks
            4:1: `kubelet.evictionSoftGracePeriod` has `nodefs.available`, which `evictionSoft` lacks
        "#]],
    );
    check(
        "schema = 1\n[kubelet]\nmaxPods = 5",
        expect![[r#"
        2:1: `kubelet` has no effect without `kubernetes`: kubelet is not started
    "#]],
    );
}

#[test]
fn addresses_fit_together() {
    check(
        "schema = 1
[network]
dns = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4']
search = ['example', 'Example.', '10.0.0.1']
[network.links.eth0]
addresses = ['192.0.2.10/24', '192.0.2.10/25', '192.0.2.10/24', '2001:db8::10/64']
gateways = ['192.0.3.1', '192.0.2.1', '192.0.2.10', '2001:db8::1', 'fe80::1']
mtu = 1000
[network.links.eth1]
gateways = ['192.0.2.1']
[network.links.eth2]
addresses = ['192.0.2.300/24']
gateways = ['192.0.2.1']
mac = '52:54:00:12:34:56'
[network.links.lan]
mac = '52:54:00:12:34:56'
[network.links.'a name that is too long']
[network.links.lo]
[time]
servers = ['192.0.2.123', '192.0.2.999']
[cni]
bridge = '192.0.0.0/16'",
        expect![[r#"
            3:47: `network.dns` has more than the 3 servers that are ever asked
            4:22: `network.search` has `Example.` twice
            4:34: `10.0.0.1` is not the name of a domain, such as `example.internal`
            6:31: `192.0.2.10` stands twice, with two prefix lengths
            6:48: `network.links.eth0.addresses` has `192.0.2.10/24` twice
            8:7: IPv6 needs an `mtu` of 1280 at least
            12:14: `192.0.2.300/24` is not an address with its prefix length, such as `192.0.2.10/24`
            16:7: another link has the hardware address `52:54:00:12:34:56`
            17:16: `a name that is too long` cannot be the name of a wired link; write the kernel's name, such as `eth0`, or say which by `mac`
            18:16: `lo` cannot be the name of a wired link; write the kernel's name, such as `eth0`, or say which by `mac`
            20:27: `192.0.2.999` is neither an IP address nor the name of a host
            22:10: `192.0.0.0/16` overlaps the node's own `192.0.2.10/24`
            22:10: `192.0.0.0/16` overlaps the node's own `192.0.2.10/25`
        "#]],
    );
}

#[test]
fn passwords_of_registries_go_with_a_name_and_a_registry() {
    check(
        "schema = 1
[containerd.registries.'a.example']
username = 'u'
[containerd.registries.'b.example']
password = 'p'
[containerd.registries.'c.example']
username = 'a:b'
password = 'p'
[containerd.registries.'_default']
username = 'u'
password = 'p'
[containerd.registries.'d.example']
override-path = true
skip-fallback = true
[containerd.registries.'e.example']
mirrors = ['https://m.example/v2/hub']
override-path = false
skip-fallback = 'yes'",
        expect![[r#"
            2:24: `containerd.registries."a.example"` lacks the key `password`
            4:24: `containerd.registries."b.example"` lacks the key `username`
            7:12: a `username` is not empty and holds no `:`
            10:12: `_default` cannot have a password: any registry could ask for it
            13:17: `override-path = true` is about `mirrors`, and there are none
            14:17: `skip-fallback = true` is about `mirrors`, and there are none
            18:17: `containerd.registries."e.example".skip-fallback` must be true or false, not a string
        "#]],
    );
    let text = "schema = 1\n[containerd.registries.'a.example']\nusername = 'u'\npassword = 'x y'";
    let config = parse(text).unwrap();
    assert!(!format!("{config:?}").contains("x y"));
    assert!(!config.to_toml(Secrets::Hidden).contains("x y"));
    assert_eq!(parse(&config.to_toml(Secrets::Shown)), Ok(config));
}

#[test]
fn gateways_outside_the_own_network_and_two_addresses_of_a_node_are_taken() {
    for text in [
        "[network.links.eth0]\naddresses = ['192.0.2.10/32']\ngateways = ['198.51.100.1']",
        "[network.links.eth0]\naddresses = ['2001:db8:1:2::1/64']\ngateways = ['2001:db8:1::1']",
        "[network.links.eth0]\ndhcp = true\ngateways = ['10.0.0.1']",
        "[kubernetes]\nstandalone = true\nnode-ip = '192.0.2.10,2001:db8::10'",
        "[kubernetes]\nstandalone = true\nnode-ip = ['2001:db8::10', '192.0.2.10']",
        "[kubernetes]\nstandalone = true\nnode-ip = '::'",
    ] {
        let config = parse(&format!("schema = 1\n{text}")).expect(text);
        assert_eq!(parse(&config.to_toml(Secrets::Hidden)), Ok(config), "{text}");
    }
    check(
        "schema = 1
[kubernetes]
standalone = true
node-ip = ['192.0.2.10', '192.0.2.11', '::', '127.0.0.1', '192.0.2.10']
[network.links.eth0]
addresses = ['192.0.2.10/24']
slaac = false
gateways = ['2001:db8::1']",
        expect![[r#"
            4:26: `192.0.2.11` is a second `kubernetes.node-ip` of its family
            4:40: of two addresses in `kubernetes.node-ip` each must be the node's own
            4:46: `127.0.0.1` is not an IP address that a node can have
            4:59: `kubernetes.node-ip` has `192.0.2.10` twice
            8:13: the gateway `2001:db8::1` is of a family of which the link has no address
        "#]],
    );
}

#[test]
fn a_gateway_is_another_machine_and_the_only_one_of_its_family() {
    check(
        "schema = 1
[network.links.eth0]
addresses = ['192.0.2.10/24', '2001:db8::10/64']
gateways = ['192.0.3.1', '192.0.2.1', 'fe80::1', '2001:db8::1']
[network.links.eth1]
addresses = ['192.0.2.10/24']
gateways = ['192.0.2.10', '2001:db8::1']",
        expect![[r#"
            4:26: `192.0.2.1` is a second gateway of its family
            4:50: `2001:db8::1` is a second gateway of its family
            7:13: the gateway `192.0.2.10` is the node's own address
        "#]],
    );
}

#[test]
fn what_a_node_may_do_by_itself_is_one_of_few_words() {
    check(
        "schema = 1\nconfig.volumes = 'all'\nstate.when-damaged = true",
        expect![[r#"
            2:18: `all` is not a value of `config.volumes`; its values are `pinned`, `any`
            3:22: `state.when-damaged` must be a string, not true
        "#]],
    );
}

#[test]
fn registries_and_updates_say_where_they_are() {
    check(
        "schema = 1
[containerd.registries.'https://docker.io']
[containerd.registries.'Registry.example']
mirrors = ['10.0.2.2:5000', 'http://a', 'http://a/']
[containerd.registries.'registry.example']
ca = 'x'
skip-verify = true
[update]
policy = 'auto'",
        expect![[r#"
            2:24: `https://docker.io` is not the host of a registry, such as `docker.io` or `registry.example:5000`
            4:12: `10.0.2.2:5000` is not an address that a node can use: it must begin with `https://` or `http://`
            4:41: `containerd.registries."Registry.example".mirrors` has `http://a/` twice
            5:24: the registry `registry.example` stands twice
            6:6: there is no certificate in PEM here, which begins with `-----BEGIN CERTIFICATE-----`
            7:15: `ca` and `skip-verify = true` exclude each other: nothing is verified
            9:10: `auto` is not a value of `update.policy`; its values are `manual`, `stage`, `automatic`
        "#]],
    );
    check(
        "schema = 1\n[security]\nlockdown = 'confidentiality'\nkexec = 1\nsecure-boot = true",
        expect![[r#"
            3:12: `confidentiality` is not a value of `security.lockdown`; its values are `integrity`, `none`
            4:9: `security.kexec` must be true or false, not 1
            5:1: `secure-boot` is not a key of `security`; its keys are `lockdown`, `kexec`
        "#]],
    );
    check(
        "schema = 1\nupdate.policy = 'automatic'",
        expect![[r#"
        2:1: `update` lacks the key `channel`
    "#]],
    );
    check(
        "schema = 1\n[hugepages]\n2Mi = 128\n2048Ki = 1\n3Mi = 1\n1Gi = -1\n64Ki = '1'\n1G = 2",
        expect![[r#"
            3:1: pages of 2Mi are counted twice
            5:1: `3Mi` is not the size of a huge page, such as `2Mi` or `1Gi`
            6:7: `hugepages.1Gi` must be a whole number from 0 to 4294967295, not -1
            7:8: `hugepages.64Ki` must be a whole number from 0 to 4294967295, not a string
            8:1: `1G` is not the size of a huge page, such as `2Mi` or `1Gi`
        "#]],
    );
    check(
        "schema = 1\nhugepages = 128",
        expect![[r#"
        2:13: `hugepages` must be a table, not 128
    "#]],
    );
    check(
        "schema = 1\ncni = {}",
        expect![[r#"
        2:7: `cni` lacks the key `bridge`
    "#]],
    );
}

#[test]
fn what_is_not_toml_is_said_with_all_else_that_can_be_read() {
    check(
        "schema = 1\nhostname = 'a'\nhostname = 'b'\n[network]\ndns = 5",
        expect![[r#"
            3:1: `hostname` stands here for the second time
            5:7: `network.dns` must be a list of strings, not 5
        "#]],
    );
    check(
        "schema = 1\nhostname = worker\nport = 1\n[network\ndns = 5\n[cni]\n",
        expect![[r#"
            2:12: not TOML: string values must be quoted, expected literal string
            3:1: `port` is not a key of a node configuration; its keys are `schema`, `hostname`, `network`, `proxy`, `sysctl`, `time`, `kubernetes`, `kubelet`, `cni`, `hugepages`, `containerd`, `security`, `update`, `config`, `state`
            4:9: not TOML: unclosed table, expected `]`
        "#]],
    );
    check(
        "schema = 1\n[kubernetes]\nca = \"\"\"x",
        expect![[r#"
        3:10: not TOML: invalid multi-line basic string, expected `"`
    "#]],
    );
    check(
        "schema = 1\n[kubernetes]\nstandalone = true\n[kubernetes]\n",
        expect![[r#"
            4:2: `kubernetes` stands here for the second time
        "#]],
    );
    check(
        "\u{feff}schema = 1\r\nhostname = \"\u{1}\"",
        expect![[r#"
        2:13: not TOML: invalid basic string, expected non-double-quote visible characters, `\`
    "#]],
    );
}

#[test]
fn messages_stay_on_one_line() {
    check(
        "schema = 1\nhostname = \"a\\nb\\u001b[2J\"\n\"k\\n\" = 1",
        expect![[r#"
            2:12: `a?b?[2J` cannot be a host name: use lower-case letters, digits, `-` and `.`, at most 63, each part with a letter or digit at both ends
            3:1: `k?` is not a key of a node configuration; its keys are `schema`, `hostname`, `network`, `proxy`, `sysctl`, `time`, `kubernetes`, `kubelet`, `cni`, `hugepages`, `containerd`, `security`, `update`, `config`, `state`
        "#]],
    );
    let text = format!("schema = 1\nhostname = '{}'", "x".repeat(100_000));
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.len() < 400);
}

#[test]
fn of_very_many_problems_the_rest_is_counted() {
    let text =
        format!("schema = 1\n{}", (0..250).map(|n| format!("x{n} = 1\n")).collect::<String>());
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].to_string(), "102:1: here and below are 150 more");
}
