//! What a node cannot join without is missing or wrong: the console says what, in words, and the
//! node recovers when the cause goes. Each test has a node of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use formats::node_config::EXAMPLE;
use qemu_tests::disk::Disk;
use qemu_tests::dns::NameServer;
use qemu_tests::monitor::Monitor;
use qemu_tests::ntp::TimeServer;
use qemu_tests::process::run;
use qemu_tests::relay::Relay;
use qemu_tests::{Cluster, Machine, Node, Orlop, Setup};
use serde_json::json;

use crate::world::{LIMIT, removed, runs, script, world};

/// Where the API server listens on this host.
fn api_server(cluster: &Cluster) -> Result<SocketAddr> {
    let port = cluster.facts.guest_server.rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.with_context(|| format!("no port in {}", cluster.facts.guest_server))?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

pub(crate) fn the_api_server_is_away(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let relay = Relay::new(api_server(cluster)?)?;
    let server = Some(format!("https://10.0.2.2:{}", relay.port()));
    let mut node = Node::start(orlop, cluster, &Setup { server, ..Setup::new("waiting") })?;
    let port = relay.port().to_string();
    let away = ["api server", &port, "cannot be reached"];
    let line = node.machine.wait_for_line(0, &away, LIMIT)?;
    relay.on();
    node.ready(cluster)?;
    let over = node.machine.wait_for_line(line, &["api server", "reached again"], LIMIT)?;
    // The same once it has joined.
    relay.off();
    let line = node.machine.wait_for_line(over, &away, LIMIT)?;
    relay.on();
    node.machine.wait_for_line(line, &["api server", "reached again"], LIMIT)?;
    node.ready(cluster)
}

pub(crate) fn a_wrong_ca_is_named(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    // A certificate that has nothing to do with the cluster.
    let directory = std::fs::read_dir("/usr/share/ca-certificates/mozilla")?;
    let other = directory.flatten().map(|entry| entry.path()).min().context("a certificate")?;
    let other = std::fs::read_to_string(other)?;
    let place = tempfile::tempdir()?;
    let image = orlop.node_image()?.join("disk.raw");
    let disk = Disk::copy(&image, &place.path().join("disk.raw"))?;
    let right = Setup { disk: Some(disk.path()), ..Setup::new("stranger") };
    let setup = Setup { ca: Some(&other), ..right.clone() };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.machine.wait_for_line(0, &["certificate", "`ca`", "not signed"], LIMIT)?;
    let nodes = cluster.kubectl(["get", "nodes", "--output=name"])?;
    ensure!(!nodes.contains("stranger"), "{nodes}");
    // Configured anew, it joins at its next boot.
    node.machine.cut_power();
    Node::start(orlop, cluster, &right)?.ready(cluster)
}

pub(crate) fn an_unknown_token_is_named(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let (id, secret) = ("ffffff", "0123456789abcdef");
    let token = |expires: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "bootstrap.kubernetes.io/token",
            "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" },
            "stringData": {
                "token-id": id,
                "token-secret": secret,
                "expiration": expires,
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": "system:bootstrappers:tests",
            },
        })
        .to_string()
    };
    let binding = |name: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role,
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers:tests",
            }],
        })
        .to_string()
    };
    cluster.apply(&token("2020-01-01T00:00:00Z"))?;
    cluster.apply(&binding("tests:bootstrap", "system:node-bootstrapper"))?;
    let approver = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    cluster.apply(&binding("tests:approve", approver))?;

    let own = format!("{id}.{secret}");
    let setup = Setup { token: Some(&own), ..Setup::new("latecomer") };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.machine.wait_for_line(0, &["token", "refuse"], LIMIT)?;
    cluster.apply(&token("2100-01-01T00:00:00Z"))?;
    node.ready(cluster)
}

