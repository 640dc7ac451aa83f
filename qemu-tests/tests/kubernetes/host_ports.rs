//! `hostPort` on the node's own bridge. The plugin that makes it has tests of its own in `node`, with
//! datagrams, IPv6 and hosts outside; `flannel.rs` asks from another node.

use anyhow::{Result, ensure};
use qemu_tests::{Cluster, Orlop};
use serde_json::json;

use crate::world::{pod, removed, runs, script, world};

/// What is answered at an address, or that nobody answers.
fn ask(cluster: &Cluster, client: &str, address: &str) -> Result<String> {
    let ask = format!("timeout 20 wget -q -O - http://{address}/ || echo nobody");
    cluster.exec(client, &["sh", "-c", &ask])
}

pub(crate) fn a_host_port_leads_to_its_pod(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let serve = "mkdir /www && echo by host port > /www/index.html && httpd -f -p 8080 -h /www";
    let container = json!({
        "command": ["/bin/sh", "-c", serve],
        "ports": [
            { "containerPort": 8080, "hostPort": 30080 },
            { "containerPort": 5353, "hostPort": 30053, "protocol": "UDP" },
            { "containerPort": 8080, "hostPort": 30081, "hostIP": "127.0.0.1" },
        ],
    });
    let server = runs(cluster, &pod("host-ports", node, container, json!({})))?;
    let idle = json!({ "command": ["tail", "-f", "/dev/null"] });
    let host = json!({ "hostNetwork": true });
    let host = runs(cluster, &pod("of-the-host", node, idle, host))?;
    let beside = runs(cluster, &script("beside-it", node, "tail -f /dev/null"))?;

    let answer = "by host port\n";
    for (client, address, want) in [
        (&host, "10.0.2.15:30080", answer),
        (&host, "127.0.0.1:30080", answer),
        (&host, "127.0.0.1:30081", answer),
        (&host, "10.0.2.15:30081", "nobody\n"),
        // The port of another protocol.
        (&host, "10.0.2.15:30053", "nobody\n"),
        (&beside, "10.0.2.15:30080", answer),
        (&beside, "10.0.2.15:30081", "nobody\n"),
        (&server, "10.0.2.15:30080", answer),
    ] {
        let got = ask(cluster, client, address)?;
        ensure!(got == want, "{client} asks {address}: {got}");
    }
    // A datagram comes to a port of the pod where nobody listens: the pod counts it.
    let lost = || -> Result<u64> {
        let snmp = cluster.exec(&server, &["cat", "/proc/net/snmp"])?;
        let udp = snmp.lines().filter(|line| line.starts_with("Udp:")).nth(1);
        Ok(udp.and_then(|line| line.split(' ').nth(2)?.parse().ok()).unwrap_or_default())
    };
    let before = lost()?;
    cluster.exec(&host, &["sh", "-c", "timeout 60 nslookup a.example 10.0.2.15:30053; true"])?;
    ensure!(lost()? > before, "no datagram came to the pod");

    removed(cluster, &server)?;
    for address in ["10.0.2.15:30080", "127.0.0.1:30081"] {
        let got = ask(cluster, &host, address)?;
        ensure!(got == "nobody\n", "after the pod is gone, {address} answers {got}");
    }
    removed(cluster, &host)?;
    removed(cluster, &beside)
}