/// `orlop config check` takes it and kubelet does not: a static pod, and a setting by which it does
/// not start at all.
pub(crate) fn what_kubelet_refuses(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir()?;
    let config = place.path().join("node.toml");
    let boot = |text: &str| -> Result<Machine> {
        std::fs::write(&config, text)?;
        run(orlop.command().args(["config", "check"]).arg(&config))?;
        orlop.boot_other(orlop.node_image()?).args(&["--direct", "--config"]).path(&config).start()
    };
    let table = "[kubernetes.static-pods]\n";
    let lost = format!(
        "{table}lost = '''\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{ name: lost }}\nspec:\n  \
         hostAliases: [{{ ip: nowhere, hostnames: [a.test] }}]\n  \
         containers: [{{ name: c, image: a.test/b:1 }}]\n'''\n"
    );
    ensure!(EXAMPLE.contains(table), "the example has no `{table}`");
    let mut machine = boot(&EXAMPLE.replace(table, &lost))?;
    // From its first word to its last.
    let ignored =
        ["the static pod lost.yaml is ignored: invalid pod: ", "\"nowhere\"", "2001:db8::ffff)"];
    machine.wait_for_line(0, &ignored, LIMIT)?;
    // The other one runs.
    machine.wait_for_mark("pod-running", LIMIT)?;
    machine.cut_power();

    let suites = "tlsCipherSuites = [\"NO_SUCH_SUITE\"]";
    let mut machine = boot(&format!("{EXAMPLE}[kubelet]\n{suites}\n"))?;
    let refused = ["kubelet does not start: failed to", "NO_SUCH_SUITE", "or doesn't exist"];
    machine.wait_for_line(0, &refused, LIMIT)?;
    machine.wait_for_line(0, &["kubelet", "FAILED"], LIMIT)?;
    machine.cut_power();
    Ok(())
}

pub(crate) fn a_network_without_dhcp(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("qmp");
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    // The cable is in, and all that the node says is lost: a hub keeps what nobody takes, so it
    // has a second port, which leads to a socket that nobody reads.
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let void = format!("socket,id=void,udp={},localaddr={own}", nobody.local_addr()?);
    let boot = orlop.boot_other(orlop.node_image()?).args(&[
        "--direct",
        "--no-network",
        "--",
        "-netdev",
        "hubport,id=port0,hubid=0",
        "-netdev",
        &void,
        "-netdev",
        "hubport,id=port2,hubid=0,netdev=void",
        "-device",
        "virtio-net-pci,netdev=port0,romfile=",
        "-qmp",
        &monitor,
    ]);
    let mut machine = boot.start()?;
    let line = machine.wait_for_line(0, &["dhcp", "eth0"], LIMIT)?;
    let mut monitor = Monitor::connect(&socket)?;
    monitor.execute("netdev_add", &json!({ "type": "user", "id": "net0" }))?;
    let port = json!({ "type": "hubport", "id": "port1", "hubid": 0, "netdev": "net0" });
    monitor.execute("netdev_add", &port)?;
    machine.wait_for_line(line, &["eth0", "10.0.2.15"], LIMIT)?;
    machine.wait_for_mark("pod-running", LIMIT)?;
    Ok(())
}

pub(crate) fn a_clock_of_1970(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let server = TimeServer::silent()?;
    let time = format!("[time]\nservers = [\"10.0.2.2:{}\"]\n", server.port());
    let setup = Setup {
        tables: &time,
        args: &["--", "-rtc", "base=1970-01-01T00:00:00"],
        ..world.setup("antique")
    };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.machine.wait_for_line(0, &["clock", "1970"], LIMIT)?;
    server.speak();
    node.machine.wait_for_mark("clock-set", LIMIT)?;
    node.ready(cluster)?;
    // The kernel is told that its clock is good, and then brings it to the hardware's by itself.
    let told = "until grep -q ^20 /sys/class/rtc/rtc0/date; do sleep 1; done; adjtimex; \
                tail -f /dev/null";
    let pod = runs(cluster, &script("timex", node.name(), told))?;
    cluster.log_line(&pod, "(clock synchronized)", LIMIT)?;
    removed(cluster, &pod)
}

/// In a network namespace of its own, where port 53 of the loopback address is free for a test.
pub(crate) fn a_silent_name_server(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    // In QEMU's network this address is the host's own loopback address.
    let setup = Setup {
        server: Some("https://api.example:6443".to_owned()),
        tables: "[network]\ndns = [\"10.0.2.2\"]\n",
        alone: true,
        ..Setup::new("speechless")
    };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.machine.wait_for_mark("init-start", LIMIT)?;
    let names = NameServer::silent(node.machine.network_namespace()?, Ipv4Addr::new(10, 0, 2, 2))?;
    let line = node.machine.wait_for_line(0, &["api server", "name server", "10.0.2.2"], LIMIT)?;
    names.speak();
    // The name is known now; that nobody listens behind it is another trouble.
    node.machine.wait_for_line(line, &["api server", "10.0.2.2:6443", "refuses"], LIMIT)?;
    Ok(())
}
